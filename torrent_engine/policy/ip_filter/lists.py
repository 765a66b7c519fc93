"""Incremental parser of whole IP filter lists: a million lines in two seconds.

Nearly all lines of a list have the same plain form. One regular expression finds them in a whole
chunk, and their numbers are converted in one pass; every other line is parsed alone
(:mod:`torrent_engine.policy.ip_filter.lines`). Chunk boundaries do not change the result.

Source: the lists of PeerGuardian (P2P), eMule (DAT), Spamhaus (CIDR).
"""

import re
import sys
from array import array
from itertools import compress
from typing import Final, NamedTuple, Protocol

from torrent_engine.base.errors import IpFilterError
from torrent_engine.policy.ip_filter.lines import FIRST_ALLOWED_LEVEL, parse_line
from torrent_engine.policy.ip_filter.ranges import IPV4_BITS, STEP, RangeBuilder

MAX_LINE_BYTES: Final = 1_024  # ours: longer lines are malformed
MAX_EXAMPLES: Final = 3  # of malformed lines that are reported
CHUNK_BYTES: Final = 64 * 1024  # ours: parsed in about a millisecond
LONG: Final = f"a line of more than {MAX_LINE_BYTES:,} bytes"
DESCENDING: Final = "a range whose last address is below its first"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_LOW: Final = (1 << IPV4_BITS) - 1

_IP: Final = rb"(?:[0-9]{1,3}\.){3}[0-9]{1,3}"
_RANGE: Final = rb"(" + _IP + rb"[ \t]*-[ \t]*" + _IP + rb")"
_NAME: Final = rb"(?:(?![0-9.]+[ \t]*[-/,#;]|[\s#;/])[^\n]+:)?"
P2P: Final = re.compile(rb"(?m)^" + _NAME + rb"[ \t]*" + _RANGE + rb"[ \t\r]*\n")
DAT: Final = re.compile(
    rb"(?m)^[ \t]*" + _RANGE + rb"[ \t]*,[ \t]*([0-9]{1,3})[ \t]*(?:,[^\n]*|\r?)\n"
)
CIDR: Final = re.compile(rb"(?m)^(" + _IP + rb")/([0-9]{1,2})[ \t\r]*(?:[#;][^\n]*)?\n")

_TO_COMMAS: Final = bytes.maketrans(b"-.", b",,")
_OCTETS: Final = {
    text.encode(): number
    for number in range(256)
    for text in (f"{number}", f"{number:02}", f"{number:03}")
}
_HOST_BITS: Final = {
    text.encode(): (1 << (IPV4_BITS - number)) - 1
    for number in range(IPV4_BITS + 1)
    for text in (f"{number}", f"{number:02}")
}
_LEVELS: Final = {
    text.encode(): number < FIRST_ALLOWED_LEVEL
    for number in range(1000)
    for text in (f"{number}", f"{number:02}", f"{number:03}")
}


class ListFacts(NamedTuple):
    """The counts of one list."""

    ranges: int = 0
    bad_lines: int = 0
    examples: tuple[str, ...] = ()
    """Why some of the malformed lines are malformed."""


class ListReader(Protocol):
    """Reads one list into a RangeBuilder."""

    def feed(self, data: bytes) -> None:
        """Parse the next bytes. Raises IpFilterError for too many ranges."""

    def close(self) -> ListFacts:
        """Parse the end of the list. Raises IpFilterError."""


class TextListReader:
    """A parser of P2P, DAT and CIDR lines, in any mixture; counts malformed ones."""

    def __init__(self, builder: RangeBuilder, max_ranges: int) -> None:
        self._builder = builder
        self._max_ranges = max_ranges
        self._before = len(builder)
        self._patterns = [P2P, DAT, CIDR]
        """The pattern that matched last is tried first."""
        self._rest = b""
        self._is_start = True
        self._is_skipping = False
        """Whether the parser is inside an overlong line."""
        self._few: dict[int, list[int]] = {}
        """Bits of the family -> ranges of single lines, added in batches."""
        self._bad_lines = 0
        self._examples: list[str] = []

    def feed(self, data: bytes) -> None:
        """Parse the next bytes. Raises IpFilterError for too many ranges."""
        for start in range(0, len(data), CHUNK_BYTES):
            self._feed_chunk(data[start : start + CHUNK_BYTES])

    def close(self) -> ListFacts:
        """Parse the end of the list. Raises IpFilterError for too many ranges."""
        if self._rest:
            self._read_lines(self._rest + b"\n")
        self._rest = b""
        for bits in self._few:
            self._take_few(bits)
        self._check_count()
        ranges = len(self._builder) - self._before
        return ListFacts(ranges, self._bad_lines, tuple(self._examples))

    def _feed_chunk(self, data: bytes) -> None:
        data = self._rest + data
        if self._is_start:
            if len(data) < len(_BYTE_ORDER_MARK):
                self._rest = data
                return
            data, self._is_start = data.removeprefix(_BYTE_ORDER_MARK), False
        end = data.rfind(b"\n") + 1
        lines, self._rest = data[:end], data[end:]
        if self._is_skipping and lines:
            lines, self._is_skipping = lines[lines.index(b"\n") + 1 :], False
        if self._is_skipping or len(self._rest) > MAX_LINE_BYTES:
            self._skip_rest()
        self._read_lines(lines)
        self._check_count()

    def _skip_rest(self) -> None:
        if not self._is_skipping:
            self._note_bad(LONG)
        self._is_skipping, self._rest = True, b""

    def _without_long(self, lines: bytes) -> bytes:
        """Return complete lines without those that are too long, which are counted."""
        start, kept = 0, list[bytes]()
        while len(lines) - start > MAX_LINE_BYTES:
            end = lines.rfind(b"\n", start, start + MAX_LINE_BYTES + 1) + 1
            if end:
                kept.append(lines[start:end])
            else:
                self._note_bad(LONG)
                end = lines.index(b"\n", start) + 1
            start = end
        return b"".join((*kept, lines[start:]))

    def _read_lines(self, lines: bytes) -> None:
        """Parse complete lines: the plain ones together, the rest one by one."""
        lines = self._without_long(lines)
        for pattern in tuple(self._patterns):
            if not lines:
                return
            parts = pattern.split(lines)
            if len(parts) > 1:
                period = pattern.groups + 1
                self._take(pattern, [parts[n::period] for n in range(1, period)])
                lines = b"".join(parts[::period])
                self._prefer(pattern)
        for line in lines.split(b"\n"):
            self._read_line(line)

    def _prefer(self, pattern: re.Pattern[bytes]) -> None:
        if self._patterns[0] is not pattern:
            self._patterns.remove(pattern)
            self._patterns.insert(0, pattern)

    def _take(self, pattern: re.Pattern[bytes], groups: list[list[bytes]]) -> None:
        """Parse all lines of a chunk that have one plain form."""
        ranges = _blocked(*groups) if pattern is DAT else groups[0]
        try:
            keys = _network_keys(*groups) if pattern is CIDR else _range_keys(ranges)
        except KeyError:
            texts = map(b"/".join, zip(*groups, strict=True)) if pattern is CIDR else ranges
            for text in texts:
                self._read_line(text)
            return
        good = [key for key in keys if key >> IPV4_BITS <= key & _LOW]
        for _ in range(len(keys) - len(good)):
            self._note_bad(DESCENDING)
        self._builder.add(IPV4_BITS, good)

    def _read_line(self, line: bytes) -> None:
        try:
            found = parse_line(line)
        except IpFilterError as error:
            self._note_bad(str(error))
            return
        if found is not None:
            bits, first, last = found
            few = self._few.setdefault(bits, [])
            few.append(first << bits | last)
            if len(few) == STEP:
                self._take_few(bits)

    def _take_few(self, bits: int) -> None:
        keys, self._few[bits] = self._few[bits], []
        self._builder.add(bits, keys)

    def _note_bad(self, why: str) -> None:
        self._bad_lines += 1
        if len(self._examples) < MAX_EXAMPLES:
            self._examples.append(why)

    def _check_count(self) -> None:
        count = len(self._builder) + sum(map(len, self._few.values()))
        if count > self._max_ranges:
            raise IpFilterError(f"more than {self._max_ranges:,} ranges")


def _blocked(ranges: list[bytes], levels: list[bytes]) -> list[bytes]:
    return list(compress(ranges, map(_LEVELS.__getitem__, levels)))


def _range_keys(ranges: list[bytes]) -> list[int]:
    """Return ranges as numbers, 32 bits each end. Raises KeyError for a number above 255."""
    keys = array("Q", _packed(ranges))
    if sys.byteorder == "little":
        keys.byteswap()
    return keys.tolist()


def _network_keys(addresses: list[bytes], lengths: list[bytes]) -> list[int]:
    """Return networks as such numbers. Raises KeyError for a number out of its bounds."""
    numbers = array("I", _packed(addresses))
    if sys.byteorder == "little":
        numbers.byteswap()
    hosts = map(_HOST_BITS.__getitem__, lengths)
    return [
        (number & ~host) << IPV4_BITS | number | host
        for number, host in zip(numbers, hosts, strict=True)
    ]


def _packed(texts: list[bytes]) -> bytes:
    """Return all numbers of dotted addresses, a byte each."""
    if not texts:
        return b""
    octets = b",".join(texts).translate(_TO_COMMAS, b" \t").split(b",")
    return bytes(map(_OCTETS.__getitem__, octets))
