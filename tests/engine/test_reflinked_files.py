"""Copies of what is here already that share the blocks of their source, on real file systems."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.test_same_content import Make, is_right, made, whole, whole_when
from tests.support.reflink_disks import KINDS, reflink_disk, shared_bytes
from tests.support.swarm import reach, resources, seed
from tests.support.torrents import make_torrent, payload_of, write_files
from tests.support.v2_torrents import hybrid_info, laid_out, v2_info
from torrent_engine.base.config import DiskConfig
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.reflinks import Reflinks
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

PIECE = 32 * 1024
BLOCK = 4096
ONE, TWO = payload_of(20 * PIECE - 100, 1), payload_of(7 * PIECE + 1, 2)
TWICE = {"a": ONE, "b": TWO, "c": ONE}
DISK = DiskConfig(state_reserve_bytes=0)
LONG_AGO_S = 1_600_000_000


@pytest.fixture(scope="module", params=sorted(KINDS))
def mounted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    with reflink_disk(tmp_path_factory.mktemp("disk"), request.param) as folder:
        yield folder


@pytest.fixture
def disk(mounted: Path, request: pytest.FixtureRequest) -> Path:
    made = mounted / str(request.node.name).replace("/", "-")
    made.mkdir()
    return made


@pytest.mark.parametrize("make", [v2_info, hybrid_info], ids=["v2", "hybrid"])
async def test_bep52_a_file_that_is_twice_in_a_torrent_has_its_blocks_once(
    make: Make, disk: Path, tmp_path: Path
) -> None:
    metainfo = made(TWICE, make)
    async with (
        seed(tmp_path / "seed", metainfo, laid_out(metainfo, TWICE)) as (_, address),
        resources(tmp_path / "node", disk=DISK) as shared,
    ):
        session = await whole(shared, metainfo, disk / "out", address)
        await session.close()
    assert is_right(metainfo, TWICE, disk / "out")
    folder = disk / "out" / metainfo.name
    assert shared_bytes(folder / "a") == shared_bytes(folder / "c") == len(ONE)
    assert shared_bytes(folder / "b") == 0


@pytest.mark.parametrize("piece_bytes", [PIECE, 4 * PIECE])
async def test_bep52_the_file_of_another_torrent_has_its_blocks_once(
    piece_bytes: int, disk: Path, tmp_path: Path
) -> None:
    first, again = made({"one": ONE}), made({"again": ONE}, piece_bytes=piece_bytes)
    write_files(first, ONE, disk / "a")
    async with resources(tmp_path / "node", disk=DISK) as shared:
        session = await whole_when(shared, again, disk / "b")
        source = await whole(shared, first, disk / "a")
        await reach(session, State.SEEDING)
        assert session.stats().downloaded_bytes == 0
        await session.close()
        await source.close()
    assert is_right(again, {"again": ONE}, disk / "b")
    assert shared_bytes(disk / "b" / "again") == len(ONE)


async def test_f3_a_source_that_was_changed_is_shared_but_not_believed(
    disk: Path, tmp_path: Path
) -> None:
    first, again = made({"one": ONE}), made({"again": ONE})
    write_files(first, ONE, disk / "a")
    changed = disk / "a" / "one"
    async with resources(tmp_path / "node", disk=DISK) as shared:
        source = await whole(shared, first, disk / "a")
        stamp = changed.stat()
        with changed.open("r+b") as file:
            file.write(bytes(len(ONE)))
        os.utime(changed, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        async with seed(tmp_path / "seed", again, laid_out(again, {"again": ONE})) as (_, address):
            session = await whole(shared, again, disk / "b", address)
        assert session.stats().downloaded_bytes >= len(ONE)
        await session.close()
        await source.close()
    assert is_right(again, {"again": ONE}, disk / "b")
    assert changed.read_bytes() == bytes(len(ONE))


def v1(files: dict[str, bytes]) -> Metainfo:
    return make_torrent(files, name="p", piece_bytes=PIECE)[0]


@pytest.mark.parametrize("make", [v1, made], ids=["v1", "v2"])
async def test_bep38_a_file_of_the_users_folder_shares_its_whole_blocks(
    make: Callable[[dict[str, bytes]], Metainfo], disk: Path, tmp_path: Path
) -> None:
    files = {"a": TWO[:-BLOCK], "b": ONE, "c": b"tiny"}
    metainfo, local = make(files), disk / "local"
    local.mkdir()
    for name, data in files.items():
        path = local / f"other {name}"
        path.write_bytes(data)
        os.utime(path, (LONG_AGO_S, LONG_AGO_S))
    config = DiskConfig(state_reserve_bytes=0, local_data=(str(local),))
    async with resources(tmp_path / "node", disk=config) as shared:
        session = await Session.create(metainfo, shared, save_path=disk / "out")
        async with session:
            await reach(session, State.SEEDING)
            assert session.stats().downloaded_bytes == 0
    for name, data in files.items():
        assert (disk / "out" / "p" / name).read_bytes() == data
        assert (local / f"other {name}").read_bytes() == data
    pieces = -(-len(ONE) // PIECE) + 1
    assert shared_bytes(disk / "out" / "p" / "b") >= len(ONE) - 2 * BLOCK * pieces
    assert shared_bytes(disk / "out" / "p" / "a") >= len(files["a"]) - BLOCK


async def test_bep52_a_file_system_that_shares_nothing_has_copies(tmp_path: Path) -> None:
    answers: list[bool] = []

    class Watched(Reflinks):
        """The real ones; what they answer is kept."""

        def share(self, *arguments: Any) -> bool:
            answers.append(super().share(*arguments))
            return answers[-1]

    async with resources(tmp_path / "node", disk=DISK) as shared:
        shared.reflinks = Watched(_no_reflinks)
        metainfo = made(TWICE)
        async with seed(tmp_path / "seed", metainfo, laid_out(metainfo, TWICE)) as (_, address):
            session = await whole(shared, metainfo, tmp_path / "out", address)
            await session.close()
    assert is_right(metainfo, TWICE, tmp_path / "out")
    assert answers == [False]


def _no_reflinks(source: int, target: int, offset: int, length: int) -> None:
    del source, target, offset, length
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
