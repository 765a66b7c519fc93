"""When alternative speeds hold, by the local clock.

What the clock shows counts: where clocks are put forward or back, a period begins and ends at the
same reading as on other days. A period may last beyond midnight, and then belongs to the day on
which it begins; one that ends when it begins lasts a whole day.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from typing import Final

DAY_MIN: Final = 24 * 60
DAYS_AHEAD: Final = 8


@dataclass(frozen=True, slots=True)
class SpeedSchedule:
    """A daily period on some days of the week."""

    begin_min: int
    """Minutes from midnight."""
    end_min: int
    days: int
    """A bit for each day: 1 is Sunday, 64 Saturday."""

    def is_on(self, local: datetime) -> bool:
        """Return whether a reading of the local clock is within the period."""
        minute = local.hour * 60 + local.minute
        today, yesterday = self._has_day(local), self._has_day(local - timedelta(days=1))
        end = self.end_min if self.end_min > self.begin_min else self.end_min + DAY_MIN
        is_of_today = today and self.begin_min <= minute < end
        return is_of_today or (yesterday and self.begin_min <= minute + DAY_MIN < end)

    def next_change(self, now: float, zone: tzinfo | None = None) -> float | None:
        """Return when the period begins or ends next; None if it never does.

        Times are seconds since 1970; ``zone`` None is the one of the system.
        """
        present = self.is_on(_local(now, zone))
        for at in sorted(self._boundaries(now, zone)):
            if at > now and self.is_on(_local(at, zone)) is not present:
                return at
        return None

    def _has_day(self, local: datetime) -> bool:
        return bool(self.days >> (local.isoweekday() % 7) & 1)

    def _boundaries(self, now: float, zone: tzinfo | None) -> Iterator[float]:
        """Yield all times at which a period could begin or end."""
        today = _local(now, zone).date()
        for day in range(-1, DAYS_AHEAD):
            midnight = datetime.combine(today + timedelta(days=day), time())
            for minute in (self.begin_min, self.end_min):
                wall = midnight + timedelta(minutes=minute)
                for fold in (0, 1):  # an hour that comes twice has two of each
                    yield _timestamp(wall.replace(fold=fold), zone)


def _local(at: float, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(at, zone).replace(tzinfo=None)


def _timestamp(wall: datetime, zone: tzinfo | None) -> float:
    return wall.replace(tzinfo=zone).timestamp()
