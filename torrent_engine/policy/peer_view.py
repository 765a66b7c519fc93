"""What the choker is told of a peer."""

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PeerView:
    """What the choker knows of one peer; times are of the caller's clock."""

    key: Hashable
    connected_since_s: float
    """When it passed the handshake."""
    interested: bool
    """It wants something that we have."""
    unchoked: bool = False
    unchoked_since_s: float = 0.0
    """When it was unchoked; means nothing while it is choked."""
    uploaded_bytes_since_unchoke: int = 0
    download_bytes_per_s: float = 0.0
    """Payload from it to us."""
    upload_bytes_per_s: float = 0.0
    """Payload from us to it."""
    is_snubbed: bool = False
    """It owes us blocks and sends none."""
    is_upload_only: bool = False
    """It is a seed, or says that it wants nothing (BEP 21)."""

    @property
    def wants_slot(self) -> bool:
        """Whether unchoking it has a point."""
        return self.interested and not self.is_upload_only
