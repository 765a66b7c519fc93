"""v2 and hybrid torrents are judged as libtorrent judges them, and its own are read."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import libtorrent
import pytest

from tests.support.torrents import payload_of
from tests.support.v2_cases import cases
from torrent_engine.base.errors import BencodeError, MetainfoError
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.merkle import layers_of, leaves_of
from torrent_engine.codec.metainfo import Metainfo

pytestmark = pytest.mark.interop

CASES = cases()
V2_ONLY, HYBRID = 32, 0
FILES = {
    "a": payload_of(40_000),
    "d/b": b"",
    "d/c": payload_of(5),
    "d/e": payload_of(65_536),
    "f": payload_of(16_384),
    "g": payload_of(300_000),
}


@pytest.fixture(autouse=True)
def _old_names() -> Iterator[None]:
    """Let libtorrent say that a name of it is old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@pytest.mark.parametrize("name", CASES)
def test_bep52_libtorrent_judges_alike_but_for_a_reason(name: str) -> None:
    case = CASES[name]
    expected = case.error is None if case.libtorrent_loads is None else case.libtorrent_loads
    assert libtorrent_loads(case.data) is expected


def libtorrent_loads(data: bytes) -> bool:
    try:
        return libtorrent.load_torrent_buffer(data).ti is not None
    except RuntimeError:
        return False


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.error is None])
def test_bep52_both_read_the_same(name: str) -> None:
    ours = Metainfo.from_bytes(CASES[name].data)
    theirs = libtorrent.load_torrent_buffer(CASES[name].data).ti
    assert theirs is not None
    hashes = theirs.info_hashes()
    assert ours.info_hash_v2 == hashes.v2.to_bytes()
    assert ours.is_hybrid is hashes.has_v1()
    assert not ours.is_hybrid or ours.info_hash == hashes.v1.to_bytes()
    assert (ours.piece_count, ours.geometry.piece_bytes, ours.is_private) == (
        theirs.num_pieces(),
        theirs.piece_length(),
        theirs.priv(),
    )
    files = theirs.files()
    pad = int(libtorrent.file_flags_t.flag_pad_file)
    sizes = [
        files.file_size(index)
        for index in range(files.num_files())
        if not files.file_flags(index) & pad
    ]
    assert [each.length_bytes for each in ours.files if not each.is_pad] == sizes


@pytest.mark.parametrize("flags", [V2_ONLY, HYBRID])
@pytest.mark.parametrize("piece_bytes", [16_384, 65_536])
def test_bep52_a_torrent_that_libtorrent_made_is_read(
    flags: int, piece_bytes: int, tmp_path: Path
) -> None:
    for path, data in FILES.items():
        file = tmp_path / "payload" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    made = libtorrent.create_torrent(
        libtorrent.list_files(str(tmp_path / "payload")), piece_bytes, flags
    )
    libtorrent.set_piece_hashes(made, str(tmp_path))
    ours = Metainfo.from_bytes(libtorrent.bencode(made.generate()))
    assert ours.v2 is not None
    assert ours.is_hybrid is (flags == HYBRID)
    found = {}
    for index, entry in enumerate(ours.files):
        if not entry.is_pad:
            path = "/".join(entry.path[1:])
            found[path] = entry.length_bytes
            root, layer = layers_of(leaves_of(FILES[path]), piece_bytes)
            assert ours.v2.root(index) == (root or None)
            assert ours.v2.layers.get(root, b"") == layer
    assert found == {path: len(data) for path, data in FILES.items()}
    link = libtorrent.make_magnet_uri(libtorrent.load_torrent_buffer(ours.to_bytes()))
    theirs = Magnet.parse(link)
    assert (theirs.info_hash, theirs.info_hash_v2) == (ours.info_hash, ours.info_hash_v2)
    read = libtorrent.parse_magnet_uri(str(Magnet.of(ours))).info_hashes
    assert read.v2.to_bytes() == ours.info_hash_v2
    assert read.has_v1() is ours.is_hybrid


def test_bep52_a_mistake_names_its_property() -> None:
    with pytest.raises((BencodeError, MetainfoError), match="differ in the length of 'a'"):
        Metainfo.from_bytes(CASES["length"].data)
