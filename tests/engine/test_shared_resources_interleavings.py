"""Any interleaving of acquire, release, failed starts, cancellation and close, on both loops.

What the services are does not matter here: the opener is one of ours, that opens three parts, each
after a few turns of the loop, may fail before any of them, and takes its time to close them.
"""

from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest.mock import patch

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.clock import let_tasks_run
from torrent_engine.base.config import SharedConfig
from torrent_engine.base.errors import LocalProtocolError
from torrent_engine.engine.resources.shared_resources import SharedResources

PARTS = ("first", "second", "third")
MANY_TURNS = 400
PORT = 4711
BACKENDS: dict[str, dict[str, Any]] = {"asyncio": {"use_uvloop": False}, "trio": {}}
both_loops = pytest.mark.parametrize("backend", BACKENDS)
short = settings(max_examples=60)


class StartFailedError(Exception):
    """What the opener raises; ``number`` says in which start, counted from 1."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(frozen=True, slots=True)
class Start:
    """How one start goes: turns before each part, before which part it fails, turns to close."""

    opening_turns: tuple[int, int, int] = (0, 0, 0)
    fails_before: int | None = None
    closing_turns: int = 0


class Service:
    """What an opener returns: as much of it as SharedResources itself uses."""

    listen_port = PORT

    async def run(self, closing: anyio.Event) -> None:
        await closing.wait()


@dataclass
class Opener:
    """Opens and closes the parts, and holds that they open in turn and close in reverse."""

    plan: list[Start] = field(default_factory=list)
    number: int = 0
    finished: int = 0
    """How many starts have ended, well or not."""
    failed: set[int] = field(default_factory=set)
    opened: int = 0
    """How many starts opened something."""
    closed: int = 0
    """How often all that was open was closed."""
    open: list[str] = field(default_factory=list)
    is_underway: bool = False

    async def __call__(self, stack: AsyncExitStack, *_arguments: object) -> Service:
        assert not self.is_underway, "two starts at once"
        assert self.open == [], "a start before all was closed"
        self.is_underway = True
        self.number += 1
        try:
            await self._open_parts(stack, self.plan.pop(0) if self.plan else Start())
        finally:
            self.is_underway = False
        self.finished += 1
        return Service()

    async def _open_parts(self, stack: AsyncExitStack, start: Start) -> None:
        for index, part in enumerate(PARTS):
            await let_tasks_run(start.opening_turns[index])
            if start.fails_before == index:
                self.failed.add(self.number)
                self.finished += not self.open
                raise StartFailedError(self.number)
            self.opened += not self.open
            self.open.append(part)
            stack.push_async_callback(self._close, part, start.closing_turns)

    async def _close(self, part: str, turns: int) -> None:
        assert self.open[-1] == part, "closed out of order, or twice"
        with anyio.CancelScope(shield=True):
            await let_tasks_run(turns)
        self.open.pop()
        if not self.open:
            self.closed += 1
            self.finished += self.number in self.failed


@dataclass(frozen=True, slots=True)
class Life:
    """One task: waits, acquires, holds, releases; either may be cancelled after some turns."""

    before_turns: int = 0
    acquire_for: int | None = None
    hold_turns: int = 0
    release_for: int | None = None


@dataclass
class World:
    """One SharedResources with its opener, and who holds it."""

    shared: SharedResources
    opener: Opener
    held: int = 0
    told: list[StartFailedError] = field(default_factory=list)

    async def live(self, life: Life) -> None:
        """Acquire, look, release; what must be true at each point is asserted."""
        await let_tasks_run(life.before_turns)
        if await within(life.acquire_for, self._acquire):
            for _ in range(life.hold_turns + 1):
                assert self.opener.open == list(PARTS)
                assert self.shared.listen_port == PORT
                await let_tasks_run(1)
            await within(life.release_for, self._release)

    async def _acquire(self) -> bool:
        """Return whether there is a reference; who is told of which start is checked."""
        before, error = self.opener.finished, None
        try:
            await self.shared.acquire()
        except StartFailedError as told:
            error = told
        last = self.opener.finished if error is None else error.number
        failed = self.opener.failed & set(range(before + 1, last + 1))
        assert failed == ({error.number} if error else set()), "told of the first that fails"
        if error is not None:
            self.told.append(error)
            return False
        self.held += 1
        assert self.shared.references == self.held
        return True

    async def _release(self) -> bool:
        self.held -= 1
        await self.shared.release()
        return True

    async def wait_closed(self) -> None:
        """Wait until nothing is open; a start that nobody wants any more ends by itself."""
        for _ in range(MANY_TURNS):
            if not self.opener.open and not self.opener.is_underway:
                return
            await let_tasks_run(1)
        raise AssertionError("never closed")


async def within(turns: int | None, work: Callable[[], Coroutine[Any, Any, bool]]) -> bool:
    """Return what the work returns, False if it was cancelled after so many turns before."""
    if turns is None:
        return await work()
    result = False
    async with anyio.create_task_group() as tasks:

        async def cancel() -> None:
            await let_tasks_run(turns)
            tasks.cancel_scope.cancel()

        tasks.start_soon(cancel)
        result = await work()
        tasks.cancel_scope.cancel()
    return result


Play = Callable[[World], Coroutine[Any, Any, None]]


def run(backend: str, play: Play, plan: Sequence[Start] = ()) -> World:
    """Play with a SharedResources that is open and that nobody holds; return how it ended."""

    async def main() -> World:
        opener = Opener()
        with patch("torrent_engine.engine.resources.shared_resources.open_services", opener):
            async with SharedResources(SharedConfig()) as shared:
                await shared.release()
                opener.plan += plan
                opener.opened = opener.closed = 0
                world = World(shared, opener)
                with anyio.fail_after(30):
                    await play(world)
        return world

    world = anyio.run(main, backend=backend, backend_options=BACKENDS[backend])
    assert world.opener.open == [], "left open"
    assert world.opener.closed == world.opener.opened, "closed exactly once"
    return world


turns = st.integers(0, 6)
maybe_turns = st.none() | st.integers(0, 12)
starts = st.builds(
    Start, st.tuples(turns, turns, turns), st.none() | st.integers(0, len(PARTS) - 1), turns
)
plans = st.lists(starts, max_size=6)
lives = st.lists(st.builds(Life, st.integers(0, 30), maybe_turns, turns, maybe_turns), max_size=8)


@both_loops
@short
@given(plan=plans, lives=lives)
def test_any_interleaving_has_one_start_at_a_time_closed_once_and_in_order(
    backend: str, plan: list[Start], lives: list[Life]
) -> None:
    async def play(world: World) -> None:
        async with anyio.create_task_group() as tasks:
            for life in lives:
                tasks.start_soon(world.live, life)
        assert (world.held, world.shared.references) == (0, 0)
        await world.wait_closed()  # at zero, not only at the end of the block
        world.opener.plan.clear()
        await world.live(Life())  # whatever went wrong before, it starts again

    world = run(backend, play, plan)
    assert world.shared.references == 0


@both_loops
@pytest.mark.parametrize("spread", [1, 7])
def test_a_hundred_tasks_at_once_cause_one_start(backend: str, spread: int) -> None:
    async def play(world: World) -> None:
        before = world.opener.number
        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(world.live, Life(before_turns=number % spread, hold_turns=20))
        assert world.opener.number == before + 1

    world = run(backend, play, [Start((3, 3, 3), None, 2)])
    assert world.opener.opened == world.opener.closed == 1


@both_loops
@given(fails_before=st.integers(0, len(PARTS) - 1), opening=turns, closing=turns)
@settings(max_examples=15)
def test_a_failed_start_is_told_to_all_hundred_who_wait_and_the_next_one_may_work(
    backend: str, fails_before: int, opening: int, closing: int
) -> None:
    async def play(world: World) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(world.live, Life())
        assert len(world.told) == 100
        assert len(set(map(id, world.told))) == 1
        assert world.opener.open == []
        await world.live(Life())

    world = run(backend, play, [Start((opening,) * 3, fails_before, closing)])
    assert world.opener.number == 3  # the one of the block, the failed one, the retry
    assert len(world.told) == 100


@both_loops
@short
@given(plan=plans, lives=lives, close_after=st.lists(st.integers(0, 40), min_size=1, max_size=3))
def test_close_at_any_moment_closes_all_whoever_holds_or_waits(
    backend: str, plan: list[Start], lives: list[Life], close_after: list[int]
) -> None:
    async def live(shared: SharedResources, life: Life) -> bool:
        await let_tasks_run(life.before_turns)
        with suppress(StartFailedError, LocalProtocolError):
            await shared.acquire()
            await let_tasks_run(life.hold_turns)
            await shared.release()  # LocalProtocolError: close() took the reference
        return True

    async def play(world: World) -> None:
        async def close(after: int) -> None:
            await let_tasks_run(after)
            await world.shared.close()

        async with anyio.create_task_group() as tasks:
            for after in close_after:
                tasks.start_soon(close, after)
            for life in lives:
                tasks.start_soon(within, life.acquire_for, partial(live, world.shared, life))
        await world.shared.close()
        assert world.shared.references == 0
        assert world.opener.open == []

    assert run(backend, play, plan).opener.is_underway is False


@both_loops
@short
@given(plan=plans, lives=lives, cancel_after=st.integers(0, 40))
def test_a_block_that_is_cancelled_at_any_moment_leaves_nothing_open(
    backend: str, plan: list[Start], lives: list[Life], cancel_after: int
) -> None:
    async def main() -> Opener:
        opener = Opener(plan)

        async def block() -> bool:
            with suppress(StartFailedError):  # the start of the block itself
                async with (
                    SharedResources(SharedConfig()) as shared,
                    anyio.create_task_group() as tasks,
                ):
                    for life in lives:
                        tasks.start_soon(hold, shared, life)
            return True

        async def hold(shared: SharedResources, life: Life) -> None:
            with suppress(StartFailedError, LocalProtocolError):
                await shared.acquire()
                with anyio.CancelScope(shield=True):  # as a Session that saves at its end
                    for _ in range(life.hold_turns + 1):
                        assert opener.open == list(PARTS)
                        await let_tasks_run(1)
                    await shared.release()

        where = "torrent_engine.engine.resources.shared_resources.open_services"
        with patch(where, opener), anyio.fail_after(30):
            await within(cancel_after, block)
        return opener

    opener = anyio.run(main, backend=backend, backend_options=BACKENDS[backend])
    assert opener.open == []
    assert not opener.is_underway
    assert opener.closed == opener.opened
