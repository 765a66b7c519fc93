"""An owner that moves on at any moment of any life of a download: ended once, and nothing left."""

import tempfile
from contextlib import suppress
from pathlib import Path

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.clock import let_tasks_run
from tests.support.session_parts import allow_rest, nobody_is_found, removal
from tests.support.swarm import PATIENCE_S, content, files_below, record, resources, seed, state_of
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import OwnerChangedError, StateTransitionError
from torrent_engine.base.ids import OwnerTie
from torrent_engine.engine.events import Event, SessionCompleted
from torrent_engine.engine.resources.owners import OWNER_CHANGED, Owners
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

METAINFO, PAYLOAD = make_torrent(
    {"a": payload_of(60_000, 1), "b": payload_of(50_000, 2)}, piece_bytes=16 * 1024
)
VERBS = ("start", "pause", "resume", "recheck", "stop", "hold", "unhold", "wait", "piece", "rest")
TIE = OwnerTie("a window", 1)


async def do(session: Session, verb: str) -> None:
    """Do one thing to a Session, whether its state allows it or not."""
    with suppress(StateTransitionError, OwnerChangedError):
        if verb in {"hold", "unhold"}:
            getattr(session.admin, verb)()
        elif verb == "wait":
            await let_tasks_run(20)
        elif verb == "rest":
            if session._core.run is not None:
                session._core.run.stop("rest")
        elif verb == "piece":
            with anyio.move_on_after(0.3):
                while not session.stats().pieces_have:  # noqa: ASYNC110 - or never
                    await anyio.sleep(0.002)
        else:
            await getattr(session, verb)()


async def advance(owners: Owners, turns: int, at_s: float) -> None:
    """Let the owner move on after some turns of the loop, and some time."""
    await anyio.sleep(at_s)
    await let_tasks_run(turns)
    owners.advance(TIE.owner_id, TIE.generation + 1)


async def live(folder: Path, verbs: list[str], turns: int, at_s: float) -> list[Event]:
    """Play one life of a tied download; return its events."""
    async with (
        seed(folder / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(folder / "leech") as shared,
    ):
        config = SessionConfig(peers=(address,), owner=TIE, max_download_bytes_per_s=200_000)
        session = await Session.create(METAINFO, shared, save_path=folder / "out", config=config)
        allow_rest(session)
        events = record(session)
        with anyio.fail_after(PATIENCE_S), nobody_is_found():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(advance, shared.owners, turns, at_s)
                for verb in verbs:
                    await do(session, verb)
            assert shared.owners.generation(TIE.owner_id) == TIE.generation + 1
            await session._core.ended.wait()
            if (removed := removal(session)) is not None:
                await removed.wait()
                assert await shared.store.load(METAINFO.info_hash) is None
            assert state_of(session) is State.STOPPED
            has_run = session._core.has_run
            assert (session.stop_reason == OWNER_CHANGED) or not has_run or "stop" in verbs
            await session.close()
        assert shared.references == 1
        assert not shared.owners._watches
        await let_tasks_run(20)
    return events


@settings(max_examples=25)
@given(
    verbs=st.lists(st.sampled_from(VERBS), min_size=1, max_size=8).map(
        lambda each: ["start", *each]
    ),
    turns=st.integers(0, 60),
    at_s=st.sampled_from([0.0, 0.0, 0.05, 0.3]),
)
def test_whenever_an_owner_moves_on_all_or_nothing_is_left(
    verbs: list[str], turns: int, at_s: float
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        events = anyio.run(live, folder, verbs, turns, at_s)
        left = files_below(folder / "out") if (folder / "out").exists() else set[str]()
        if any(isinstance(event, SessionCompleted) for event in events):
            assert content(METAINFO, folder / "out") == PAYLOAD  # it was told that all is here
        else:
            assert not left
