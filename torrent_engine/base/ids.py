"""Types of identifiers (info-hash, peer id, piece index, ...) and constants of the protocol.

Source: BEP 3, BEP 5, BEP 20, BEP 52.
"""

from base64 import b16decode, b32decode
from dataclasses import dataclass
from typing import Final, NamedTuple, NewType, Self

PeerId = NewType("PeerId", bytes)
"""Peer id of the handshake, 20 bytes (BEP 3, BEP 20)."""

NodeId = NewType("NodeId", bytes)
"""Id of a DHT node, 20 bytes (BEP 5)."""

PieceIndex = NewType("PieceIndex", int)
"""Index of a piece in its torrent, from 0."""

FileIndex = NewType("FileIndex", int)
"""Index of a file in its torrent, from 0, in the order of the metainfo."""

BLOCK_BYTES: Final = 16 * 1024  # BEP 3: what every client requests; larger requests get dropped
SHA1_BYTES: Final = 20
SHA256_BYTES: Final = 32
_BASE32_DIGITS: Final = 32
CLIENT_PREFIX: Final = b"-TE0100-"  # BEP 20, Azureus style: two letters, four digits of version
CLIENT_NAME: Final = "torrent_engine/0.1.0"


class InfoHash(bytes):
    """SHA-1 of a torrent's bencoded info dictionary, 20 bytes (BEP 3).

    Compares equal to the same ``bytes``; ``str()`` is the 40 hexadecimal digits.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the info-hash of 40 hexadecimal or 32 base32 digits. Raises ValueError."""
        digits = text.strip()
        try:
            raw = (
                b32decode(digits.upper())
                if len(digits) == _BASE32_DIGITS
                else b16decode(digits, casefold=True)
            )
        except ValueError:
            raw = b""
        if len(raw) != SHA1_BYTES:
            raise ValueError(f"{text!r:.80} is neither 40 hexadecimal nor 32 base32 digits")
        return cls(raw)

    def __str__(self) -> str:
        """Return the hexadecimal digits."""
        return self.hex()

    def __repr__(self) -> str:
        """Return ``InfoHash.parse('...')``."""
        return f"InfoHash.parse({self.hex()!r})"


class InfoHashV2(bytes):
    """SHA-256 of a torrent's bencoded info dictionary, 32 bytes (BEP 52).

    Compares equal to the same ``bytes``; ``str()`` is the 64 hexadecimal digits.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the info-hash of 64 hexadecimal digits. Raises ValueError."""
        try:
            raw = b16decode(text.strip(), casefold=True)
        except ValueError:
            raw = b""
        if len(raw) != SHA256_BYTES:
            raise ValueError(f"{text!r:.80} is not 64 hexadecimal digits")
        return cls(raw)

    @property
    def truncated(self) -> InfoHash:
        """Return its first 20 bytes, which stand for it in handshakes, trackers and the DHT."""
        return InfoHash(self[:SHA1_BYTES])

    def __str__(self) -> str:
        """Return the hexadecimal digits."""
        return self.hex()

    def __repr__(self) -> str:
        """Return ``InfoHashV2.fromhex('...')``."""
        return f"InfoHashV2.fromhex({self.hex()!r})"


NO_TORRENT: Final = InfoHash()
"""In an event that is about no torrent: empty."""


class PeerAddress(NamedTuple):
    """Address of a peer: an IPv4 or IPv6 address as text, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return ``host:port``, with brackets around an IPv6 host."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class OwnerTie:
    """Owner of a download, such as a user interface, whose end cancels the download.

    ``owner_id`` is any text. ``generation`` is a number that the owner increases each time it
    starts anew; downloads with a lower one than the owner's present generation are cancelled.
    """

    owner_id: str
    generation: int = 0
