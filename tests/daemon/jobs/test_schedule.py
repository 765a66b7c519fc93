"""Alternative speeds by the clock, over days, midnight, clock changes and switches of users."""

from datetime import datetime
from zoneinfo import ZoneInfo

import anyio
import pytest

from torrent_engine.daemon.jobs.schedule import AlternativeSpeeds, LocalClock, SpeedSettings
from torrent_engine.daemon.jobs.speed_schedule import SpeedSchedule
from torrent_engine.service.pauses import Alarm

pytestmark = pytest.mark.anyio

BERLIN = ZoneInfo("Europe/Berlin")
ALL_DAYS, SUNDAY, MONDAY, SATURDAY = 127, 1, 2, 64
OFFICE = SpeedSchedule(9 * 60, 17 * 60, ALL_DAYS)
NIGHT = SpeedSchedule(22 * 60, 6 * 60, SATURDAY)


def at(text: str, *, fold: int = 0) -> float:
    """Return a time in Berlin as seconds since 1970."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).timestamp()


READINGS = {
    "before": (OFFICE, "2026-11-23 08:59", False),
    "begin": (OFFICE, "2026-11-23 09:00", True),
    "last_minute": (OFFICE, "2026-11-23 16:59", True),
    "end": (OFFICE, "2026-11-23 17:00", False),
    "monday_only": (SpeedSchedule(540, 1020, MONDAY), "2026-11-23 12:00", True),
    "not_on_tuesday": (SpeedSchedule(540, 1020, MONDAY), "2026-11-24 12:00", False),
    "sunday": (SpeedSchedule(540, 1020, SUNDAY), "2026-11-22 12:00", True),
    "no_day": (SpeedSchedule(540, 1020, 0), "2026-11-23 12:00", False),
    "night_begins_on_saturday": (NIGHT, "2026-11-21 22:00", True),
    "night_goes_on_on_sunday": (NIGHT, "2026-11-22 05:59", True),
    "night_ends": (NIGHT, "2026-11-22 06:00", False),
    "no_night_on_sunday": (NIGHT, "2026-11-22 22:00", False),
    "whole_day": (SpeedSchedule(600, 600, SATURDAY), "2026-11-22 09:59", True),
    "whole_day_ends": (SpeedSchedule(600, 600, SATURDAY), "2026-11-22 10:00", False),
}


@pytest.mark.parametrize(("schedule", "reading", "expected"), READINGS.values(), ids=READINGS)
def test_a_period_holds_by_the_reading_of_the_clock(
    schedule: SpeedSchedule, reading: str, expected: bool
) -> None:
    assert schedule.is_on(datetime.fromisoformat(reading)) is expected


CHANGES = {
    "today": (OFFICE, "2026-11-23 08:00", "2026-11-23 09:00"),
    "ends": (OFFICE, "2026-11-23 09:00", "2026-11-23 17:00"),
    "tomorrow": (OFFICE, "2026-11-23 17:00", "2026-11-24 09:00"),
    "next_week": (SpeedSchedule(540, 1020, MONDAY), "2026-11-23 17:00", "2026-11-30 09:00"),
    "over_midnight": (NIGHT, "2026-11-21 23:00", "2026-11-22 06:00"),
    "clocks_forward": (OFFICE, "2026-03-28 17:00", "2026-03-29 09:00"),
    "clocks_back": (OFFICE, "2026-10-24 17:00", "2026-10-25 09:00"),
}


@pytest.mark.parametrize(("schedule", "now", "expected"), CHANGES.values(), ids=CHANGES)
def test_the_next_change_is_found(schedule: SpeedSchedule, now: str, expected: str) -> None:
    assert schedule.next_change(at(now), BERLIN) == at(expected)


def test_a_day_of_23_or_25_hours_moves_no_period() -> None:
    forward = OFFICE.next_change(at("2026-03-28 17:00"), BERLIN) or 0
    back = OFFICE.next_change(at("2026-10-24 17:00"), BERLIN) or 0
    assert forward - at("2026-03-28 17:00") == 15 * 3_600
    assert back - at("2026-10-24 17:00") == 17 * 3_600


def test_a_beginning_in_the_hour_that_is_left_out_is_not_lost() -> None:
    schedule = SpeedSchedule(150, 300, ALL_DAYS)  # from 02:30, which that day does not have
    change = schedule.next_change(at("2026-03-29 01:00"), BERLIN)
    assert change == at("2026-03-29 03:30")
    assert schedule.is_on(datetime.fromisoformat("2026-03-29 03:30"))


@pytest.mark.parametrize("schedule", [SpeedSchedule(0, 0, ALL_DAYS), SpeedSchedule(60, 90, 0)])
def test_a_period_that_never_changes_has_no_next_change(schedule: SpeedSchedule) -> None:
    assert schedule.next_change(at("2026-11-23 08:00"), BERLIN) is None


SETTINGS = SpeedSettings(100, 200, 10, 20, OFFICE)


class Bench:
    """Alternative speeds with a clock that the test sets."""

    def __init__(self, settings: SpeedSettings = SETTINGS, now: str = "2026-11-23 08:00") -> None:
        self.now = at(now)
        self.limits: list[tuple[int, int]] = []
        self.told: list[bool] = []
        self.speeds = AlternativeSpeeds(
            settings,
            lambda down, up: self.limits.append((down, up)),
            on_switched=self.told.append,
            clock=LocalClock(lambda: self.now, BERLIN),
        )
        self.speeds.look()

    def look_at(self, text: str) -> bool:
        self.now = at(text)
        self.speeds.look()
        return self.speeds.is_on


def test_the_clock_switches() -> None:
    bench = Bench()
    assert [bench.look_at(f"2026-11-23 {hour:02}:00") for hour in (8, 9, 12, 17, 23)] == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert bench.limits == [(10, 20), (100, 200)]
    assert bench.told == [True, False]


def test_a_switch_of_the_user_holds_until_the_next_change() -> None:
    bench = Bench()
    bench.speeds.switch(is_on=True)
    assert bench.look_at("2026-11-23 08:30") is True
    assert bench.look_at("2026-11-23 09:00") is True  # the change that would have switched
    bench.speeds.switch(is_on=False)
    assert bench.look_at("2026-11-23 16:00") is False
    assert bench.look_at("2026-11-23 17:00") is False
    assert bench.look_at("2026-11-24 09:00") is True


def test_a_clock_that_is_set_is_followed() -> None:
    bench = Bench()
    assert bench.look_at("2026-11-23 12:00") is True
    assert bench.look_at("2026-11-23 03:00") is False


def test_without_a_schedule_only_users_switch() -> None:
    bench = Bench(SpeedSettings(100, 200, 10, 20))
    assert bench.look_at("2026-11-23 12:00") is False
    bench.speeds.switch(is_on=True)
    assert bench.look_at("2026-11-24 12:00") is True
    assert bench.limits == [(10, 20)]


def test_other_settings_hold_at_once() -> None:
    bench = Bench(now="2026-11-23 12:00")
    bench.speeds.change(SpeedSettings(100, 200, 11, 22, OFFICE))
    assert bench.limits[-1] == (11, 22)
    bench.speeds.change(SpeedSettings(100, 200, 11, 22, SpeedSchedule(0, 60, ALL_DAYS)))
    assert (bench.speeds.is_on, bench.limits[-1]) == (False, (100, 200))


@pytest.mark.parametrize(
    ("now", "due_s"), [("2026-11-23 08:00", 60.0), ("2026-11-23 08:59:30", 30.0)]
)
def test_it_looks_at_the_change_and_once_a_minute(now: str, due_s: float) -> None:
    assert Bench(now=now).speeds.due_in_s() == due_s


async def test_it_follows_the_clock_while_it_runs() -> None:
    now = at("2026-11-23 08:59:50")
    switched = anyio.Event()

    async def sleep(delay_s: float) -> None:
        nonlocal now
        now += delay_s
        await anyio.lowlevel.checkpoint()

    def told(is_on: bool) -> None:
        assert is_on
        switched.set()

    limits: list[tuple[int, int]] = []
    speeds = AlternativeSpeeds(
        SETTINGS,
        lambda down, up: limits.append((down, up)),
        on_switched=told,
        clock=LocalClock(lambda: now, BERLIN),
        alarm=Alarm(sleep),
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(speeds.run)
        with anyio.fail_after(30):
            await switched.wait()
        tasks.cancel_scope.cancel()
    assert limits[:2] == [(100, 200), (10, 20)]
