"""One request to a gateway, with retransmissions and the final timeout.

Source: RFC 6886 section 3.1, RFC 6887 section 8.1.1.
"""

from dataclasses import dataclass

from torrent_engine.protocol.nat.facts import PortKey


@dataclass(slots=True)
class Exchange:
    """One outstanding request; retransmission intervals double."""

    key: PortKey | None
    """The port it is about; None: the check."""
    datagram: bytes
    tries_left: int
    wait_s: float
    """Interval until the next retransmission."""
    is_removal: bool = False
    due_s: float = 0.0
    """When it is retransmitted, or fails."""

    def send(self, now: float) -> bytes:
        """Count one try; return the datagram to send."""
        self.tries_left -= 1
        self.due_s = now + self.wait_s
        self.wait_s *= 2
        return self.datagram
