"""Playlists of the playable files of torrents, in extended M3U."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

PLAYLIST_TYPE: Final = "audio/x-mpegurl; charset=utf-8"
"""VLC, mpv and Kodi open it; browsers take Apple's type for HTTP live streaming."""
_DIGITS: Final = re.compile(r"(\d+)", re.ASCII)
_BREAKS: Final = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a playlist."""

    name: str
    url: str


def playlist(entries: Iterable[Entry]) -> bytes:
    """Return a playlist in UTF-8, in the order given."""
    lines = ["#EXTM3U"]
    for entry in entries:
        lines += [f"#EXTINF:-1,{one_line(entry.name)}", entry.url]
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def one_line(name: str) -> str:
    """Return a name without what would end a line of a playlist or of a header."""
    return _BREAKS.sub(" ", name).strip() or "_"


def natural_key(path: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that puts "2" before "10", whatever the case of letters."""
    parts = _DIGITS.split(path.casefold())
    return tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts if p)
