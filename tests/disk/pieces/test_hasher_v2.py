"""Pieces of v2 and hybrid torrents on disk, made by this program."""

from pathlib import Path

import anyio
import pytest

from tests.disk.helpers import opened
from tests.disk.pieces.test_hasher import check
from tests.support.torrents import payload_of
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.create.create import CreateOptions, TorrentFormat, create_torrent

pytestmark = pytest.mark.anyio

FILES = {
    "a": payload_of(40_000),
    "b": payload_of(7),
    "c/d": payload_of(900_001),
    "c/empty": b"",
    "e": payload_of(65_536),
    "zeros": bytes(300_000),
}


async def made(folder: Path, kind: TorrentFormat, piece_bytes: int) -> Metainfo:
    for name, data in FILES.items():
        path = folder / "payload" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    options = CreateOptions(format=kind, piece_bytes=piece_bytes, threads=2)
    data = await anyio.to_thread.run_sync(create_torrent, [folder / "payload"], options)
    return Metainfo.from_bytes(data)


def place_of(metainfo: Metainfo, name: str, offset: int) -> int:
    """Return the piece that has a byte of a file."""
    index = next(i for i, file in enumerate(metainfo.files) if "/".join(file.path[1:]) == name)
    return metainfo.geometry.piece_at(metainfo.layout.offsets[index] + offset)


@pytest.mark.parametrize("piece_bytes", [16_384, 65_536, 262_144, 2_097_152])
@pytest.mark.parametrize("kind", ["v2", "hybrid"])
async def test_bep52_right_and_wrong_pieces_are_told_apart(
    tmp_path: Path, kind: TorrentFormat, piece_bytes: int
) -> None:
    metainfo = await made(tmp_path, kind, piece_bytes)
    async with opened(metainfo, tmp_path) as storage:
        results = await check(storage, metainfo)
    assert results == dict.fromkeys(range(metainfo.piece_count), True)
    wrong = set()
    for name, at in (("a", 39_999), ("b", 0), ("c/d", 300_000), ("c/d", 900_000)):
        data = bytearray((tmp_path / "payload" / name).read_bytes())
        data[at] ^= 1
        (tmp_path / "payload" / name).write_bytes(data)
        wrong.add(place_of(metainfo, name, at))
    async with opened(metainfo, tmp_path) as storage:
        results = await check(storage, metainfo, threads=3)
    assert results == {piece: piece not in wrong for piece in range(metainfo.piece_count)}


@pytest.mark.parametrize("kind", ["v2", "hybrid"])
async def test_bep52_holes_are_right_only_where_zeros_belong(
    tmp_path: Path, kind: TorrentFormat
) -> None:
    metainfo = await made(tmp_path, kind, 65_536)
    for name in ("c/d", "zeros"):
        path = tmp_path / "payload" / name
        path.write_bytes(b"")
        with path.open("r+b") as file:
            file.truncate(len(FILES[name]))
    async with opened(metainfo, tmp_path) as storage:
        results = await check(storage, metainfo)
    start = place_of(metainfo, "c/d", 0)
    lost = set(range(start, place_of(metainfo, "c/d", 900_000) + 1))
    assert {piece for piece, is_right in results.items() if not is_right} == lost
