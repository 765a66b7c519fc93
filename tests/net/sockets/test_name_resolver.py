"""Look-ups of names with a system that the tests play: D1, and nobody stops anybody else."""

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import anyio
import pytest

from tests.support.sleeping_clock import SleepingClock, settle
from tests.support.swarm import until
from torrent_engine.base.errors import NameResolutionError, NetworkError
from torrent_engine.net.sockets.fair_slots import SlotLimits
from torrent_engine.net.sockets.name_resolver import (
    NameResolver,
    ResolverLimits,
    low_priority_resolver,
    resolving_for,
    system_look_up,
)

pytestmark = pytest.mark.anyio


class System:
    """Answers for names that end in "good", says no to those in "bad", is silent to all others."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.silence = threading.Event()
        self.under_way = 0

    def __call__(self, name: str) -> list[str]:
        self.asked.append(name)
        self.under_way += 1
        try:
            if name.endswith("good"):
                return ["192.0.2.1", "2001:db8::1"]
            if name.endswith("bad"):
                raise socket.gaierror(socket.EAI_NONAME, "no such name")
            self.silence.wait(20)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        finally:
            self.under_way -= 1


@pytest.fixture
def system() -> Iterator[System]:
    found = System()
    yield found
    found.silence.set()


class Asking:
    """Asks for names in tasks, each on behalf of a torrent."""

    def __init__(self, resolver: Any, tasks: anyio.abc.TaskGroup) -> None:
        self.resolver = resolver
        self.tasks = tasks
        self.answers: dict[str, object] = {}

    def ask(self, name: str, key: str | None) -> anyio.CancelScope:
        scope = anyio.CancelScope()
        self.tasks.start_soon(self._ask, name, key, scope)
        return scope

    async def _ask(self, name: str, key: str | None, scope: anyio.CancelScope) -> None:
        with scope, resolving_for(key):
            try:
                self.answers[name] = await self.resolver(name, 80)
            except NetworkError as error:
                self.answers[name] = error


async def test_what_is_found_is_remembered_for_a_short_time(system: System) -> None:
    clock = SleepingClock()
    resolver = NameResolver(system, clock=clock, sleep=clock.sleep)
    for _ in range(3):
        assert await resolver("Tracker.Good.", 80) == ["192.0.2.1", "2001:db8::1"]
    assert system.asked == ["tracker.good"]
    clock.now = 61.0
    await resolver("tracker.good", 80)
    assert len(system.asked) == 2
    assert await resolver("192.0.2.7", 80) == ["192.0.2.7"]


async def test_what_failed_is_not_asked_for_again_at_once_but_by_the_user(system: System) -> None:
    clock, waits = SleepingClock(), []
    resolver = NameResolver(system, clock=clock, sleep=clock.sleep)
    with resolving_for("torrent"):
        for _ in range(4):
            asked, began = len(system.asked), clock.now
            while len(system.asked) == asked:
                with pytest.raises(NetworkError, match="cannot resolve"):
                    await resolver("x.bad", 80)
                clock.now += 1.0
            waits.append(clock.now - 1.0 - began)
    assert waits == [0.0, 9.0, 19.0, 39.0]
    asked = len(system.asked)
    with pytest.raises(NetworkError, match="no such name"):
        await resolver("x.bad", 80)
    assert len(system.asked) == asked + 1


async def waits_until_asked_again(
    resolver: NameResolver, clock: SleepingClock, asked: list[str], name: str
) -> float:
    before, began = len(asked), clock.now
    while len(asked) == before:
        with pytest.raises(NetworkError, match="cannot resolve"):
            await resolver(name, 80)
        clock.now += 1.0
    return clock.now - 1.0 - began


async def test_while_no_name_is_answered_the_time_until_the_next_try_does_not_grow() -> None:
    clock, asked, is_up = SleepingClock(), list[str](), False

    def look_up(name: str) -> list[str]:
        asked.append(name)
        if is_up and name == "found":
            return ["192.0.2.1"]
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    resolver = NameResolver(look_up, clock=clock, sleep=clock.sleep)
    with resolving_for("torrent"):
        down = [await waits_until_asked_again(resolver, clock, asked, "lost") for _ in range(9)]
        assert down == [0.0] + [9.0] * 8
        is_up = True
        up = []
        for _ in range(4):
            await resolver("found", 80)
            resolver._found.clear()
            up.append(await waits_until_asked_again(resolver, clock, asked, "lost"))
        assert up == [9.0, 19.0, 39.0, 79.0]


async def test_a_name_that_fails_while_several_wait_for_it_costs_no_slot(system: System) -> None:
    resolver = NameResolver(system, limits=ResolverLimits(slots=SlotLimits(total=1, per_key=1)))
    async with anyio.create_task_group() as tasks:
        asking = Asking(resolver, tasks)
        asking.ask("silent", "a")
        await anyio.wait_all_tasks_blocked()
        for key in ("b", "c"):
            asking.ask("x.bad", key)
        await anyio.wait_all_tasks_blocked()
        system.silence.set()
    assert isinstance(asking.answers["x.bad"], NameResolutionError)
    with anyio.fail_after(30), resolving_for("d"):
        assert await resolver("tracker.good", 80)


async def test_a_hundred_names_on_a_silent_server_keep_nobody_elses_waiting(system: System) -> None:
    resolver = NameResolver(system)
    async with anyio.create_task_group() as tasks:
        asking = Asking(resolver, tasks)
        for number in range(100):
            asking.ask(f"{number}.silent", "greedy")
        await until(lambda: system.under_way == 16)
        for number in range(20):
            asking.ask(f"{number}.good", f"torrent {number % 3}")
        await until(lambda: len(asking.answers) == 20)
        assert all(isinstance(answer, list) for answer in asking.answers.values())
        assert system.under_way == 16
        tasks.cancel_scope.cancel()


async def test_slow_look_ups_give_their_slots_up_within_bounds(system: System) -> None:
    clock, limits = SleepingClock(), ResolverLimits(max_slow=20)
    resolver = NameResolver(system, limits=limits, clock=clock, sleep=clock.sleep)
    async with anyio.create_task_group() as tasks:
        asking = Asking(resolver, tasks)
        for key in range(10):
            for number in range(20):
                asking.ask(f"{number}.{key}.silent", f"torrent {key}")
        await until(lambda: system.under_way >= limits.slots.total - limits.slots.reserved)
        for _ in range(50):
            await clock.advance(limits.slow_s)
            assert resolver._slots.used <= limits.slots.total
            assert resolver._slow <= limits.max_slow
        assert system.under_way <= limits.slots.total + limits.max_slow
        tasks.cancel_scope.cancel()
    system.silence.set()
    await until(lambda: not resolver.running)
    assert (resolver._slots.used, resolver._slow) == (0, 0)


def ask_in_vain(asking: Asking, torrents: int, names: int) -> None:
    for key in range(torrents):
        for number in range(names):
            asking.ask(f"{number}.{key}.silent", f"torrent {key}")


async def seconds_until_asked(clock: SleepingClock, resolver: NameResolver, name: str) -> int:
    await settle()
    for waited_s in range(60):
        if name in resolver._running or name in resolver._found:
            return waited_s
        await clock.advance(1.0)
    raise AssertionError(f"{name} was never looked up")


async def test_sixty_torrents_with_silent_names_keep_another_one_waiting_for_seconds(
    system: System,
) -> None:
    clock = SleepingClock()
    resolver = NameResolver(system, clock=clock, sleep=clock.sleep)
    async with anyio.create_task_group() as tasks:
        asking = Asking(resolver, tasks)
        ask_in_vain(asking, 60, 100)
        await settle()
        asking.ask("first.good", "honest")
        assert await seconds_until_asked(clock, resolver, "first.good") <= 4
        await clock.advance(20.0)  # no thread of the system has come back yet
        for number in range(5):
            asking.ask(f"{number}.good", f"honest {number}")
            assert await seconds_until_asked(clock, resolver, f"{number}.good") == 0
            await until(partial(asking.answers.__contains__, f"{number}.good"))
        tasks.cancel_scope.cancel()


async def test_a_silent_torrent_may_still_ask_for_what_was_found_before(
    system: System,
) -> None:
    clock = SleepingClock()
    resolver = NameResolver(system, clock=clock, sleep=clock.sleep)
    async with anyio.create_task_group() as tasks:
        asking = Asking(resolver, tasks)
        asking.ask("known.good", "torrent 0")
        await until(lambda: "known.good" in asking.answers)
        ask_in_vain(asking, 60, 100)
        await clock.advance(80.0)  # what was found is no longer kept
        asked = system.asked.count("known.good")
        asking.ask("known.good", "torrent 0")
        await until(lambda: system.asked.count("known.good") > asked)
        assert resolver._silent.keys() >= {"torrent 0"}
        tasks.cancel_scope.cancel()


async def test_a_torrent_whose_slow_name_is_answered_is_no_longer_silent(
    system: System,
) -> None:
    clock, limits = SleepingClock(), ResolverLimits()
    answers = threading.Event()

    def look_up(name: str) -> list[str]:
        if name == "slow":
            assert answers.wait(20)
            return ["192.0.2.9"]
        return system(name)

    resolver = NameResolver(look_up, clock=clock, sleep=clock.sleep)
    async with anyio.create_task_group() as tasks:
        asking = Asking(resolver, tasks)
        asking.ask("slow", "torrent")
        await clock.advance(limits.slow_s + 1.0)
        assert resolver._silent.keys() == {"torrent"}
        answers.set()
        await until(lambda: asking.answers)
        assert not resolver._silent


async def test_a_look_up_is_waited_for_no_longer_than_there_is_patience(system: System) -> None:
    clock = SleepingClock()
    resolver = NameResolver(system, clock=clock, sleep=clock.sleep)
    raised: list[NameResolutionError] = []

    async def ask() -> None:
        with resolving_for("torrent", patience_s=3.0):
            try:
                await resolver("x.silent", 80)
            except NameResolutionError as error:
                raised.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await clock.advance(2.9)
        assert not raised
        await clock.advance(0.2)
    assert "no response in 3 s" in str(raised[0])
    assert raised[0].is_timeout


async def test_a_slow_look_up_is_not_waited_for_longer_than_so_long(system: System) -> None:
    clock, limits = SleepingClock(), ResolverLimits()
    resolver = NameResolver(system, clock=clock, sleep=clock.sleep)
    async with anyio.create_task_group() as tasks:
        asking = Asking(resolver, tasks)
        asking.ask("x.silent", "torrent")
        await until(lambda: system.under_way)
        await clock.advance(limits.timeout_s + 1.0)
        await until(lambda: asking.answers)
        assert "no response in 15 s" in str(asking.answers["x.silent"])


async def test_nobody_waits_for_what_everybody_gave_up(system: System) -> None:
    limits = ResolverLimits(slots=SlotLimits(total=2, per_key=2))
    resolver = NameResolver(system, limits=limits)
    async with anyio.create_task_group() as tasks:
        asking = Asking(resolver, tasks)
        scopes = [asking.ask(f"{number}.silent", "torrent") for number in range(50)]
        await until(lambda: system.under_way == 2)
        for scope in scopes:
            scope.cancel()
        asking.ask("x.good", "torrent")
        await until(lambda: "x.good" in asking.answers)
    assert len(system.asked) <= 4  # what waited was never asked for


async def test_the_same_name_is_looked_up_once_for_all(system: System) -> None:
    resolver = NameResolver(system)
    async with anyio.create_task_group() as tasks:
        asking = Asking(resolver, tasks)
        for number in range(50):
            asking.ask("x.silent", f"torrent {number}")
        await until(lambda: system.under_way)
        system.silence.set()
    assert system.asked == ["x.silent"]
    assert resolver._slots.used == 0


async def test_a_queue_of_one_torrent_does_not_hold_a_name_that_another_wants(
    system: System,
) -> None:
    limits = ResolverLimits(slots=SlotLimits(total=4, per_key=1))
    resolver = NameResolver(system, limits=limits)
    async with anyio.create_task_group() as tasks:
        asking = Asking(resolver, tasks)
        asking.ask("x.silent", "greedy")
        await until(lambda: system.under_way)
        asking.ask("shared.good", "greedy")
        answer: list[str] = []

        async def ask() -> None:
            with resolving_for("other"):
                answer.extend(await resolver("shared.good", 80))

        tasks.start_soon(ask)
        await until(lambda: answer)
        assert system.under_way
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("failure", [RuntimeError("can't start new thread"), MemoryError()])
async def test_where_no_thread_is_left_a_look_up_fails_and_the_next_one_is_made(
    system: System, failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_thread: threading.Thread) -> None:
        raise failure

    resolver = NameResolver(system)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(NetworkError, match="thread"):
            await resolver("a.good", 80)
    assert (resolver.running, resolver._slots.used) == (0, 0)
    assert await resolver("a.good", 80) == ["192.0.2.1", "2001:db8::1"]


async def test_names_of_dht_nodes_come_last(system: System) -> None:
    limits = ResolverLimits(slots=SlotLimits(total=1, per_key=1))
    resolver = NameResolver(system, limits=limits)
    async with anyio.create_task_group() as tasks:
        asking, dht = Asking(resolver, tasks), low_priority_resolver(resolver, "dht")
        scope = asking.ask("x.silent", "torrent")
        await until(lambda: system.under_way)

        async def ask() -> None:
            await dht("router.good", 6881)

        tasks.start_soon(ask)
        await anyio.lowlevel.checkpoint()
        for number in range(3):
            asking.ask(f"{number}.good", f"torrent {number}")
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
        scope.cancel()
        await until(lambda: len(system.asked) == 5)
    assert system.asked[-1] == "router.good"


async def test_memory_of_names_is_bounded(system: System) -> None:
    resolver = NameResolver(system, limits=ResolverLimits(max_remembered=10))
    for number in range(50):
        await resolver(f"{number}.good", 80)
        with pytest.raises(NetworkError):
            await resolver(f"{number}.bad", 80)
    assert len(resolver._found) == len(resolver._failed) == 10


@pytest.mark.parametrize("name", ["a" * 64 + ".invalid", "a" * 300, "..", "\udcff", "a\0b"])
async def test_a_name_that_cannot_be_is_a_network_error(name: str) -> None:
    with pytest.raises(NetworkError):
        await NameResolver()(name, 80)


def test_the_system_knows_localhost() -> None:
    found = system_look_up("localhost")
    assert {"127.0.0.1", "::1"} & set(found)
    assert max(Counter(found).values()) == 1
