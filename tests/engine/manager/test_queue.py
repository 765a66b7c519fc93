"""The keeper of the queue: when it looks, whom it holds, whom it lets go."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from tests.support.clock import let_tasks_run
from tests.support.sleeping_clock import SleepingClock
from torrent_engine.base.config import QueueConfig
from torrent_engine.base.ids import InfoHash
from torrent_engine.engine.manager.queue import QueueController
from torrent_engine.engine.session.status import QueueFacts
from torrent_engine.engine.states import State
from torrent_engine.engine.timers import Alarm

pytestmark = pytest.mark.anyio

ONE = QueueConfig(max_active_downloads=1, max_active_seeds=1)


class FakeSession:
    """A torrent that can be held."""

    def __init__(self, manager: "FakeManager", number: int, state: State) -> None:
        self.info_hash = InfoHash(bytes([number]) * 20)
        self.facts = QueueFacts(state, rate_bytes_per_s=1e6)
        self.is_held = False
        self.is_paused_by_user = False
        self.is_forced = False
        self.fails = False
        self._manager = manager

    @property
    def state(self) -> State:
        """Paused while it is held."""
        if self.facts.state in {State.STOPPED, State.ERROR}:
            return self.facts.state
        return State.PAUSED if self.is_held or self.is_paused_by_user else self.facts.state

    def queue_facts(self, now: float) -> QueueFacts:
        """Return what the test has set."""
        self._manager.looked_at.append(now)
        return self.facts

    def hold(self) -> None:
        """Wait."""
        self._move(is_held=True)

    def unhold(self) -> None:
        """Go on."""
        self._move(is_held=False)

    def _move(self, *, is_held: bool) -> None:
        if self.fails:
            raise RuntimeError("a bug")
        self.is_held = is_held
        running = [each for each in self._manager.sessions if not each.is_held]
        self._manager.most = max(self._manager.most, len(running))


class FakeManager:
    """Some torrents, in their order."""

    def __init__(self, *states: State) -> None:
        self.looked_at: list[float] = []
        self.most = 0
        self.sessions = [FakeSession(self, number, state) for number, state in enumerate(states)]
        self.priorities: dict[bytes, int] = {}

    def priority(self, info_hash: InfoHash) -> int:
        """Return what the test has set."""
        return self.priorities.get(info_hash, 0)

    @property
    def queued(self) -> "list[FakeSession]":
        """Return all torrents."""
        return self.sessions

    @property
    def running(self) -> list[int]:
        """Return who is not held, by number."""
        return [each.info_hash[0] for each in self.sessions if not each.is_held]


@asynccontextmanager
async def kept(
    manager: FakeManager, config: QueueConfig = ONE
) -> AsyncIterator[tuple[QueueController, SleepingClock]]:
    """Run a keeper on a clock of the test."""
    clock = SleepingClock()
    keeper = QueueController(manager, config, clock, alarm=Alarm(clock.sleep))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keeper.run)
        await let_tasks_run()
        yield keeper, clock
        tasks.cancel_scope.cancel()


async def test_it_holds_who_has_no_place_at_once_and_lets_go_when_there_is_one() -> None:
    manager = FakeManager(State.DOWNLOADING, State.DOWNLOADING, State.SEEDING, State.SEEDING)
    async with kept(manager) as (keeper, clock):
        assert manager.running == [0, 2]
        manager.sessions[0].facts = QueueFacts(State.ERROR)
        keeper.changed()
        await clock.advance(0.1)
        assert manager.running == [0, 1, 2]  # what failed is nobody's business


async def test_it_looks_every_few_seconds_and_changes_of_a_moment_are_looked_at_together() -> None:
    manager = FakeManager(State.DOWNLOADING)
    async with kept(manager) as (keeper, clock):
        assert manager.looked_at == [0.0]
        for _ in range(9):
            keeper.changed()
            await clock.advance(0.01)
        assert manager.looked_at == [0.0]
        await clock.advance(0.02)
        assert len(manager.looked_at) == 2
        for _ in range(20):
            await clock.advance(1.0)
        assert len(manager.looked_at) == 6


async def test_without_a_limit_it_does_nothing_at_all() -> None:
    manager = FakeManager(State.DOWNLOADING, State.SEEDING)
    async with kept(manager, QueueConfig()) as (keeper, clock):
        keeper.changed()
        for _ in range(100):
            await clock.advance(60.0)
        assert (manager.looked_at, keeper.has_limits) == ([], False)


async def test_new_limits_hold_at_once_and_without_any_all_go_on() -> None:
    manager = FakeManager(*[State.SEEDING] * 4)
    async with kept(manager, QueueConfig()) as (keeper, clock):
        keeper.set_config(QueueConfig(max_active_seeds=2))
        await clock.advance(0.1)
        assert manager.running == [0, 1]
        keeper.set_config(QueueConfig())
        await clock.advance(0.1)
        assert manager.running == [0, 1, 2, 3]


async def test_who_makes_room_is_held_before_another_is_let_go() -> None:
    manager = FakeManager(*[State.DOWNLOADING] * 6)
    for session in manager.sessions:
        session.hold()
    async with kept(manager, QueueConfig(max_active_downloads=3)) as (keeper, clock):
        assert manager.running == [0, 1, 2]
        manager.most = 0
        manager.sessions.reverse()
        keeper.changed()
        await clock.advance(0.1)
        assert (sorted(manager.running), manager.most) == ([3, 4, 5], 3)


async def test_who_is_paused_by_its_user_takes_no_place_and_is_left_alone() -> None:
    manager = FakeManager(*[State.DOWNLOADING] * 3)
    manager.sessions[0].is_paused_by_user = True
    async with kept(manager) as (_, _clock):
        assert [each.is_held for each in manager.sessions] == [False, False, True]


async def test_a_higher_priority_takes_the_place() -> None:
    manager = FakeManager(State.DOWNLOADING, State.FETCHING_METADATA)
    async with kept(manager) as (keeper, clock):
        assert manager.running == [0]
        manager.priorities[manager.sessions[1].info_hash] = 1
        keeper.changed()
        await clock.advance(0.1)
        assert manager.running == [1]


async def test_a_bug_in_one_torrent_reaches_no_other(caplog: pytest.LogCaptureFixture) -> None:
    manager = FakeManager(*[State.DOWNLOADING] * 3)
    manager.sessions[1].fails = True
    async with kept(manager) as (_, _clock):
        assert manager.running == [0, 1]
    assert f"torrent {'01' * 20}: not held or released" in caplog.messages


async def test_who_leaves_a_check_is_held_at_once_if_there_is_no_room() -> None:
    manager = FakeManager(*[State.CHECKING] * 3, State.SEEDING)
    async with kept(manager) as (keeper, clock):
        assert manager.running == [0, 1, 2, 3]
        for number, state in enumerate([State.DOWNLOADING, State.DOWNLOADING, State.SEEDING]):
            session = manager.sessions[number]
            session.facts = QueueFacts(state, rate_bytes_per_s=1e6)
            keeper.state_changed(session, State.CHECKING, state)
        assert manager.running == [0, 3]
        keeper.state_changed(manager.sessions[1], State.DOWNLOADING, State.PAUSED)
        await clock.advance(0.1)
        assert manager.running == [0, 3]
        keeper.set_config(QueueConfig())
        keeper.state_changed(manager.sessions[0], State.CHECKING, State.DOWNLOADING)
        assert not manager.sessions[0].is_held


async def test_who_is_continued_goes_on_at_once_if_there_is_room() -> None:
    manager = FakeManager(State.DOWNLOADING, State.DOWNLOADING, State.CHECKING, State.DOWNLOADING)
    for session in manager.sessions:
        session.is_held = session.is_paused_by_user = True  # added paused
    first, second, checked, barred = manager.sessions
    config = QueueConfig(max_active_downloads=1, max_active_checks=1)
    async with kept(manager, config) as (keeper, clock):
        keeper.bar_downloads([barred.info_hash])
        await clock.advance(0.1)
        for session in (checked, barred, first, second):
            keeper.state_changed(session, session.state, session.state)
            assert session.is_held  # its user has not continued it
            session.is_paused_by_user = False
            keeper.state_changed(session, State.PAUSED, State.PAUSED)
            assert session.is_held == (session is not first)
        await clock.advance(0.1)
        assert manager.running == [0, 2]


async def test_who_is_outside_of_the_queue_is_neither_held_nor_counted() -> None:
    manager = FakeManager(*[State.DOWNLOADING] * 3)
    manager.sessions[0].is_forced = True
    async with kept(manager) as (keeper, clock):
        assert manager.running == [0, 1]
        keeper.state_changed(manager.sessions[0], State.CHECKING, State.DOWNLOADING)
        assert manager.running == [0, 1]
        manager.sessions[0].is_forced = False
        keeper.changed()
        await clock.advance(0.1)
        assert manager.running == [0]


async def test_a_barred_download_waits_and_leaves_its_place_to_the_next() -> None:
    manager = FakeManager(State.DOWNLOADING, State.DOWNLOADING)
    async with kept(manager) as (keeper, clock):
        assert manager.running == [0]
        keeper.bar_downloads({manager.sessions[0].info_hash})
        await clock.advance(0.1)
        assert manager.running == [1]
        keeper.bar_downloads(())
        await clock.advance(0.1)
        assert manager.running == [0]


async def test_a_bar_needs_no_limit_and_holds_forced_torrents_too() -> None:
    manager = FakeManager(State.DOWNLOADING, State.SEEDING, State.CHECKING)
    forced, _, check = manager.sessions
    forced.is_forced = True
    async with kept(manager, QueueConfig()) as (keeper, clock):
        keeper.bar_downloads({each.info_hash for each in manager.sessions})
        await clock.advance(0.1)
        assert manager.running == [1, 2]
        check.facts = QueueFacts(State.DOWNLOADING)
        keeper.state_changed(check, State.CHECKING, State.DOWNLOADING)
        await clock.advance(0.1)
        assert manager.running == [1]
        keeper.bar_downloads(())
        await clock.advance(0.1)
        assert manager.running == [0, 1, 2]


def held_but_not_waiting(*states: State) -> FakeManager:
    """Return torrents that are held: the first is paused by its user, too, others may not run."""
    manager = FakeManager(State.DOWNLOADING, *states)
    for session in manager.sessions:
        session.is_held = True
    manager.sessions[0].is_paused_by_user = True
    return manager


async def test_without_a_limit_nobody_stays_held_also_who_may_not_run_now() -> None:
    manager = held_but_not_waiting(State.STOPPED, State.ERROR)
    async with kept(manager) as (keeper, clock):
        assert manager.running == []
        keeper.set_config(QueueConfig())
        await clock.advance(0.1)
        assert manager.running == [0, 1, 2]
        assert manager.sessions[0].is_paused_by_user


async def test_without_a_limit_only_who_is_barred_stays_held() -> None:
    manager = held_but_not_waiting(State.STOPPED, State.ERROR, State.DOWNLOADING)
    first, second, _, _ = (each.info_hash for each in manager.sessions)
    async with kept(manager, QueueConfig()) as (keeper, clock):
        keeper.bar_downloads([first, second])
        await clock.advance(0.1)
        assert manager.running == [2, 3]
        keeper.bar_downloads([second])
        await clock.advance(0.1)
        assert manager.running == [0, 2, 3]
        keeper.bar_downloads([])
        await clock.advance(0.1)
        assert manager.running == [0, 1, 2, 3]


async def test_without_a_limit_who_could_not_be_released_is_when_it_is_continued() -> None:
    manager = FakeManager(State.DOWNLOADING)
    (session,) = manager.sessions
    session.is_held = session.fails = True
    async with kept(manager, QueueConfig()) as (keeper, clock):
        keeper.set_config(QueueConfig())
        await clock.advance(0.1)
        assert session.is_held
        session.fails = False
        keeper.state_changed(session, State.PAUSED, State.PAUSED)
        await clock.advance(0.1)
        assert not session.is_held
