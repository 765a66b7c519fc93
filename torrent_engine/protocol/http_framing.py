"""The framing of HTTP/1.1 responses, with limits on heads and chunks (row A14).

The HTTP library's own limits are too high: thousands of interim responses, header lines or one-byte
chunks in a single read would block the event loop. This parser only inspects the bytes before they
are passed to the library. Source: RFC 9112.
"""

from enum import Enum, auto
from typing import Final

from torrent_engine.base.errors import HttpError

MAX_INTERIM_RESPONSES: Final = 8  # ours: of status 1xx, before the final one
MAX_HEADER_LINES: Final = 100  # row A14
MAX_HEAD_BYTES: Final = 64 * 1024  # ours: callers may have lower limits
MAX_CHUNK_LINE_BYTES: Final = 256  # ours: the size and chunk extensions
MAX_SIZE_DIGITS: Final = 16  # row A14
MAX_LENGTH_DIGITS: Final = 19  # of a body; fits 63 bits
FREE_CHUNKS: Final = 512  # ours: chunks that may be small
MIN_MEAN_CHUNK_BYTES: Final = 256  # ours: of the chunks after those
MAX_CREDITED_BYTES: Final = 4_096  # ours: of one chunk, towards that mean


_LENGTH: Final = b"content-length"
_CODING: Final = b"transfer-encoding"


class _State(Enum):
    HEAD = auto()
    BODY = auto()
    """Of a known length."""
    ENDLESS_BODY = auto()
    """Until the connection ends."""
    CHUNK_SIZE = auto()
    CHUNK = auto()
    CHUNK_END = auto()
    TRAILER = auto()
    OVER = auto()


class ChunkCredit:
    """How many small chunks a body may still have.

    Large ones make room for few others, or one would pay for ten thousand in a single read.
    """

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = FREE_CHUNKS * MIN_MEAN_CHUNK_BYTES

    def take(self, size_bytes: int) -> bool:
        """Count a chunk; return whether it may come."""
        gained = min(size_bytes, MAX_CREDITED_BYTES) - MIN_MEAN_CHUNK_BYTES
        self._left = min(self._left + gained, FREE_CHUNKS * MIN_MEAN_CHUNK_BYTES)
        return self._left >= 0


class ResponseWatch:
    """Watches the responses on one connection; :meth:`feed` raises at a violation.

    It parses heads and chunks exactly as h11 does, or refuses them; otherwise parts that h11 reads
    as a head could pass uncounted as a body.
    """

    __slots__ = (
        "_bytes",
        "_credit",
        "_field",
        "_framing",
        "_interim",
        "_line",
        "_lines",
        "_state",
        "_status",
        "_to_come",
    )

    def __init__(self) -> None:
        self._state = _State.HEAD
        self._line = bytearray()
        self._interim = 0
        self._status = b""
        self._field = b""
        self._framing = {_LENGTH: b"", _CODING: b""}
        self._lines = self._bytes = 0
        self._to_come = 0
        self._credit = ChunkCredit()

    def request_sent(self) -> None:
        """Record that a request was sent: a response head comes next."""
        self._state = _State.HEAD
        self._line.clear()
        self._interim = 0
        self._to_come = 0
        self._credit = ChunkCredit()
        self._begin_head()

    def feed(self, data: bytes) -> int:
        """Parse received bytes; return how many of them belong to the response.

        Raises HttpError for too many interim responses, for a head or a trailer that is too long,
        and for a chunked body that is malformed or has chunks that are too small.
        """
        at, size = 0, len(data)
        while at < size and self._state is not _State.OVER:
            if self._state is _State.ENDLESS_BODY:
                return size
            if self._state in (_State.BODY, _State.CHUNK):
                at += self._skip(size - at)
                continue
            end = data.find(b"\n", at)
            if end < 0:
                self._line += data[at:]
                self._check_line(0)
                return size
            self._line += data[at:end]
            at = end + 1
            self._check_line(1)
            line = bytes(self._line)
            self._line.clear()
            self._take_line(line)
        return at

    def _skip(self, most: int) -> int:
        skipped = min(self._to_come, most)
        self._to_come -= skipped
        if not self._to_come:
            is_chunk = self._state is _State.CHUNK
            self._state = _State.CHUNK_END if is_chunk else _State.OVER
        return skipped

    def _begin_head(self) -> None:
        self._status = self._field = b""
        self._framing = {_LENGTH: b"", _CODING: b""}
        self._lines = self._bytes = 0

    def _check_line(self, ended: int) -> None:
        """Check the length of the current line, and of its head or trailer."""
        if self._state in (_State.CHUNK_SIZE, _State.CHUNK_END):
            if len(self._line) > MAX_CHUNK_LINE_BYTES:
                raise HttpError(f"a chunk header of more than {MAX_CHUNK_LINE_BYTES} bytes")
            return
        self._lines += ended
        if self._lines > MAX_HEADER_LINES + 2:  # the status and the empty line
            raise HttpError(f"response header of more than {MAX_HEADER_LINES} lines")
        if self._bytes + len(self._line) > MAX_HEAD_BYTES:
            raise HttpError(f"response header of more than {MAX_HEAD_BYTES} bytes")
        self._bytes += ended * len(self._line)

    def _take_line(self, line: bytes) -> None:
        has_return = line.endswith(b"\r")
        line = line[:-1] if has_return else line
        if self._state in (_State.CHUNK_SIZE, _State.CHUNK_END) and not has_return:
            raise HttpError("a chunk header with an invalid line ending")
        if self._state is _State.CHUNK_SIZE:
            self._take_chunk_size(line)
        elif self._state is _State.CHUNK_END:
            if line:
                raise HttpError("a chunk that is longer than its size")
            self._state = _State.CHUNK_SIZE
        elif self._state is _State.TRAILER:
            if not line:
                self._state = _State.OVER
        elif line:
            self._take_head_line(line)
        else:
            self._end_head()

    def _take_head_line(self, line: bytes) -> None:
        if not self._status:
            self._status = line.partition(b" ")[2].lstrip()[:3] or b"?"
            return
        if line[:1] in (b" ", b"\t"):  # a folded line
            before, value = self._framing.get(self._field, b""), line
        else:
            name, _, value = line.partition(b":")
            self._field = name.strip().lower()
            before = self._framing[_CODING] if self._field == _CODING else b""
        if self._field in self._framing:
            self._framing[self._field] = before + value.strip()

    def _end_head(self) -> None:
        status, framing = self._status, self._framing
        self._begin_head()
        if status.startswith(b"1") and status != b"101":
            self._interim += 1
            if self._interim > MAX_INTERIM_RESPONSES:
                raise HttpError(f"more than {MAX_INTERIM_RESPONSES} interim responses")
        elif status in (b"204", b"304"):
            self._state = _State.OVER
        elif b"chunked" in framing[_CODING].lower():
            self._state = _State.CHUNK_SIZE
        else:
            self._begin_body(framing[_LENGTH].partition(b",")[0].strip())  # "3, 3" is 3

    def _begin_body(self, length: bytes) -> None:
        if length.isdigit() and len(length) <= MAX_LENGTH_DIGITS:
            self._to_come = int(length)
            self._state = _State.BODY if self._to_come else _State.OVER
        else:
            self._state = _State.ENDLESS_BODY

    def _take_chunk_size(self, line: bytes) -> None:
        digits = line.partition(b";")[0].strip()
        try:
            size = int(digits, 16) if len(digits) <= MAX_SIZE_DIGITS else -1
        except ValueError:
            size = -1
        if size < 0:
            raise HttpError(f"a chunk header with an invalid size: {digits[:20]!r}")
        if not size:
            self._state = _State.TRAILER
            return
        self._state, self._to_come = _State.CHUNK, size
        if not self._credit.take(size):
            raise HttpError("a body of too many small chunks")
