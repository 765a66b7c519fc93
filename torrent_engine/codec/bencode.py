"""Bencoding: a strict, iterative decoder with limits, and the canonical encoder.

Source: BEP 3; limits: fault model, rows A1 to A4.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

from torrent_engine.base.config import FILE_BENCODE_LIMITS, BencodeLimits
from torrent_engine.base.errors import BencodeError

BencodeValue: TypeAlias = int | bytes | list["BencodeValue"] | dict[bytes, "BencodeValue"]
Encodable: TypeAlias = (
    int
    | str
    | bytes
    | bytearray
    | memoryview
    | Sequence["Encodable"]
    | Mapping[str, "Encodable"]
    | Mapping[bytes, "Encodable"]
)
ByteSpan: TypeAlias = tuple[int, int]
_Append: TypeAlias = Callable[[BencodeValue], None]

MAX_INTEGER_DIGITS: Final = 19  # int64; also far below where int() gets slow
MAX_ENCODE_DEPTH: Final = 1_000_000  # ours
MAX_LENGTH_DIGITS: Final = 10
_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1

_COLON: Final = 0x3A
_DICT: Final = 0x64
_END: Final = 0x65
_INT: Final = 0x69
_LIST: Final = 0x6C
_NINE: Final = 0x39
_ZERO: Final = 0x30
_SMALL: Final = {b"%d" % number: number for number in range(1000)}  # canonical spellings only

_CLOSE: Final = object()
_TOKEN: Final = re.compile(rb"([0-9]{1,10}):|([dl])|(e)|i-?[0-9]{1,19}e").match


class BencodeLimitError(BencodeError):
    """Bencoding exceeds a limit of the decoder: in bytes, tokens or depth."""


def decode(
    data: bytes | bytearray | memoryview,
    *,
    limits: BencodeLimits = FILE_BENCODE_LIMITS,
    canonical: bool = False,
) -> BencodeValue:
    """Decode the value that ``data`` consists of.

    Dictionary keys may be in any order unless ``canonical``; duplicates are errors.
    Raises BencodeError for malformed data, or data beyond ``limits``.
    """
    raw = _checked_bytes(data, limits)
    value, end, _ = _parse(raw, 0, limits.max_depth, limits.max_tokens, canonical=canonical)
    if end != len(data):
        raise BencodeError("trailing bytes", offset_bytes=end)
    return value


def decode_prefix(
    data: bytes | bytearray | memoryview,
    *,
    limits: BencodeLimits = FILE_BENCODE_LIMITS,
    canonical: bool = False,
) -> tuple[BencodeValue, int]:
    """Decode the value at the start of ``data``; also return where it ends.

    Trailing data is ignored. Raises BencodeError as :func:`decode`.
    """
    raw = _checked_bytes(data, limits)
    value, end, _ = _parse(raw, 0, limits.max_depth, limits.max_tokens, canonical=canonical)
    return value, end


def decode_with_spans(
    data: bytes | bytearray | memoryview,
    *,
    limits: BencodeLimits = FILE_BENCODE_LIMITS,
    canonical: bool = False,
    readers: "ValueReaders | None" = None,
) -> tuple[dict[bytes, BencodeValue], dict[bytes, ByteSpan]]:
    """Decode the dictionary that ``data`` consists of; also return the spans of its values.

    A span is ``(start, end)`` in bytes, so that ``data[start:end]`` is the value as received.
    ``readers`` decode the values of some keys in place of the usual decoder.
    Raises BencodeError as :func:`decode` does, or if the value is no dictionary.
    """
    raw = _checked_bytes(data, limits)
    start = Cursor(raw, 0, limits.max_depth, limits.max_tokens)
    values, spans, end = read_dictionary(start, readers or {}, canonical=canonical)
    if end.position != len(raw):
        raise BencodeError("trailing bytes", offset_bytes=end.position)
    return values, spans


class Cursor(NamedTuple):
    """A position in bencoded data, with the remaining limits."""

    data: bytes
    position: int
    depth: int
    """Remaining nesting depth."""
    budget: int
    """Remaining tokens."""


Reader: TypeAlias = Callable[[Cursor], tuple[Any, Cursor]]
"""Decodes the value at a cursor; returns it, and the cursor after it at the same depth."""
ValueReaders: TypeAlias = Mapping[bytes, Reader]


def read_value(cursor: Cursor) -> tuple[BencodeValue, Cursor]:
    """Decode the value at a cursor, as a :data:`Reader`."""
    data, position, depth, budget = cursor
    value, end, left = _parse(data, position, depth, budget, canonical=False)
    return value, Cursor(data, end, depth, left)


def skip_value(cursor: Cursor) -> tuple[None, Cursor]:
    """Skip the value at a cursor, as a :data:`Reader`.

    Only its extent is validated. Raises BencodeError as :func:`decode`.
    """
    data, position, depth, budget = cursor
    opened = 0
    while True:
        token = _TOKEN(data, position)
        if token is None:
            _refuse(data, position)
        position, budget = token.end(), budget - 1
        if token.lastindex == 1:  # a string
            position += int(token[1])
        elif token.lastindex == 2:
            opened += 1
        elif token.lastindex == 3:
            opened -= 1
        if opened < 0 or opened > depth or budget < 0:
            raise BencodeLimitError("too deep, or too many tokens", offset_bytes=position)
        if not opened:
            return None, Cursor(data, position, depth, budget)


def read_dictionary(
    cursor: Cursor, readers: ValueReaders, *, canonical: bool = False
) -> tuple[dict[bytes, Any], dict[bytes, ByteSpan], Cursor]:
    """Decode the dictionary at a cursor; return it, its spans, and the cursor after it.

    Values whose keys have a reader are what that returns. Raises BencodeError as :func:`decode`
    does, or if there is no dictionary.
    """
    raw, position, depth, budget = cursor
    if not raw.startswith(b"d", position):
        raise BencodeError("not a dictionary", offset_bytes=position)
    if depth < 1:
        raise BencodeLimitError("nested too deep", offset_bytes=position)
    if budget < 1:
        raise BencodeLimitError("too many tokens", offset_bytes=position)
    values: dict[bytes, Any] = {}
    spans: dict[bytes, ByteSpan] = {}
    position, budget = position + 1, budget - 1
    while raw[position : position + 1] != b"e":
        key, start, budget = _parse(raw, position, 0, budget, canonical=canonical)
        if not isinstance(key, bytes):
            raise BencodeError("dictionary key is no string", offset_bytes=position)
        if key in values:
            raise BencodeError("duplicate dictionary key", offset_bytes=position)
        if (reader := readers.get(key)) is not None:
            value, behind = reader(Cursor(raw, start, depth - 1, budget))
            position, budget = behind.position, behind.budget
        else:
            value, position, budget = _parse(raw, start, depth - 1, budget, canonical=canonical)
        values[key], spans[key] = value, (start, position)
    if canonical:
        _check_sorted(values, position)
    return values, spans, Cursor(raw, position + 1, depth, budget)


def encode(value: Encodable) -> bytes:
    """Encode a value canonically: keys sorted as bytes, text as UTF-8.

    ``bytearray`` and ``memoryview`` are byte strings like ``bytes``; a ``bool`` is refused, because
    it would be decoded as a number. Raises TypeError for other types and duplicate keys; ValueError
    for containers nested more than :data:`MAX_ENCODE_DEPTH` deep, such as recursive ones.
    """
    out: list[bytes] = []
    pending: list[object] = [value]
    depth = 0
    while pending:
        item = pending.pop()
        if item is _CLOSE:
            out.append(b"e")
            depth -= 1
        elif isinstance(item, bytes | str | bytearray | memoryview):
            out.append(_encode_string(item))
        elif isinstance(item, int) and not isinstance(item, bool):
            out.append(b"i%de" % item)
        elif isinstance(item, Mapping | Sequence):
            depth += 1
            if depth > MAX_ENCODE_DEPTH:
                raise ValueError(f"cannot bencode what is nested more than {MAX_ENCODE_DEPTH} deep")
            out.append(b"d" if isinstance(item, Mapping) else b"l")
            pending.append(_CLOSE)
            pending.extend(_reversed_items(item) if isinstance(item, Mapping) else reversed(item))
        else:
            raise TypeError(f"cannot bencode a {type(item).__name__}: {item!r:.80}")
    return b"".join(out)


def _encode_string(text: bytes | str | bytearray | memoryview) -> bytes:
    raw = text.encode() if isinstance(text, str) else bytes(text)
    return b"%d:%b" % (len(raw), raw)


def _reversed_items(mapping: Mapping[object, object]) -> list[object]:
    """Return value, key, value, key ... from the last key to the first, ready to be popped."""
    raw: dict[bytes, object] = {}
    for key, value in mapping.items():
        if not isinstance(key, bytes | str):
            raise TypeError(f"cannot bencode a key of type {type(key).__name__}: {key!r:.80}")
        raw[key.encode() if isinstance(key, str) else key] = value
    if len(raw) != len(mapping):
        raise TypeError("cannot bencode a key twice")
    items: list[object] = []
    for raw_key in sorted(raw, reverse=True):
        items += (raw[raw_key], raw_key)
    return items


def _checked_bytes(data: bytes | bytearray | memoryview, limits: BencodeLimits) -> bytes:
    if len(data) > limits.max_bytes:
        message = f"{len(data)} bytes, more than {limits.max_bytes}"
        raise BencodeLimitError(message, offset_bytes=limits.max_bytes)
    return data if type(data) is bytes else bytes(data)


def _check_sorted(mapping: dict[bytes, BencodeValue], position: int) -> None:
    keys = list(mapping)
    if keys != sorted(keys):
        raise BencodeError("dictionary keys out of order", offset_bytes=position)


def _parse(
    data: bytes, position: int, depth: int, budget: int, *, canonical: bool
) -> tuple[BencodeValue, int, int]:
    """Parse the value at ``position``; return it, where it ends, and the remaining tokens.

    ``depth`` is the remaining nesting depth.
    """
    opening = data[position : position + 1]
    if opening == b"d" or opening == b"l":
        return _parse_container(data, position, depth, budget, canonical=canonical)
    if budget < 1:
        raise BencodeLimitError("too many tokens", offset_bytes=position)
    if opening == b"i":
        end = data.find(b"e", position, position + MAX_INTEGER_DIGITS + 3)
        return _integer(data, position, end), end + 1, budget - 1
    if not opening.isdigit():
        _refuse(data, position)
    colon = data.find(b":", position, position + MAX_LENGTH_DIGITS + 1)
    end = colon + 1 + _string_length(data, position, colon)
    if end > len(data):
        raise BencodeError("string longer than the input", offset_bytes=position)
    return data[colon + 1 : end], end, budget - 1


def _parse_container(  # noqa: C901, PLR0912, PLR0915 - one loop: a call a token doubles the time
    data: bytes, position: int, depth: int, budget: int, *, canonical: bool
) -> tuple[BencodeValue, int, int]:
    """Parse the list or dictionary at ``position`` as :func:`_parse` does, without recursion."""
    find, small, size = data.find, _SMALL, len(data)
    append: _Append | None = None  # of the open list; None while a dictionary is open
    mapping: dict[bytes, BencodeValue] = {}  # the open dictionary
    outermost: list[BencodeValue] | dict[bytes, BencodeValue] = mapping
    if data[position] == _LIST:
        outermost = []
        append = outermost.append
    key: bytes | None = None  # was read and waits for its value
    parents: list[tuple[_Append | None, dict[bytes, BencodeValue]]] = []
    value: BencodeValue
    if depth < 1:
        raise BencodeLimitError("nested too deep", offset_bytes=position)
    if budget < 1:
        raise BencodeLimitError("too many tokens", offset_bytes=position)
    depth -= 1
    budget -= 1
    position += 1
    try:
        while True:
            byte = data[position]
            if byte == _END:
                if append is None:
                    if key is not None:
                        raise BencodeError("key without a value", offset_bytes=position)
                    if canonical:
                        _check_sorted(mapping, position)
                position += 1
                if not parents:
                    return outermost, position, budget
                append, mapping = parents.pop()
                continue
            budget -= 1
            if budget < 0:
                raise BencodeLimitError("too many tokens", offset_bytes=position)
            if _ZERO <= byte <= _NINE:
                if data[position + 1] == _COLON:
                    start = position + 2
                    end = start + byte - _ZERO
                else:
                    colon = find(b":", position, position + MAX_LENGTH_DIGITS + 1)
                    if colon < 0:
                        raise BencodeError("malformed string length", offset_bytes=position)
                    length = small.get(data[position:colon])
                    if length is None:
                        length = _string_length(data, position, colon)
                    start = colon + 1
                    end = start + length
                if end > size:
                    raise BencodeError("string longer than the input", offset_bytes=position)
                value = data[start:end]
                if append is not None:
                    append(value)
                elif key is not None:
                    mapping[key] = value
                    key = None
                elif value in mapping:
                    raise BencodeError("duplicate dictionary key", offset_bytes=position)
                else:
                    key = value
                position = end
                continue
            if append is None and key is None:
                raise BencodeError("dictionary key is no string", offset_bytes=position)
            if byte == _INT:
                end = find(b"e", position, position + MAX_INTEGER_DIGITS + 3)
                if end < 0:
                    raise BencodeError("malformed integer", offset_bytes=position)
                digits = data[position + 1 : end]
                number = small.get(digits)
                if number is not None:
                    value = number
                elif digits.isdigit() and digits[0] != _ZERO and len(digits) < MAX_INTEGER_DIGITS:
                    value = int(digits)
                else:
                    value = _integer(data, position, end)
                if append is not None:
                    append(value)
                elif key is not None:
                    mapping[key] = value
                    key = None
                position = end + 1
                continue
            if byte != _DICT and byte != _LIST:
                _refuse(data, position)
            if len(parents) >= depth:
                raise BencodeLimitError("nested too deep", offset_bytes=position)
            parents.append((append, mapping))
            opened: list[BencodeValue] | dict[bytes, BencodeValue]
            opened = [] if byte == _LIST else {}
            if append is not None:
                append(opened)
            elif key is not None:
                mapping[key] = opened
                key = None
            if isinstance(opened, dict):
                append, mapping = None, opened
            else:
                append = opened.append
            position += 1
    except IndexError:
        raise BencodeError("input ends inside a value", offset_bytes=size) from None


def _string_length(data: bytes, position: int, colon: int) -> int:
    """Return the length of the string at ``position``, whose colon was found or is -1."""
    digits = data[position : max(colon, position)]
    if not digits.isdigit() or (digits[0] == _ZERO and len(digits) > 1):
        raise BencodeError("malformed string length", offset_bytes=position)
    return int(digits)


def _integer(data: bytes, position: int, end: int) -> int:
    """Return the integer at ``position``, whose closing "e" was found or is -1."""
    text = data[position + 1 : max(end, 0)]
    digits = text[1:] if text.startswith(b"-") else text
    if not digits.isdigit() or len(digits) > MAX_INTEGER_DIGITS:
        raise BencodeError("malformed integer", offset_bytes=position)
    value = int(text)
    if b"%d" % value != text:
        raise BencodeError("integer with a leading zero or minus zero", offset_bytes=position)
    if not _INT64_MIN <= value <= _INT64_MAX:
        raise BencodeError("integer outside 64 bits", offset_bytes=position)
    return value


def _refuse(data: bytes, position: int) -> NoReturn:
    if position >= len(data):
        raise BencodeError("input ends where a value should be", offset_bytes=position)
    raise BencodeError(f"no value begins with byte {data[position]:#04x}", offset_bytes=position)
