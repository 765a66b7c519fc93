"""Hints at torrents that may share files (BEP 38)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.codec._similar import (
    MAX_COLLECTION_BYTES,
    MAX_HINTS,
    SimilarTorrents,
    parse_similar,
)
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.metainfo import Metainfo

ONE, TWO, V2 = b"a" * 20, b"b" * 20, b"c" * 32
INFO: dict[str, Any] = {"name": "n", "piece length": 16_384, "length": 1, "pieces": bytes(20)}


def test_bep38_what_is_inside_and_around_the_info_dictionary_is_merged() -> None:
    info = {**INFO, "similar": [ONE, V2], "collections": [b"x"]}
    torrent: Any = {"info": info, "similar": [TWO, ONE], "collections": ["y", "x"]}
    found = Metainfo.from_bytes(encode(torrent)).similar
    assert found == SimilarTorrents((ONE, V2, TWO), ("x", "y"))


def test_bep38_metadata_of_a_link_has_what_is_inside() -> None:
    info_bytes = encode({**INFO, "similar": [ONE], "collections": ["s\u00e9rie"]})
    assert Metainfo.from_info_bytes(info_bytes).similar == SimilarTorrents((ONE,), ("s\u00e9rie",))


MALFORMED: dict[str, dict[bytes, Any]] = {
    "no_list": {b"similar": ONE, b"collections": b"x"},
    "integers": {b"similar": [1], b"collections": [1]},
    "dictionaries": {b"similar": {b"a": ONE}, b"collections": {b"a": b"x"}},
    "nested": {b"similar": [[ONE]], b"collections": [[b"x"]]},
    "short": {b"similar": [ONE[:19], b""], b"collections": [b""]},
    "long": {b"similar": [ONE + b"a"], b"collections": [b"x" * (MAX_COLLECTION_BYTES + 1)]},
    "no_text": {b"similar": [], b"collections": [b"\xff", b"\xc0\x80"]},
    "hexadecimal": {b"similar": [ONE.hex().encode()]},
}


@pytest.mark.parametrize("keys", MALFORMED.values(), ids=MALFORMED.keys())
@pytest.mark.parametrize("is_inside", [True, False])
def test_bep38_what_is_no_hint_is_left_out(keys: dict[bytes, Any], is_inside: bool) -> None:
    found = parse_similar({}, keys) if is_inside else parse_similar(keys, {})
    assert found == SimilarTorrents()


def test_bep38_hints_are_bounded() -> None:
    hashes: list[Any] = [number.to_bytes(20, "big") for number in range(MAX_HINTS + 1)]
    names: list[Any] = [str(number).encode() for number in range(MAX_HINTS + 1)]
    found = parse_similar({b"similar": hashes}, {b"collections": names})
    assert (len(found.info_hashes), len(found.collections)) == (MAX_HINTS, MAX_HINTS)


_VALUES = st.recursive(
    st.integers() | st.binary(max_size=40),
    lambda inner: st.lists(inner) | st.dictionaries(st.binary(max_size=3), inner),
    max_leaves=10,
)
_KEYS = st.dictionaries(st.sampled_from([b"similar", b"collections"]), _VALUES)


@given(_KEYS, _KEYS)
def test_bep38_no_value_of_the_keys_is_an_error(
    torrent: dict[bytes, Any], info: dict[bytes, Any]
) -> None:
    found = parse_similar(torrent, info)
    assert all(len(each) in {20, 32} for each in found.info_hashes)
    assert all(1 <= len(each.encode()) <= MAX_COLLECTION_BYTES for each in found.collections)
    assert len(set(found.info_hashes)) == len(found.info_hashes)
