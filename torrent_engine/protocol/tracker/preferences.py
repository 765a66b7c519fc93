"""Where a host says in the DNS that its trackers are.

Source: BEP 34. A TXT record whose first word is "BITTORRENT" lists all trackers of the host, the
preferred one first; one without any says that the host has none.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit, urlunsplit

MAX_RECORD_BYTES: Final = 4_096  # ours: what follows is ignored
MAX_PLACES: Final = 4  # ours: each may be tried in one announce
_FIRST_WORD: Final = b"BITTORRENT"
_PLACE: Final = re.compile(rb"(UDP|TCP):([1-9][0-9]{0,4})")
_MAX_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class TrackerPlace:
    """One tracker of a host."""

    is_udp: bool
    port: int


@dataclass(frozen=True, slots=True)
class TrackerPreferences:
    """The trackers of a host, the preferred one first; empty if it has none."""

    places: tuple[TrackerPlace, ...] = ()

    def urls(self, url: str) -> tuple[str, ...]:
        """Return the URLs to try in the place of a valid tracker URL, in their order.

        The host stays, and path and query do. One with TLS is never tried without: it may have a
        secret.
        """
        parts = urlsplit(url.strip(" "))
        is_secure = parts.scheme.lower() == "https"
        places = (place for place in self.places if not (is_secure and place.is_udp))
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        user = parts.netloc.rpartition("@")[0]
        found = []
        for place in places:
            scheme = "udp" if place.is_udp else "https" if is_secure else "http"
            prefix = f"{user}@" if user and not place.is_udp else ""
            path = parts.path if parts.path.strip("/") or place.is_udp else "/announce"
            netloc = f"{prefix}{host}:{place.port}"
            found.append(urlunsplit((scheme, netloc, path, parts.query, "")))
        return tuple(found)


def parse_preferences(records: Iterable[bytes]) -> TrackerPreferences | None:
    """Return what the TXT records of a host say of trackers; None if none of them does.

    ``records`` are whole: the strings of each are joined. Words that are not known are ignored,
    those of the BEP are case-sensitive.
    """
    places: dict[TrackerPlace, None] = {}
    is_there = False
    for record in records:
        first, *words = record[:MAX_RECORD_BYTES].split(b" ")
        if first == _FIRST_WORD:
            is_there = True
            places |= {place: None for word in words if (place := _place(word)) is not None}
    return TrackerPreferences(tuple(places)[:MAX_PLACES]) if is_there else None


def _place(word: bytes) -> TrackerPlace | None:
    match = _PLACE.fullmatch(word)
    if match is None or int(match[2]) > _MAX_PORT:
        return None
    return TrackerPlace(match[1] == b"UDP", int(match[2]))
