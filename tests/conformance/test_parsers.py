"""What the kit reads from the other side: bencoding and frames."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.conformance.bencoding import bencode, parse
from torrent_engine.conformance.errors import KitBencodeError
from torrent_engine.conformance.frames import FrameReader, message
from torrent_engine.conformance.rules.bep6_allowed_fast import canonical_set
from torrent_engine.conformance.swarm.http_tracker import http_response, parse_announce
from torrent_engine.conformance.torrent_set import INFO_BYTES, basic_torrent

MALFORMED = {
    "nothing": b"",
    "leading_zero": b"i03e",
    "negative_zero": b"i-0e",
    "no_digits": b"ie",
    "no_end": b"i3",
    "short_string": b"5:spam",
    "negative_length": b"-1:a",
    "open_list": b"li1e",
    "key_is_a_number": b"di1ei2ee",
    "value_missing": b"d1:ae",
    "too_deep": b"l" * 1_000,
    "thousand_digits": b"i" + b"9" * 1_000 + b"e",
}
VALUES = st.recursive(
    st.integers(-(2**60), 2**60) | st.binary(max_size=20),
    lambda each: (
        st.lists(each, max_size=4) | st.dictionaries(st.binary(max_size=5), each, max_size=4)
    ),
    max_leaves=10,
)


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_bep3_malformed_bencoding_is_refused(data: bytes) -> None:
    with pytest.raises(KitBencodeError):
        parse(data)


@given(st.binary(max_size=200) | st.text("0123456789ilde:-").map(str.encode))
def test_parse_raises_nothing_but_its_error(data: bytes) -> None:
    try:
        parsed = parse(data)
    except KitBencodeError:
        return
    assert parsed.end <= len(data)
    assert not parsed.keys_sorted or bencode(parsed.value) == data[: parsed.end]


@given(VALUES)
def test_what_is_encoded_is_read_again(value) -> None:
    parsed = parse(bencode(value))
    assert (parsed.value, parsed.keys_sorted) == (value, True)


def test_unsorted_and_repeated_keys_are_noticed() -> None:
    assert not parse(b"d1:bi1e1:ai2ee").keys_sorted
    assert not parse(b"d1:ai1e1:ai2ee").keys_sorted


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.integers(1, 50))
def test_frames_are_the_same_in_every_chunking(bodies: list[bytes], chunk: int) -> None:
    reader, found = FrameReader(), []
    data = b"".join(message(each[0], each[1:]) for each in bodies)
    for start in range(0, len(data), chunk):
        found += reader.feed(data[start : start + chunk])
    assert [bytes([each.number]) + each.payload for each in found] == bodies


@given(st.binary(max_size=300))
def test_frames_of_any_bytes_can_be_described(data: bytes) -> None:
    frames = []
    with suppress(ValueError):
        frames = FrameReader().feed(data)
    assert all(each.describe() for each in frames)


def test_the_sample_torrent_is_the_same_everywhere() -> None:
    torrent = basic_torrent()
    assert torrent.info_hash.hex() == "a2962d7f3826d5ce35ef02d79c4ac519421e0a15"
    assert (len(torrent.info), torrent.piece_count) == (INFO_BYTES, 21)


def test_bep6_allowed_fast_set_is_that_of_the_text() -> None:
    pieces = canonical_set("80.4.4.200", b"\xaa" * 20, 1313, 9)
    assert pieces == [1059, 431, 808, 1217, 287, 376, 1188, 353, 508]
    assert canonical_set("80.4.4.1", b"\xaa" * 20, 1313, 7) == pieces[:7]
    assert sorted(canonical_set("80.4.4.1", b"\xaa" * 20, 5, 7)) == [0, 1, 2, 3, 4]


def test_bep3_announce_is_cut_into_path_and_unescaped_values() -> None:
    found = parse_announce(
        b"GET /announce?info_hash=%00%ff+a&port=1&x&port=2 HTTP/1.1\r\nA: b", 2.5
    )
    assert (found.at, found.path) == (2.5, "/announce")
    assert found.value("info_hash") == b"\x00\xff+a"
    assert (found.value("port"), found.value("x"), found.value("y")) == (b"1", b"", b"")


ODD_HEADS = [
    b"",
    b"GET",
    b"GET ",
    b"GET  HTTP/1.1",
    b"GET /?%&=&%zz=%f HTTP/1.1",
    b"\xff\0 \xfe?\x80",
]


@pytest.mark.parametrize("head", ODD_HEADS)
def test_odd_announces_have_no_port(head: bytes) -> None:
    assert parse_announce(head, 0.0).value("port") == b""


@given(st.binary(max_size=200))
def test_any_head_is_read_as_an_announce(head: bytes) -> None:
    assert parse_announce(head, 0.0).at == 0.0


def test_http_response_has_its_length() -> None:
    assert http_response(b"de").endswith(b"Content-Length: 2\r\nConnection: close\r\n\r\nde")
