"""Decides when a complete torrent has been seeded enough."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StopRules:
    """What ends seeding; None: no such rule, 0: seeding ends at once."""

    seed_ratio: float | None = None
    """Uploaded over downloaded payload; over the size of what was there if nothing was."""
    seed_time_s: float | None = None
    seed_idle_s: float | None = None
    """Time in which nobody took anything."""

    def over(self, general: "StopRules") -> "StopRules":
        """Return these rules, with what they leave open as it is in general."""
        return StopRules(
            general.seed_ratio if self.seed_ratio is None else self.seed_ratio,
            general.seed_time_s if self.seed_time_s is None else self.seed_time_s,
            general.seed_idle_s if self.seed_idle_s is None else self.seed_idle_s,
        )

    def reason(self, seeded: "Seeded") -> str | None:
        """Return "time", "ratio" or "idle" if seeding is to end now, else None."""
        if self.seed_time_s is not None and seeded.seeding_s >= self.seed_time_s:
            return "time"
        if self._has_given_enough(seeded):
            return "ratio"
        if self.seed_idle_s is not None and seeded.idle_s >= self.seed_idle_s:
            return "idle"
        return None

    def next_due_s(self, seeded: "Seeded") -> float:
        """Return in how many seconds a rule holds if nothing is sent until then.

        0: one holds now. Infinity: none ever does.
        """
        if self._has_given_enough(seeded):
            return 0.0
        time_s = math.inf if self.seed_time_s is None else self.seed_time_s - seeded.seeding_s
        idle_s = math.inf if self.seed_idle_s is None else self.seed_idle_s - seeded.idle_s
        return max(min(time_s, idle_s), 0.0)

    def _has_given_enough(self, seeded: "Seeded") -> bool:
        if self.seed_ratio is None:
            return False
        base_bytes = seeded.downloaded_bytes or seeded.wanted_bytes
        return seeded.uploaded_bytes >= self.seed_ratio * base_bytes


@dataclass(frozen=True, slots=True)
class Seeded:
    """What the rules are about: payload over all runs, and time spent seeding."""

    uploaded_bytes: int = 0
    downloaded_bytes: int = 0
    wanted_bytes: int = 0
    seeding_s: float = 0.0
    idle_s: float = 0.0
    """Of that time, since somebody last took something."""
