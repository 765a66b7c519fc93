"""What the record of a torrent says of the public key whose newest torrent it is (BEP 46)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from torrent_engine.base.errors import MagnetError
from torrent_engine.base.ids import SHA1_BYTES, InfoHash
from torrent_engine.codec.mutable_link import MutableKey, MutableLink
from torrent_engine.protocol.dht.items import MAX_SEQUENCE

FOLLOWED_KEY: Final = "engine.followed_key"
"""Name of the text among those that :meth:`Session.set_user_data` keeps."""


@dataclass(frozen=True, slots=True)
class FollowedKey:
    """The key that a torrent follows, and which version it is."""

    key: MutableKey
    sequence: int = 0
    replaces: InfoHash | None = None
    """The version before it, while that is still there and the metadata of this one not."""

    @classmethod
    def read(cls, user_data: Mapping[str, str]) -> "FollowedKey | None":
        """Return what :meth:`kept` wrote; None if the torrent follows no key."""
        words = user_data.get(FOLLOWED_KEY, "").split()
        if len(words) not in {2, 3} or not (words[1].isascii() and words[1].isdecimal()):
            return None
        try:
            key, sequence = MutableLink.parse(words[0]).key, int(words[1])
            replaces = _info_hash(words[2]) if len(words) > 2 else None
        except (MagnetError, ValueError):
            return None
        return cls(key, sequence, replaces) if sequence <= MAX_SEQUENCE else None

    def kept(self, user_data: Mapping[str, str]) -> dict[str, str]:
        """Return texts of a torrent with this among them."""
        words = [str(self.key), str(self.sequence)]
        words += [] if self.replaces is None else [self.replaces.hex()]
        return {**user_data, FOLLOWED_KEY: " ".join(words)}


def _info_hash(text: str) -> InfoHash:
    """Return an info-hash of 40 hexadecimal digits. Raises ValueError."""
    if len(text) != 2 * SHA1_BYTES:
        raise ValueError(text)
    return InfoHash.fromhex(text)
