"""Mistakes of programs that embed the library, and tasks that open what others close."""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.swarm import address_of, content, resources, seed, shared_config
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine import (
    BusyError,
    ClosedError,
    ConfigError,
    LocalProtocolError,
    Magnet,
    ManagerConfig,
    Session,
    SessionConfig,
    SharedConfig,
    SharedResources,
    State,
    StateInUseError,
    StateTransitionError,
    TorrentManager,
    UnknownFileError,
    UnknownTorrentError,
    download,
    download_async,
)
from torrent_engine.base.errors import HttpError, TrackerError
from torrent_engine.engine.bounded_log import BoundedLog

pytestmark = pytest.mark.anyio
METAINFO, PAYLOAD = make_torrent({"a": payload_of(50_000), "b": payload_of(20_000, 1)})


async def in_another_task(work: Callable[[], Awaitable[Any]]) -> Any:
    """Run something in a task that is over when this returns."""
    results: list[Any] = []

    async def run() -> None:
        results.append(await work())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
    return results[0]


def manager_config(folder: Path) -> ManagerConfig:
    return ManagerConfig(shared=shared_config(folder), save_path=folder / "files")


# -- started in one task, closed in another --------------------------------------------------------


async def test_a_manager_lives_across_tasks_as_across_cells_of_a_notebook(tmp_path: Path) -> None:
    manager = TorrentManager(manager_config(tmp_path / "leech"))
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address):
        assert await in_another_task(manager.start) is manager

        async def add() -> Session:
            config = SessionConfig(peers=(address,))
            added: Session = await manager.add_torrent(METAINFO.source, config=config)
            return added

        session: Session = await in_another_task(add)
        with anyio.fail_after(30):
            await session.wait(State.SEEDING)
            await in_another_task(manager.close)
    assert content(METAINFO, tmp_path / "leech/files") == PAYLOAD
    assert session.state is State.STOPPED
    await manager.close()  # twice is harmless
    async with TorrentManager(manager_config(tmp_path / "leech")) as again:  # all was let go
        assert again.restored == 1


async def test_shared_resources_and_a_session_live_across_tasks(tmp_path: Path) -> None:
    shared = resources(tmp_path)
    await in_another_task(shared.start)
    assert shared.listen_port

    async def make() -> Session:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        await session.start()
        return session

    session = await in_another_task(make)
    with anyio.fail_after(30):
        await session.wait(State.DOWNLOADING)
        await in_another_task(session.close)
        await in_another_task(shared.close)
    with pytest.raises(ClosedError, match="SharedResources"):
        _ = shared.listen_port
    await shared.start()  # they can be opened again
    await shared.close()


async def test_what_start_raises_leaves_nothing_open(tmp_path: Path) -> None:
    async with TorrentManager(manager_config(tmp_path)):
        other = TorrentManager(manager_config(tmp_path))
        for _ in range(2):
            with pytest.raises(StateInUseError, match="another manager"):
                await other.start()
        assert "not started" in repr(other)
    await other.start()  # now it may
    await other.close()


async def test_a_cancelled_start_is_undone(tmp_path: Path) -> None:
    shared = resources(tmp_path)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await shared.start()
    assert scope.cancelled_caught
    with pytest.raises(ClosedError):
        _ = shared.listen_port
    await shared.start()
    await shared.close()


async def test_a_second_start_is_refused(tmp_path: Path) -> None:
    async with TorrentManager(manager_config(tmp_path)) as manager:
        for started in (manager, manager.shared):
            with pytest.raises(BusyError, match="is started already"):
                await started.start()
            with pytest.raises(BusyError, match="is started already"):
                await started.__aenter__()
    with pytest.raises(ClosedError, match="make another"):
        await manager.start()


# -- wrong arguments -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "link"])
async def test_a_session_is_made_of_whatever_names_a_torrent(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.torrent"
    METAINFO.write(path)
    source: Any = {
        "path": path,
        "text": str(path),
        "bytes": METAINFO.source,
        "link": str(Magnet.of(METAINFO)),
    }[kind]
    session = await Session.create(source, resources(tmp_path), save_path=tmp_path)
    assert session.info_hash == METAINFO.info_hash


@pytest.mark.parametrize("source", [5, None, 1.5, [b"x"], object])
async def test_what_is_no_source_is_a_type_error_and_nothing_hangs(
    tmp_path: Path, source: Any
) -> None:
    with anyio.fail_after(30):
        with pytest.raises(TypeError, match="source: must be a path"):
            async with resources(tmp_path) as shared:
                await Session.create(source, shared, save_path=tmp_path)
        with pytest.raises(TypeError, match="source: must be a path"):
            async with TorrentManager(manager_config(tmp_path)) as manager:
                await manager.add_torrent(source)


async def test_other_wrong_arguments_of_a_session_are_type_errors(tmp_path: Path) -> None:
    shared = resources(tmp_path)
    with pytest.raises(TypeError, match="save_path: must be a path, not None"):
        await Session.create(METAINFO, shared, save_path=None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="config: must be a SessionConfig"):
        await Session.create(METAINFO, shared, save_path=".", config={})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="shared: must be a SharedResources"):
        await Session.create(METAINFO, None, save_path=".")  # type: ignore[arg-type]


async def test_a_session_that_nobody_closed_ends_with_its_resources(tmp_path: Path) -> None:
    with anyio.fail_after(30):
        async with resources(tmp_path) as shared:
            session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
            await session.start()
    assert session.state is State.STOPPED
    with pytest.raises(ClosedError, match="closed"):
        await session.start()


async def test_a_session_in_closed_resources_is_a_closed_error(tmp_path: Path) -> None:
    session = await Session.create(METAINFO, resources(tmp_path), save_path=tmp_path)
    with pytest.raises(ClosedError, match="is not open"):
        await session.start()


async def test_values_are_checked_where_they_are_given(tmp_path: Path) -> None:
    async with TorrentManager(manager_config(tmp_path)) as manager:
        session = await manager.add_torrent(METAINFO)
        for limits in (manager.set_rate_limits, session.set_rate_limits):
            with pytest.raises(ConfigError, match="download_bytes_per_s: -1"):
                limits(download_bytes_per_s=-1)
            with pytest.raises(TypeError, match=r"upload_bytes_per_s: must be .* 1\.5"):
                limits(upload_bytes_per_s=1.5)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="port: 70000"):
            await session.add_peer("127.0.0.1", 70_000)
        with pytest.raises(TypeError, match="url: must be a string, not None"):
            session.add_tracker(None)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=r"9 is more"):
            await session.set_file_priorities([4, 9])
        with pytest.raises(TypeError, match="priority: must be a whole number"):
            manager.set_priority(session.info_hash, 0.5)  # type: ignore[arg-type]
        assert session.config.file_priorities is None


async def test_errors_name_what_was_asked_for(tmp_path: Path) -> None:
    manager = TorrentManager(manager_config(tmp_path))
    with pytest.raises(ClosedError, match="TorrentManager"):
        await manager.add_torrent(METAINFO)
    async with manager:
        unknown = b"x" * 20
        with pytest.raises(UnknownTorrentError, match=unknown.hex()) as caught:
            await manager.remove_torrent(unknown)  # type: ignore[arg-type]
        assert caught.value.info_hash == unknown
        assert isinstance(caught.value, KeyError)
        with pytest.raises(ConfigError, match="not 20"):
            manager.get_session(b"short")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="info_hash: must be"):
            manager.get_session(5)  # type: ignore[arg-type]
        session = await manager.add_torrent(METAINFO)
        assert manager.get_session(METAINFO.info_hash.hex()) is session
        for file in (9, "no/such"):
            with pytest.raises(UnknownFileError, match=str(file)) as missing:
                session.open(file)
            assert missing.value.file == file
        with pytest.raises(TypeError, match="file: must be a number or a path"):
            session.open(True)
        twin = await Session.create(METAINFO, manager.shared, save_path=tmp_path)
        with pytest.raises(BusyError, match=METAINFO.info_hash.hex()):
            await twin.start()
    for error in (LocalProtocolError, StateTransitionError):  # caught by either
        with pytest.raises(error):
            await session.start()


async def test_repr_is_one_useful_line(tmp_path: Path) -> None:
    async with TorrentManager(manager_config(tmp_path)) as manager:
        session = await manager.add_torrent(METAINFO)
        shown = [manager, manager.shared, session, manager.events, session.stats(), session.open(0)]
        for each in map(repr, shown):
            assert "\n" not in each
            assert " object at 0x" not in each
        assert METAINFO.info_hash.hex() in repr(session)


# -- one call --------------------------------------------------------------------------------------


async def test_a_download_is_awaited(tmp_path: Path) -> None:
    with anyio.fail_after(30):
        async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address):
            place = await download_async(
                METAINFO,
                tmp_path / "out",
                config=SessionConfig(peers=(address,)),
                shared_config=shared_config(tmp_path),
            )
    assert place == tmp_path / "out/payload"
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


async def test_the_blocking_one_says_what_to_call_in_an_event_loop() -> None:
    with pytest.raises(RuntimeError, match=r"await download_async"):
        download("x.torrent")


async def test_a_cancelled_download_ends_in_order_and_goes_on_later(tmp_path: Path) -> None:
    config = shared_config(tmp_path)
    with anyio.move_on_after(0.3) as scope:
        await download_async(METAINFO, tmp_path / "out", shared_config=config)
    assert scope.cancelled_caught
    async with SharedResources(config) as shared:  # nothing holds the state folder
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        async with session:
            assert await session.wait(State.DOWNLOADING) is State.DOWNLOADING


# -- this machine only -----------------------------------------------------------------------------


async def test_local_resources_serve_this_machine_and_ask_nobody_else(tmp_path: Path) -> None:
    asked: list[str] = []

    def look_up(host: str) -> list[str]:
        asked.append(host)
        return ["192.0.2.1"]

    config = SharedConfig.local(state_dir=tmp_path / "state")
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        SharedResources(config, look_up=look_up) as shared,
    ):
        assert shared.dht is None
        assert shared.config.network.ip_filter.classes
        config_of = SessionConfig(peers=(address, ("198.51.100.1", 6881)))
        session = await Session.create(
            METAINFO.edited(trackers=["http://tracker.example/a", "udp://198.51.100.2:1"]),
            shared,
            save_path=tmp_path / "out",
            config=config_of,
        )
        async with session:
            with anyio.fail_after(30):
                await session.wait(State.SEEDING)
            with pytest.raises((HttpError, TrackerError)):
                await shared.http.get("http://tracker.example/a", max_bytes=100)
            with pytest.raises((HttpError, TrackerError)):
                await shared.http.get("http://198.51.100.3/a", max_bytes=100)
    assert asked == []
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


async def test_two_local_nodes_reach_each_other(tmp_path: Path) -> None:
    first = SharedResources(SharedConfig.local(state_dir=tmp_path / "1"))
    second = SharedResources(SharedConfig.local(state_dir=tmp_path / "2"))
    async with first, second:
        write_files(METAINFO, PAYLOAD, tmp_path / "full")
        source = await Session.create(METAINFO, first, save_path=tmp_path / "full")
        async with source:
            sink = await Session.create(
                METAINFO,
                second,
                save_path=tmp_path / "empty",
                config=SessionConfig(peers=(address_of(first),)),
            )
            async with sink:
                with anyio.fail_after(30):
                    assert await sink.wait(State.SEEDING) is State.SEEDING


# -- the log ---------------------------------------------------------------------------------------


async def test_the_log_tells_states_and_connects(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="torrent_engine")
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address):
        await download_async(
            METAINFO,
            tmp_path / "out",
            config=SessionConfig(peers=(address,)),
            shared_config=shared_config(tmp_path),
        )
    lines = [(each.levelname, each.getMessage()) for each in caplog.records]
    assert any(level == "INFO" and "downloading, then seeding" in line for level, line in lines)
    assert any(level == "DEBUG" and ": connected to 127.0.0.1:" in line for level, line in lines)


def test_a_bounded_log_counts_what_it_leaves_out(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    log = BoundedLog(logging.getLogger("test"), lines_per_s=1, burst=2, clock=lambda: now[0])
    caplog.set_level(logging.INFO, logger="test")
    for number in range(5):
        log.info("line %d", number)
        log.debug("not shown")
    now[0] = 1.0
    log.info("last")
    left_out = "3 lines such as the next one were left out"
    assert [each.getMessage() for each in caplog.records] == ["line 0", "line 1", left_out, "last"]
