"""Identifiers that must not be mixed up, and the one block size of the protocol.

Source: BEP 3, BEP 20.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple, NewType

InfoHash = NewType("InfoHash", bytes)
"""SHA-1 of a torrent's bencoded info dictionary, 20 bytes (BEP 3)."""

PeerId = NewType("PeerId", bytes)
"""What a peer calls itself in its handshake, 20 bytes (BEP 3, BEP 20)."""

NodeId = NewType("NodeId", bytes)
"""Where a node stands in the distributed hash table, 20 bytes (BEP 5)."""

PieceIndex = NewType("PieceIndex", int)
"""Number of a piece in its torrent, from 0."""

FileIndex = NewType("FileIndex", int)
"""Number of a file in its torrent, from 0, in the order of the metainfo."""

BLOCK_BYTES: Final = 16 * 1024  # BEP 3: what every client requests; larger requests get dropped
SHA1_BYTES: Final = 20
CLIENT_PREFIX: Final = b"-TE0100-"  # BEP 20, Azureus style: two letters, four digits of version
CLIENT_NAME: Final = "torrent_engine/0.1.0"


class PeerAddress(NamedTuple):
    """Where a peer listens: a literal IPv4 or IPv6 address and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return ``host:port``, with brackets around an IPv6 host."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class OwnerTie:
    """For whom a download is: somebody who may go away, such as a user interface.

    ``owner_id`` is opaque; ``generation`` is the owner's at the time of the request, a number that
    only grows. A tie is old once the owner is known to have a higher one.
    """

    owner_id: str
    generation: int = 0
