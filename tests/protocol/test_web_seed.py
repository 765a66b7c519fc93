"""URLs of web seeds, and what a server may answer to a range (BEP 17, 19; row A14)."""

from contextlib import suppress
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.metainfo import FileEntry
from torrent_engine.net.http.hop import parse_http_url
from torrent_engine.protocol.web_seed import (
    Span,
    check_range_response,
    file_url,
    parse_content_range,
    parse_number,
    piece_url,
)

SPAN = Span(offset_bytes=100, length_bytes=50, file_bytes=1000)


def entry(*raw_path: bytes) -> FileEntry:
    return FileEntry(("cleaned",), raw_path, 10, 0)


SINGLE = {
    "a_file": ("http://w/x.iso", "http://w/x.iso"),
    "a_folder": ("http://w/pub/", "http://w/pub/my%20name"),
    "the_root": ("http://w/", "http://w/my%20name"),
    "a_query": ("http://w/get?id=1", "http://w/get?id=1"),
    "a_fragment": ("http://w/x#top", "http://w/x"),
}


@pytest.mark.parametrize(("base", "url"), SINGLE.values(), ids=SINGLE.keys())
def test_bep19_url_of_a_single_file(base: str, url: str) -> None:
    assert file_url(base, entry(b"my name"), is_multi_file=False) == url


MULTI = {
    "folder": ("http://w/pub/", [b"n", b"d", b"f"], "http://w/pub/n/d/f"),
    "no_slash": ("http://w/pub", [b"n", b"f"], "http://w/pub/n/f"),
    "space": ("http://w/", [b"n", b"a b"], "http://w/n/a%20b"),
    "reserved": ("http://w/", [b"n", b"a?b#c%20&;="], "http://w/n/a%3Fb%23c%2520%26%3B%3D"),
    "slash_in_a_name": ("http://w/", [b"n", b"a/b\\c"], "http://w/n/a%2Fb%5Cc"),
    "utf8": ("http://w/", [b"n", "ünï".encode()], "http://w/n/%C3%BCn%C3%AF"),
    "no_utf8": ("http://w/", [b"n", b"\xff\xfe"], "http://w/n/%FF%FE"),
    "control": ("http://w/", [b"n", b"a\r\nX: y\x00"], "http://w/n/a%0D%0AX%3A%20y%00"),
    "way_out": ("http://w/pub/", [b"n", b"..", b".", b"", b"f"], "http://w/pub/n/f"),
    "unreserved": ("http://w/", [b"n", b"a-b_c.d~e"], "http://w/n/a-b_c.d~e"),
}


@pytest.mark.parametrize(("base", "raw", "url"), MULTI.values(), ids=MULTI.keys())
def test_bep19_url_of_a_file_of_several(base: str, raw: list[bytes], url: str) -> None:
    assert file_url(base, entry(*raw), is_multi_file=True) == url


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6))
def test_bep19_the_server_gets_the_names_byte_for_byte_below_its_folder(raw: list[bytes]) -> None:
    url = file_url("http://w.example/pub/", entry(*raw), is_multi_file=True)
    assert parse_http_url(url).origin == ("http", "w.example", 80)
    target = parse_http_url(url).target
    assert target.isascii()
    assert " " not in target
    elements = [unquote_to_bytes(element) for element in target.split("/")[2:]]
    assert elements == ([name for name in raw if name not in (b".", b"..")] or [b""])
    assert not urlsplit(url).query


PIECES = {
    "whole": ("http://w/s.php", [], "http://w/s.php?info_hash=%00%01%FF&piece=3"),
    "query": ("http://w/s?k=1", [], "http://w/s?k=1&info_hash=%00%01%FF&piece=3"),
    "ranges": (
        "http://w/s",
        [(49152, 131071), (180224, 262143)],
        "http://w/s?info_hash=%00%01%FF&piece=3&ranges=49152-131071,180224-262143",
    ),
}


@pytest.mark.parametrize(("base", "ranges", "url"), PIECES.values(), ids=PIECES.keys())
def test_bep17_url_of_a_piece(base: str, ranges: list[tuple[int, int]], url: str) -> None:
    assert piece_url(base, InfoHash(b"\x00\x01\xff"), 3, ranges) == url


def test_a_span_says_its_range() -> None:
    assert SPAN.range_header == "bytes=100-149"


WELL_FORMED = {
    "plain": ("bytes 0-0/1", (0, 0, 1)),
    "large": ("bytes 5-9223372036854775806/9223372036854775807", (5, 2**63 - 2, 2**63 - 1)),
    "unknown_length": ("bytes 10-20/*", (10, 20, None)),
    "spaces": ("  Bytes  10-20/30 ", (10, 20, 30)),
}


@pytest.mark.parametrize(("text", "parsed"), WELL_FORMED.values(), ids=WELL_FORMED.keys())
def test_content_range_is_parsed(text: str, parsed: tuple[int, int, int | None]) -> None:
    assert parse_content_range(text) == parsed


MALFORMED = {
    "empty": "",
    "no_unit": "0-1/2",
    "other_unit": "items 0-1/2",
    "no_length": "bytes 0-1",
    "backwards": "bytes 5-4/10",
    "beyond": "bytes 5-10/10",
    "negative": "bytes -5-10/20",
    "signs": "bytes +5-10/20",
    "unsatisfied": "bytes */10",
    "list": "bytes 0-1/10, 3-4/10",
    "other_digits": "bytes 0-\u0661/10",
    "too_many_digits": f"bytes 0-1/{10**19}",
    "a_million_digits": "bytes 0-" + "1" * 1_000_000,
    "underscore": "bytes 0-1_0/20",
    "hex": "bytes 0x0-1/20",
    "fraction": "bytes 0.0-1/20",
    "newline": "bytes 0-1\n/20",
    "tail": "bytes 0-1/20 x",
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_a14_content_range_rejects(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_content_range(text)


NUMBERS = {"12": 12, " 7 ": 7, "0": 0, "": None, "-1": None, "1e3": None, "1_0": None, "٣": None}


@pytest.mark.parametrize(("text", "number"), NUMBERS.items())
def test_a14_numbers_are_plain_decimals(text: str, number: int | None) -> None:
    assert parse_number(text) == number
    assert parse_number("9" * 20) is None
    assert parse_number(None) is None


ACCEPTED = {
    "exact": (206, "bytes 100-149/1000", "50", 0),
    "no_content_length": (206, "bytes 100-149/1000", None, 0),
    "length_of_the_file_unknown": (206, "bytes 100-149/*", "50", 0),
    "whole_file": (200, None, "1000", 100),
    "whole_file_with_a_stray_range": (200, "nonsense", "1000", 100),
}


@pytest.mark.parametrize(("status", "place", "length", "skip"), ACCEPTED.values(), ids=ACCEPTED)
def test_a_range_answer_is_accepted(
    status: int, place: str | None, length: str | None, skip: int
) -> None:
    assert check_range_response(status, place, length, SPAN) == skip


REFUSED = {
    "no_content_range": (206, None, "50"),
    "malformed": (206, "bytes what/ever", "50"),
    "other_start": (206, "bytes 0-49/1000", "50"),
    "longer": (206, "bytes 100-150/1000", "51"),
    "shorter": (206, "bytes 100-148/1000", "49"),
    "other_file": (206, "bytes 100-149/999", "50"),
    "other_body": (206, "bytes 100-149/1000", "51"),
    "no_number": (206, "bytes 100-149/1000", "fifty"),
    "other_whole_file": (200, None, "999"),
    "whole_file_of_unknown_length": (200, None, None),
}


@pytest.mark.parametrize(("status", "place", "length"), REFUSED.values(), ids=REFUSED.keys())
def test_a14_a_range_answer_that_is_not_exactly_it_is_refused(
    status: int, place: str | None, length: str | None
) -> None:
    with pytest.raises(RemoteProtocolError):
        check_range_response(status, place, length, SPAN)


@given(
    st.sampled_from([200, 206]),
    st.none() | st.text(max_size=60) | st.from_regex(r"bytes \d*-\d*/(\d*|\*)", fullmatch=True),
    st.none() | st.text(max_size=30),
)
def test_a14_no_header_raises_anything_but_its_error(
    status: int, place: str | None, length: str | None
) -> None:
    skip = None
    with suppress(RemoteProtocolError):
        skip = check_range_response(status, place, length, SPAN)
    assert skip in (None, 0, SPAN.offset_bytes)


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.integers(0, 10**6))
def test_only_the_range_that_was_asked_for_passes(first: int, length: int, more: int) -> None:
    total = first + length + more
    span = Span(first, length, total)
    right = f"bytes {first}-{first + length - 1}/{total}"
    assert check_range_response(206, right, str(length), span) == 0
    for wrong in (f"bytes {first + 1}-{first + length}/{total + 1}", right + "0"):
        with pytest.raises(RemoteProtocolError):
            check_range_response(206, wrong, str(length), span)
