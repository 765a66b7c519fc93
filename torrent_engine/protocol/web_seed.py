"""Web seed requests: URLs of files and pieces, and the check of range responses.

Source: BEP 19 (GetRight style: plain files on a server), BEP 17 (Hoffman style: a script that
knows pieces), RFC 9110 sections 14 and 15 for ranges; fault model, row A14.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, quote_from_bytes

from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.metainfo import FileEntry

MAX_DIGITS: Final = 19  # ours: of a number in a header; fits 63 bits
_CONTENT_RANGE: Final = re.compile(
    rf"bytes +([0-9]{{1,{MAX_DIGITS}}})-([0-9]{{1,{MAX_DIGITS}}})/([0-9]{{1,{MAX_DIGITS}}}|\*)",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(rf"[0-9]{{1,{MAX_DIGITS}}}")
_NO_NAMES: Final = frozenset({b"", b".", b".."})
_OK: Final = 200
_PARTIAL_CONTENT: Final = 206


@dataclass(frozen=True, slots=True)
class Span:
    """A byte range of one file."""

    offset_bytes: int
    """From the start of the file."""
    length_bytes: int
    """At least 1."""
    file_bytes: int
    """Length of the whole file according to the torrent."""

    @property
    def range_header(self) -> str:
        """The value of the "Range" header."""
        return f"bytes={self.offset_bytes}-{self.offset_bytes + self.length_bytes - 1}"


def file_url(base: str, entry: FileEntry, *, is_multi_file: bool) -> str:
    """Return the URL of one file on a web seed (BEP 19).

    The names are those of the torrent, byte for byte, percent-encoded; elements that would leave
    the folder are skipped. A base that ends in "/" is a folder; with several files every base is.
    """
    base = base.partition("#")[0]
    if not is_multi_file and not base.endswith("/"):
        return base
    names = [quote_from_bytes(raw, safe="") for raw in entry.raw_path if raw not in _NO_NAMES]
    return f"{base.removesuffix('/')}/{'/'.join(names)}"


def piece_url(
    base: str, info_hash: InfoHash, piece: int, ranges: Sequence[tuple[int, int]] = ()
) -> str:
    """Return what asks a script for a piece, or (first, last) ranges of bytes in it (BEP 17)."""
    base = base.partition("#")[0]
    joint = "&" if "?" in base else "?"
    url = f"{base}{joint}info_hash={quote(info_hash, safe='')}&piece={piece}"
    if ranges:
        url += "&ranges=" + ",".join(f"{first}-{last}" for first, last in ranges)
    return url


def parse_content_range(text: str) -> tuple[int, int, int | None]:
    """Return first byte, last byte and length of the file (None: "*") of a "Content-Range".

    Raises RemoteProtocolError unless it is a range of bytes that lies within the file.
    """
    match = _CONTENT_RANGE.fullmatch(text.strip(" \t"))
    if match is None:
        raise RemoteProtocolError(f"Content-Range {text[:60]!r} is not a byte range", bep=19)
    first, last = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    if last < first or (total is not None and last >= total):
        raise RemoteProtocolError(f"Content-Range {text[:60]!r} is impossible", bep=19)
    return first, last, total


def parse_number(text: str | None) -> int | None:
    """Return a plain decimal number of a header or a body, None if it is anything else."""
    match = _NUMBER.fullmatch("" if text is None else text.strip(" \t\r\n"))
    return None if match is None else int(match[0])


def check_range_response(
    status: int, content_range: str | None, content_length: str | None, span: Span
) -> int:
    """Return how many bytes of the body precede the requested ones: 0, or more of a whole file.

    Raises RemoteProtocolError if a 200 is not the whole file, or a 206 not exactly the range, with
    the file length of the torrent. ``status`` is one of these two.
    """
    length = parse_number(content_length)
    if status == _OK:
        if length != span.file_bytes:
            message = f"the file has {content_length} bytes, not {span.file_bytes}"
            raise RemoteProtocolError(message, bep=19)
        return span.offset_bytes
    first, last, total = parse_content_range(content_range or "")
    if total is not None and total != span.file_bytes:
        raise RemoteProtocolError(f"the file has {total} bytes, not {span.file_bytes}", bep=19)
    if (first, last - first + 1) != (span.offset_bytes, span.length_bytes):
        message = f"received bytes {first} to {last} for {span.range_header}"
        raise RemoteProtocolError(message, bep=19)
    if content_length is not None and length != span.length_bytes:
        message = f"a body of {content_length[:30]} bytes for {span.length_bytes}"
        raise RemoteProtocolError(message, bep=19)
    return 0
