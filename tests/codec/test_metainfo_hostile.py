import tracemalloc
from contextlib import suppress
from hashlib import sha1, sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torrent_engine.base.config import (
    FILE_BENCODE_LIMITS,
    METADATA_BENCODE_LIMITS,
    STORED_BENCODE_LIMITS,
    BencodeLimits,
    MetadataConfig,
)
from torrent_engine.base.errors import BencodeError, MetainfoError
from torrent_engine.codec._sources import MAX_URL_BYTES, MAX_URLS
from torrent_engine.codec.bencode import decode, encode
from torrent_engine.codec.metainfo import MAX_PIECES, Metainfo

GOOD: dict[str, Any] = {"name": "n", "piece length": 16_384, "pieces": bytes(20), "length": 5}
TREE: dict[str, Any] = {"name": "n", "piece length": 16_384, "pieces": bytes(20)}


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in GOOD.items() if k != key}


def files(*entries: Any) -> dict[str, Any]:
    return {**TREE, "files": list(entries)}


MALFORMED: dict[str, Any] = {
    "info_missing": None,
    "info_is_no_dict": [],
    "name_missing": without("name"),
    "name_is_no_string": {**GOOD, "name": 1},
    "piece_length_missing": without("piece length"),
    "piece_length_is_no_integer": {**GOOD, "piece length": "16384"},
    "a5_piece_length_zero": {**GOOD, "piece length": 0},
    "a5_piece_length_negative": {**GOOD, "piece length": -16_384},
    "a5_piece_length_too_small": {**GOOD, "piece length": 4},
    "a5_piece_length_too_large": {**GOOD, "piece length": 512 * 2**20 + 1},
    "a5_piece_length_2_62": {**GOOD, "piece length": 2**62},
    "pieces_missing": without("pieces"),
    "pieces_is_no_string": {**GOOD, "pieces": [b"x" * 20]},
    "a5_pieces_ragged": {**GOOD, "pieces": bytes(21)},
    "a5_pieces_empty": {**GOOD, "pieces": b""},
    "a5_one_piece_too_many": {**GOOD, "pieces": bytes(40)},
    "a5_one_piece_too_few": {**GOOD, "length": 16_385},
    "length_missing": without("length"),
    "length_is_no_integer": {**GOOD, "length": "5"},
    "a5_length_negative": {**GOOD, "length": -1},
    "a5_length_zero": {**GOOD, "length": 0, "pieces": b""},
    "a5_length_2_63": {**GOOD, "length": 2**63 - 1},
    "files_is_no_list": {**TREE, "files": {}},
    "files_empty": {**TREE, "files": []},
    "file_is_no_dict": files([]),
    "file_without_path": files({"length": 5}),
    "file_path_empty": files({"length": 5, "path": []}),
    "file_path_is_string": files({"length": 5, "path": "a"}),
    "file_path_of_integers": files({"length": 5, "path": ["a", 1]}),
    "file_without_length": files({"path": ["a"]}),
    "a5_file_length_negative": files({"path": ["a"], "length": 10}, {"path": ["b"], "length": -5}),
    "a5_sum_above_2_63": files(*[{"path": ["a"], "length": 2**63 - 1}] * 3),
    "a6_path_too_deep": files({"path": ["a"] * 101, "length": 5}),
    "a10_too_many_collisions": files(*[{"path": ["a"], "length": 1}] * 600),
    "v2_only": {"name": "n", "piece length": 16_384, "meta version": 2, "file tree": {}},
    "meta_version_3": {**GOOD, "meta version": 3},
}


def torrent_of(info: Any) -> bytes:
    return encode({} if info is None else {"info": info})


@pytest.mark.parametrize("info", MALFORMED.values(), ids=MALFORMED.keys())
def test_metainfo_rejects(info: Any) -> None:
    with pytest.raises(MetainfoError):
        Metainfo.from_bytes(torrent_of(info))


@pytest.mark.parametrize("info", MALFORMED.values(), ids=MALFORMED.keys())
def test_bep9_metadata_rejects_the_same(info: Any) -> None:
    if isinstance(info, dict):
        with pytest.raises(MetainfoError):
            Metainfo.from_info_bytes(encode(info))
    else:
        with pytest.raises(BencodeError):
            Metainfo.from_info_bytes(b"" if info is None else encode(info))


@pytest.mark.parametrize(
    "data", [b"x", b"le", b"d4:infod", b"<", b"d4:infode4:infod1:ai1eee", b"d"]
)
def test_what_is_no_bencoded_dictionary_is_a_bencode_error(data: bytes) -> None:
    with pytest.raises(BencodeError):
        Metainfo.from_bytes(data)


def test_a4_file_above_the_limit_is_refused() -> None:
    data = encode({"info": GOOD, "junk": bytes(FILE_BENCODE_LIMITS.max_bytes)})
    with pytest.raises(BencodeError, match="more than"):
        Metainfo.from_bytes(data)


def test_a4_as_many_pieces_as_are_promised_fit_into_a_file_and_into_metadata() -> None:
    info = {**GOOD, "length": 16_384 * MAX_PIECES, "pieces": bytes(20 * MAX_PIECES)}
    metainfo = Metainfo.from_bytes(torrent_of(info))
    assert metainfo.piece_count == MAX_PIECES
    assert len(metainfo.info_bytes) < MetadataConfig().max_bytes


def test_a4_what_may_be_accepted_may_be_read_back_with_trackers_around_it() -> None:
    room_for_sources = (2 * MAX_URLS + 1) * (MAX_URL_BYTES + 16)
    for limits in (FILE_BENCODE_LIMITS, METADATA_BENCODE_LIMITS):
        assert limits.max_bytes + room_for_sources <= STORED_BENCODE_LIMITS.max_bytes
        assert limits.max_tokens + 10_000 <= STORED_BENCODE_LIMITS.max_tokens
    assert MetadataConfig().max_bytes <= METADATA_BENCODE_LIMITS.max_bytes
    assert MetadataConfig().max_bytes <= MetadataConfig().max_held_bytes


@pytest.mark.parametrize("attribute", [{}, {"attr": "x"}])
def test_a2_files_take_little_memory_each(attribute: dict[str, object]) -> None:
    count = 20_000
    files = [
        {**attribute, "length": 1, "path": [f"folder {i // 100}", f"some name of a file {i}"]}
        for i in range(count)
    ]
    info = {"name": "n", "piece length": 16_384, "pieces": bytes(40), "files": files}
    data = torrent_of(info)
    tracemalloc.start()
    try:
        metainfo = Metainfo.from_bytes(data)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(metainfo.files) == count
    per_file = len(data) // count  # the info dictionary is held as received
    assert held // count < per_file + 100
    assert peak // count < per_file + 350


def test_a2_token_limit_counts_files_that_are_read_by_the_short_way() -> None:
    files = [{"length": 1, "path": ["a", str(number)]} for number in range(100)]
    info = {"name": "n", "piece length": 16_384, "pieces": bytes(20), "files": files}
    data = torrent_of(info)
    tokens = count_tokens(decode(data))
    Metainfo.from_bytes(data, limits=BencodeLimits(max_tokens=tokens))
    with pytest.raises(BencodeError, match="tokens"):
        Metainfo.from_bytes(data, limits=BencodeLimits(max_tokens=tokens - 1))


def count_tokens(value: object) -> int:
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(count_tokens, value.values()))
    return 1 + sum(map(count_tokens, value)) if isinstance(value, list) else 1


def test_a6_collisions_in_very_deep_folders_are_refused_in_little_memory() -> None:
    folders = [[f"{number}.{depth}" for depth in range(90)] for number in range(2_600)]
    files = [{"length": 1, "path": [*folder, "a"]} for folder in [*folders, folders[0]]]
    info = {"name": "n", "piece length": 16_384, "pieces": bytes(20), "files": files}
    with pytest.raises(MetainfoError, match="too deep"):
        Metainfo.from_bytes(torrent_of(info))


def test_a4_more_than_2_21_pieces_are_refused_whatever_the_size_limit() -> None:
    count = MAX_PIECES + 1
    info = {**GOOD, "length": 16_384 * (count - 1) + 1, "pieces": bytes(20 * count)}
    with pytest.raises(MetainfoError, match="pieces"):
        Metainfo.from_bytes(torrent_of(info), limits=BencodeLimits(max_bytes=64 * 2**20))
    with pytest.raises(MetainfoError, match="pieces"):
        Metainfo.from_info_bytes(encode(info))


@pytest.mark.parametrize("piece_bytes", [1, 3, 128, 16_385, 1_000_000, 512 * 2**20])
def test_a5_piece_length_need_not_be_a_power_of_two(piece_bytes: int) -> None:
    info = {**GOOD, "piece length": piece_bytes, "length": piece_bytes + 1, "pieces": bytes(40)}
    assert Metainfo.from_bytes(torrent_of(info)).geometry.last_piece_bytes == 1


ANYTHING = st.recursive(
    st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=30) | st.just(b"x" * 20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.binary(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "length": st.integers(-1, 30_000) | ANYTHING,
        "path": st.lists(st.binary(max_size=8), max_size=4) | ANYTHING,
        "attr": st.text("plxh", max_size=3) | ANYTHING,
        "symlink path": st.lists(st.binary(max_size=8), max_size=4) | ANYTHING,
    },
)
INFO = st.fixed_dictionaries(
    {},
    optional={
        "name": st.binary(max_size=20) | ANYTHING,
        "piece length": st.just(16_384) | ANYTHING,
        "pieces": st.sampled_from([bytes(20), bytes(40)]) | ANYTHING,
        "length": st.integers(1, 32_768) | ANYTHING,
        "files": st.lists(ENTRY, max_size=4) | ANYTHING,
        "private": ANYTHING,
        "meta version": st.integers(0, 3) | ANYTHING,
    },
)
TORRENT = st.fixed_dictionaries(
    {"info": INFO | ANYTHING},
    optional=dict.fromkeys(
        ("announce", "announce-list", "url-list", "httpseeds", "nodes", "comment"), ANYTHING
    ),
)


@settings(max_examples=200)
@given(TORRENT)
def test_metainfo_raises_nothing_but_its_errors_and_keeps_its_promises(torrent: Any) -> None:
    with suppress(BencodeError, MetainfoError):
        metainfo = Metainfo.from_bytes(encode(torrent))
        check_promises(metainfo)
        assert Metainfo.from_info_bytes(metainfo.info_bytes).files == metainfo.files


@given(st.binary(max_size=200))
def test_from_bytes_and_info_bytes_raise_nothing_but_their_errors(data: bytes) -> None:
    for load in (Metainfo.from_bytes, Metainfo.from_info_bytes):
        metainfo = None
        with suppress(BencodeError, MetainfoError):
            metainfo = load(data)
        if metainfo is not None:
            digest = sha1 if metainfo.info_hash_v1 else sha256
            assert metainfo.info_hash == digest(metainfo.info_bytes).digest()[:20]


def check_promises(metainfo: Metainfo) -> None:
    assert sum(entry.length_bytes for entry in metainfo.files) == metainfo.total_bytes > 0
    assert len(metainfo.piece_hashes) in {0, 20 * metainfo.piece_count}
    assert metainfo.piece_hashes or metainfo.v2
    stored = [entry.path for entry in metainfo.files if not entry.is_pad]
    assert len(set(stored)) == len(stored)
    for path in stored:
        assert path[0] == metainfo.name
        assert not {"", ".", ".."} & set(path)


def two_files(*, pad_bytes: int, **extra: Any) -> dict[str, Any]:
    """Return a hybrid: a file, the pad that BEP 52 wants behind it, another file."""
    listed = [
        {"length": 20_000, "path": ["a"]},
        {"length": pad_bytes, "path": [".pad", str(pad_bytes)], "attr": "p"},
        {"length": 5, "path": ["b"]},
    ]
    return {**HYBRID, "files": listed, **extra}


HYBRID: dict[str, Any] = {
    "name": "n",
    "piece length": 16_384,
    "meta version": 2,
    "file tree": {
        "a": {"": {"length": 20_000, "pieces root": bytes(range(32))}},
        "b": {"": {"length": 5, "pieces root": bytes(range(32))}},
    },
    "pieces": bytes(60),
}
A12_REFUSED: dict[str, Any] = {
    "no_pieces": {
        key: value for key, value in two_files(pad_bytes=12_768).items() if key != "pieces"
    },
    "pieces_empty": two_files(pad_bytes=12_768, pieces=b""),
    "pieces_no_string": two_files(pad_bytes=12_768, pieces=[bytes(20)] * 3),
    "pieces_of_v2": two_files(pad_bytes=12_768, pieces=bytes(32)),
    "a_piece_too_few": two_files(pad_bytes=12_768, pieces=bytes(40)),
    "a_piece_too_many": two_files(pad_bytes=12_768, pieces=bytes(80)),
    "version_3": two_files(pad_bytes=12_768, **{"meta version": 3}),
    "pad_below_zero": two_files(pad_bytes=-1),
    "pad_beyond_64_bits": two_files(pad_bytes=2**63),
    "pad_that_makes_the_total_too_long": two_files(pad_bytes=2**63 - 1),
    "pads_alone_are_no_payload": {
        **HYBRID,
        "files": [{"length": 0, "path": [".pad", "0"], "attr": "p"}],
        "pieces": b"",
    },
}


@pytest.mark.parametrize("info", A12_REFUSED.values(), ids=A12_REFUSED.keys())
def test_a12_hybrid_that_makes_no_sense_is_refused(info: dict[str, Any]) -> None:
    with pytest.raises((MetainfoError, BencodeError)):
        Metainfo.from_bytes(torrent_of(info))
    with pytest.raises((MetainfoError, BencodeError)):
        Metainfo.from_info_bytes(encode(info))


def test_a12_the_v1_part_of_a_hybrid_is_what_counts() -> None:
    metainfo = Metainfo.from_bytes(torrent_of(two_files(pad_bytes=12_768)))
    assert metainfo.is_hybrid
    assert [(entry.path[-1], entry.length_bytes) for entry in metainfo.files] == [
        ("a", 20_000),
        ("12768", 12_768),
        ("b", 5),
    ]
    assert [metainfo.files.is_stored(index) for index in range(3)] == [True, False, True]


PAD_TRICKS: dict[str, list[dict[str, Any]]] = {
    "in_the_place_of_a_file": [
        {"length": 16_379, "path": ["a"], "attr": "p"},
        {"length": 5, "path": ["a"]},
    ],
    "in_the_place_of_a_folder": [
        {"length": 16_379, "path": ["a"], "attr": "p"},
        {"length": 5, "path": ["a", "b"]},
    ],
    "outside": [
        {"length": 16_379, "path": ["..", "..", "etc"], "attr": "p"},
        {"length": 5, "path": ["b"]},
    ],
    "a_link_too": [
        {"length": 16_384, "path": ["l"], "attr": "pl", "symlink path": ["..", "x"]},
        {"length": 16_384, "path": ["b"]},
    ],
    "executable": [
        {"length": 16_379, "path": ["x"], "attr": "px"},
        {"length": 5, "path": ["b"]},
    ],
}


@pytest.mark.parametrize("listed", PAD_TRICKS.values(), ids=PAD_TRICKS.keys())
def test_a12_a_pad_is_never_stored_and_moves_no_other_file(listed: list[dict[str, Any]]) -> None:
    info = {**TREE, "files": listed}
    metainfo = Metainfo.from_bytes(torrent_of(info))
    pad, other = metainfo.files
    assert pad.is_pad
    assert not metainfo.files.is_stored(0)
    assert metainfo.files.is_stored(1)
    assert other.path == ("n", *listed[1]["path"])
    assert ".." not in pad.path
