"""Torrents whose bytes are kept by a storage of the user's: nothing lies below the save path."""

import errno
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import pytest

from tests.support.managers import manager
from tests.support.swarm import address_of, download, finish, reach, record, resources, seed, until
from tests.support.torrents import make_torrent, payload_of
from torrent_engine import (
    ConfigError,
    MemoryStorage,
    Session,
    SessionConfig,
    SessionError,
    State,
    StorageError,
    StorageFiles,
)

pytestmark = pytest.mark.anyio

FILES = {"a": payload_of(40_000), "b/c": payload_of(70_001, 1), "empty": b"", "d": payload_of(9)}
METAINFO, PAYLOAD = make_torrent(FILES)


class Kept:
    """A factory that keeps what it made, and how often its storages were asked what."""

    def __init__(self, kind: Callable[[StorageFiles], MemoryStorage] = MemoryStorage) -> None:
        self.made: list[MemoryStorage] = []
        self._kind = kind

    def __call__(self, files: StorageFiles) -> MemoryStorage:
        self.made.append(self._kind(files))
        return self.made[-1]

    @property
    def content(self) -> bytes:
        [storage] = self.made
        return b"".join(map(storage.content, range(len(storage.files.files))))


class Threaded(MemoryStorage):
    """Cannot read on the event loop."""

    read_now = None  # type: ignore[assignment]

    def read(self, file_index: int, offset_bytes: int, into: memoryview) -> None:
        if not MemoryStorage.read_now(self, file_index, offset_bytes, into):
            raise FileNotFoundError(errno.ENOENT, "no such bytes")


@pytest.mark.parametrize("kind", [MemoryStorage, Threaded])
async def test_a_download_into_memory_seeds_from_there(
    tmp_path: Path, kind: Callable[[StorageFiles], MemoryStorage]
) -> None:
    first, second = Kept(kind), Kept(kind)
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "one") as one,
        resources(tmp_path / "two") as two,
    ):
        config = SessionConfig(storage=first, peers=(address,))
        session = await Session.create(METAINFO, one, save_path=tmp_path / "out", config=config)
        async with session:
            await reach(session, State.SEEDING)
            await download(two, METAINFO, tmp_path / "out", address_of(one), storage=second)
    assert first.content == second.content == PAYLOAD
    assert [file.path for file in first.made[0].files.files] == [f.path for f in METAINFO.files]
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


async def test_the_storage_stays_while_a_session_stops_and_starts(tmp_path: Path) -> None:
    kept = Kept()
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path) as shared,
    ):
        config = SessionConfig(storage=kept, peers=(address,))
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        async with session:
            await reach(session, State.SEEDING)
            events = record(session)
            await session.stop()
            await session.start()
            await reach(session, State.SEEDING)
            await session.recheck()
            await reach(session, State.CHECKING)
            await reach(session, State.SEEDING)
            assert session.stats().downloaded_bytes == len(PAYLOAD)
    assert not any(event.type == "piece.completed" for event in events)
    assert kept.content == PAYLOAD


async def test_what_memory_lost_with_its_process_is_downloaded_again(tmp_path: Path) -> None:
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address):
        for _ in range(2):
            kept = Kept()
            async with resources(tmp_path) as shared:
                await download(shared, METAINFO, tmp_path / "out", address, storage=kept)
            assert kept.content == PAYLOAD


async def test_skipped_files_are_not_downloaded_until_they_are_wanted(tmp_path: Path) -> None:
    kept = Kept()
    metainfo, payload = make_torrent({"a": payload_of(40_000), "b": payload_of(200_000, 1)})
    async with (
        seed(tmp_path / "seed", metainfo, payload) as (_, address),
        resources(tmp_path) as shared,
    ):
        config = SessionConfig(storage=kept, peers=(address,), file_priorities=(4, 0))
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out", config=config)
        async with session:
            await reach(session, State.SEEDING)
            assert kept.made[0].content(0) == payload[:40_000]
            assert kept.made[0].content(1)[-16_384:] == bytes(16_384)
            await session.set_file_priorities((4, 4))
            await reach(session, State.DOWNLOADING)
            await reach(session, State.SEEDING)
    assert kept.content == payload


async def test_a_reader_streams_from_the_storage(tmp_path: Path) -> None:
    kept = Kept()
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path) as shared,
    ):
        config = SessionConfig(storage=kept, peers=(address,))
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        async with session, session.open(1) as reader:
            with anyio.fail_after(30):
                assert await reader.read() == FILES["b/c"]


class Moves(MemoryStorage):
    def __init__(self, files: StorageFiles) -> None:
        super().__init__(files)
        self.moves: list[str] = []

    def move(self, save_path: str) -> None:
        if save_path.endswith("bad"):
            raise OSError(errno.EIO, "Input/output error")
        self.moves.append(save_path)


async def test_a_move_is_the_storages_own_and_a_failed_one_changes_nothing(tmp_path: Path) -> None:
    kept = Kept(Moves)
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path) as shared,
    ):
        config = SessionConfig(storage=kept, peers=(address,))
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        async with session:
            await reach(session, State.SEEDING)
            await session.move_storage(tmp_path / "new")
            assert session.save_path == tmp_path / "new"
            with pytest.raises(StorageError, match="Input/output"):
                await session.move_storage(tmp_path / "bad")
            assert session.save_path == tmp_path / "new"
            await session.rename_file(0, "renamed")
            await reach(session, State.SEEDING)
            saved = await shared.store.load(METAINFO.info_hash)
    assert saved is not None
    assert saved.save_path == str(tmp_path / "new")
    assert saved.renames == {0: ("renamed",)}
    [storage] = kept.made
    assert isinstance(storage, Moves)
    assert storage.moves == [str(tmp_path / "new")]
    assert kept.content == PAYLOAD


class Full(MemoryStorage):
    is_full = True

    def write(self, file_index: int, offset_bytes: int, views: Sequence[memoryview]) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(file_index, offset_bytes, views)


async def test_f1_a_full_storage_is_waited_for(tmp_path: Path) -> None:
    kept = Kept(Full)
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path) as shared,
    ):
        config = SessionConfig(storage=kept, peers=(address,))
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        async with session:
            await reach(session, State.ERROR)
            assert "No space left" in str(session.error)
            kept.made[0].is_full = False  # type: ignore[attr-defined]
            await session.resume()
            await reach(session, State.SEEDING)
    assert kept.content == PAYLOAD


class Broken(MemoryStorage):
    def write(self, file_index: int, offset_bytes: int, views: Sequence[memoryview]) -> None:
        raise KeyError("some bug")


def cannot_be_made(files: StorageFiles) -> MemoryStorage:
    raise LookupError(f"no bucket for {files.name}")


@pytest.mark.parametrize(
    ("factory", "reason"),
    [(Broken, "the storage failed: KeyError"), (cannot_be_made, "no bucket for payload")],
)
async def test_a_storage_with_a_bug_ends_its_own_torrent_with_an_error(
    tmp_path: Path, factory: Callable[[StorageFiles], MemoryStorage], reason: str
) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path) as shared,
    ):
        config = SessionConfig(storage=factory, peers=(address,))
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        with pytest.raises(SessionError, match=reason):
            await finish(session)
        assert isinstance(session.error, StorageError)
        good = Kept()
        await download(shared, METAINFO, tmp_path / "other", address, storage=good)
    assert good.content == PAYLOAD


async def test_two_torrents_in_memory_may_have_the_same_save_path(tmp_path: Path) -> None:
    other, more = make_torrent({"a": payload_of(30_000, 5)})
    kept = [Kept(), Kept()]
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        seed(tmp_path / "seed 2", other, more) as (_, address_2),
        resources(tmp_path) as shared,
    ):
        await download(shared, METAINFO, tmp_path / "out", address, storage=kept[0])
        await download(shared, other, tmp_path / "out", address_2, storage=kept[1])
    assert [each.content for each in kept] == [PAYLOAD, more]


async def test_a_manager_removes_it_with_its_bytes_and_restores_it_not(tmp_path: Path) -> None:
    kept = Kept()
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address):
        config = SessionConfig(storage=kept, peers=(address,))
        other, _ = make_torrent({"x": payload_of(9_000, 7)})
        async with manager(tmp_path) as torrents:
            session = await torrents.add_torrent(METAINFO, save_path=tmp_path, config=config)
            await torrents.add_torrent(other, save_path=tmp_path / "files")
            await reach(session, State.SEEDING)
        async with manager(tmp_path) as torrents:
            assert [each.info_hash for each in torrents.sessions] == [other.info_hash]
            session = await torrents.add_torrent(METAINFO, save_path=tmp_path, config=config)
            await reach(session, State.SEEDING)
            await torrents.remove_torrent(METAINFO.info_hash, delete_files=True)
            await until(lambda: not any(map(kept.made[-1].size, range(len(METAINFO.files)))))
    assert len(kept.made) == 2


def test_incomplete_files_need_files() -> None:
    with pytest.raises(ConfigError, match="incomplete"):
        SessionConfig(storage=MemoryStorage, incomplete_suffix=".part")
    with pytest.raises(TypeError, match="storage"):
        SessionConfig(storage="memory")  # type: ignore[arg-type]
