"""What connections share: memory in both directions (row C4), and wrong guesses (row C3)."""

from dataclasses import dataclass, field
from typing import Final

from torrent_engine.base.discovery_config import MIB
from torrent_engine.protocol.utp.handshake import WrongNumbers

ETHERNET_PACKET_BYTES: Final = 1_452
"""The largest payload of UDP over IPv6 over Ethernet; of IPv4 it could be 20 more."""
SEND_SHARES: Final = 16  # ours: of the free memory one connection takes at most this part
MIN_SEND_BUFFER_BYTES: Final = 64 * 1024  # ours: two blocks on their way, two behind them


@dataclass(slots=True)
class ReorderBudget:
    """Bytes of all connections that wait for what was lost before them."""

    limit_bytes: int = 32 * MIB
    held_bytes: int = 0


@dataclass(slots=True)
class SendBudget:
    """Bytes of all connections that are queued or not acknowledged yet.

    Of what is free a connection may have a share, so that many who read nothing leave room for
    the others, who always have :data:`MIN_SEND_BUFFER_BYTES`.
    """

    limit_bytes: int = 32 * MIB
    held_bytes: int = 0

    def most_for_one(self) -> int:
        """Return how much one connection may hold now, together with what it holds."""
        free_bytes = self.limit_bytes - self.held_bytes
        return max(free_bytes // SEND_SHARES, MIN_SEND_BUFFER_BYTES)


@dataclass(frozen=True, slots=True)
class UtpLimits:
    """What a connection may use, as who runs many of them knows it."""

    max_packet_bytes: int = ETHERNET_PACKET_BYTES
    """Of a datagram without the headers of UDP and IP; larger ones are not even tried."""
    reorder: ReorderBudget = field(default_factory=ReorderBudget)
    unsent: SendBudget = field(default_factory=SendBudget)
    wrong_numbers: WrongNumbers = field(default_factory=WrongNumbers)
