"""Lists of torrents as text: one path, URL or magnet link per line."""

from typing import Final

_COMMENT: Final = "#"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def lines_of(data: bytes) -> list[str]:
    """Return the lines that are neither blank nor comments; invalid UTF-8 is kept as surrogates."""
    text = data.removeprefix(_BYTE_ORDER_MARK).decode("utf-8", "surrogateescape")
    lines = (line.strip() for line in text.replace("\r", "\n").split("\n"))
    return [line for line in lines if line and not line.startswith(_COMMENT)]
