"""After close() nothing is left: no task, no thread, no socket, no file descriptor.

Each story runs on a loop of its own. Tasks are counted before that loop ends, threads and
descriptors after it: a loop keeps threads that idle, and its own descriptors, until its end.
"""

import gc
import os
import threading
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
import pytest
import trio

from tests.support.clock import let_tasks_run
from tests.support.managers import manager
from tests.support.scripted_peer import dialled, listening
from tests.support.swarm import download, reach, resources, seed, until
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import (
    DhtConfig,
    EncryptionConfig,
    EncryptionLevel,
    EncryptionPolicy,
    LsdConfig,
    NetworkConfig,
    QueueConfig,
    SessionConfig,
)
from torrent_engine.base.errors import SessionError, StateDatabaseError, TorrentEngineError
from torrent_engine.codec.magnet import Magnet
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

PAYLOADS = [payload_of(1_000_000, number) for number in range(4)]
TORRENTS = [make_torrent(data, name=f"t{number}")[0] for number, data in enumerate(PAYLOADS)]
FIRST, SECOND, THIRD, _ = TORRENTS
DHT = DhtConfig(bootstrap=())
SLOW_BYTES_PER_S: Final = 50_000
THREADS_END_S = 5.0
BACKENDS: dict[str, dict[str, Any]] = {"asyncio": {"use_uvloop": True}, "trio": {}}
Story = Callable[[Path], Awaitable[object]]


@dataclass(frozen=True)
class Left:
    """What was not there before."""

    tasks: Collection[str]
    threads: Collection[str]
    descriptors: Collection[str]


NOTHING = Left([], [], [])


def descriptors() -> dict[str, str]:
    """Return what each open descriptor of this process stands for."""
    found = {}
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - closed again when it returns
        with suppress(OSError):
            found[name] = str(Path("/proc/self/fd", name).readlink())
    return found


def threads() -> set[threading.Thread]:
    """Return the threads that run, but those that trio keeps for the next loop."""
    return {each for each in threading.enumerate() if not each.name.startswith("Trio thread")}


def left_by(story: Story, folder: Path, backend: str) -> Left:
    """Let the story happen on a new loop; return what it left."""
    threads_before = threads()
    gc.collect()
    open_before = descriptors()

    async def main() -> list[str]:
        known = {each.id for each in anyio.get_running_tasks()}
        with anyio.fail_after(40):
            await story(folder)
        await let_tasks_run()
        return [str(each.name) for each in anyio.get_running_tasks() if each.id not in known]

    tasks = anyio.run(main, backend=backend, backend_options=BACKENDS[backend])
    gc.collect()
    deadline = time.monotonic() + THREADS_END_S
    while (more := threads() - threads_before) and time.monotonic() < deadline:
        for thread in more:
            thread.join(0.1)
    now = descriptors().items()
    return Left(
        tasks, [each.name for each in more], sorted(what for _, what in now - open_before.items())
    )


# -- SharedResources ------------------------------------------------------------------------------


async def services_come_and_go(folder: Path) -> None:
    async with resources(folder, dht=DHT, lsd=LsdConfig()) as shared:
        await shared.release()
        await shared.acquire()


async def services_fail_to_start(folder: Path) -> None:
    (folder / "state").write_bytes(b"not a folder")
    with suppress(StateDatabaseError):
        async with resources(folder, dht=DHT):
            raise AssertionError


async def services_are_closed_while_sessions_run(folder: Path) -> None:
    async with resources(folder) as shared:
        session = await Session.create(FIRST, shared, save_path=folder / "out")
        await session.start()
        await reach(session, State.DOWNLOADING)
        await shared.close()


# -- Session --------------------------------------------------------------------------------------


async def a_download_comes_to_its_end(folder: Path) -> None:
    async with (
        seed(folder / "seed", FIRST, PAYLOADS[0]) as (_, address),
        resources(folder) as shared,
    ):
        await download(shared, FIRST, folder / "out", address)


async def a_download_is_closed_half_way(folder: Path) -> None:
    limit = SLOW_BYTES_PER_S
    async with (
        seed(folder / "seed", FIRST, PAYLOADS[0]) as (_, address),
        resources(folder) as shared,
    ):
        config = SessionConfig(peers=(address,), max_download_bytes_per_s=limit)
        session = await Session.create(FIRST, shared, save_path=folder / "out", config=config)
        async with session:
            await until(lambda: session.stats().downloaded_bytes > 0)


async def a_peer_is_there_when_a_seed_closes(folder: Path) -> None:
    async with seed(folder, FIRST, PAYLOADS[0]) as (session, address):
        wire = dialled(FIRST, address)
        link = await wire.__aenter__()
        await link.shake_hands()
        await until(lambda: session.stats().peers == 1)
        await session.close()
        await wire.__aexit__(None, None, None)


async def encrypted_links_over_utp_are_closed_half_way(folder: Path) -> None:
    required = EncryptionPolicy.REQUIRED
    encryption = EncryptionConfig(incoming=required, outgoing=required, level=EncryptionLevel.RC4)
    network = NetworkConfig(tcp=False, encryption=encryption)
    async with (
        seed(folder / "seed", FIRST, PAYLOADS[0], network=network) as (_, address),
        resources(folder, network=network) as shared,
    ):
        config = SessionConfig(peers=(address,), max_download_bytes_per_s=SLOW_BYTES_PER_S)
        session = await Session.create(FIRST, shared, save_path=folder / "out", config=config)
        async with session:
            await until(lambda: session.stats().downloaded_bytes > 0)


async def handshakes_are_given_up(folder: Path) -> None:
    """Of ours with a silent peer, and of a silent peer with us, encrypted and not."""
    encryption = EncryptionConfig(outgoing=EncryptionPolicy.REQUIRED)
    network = NetworkConfig(encryption=encryption)

    async def say_nothing(_stream: anyio.abc.SocketStream) -> None:
        await anyio.sleep_forever()

    async with (
        listening(say_nothing) as silent,
        resources(folder / "ours", network=network) as shared,
    ):
        config = SessionConfig(peers=(silent,))
        session = await Session.create(FIRST, shared, save_path=folder / "out", config=config)
        async with session:
            await until(lambda: session.stats().connecting)
            async with (
                await anyio.connect_tcp("127.0.0.1", shared.listen_port),
                await anyio.connect_tcp("127.0.0.1", shared.listen_port) as other,
            ):
                await other.send(bytes(range(100, 200)))
                await until(lambda: len(shared.router._waiting) == 2)
                await session.close()


async def a_link_is_given_up(folder: Path) -> None:
    async with resources(folder, dht=DHT) as shared:
        link = Magnet.of(FIRST)
        async with await Session.create(link, shared, save_path=folder / "out") as session:
            await reach(session, State.FETCHING_METADATA)


async def a_session_fails(folder: Path) -> None:
    (folder / "out").write_bytes(b"not a folder")
    async with resources(folder) as shared:
        session = await Session.create(FIRST, shared, save_path=folder / "out")
        with suppress(TorrentEngineError):
            async with session:
                await reach(session, State.DOWNLOADING)


# -- TorrentManager -------------------------------------------------------------------------------


async def a_manager_has_torrents_and_links(folder: Path) -> None:
    async with manager(folder) as many:
        for torrent in TORRENTS[:3]:
            await many.add_torrent(torrent)
        await many.add_torrent(Magnet.of(TORRENTS[3]))
        await many.pause_all()
        await many.resume_all()
        await many.remove_torrent(FIRST.info_hash, delete_files=True)


async def torrents_are_restored(folder: Path) -> None:
    await a_manager_has_torrents_and_links(folder)
    async with manager(folder) as many:
        assert many.restored == 3  # and closed at once
    async with manager(folder) as many:
        await until(lambda: all(each.is_resting for each in many.sessions[:2]))


async def a_manager_fails(folder: Path) -> None:
    with suppress(ZeroDivisionError):
        async with manager(folder, max_torrents=1) as many:
            await many.add_torrent(FIRST)
            with suppress(SessionError):
                await many.add_torrent(SECOND)
            with suppress(FileNotFoundError):
                await many.add_torrent(folder / "nothing.torrent")
            raise ZeroDivisionError


async def files_move_while_their_torrent_downloads(folder: Path) -> None:
    limit = SLOW_BYTES_PER_S
    async with (
        seed(folder / "seed", FIRST, PAYLOADS[0]) as (_, address),
        manager(folder, queue=QueueConfig(max_active_downloads=1)) as many,
    ):
        config = SessionConfig(peers=(address,), max_download_bytes_per_s=limit)
        session = await many.add_torrent(FIRST, config=config)
        await many.add_torrent(SECOND)
        await until(lambda: session.stats().pieces_have > 0)
        await session.move_storage(folder / "elsewhere")
        await until(lambda: session.stats().peers > 0)
        await session.recheck()


async def a_manager_is_given_up(folder: Path, *, turns: int) -> None:
    """Whatever it does at that moment: it starts, adds, restores, or closes."""
    async with anyio.create_task_group() as tasks:

        async def cancel() -> None:
            await let_tasks_run(turns)
            tasks.cancel_scope.cancel()

        tasks.start_soon(cancel)
        for _ in range(2):
            async with manager(folder) as many:
                for torrent in TORRENTS:
                    await many.add_torrent(torrent)
                await many.flush()
        tasks.cancel_scope.cancel()


STORIES: list[Story] = [
    services_come_and_go,
    services_fail_to_start,
    services_are_closed_while_sessions_run,
    a_download_comes_to_its_end,
    a_download_is_closed_half_way,
    a_peer_is_there_when_a_seed_closes,
    encrypted_links_over_utp_are_closed_half_way,
    handshakes_are_given_up,
    a_link_is_given_up,
    a_session_fails,
    a_manager_has_torrents_and_links,
    torrents_are_restored,
    a_manager_fails,
    files_move_while_their_torrent_downloads,
]


@pytest.fixture(scope="module", autouse=True)
def loops_ran_before() -> None:
    """Let each loop open what it keeps for the whole process."""
    for backend, options in BACKENDS.items():
        anyio.run(let_tasks_run, backend=backend, backend_options=options)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_nothing_is_left_when(story: Story, backend: str, tmp_path: Path) -> None:
    assert left_by(story, tmp_path, backend) == NOTHING


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("turns", [0, 1, 5, 10, 20, 40, 80, 150, 300, 600, 1_200])
def test_nothing_is_left_when_a_manager_is_cancelled_in_the_middle(
    turns: int, backend: str, tmp_path: Path
) -> None:
    story = partial(a_manager_is_given_up, turns=turns)
    assert left_by(story, tmp_path, backend) == NOTHING


# -- what is left is seen -------------------------------------------------------------------------


async def leave_a_descriptor(folder: Path) -> None:
    os.open(folder, os.O_RDONLY)


async def leave_a_thread(_folder: Path, *, end: threading.Event) -> None:
    threading.Thread(target=end.wait, name="left", daemon=True).start()


async def leave_a_task(_folder: Path) -> None:
    trio.lowlevel.spawn_system_task(trio.sleep_forever, name="left")


def test_what_is_left_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.THREADS_END_S", 0.2)
    left = left_by(leave_a_descriptor, tmp_path, "asyncio")
    assert left.descriptors == [str(tmp_path)]
    os.close(max(int(name) for name, what in descriptors().items() if what == str(tmp_path)))
    end = threading.Event()
    story = partial(leave_a_thread, end=end)
    assert left_by(story, tmp_path, "asyncio").threads == ["left"]
    end.set()
    assert left_by(leave_a_task, tmp_path, "trio").tasks == ["left"]
