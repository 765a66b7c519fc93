"""Which files of similar torrents a torrent's files may be (BEP 38)."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.disk.helpers import CONFIG
from tests.support.torrents import info_dict, payload_of
from tests.support.v2_torrents import hybrid_info, v2_info
from torrent_engine.base.errors import StateDatabaseError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.resume.similar_files import MAX_ALIKE, found_files, similar_files
from torrent_engine.disk.state.records import Progress, TorrentRecord
from torrent_engine.disk.state.store import StateStore

pytestmark = pytest.mark.anyio

PIECE = 16 * 1024
ONE, TWO = payload_of(3 * PIECE + 5, 1), payload_of(2 * PIECE, 2)
OTHER = payload_of(len(ONE), 3)
NAMED_ALIKE = "q/one"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[StateStore]:
    async with await StateStore.open(tmp_path / "state", config=CONFIG) as opened:
        yield opened


def torrent(info: tuple[dict[str, Any], Any], **hints: Sequence[Any]) -> Metainfo:
    """Return a torrent around an info dictionary, with hints inside it."""
    layers = info[1] if isinstance(info[1], dict) else {}
    return Metainfo.from_bytes(encode({"info": {**info[0], **hints}, "piece layers": layers}))


def v1(files: dict[str, bytes], piece_bytes: int = PIECE, **hints: Sequence[Any]) -> Metainfo:
    return torrent(info_dict(files, piece_bytes=piece_bytes), **hints)


def v2(files: dict[str, bytes], **hints: Sequence[Any]) -> Metainfo:
    return torrent(v2_info(files), **hints)


def hybrid(files: dict[str, bytes], **hints: Sequence[Any]) -> Metainfo:
    return torrent(hybrid_info(files), **hints)


async def know(
    store: StateStore, metainfo: Metainfo, folder: str = "/there", *, have: bytes = b"", **more: Any
) -> None:
    """Have the database know a torrent, of which all is there unless ``have`` says what."""
    record = TorrentRecord(
        metainfo.info_hash, metainfo.name, folder, metainfo_bytes=metainfo.source, **more
    )
    await store.save_torrent(record)
    if have:
        progress = Progress(metainfo.piece_count, have, have, bytes(len(have)), "boot", True)
        await store.save_progress(metainfo.info_hash, progress)


async def names_of(store: StateStore, metainfo: Metainfo) -> dict[int, list[str]]:
    """Return where the files may be, below the folder of the other torrent."""
    found = await similar_files(store, metainfo)
    return {
        index: [path.removeprefix("/there/").removeprefix("payload/") for path in paths]
        for index, paths in found.items()
    }


async def test_bep38_a_torrent_that_is_named_has_files_of_the_same_size(store: StateStore) -> None:
    other = v1({"x/a": OTHER, "x/one": ONE, "y": TWO})
    await know(store, other)
    named = v1({NAMED_ALIKE: ONE, "rest": b"1"}, 2 * PIECE, similar=[other.info_hash])
    assert await names_of(store, named) == {0: ["x/one", "x/a"]}


async def test_bep38_a_torrent_of_a_shared_collection_has_them_too(store: StateStore) -> None:
    await know(store, v1({"x": ONE}, collections=["b", "c"]))
    await know(store, v1({"y": ONE}, collections=["d"]))
    assert await names_of(store, v1({"one": ONE}, collections=["a", "b"])) == {0: ["x"]}


async def test_bep38_torrents_without_a_hint_are_left_alone(store: StateStore) -> None:
    other = v1({"x": ONE}, collections=["a"])
    await know(store, other)
    assert await names_of(store, v1({"one": ONE})) == {}
    assert await names_of(store, v1({"one": ONE}, similar=[bytes(20)], collections=["b"])) == {}
    assert await names_of(store, other) == {}  # it is of its own collection


@pytest.mark.parametrize("make", [v2, hybrid])
async def test_bep38_bep52_a_torrent_is_named_by_any_of_its_hashes(
    make: Any, store: StateStore
) -> None:
    other: Metainfo = make({"x": ONE})
    assert other.v2 is not None
    await know(store, other)
    for key in {bytes(other.v2.info_hash), other.v2.info_hash[:20], bytes(other.info_hash)}:
        assert await names_of(store, v1({"one": ONE}, similar=[key])) == {0: ["x"]}


@pytest.mark.parametrize("make", [v2, hybrid])
async def test_bep52_a_root_says_whether_a_file_is_the_same(make: Any, store: StateStore) -> None:
    other: Metainfo = make({"a": OTHER, "z": ONE})
    await know(store, other)
    assert await names_of(store, v2({"a": ONE}, similar=[other.info_hash])) == {0: ["z"]}


async def test_bep38_hashes_of_equal_pieces_say_whether_a_file_is_the_same(
    store: StateStore,
) -> None:
    first = v1({"one": OTHER})
    second = v1({"x": TWO, "one": ONE, "z": ONE})
    for other in (first, second):
        await know(store, other)
    hints = [first.info_hash, second.info_hash]
    assert await names_of(store, v1({"y": ONE}, similar=hints)) == {0: ["one", "z"]}
    assert await names_of(store, v1({"z": ONE}, similar=hints)) == {0: ["one", "z"]}
    assert await names_of(store, v1({"z": ONE}, 2 * PIECE, similar=hints)) == {
        0: ["z", "one", "one"]
    }


async def test_bep38_files_that_are_not_complete_are_left_out(store: StateStore) -> None:
    other = v1({"x": TWO, "y": ONE, "z": TWO})
    await know(store, other, have=bytes([0b11011111]))
    named = v1({"two": TWO, "one": ONE}, similar=[other.info_hash])
    assert await names_of(store, named) == {0: ["x", "z"]}
    store.claim(other.info_hash)  # what is saved of one that runs may be older than its files
    assert await names_of(store, named) == {0: ["x", "z"], 1: ["y"]}


async def test_bep38_a_file_is_where_it_was_moved_or_renamed_to(store: StateStore) -> None:
    other = v1({"x": ONE, "y": TWO})
    await know(store, other, folder="/new", renames={0: ("deep", "name")})
    found = await similar_files(store, v1({"1": ONE, "2": TWO}, similar=[other.info_hash]))
    assert found == {0: ["/new/deep/name"], 1: ["/new/payload/y"]}


async def test_bep38_of_very_many_equal_files_a_few_are_tried(store: StateStore) -> None:
    other = v1({f"{number:02}": ONE for number in range(30)})
    await know(store, other)
    found = await names_of(store, v1({"29": ONE}, 2 * PIECE, similar=[other.info_hash]))
    assert found[0] == ["29", *(f"{number:02}" for number in range(MAX_ALIKE - 1))]


async def test_f6_a_torrent_that_is_damaged_is_left_out(store: StateStore) -> None:
    good, bad = v1({"x": ONE}), v1({"y": ONE})
    for other in (good, bad):
        await know(store, other)
    (store.folder / "torrents" / f"{bad.info_hash.hex()}.torrent").write_bytes(b"d4:info")
    named = v1({"one": ONE}, similar=[good.info_hash, bad.info_hash])
    assert await names_of(store, named) == {0: ["x"]}


async def test_f6_a_database_that_cannot_be_read_is_no_failure(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = v1({"x": ONE})
    await know(store, other)

    async def load(info_hash: InfoHash) -> None:
        raise StateDatabaseError(f"no {info_hash}")

    monkeypatch.setattr(store, "load", load)
    assert await names_of(store, v1({"one": ONE}, similar=[other.info_hash])) == {}


def test_a_path_that_is_gone_or_of_another_size_is_no_file(tmp_path: Path) -> None:
    for name, size in (("right", 5), ("long", 6)):
        (tmp_path / name).write_bytes(bytes(size))
    (tmp_path / "link").symlink_to(tmp_path / "right")
    paths = [str(tmp_path / name) for name in ("gone", "long", "link", "right", "")]
    assert [file.path for file in found_files(paths, 5)] == [str(tmp_path / "right")]
