"""What the record of a torrent says of the versions before it, from the same feed (BEP 39)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from torrent_engine.base.ids import SHA1_BYTES, InfoHash

FOLLOWED_FEED: Final = "engine.followed_feed"
"""Name of the text among those that :meth:`Session.set_user_data` keeps."""
MAX_SEEN: Final = 64
"""Older versions that are remembered: ours, so that labels have room beside them."""
SEEN_BYTES: Final = 8
"""Length to which their info-hashes are cut."""
_WORDS: Final = re.compile(
    rf"(?P<replaces>-|[0-9a-f]{{{2 * SHA1_BYTES}}})"
    rf"(?P<seen>(?: [0-9a-f]{{{2 * SEEN_BYTES}}}){{0,{MAX_SEEN}}})"
)


@dataclass(frozen=True, slots=True)
class FollowedFeed:
    """The versions that a torrent has followed, so that its feed cannot go back to them."""

    seen: tuple[str, ...] = ()
    """The info-hashes of older versions, cut and in hexadecimal; the last one is the newest."""
    replaces: InfoHash | None = None
    """The version before it, while that is still there."""

    @classmethod
    def read(cls, user_data: Mapping[str, str]) -> "FollowedFeed | None":
        """Return what :meth:`kept` wrote; None if the torrent has no older versions."""
        match = _WORDS.fullmatch(user_data.get(FOLLOWED_FEED, ""))
        if match is None:
            return None
        replaces = None if match["replaces"] == "-" else InfoHash.fromhex(match["replaces"])
        return cls(tuple(match["seen"].split()), replaces)

    def kept(self, user_data: Mapping[str, str]) -> dict[str, str]:
        """Return texts of a torrent with this among them."""
        replaces = "-" if self.replaces is None else self.replaces.hex()
        return {**user_data, FOLLOWED_FEED: " ".join((replaces, *self.seen))}

    def has_seen(self, info_hash: InfoHash) -> bool:
        """Return whether a torrent is one of the older versions."""
        return _cut(info_hash) in self.seen

    def after(self, older: InfoHash) -> "FollowedFeed":
        """Return the record of the version that replaces ``older``, whose record this is."""
        return FollowedFeed((*self.seen, _cut(older))[-MAX_SEEN:], older)


def _cut(info_hash: InfoHash) -> str:
    return info_hash[:SEEN_BYTES].hex()
