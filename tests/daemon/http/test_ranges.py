"""The bytes that a request for a file is answered with (RFC 9110, sections 13 and 14)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.daemon.http.ranges import WHOLE_BYTES, Selection, Validators, select

KNOWN = Validators('"aa-0"', 784_111_777)
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
LATER, EARLIER = "Sun, 06 Nov 1994 08:49:38 GMT", "Sun, 06 Nov 1994 08:49:36 GMT"
SIZE = 10_000
LARGE = WHOLE_BYTES + 1
WHOLE = Selection(200, 0, SIZE)
NONE = Selection(416)


def part(begin: int, end: int) -> Selection:
    return Selection(206, begin, end)


CASES = {
    "no range": ({}, WHOLE),
    "first two bytes, as Safari asks": ({"range": "bytes=0-1"}, part(0, 2)),
    "one byte": ({"range": "bytes=0-0"}, part(0, 1)),
    "first half": ({"range": "bytes=0-4999"}, part(0, 5000)),
    "second half": ({"range": "bytes=5000-9999"}, part(5000, SIZE)),
    "past the end": ({"range": "bytes=5000-20000"}, part(5000, SIZE)),
    "far past the end": ({"range": f"bytes=1-{10**18}"}, part(1, SIZE)),
    "open end": ({"range": "bytes=9500-"}, part(9500, SIZE)),
    "everything": ({"range": "bytes=0-"}, part(0, SIZE)),
    "last byte": ({"range": "bytes=9999-"}, part(9999, SIZE)),
    "suffix": ({"range": "bytes=-500"}, part(9500, SIZE)),
    "suffix of one": ({"range": "bytes=-1"}, part(9999, SIZE)),
    "suffix of more than there is": ({"range": "bytes=-20000"}, part(0, SIZE)),
    "suffix of nothing": ({"range": "bytes=-0"}, NONE),
    "begins at the end": ({"range": "bytes=10000-"}, NONE),
    "begins past the end": ({"range": "bytes=10001-10005"}, NONE),
    "unit in capitals": ({"range": "BYTES=0-1"}, part(0, 2)),
    "spaces": ({"range": "bytes= 0-1 "}, part(0, 2)),
    "empty elements": ({"range": "bytes=,0-1,"}, part(0, 2)),
    "leading zeros": ({"range": "bytes=000-0001"}, part(0, 2)),
    "another unit": ({"range": "items=0-1"}, WHOLE),
    "no unit": ({"range": "0-1"}, WHOLE),
    "no specification": ({"range": "bytes="}, WHOLE),
    "a dash alone": ({"range": "bytes=-"}, WHOLE),
    "letters": ({"range": "bytes=a-b"}, WHOLE),
    "negative": ({"range": "bytes=--1"}, WHOLE),
    "ends before it begins": ({"range": "bytes=5-4"}, WHOLE),
    "decimal point": ({"range": "bytes=0.5-1"}, WHOLE),
    "other digits": ({"range": "bytes=\u0660-\u0661"}, WHOLE),
    "too many digits": ({"range": f"bytes=0-{10**19}"}, WHOLE),
    "two of a small file": ({"range": "bytes=0-1,5-6"}, WHOLE),
    "none of several": ({"range": "bytes=20000-,-0"}, NONE),
    "one of several is malformed": ({"range": "bytes=0-1,x"}, WHOLE),
    "thirty-three": ({"range": "bytes=" + ",".join(["0-0"] * 33)}, WHOLE),
    "if-range, the tag": ({"range": "bytes=0-1", "if-range": '"aa-0"'}, part(0, 2)),
    "if-range, another tag": ({"range": "bytes=0-1", "if-range": '"bb-0"'}, WHOLE),
    "if-range, a weak tag": ({"range": "bytes=0-1", "if-range": 'W/"aa-0"'}, WHOLE),
    "if-range, the date": ({"range": "bytes=0-1", "if-range": DATE}, part(0, 2)),
    "if-range, a later date": ({"range": "bytes=0-1", "if-range": LATER}, WHOLE),
    "if-range, no date": ({"range": "bytes=0-1", "if-range": "yesterday"}, WHOLE),
    "if-range without a range": ({"if-range": '"bb-0"'}, WHOLE),
    "if-none-match, the tag": ({"if-none-match": '"aa-0"'}, Selection(304)),
    "if-none-match, one of them": ({"if-none-match": '"x", W/"aa-0"'}, Selection(304)),
    "if-none-match, any": ({"if-none-match": "*", "range": "bytes=0-1"}, Selection(304)),
    "if-none-match, another": ({"if-none-match": '"x"', "range": "bytes=0-1"}, part(0, 2)),
    "if-modified-since, the date": ({"if-modified-since": DATE}, Selection(304)),
    "if-modified-since, earlier": ({"if-modified-since": EARLIER}, WHOLE),
    "if-modified-since, no date": ({"if-modified-since": "0"}, WHOLE),
    "a tag counts more than a date": (
        {"if-none-match": '"x"', "if-modified-since": DATE},
        WHOLE,
    ),
}


@pytest.mark.parametrize(("headers", "expected"), CASES.values(), ids=CASES.keys())
def test_a_request_selects_bytes(headers: dict[str, str], expected: Selection) -> None:
    assert select(headers, SIZE, KNOWN) == expected


def test_of_several_ranges_of_a_large_file_the_first_that_is_there_is_sent() -> None:
    assert select({"range": "bytes=5-6,0-1"}, LARGE, KNOWN) == part(5, 7)
    assert select({"range": f"bytes={LARGE}-,-3"}, LARGE, KNOWN) == part(LARGE - 3, LARGE)


@pytest.mark.parametrize("text", ["bytes=0-", "bytes=-5", "bytes=0-0"])
def test_an_empty_file_is_sent_whole(text: str) -> None:
    assert select({"range": text}, 0, KNOWN) == Selection(200, 0, 0)


def test_the_answer_names_its_range() -> None:
    assert part(5, 7).content_range(SIZE) == "bytes 5-6/10000"
    assert NONE.content_range(SIZE) == "bytes */10000"
    assert WHOLE.content_range(SIZE) is None
    assert KNOWN.last_modified == DATE


@given(
    text=st.text() | st.from_regex(r"bytes=[-0-9, ]{0,20}", fullmatch=True),
    size=st.integers(0, 10**6),
    condition=st.none() | st.text(),
)
def test_whatever_is_asked_for_lies_in_the_file(
    text: str, size: int, condition: str | None
) -> None:
    headers = {"range": text}
    if condition is not None:
        headers |= {"if-range": condition, "if-modified-since": condition}
    found = select(headers, size, KNOWN)
    assert 0 <= found.begin <= found.end <= size
    assert found.status != 206 or found.length > 0
