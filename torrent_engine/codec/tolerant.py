"""Tolerant decoding of bencoding: bad spelling is corrected, ambiguity is an error.

Real .torrent files have bytes behind their end, keys twice, numbers with leading zeros or above 64
bits. They are spelt again as the strict decoder wants them; spans still count in the bytes as they
were received, over which the info-hash is made. What stays refused: a key that comes twice with
different values in a place that is read (:class:`ReadKeys`), since programs would not agree on the
torrent; and everything that has no clear structure. Limits hold as for the strict decoder.
Replies and messages of others are read the same way (:func:`decode_reply`), without such places.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Optional

from torrent_engine.base.config import BencodeLimits
from torrent_engine.base.errors import BencodeError
from torrent_engine.codec.bencode import (
    BencodeLimitError,
    BencodeValue,
    ByteSpan,
    ValueReaders,
    decode_prefix,
    decode_with_spans,
)

INT64_MAX: Final = 2**63 - 1
INT64_MIN: Final = -(2**63)
_INT64_DIGITS: Final = 19
_LENGTH_DIGITS: Final = 10
_TOKEN: Final = re.compile(rb"([0-9]+):|([dl])|(e)|i(-?)([0-9]+)e").match
_STRING, _OPENING, _END = 1, 2, 3


@dataclass(frozen=True, slots=True)
class ReadKeys:
    """Which keys of a dictionary are read, and what stands below them."""

    read_keys: frozenset[bytes] = frozenset()
    """Their values may not be there twice, unless they are the same."""
    below: Mapping[bytes, "ReadKeys"] = field(default_factory=dict)
    """The dictionaries, or lists, that stand behind a key."""
    items: Optional["ReadKeys"] = None
    """The items of a list that stands here."""


UNREAD: Final = ReadKeys()
FILE: Final = ReadKeys(frozenset({b"length", b"path", b"path.utf-8", b"attr", b"symlink path"}))
INFO: Final = ReadKeys(
    frozenset(
        b"name|name.utf-8|piece length|pieces|private|files|length|attr|symlink path"
        b"|meta version|file tree".split(b"|")
    ),
    {b"files": ReadKeys(items=FILE)},
)
TORRENT: Final = ReadKeys(frozenset({b"info"}), {b"info": INFO})


class Corrected(NamedTuple):
    """A value in strict bencoding, and where its parts were."""

    data: bytes
    spans: dict[bytes, ByteSpan]
    """Of the values of the outermost dictionary, in the bytes that were given."""
    end: int
    """Where the value ended in them."""


def decode_tolerantly(
    data: bytes, *, limits: BencodeLimits, readers: ValueReaders, place: ReadKeys
) -> tuple[dict[bytes, Any], dict[bytes, ByteSpan], int]:
    """Decode the dictionary at the start of ``data``; return it, its spans and where it ends.

    What is strict bencoding to its last byte is decoded as such and costs nothing more.
    Raises BencodeError for what cannot be read even so, and what ``readers`` raise.
    """
    try:
        values, spans = decode_with_spans(data, limits=limits, readers=readers)
    except BencodeError:
        corrected = correct(data, limits=limits, place=place)
    else:
        return values, spans, len(data)
    values, _ = decode_with_spans(corrected.data, limits=limits, readers=readers)
    return values, corrected.spans, corrected.end


def decode_reply(
    data: bytes, *, limits: BencodeLimits, corrected_limits: BencodeLimits | None = None
) -> tuple[dict[bytes, BencodeValue], int]:
    """Decode the dictionary at the start of a message; also return where it ends.

    What is behind it is not looked at, and of a key that comes twice the first value counts, as
    in libtorrent. ``corrected_limits`` are those of what must be corrected, if it has others: that
    takes ten times as long. Raises BencodeError for no dictionary, and for what has no clear
    structure.
    """
    try:
        value, end = decode_prefix(data, limits=limits)
    except BencodeLimitError:
        raise  # corrected, it would be as long
    except BencodeError:
        corrected = correct(data, limits=corrected_limits or limits)
        value, end = decode_prefix(corrected.data, limits=limits)[0], corrected.end
    if not isinstance(value, dict):
        raise BencodeError("not a dictionary", offset_bytes=0)
    return value, end


def correct(data: bytes, *, limits: BencodeLimits, place: ReadKeys = UNREAD) -> Corrected:
    """Return the dictionary at the start of ``data`` in strict bencoding; it is never longer.

    Of a key that comes twice the first value stays. An integer beyond 64 bits becomes the nearest
    one within. Raises BencodeError for whatever has no clear meaning, or is beyond the limits.
    """
    if len(data) > limits.max_bytes:
        message = f"{len(data)} bytes, more than {limits.max_bytes}"
        raise BencodeError(message, offset_bytes=limits.max_bytes)
    if not data.startswith(b"d"):
        raise BencodeError("not a dictionary", offset_bytes=0)
    return _Correction(data, limits).run(place)


class _Container:
    """A dictionary or list that is open."""

    __slots__ = ("is_dictionary", "key", "key_start", "place", "seen", "value_start", "was_at")

    def __init__(self, place: ReadKeys | None, *, is_dictionary: bool) -> None:
        self.place = place or UNREAD
        self.is_dictionary = is_dictionary
        self.seen: dict[bytes, ByteSpan | None] = {}
        """Keys so far; of those that are read, where their values stand in the output."""
        self.key: bytes | None = None
        """It was read and waits for its value."""
        self.key_start = 0
        self.value_start = 0
        self.was_at = 0
        """Where the value began in the input."""


class _Correction:
    """One pass over bencoded data that writes it again."""

    def __init__(self, data: bytes, limits: BencodeLimits) -> None:
        self._data = data
        self._limits = limits
        self._out = bytearray()
        self._open: list[_Container] = []
        self._spans: dict[bytes, ByteSpan] = {}

    def run(self, place: ReadKeys) -> Corrected:
        """Write the dictionary at the start of the data."""
        data, budget = self._data, self._limits.max_tokens
        position = self._enter(place, 0)
        while self._open:
            token = _TOKEN(data, position)
            if token is None:
                raise BencodeError("no value, or a malformed one", offset_bytes=position)
            if token.lastindex != _END:
                budget -= 1
            if budget < 1:
                raise BencodeError("too many tokens", offset_bytes=position)
            position = self._take(token, position)
        return Corrected(bytes(self._out), self._spans, position)

    def _take(self, token: re.Match[bytes], position: int) -> int:
        """Write one token; return where the next one begins."""
        kind, end, top = token.lastindex, token.end(), self._open[-1]
        if kind == _STRING:
            return self._take_string(token[1], end, position)
        if kind == _END:
            self._leave(position)
            return end
        if top.is_dictionary and top.key is None:
            raise BencodeError("dictionary key is no string", offset_bytes=position)
        if kind == _OPENING:
            return self._enter(self._place_below(top), position)
        self._out += b"i%de" % _nearest(token[5], is_negative=bool(token[4]))
        self._value_done(end)
        return end

    def _take_string(self, digits: bytes, start: int, position: int) -> int:
        digits = digits.lstrip(b"0") or b"0"
        end = start + int(digits) if len(digits) <= _LENGTH_DIGITS else len(self._data) + 1
        if end > len(self._data):
            raise BencodeError("string longer than the input", offset_bytes=position)
        top = self._open[-1]
        is_key = top.is_dictionary and top.key is None
        if is_key:
            top.key, top.key_start = self._data[start:end], len(self._out)
        self._out += b"%b:" % digits
        self._out += memoryview(self._data)[start:end]
        if is_key:
            top.value_start, top.was_at = len(self._out), end
        else:
            self._value_done(end)
        return end

    def _place_below(self, top: _Container) -> ReadKeys | None:
        return top.place.below.get(top.key) if top.key is not None else top.place.items

    def _enter(self, place: ReadKeys | None, position: int) -> int:
        if len(self._open) >= self._limits.max_depth:
            raise BencodeError("nested too deep", offset_bytes=position)
        opening = self._data[position : position + 1]
        self._open.append(_Container(place, is_dictionary=opening == b"d"))
        self._out += opening
        return position + 1

    def _leave(self, position: int) -> None:
        left = self._open.pop()
        if left.key is not None:
            raise BencodeError("key without a value", offset_bytes=position)
        self._out += b"e"
        if self._open:
            self._value_done(position + 1)

    def _value_done(self, end: int) -> None:
        """Keep the value that was written last, unless its key came before."""
        top = self._open[-1]
        key = top.key
        if key is None:
            return
        top.key = None
        span = (top.value_start, len(self._out))
        if key in top.seen:
            self._check_same(top, top.seen[key], span)
            del self._out[top.key_start :]
            return
        top.seen[key] = span if key in top.place.read_keys else None
        if len(self._open) == 1:
            self._spans[key] = (top.was_at, end)

    def _check_same(self, top: _Container, first: ByteSpan | None, second: ByteSpan) -> None:
        if first is None:
            return
        length = second[1] - second[0]
        if first[1] - first[0] == length:
            with memoryview(self._out) as out:
                if out[slice(*first)] == out[slice(*second)]:
                    return
        raise BencodeError(
            "duplicate dictionary key in a place that is read", offset_bytes=top.was_at
        )


def _nearest(digits: bytes, *, is_negative: bool) -> int:
    digits = digits.lstrip(b"0")
    number = int(digits or b"0") if len(digits) <= _INT64_DIGITS else INT64_MAX + 1
    return max(-number, INT64_MIN) if is_negative else min(number, INT64_MAX)
