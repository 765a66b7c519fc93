"""What is here already is copied, and not downloaded a second time."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.disk.helpers import mounted_tmpfs
from tests.support.managers import manager_config
from tests.support.swarm import reach, resources, seed, until
from tests.support.torrents import payload_of, write_files
from tests.support.v2_torrents import hybrid_info, laid_out, torrent_around, v2_info
from torrent_engine.base.config import DiskConfig, DormancyConfig, SessionConfig
from torrent_engine.base.errors import SessionError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.resume.keeper import ResumeKeeper
from torrent_engine.disk.resume.similar_files import equal_torrents, roots_of
from torrent_engine.engine.content.similar_torrents import SimilarTorrentFiles
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

Make = Callable[..., tuple[dict[str, Any], dict[bytes, bytes]]]
PATIENCE_S = 60.0
PIECE = 32 * 1024
ONE, TWO = payload_of(20 * PIECE - 100, 1), payload_of(7 * PIECE + 1, 2)
TWICE = {"a": ONE, "b": TWO, "c": ONE}
FIRST, SECOND = {"one": ONE}, {"deep/same": ONE, "two": TWO}


def made(
    files: dict[str, bytes], make: Make = v2_info, *, piece_bytes: int = PIECE, name: str = "p"
) -> Metainfo:
    info, layers = make(files, piece_bytes=piece_bytes, name=name)
    return Metainfo.from_bytes(torrent_around(info, layers))


def is_right(metainfo: Metainfo, files: dict[str, bytes], folder: Path) -> bool:
    payload = laid_out(metainfo, files)
    return all(
        folder.joinpath(*entry.path).read_bytes()
        == payload[entry.offset_bytes : entry.offset_bytes + entry.length_bytes]
        for entry in metainfo.files
        if not entry.is_pad
    )


async def whole(
    shared: SharedResources, metainfo: Metainfo, folder: Path, *peers: tuple[str, int]
) -> Session:
    """Return a session that has all of a torrent, which runs."""
    config = SessionConfig(peers=peers)
    session = await Session.create(metainfo, shared, save_path=folder, config=config)
    await session.start()
    with anyio.fail_after(PATIENCE_S):
        await session.wait(State.SEEDING)
    return session


@pytest.fixture
async def shared(tmp_path: Path) -> AsyncIterator[SharedResources]:
    disk = DiskConfig(state_reserve_bytes=0, retry_after_disk_full_s=0.1)
    async with resources(tmp_path / "node", disk=disk) as opened:
        yield opened


@pytest.mark.parametrize("make", [v2_info, hybrid_info], ids=["v2", "hybrid"])
async def test_bep52_a_file_that_is_twice_in_a_torrent_is_downloaded_once(
    make: Make, tmp_path: Path, shared: SharedResources
) -> None:
    metainfo = made(TWICE, make)
    async with seed(tmp_path / "seed", metainfo, laid_out(metainfo, TWICE)) as (source, address):
        session = await whole(shared, metainfo, tmp_path / "out", address)
        sent = source.stats().uploaded_bytes
        await session.close()
    assert is_right(metainfo, TWICE, tmp_path / "out")
    assert session.stats().downloaded_bytes == sent
    assert sent <= len(ONE) + len(TWO) + 2 * PIECE  # pads of the last blocks of a hybrid


@pytest.mark.parametrize("make", [v2_info, hybrid_info], ids=["v2", "hybrid"])
@pytest.mark.parametrize("piece_bytes", [PIECE, 4 * PIECE])
async def test_bep52_what_another_torrent_has_is_not_downloaded(
    make: Make, piece_bytes: int, tmp_path: Path, shared: SharedResources
) -> None:
    first, second = made(FIRST), made(SECOND, make, piece_bytes=piece_bytes)
    write_files(first, ONE, tmp_path / "out")
    source = await whole(shared, first, tmp_path / "out")
    async with seed(tmp_path / "seed", second, laid_out(second, SECOND)) as (theirs, address):
        session = await whole(shared, second, tmp_path / "other", address)
        sent = theirs.stats().uploaded_bytes
    assert is_right(second, SECOND, tmp_path / "other")
    assert len(TWO) <= sent <= len(TWO) + PIECE
    await session.close()
    await source.close()


async def test_bep52_nobody_is_needed_for_what_is_here(
    tmp_path: Path, shared: SharedResources
) -> None:
    first, again = made(FIRST), made({"again": ONE, "more": ONE}, piece_bytes=2 * PIECE)
    session = await whole_when(shared, again, tmp_path / "b")
    write_files(first, ONE, tmp_path / "a")
    source = await whole(shared, first, tmp_path / "a")
    await reach(session, State.SEEDING)
    assert is_right(again, {"again": ONE, "more": ONE}, tmp_path / "b")
    await session.close()
    await source.close()


async def whole_when(shared: SharedResources, metainfo: Metainfo, folder: Path) -> Session:
    """Return a session that waits for somebody who has anything."""
    session = await Session.create(metainfo, shared, save_path=folder)
    await session.start()
    await reach(session, State.DOWNLOADING)
    return session


async def test_f3_a_source_that_was_changed_is_left_and_the_file_is_downloaded(
    tmp_path: Path, shared: SharedResources
) -> None:
    first, second = made(FIRST), made(SECOND)
    write_files(first, ONE, tmp_path / "out")
    source = await whole(shared, first, tmp_path / "out")
    changed = tmp_path / "out" / "one"
    stamp = changed.stat()
    with changed.open("r+b") as file:
        file.write(bytes(len(ONE)))
    os.utime(changed, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    async with seed(tmp_path / "seed", second, laid_out(second, SECOND)) as (_, address):
        session = await whole(shared, second, tmp_path / "other", address)
    assert is_right(second, SECOND, tmp_path / "other")
    assert changed.read_bytes() == bytes(len(ONE))
    await session.close()
    await source.close()


async def test_f3_a_source_that_is_gone_is_left_and_the_file_is_downloaded(
    tmp_path: Path, shared: SharedResources
) -> None:
    first, second = made(FIRST), made(SECOND)
    write_files(first, ONE, tmp_path / "out")
    source = await whole(shared, first, tmp_path / "out")
    (tmp_path / "out" / "one").unlink()
    async with seed(tmp_path / "seed", second, laid_out(second, SECOND)) as (_, address):
        session = await whole(shared, second, tmp_path / "other", address)
    assert is_right(second, SECOND, tmp_path / "other")
    await session.close()
    await source.close()


async def test_f2_a_file_of_the_user_is_not_written_to(
    tmp_path: Path, shared: SharedResources
) -> None:
    first, second = made(FIRST), made(SECOND)
    write_files(first, ONE, tmp_path / "out")
    source = await whole(shared, first, tmp_path / "out")
    foreign = tmp_path / "other" / second.name / "deep" / "same"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"the user's")
    session = await Session.create(second, shared, save_path=tmp_path / "other")
    async with session:
        with pytest.raises(SessionError), anyio.fail_after(PATIENCE_S):
            await session.wait_stopped()
    assert foreign.read_bytes() == b"the user's"
    await source.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted_tmpfs(tmp_path / "mount", "1m")


async def test_f1_a_copy_that_a_full_disk_stops_goes_on_once_there_is_room(
    disk: Path, tmp_path: Path, shared: SharedResources
) -> None:
    first, again = made(FIRST), made({"again": ONE, "more": TWO[:PIECE]})
    write_files(first, ONE, tmp_path / "a")
    source = await whole(shared, first, tmp_path / "a")
    hog = disk / "hog"
    hog.write_bytes(bytes(900_000))
    session = await Session.create(again, shared, save_path=disk / "b")
    await session.start()
    await reach(session, State.ERROR)
    hog.unlink()
    await until(lambda: session.stats().completed_bytes >= len(ONE), timeout_s=PATIENCE_S)
    await session.close()
    assert (disk / "b" / again.name / "again").read_bytes() == ONE
    await source.close()


# -- torrents that do not run -------------------------------------------------------------------


RESTING = DormancyConfig(after_s=0.01)
LONG_AGO_S = 1_600_000_000


def put_long_ago(metainfo: Metainfo, files: dict[str, bytes], folder: Path) -> None:
    write_files(metainfo, laid_out(metainfo, files), folder)
    for path in folder.rglob("*"):
        os.utime(path, (LONG_AGO_S, LONG_AGO_S))


async def resting(many: TorrentManager, metainfo: Metainfo, folder: Path) -> None:
    """Add a torrent whose files are there, and wait until it rests."""
    session = await many.add_torrent(metainfo, save_path=folder)
    await reach(session, State.SEEDING)
    await until(lambda: session._core.dormant is not None)


@pytest.mark.parametrize("make", [v2_info, hybrid_info], ids=["v2", "hybrid"])
@pytest.mark.parametrize("piece_bytes", [PIECE, 4 * PIECE])
async def test_bep52_what_a_torrent_at_rest_has_is_not_downloaded(
    make: Make, piece_bytes: int, tmp_path: Path
) -> None:
    first = made({"one": ONE, "two": TWO}, v2_info)
    second = made({"deep/same": ONE, "other": TWO}, make, piece_bytes=piece_bytes, name="q")
    put_long_ago(first, {"one": ONE, "two": TWO}, tmp_path / "a")
    async with TorrentManager(manager_config(tmp_path, dormancy=RESTING)) as many:
        await resting(many, first, tmp_path / "a")
        session = await many.add_torrent(second, save_path=tmp_path / "b")
        await reach(session, State.SEEDING)
        assert session.stats().downloaded_bytes == 0
    assert is_right(second, {"deep/same": ONE, "other": TWO}, tmp_path / "b")


async def test_bep52_what_a_torrent_at_rest_has_is_found_after_a_restart(tmp_path: Path) -> None:
    first, second = made(FIRST), made(SECOND, name="q")
    put_long_ago(first, FIRST, tmp_path / "a")
    config = manager_config(tmp_path, dormancy=RESTING)
    async with TorrentManager(config) as many:
        await resting(many, first, tmp_path / "a")
    async with (
        TorrentManager(config) as many,
        seed(tmp_path / "seed", second, laid_out(second, SECOND)) as (theirs, address),
    ):
        session = await many.add_torrent(second, save_path=tmp_path / "b")
        await session.add_peer(*address)
        await reach(session, State.SEEDING)
        sent = theirs.stats().uploaded_bytes
    assert is_right(second, SECOND, tmp_path / "b")
    assert len(TWO) <= sent <= len(TWO) + PIECE


async def test_f3_a_file_of_a_torrent_at_rest_that_was_changed_is_downloaded(
    tmp_path: Path,
) -> None:
    first, second = made(FIRST), made(SECOND, name="q")
    put_long_ago(first, FIRST, tmp_path / "a")
    async with (
        TorrentManager(manager_config(tmp_path, dormancy=RESTING)) as many,
        seed(tmp_path / "seed", second, laid_out(second, SECOND)) as (theirs, address),
    ):
        await resting(many, first, tmp_path / "a")
        changed = tmp_path / "a/one"
        changed.write_bytes(bytes(len(ONE)))
        os.utime(changed, (LONG_AGO_S, LONG_AGO_S))
        session = await many.add_torrent(second, save_path=tmp_path / "b")
        await session.add_peer(*address)
        await reach(session, State.SEEDING)
        sent = theirs.stats().uploaded_bytes
    assert is_right(second, SECOND, tmp_path / "b")
    assert sent >= len(ONE) + len(TWO)
    assert changed.read_bytes() == bytes(len(ONE))


async def test_files_of_a_torrent_that_was_removed_from_the_manager_are_not_looked_at(
    tmp_path: Path,
) -> None:
    first, again = made(FIRST), made({"again": ONE}, piece_bytes=2 * PIECE, name="q")
    put_long_ago(first, FIRST, tmp_path / "a")
    async with TorrentManager(manager_config(tmp_path, dormancy=RESTING)) as many:
        await resting(many, first, tmp_path / "a")
        await many.remove_torrent(first.info_hash)
        session = await many.add_torrent(again, save_path=tmp_path / "b")
        await reach(session, State.DOWNLOADING)
        await until(lambda: session._core.dormant is not None)
        assert session.stats().completed_bytes == 0


async def test_bep52_a_new_torrent_looks_at_those_that_went_to_rest_since_another_did(
    tmp_path: Path,
) -> None:
    first, again = made(FIRST), made({"again": ONE}, piece_bytes=2 * PIECE, name="q")
    unrelated = made({"other": TWO}, name="r")
    put_long_ago(first, FIRST, tmp_path / "a")
    async with TorrentManager(manager_config(tmp_path, dormancy=RESTING)) as many:
        other = await many.add_torrent(unrelated, save_path=tmp_path / "c")
        await until(lambda: other._core.dormant is not None)
        await resting(many, first, tmp_path / "a")
        session = await many.add_torrent(again, save_path=tmp_path / "b")
        await reach(session, State.SEEDING)
        assert session.stats().downloaded_bytes == 0
    assert is_right(again, {"again": ONE}, tmp_path / "b")


async def test_bep52_a_new_torrent_waits_for_those_whose_run_is_about_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, again = made(FIRST), made({"again": ONE}, piece_bytes=2 * PIECE, name="q")
    put_long_ago(first, FIRST, tmp_path / "a")
    gate, ending, save = anyio.Event(), anyio.Event(), ResumeKeeper.close
    looked = anyio.Event()

    async def slowly(keeper: ResumeKeeper) -> None:
        ending.set()
        with anyio.CancelScope(shield=True):
            await gate.wait()
        await save(keeper)

    async def noted(*given: Any) -> Any:
        found = await equal_torrents(*given)
        looked.set()
        return found

    async with TorrentManager(manager_config(tmp_path, dormancy=RESTING)) as many:
        one = await many.add_torrent(first, save_path=tmp_path / "a")
        await reach(one, State.SEEDING)
        monkeypatch.setattr(ResumeKeeper, "close", slowly)
        with anyio.fail_after(PATIENCE_S):
            await ending.wait()
        monkeypatch.setattr(ResumeKeeper, "close", save)
        monkeypatch.setattr(f"{SimilarTorrentFiles.__module__}.equal_torrents", noted)
        session = await many.add_torrent(again, save_path=tmp_path / "b")
        with anyio.fail_after(PATIENCE_S):
            await looked.wait()
        gate.set()
        await reach(session, State.SEEDING)
    assert is_right(again, {"again": ONE}, tmp_path / "b")


async def test_bep52_a_new_torrent_looks_at_those_that_began_to_run_since_another_did(
    tmp_path: Path,
) -> None:
    first, again = made(FIRST), made({"again": ONE}, piece_bytes=2 * PIECE, name="q")
    unrelated = made({"other": TWO}, name="r")
    put_long_ago(first, FIRST, tmp_path / "a")
    resting_soon = DormancyConfig(after_s=0.5)
    async with TorrentManager(manager_config(tmp_path, dormancy=resting_soon)) as many:
        other = await many.add_torrent(unrelated, save_path=tmp_path / "c")
        await until(lambda: other._core.dormant is not None)
        running = await many.add_torrent(first, save_path=tmp_path / "a")
        await reach(running, State.SEEDING)
        await until(lambda: many.shared.known_roots.may_have(roots_of(again)))
        session = await many.add_torrent(again, save_path=tmp_path / "b")
        await reach(session, State.SEEDING)
        assert session.stats().downloaded_bytes == 0
    assert is_right(again, {"again": ONE}, tmp_path / "b")
