"""Decides when a complete torrent has been seeded enough."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StopRules:
    """What ends seeding; None: no such rule, 0: seeding ends at once."""

    seed_ratio: float | None = None
    """Uploaded over downloaded payload; over the size of what was there if nothing was."""
    seed_time_s: float | None = None

    def reason(
        self, *, uploaded_bytes: int, downloaded_bytes: int, wanted_bytes: int, seeding_s: float
    ) -> str | None:
        """Return "ratio" or "time" if seeding is to end now, else None."""
        if self.seed_time_s is not None and seeding_s >= self.seed_time_s:
            return "time"
        if self.seed_ratio is not None:
            base_bytes = downloaded_bytes or wanted_bytes
            if uploaded_bytes >= self.seed_ratio * base_bytes:
                return "ratio"
        return None
