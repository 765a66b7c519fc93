"""The seed goals: when a complete torrent stops seeding."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StopRules:
    """The seed goals; None: no such goal, 0: seeding ends at once."""

    seed_ratio: float | None = None
    """Uploaded divided by downloaded payload; by the size if nothing was downloaded."""
    seed_time_s: float | None = None
    seed_idle_s: float | None = None
    """Seconds without an upload."""

    def over(self, general: "StopRules") -> "StopRules":
        """Return these rules, with unset ones taken from ``general``."""
        return StopRules(
            general.seed_ratio if self.seed_ratio is None else self.seed_ratio,
            general.seed_time_s if self.seed_time_s is None else self.seed_time_s,
            general.seed_idle_s if self.seed_idle_s is None else self.seed_idle_s,
        )

    def reason(self, seeded: "Seeded") -> str | None:
        """Return "time", "ratio" or "idle" if seeding is to end now, else None."""
        if self.seed_time_s is not None and seeded.seeding_s >= self.seed_time_s:
            return "time"
        if self._ratio_reached(seeded):
            return "ratio"
        if self.seed_idle_s is not None and seeded.idle_s >= self.seed_idle_s:
            return "idle"
        return None

    def next_due_s(self, seeded: "Seeded") -> float:
        """Return the seconds until a rule applies if nothing is uploaded until then.

        0: one applies now. Infinity: none ever does.
        """
        if self._ratio_reached(seeded):
            return 0.0
        time_s = math.inf if self.seed_time_s is None else self.seed_time_s - seeded.seeding_s
        idle_s = math.inf if self.seed_idle_s is None else self.seed_idle_s - seeded.idle_s
        return max(min(time_s, idle_s), 0.0)

    def _ratio_reached(self, seeded: "Seeded") -> bool:
        if self.seed_ratio is None:
            return False
        base_bytes = seeded.downloaded_bytes or seeded.wanted_bytes
        return seeded.uploaded_bytes >= self.seed_ratio * base_bytes


@dataclass(frozen=True, slots=True)
class Seeded:
    """The values compared with the goals: payload over all runs, and time spent seeding."""

    uploaded_bytes: int = 0
    downloaded_bytes: int = 0
    wanted_bytes: int = 0
    seeding_s: float = 0.0
    idle_s: float = 0.0
    """The part of it since the last upload."""
