"""What connections share: the memory for early packets (row C4), and wrong guesses (row C3)."""

from dataclasses import dataclass, field
from typing import Final

from torrent_engine.base.discovery_config import MIB
from torrent_engine.protocol.utp.handshake import WrongNumbers

ETHERNET_PACKET_BYTES: Final = 1_452
"""The largest payload of UDP over IPv6 over Ethernet; of IPv4 it could be 20 more."""


@dataclass(slots=True)
class ReorderBudget:
    """Bytes of all connections that wait for what was lost before them."""

    limit_bytes: int = 32 * MIB
    held_bytes: int = 0


@dataclass(frozen=True, slots=True)
class UtpLimits:
    """What a connection may use, as who runs many of them knows it."""

    max_packet_bytes: int = ETHERNET_PACKET_BYTES
    """Of a datagram without the headers of UDP and IP; larger ones are not even tried."""
    reorder: ReorderBudget = field(default_factory=ReorderBudget)
    wrong_numbers: WrongNumbers = field(default_factory=WrongNumbers)
