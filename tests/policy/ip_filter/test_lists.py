"""Whole lists of addresses, in all formats and however their bytes come."""

import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.policy.ip_filter.test_lines import LINES, MALFORMED, NOTHING
from torrent_engine.base.errors import IpFilterError
from torrent_engine.policy.ip_filter import lists as ip_filter_lists
from torrent_engine.policy.ip_filter.lines import parse_line
from torrent_engine.policy.ip_filter.lists import MAX_LINE_BYTES, ListFacts, TextListReader
from torrent_engine.policy.ip_filter.ranges import AddressRanges, RangeBuilder

Ends = tuple[int, int, int]


class Recorder(RangeBuilder):
    """Remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Ends] = []

    def add(self, bits: int, keys: list[int]) -> None:
        self.found += [(bits, key >> bits, key & (1 << bits) - 1) for key in keys]
        super().add(bits, keys)


def read(data: bytes, chunk_bytes: int = 1 << 20, max_ranges: int = 10**6) -> "Outcome":
    recorder = Recorder()
    reader = TextListReader(recorder, max_ranges)
    for start in range(0, len(data), chunk_bytes):
        reader.feed(data[start : start + chunk_bytes])
    facts = reader.close()
    assert facts.ranges == len(recorder.found)
    return sorted(recorder.found), facts


Outcome = tuple[list[Ends], ListFacts]


def by_lines(data: bytes) -> tuple[list[Ends], int]:
    """Return what each line says by itself, and how many say nothing that is understood."""
    found, bad = list[Ends](), 0
    for line in data.split(b"\n"):
        try:
            one = parse_line(line)
        except IpFilterError:
            bad += 1
        else:
            found += [] if one is None else [one]
    return sorted(found), bad


@pytest.mark.parametrize("line", [line for line, _, _ in LINES.values()], ids=LINES)
@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_each_line_is_read_as_by_itself(line: str, end: str) -> None:
    data = line.encode("latin-1")
    found, facts = read(data + end.encode())
    assert found == [parse_line(data)]
    assert facts.bad_lines == 0


@pytest.mark.parametrize("line", NOTHING.values(), ids=NOTHING)
def test_comments_are_no_ranges_and_not_bad(line: str) -> None:
    assert read(line.encode() + b"\n") == ([], ListFacts())


@pytest.mark.parametrize("line", MALFORMED.values(), ids=MALFORMED)
def test_bad_line_is_counted_and_told_and_the_rest_is_read(line: str) -> None:
    data = b"a:1.2.3.4-1.2.3.5\n" + line.encode() + b"\nb:1.2.3.6-1.2.3.7\n"
    found, facts = read(data)
    assert [first & 0xFF for _, first, _ in found] == [4, 6]
    assert facts.bad_lines == len(facts.examples) == 1


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 7, 64, 4096, 1 << 20])
def test_a_mixture_of_all_formats_is_the_same_in_every_chunking(chunk_bytes: int) -> None:
    lines = [line for line, _, _ in LINES.values()] + [*NOTHING.values(), *MALFORMED.values()]
    random.Random(3).shuffle(lines)
    data = "\r\n".join(lines).encode("latin-1", "replace")
    found, facts = read(data, chunk_bytes)
    assert (found, facts.bad_lines) == by_lines(data)
    assert facts.ranges == len(LINES)


LINE = st.sampled_from([line for line, _, _ in LINES.values()]).map(lambda x: x.encode("latin-1"))
JUNK = st.text("0123456789.:-/,#; ax\r\t", max_size=40).map(str.encode) | st.binary(max_size=30)


@given(st.lists(LINE | JUNK, max_size=30), st.integers(1, 60))
def test_a_list_says_what_its_lines_say(lines: list[bytes], chunk_bytes: int) -> None:
    data = b"\n".join(lines)
    found, facts = read(data, chunk_bytes)
    assert (found, facts.bad_lines) == by_lines(data.removeprefix(b"\xef\xbb\xbf"))


@given(st.binary(max_size=400), st.integers(1, 80), st.integers(0, 5))
def test_reader_raises_nothing_but_its_error(
    data: bytes, chunk_bytes: int, max_ranges: int
) -> None:
    with suppress(IpFilterError):
        assert len(read(data, chunk_bytes, max_ranges)[0]) <= max_ranges


def test_one_bad_number_in_a_chunk_costs_its_own_line_only() -> None:
    good = b"".join(b"n:1.2.%d.0-1.2.%d.9\n" % (n, n) for n in range(200))
    for bad in (b"n:1.2.3.4-1.2.3.256\n", b"1.2.3.0/33\n", b"1.2.3.999/8\n", b"1.2.3.4-1.2.3.3\n"):
        found, facts = read(good + bad + good)
        assert (len(found), facts.bad_lines) == (400, 1)


def test_only_some_examples_of_bad_lines_are_kept() -> None:
    _, facts = read(b"what\n" * 1_000)
    assert facts.bad_lines == 1_000
    assert len(facts.examples) == ip_filter_lists.MAX_EXAMPLES


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    data = b"\xef\xbb\xbf1.2.3.4\n"
    assert read(data) == read(data, 1) == read(b"1.2.3.4\n")


@pytest.mark.parametrize("data", [b"", b"\n", b"\xef\xbb", b"\xef\xbb\xbf"])
def test_an_empty_list_has_nothing_in_it(data: bytes) -> None:
    assert read(data)[0] == []


@pytest.mark.parametrize("chunk_bytes", [100, 5_000, 1 << 20])
def test_a_line_without_end_takes_no_memory_and_is_one_bad_line(chunk_bytes: int) -> None:
    recorder = Recorder()
    reader = TextListReader(recorder, 100)
    data = b"1.2.3.4\n" + b"x" * 40 * MAX_LINE_BYTES + b"\n1.2.3.5\n"
    for start in range(0, len(data), chunk_bytes):
        reader.feed(data[start : start + chunk_bytes])
        assert len(reader._rest) <= MAX_LINE_BYTES
    assert reader.close().bad_lines == 1
    assert [first & 0xFF for _, first, _ in recorder.found] == [4, 5]


@pytest.mark.parametrize("chunk_bytes", [1, 700, 5_000, 1 << 20])
def test_f11_a_line_may_be_as_long_as_the_limit_and_no_longer_in_every_chunking(
    chunk_bytes: int,
) -> None:
    ends = b":1.2.3.4-1.2.3.4"
    longest = b"n" * (MAX_LINE_BYTES - len(ends)) + ends
    lines = [longest, b"n" + longest, b"1.2.3.5", longest * 3, longest, b"#" * 5_000, b"1.2.3.6"]
    found, facts = read(b"\n".join(lines), chunk_bytes)
    assert [first & 0xFF for _, first, _ in found] == [4, 4, 5, 6]
    assert (facts.bad_lines, set(facts.examples)) == (3, {ip_filter_lists.LONG})


def test_more_ranges_than_allowed_are_refused() -> None:
    assert read(b"1.2.3.4\n" * 10, max_ranges=10)[1].ranges == 10
    for data in (b"1.2.3.4\n" * 11, b"x:1.2.3.4-1.2.3.5\n" * 11, b"1.2.3.4\n" * 10 + b"::1"):
        with pytest.raises(IpFilterError, match="more than 10 ranges"):
            read(data, max_ranges=10)


def test_a_list_of_many_single_lines_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ip_filter_lists, "STEP", 10)
    data = b"".join(b"2001:db8::%x\n1.2.3.%d\n" % (n, n) for n in range(55))
    found, facts = read(data)
    assert (len(found), facts) == (110, ListFacts(110))


def test_what_was_read_is_what_is_looked_up() -> None:
    recorder = Recorder()
    reader = TextListReader(recorder, 100)
    reader.feed(b"a:10.0.0.0-10.0.0.255\n2001:db8::/32\n1.2.3.4 - 1.2.3.5 , 127 , x\n")
    reader.close()
    ranges: AddressRanges = recorder.build()
    inside = ["10.0.0.0", "10.0.0.255", "2001:db8:ffff::", "1.2.3.4", "::ffff:1.2.3.5"]
    outside = ["9.255.255.255", "10.0.1.0", "2001:db9::", "1.2.3.6", "::a00:1"]
    assert [host in ranges for host in inside + outside] == [True] * 5 + [False] * 5
