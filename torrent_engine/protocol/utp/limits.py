"""Limits shared by all connections: memory (row C4) and wrong numbers (row C3)."""

from dataclasses import dataclass, field
from typing import Final

from torrent_engine.base.config import MIB
from torrent_engine.protocol.utp.handshake import WrongNumbers

ETHERNET_PACKET_BYTES: Final = 1_452
"""The largest UDP payload over IPv6 on Ethernet; 20 bytes less than over IPv4."""
SHARES: Final = 8  # ours: a connection gets at most one part in this many of the free memory
MIN_BUFFER_BYTES: Final = 64 * 1024  # ours: two blocks in transit, two queued


@dataclass(slots=True)
class ReorderBudget:
    """Out-of-order bytes of all connections."""

    limit_bytes: int = 32 * MIB
    held_bytes: int = 0


@dataclass(slots=True)
class BufferBudget:
    """Buffered bytes of all connections, in one direction.

    A connection may use a share of the free memory, so that busy ones leave room for the others;
    each has at least :data:`MIN_BUFFER_BYTES`.
    """

    limit_bytes: int = 32 * MIB
    held_bytes: int = 0

    def limit_of_one(self) -> int:
        """Return the limit of one connection at the moment."""
        free_bytes = self.limit_bytes - self.held_bytes
        return max(free_bytes // SHARES, MIN_BUFFER_BYTES)


@dataclass(frozen=True, slots=True)
class UtpLimits:
    """The limits of a connection that depend on all connections."""

    max_packet_bytes: int = ETHERNET_PACKET_BYTES
    """UDP payload; the upper bound of path MTU discovery."""
    reorder: ReorderBudget = field(default_factory=ReorderBudget)
    unsent: BufferBudget = field(default_factory=BufferBudget)
    """Queued or unacknowledged data."""
    unread: BufferBudget = field(default_factory=BufferBudget)
    """Data received in order and not read yet."""
    wrong_numbers: WrongNumbers = field(default_factory=WrongNumbers)
