"""Lists of addresses in the binary format P2B."""

from contextlib import suppress
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.policy.ip_filter.test_lists import Recorder
from torrent_engine.base.errors import IpFilterError
from torrent_engine.policy.ip_filter.lists import ListFacts
from torrent_engine.policy.ip_filter.p2b import HEADER, MAX_NAME_BYTES, BinaryListReader

Pairs = list[tuple[int, int]]
RANGES: Pairs = [(0x01020300, 0x010203FF), (0, 0), (0x0A00_0000, 0xFFFF_FFFF), (10, 13)]


def named(version: int, ranges: Pairs) -> bytes:
    records = (b"name %d\0" % n + pack(">II", *ends) for n, ends in enumerate(ranges))
    return HEADER + bytes([version]) + b"".join(records)


def indexed(ranges: Pairs, names: int = 3) -> bytes:
    head = HEADER + b"\x03" + pack(">I", names) + b"".join(b"name %d\0" % n for n in range(names))
    records = (pack(">III", n % 3, *ends) for n, ends in enumerate(ranges))
    return head + pack(">I", len(ranges)) + b"".join(records)


VERSIONS = {"1": named(1, RANGES), "2": named(2, RANGES), "3": indexed(RANGES)}
EMPTY = {"1": named(1, []), "3": indexed([]), "3_no_names": indexed([], names=0)}


def read(data: bytes, chunk_bytes: int = 1 << 20, max_ranges: int = 100) -> tuple[Pairs, ListFacts]:
    recorder = Recorder()
    reader = BinaryListReader(recorder, max_ranges)
    for start in range(0, len(data), chunk_bytes):
        reader.feed(data[start : start + chunk_bytes])
    facts = reader.close()
    assert {bits for bits, _, _ in recorder.found} <= {32}
    return sorted((first, last) for _, first, last in recorder.found), facts


@pytest.mark.parametrize("data", VERSIONS.values(), ids=VERSIONS)
@pytest.mark.parametrize("chunk_bytes", [1, 2, 5, 13, 1000])
def test_all_versions_are_read_in_every_chunking(data: bytes, chunk_bytes: int) -> None:
    assert read(data, chunk_bytes) == (sorted(RANGES), ListFacts(len(RANGES)))


@pytest.mark.parametrize("data", EMPTY.values(), ids=EMPTY)
def test_lists_may_be_empty(data: bytes) -> None:
    assert read(data) == ([], ListFacts())


def test_a_range_that_goes_down_is_counted() -> None:
    for data in (named(2, [(5, 4), (7, 8)]), indexed([(5, 4), (7, 8)])):
        found, facts = read(data)
        assert found == [(7, 8)]
        assert (facts.bad_lines, len(facts.examples)) == (1, 1)


MALFORMED = {
    "nothing": b"",
    "header_cut": HEADER[:-1],
    "no_version": HEADER,
    "other_header": b"\xff\xff\xff\xffP2X\x01",
    "version_0": HEADER + b"\0",
    "version_4": HEADER + b"\x04",
    "range_cut": VERSIONS["1"][:-1],
    "name_cut": VERSIONS["1"] + b"name",
    "name_long": HEADER + b"\x01" + b"x" * (MAX_NAME_BYTES + 1),
    "name_long_of_whole_record": HEADER + b"\x01" + b"x" * (MAX_NAME_BYTES + 1) + bytes(9),
    "name_long_of_3": HEADER + b"\x03" + pack(">I", 1) + b"x" * (MAX_NAME_BYTES + 1),
    "names_missing": HEADER + b"\x03" + pack(">I", 2) + b"one\0",
    "count_of_names_cut": HEADER + b"\x03\0\0",
    "count_of_ranges_cut": EMPTY["3"][:-1],
    "record_cut": VERSIONS["3"][:-1],
    "record_too_many": VERSIONS["3"] + bytes(12),
    "byte_too_many": VERSIONS["3"] + b"\0",
    "count_too_large": HEADER + b"\x03" + bytes(4) + b"\xff" * 4 + bytes(120),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("chunk_bytes", [1, 1000, 5000])
def test_malformed_list_is_refused(data: bytes, chunk_bytes: int) -> None:
    with pytest.raises(IpFilterError):
        read(data, chunk_bytes)


@pytest.mark.parametrize("chunk_bytes", [1, 1000, 5000])
@pytest.mark.parametrize("version", [1, 3])
def test_f11_a_name_may_be_as_long_as_the_limit_in_every_chunking(
    version: int, chunk_bytes: int
) -> None:
    data = indexed(RANGES) if version == 3 else named(version, RANGES)
    data = data.replace(b"name 0", b"n" * MAX_NAME_BYTES)
    assert read(data, chunk_bytes) == (sorted(RANGES), ListFacts(len(RANGES)))


def test_more_ranges_than_allowed_are_refused() -> None:
    for data in (named(1, RANGES), indexed(RANGES)):
        with pytest.raises(IpFilterError, match="more than 3 ranges"):
            read(data, max_ranges=3)


@given(st.sampled_from(b"\x01\x02\x03"), st.binary(max_size=200), st.integers(1, 50))
def test_reader_raises_nothing_but_its_error(version: int, rest: bytes, chunk_bytes: int) -> None:
    with suppress(IpFilterError):
        found, _ = read(HEADER + bytes([version]) + rest, chunk_bytes)
        assert all(first <= last for first, last in found)


def test_many_ranges_are_read_in_steps() -> None:
    many = [(n * 4, n * 4 + 1) for n in range(20_000)]
    for data in (named(2, many), indexed(many)):
        assert read(data, max_ranges=20_000) == (many, ListFacts(20_000))
