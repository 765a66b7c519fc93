"""Two torrents that list one real file: one writes, several may read, none removes another's."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.managers import manager
from tests.support.swarm import content, files_below, reach, resources, seed, state_of, until
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import DiskConfig, SessionConfig
from torrent_engine.base.errors import (
    DiskFullError,
    FileExistsStorageError,
    FileInUseError,
    SessionError,
)
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.files.file_registry import FileRegistry, Listing
from torrent_engine.disk.files.file_storage import FileStorage
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.filesystem import NameFoldings
from torrent_engine.disk.resume.keeper import ResumeKeeper
from torrent_engine.disk.resume.shared_files import SharedFile, shared_files
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.engine.transfer import file_claims

pytestmark = pytest.mark.anyio

KIB = 1024
DATA = {"one": payload_of(100_000, 1), "two": payload_of(90_000, 2)}
A, A_DATA = make_torrent(DATA, piece_bytes=16 * KIB)
B, B_DATA = make_torrent({**DATA, "one": payload_of(100_000, 3)}, piece_bytes=32 * KIB)
SAME, SAME_DATA = make_torrent(DATA, piece_bytes=64 * KIB)


class Swarm:
    """Seeds of all torrents, and one process that has them or is to get them."""

    def __init__(self, tmp_path: Path, shared: SharedResources, peers: Any) -> None:
        self.shared = shared
        self.out = tmp_path / "out"
        self.peers = peers
        self._stack = AsyncExitStack()

    async def session(
        self, metainfo: Metainfo, save_path: Path | None = None, **options: Any
    ) -> Session:
        config = SessionConfig(peers=self.peers[metainfo.info_hash], **options)
        folder = save_path or self.out
        session = await Session.create(metainfo, self.shared, save_path=folder, config=config)
        self._stack.push_async_callback(session.close)
        return session

    async def whole(self, metainfo: Metainfo, save_path: Path | None = None) -> Session:
        session = await self.session(metainfo, save_path)
        await session.start()
        await reach(session, State.SEEDING)
        return session


@pytest.fixture
async def swarm(tmp_path: Path) -> AsyncIterator[Swarm]:
    async with AsyncExitStack() as stack:
        peers = {}
        for number, (metainfo, data) in enumerate([(A, A_DATA), (B, B_DATA), (SAME, SAME_DATA)]):
            folder = tmp_path / f"seed {number}"
            _, address = await stack.enter_async_context(seed(folder, metainfo, data))
            peers[metainfo.info_hash] = (address,)
        shared = await stack.enter_async_context(resources(tmp_path / "leech"))
        swarm = Swarm(tmp_path, shared, peers)
        await stack.enter_async_context(swarm._stack)
        yield swarm


async def refused(session: Session) -> FileInUseError:
    await session.start()
    with pytest.raises(SessionError) as caught:
        await session.wait_stopped()
    error = caught.value.__cause__
    assert isinstance(error, FileInUseError)
    return error


async def test_a_file_that_is_not_saved_yet_is_found_by_another_path_to_it(
    tmp_path: Path,
) -> None:
    """A folder may be mounted twice; here its files have two names."""
    registry, saved = FileRegistry(NameFoldings()), list[str]()

    async def save(name: str) -> None:
        saved.append(name)

    limiter = anyio.CapacityLimiter(1)
    async with AsyncExitStack() as stack:
        listings: dict[str, Listing] = {}
        for name in ("first", "second", "third"):
            folder = tmp_path / name
            if name == "second":
                shutil.copytree(tmp_path / "first", folder, copy_function=os.link)
            storage = StorageManager(A, folder, disk_limiter=limiter, config=DiskConfig())
            await storage.open()
            stack.push_async_callback(storage.close)
            if name != "second":
                storage.write_views(0, [memoryview(A_DATA)])
            listings[name] = registry.enter(storage, partial(save, name))
        for each in registry.unsaved(listings["second"], {0, 1}):
            await each()
        assert saved == ["first"]
        assert registry.unsaved(listings["second"], set()) == []
        first = listings["first"].storage
        first.stamps.saved(first.stamps.changed())
        assert registry.unsaved(listings["second"], {0, 1}) == []


@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_second_writer_of_a_seeded_file_is_refused(swarm: Swarm, overwrite: bool) -> None:
    first = await swarm.whole(A)
    second = await swarm.session(B, overwrite=overwrite)
    error = await refused(second)
    assert Path(error.path).name == "one"
    assert error.info_hash == A.info_hash
    assert not error.may_overwrite
    await second.cancel(delete_files=True)
    assert state_of(first) is State.SEEDING
    assert content(A, swarm.out) == A_DATA


async def test_a_file_that_is_wanted_while_others_are_claimed_is_claimed_too(
    swarm: Swarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await swarm.whole(A)
    data = {"one": payload_of(100_000, 9), "three": payload_of(90_000, 5)}
    other, _ = make_torrent(data, piece_bytes=16 * KIB)
    assert other.name == A.name
    swarm.peers[other.info_hash] = ()
    second = await swarm.session(other, file_priorities=(0, 4), overwrite=True)
    is_asking, is_called = anyio.Event(), anyio.Event()

    async def slow(*args: Any) -> list[SharedFile]:
        found = await shared_files(*args)
        if args[1] == other.info_hash and not is_asking.is_set():
            is_asking.set()
            await is_called.wait()
            await anyio.wait_all_tasks_blocked()
        return found

    monkeypatch.setattr(file_claims, "shared_files", slow)
    await second.start()
    await is_asking.wait()

    async def want() -> None:
        is_called.set()
        with pytest.raises(FileInUseError):
            await second.set_file_priorities([4, 4])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(want)
    assert second.config.file_priorities == (0, 4)
    assert content(A, swarm.out) == A_DATA
    assert state_of(first) is State.SEEDING


THREE, THREE_DATA = make_torrent(
    {"one": payload_of(100_000, 9), "three": payload_of(90_000, 5)}, piece_bytes=16 * KIB
)
"""The piece that ends with some of its "three" is what it has of "one", in the part-file."""


@pytest.fixture
async def peers_of_three(swarm: Swarm, tmp_path: Path) -> AsyncIterator[None]:
    async with seed(tmp_path / "seed 3", THREE, THREE_DATA) as (_, address):
        swarm.peers[THREE.info_hash] = (address,)
        session = await swarm.session(THREE, file_priorities=(0, 4))
        async with session:
            await reach(session, State.SEEDING)
        yield


@pytest.mark.usefixtures("peers_of_three")
@pytest.mark.parametrize("waits_for_room", [False, True], ids=["paused", "waits for room"])
async def test_what_is_wanted_before_a_claim_takes_nothing_from_another_torrent(
    swarm: Swarm, monkeypatch: pytest.MonkeyPatch, waits_for_room: bool
) -> None:
    first = await swarm.whole(A)
    claim, is_full = FileStorage.claim, waits_for_room

    def claims(storage: FileStorage) -> None:
        if is_full:
            raise DiskFullError(storage.paths.save_path, "full")
        claim(storage)

    monkeypatch.setattr(FileStorage, "claim", claims)
    options: dict[str, Any] = {"paused": not waits_for_room, "overwrite": True}
    second = await swarm.session(THREE, file_priorities=(0, 4), **options)
    await second.start()
    await until(lambda: second.state is (State.ERROR if waits_for_room else State.PAUSED))
    await until(lambda: (run := second._core.run) is not None and run.reads.is_open)
    await second.set_file_priorities([4, 4])
    assert content(A, swarm.out) == A_DATA
    is_full = False
    await second.resume()
    with pytest.raises(SessionError) as caught:
        await second.wait_stopped()
    assert isinstance(caught.value.__cause__, FileInUseError)
    assert content(A, swarm.out) == A_DATA
    assert state_of(first) is State.SEEDING


@pytest.mark.usefixtures("peers_of_three")
async def test_no_opening_makes_a_file_that_another_torrent_is_about_to_make(swarm: Swarm) -> None:
    peers, swarm.peers[A.info_hash] = swarm.peers[A.info_hash], ()
    first = await swarm.session(A)
    await first.start()
    await reach(first, State.DOWNLOADING)
    second = await swarm.session(THREE)
    await second.start()
    with pytest.raises(SessionError) as caught:
        await second.wait_stopped()
    assert isinstance(caught.value.__cause__, FileInUseError)
    await first.add_peer(*peers[0])
    await reach(first, State.SEEDING)
    assert content(A, swarm.out) == A_DATA


async def test_a_run_that_saves_for_the_last_time_makes_no_other_files(
    swarm: Swarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await swarm.session(A, file_priorities=(4, 0))
    await session.start()
    await reach(session, State.SEEDING)
    is_closing, may_close = anyio.Event(), anyio.Event()
    close = ResumeKeeper.close

    async def slow(keeper: ResumeKeeper) -> None:
        await close(keeper)
        is_closing.set()
        await may_close.wait()

    monkeypatch.setattr(ResumeKeeper, "close", slow)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(session.stop)
        await is_closing.wait()
        await session.set_file_priorities([4, 4])
        assert not (swarm.out / A.name / "two").exists()
        may_close.set()
    await session.start()
    await reach(session, State.SEEDING)
    assert (swarm.out / A.name / "two").read_bytes() == DATA["two"]
    await session.cancel(delete_files=True)
    assert files_below(swarm.out) == set()


async def test_of_two_that_begin_at_once_one_gets_the_files(swarm: Swarm) -> None:
    first, second = await swarm.session(A), await swarm.session(B)
    errors: list[SessionError] = []

    async def run(session: Session) -> None:
        await session.start()
        try:
            with anyio.fail_after(30):
                await session.wait(State.SEEDING)
        except FileExistsStorageError:
            errors.append(SessionError())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, first)
        tasks.start_soon(run, second)
    assert len(errors) == 1
    winner, data = (A, A_DATA) if state_of(first) is State.SEEDING else (B, B_DATA)
    assert content(winner, swarm.out) == data


@pytest.mark.parametrize("way", ["link to the folder", "dots", "a folder further in"])
async def test_other_spellings_of_a_path_are_the_same_path(swarm: Swarm, way: str) -> None:
    first = await swarm.session(A, max_download_bytes_per_s=1)
    await first.start()
    await reach(first, State.DOWNLOADING)
    link = swarm.out.parent / "link"
    link.symlink_to(swarm.out)
    if way == "a folder further in":
        single, _ = make_torrent(payload_of(50_000, 9), name="one")
        second = await Session.create(
            single, swarm.shared, save_path=link / "payload", config=SessionConfig()
        )
    else:
        folder = link if way == "link to the folder" else swarm.out / ".." / "out"
        second = await swarm.session(B, folder)
    async with second:
        with pytest.raises(FileInUseError):
            await second.wait(State.SEEDING)
    await first.cancel(delete_files=True)


async def test_names_that_differ_in_case_are_two_files_here(swarm: Swarm, tmp_path: Path) -> None:
    names = {"ONE": payload_of(40_000, 7)}
    other, data = make_torrent(names)
    first = await swarm.session(A, max_download_bytes_per_s=1)
    await first.start()
    await reach(first, State.DOWNLOADING)
    async with seed(tmp_path / "other seed", other, data) as (_, address):
        config = SessionConfig(peers=(address,))
        async with await Session.create(
            other, swarm.shared, save_path=swarm.out, config=config
        ) as second:
            await reach(second, State.SEEDING)
            assert content(other, swarm.out) == data


async def test_two_torrents_of_equal_content_share_it_and_the_last_removes_it(
    swarm: Swarm,
) -> None:
    first, second = await swarm.whole(A), await swarm.whole(SAME)
    assert second.stats().downloaded_bytes == 0
    await second.cancel(delete_files=True)
    assert content(A, swarm.out) == A_DATA
    assert state_of(first) is State.SEEDING
    await first.cancel(delete_files=True)
    assert files_below(swarm.out) == set()


async def test_the_first_of_two_that_share_leaves_the_files_to_the_other(swarm: Swarm) -> None:
    first, second = await swarm.whole(A), await swarm.whole(SAME)
    await second.stop()  # known to the database only
    await first.cancel(delete_files=True)
    assert content(SAME, swarm.out) == SAME_DATA
    await second.start()
    await reach(second, State.SEEDING)
    await second.cancel(delete_files=True)
    assert files_below(swarm.out) == set()


async def test_a_shared_file_that_is_damaged_is_not_repaired_under_the_other(
    swarm: Swarm,
) -> None:
    first, second = await swarm.whole(A), await swarm.whole(SAME)
    with (swarm.out / "payload/one").open("r+b") as file:
        file.write(b"damaged")
    await second.recheck()
    with pytest.raises(FileInUseError):
        await second.wait(State.SEEDING)
    assert state_of(first) is State.SEEDING


@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_stopped_torrent_of_a_manager_keeps_its_files(
    tmp_path: Path, overwrite: bool
) -> None:
    out = tmp_path / "out"
    write_files(A, A_DATA, out)
    async with manager(tmp_path) as many:
        first = await many.add_torrent(A, save_path=out)
        await reach(first, State.SEEDING)
        await first.stop()
        second = await many.add_torrent(B, save_path=out, config=SessionConfig(overwrite=overwrite))
        with pytest.raises(FileExistsStorageError) as caught:
            await second.wait(State.SEEDING)
        assert "overwrite" not in str(caught.value)
        await many.remove_torrent(B.info_hash, delete_files=True)
        assert content(A, out) == A_DATA


async def test_a_file_of_what_was_once_downloaded_is_refused_with_what_would_help(
    swarm: Swarm,
) -> None:
    first = await swarm.whole(A)
    await first.close()
    error = await refused(await swarm.session(B))
    assert (error.info_hash, error.may_overwrite) == (A.info_hash, True)
    assert str(error).endswith("too; not overwritten without overwrite")
    assert content(A, swarm.out) == A_DATA


async def test_what_was_once_downloaded_may_be_overwritten_and_is_not_taken_back(
    swarm: Swarm,
) -> None:
    first = await swarm.whole(A)
    await first.close()
    second = await swarm.session(B, overwrite=True)
    await second.start()
    await reach(second, State.SEEDING)
    await second.stop()
    again = await swarm.session(A)
    await again.start()
    with pytest.raises(FileExistsStorageError):
        await again.wait(State.SEEDING)
    assert content(B, swarm.out) == B_DATA


async def test_a_file_made_anew_in_the_place_of_another_torrents_is_resumed(
    swarm: Swarm,
) -> None:
    """The user removed the first; the inode may well be the same one."""
    first = await swarm.whole(A)
    await first.close()
    for name in DATA:
        (swarm.out / "payload" / name).unlink()
    second = await swarm.session(B, max_download_bytes_per_s=200 * KIB)
    await second.start()
    await until(lambda: second.stats().pieces_have)
    await second.stop()
    second.set_rate_limits(download_bytes_per_s=0)
    await second.start()
    await reach(second, State.SEEDING)
    await second.cancel(delete_files=True)
    assert files_below(swarm.out) == set()


async def test_a_move_leaves_files_that_another_torrent_has(swarm: Swarm, tmp_path: Path) -> None:
    first, second = await swarm.whole(A), await swarm.whole(SAME)
    await first.move_storage(tmp_path / "new")
    assert content(A, tmp_path / "new") == A_DATA
    assert content(SAME, swarm.out) == SAME_DATA
    assert state_of(second) is State.SEEDING
    await first.cancel(delete_files=True)
    assert content(SAME, swarm.out) == SAME_DATA


async def test_nothing_is_moved_to_where_another_torrent_will_write(swarm: Swarm) -> None:
    elsewhere = swarm.out.parent / "elsewhere"
    first = await swarm.whole(A, elsewhere)
    second = await swarm.session(B, max_download_bytes_per_s=1)
    await second.start()
    await reach(second, State.DOWNLOADING)
    with pytest.raises(FileInUseError):
        await first.move_storage(swarm.out)
    assert content(A, elsewhere) == A_DATA
