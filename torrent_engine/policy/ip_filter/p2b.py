"""Incremental parser of IP filter lists in the binary format P2B, versions 1 to 3.

The header ends with the version. Versions 1 and 2 continue with records: a zero-terminated name,
first and last address, 4 bytes each. Version 3 continues with the number of names, the names, the
number of ranges, and records of 12 bytes: index of the name, first, last. All numbers are
big-endian.

Source: the lists of PeerGuardian 2.
"""

import re
import sys
from array import array
from typing import TYPE_CHECKING, Final

from torrent_engine.base.errors import IpFilterError
from torrent_engine.policy.ip_filter.lists import DESCENDING, MAX_EXAMPLES, ListFacts
from torrent_engine.policy.ip_filter.ranges import IPV4_BITS, STEP, RangeBuilder

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER: Final = b"\xff\xff\xff\xffP2B"
MAX_NAME_BYTES: Final = 1_024  # ours: longer names are malformed
_RECORD_BYTES: Final = 12
_NAMED: Final = re.compile(rb"[^\0]{0,%d}+\0(.{8})" % MAX_NAME_BYTES, re.DOTALL)
_TAKEN_AT_ONCE: Final = STEP * _RECORD_BYTES


class BinaryListReader:
    """A parser of P2B; malformed data is an error."""

    def __init__(self, builder: RangeBuilder, max_ranges: int) -> None:
        self._builder = builder
        self._max_ranges = max_ranges
        self._before = len(builder)
        self._buffer = b""
        self._read: Callable[[], bool] = self._read_header
        """Parses the next part of the buffer; False if it is incomplete."""
        self._names_left = 0
        self._ranges_left = 0
        self._bad_ranges = 0

    def feed(self, data: bytes) -> None:
        """Parse the next bytes. Raises IpFilterError."""
        for start in range(0, len(data), _TAKEN_AT_ONCE):
            self._buffer += data[start : start + _TAKEN_AT_ONCE]
            while self._read():
                pass

    def close(self) -> ListFacts:
        """Check that the list is complete. Raises IpFilterError if it is cut off."""
        is_between = self._read in (self._read_named, self._read_ranges)
        if self._buffer or self._ranges_left or not is_between:
            raise IpFilterError("a truncated P2B list")
        examples = (DESCENDING,) * min(self._bad_ranges, MAX_EXAMPLES)
        return ListFacts(len(self._builder) - self._before, self._bad_ranges, examples)

    def _take(self, count_bytes: int) -> bytes:
        taken, self._buffer = self._buffer[:count_bytes], self._buffer[count_bytes:]
        return taken

    def _read_header(self) -> bool:
        if len(self._buffer) <= len(HEADER):
            return False
        header = self._take(len(HEADER) + 1)
        if not header.startswith(HEADER) or header[-1] not in (1, 2, 3):
            raise IpFilterError(f"a P2B list of an unknown version: {header[-1]}")
        self._read = self._read_name_count if header[-1] == 3 else self._read_named
        return True

    def _read_named(self) -> bool:
        """Parse complete records of versions 1 and 2."""
        end, packed = 0, list[bytes]()
        while (match := _NAMED.match(self._buffer, end)) is not None:
            packed.append(match[1])
            end = match.end()
        self._take(end)
        self._check_name(self._buffer)
        self._add(b"".join(packed))
        return False

    def _check_name(self, begun: bytes) -> None:
        if len(begun) > MAX_NAME_BYTES and b"\0" not in begun[: MAX_NAME_BYTES + 1]:
            raise IpFilterError(f"a P2B list with a name of more than {MAX_NAME_BYTES} bytes")

    def _read_name_count(self) -> bool:
        if len(self._buffer) < 4:
            return False
        self._names_left = int.from_bytes(self._take(4), "big")
        self._read = self._skip_names
        return True

    def _skip_names(self) -> bool:
        names = self._buffer.split(b"\0", self._names_left)
        self._buffer = names.pop()
        self._names_left -= len(names)
        if not self._names_left:
            self._read = self._read_range_count
            return True
        self._check_name(self._buffer)
        return False

    def _read_range_count(self) -> bool:
        if len(self._buffer) < 4:
            return False
        self._ranges_left = int.from_bytes(self._take(4), "big")
        self._read = self._read_ranges
        return True

    def _read_ranges(self) -> bool:
        """Parse complete records of version 3; anything after the last one is an error."""
        count = min(len(self._buffer) // _RECORD_BYTES, self._ranges_left)
        records = array("I", self._take(count * _RECORD_BYTES))
        self._ranges_left -= count
        packed = array("I", bytes(8 * count))
        packed[::2], packed[1::2] = records[1::3], records[2::3]
        self._add(packed.tobytes())
        return False

    def _add(self, packed: bytes) -> None:
        """Add ranges of 8 bytes each."""
        keys = array("Q", packed)
        if sys.byteorder == "little":
            keys.byteswap()
        low = (1 << IPV4_BITS) - 1
        good = [key for key in keys if key >> IPV4_BITS <= key & low]
        self._bad_ranges += len(keys) - len(good)
        self._builder.add(IPV4_BITS, good)
        if len(self._builder) > self._max_ranges:
            raise IpFilterError(f"more than {self._max_ranges:,} ranges")
