"""Owns one request to a gateway: when it is sent again, and when nobody answers.

Source: RFC 6886 section 3.1.
"""

from dataclasses import dataclass

from torrent_engine.protocol.nat.facts import PortKey


@dataclass(slots=True)
class Exchange:
    """One request under way; the waits for its answer double."""

    key: PortKey | None
    """Which port it is about; None: the check."""
    datagram: bytes
    tries_left: int
    wait_s: float
    """Until the next try, once this one is sent."""
    is_removal: bool = False
    due_s: float = 0.0
    """When it is sent again, or given up."""

    def send(self, now: float) -> bytes:
        """Take one try; return what is sent."""
        self.tries_left -= 1
        self.due_s = now + self.wait_s
        self.wait_s *= 2
        return self.datagram
