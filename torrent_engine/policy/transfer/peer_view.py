"""The facts about a peer that the choker decides by."""

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PeerView:
    """Facts about one peer for the choker; times are of the caller's clock."""

    key: Hashable
    connected_since_s: float
    """When its handshake completed."""
    interested: bool
    """It sent "interested" (BEP 3)."""
    unchoked: bool = False
    unchoked_since_s: float = 0.0
    """When it was unchoked; meaningless while it is choked."""
    uploaded_bytes_since_unchoke: int = 0
    download_bytes_per_s: float = 0.0
    """Payload from it to us."""
    upload_bytes_per_s: float = 0.0
    """Payload from us to it."""
    is_held_back: bool = False
    """What it requested waits for us: for our rate limit or our disk."""
    is_snubbed: bool = False
    """It has not sent requested blocks for a while."""
    is_upload_only: bool = False
    """It is a seed, or a partial seed (BEP 21)."""

    operator: str | None = None
    """The operator of its address; None where several peers may share an address."""

    @property
    def owner(self) -> Hashable:
        """What it is known by: its operator, or only itself."""
        return self.key if self.operator is None else self.operator

    @property
    def wants_slot(self) -> bool:
        """Whether the peer would download if it were unchoked."""
        return self.interested and not self.is_upload_only
