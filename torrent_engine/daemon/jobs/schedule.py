"""Alternative speeds: switched by the clock, and by users until the next change."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final

from torrent_engine.daemon.jobs.speed_schedule import SpeedSchedule
from torrent_engine.service.pauses import Alarm

LOOK_S: Final = 60.0  # ours: a clock that is set is noticed within this
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SpeedSettings:
    """Rates in bytes per second, 0 is unlimited; when the alternative ones hold."""

    download_bytes_per_s: int = 0
    upload_bytes_per_s: int = 0
    alt_download_bytes_per_s: int = 0
    alt_upload_bytes_per_s: int = 0
    schedule: SpeedSchedule | None = None
    """None: only users switch."""


@dataclass(frozen=True, slots=True)
class LocalClock:
    """The clock on the wall."""

    now: Callable[[], float] = time.time
    """Seconds since 1970."""
    zone: tzinfo | None = None
    """None: the one of the system."""


SYSTEM_CLOCK: Final = LocalClock()


class AlternativeSpeeds:
    """Sets the rate limits of all torrents, by the schedule or by a switch of a user.

    A switch holds until the schedule changes next, as with Transmission.
    """

    name = "schedule"

    def __init__(
        self,
        settings: SpeedSettings,
        set_limits: Callable[[int, int], None],
        *,
        is_on: bool = False,
        on_switched: Callable[[bool], None] = lambda _: None,
        clock: LocalClock = SYSTEM_CLOCK,
        alarm: Alarm | None = None,
    ) -> None:
        """``set_limits`` takes the download and the upload rate; ``is_on`` is that of before."""
        self.settings = settings
        self.is_on = is_on
        """Whether the alternative speeds hold."""
        self._set_limits = set_limits
        self._on_switched = on_switched
        self._clock = clock
        self._alarm = alarm or Alarm()
        self._scheduled: bool | None = None
        """What the schedule said last."""

    def change(self, settings: SpeedSettings) -> None:
        """Take other settings; they hold at once."""
        if settings.schedule != self.settings.schedule:
            self._scheduled = None
        self.settings = settings
        self.look()
        self._apply()
        self._alarm.ring()

    def switch(self, *, is_on: bool) -> None:
        """Switch as a user says, until the schedule changes next."""
        self._switch(is_on=is_on)

    async def run(self) -> None:
        """Follow the clock until cancelled."""
        self._apply()
        while True:
            self.look()
            await self._alarm.wait(self.due_in_s())

    def look(self) -> None:
        """Switch if the schedule says something else than at the last look."""
        schedule = self.settings.schedule
        if schedule is None:
            self._scheduled = None
            return
        local = datetime.fromtimestamp(self._clock.now(), self._clock.zone)
        now_on = schedule.is_on(local.replace(tzinfo=None))
        if now_on is not self._scheduled:
            self._scheduled = now_on
            self._switch(is_on=now_on)

    def due_in_s(self) -> float:
        """Return the time until the next look: the next change, at most a minute."""
        schedule = self.settings.schedule
        if schedule is None:
            return LOOK_S
        now = self._clock.now()
        at = schedule.next_change(now, self._clock.zone)
        return LOOK_S if at is None else min(at - now, LOOK_S)

    def _switch(self, *, is_on: bool) -> None:
        if is_on is self.is_on:
            return
        self.is_on = is_on
        logger.info("alternative speeds %s", "on" if is_on else "off")
        self._apply()
        self._on_switched(is_on)

    def _apply(self) -> None:
        each = self.settings
        if self.is_on:
            self._set_limits(each.alt_download_bytes_per_s, each.alt_upload_bytes_per_s)
        else:
            self._set_limits(each.download_bytes_per_s, each.upload_bytes_per_s)
