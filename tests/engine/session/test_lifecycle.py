"""Start, pause, resume, stop, close: the states and events in order, and what is not allowed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from tests.support.swarm import (
    content,
    download,
    kinds,
    open_descriptors,
    reach,
    record,
    resources,
    seed,
    state_of,
    until,
)
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import (
    ConfigError,
    LocalProtocolError,
    SessionError,
    StateTransitionError,
    StorageError,
)
from torrent_engine.base.ids import CLIENT_NAME
from torrent_engine.engine.events import PeerConnected, SessionStopped, StatsUpdated
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

METAINFO, PAYLOAD = make_torrent(payload_of(300_000), piece_bytes=32 * 1024)


@asynccontextmanager
async def waiting(session: Session) -> AsyncIterator[None]:
    """Somebody waits meanwhile for a seed, and is told that the session was stopped."""

    async def wait() -> None:
        with pytest.raises(SessionError, match="stopped before it was seeding or paused"):
            await reach(session, State.SEEDING, State.PAUSED)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        yield


NOISE = ("stats.update", "check.progress", "peer.connected", "peer.disconnected")


async def test_a_download_passes_through_its_states_and_events_in_order(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        config = SessionConfig(peers=(address,), seed_time_s=0.0)
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        assert state_of(session) is State.STOPPED
        events = record(session)
        async with session:
            assert state_of(session) is State.CHECKING
            assert await reach(session, State.DOWNLOADING) is State.DOWNLOADING
            assert await reach(session, State.SEEDING) is State.SEEDING
            assert await session.wait_stopped() == "time"
        assert state_of(session) is State.STOPPED
    pieces = METAINFO.piece_count
    assert kinds(events, *NOISE) == [
        "session.started",
        *["piece.completed"] * pieces,
        "file.completed",
        "session.completed",
        "download.finished",
        "session.stopped",
    ]
    assert kinds(events).index("peer.connected") < kinds(events).index("piece.completed")
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


async def test_stats_after_the_end_are_those_of_the_run(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (other, address),
        resources(tmp_path / "leech") as shared,
    ):
        session = await download(shared, METAINFO, tmp_path / "out", address)
        stats = session.stats()
        await until(lambda: not other.peers())
    assert (stats.state, stats.completed_bytes) == (State.STOPPED, len(PAYLOAD))
    assert (stats.downloaded_bytes, stats.wasted_bytes) == (len(PAYLOAD), 0)
    assert (stats.peers, stats.connecting) == (0, 0)
    assert other.stats().uploaded_bytes == len(PAYLOAD)


async def test_event_carries_what_stats_returns(tmp_path: Path) -> None:
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (session, _):
        event = await anext(session.events.stream(StatsUpdated))
        now = session.stats()
    assert event.info_hash == session.info_hash
    assert replace(event.stats, elapsed_s=now.elapsed_s, loop_lag=now.loop_lag) == now


async def test_pause_ends_the_links_and_resume_finishes_the_download(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        config = SessionConfig(peers=(address,), max_download_bytes_per_s=200_000)
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        events = record(session)
        async with session:
            await until(lambda: session.stats().pieces_have)
            await session.pause()
            assert state_of(session) is State.PAUSED
            await until(lambda: not session.stats().peers)
            with pytest.raises(StateTransitionError):
                await session.pause()
            session.set_rate_limits(download_bytes_per_s=0)
            await session.resume()
            assert state_of(session) is State.DOWNLOADING
            await reach(session, State.SEEDING)
            assert session.stats().downloaded_bytes <= len(PAYLOAD) + 200_000
        assert content(METAINFO, tmp_path / "out") == PAYLOAD
    seen = kinds(events, *NOISE, "piece.completed", "file.completed")
    assert seen == [
        "session.started",
        "session.paused",
        "session.resumed",
        "session.completed",
        "download.finished",
        "session.stopped",
    ]


async def test_the_last_pieces_may_be_written_while_paused(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        config = SessionConfig(peers=(address,))
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        events = record(session)
        async with session:
            await reach(session, State.DOWNLOADING)
            await until(lambda: session.stats().downloaded_bytes == len(PAYLOAD))
            if session.state is State.DOWNLOADING:
                await session.pause()
                await until(lambda: session.stats().pieces_have == METAINFO.piece_count)
                await session.resume()
            assert await reach(session, State.SEEDING) is State.SEEDING
    assert kinds(events).count("session.completed") == 1


async def test_a_session_may_start_paused(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        session = await Session.create(
            METAINFO, shared, save_path=tmp_path / "out", config=SessionConfig(paused=True)
        )
        async with session:
            assert state_of(session) is State.PAUSED
            await session.resume()
            await reach(session, State.DOWNLOADING)


async def test_pause_during_the_check_goes_on_with_it(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "out")
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        async with session:
            await session.pause()
            assert state_of(session) is State.PAUSED
            await session.resume()
            assert state_of(session) is State.CHECKING
            assert await reach(session, State.SEEDING) is State.SEEDING
            assert session.stats().checked_fraction == 1.0


async def test_starting_twice_is_refused(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        twin = await Session.create(METAINFO, shared, save_path=tmp_path / "other")
        async with session:
            with pytest.raises(StateTransitionError):
                await session.start()
            with pytest.raises(LocalProtocolError):
                await twin.start()
            assert (twin.state, shared.references) == (State.STOPPED, 2)
        await twin.start()
        await twin.close()
        assert shared.references == 1


async def test_resume_and_pause_need_a_run(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        with pytest.raises(StateTransitionError):
            await session.pause()
        with pytest.raises(StateTransitionError):
            await session.resume()
        await session.stop()  # nothing runs: nothing to do
        async with session:
            with pytest.raises(StateTransitionError):
                await session.resume()


async def test_stop_while_checking_ends_at_once_and_a_restart_completes(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "out")
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        for _ in range(3):
            await session.start()
            await session.stop()
            assert (session.state, await session.wait_stopped()) == (State.STOPPED, "stopped")
        await session.start()
        await reach(session, State.SEEDING)
        await session.close()


async def test_stopping_twice_at_once_is_harmless(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        events = record(session)
        await session.start()
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(session.stop)
            tasks.start_soon(session.close)
    assert kinds(events).count("session.stopped") == 1


async def test_a_recheck_during_the_stop_follows_it(tmp_path: Path) -> None:
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (session, _):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(session.stop)
            while session._core.stop_wanted is None:  # each turn: the stop takes few of them
                await anyio.lowlevel.checkpoint()
            assert state_of(session) is State.SEEDING
            await session.recheck()
        assert state_of(session) is State.CHECKING
        assert await reach(session, State.SEEDING) is State.SEEDING


async def test_a_closed_session_does_not_start_again(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        async with session:
            pass
        with pytest.raises(StateTransitionError):
            await session.start()
        assert shared.references == 1


async def test_close_ends_the_event_stream(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        stream = session.events.stream()
        async with session:
            await reach(session, State.DOWNLOADING)
        seen = [event async for event in stream]
    assert isinstance(seen[-1], SessionStopped)
    assert seen[-1].reason == "stopped"


async def test_close_while_downloading_leaves_no_descriptor(tmp_path: Path) -> None:
    before = open_descriptors()
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        config = SessionConfig(peers=(address,), max_download_bytes_per_s=100_000)
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        async with session:
            await until(lambda: session.stats().downloaded_bytes)
        assert shared.connection_slots.used == 0
        assert session.stats().connecting == 0
    assert open_descriptors() == before


async def test_cancelling_from_outside_closes_all_and_saves_the_state(tmp_path: Path) -> None:
    before = open_descriptors()
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address):
        config = SessionConfig(peers=(address,))
        with anyio.CancelScope() as scope:
            async with resources(tmp_path / "leech") as shared:
                session = await Session.create(
                    METAINFO, shared, save_path=tmp_path / "out", config=config
                )
                async with session:
                    await reach(session, State.SEEDING)
                    scope.cancel()
                    await anyio.sleep_forever()
        assert state_of(session) is State.STOPPED
        assert session.error is None
        async with resources(tmp_path / "leech") as shared:
            again = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
            async with again:
                await reach(again, State.SEEDING)
                assert again.stats().checked_fraction == 0.0  # nothing had to be hashed
    assert open_descriptors() == before


async def test_shared_close_ends_sessions_that_are_open(tmp_path: Path) -> None:
    shared = resources(tmp_path)
    async with shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        await session.start()
        await reach(session, State.DOWNLOADING)
    assert state_of(session) is State.STOPPED


async def test_a_stopped_torrent_stays_stopped_when_its_changed_files_are_removed(
    tmp_path: Path,
) -> None:
    path = tmp_path / METAINFO.name
    write_files(METAINFO, PAYLOAD, tmp_path)
    async with resources(tmp_path / "state") as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path)
        await session.start()
        await reach(session, State.SEEDING)
        await session.stop()
        path.write_bytes(bytes(len(PAYLOAD)))
        await session.cancel(delete_files=True)
        assert state_of(session) is State.STOPPED
        assert not path.exists()
        async with session:  # and it may begin anew
            await reach(session, State.DOWNLOADING)


async def test_wait_returns_at_once_in_the_state_and_raises_on_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "file" / "out")
        assert await session.wait(State.STOPPED, State.SEEDING) is State.STOPPED
        await session.start()
        with pytest.raises(StorageError, match="file"):
            await reach(session, State.SEEDING)
        assert await session.wait(State.ERROR) is State.ERROR
        with pytest.raises(StorageError) as caught:
            await session.wait(State.SEEDING)
        assert caught.value is session.error
        with pytest.raises(SessionError):
            await session.wait_stopped()
        await session.close()


@pytest.mark.parametrize("how", ["stop", "close", "cancel"])
async def test_wait_raises_when_the_session_is_stopped_meanwhile(tmp_path: Path, how: str) -> None:
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        await session.start()
        await reach(session, State.DOWNLOADING)
        async with waiting(session):
            await getattr(session, how)()
        with pytest.raises(SessionError, match="stopped"):  # nor afterwards
            await reach(session, State.SEEDING)
        await session.close()


async def test_wait_before_the_start_is_for_the_start_and_ends_with_close(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reach, session, State.DOWNLOADING)
            await anyio.wait_all_tasks_blocked()
            await session.start()
        assert state_of(session) is State.DOWNLOADING
        await session.close()
        unused = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        async with waiting(unused):
            await unused.close()
        assert state_of(unused) is State.STOPPED


@pytest.mark.parametrize("priorities", [(8,), (-1,)], ids=["high", "low"])
async def test_priorities_out_of_range_are_refused_at_once(
    tmp_path: Path, priorities: tuple[int, ...]
) -> None:
    with pytest.raises(ConfigError, match=str(priorities[0])):
        SessionConfig(file_priorities=priorities)
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        with pytest.raises(ConfigError, match=str(priorities[0])):
            await session.set_file_priorities(priorities)


async def test_priorities_that_do_not_fit_are_an_error(tmp_path: Path) -> None:
    priorities = (1, 2)
    async with resources(tmp_path) as shared:
        config = SessionConfig(file_priorities=priorities)
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        async with session:
            with pytest.raises(SessionError) as caught:
                await session.wait_stopped()
            assert isinstance(caught.value.__cause__, ConfigError)
            with pytest.raises(ConfigError):
                await session.set_file_priorities(priorities)


@pytest.mark.parametrize("path", ["../x", "/x", "", "a/../../x"])
async def test_a_rename_that_leads_out_of_the_save_path_is_an_error(
    tmp_path: Path, path: str
) -> None:
    async with resources(tmp_path) as shared:
        config = SessionConfig(renamed_files=((0, path),))
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        async with session:
            with pytest.raises(SessionError) as caught:
                await session.wait_stopped()
            assert isinstance(caught.value.__cause__, ConfigError)


async def test_bep10_peers_are_told_of_with_the_name_that_they_give(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (other, address),
        resources(tmp_path / "leech") as shared,
    ):
        seen = record(other)
        await download(shared, METAINFO, tmp_path / "out", address)
        await until(lambda: "peer.disconnected" in kinds(seen))
    connected = [event for event in seen if isinstance(event, PeerConnected)]
    assert [event.client for event in connected] == [CLIENT_NAME]
    assert kinds(seen, "stats.update", "session.stopped") == ["peer.connected", "peer.disconnected"]


@pytest.mark.parametrize("bep10_byte", [0, 0x10], ids=["without_bep10", "silent"])
async def test_bep20_without_a_name_of_its_own_the_peer_id_names_a_peer(
    tmp_path: Path, bep10_byte: int
) -> None:
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (session, (host, port)):
        seen = record(session)
        async with await anyio.connect_tcp(host, port) as stream:
            reserved = bytes((0, 0, 0, 0, 0, bep10_byte, 0, 0))
            start = b"\x13BitTorrent protocol" + reserved + METAINFO.info_hash
            await stream.send(start + b"-TR3000-abcdefghijkl")
            await until(session.peers)
        await until(lambda: "peer.disconnected" in kinds(seen))
    connected = [event for event in seen if isinstance(event, PeerConnected)]
    assert [event.client for event in connected] == ["Transmission 3.0.0.0"]
    assert kinds(seen, "stats.update", "session.stopped") == ["peer.connected", "peer.disconnected"]


async def test_events_come_also_after_the_resources_were_closed_and_opened_again(
    tmp_path: Path,
) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    shared = resources(tmp_path)
    async with shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "files")
        events = record(session)
        await session.start()
        await session.stop()
    async with shared:
        await until(lambda: "session.stopped" in kinds(events) or not events)
        events.clear()
        await session.start()
        await reach(session, State.SEEDING)
        await until(lambda: "session.started" in kinds(events))
        await session.close()
    assert "session.started" in kinds(events)
