"""Torrents that a key publishes in the DHT: a mutable item with an info-hash.

Source: BEP 46, over the items of BEP 44.
"""

from dataclasses import dataclass
from typing import Final

from torrent_engine.base.config import DHT_BENCODE_LIMITS
from torrent_engine.base.errors import BencodeError, ConfigError, RemoteProtocolError
from torrent_engine.base.ids import SHA1_BYTES, InfoHash
from torrent_engine.codec.bencode import decode, encode
from torrent_engine.codec.mutable_link import MutableKey
from torrent_engine.protocol.dht.items import MAX_SEQUENCE, MutableItem, sign_item
from torrent_engine.protocol.dht.krpc import Bencoded

MAX_VALUE_BYTES: Final = 1_000  # BEP 44, bencoded
_INFO_HASH: Final = b"ih"


@dataclass(frozen=True, slots=True)
class MutableTorrent:
    """One version of a torrent that a key publishes, with its signature."""

    info_hash: InfoHash
    item: MutableItem

    @classmethod
    def of(cls, item: MutableItem) -> "MutableTorrent":
        """Return the torrent that a verified item names; unknown keys of it are ignored.

        Raises RemoteProtocolError if it names none.
        """
        return cls(_info_hash(item.value), item)

    @classmethod
    def sign(
        cls, seed: bytes, info_hash: InfoHash, sequence: int, *, salt: bytes = b""
    ) -> "MutableTorrent":
        """Sign a version with the private key of a 32-byte seed.

        Raises ConfigError for a sequence number that is negative or more than 2**63 - 1, ValueError
        for a seed of another length.
        """
        if not 0 <= sequence <= MAX_SEQUENCE:
            raise ConfigError(f"sequence: {sequence} is not between 0 and {MAX_SEQUENCE}")
        value = Bencoded(encode({_INFO_HASH: bytes(info_hash)}))
        return cls(info_hash, sign_item(seed, value, sequence, salt=salt))

    @property
    def sequence(self) -> int:
        """The number of the version; higher ones replace lower ones."""
        return self.item.sequence

    @property
    def key(self) -> MutableKey:
        """Where it is published."""
        return MutableKey(self.item.key, self.item.salt)


def _info_hash(value: bytes) -> InfoHash:
    if len(value) > MAX_VALUE_BYTES:
        raise RemoteProtocolError(f"a value of {len(value)} bytes", bep=44)
    try:
        fields = decode(value, limits=DHT_BENCODE_LIMITS)
    except BencodeError as error:
        raise RemoteProtocolError(f"the published value: {error}", bep=46) from None
    info_hash = fields.get(_INFO_HASH) if isinstance(fields, dict) else None
    if not isinstance(info_hash, bytes) or len(info_hash) != SHA1_BYTES:
        raise RemoteProtocolError("the published value names no torrent", bep=46)
    return InfoHash(info_hash)
