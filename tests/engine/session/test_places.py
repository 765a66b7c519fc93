"""Other places of a torrent's files: folders that are renamed, and files that others moved."""

from pathlib import Path

import pytest

from tests.support.managers import manager
from tests.support.swarm import content, files_below, reach, resources, seed, until
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import (
    ConfigError,
    FileExistsStorageError,
    StateTransitionError,
    UnknownFileError,
)
from torrent_engine.codec.magnet import Magnet
from torrent_engine.disk.files.memory_storage import MemoryStorage
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

FILES = {
    "a.bin": payload_of(300_000, 1),
    "sub/b.bin": payload_of(200_000, 2),
    "sub/deep/c": payload_of(9, 3),
}
METAINFO, PAYLOAD = make_torrent(FILES, name="root")
SINGLE, SINGLE_PAYLOAD = make_torrent(payload_of(50_000, 4), name="film.mkv")


# -- folders ---------------------------------------------------------------------------------


async def test_a_folder_gets_another_name_while_the_torrent_seeds(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "out")
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        async with session:
            await reach(session, State.SEEDING)
            await session.rename_folder("root/sub", "root/other")
            assert files_below(tmp_path / "out") == {
                "root/a.bin",
                "root/other/b.bin",
                "root/other/deep/c",
            }
            await reach(session, State.SEEDING)
            await session.rename_folder("root", "new name")
            assert not (tmp_path / "out" / "root").exists()
            paths = [str(each.path) for each in session.files()]
            assert paths == ["new name/a.bin", "new name/other/b.bin", "new name/other/deep/c"]
            await reach(session, State.SEEDING)
            await until(lambda: session.stats().checked_fraction == 0.0)  # nothing was hashed


async def test_the_root_of_a_single_file_is_the_file(tmp_path: Path) -> None:
    write_files(SINGLE, SINGLE_PAYLOAD, tmp_path / "out")
    async with resources(tmp_path) as shared:
        session = await Session.create(SINGLE, shared, save_path=tmp_path / "out")
        async with session:
            await reach(session, State.SEEDING)
            await session.rename_folder("film.mkv", "other.mkv")
            assert files_below(tmp_path / "out") == {"other.mkv"}


async def test_a_folder_is_renamed_while_names_have_a_suffix(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path) as shared,
    ):
        config = SessionConfig(
            incomplete_suffix=".part",
            peers=(address,),
            max_download_bytes_per_s=50_000,
            sequential=True,
        )
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        async with session:
            await until(lambda: "root/a.bin.part" in files_below(tmp_path / "out"))
            await session.rename_folder("root", "new")
            assert "new/a.bin.part" in files_below(tmp_path / "out")
            session.set_rate_limits(download_bytes_per_s=0)
            await session.wait_complete()
            await until(lambda: session.final_path == session.save_path)
            await until(lambda: "new/a.bin" in files_below(tmp_path / "out"))


async def test_folders_that_are_not_there_or_lead_out_are_refused(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "out")
    (tmp_path / "out" / "taken" / "sub").mkdir(parents=True)
    (tmp_path / "out" / "taken" / "sub" / "b.bin").write_bytes(b"somebody's")
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        async with session:
            await reach(session, State.SEEDING)
            before = files_below(tmp_path / "out")
            with pytest.raises(UnknownFileError):
                await session.rename_folder("root/su", "root/x")
            with pytest.raises(ConfigError):
                await session.rename_folder("root", "../x")
            with pytest.raises(FileExistsStorageError):
                await session.rename_folder("root", "taken")
            await session.rename_folder("root", "root")
            assert files_below(tmp_path / "out") == before
        link = await Session.create(Magnet.of(SINGLE), shared, save_path=tmp_path)
        with pytest.raises(StateTransitionError):
            await link.rename_folder("film.mkv", "x")
        await link.close()


# -- another save path without a move --------------------------------------------------------


async def test_files_that_somebody_moved_are_found_and_hashed(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "old")
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "old")
        async with session:
            await reach(session, State.SEEDING)
            (tmp_path / "old").rename(tmp_path / "new")
            await session.set_save_path(tmp_path / "new")
            assert session.save_path == tmp_path / "new"
            await until(lambda: session.state is State.SEEDING)
            assert session.stats().checked_fraction == 1.0
    assert content(METAINFO, tmp_path / "new") == PAYLOAD


async def test_what_is_not_in_the_other_folder_is_downloaded_there(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "old")
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path) as shared,
    ):
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "old")
        async with session:
            await reach(session, State.SEEDING)
            await session.set_save_path(tmp_path / "new")
            await reach(session, State.DOWNLOADING)
            assert session.stats().pieces_have == 0
            await session.add_peer(*address)
            await session.wait_complete()
    assert content(METAINFO, tmp_path / "new") == content(METAINFO, tmp_path / "old") == PAYLOAD


async def test_a_torrent_whose_files_are_gone_is_started_where_they_are(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    async with manager(tmp_path) as torrents:
        session = await torrents.add_torrent(METAINFO)
        await reach(session, State.SEEDING)
        await session.stop()
        (tmp_path / "files").rename(tmp_path / "new")
        await session.start()
        await reach(session, State.ERROR)
        await session.set_save_path(tmp_path / "new")
        assert session.state is State.ERROR
        await session.start()
        await reach(session, State.SEEDING)
    async with manager(tmp_path) as torrents:
        (session,) = torrents.sessions
        assert session.save_path == tmp_path / "new"
        await until(lambda: session.state is State.SEEDING)


async def test_a_torrent_at_rest_wakes_to_look_in_another_folder(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    write_files(METAINFO, PAYLOAD, tmp_path / "new")
    (tmp_path / "new" / "root" / "a.bin").write_bytes(bytes(300_000))
    async with manager(tmp_path) as torrents:
        session = await torrents.add_torrent(METAINFO)
        await until(lambda: session.is_resting)
        await session.set_save_path(tmp_path / "new")
        await reach(session, State.DOWNLOADING)
        have = session.stats().completed_bytes
        assert 0 < have < len(PAYLOAD)


async def test_a_storage_of_ones_own_has_no_other_place(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        config = SessionConfig(storage=MemoryStorage)
        session = await Session.create(METAINFO, shared, save_path=tmp_path, config=config)
        with pytest.raises(StateTransitionError):
            await session.set_save_path(tmp_path / "new")
        await session.close()
