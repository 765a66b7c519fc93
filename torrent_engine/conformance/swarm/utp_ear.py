"""An address of the kit where packets of uTP are heard; a SYN is answered, so that more follows.

Source: BEP 29.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from torrent_engine.conformance.utp.packets import KitUtpPacket, UtpKind, parse_utp
from torrent_engine.conformance.wire_log import WireLog

FIRST_SEQ: Final = 1
_DATA: Final = frozenset({UtpKind.DATA, UtpKind.FIN})


@dataclass
class UtpEar:
    """The packets that came to one address."""

    log: WireLog
    place: tuple[str, int] = ("", 0)
    """Where it hears."""
    packets: list[KitUtpPacket] = field(default_factory=list)

    def take(self, data: bytes) -> Sequence[bytes]:
        """Take a datagram; return what to send back."""
        packet = parse_utp(data)
        if packet is None:
            return ()
        self.log.add("u<", packet.describe())
        self.packets.append(packet)
        answer = self._answer(packet)
        if answer is None:
            return ()
        self.log.add("u>", answer.describe())
        return (answer.encode(),)

    def _answer(self, packet: KitUtpPacket) -> KitUtpPacket | None:
        """Return what acknowledges a packet; nothing is ever sent of our own."""
        if packet.kind == UtpKind.SYN:
            return KitUtpPacket(UtpKind.STATE, packet.connection_id, FIRST_SEQ, packet.seq)
        if packet.kind in _DATA:
            ours = packet.connection_id - 1
            return KitUtpPacket(UtpKind.STATE, ours, FIRST_SEQ, packet.seq)
        return None

    @property
    def syns(self) -> list[KitUtpPacket]:
        """The packets that open connections."""
        return [each for each in self.packets if each.kind == UtpKind.SYN]

    @property
    def others(self) -> list[KitUtpPacket]:
        """What came on connections."""
        return [each for each in self.packets if each.kind != UtpKind.SYN]
