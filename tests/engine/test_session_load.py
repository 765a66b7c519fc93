"""Rechecks, priorities, moves and renames asked for while payload flows both ways."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import anyio
import pytest

from tests.support.swarm import (
    LOOPBACK,
    address_of,
    content,
    download,
    files_below,
    reach,
    record,
    resources,
    seed,
    state_of,
    until,
)
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import SessionConfig
from torrent_engine.engine.events import Event, PieceCompleted
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

FILES = {
    f"{number % 3}/{number}": payload_of(90_000 + 7_001 * number, number) for number in range(12)
}
METAINFO, PAYLOAD = make_torrent(FILES)
SEEDS = 3
PACE = 1_500_000


@asynccontextmanager
async def leech(
    tmp_path: Path, **options: object
) -> AsyncIterator[tuple[SharedResources, Session, list[Event]]]:
    """Run a download from several seeds, slow enough to do something meanwhile."""
    async with AsyncExitStack() as stack:
        seeds = [
            await stack.enter_async_context(seed(tmp_path / f"seed{number}", METAINFO, PAYLOAD))
            for number in range(SEEDS)
        ]
        shared = await stack.enter_async_context(resources(tmp_path / "leech"))
        config = SessionConfig(
            peers=tuple(address for _, address in seeds),
            max_download_bytes_per_s=PACE,
            **options,  # type: ignore[arg-type]
        )
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        events = record(session)
        await stack.enter_async_context(session)
        yield shared, session, events


async def finished(session: Session) -> None:
    session.set_rate_limits(download_bytes_per_s=0)
    await until(
        lambda: (
            state_of(session) is State.SEEDING
            and session.stats().pieces_have == METAINFO.piece_count
        ),
        timeout_s=60,
    )


async def completed(events: list[Event], expected: Counter[int]) -> Counter[int]:
    """Return how often each piece was completed, once all events are told."""
    with anyio.move_on_after(10):
        while completions(events) != expected:  # noqa: ASYNC110 - there is no event for it
            await anyio.sleep(0.01)
    return completions(events)


def completions(events: list[Event]) -> Counter[int]:
    """Return how often each piece was completed."""
    return Counter(each.piece_index for each in events if isinstance(each, PieceCompleted))


ONCE_EACH = Counter(range(METAINFO.piece_count))


@pytest.mark.parametrize("number", range(2))
async def test_rechecks_of_a_download_cost_no_piece(tmp_path: Path, number: int) -> None:
    random = Random(number)
    async with leech(tmp_path) as (_, session, events):
        for _ in range(5):
            await anyio.sleep(random.uniform(0, 0.1))
            if state_of(session) is State.DOWNLOADING:
                await session.recheck()
            await reach(session, State.DOWNLOADING, State.SEEDING)
        await finished(session)
        assert await completed(events, ONCE_EACH) == ONCE_EACH
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


async def test_a_recheck_of_a_seed_under_load_keeps_its_leeches(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (session, address),
        resources(tmp_path / "leech") as shared,
    ):
        other = await Session.create(
            METAINFO,
            shared,
            save_path=tmp_path / "out",
            config=SessionConfig(peers=(address,), max_download_bytes_per_s=PACE),
        )
        events = record(other)
        async with other:
            await until(lambda: other.stats().pieces_have > 5)
            await session.recheck()
            await reach(session, State.SEEDING)
            await other.add_peer(*address)
            await finished(other)
            assert await completed(events, ONCE_EACH) == ONCE_EACH
            assert session.stats().pieces_have == METAINFO.piece_count
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


async def test_a_recheck_under_load_finds_what_was_damaged_and_fetches_that(
    tmp_path: Path,
) -> None:
    async with leech(tmp_path) as (_, session, events):
        await until(lambda: session.stats().pieces_have > METAINFO.piece_count // 2)
        have = sorted(completions(events))
        damaged = {have[0], have[len(have) // 2]}
        for piece in damaged:
            spoil(tmp_path / "out", piece)
        await session.recheck()
        await reach(session, State.DOWNLOADING)
        await finished(session)
        expected = ONCE_EACH + Counter(damaged)
        assert await completed(events, expected) == expected
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


def spoil(save_path: Path, piece: int) -> None:
    """Change one byte of a piece on the disk, as a failing disk would."""
    at = METAINFO.geometry.piece_offset(piece)
    entry = next(each for each in METAINFO.files if at < each.offset_bytes + each.length_bytes)
    with save_path.joinpath(*entry.path).open("r+b") as file:
        file.seek(at - entry.offset_bytes)
        old = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([old[0] ^ 1]))


@pytest.mark.parametrize("number", range(2))
async def test_priorities_that_change_under_load_cost_no_piece(tmp_path: Path, number: int) -> None:
    random = Random(number)
    async with leech(tmp_path) as (_, session, events):
        for _ in range(25):
            await anyio.sleep(random.uniform(0, 0.04))
            await session.set_file_priorities([random.choice([0, 0, 1, 4, 7]) for _ in FILES])
        await session.set_file_priorities([4] * len(FILES))
        await finished(session)
        assert await completed(events, ONCE_EACH) == ONCE_EACH
    assert content(METAINFO, tmp_path / "out") == PAYLOAD
    assert files_below(tmp_path / "out") == {f"payload/{name}" for name in FILES}


async def test_skipped_under_load_and_wanted_again_at_last(tmp_path: Path) -> None:
    first, last = 0, len(FILES) - 1
    only = [4 if index in {first, last} else 0 for index in range(len(FILES))]
    async with leech(tmp_path, file_priorities=tuple(only)) as (shared, session, events):
        session.set_rate_limits(download_bytes_per_s=0)
        await reach(session, State.SEEDING)
        before = sum(completions(events).values())
        assert before < METAINFO.piece_count
        async with resources(tmp_path / "third") as third, anyio.create_task_group() as tasks:
            tasks.start_soon(fetch, third, tmp_path / "copy", shared)
            for _ in range(2):
                await session.set_file_priorities(only)
                await session.set_file_priorities([4] * len(FILES))
            await finished(session)
        assert await completed(events, ONCE_EACH) == ONCE_EACH
    assert content(METAINFO, tmp_path / "out") == PAYLOAD
    assert content(METAINFO, tmp_path / "copy") == PAYLOAD


async def fetch(shared: SharedResources, save_path: Path, source: SharedResources) -> None:
    await download(shared, METAINFO, save_path, address_of(source))


@pytest.mark.parametrize("number", range(3))
async def test_all_of_it_in_any_order_costs_no_piece(tmp_path: Path, number: int) -> None:
    random = Random(number)
    async with leech(tmp_path) as (_, session, events):
        for step in range(12):
            await anyio.sleep(random.uniform(0, 0.05))
            await act(session, random, tmp_path / f"out{step}")
        await session.set_file_priorities([4] * len(FILES))
        if state_of(session) is State.PAUSED:
            await session.resume()
        await finished(session)
        names = dict(session.config.renamed_files)
        assert await completed(events, ONCE_EACH) == ONCE_EACH
        found = b"".join(
            (session.save_path / names.get(index, "/".join(entry.path))).read_bytes()
            for index, entry in enumerate(METAINFO.files)
        )
    assert found == PAYLOAD


async def act(session: Session, random: Random, target: Path) -> None:
    """Do one thing that a user may do."""
    what = random.choice(["recheck", "priorities", "move", "rename", "pause", "peer"])
    if what == "recheck" and state_of(session) in {State.DOWNLOADING, State.SEEDING}:
        await session.recheck()
    elif what == "priorities":
        await session.set_file_priorities([random.choice([0, 1, 7]) for _ in FILES])
    elif what == "move":
        await session.move_storage(target)
    elif what == "rename":
        index = random.randrange(len(FILES))
        await session.rename_file(index, f"{target.name}/{index}")
    elif what == "pause" and state_of(session) is not State.PAUSED:
        await session.pause()
    elif what == "pause":
        await session.resume()
    elif what == "peer":
        await session.add_peer(LOOPBACK, 9)
