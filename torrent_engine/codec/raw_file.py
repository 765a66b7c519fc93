"""The raw bytes of a .torrent file: gzip around them, or another kind of file."""

import re
import zlib
from typing import Final

from torrent_engine.base.errors import MetainfoError

_GZIP: Final = b"\x1f\x8b"
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS  # a gzip header and nothing else
_LEAD_BYTES: Final = 1_024
_BLANK: Final = b"\xef\xbb\xbf \t\r\n\x0b\x0c"
_HTML: Final = re.compile(
    rb"<(?:!doctype\s+html|html|head|body|title|meta|script|!--)\b|<!--", re.IGNORECASE
)


def is_packed(data: bytes) -> bool:
    """Return whether this is a gzip file."""
    return data.startswith(_GZIP)


def unpacked(data: bytes, max_bytes: int) -> bytes:
    """Return ``data``, decompressed if it is a gzip file (RFC 1952) of at most so many bytes.

    No more than that is ever held. Raises MetainfoError if it is more, or damaged.
    """
    if not is_packed(data):
        return data
    parts: list[bytes] = []
    room = max_bytes
    while data.startswith(_GZIP):  # a file may have several members
        inflater = zlib.decompressobj(_GZIP_WINDOW)
        try:
            part = inflater.decompress(data, room + 1)
        except zlib.error as error:
            raise MetainfoError("a damaged gzip file") from error
        room -= len(part)
        if room < 0:
            raise MetainfoError(f"a gzip file of more than {max_bytes} bytes inside")
        if not inflater.eof:
            raise MetainfoError("a gzip file that is cut short")
        parts.append(part)
        data = inflater.unused_data
    return b"".join(parts)


def mistaken_for(data: bytes) -> str | None:
    """Return what kind of file was passed instead of a .torrent; None if unknown."""
    lead = data[:_LEAD_BYTES].lstrip(_BLANK)
    if not lead:
        return "an empty file" if len(data) <= _LEAD_BYTES else None
    if _HTML.match(lead) or (lead.startswith(b"<?xml") and _HTML.search(lead)):
        return "an HTML page: the server may want a login, or the link has gone"
    if lead.startswith(b"<?xml"):
        return "an XML document"
    if lead[:8].lower() == b"magnet:?":
        return "a magnet link in a file, which is given as it is or in a list of links"
    return None
