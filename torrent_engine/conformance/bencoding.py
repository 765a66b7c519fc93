"""The kit's own bencoding, apart from that of the engine: plain, recursive, and tolerant of order.

Source: BEP 3, "bencoding".
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from torrent_engine.conformance.errors import KitBencodeError

Bencodable: TypeAlias = "int | bytes | list[Bencodable] | dict[bytes, Bencodable]"
MAX_DEPTH: Final = 50  # ours: no message of the protocols nests deeper than five
MAX_DIGITS: Final = 20  # of an integer: 2**63 has 19


@dataclass(slots=True)
class ParsedValue:
    """A value, where it ended, and what its spelling was like."""

    value: Bencodable
    end: int
    """Offset of the first byte behind the value."""
    keys_sorted: bool
    """Every dictionary has its keys in ascending order, and each once."""


def bencode(value: Bencodable) -> bytes:
    """Return the canonical encoding."""
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%b" % (len(value), value)
    if isinstance(value, list):
        return b"l%be" % b"".join(map(bencode, value))
    items = (bencode(key) + bencode(each) for key, each in sorted(value.items()))
    return b"d%be" % b"".join(items)


def parse(data: bytes) -> ParsedValue:
    """Read the value at the start of ``data``; what follows is left alone.

    Raises KitBencodeError.
    """
    reader = _Reader(data)
    value = reader.value(0)
    return ParsedValue(value, reader.offset, reader.keys_sorted)


def parse_dictionary(data: bytes) -> dict[bytes, Bencodable]:
    """Read a dictionary at the start of ``data``. Raises KitBencodeError."""
    value = parse(data).value
    if not isinstance(value, dict):
        raise KitBencodeError("not a dictionary")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.offset = 0
        self.keys_sorted = True

    def value(self, depth: int) -> Bencodable:
        if depth > MAX_DEPTH:
            raise KitBencodeError("nested too deep")
        start = self._data[self.offset : self.offset + 1]
        if start == b"i":
            self.offset += 1
            return self._integer(b"e")
        if start == b"l":
            return self._list(depth)
        if start == b"d":
            return self._dictionary(depth)
        return self._string()

    def _integer(self, end: bytes) -> int:
        stop = self._data.find(end, self.offset, self.offset + MAX_DIGITS + 2)
        digits = self._data[self.offset : max(stop, 0)]
        number = digits.removeprefix(b"-") if end == b"e" else digits
        is_canonical = number == b"0" or not number.startswith(b"0")
        if stop < 0 or not number.isdigit() or not is_canonical or digits == b"-0":
            raise KitBencodeError(f"no integer at {self.offset}")
        self.offset = stop + 1
        return int(digits)

    def _string(self) -> bytes:
        length = self._integer(b":")
        if length > len(self._data) - self.offset:
            raise KitBencodeError(f"a string ends behind the data, at {self.offset}")
        self.offset += length
        return self._data[self.offset - length : self.offset]

    def _is_end(self) -> bool:
        if self._data[self.offset : self.offset + 1] == b"e":
            self.offset += 1
            return True
        return False

    def _list(self, depth: int) -> list[Bencodable]:
        self.offset += 1
        found: list[Bencodable] = []
        while not self._is_end():
            found.append(self.value(depth + 1))
        return found

    def _dictionary(self, depth: int) -> dict[bytes, Bencodable]:
        self.offset += 1
        found: dict[bytes, Bencodable] = {}
        last: bytes | None = None
        while not self._is_end():
            key = self._string()
            if last is not None and key <= last:
                self.keys_sorted = False
            last = key
            found[key] = self.value(depth + 1)
        return found
