"""Bounded decompression of HTTP bodies (row A13)."""

import zlib
from typing import Final

from torrent_engine.base.errors import HttpError

ACCEPT_ENCODING: Final = "gzip, deflate"
_ZLIB_OR_GZIP: Final = 47  # zlib's wbits: 32 (detect the header) + 15
_MAX_RATIO: Final = 1032
_RAW_DEFLATE: Final = -15
_ENCODINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})


class BodyReader:
    """A body of at most ``max_bytes``, both as received and decompressed."""

    def __init__(self, content_encoding: str, *, max_bytes: int) -> None:
        encoding = content_encoding.strip().lower()
        if encoding not in _ENCODINGS | {"", "identity"}:
            raise HttpError(f"content encoding {encoding[:40]!r} is not supported")
        self._is_compressed = encoding in _ENCODINGS
        self._is_deflate = encoding == "deflate"
        self._max_bytes = max_bytes
        self._received_bytes = 0
        self._body = bytearray()
        self._decompressor = zlib.decompressobj(_ZLIB_OR_GZIP)

    def feed(self, data: bytes) -> None:
        """Add bytes as received from the network.

        Raises HttpError if the body is too large or its compression is invalid.
        """
        self._received_bytes += len(data)
        if self._received_bytes > self._max_bytes:
            raise HttpError(f"body of more than {self._max_bytes} bytes")
        if not self._is_compressed:
            self._body += data
            return
        room_bytes = self._max_bytes - len(self._body)
        self._body += self._decompressed(data, room_bytes + 1)
        if len(self._body) > self._max_bytes:
            raise HttpError(f"body of more than {self._max_bytes} bytes after decompression")

    def may_grow_by(self, data_bytes: int) -> int:
        """Return how long the body may become by so many more bytes; zlib packs 1032 into one."""
        return _MAX_RATIO * data_bytes if self._is_compressed else data_bytes

    def finish(self) -> bytes:
        """Return the complete body. Raises HttpError if its compressed stream is truncated."""
        if self._is_compressed and self._received_bytes and not self._decompressor.eof:
            raise HttpError("compressed body is truncated")
        return bytes(self._body)

    def _decompressed(self, data: bytes, limit_bytes: int) -> bytes:
        if self._decompressor.eof:
            return b""  # data after the stream is ignored
        try:
            return self._decompressor.decompress(data, limit_bytes)
        except zlib.error as error:
            if not self._is_deflate or self._received_bytes != len(data):
                raise HttpError("compressed body is damaged") from error
        # Some servers send "deflate" without the zlib header that RFC 9110 asks for.
        self._decompressor = zlib.decompressobj(_RAW_DEFLATE)
        try:
            return self._decompressor.decompress(data, limit_bytes)
        except zlib.error as error:
            raise HttpError("compressed body is damaged") from error
