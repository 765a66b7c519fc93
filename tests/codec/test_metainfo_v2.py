"""What becomes of v2 and hybrid torrents: each rule of BEP 52 that a reader keeps."""

from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha1, sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.torrents import payload_of
from tests.support.v2_cases import BASE, REASONS, cases
from tests.support.v2_torrents import SMALL, hybrid_info, torrent_around, v2_info
from torrent_engine.base.errors import BencodeError, MetainfoError
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.metainfo import Metainfo

CASES = cases()
GOOD = [name for name, case in CASES.items() if case.error is None]
BAD = [name for name, case in CASES.items() if case.error is not None]
FILES = {"a": payload_of(40_000), "d/b": b"", "d/c": payload_of(5), "e": payload_of(16_384)}


def load(data: bytes) -> Metainfo:
    return Metainfo.from_bytes(data)


@pytest.mark.parametrize("name", GOOD)
def test_bep52_a_good_torrent_loads_and_keeps_its_promises(name: str) -> None:
    metainfo = load(CASES[name].data)
    check_promises(metainfo)
    again = load(metainfo.to_bytes())
    assert (again.info_hash, again.files, again.v2) == (
        metainfo.info_hash,
        metainfo.files,
        metainfo.v2,
    )


def check_promises(metainfo: Metainfo) -> None:
    assert metainfo.v2 is not None
    assert metainfo.info_hash_v2 == sha256(metainfo.info_bytes).digest()
    if metainfo.is_hybrid:
        assert metainfo.info_hash == metainfo.info_hash_v1 == sha1(metainfo.info_bytes).digest()
    else:
        assert metainfo.info_hash == metainfo.info_hash_v2[:20]
        assert metainfo.info_hash_v1 is None
    lengths = [entry.length_bytes for entry in metainfo.files]
    assert sum(lengths) == metainfo.total_bytes > 0
    geometry = metainfo.geometry
    pieces = [metainfo.layout.pieces_of(index, geometry) for index in range(len(lengths))]
    if not metainfo.is_hybrid:
        assert [piece for each in pieces for piece in each] == list(range(metainfo.piece_count))
        assert sum(map(geometry.piece_length, range(metainfo.piece_count))) == sum(lengths)
    stored = [entry.path for entry in metainfo.files if not entry.is_pad]
    assert len(set(stored)) == len(stored)
    for index, entry in enumerate(metainfo.files):
        assert (metainfo.v2.root(index) is None) is (not entry.length_bytes or entry.is_pad)
        assert entry.is_pad or not entry.offset_bytes % geometry.piece_bytes or not lengths[index]


@pytest.mark.parametrize("name", BAD)
def test_bep52_a_bad_torrent_is_refused_with_its_reason(name: str) -> None:
    case = CASES[name]
    with pytest.raises((MetainfoError, BencodeError), match=case.error):
        load(case.data)


def test_every_difference_has_a_reason() -> None:
    differ = {name for name, case in CASES.items() if case.libtorrent_loads is not None}
    assert differ == set(REASONS)


def test_bep52_layers_are_present_missing_or_not_needed() -> None:
    info, layers = v2_info(FILES)
    part = load(torrent_around(info, layers)).v2
    assert part is not None
    assert [part.has_layer(index) for index in range(4)] == [True, None, None, None]
    part = load(torrent_around(info)).v2
    assert part is not None
    assert [part.has_layer(index) for index in range(4)] == [False, None, None, None]
    assert list(part.missing_layers()) == [0]


@pytest.mark.parametrize("make", [v2_info, hybrid_info])
@pytest.mark.parametrize("piece_bytes", [16_384, 32_768, 65_536])
def test_bep52_each_piece_is_judged_by_every_hash_of_it(make: Any, piece_bytes: int) -> None:
    info, layers = make(FILES, piece_bytes=piece_bytes)
    metainfo = load(torrent_around(info, layers))
    for index, piece, content in pieces_of(metainfo):
        hashes = metainfo.hashes
        assert hashes.matches(piece, content), (index, piece)
        digest = hashes.new_digest(piece)
        for start in range(0, len(content), 16_384):
            digest.update(content[start : start + 16_384])
        assert digest.digest() == hashes.expected(piece)
        for size in (100, 7_001, 16_384, 32_768, 1_000_000):
            assert hashes.digest_of(piece, cut(content, size)) == hashes.expected(piece)
        assert not hashes.is_zeros(piece)
        for at in {0, len(content) // 2, len(content) - 1}:
            wrong = bytearray(content)
            wrong[at] ^= 1
            assert not hashes.matches(piece, wrong)
            assert hashes.digest_of(piece, cut(wrong, 16_384)) != hashes.expected(piece)


def cut(data: bytes | bytearray, size: int) -> list[memoryview]:
    view = memoryview(data)
    return [view[start : start + size] for start in range(0, len(view), size)]


def pieces_of(metainfo: Metainfo) -> list[tuple[int, int, bytes]]:
    """Return file, piece and content of each piece of FILES; a hybrid's with its pad."""
    found = []
    size = metainfo.geometry.piece_bytes
    for index, entry in enumerate(metainfo.files):
        data = FILES.get("/".join(entry.path[1:]), b"")
        for number, piece in enumerate(metainfo.layout.pieces_of(index, metainfo.geometry)):
            if entry.is_pad:
                continue
            content = data[number * size : (number + 1) * size]
            if metainfo.is_hybrid:
                content = content.ljust(metainfo.geometry.piece_length(piece), b"\0")
            found.append((index, piece, content))
    return found


def test_bep52_pieces_of_zeros_are_known() -> None:
    info, layers = v2_info({"a": bytes(40_000), "b": bytes(7), "c": b"x"})
    hashes = load(torrent_around(info, layers)).hashes
    assert [hashes.is_zeros(piece) for piece in range(5)] == [True, True, True, True, False]


def test_bep52_a_piece_without_a_layer_has_no_hash_yet() -> None:
    metainfo = load(torrent_around(v2_info(FILES)[0]))
    hashes = metainfo.hashes
    assert [hashes.expected(piece) is None for piece in range(5)] == [True] * 3 + [False] * 2
    assert not hashes.matches(0, FILES["a"][:16_384])
    hybrid = load(torrent_around(hybrid_info(FILES)[0]))
    assert hybrid.hashes.matches(0, FILES["a"][:16_384])
    assert not hybrid.hashes.matches(0, bytes(16_384))


def test_bep52_a_file_of_a_hybrid_must_have_both_hashes() -> None:
    info, layers = hybrid_info(FILES)
    info["pieces"] = bytes(20) + info["pieces"][20:]
    assert not load(torrent_around(info, layers)).hashes.matches(0, FILES["a"][:16_384])


def test_bep52_slices_leave_the_gaps_out() -> None:
    metainfo = load(torrent_around(v2_info(FILES)[0]))
    layout, geometry = metainfo.layout, metainfo.geometry
    assert list(layout.offsets) == [0, 49_152, 49_152, 65_536]
    assert layout.end_bytes == 81_920
    assert [tuple(each) for each in layout.slices(32_768, 49_152)] == [
        (0, 32_768, 7_232),
        (2, 0, 5),
        (3, 0, 16_384),
    ]
    assert list(layout.slices(40_000, 9_152)) == []
    assert [geometry.piece_length(piece) for piece in range(5)] == [
        16_384,
        16_384,
        7_232,
        5,
        16_384,
    ]
    assert [geometry.block_count(piece) for piece in range(5)] == [1] * 5
    assert geometry.total_blocks == 5
    assert [list(layout.files_of_piece(piece, geometry)) for piece in (2, 3, 4)] == [[0], [2], [3]]


def test_bep52_sources_and_edits_keep_the_layers() -> None:
    info, layers = v2_info(FILES)
    metainfo = load(torrent_around(info, layers))
    named = metainfo.with_sources((("http://t/",),), ["http://w/"])
    assert load(named.to_bytes()).v2 == metainfo.v2 == named.v2
    assert metainfo.edited(comment="c").v2 == metainfo.v2


def test_bep52_metadata_of_peers_has_no_layers() -> None:
    info, layers = hybrid_info(FILES)
    metainfo = Metainfo.from_info_bytes(encode(info))
    assert metainfo.v2 is not None
    assert list(metainfo.v2.missing_layers()) == [0]
    assert load(torrent_around(info, layers)).info_hash_v2 == metainfo.info_hash_v2


ANYTHING = st.recursive(
    st.integers(-5, 50_000) | st.binary(max_size=33),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=6,
)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "length": st.integers(0, 50_000) | ANYTHING,
        "pieces root": st.just(bytes(range(32))) | ANYTHING,
        "attr": st.text("plxh", max_size=2) | ANYTHING,
        "symlink path": st.just(["a"]) | ANYTHING,
    },
)
TREE = st.recursive(
    st.fixed_dictionaries({"": PROPERTIES}) | st.just(SMALL),
    lambda inner: st.dictionaries(st.text("ab./\0", max_size=2), inner | ANYTHING, max_size=3),
    max_leaves=6,
)
LAYERS = st.none() | ANYTHING | st.dictionaries(st.just(bytes(range(32))), st.binary(max_size=64))


@settings(max_examples=200)
@given(TREE, LAYERS, st.sampled_from([16_384, 32_768, 5]))
def test_metainfo_of_v2_raises_nothing_but_its_errors(tree: Any, layers: Any, size: int) -> None:
    info = {**BASE, "file tree": tree, "piece length": size}
    encoded = {"info": info} if layers is None else {"info": info, "piece layers": layers}
    metainfo = None
    with suppress(BencodeError, MetainfoError):
        metainfo = load(encode(encoded))
    assert metainfo is None or metainfo.v2 is not None
    if metainfo is not None:
        check_promises(metainfo)


def deep_tree(folders: int, *, names: int = 80, name: str = "a" * 100) -> dict[str, Any]:
    """Return an info dictionary with a folder at a long path, in which are folders of a file."""
    tree: dict[str, Any] = {f"{number:06}": {"f": SMALL} for number in range(folders)}
    for _ in range(names):
        tree = {name: tree}
    return {**BASE, "file tree": tree}


def test_a2_few_bytes_of_a_tree_are_not_long_paths_of_very_many_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torrent_engine.codec._file_tree.MAX_PATHS_BYTES", 4_000_000)
    many = torrent_around(deep_tree(1_000))
    assert len(many) < 100_000
    with pytest.raises(MetainfoError, match="too deep or too long folders"):
        load(many)
    assert len(load(torrent_around(deep_tree(50))).files) == 50
    assert len(load(torrent_around(deep_tree(1_000, names=5))).files) == 1_000


def test_a2_files_of_one_long_path_are_counted_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torrent_engine.codec._file_tree.MAX_PATHS_BYTES", 1_000_000)
    long = torrent_around(
        {**BASE, "file tree": {"a" * 800: dict.fromkeys(map(str, range(2_000)), SMALL)}}
    )
    with pytest.raises(MetainfoError, match="too long folders"):
        load(long)
    usual = {"a" * 80: {"x" * 80: {f"{number:06}": SMALL for number in range(2_000)}}}
    assert len(load(torrent_around({**BASE, "file tree": usual})).files) == 2_000


@pytest.mark.parametrize("files", [FILES, {"a": FILES["a"]}, {"d/a": FILES["a"]}])
def test_bep52_a_hybrid_by_its_v2_hash_is_the_torrent_of_its_v2_part(
    files: Mapping[str, bytes],
) -> None:
    info, layers = hybrid_info(files)
    hybrid = load(torrent_around(info, layers))
    assert hybrid.v2_swarm is not None
    found = hybrid.known_by(hybrid.v2_swarm)
    of_v2 = {key: info[key] for key in info.keys() - {"files", "pieces"}}
    alone = load(torrent_around(of_v2, layers))
    assert found.info_hash == hybrid.v2_swarm
    assert (found.v1_swarm, found.v2_swarm, found.info_hash_v1) == (hybrid.info_hash, None, None)
    assert found.source == hybrid.source
    assert found.geometry.aligned is not None
    assert found.geometry.aligned.lengths == alone.layout.lengths
    assert found.piece_count == hybrid.piece_count
    paths = [file.path for file in hybrid.files if not file.is_pad]
    assert [file.path for file in found.files] == paths
    for piece in range(found.piece_count):
        of_v2_alone = alone.hashes.expected(piece)
        assert of_v2_alone is not None
        assert found.hashes.expected(piece) == hybrid.piece_hash(piece) + of_v2_alone
    assert Metainfo.from_bytes(found.to_bytes()).info_hash == hybrid.info_hash
    assert found.known_by(hybrid.info_hash) is found
    assert hybrid.known_by(hybrid.info_hash) is hybrid


def test_bep52_a_hybrid_by_its_v2_hash_is_checked_by_sha1_of_data_and_pads() -> None:
    info, layers = hybrid_info(FILES)
    hybrid = load(torrent_around(info, layers))
    assert hybrid.v2_swarm is not None
    found = hybrid.known_by(hybrid.v2_swarm)
    for index, data in enumerate(FILES.values()):
        for piece in found.layout.pieces_of(index, found.geometry):
            start = piece * found.geometry.piece_bytes - found.layout.offsets[index]
            content = bytearray(data[start : start + found.geometry.piece_length(piece)])
            assert found.hashes.matches(piece, content)
            content[-1] ^= 1
            assert not found.hashes.matches(piece, content)


def test_bep52_a_hybrid_of_one_file_is_one_file_by_either_hash() -> None:
    data = FILES["e"]
    info, layers = v2_info({"a": data}, name="a")
    v1 = {"length": len(data), "pieces": sha1(data).digest()}
    hybrid = load(torrent_around({**info, **v1}, layers))
    found = hybrid.known_by(hybrid.v2_swarm or hybrid.info_hash)
    assert not found.is_multi_file
    assert found.files[0].path == ("a",)
