"""Files that were there before a torrent: none is written to, adopted or removed by mistake."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.managers import manager
from tests.support.swarm import content, files_below, reach, resources, seed, state_of, until
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import (
    FileExistsStorageError,
    ForeignFileError,
    HiddenNameError,
    SessionError,
)
from torrent_engine.base.ids import OwnerTie
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.safe_open import Folder
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

KIB = 1024
FILES = {"a.bin": payload_of(100_000, 1), "b.bin": payload_of(200_000, 2), "c.bin": b"c" * 90_000}
METAINFO, PAYLOAD = make_torrent(FILES, piece_bytes=64 * KIB)
SKIPS_B = (4, 0, 4)
MINE = bytes(range(1, 256)) * 117  # 29,835 bytes, none of them zero


@asynccontextmanager
async def leech(
    tmp_path: Path, metainfo: Metainfo = METAINFO, payload: bytes = PAYLOAD, **options: Any
) -> AsyncIterator[Session]:
    """A Session of a torrent that somebody seeds; not started."""
    async with (
        seed(tmp_path / "seed", metainfo, payload) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        config = SessionConfig(peers=(address,), **options)
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out", config=config)
        try:
            yield session
        finally:
            await session.close()


async def complete_and_stop(session: Session) -> None:
    await session.start()
    await reach(session, State.SEEDING)
    await session.stop()


def is_whole(session: Session) -> bool:
    stats = session.stats()
    return stats.completed_bytes == stats.wanted_bytes


def put(tmp_path: Path, name: str, data: bytes) -> Path:
    path = tmp_path / "out" / "payload" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


async def refused(session: Session) -> ForeignFileError:
    """Start a Session that must end before it writes; return why."""
    await session.start()
    with pytest.raises(SessionError) as caught:
        await session.wait_stopped()
    error = caught.value.__cause__
    assert isinstance(error, ForeignFileError)
    return error


# -- a skipped file ---------------------------------------------------------------------------


async def test_a_skipped_file_that_was_there_is_not_written_adopted_or_removed(
    tmp_path: Path,
) -> None:
    mine = put(tmp_path, "b.bin", MINE)
    async with leech(tmp_path, file_priorities=SKIPS_B) as session:
        await session.start()
        await reach(session, State.SEEDING)
        assert mine.read_bytes() == MINE
        await session.recheck()
        assert state_of(session) is State.CHECKING
        await reach(session, State.SEEDING)
        assert mine.read_bytes() == MINE
        assert is_whole(session)
        for _ in range(2):
            await session.stop()
            await session.start()
            await reach(session, State.SEEDING)
        await session.move_storage(tmp_path / "elsewhere")
        await session.rename_file(1, "payload/renamed")
        await session.move_storage(tmp_path / "out")
        await session.cancel(delete_files=True)
    assert files_below(tmp_path / "out") == {"payload/b.bin"}
    assert files_below(tmp_path / "elsewhere") == set()
    assert mine.read_bytes() == MINE


@pytest.mark.parametrize("what", ["longer", "folder", "link", "zeros"])
async def test_whatever_is_in_the_place_of_a_skipped_file_stays(tmp_path: Path, what: str) -> None:
    mine = put(tmp_path, "b.bin", bytes(300_000) if what == "longer" else bytes(100))
    if what != "longer" and what != "zeros":
        mine.unlink()
        mine.mkdir() if what == "folder" else mine.symlink_to(tmp_path)
    before = mine.lstat()
    async with leech(tmp_path, file_priorities=SKIPS_B) as session:
        await session.start()
        await reach(session, State.SEEDING)
        await session.cancel(delete_files=True)
    assert (mine.lstat().st_mode, mine.lstat().st_size) == (before.st_mode, before.st_size)
    assert [path.name for path in mine.parent.iterdir()] == ["b.bin"]


async def test_a_skipped_file_that_matches_is_used_and_goes_with_the_torrent(
    tmp_path: Path,
) -> None:
    mine = put(tmp_path, "b.bin", FILES["b.bin"])
    put(tmp_path, "a.bin", FILES["a.bin"])
    put(tmp_path, "c.bin", FILES["c.bin"])
    async with leech(tmp_path, file_priorities=SKIPS_B) as session:
        await session.start()
        await reach(session, State.SEEDING)
        assert session.stats().downloaded_bytes == 0
        assert session.stats().pieces_have == METAINFO.piece_count
        await session.cancel(delete_files=True)
    assert not mine.exists()


async def test_the_few_bytes_that_match_of_a_skipped_file_are_kept_elsewhere(
    tmp_path: Path,
) -> None:
    """Of b.bin only the end of a piece of a.bin matches: that proves nothing of the rest."""
    shared_bytes = 2 * 64 * KIB - 100_000
    mine = put(tmp_path, "b.bin", FILES["b.bin"][:shared_bytes] + MINE)
    put(tmp_path, "a.bin", FILES["a.bin"])
    async with leech(tmp_path, file_priorities=SKIPS_B) as session:
        await session.start()
        await reach(session, State.SEEDING)
        mine.unlink()
        await session.recheck()
        assert state_of(session) is State.CHECKING
        await reach(session, State.SEEDING)
        assert session.stats().downloaded_bytes <= 4 * 64 * KIB
    assert not mine.exists()


async def test_a_file_made_while_it_was_skipped_is_not_taken_when_it_is_wanted(
    tmp_path: Path,
) -> None:
    async with leech(tmp_path, file_priorities=SKIPS_B) as session:
        await session.start()
        await reach(session, State.SEEDING)
        mine = put(tmp_path, "b.bin", MINE)
        with pytest.raises(ForeignFileError, match=r"b\.bin"):
            await session.set_file_priorities([4, 4, 4])
        assert session.config.file_priorities == SKIPS_B
        assert state_of(session) is State.SEEDING
        assert mine.read_bytes() == MINE
        mine.unlink()
        await session.set_file_priorities([4, 4, 4])
        await until(lambda: is_whole(session))
        await session.set_file_priorities(SKIPS_B)
        await session.set_file_priorities([4, 4, 4])
        assert mine.read_bytes() == FILES["b.bin"]
        await session.cancel(delete_files=True)
    assert files_below(tmp_path / "out") == set()


async def test_after_a_restart_a_file_made_meanwhile_is_still_not_ours(tmp_path: Path) -> None:
    async with leech(tmp_path, file_priorities=SKIPS_B) as session:
        await complete_and_stop(session)
        mine = put(tmp_path, "b.bin", MINE)
        await session.start()
        await reach(session, State.SEEDING)
        assert is_whole(session)
        await session.stop()
        await session.set_file_priorities([4, 4, 4])
        assert (await refused(session)).path == str(mine)
        assert mine.read_bytes() == MINE
        await session.cancel(delete_files=True)
    assert files_below(tmp_path / "out") == {"payload/b.bin"}


@pytest.mark.parametrize("mode", [0o600, 0o644])
async def test_a_users_file_with_the_name_of_the_part_file_stays(tmp_path: Path, mode: int) -> None:
    mine = tmp_path / "out" / f".{METAINFO.info_hash.hex()}.parts"
    mine.parent.mkdir()
    mine.write_bytes(MINE)
    mine.chmod(mode)
    async with leech(tmp_path, file_priorities=SKIPS_B) as session:
        for _ in range(2):  # a torrent that is known does not make it ours either
            assert (await refused(session)).path == str(mine)
        await session.cancel(delete_files=True)
    assert mine.read_bytes() == MINE


@pytest.mark.parametrize("mode", [0o600, 0o644])
async def test_a_file_with_the_name_of_the_part_file_is_not_moved_emptied_or_removed(
    tmp_path: Path, mode: int
) -> None:
    """Other programs have such files, for the same torrent, with permissions like ours."""
    theirs = tmp_path / "out" / f".{METAINFO.info_hash.hex()}.parts"
    theirs.parent.mkdir()
    theirs.write_bytes(MINE)
    theirs.chmod(mode)
    async with leech(tmp_path) as session:
        for _ in range(2):
            await complete_and_stop(session)
        await session.move_storage(tmp_path / "new")
        assert content(METAINFO, tmp_path / "new") == PAYLOAD
        await complete_and_stop(session)
        await session.cancel(delete_files=True)
    assert theirs.read_bytes() == MINE
    assert files_below(tmp_path / "new") == set()


async def test_a_changed_part_file_is_hashed_before_it_is_served(tmp_path: Path) -> None:
    async with leech(tmp_path, file_priorities=SKIPS_B) as session:
        await complete_and_stop(session)
        parts = tmp_path / "out" / f".{METAINFO.info_hash.hex()}.parts"
        own = parts.read_bytes()
        with parts.open("r+b") as file:
            file.seek(100_000)
            file.write(b"theirs")
        await session.start()
        await until(lambda: parts.read_bytes() == own)
        await reach(session, State.SEEDING)
        assert session.stats().failed_bytes == 0


@pytest.mark.parametrize("mode", [0o640, 0o755])
async def test_the_part_file_is_known_whatever_its_permissions_are(
    tmp_path: Path, mode: int
) -> None:
    """They are changed for all of a folder, and some file systems have none."""
    async with leech(tmp_path, file_priorities=SKIPS_B) as session:
        await complete_and_stop(session)
        (tmp_path / "out" / f".{METAINFO.info_hash.hex()}.parts").chmod(mode)
        await complete_and_stop(session)
        await session.set_file_priorities([4, 4, 4])
        await session.start()
        await until(lambda: is_whole(session))
        assert content(METAINFO, tmp_path / "out") == PAYLOAD
        await session.cancel(delete_files=True)
    assert files_below(tmp_path / "out") == set()


# -- a wanted file ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 30_000, 100_000])
async def test_a_found_file_of_which_no_piece_matches_is_refused(tmp_path: Path, size: int) -> None:
    mine = put(tmp_path, "a.bin", (MINE * 4)[:size])
    async with leech(tmp_path) as session:
        assert (await refused(session)).path == str(mine)
        assert files_below(tmp_path / "out") == {"payload/a.bin"}
        assert (await refused(session)).path == str(mine)
        await session.cancel(delete_files=True)
    assert mine.read_bytes() == (MINE * 4)[:size]


@pytest.mark.parametrize("size", [1, 30_000, 100_000, 130_000])
async def test_a_found_file_is_overwritten_if_that_is_asked_for(tmp_path: Path, size: int) -> None:
    put(tmp_path, "a.bin", (MINE * 5)[:size])
    async with leech(tmp_path, overwrite=True) as session:
        await session.start()
        await reach(session, State.SEEDING)
    assert content(METAINFO, tmp_path / "out") == PAYLOAD
    assert (tmp_path / "out/payload/a.bin").stat().st_size == 100_000


@pytest.mark.parametrize("was_there", [False, True])
@pytest.mark.parametrize("way", ["stopped", "seeding"])
async def test_overwriting_ends_when_the_torrent_is_complete(
    tmp_path: Path, way: str, was_there: bool
) -> None:
    mine = put(tmp_path, "a.bin", MINE)
    if was_there:
        write_files(METAINFO, PAYLOAD, tmp_path / "out")
    async with leech(tmp_path, overwrite=True) as session:
        await session.start()
        await reach(session, State.SEEDING)
        assert not session.config.overwrite
        if way != "seeding":
            await session.stop()
        mine.with_name("mine").write_bytes(MINE * 3)
        mine.with_name("mine").replace(mine)
        await (session.recheck() if way == "seeding" else session.start())
        await session.wait(State.ERROR)
        assert isinstance(session.error, ForeignFileError)
        assert mine.read_bytes() == MINE * 3
        await session.cancel(delete_files=True)
    assert files_below(tmp_path / "out") == {"payload/a.bin"}


async def test_overwriting_does_not_reach_skipped_files(tmp_path: Path) -> None:
    mine = put(tmp_path, "b.bin", MINE)
    async with leech(tmp_path, overwrite=True, file_priorities=SKIPS_B) as session:
        await session.start()
        await reach(session, State.SEEDING)
        assert mine.read_bytes() == MINE
        await session.set_file_priorities([4, 4, 4])
        await until(lambda: is_whole(session))
        assert mine.read_bytes() == FILES["b.bin"]


async def test_a_longer_file_is_refused(tmp_path: Path) -> None:
    mine = put(tmp_path, "a.bin", FILES["a.bin"] + b"x")
    async with leech(tmp_path) as session:
        await session.start()
        with pytest.raises(SessionError) as caught:
            await session.wait_stopped()
    assert isinstance(caught.value.__cause__, FileExistsStorageError)
    assert mine.read_bytes() == FILES["a.bin"] + b"x"


async def test_what_matches_in_part_is_resumed_without_a_record(tmp_path: Path) -> None:
    put(tmp_path, "a.bin", FILES["a.bin"][: 64 * KIB])
    put(tmp_path, "b.bin", bytes(200_000))
    put(tmp_path, "c.bin", b"")
    async with leech(tmp_path) as session:
        await session.start()
        await reach(session, State.SEEDING)
        assert session.stats().downloaded_bytes == len(PAYLOAD) - 64 * KIB
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


async def test_small_files_in_one_piece_are_known_by_it(tmp_path: Path) -> None:
    files = {f"{n}": payload_of(5_000 + n, n) for n in range(30)}
    metainfo, payload = make_torrent(files, piece_bytes=64 * KIB)
    write_files(metainfo, payload, tmp_path / "out")
    changed = put(tmp_path, "29", MINE[:5_029])
    async with leech(tmp_path, metainfo, payload) as session:
        error = await refused(session)
        assert Path(error.path).name in {"25", "26", "27", "28", "29"}
    assert changed.read_bytes() == MINE[:5_029]


async def test_a_file_that_appears_while_the_torrent_runs_is_not_written_to(
    tmp_path: Path,
) -> None:
    async with leech(tmp_path, max_download_bytes_per_s=1) as session:
        await session.start()
        await reach(session, State.DOWNLOADING)
        paths = [put(tmp_path, name, MINE) for name in FILES]
        session.set_rate_limits(download_bytes_per_s=0)
        with pytest.raises(SessionError) as caught:
            await session.wait_stopped()
        assert isinstance(caught.value.__cause__, ForeignFileError)
        await session.cancel(delete_files=True)
    assert [path.read_bytes() for path in paths] == [MINE] * 3


async def test_a_file_replaced_while_the_torrent_runs_is_not_removed_with_it(
    tmp_path: Path,
) -> None:
    async with leech(tmp_path) as session:
        await session.start()
        await reach(session, State.SEEDING)
        put(tmp_path, "mine", MINE).replace(tmp_path / "out/payload/a.bin")
        await session.cancel(delete_files=True)
    assert files_below(tmp_path / "out") == {"payload/a.bin"}


@pytest.mark.parametrize("again", ["recheck", "start"])
async def test_a_file_replaced_while_the_torrent_runs_is_not_the_torrents_later(
    tmp_path: Path, again: str
) -> None:
    path = tmp_path / "out/payload/a.bin"
    write_files(METAINFO, PAYLOAD, tmp_path / "out")
    async with leech(tmp_path) as session:
        await session.start()
        await reach(session, State.SEEDING)
        put(tmp_path, "mine", MINE).replace(path)
        if again == "recheck":
            await session.recheck()
        else:
            await session.stop()
            await session.start()
        with pytest.raises(SessionError) as caught, anyio.fail_after(60):
            await session.wait_stopped()
        assert isinstance(caught.value.__cause__, ForeignFileError)
        assert path.read_bytes() == MINE
        await session.cancel(delete_files=True)
    assert files_below(tmp_path / "out") == {"payload/a.bin"}
    assert path.read_bytes() == MINE


@pytest.mark.parametrize("has_number", [False, True])
async def test_a_file_replaced_while_the_torrent_is_stopped_is_not_the_torrents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_number: bool
) -> None:
    path = tmp_path / "out/payload/a.bin"
    async with leech(tmp_path) as session:
        await complete_and_stop(session)
        if has_number:  # the next file of a folder often gets the number of one that is gone
            path.write_bytes(MINE)
            monkeypatch.setattr(Folder, "is_born_after", lambda *_: True)
        else:
            put(tmp_path, "mine", MINE).replace(path)
        await session.start()
        with pytest.raises(SessionError) as caught:
            await session.wait_stopped()
        assert isinstance(caught.value.__cause__, ForeignFileError)
        assert path.read_bytes() == MINE
        await session.cancel(delete_files=True)
    assert path.read_bytes() == MINE
    assert files_below(tmp_path / "out") == {"payload/a.bin"}


@pytest.mark.parametrize("what", ["folder", "fifo", "longer"])
async def test_what_cannot_be_the_torrents_stays_and_its_other_files_are_removed(
    tmp_path: Path, what: str
) -> None:
    path = tmp_path / "out/payload/a.bin"
    async with leech(tmp_path) as session:
        await complete_and_stop(session)
        if what == "longer":
            path.write_bytes(path.read_bytes() + MINE)
        else:
            path.unlink()
            path.mkdir() if what == "folder" else os.mkfifo(path)
        await session.cancel(delete_files=True)
    assert [each.name for each in (tmp_path / "out/payload").iterdir()] == ["a.bin"]


async def test_folders_that_were_there_before_stay_when_files_are_removed(tmp_path: Path) -> None:
    files = {"x/a": payload_of(10_000), "y/b": payload_of(10_001), "z/c": payload_of(7)}
    metainfo, payload = make_torrent(files)
    (tmp_path / "out/payload/y").mkdir(parents=True)
    async with leech(tmp_path, metainfo, payload) as session:
        await complete_and_stop(session)
        await session.start()
        await reach(session, State.SEEDING)
        await session.cancel(delete_files=True)
    assert [path.name for path in (tmp_path / "out/payload").iterdir()] == ["y"]


# -- the home folder --------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, 1])
async def test_hidden_names_at_the_top_of_the_home_folder_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: int
) -> None:
    home = tmp_path / "out" if depth == 0 else tmp_path / "out" / "payload"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    data = payload_of(10_000)
    if depth == 0:
        metainfo, payload = make_torrent(data, name=".bashrc")
    else:
        metainfo, payload = make_torrent({".ssh/rc": data, ".hushlogin": b""})
    async with leech(tmp_path, metainfo, payload) as session:
        await session.start()
        with pytest.raises(SessionError) as caught:
            await session.wait_stopped()
        assert isinstance(caught.value.__cause__, HiddenNameError)
        assert list(home.iterdir()) == []
    async with leech(tmp_path, metainfo, payload, allow_hidden=True) as session:
        await session.start()
        await reach(session, State.SEEDING)
    assert content(metainfo, tmp_path / "out") == payload


@pytest.mark.parametrize("way", ["complete", "move", "rename"])
async def test_hidden_names_do_not_come_into_the_home_folder_by_a_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    home = tmp_path / "out"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    name = "shown" if way == "rename" else ".bashrc"
    metainfo, payload = make_torrent(payload_of(10_000), name=name)
    folder = str(tmp_path / "incomplete") if way == "complete" else None
    async with leech(tmp_path, metainfo, payload, incomplete_dir=folder) as session:
        if way == "move":
            await session.set_save_path(tmp_path / "elsewhere")
        await session.start()
        await reach(session, State.SEEDING)
        if way == "complete":
            await until(lambda: not session.is_moving and state_of(session) is State.SEEDING)
            assert session.save_path == tmp_path / "incomplete"
        elif way == "move":
            with pytest.raises(HiddenNameError):
                await session.move_storage(home)
        else:
            with pytest.raises(HiddenNameError):
                await session.rename_file(0, ".bashrc")
        assert content(metainfo, session.save_path) == payload
    assert files_below(home) == ({"shown"} if way == "rename" else set())


async def test_a_hidden_name_does_not_come_into_the_home_folder_out_of_the_part_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "out" / "payload"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    files = {"a.bin": FILES["a.bin"], ".bashrc": b"echo" * 5, "c.bin": FILES["c.bin"]}
    metainfo, payload = make_torrent(files, piece_bytes=64 * KIB)
    async with leech(tmp_path, metainfo, payload, file_priorities=(4, 0, 4)) as session:
        await complete_and_stop(session)
        await session.set_file_priorities((4, 4, 4))
        await session.start()
        with pytest.raises(SessionError) as caught:
            await session.wait_stopped()
        assert isinstance(caught.value.__cause__, HiddenNameError)
    assert not (home / ".bashrc").exists()


# -- the other ways in ------------------------------------------------------------------------


async def test_metadata_that_came_by_a_magnet_link_changes_nothing_of_that(
    tmp_path: Path,
) -> None:
    mine = put(tmp_path, "a.bin", MINE)
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        link = Magnet(METAINFO.info_hash, peers=(address,))
        session = await Session.create(link, shared, save_path=tmp_path / "out")
        assert (await refused(session)).path == str(mine)
        await session.close()
    assert files_below(tmp_path / "out") == {"payload/a.bin"}
    assert mine.read_bytes() == MINE


async def test_a_manager_takes_the_same_options(tmp_path: Path) -> None:
    mine = put(tmp_path, "a.bin", MINE)
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        manager(tmp_path / "leech") as many,
    ):
        config = SessionConfig(peers=(address,))
        session = await many.add_torrent(METAINFO, save_path=tmp_path / "out", config=config)
        with pytest.raises(ForeignFileError):
            await session.wait(State.SEEDING)
        assert mine.read_bytes() == MINE
        await many.remove_torrent(METAINFO.info_hash, delete_files=True)
        assert mine.read_bytes() == MINE
        session = await many.add_torrent(
            METAINFO, save_path=tmp_path / "out", config=replace(config, overwrite=True)
        )
        await session.wait(State.SEEDING)
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


async def test_an_owner_that_goes_takes_no_file_that_was_there(tmp_path: Path) -> None:
    mine = put(tmp_path, "b.bin", MINE)
    tie = OwnerTie("somebody", 1)
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        config = SessionConfig(
            peers=(address,),
            owner=tie,
            file_priorities=SKIPS_B,
            max_download_bytes_per_s=100 * KIB,
        )
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        await session.start()
        await until(lambda: session.stats().pieces_have)
        shared.owners.advance(tie.owner_id, 2)
        await until(lambda: state_of(session) is State.STOPPED)
        await session.close()
    assert files_below(tmp_path / "out") == {"payload/b.bin"}
    assert mine.read_bytes() == MINE


@pytest.mark.parametrize("when", ["never started", "checking", "refused", "done"])
@pytest.mark.parametrize("way", ["move", "rename", "rename folder", "incomplete folder"])
async def test_a_file_of_somebody_else_is_not_moved_or_renamed(
    tmp_path: Path, when: str, way: str
) -> None:
    mine = put(tmp_path, "b.bin", MINE)
    before = mine.stat()
    if when != "refused":
        put(tmp_path, "a.bin", FILES["a.bin"])
    priorities = SKIPS_B if when == "done" else None
    async with leech(tmp_path, file_priorities=priorities) as session:
        if when != "never started":
            await session.start()
            wanted = {"checking": State.CHECKING, "refused": State.ERROR, "done": State.SEEDING}
            await reach(session, wanted[when])
        if way == "move":
            await session.move_storage(tmp_path / "elsewhere")
        elif way == "rename":
            await session.rename_file(1, "payload/other")
        elif way == "rename folder":
            await session.rename_folder("payload", "other")
        else:
            await session.set_incomplete_dir(tmp_path / "elsewhere")
        assert mine.read_bytes() == MINE
        assert mine.stat().st_ino == before.st_ino
        await session.cancel(delete_files=True)
    assert mine.read_bytes() == MINE
