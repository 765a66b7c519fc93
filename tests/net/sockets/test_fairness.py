"""Links share a budget of each turn of the loop."""

import anyio
import anyio.lowlevel
import pytest

from torrent_engine.net.sockets.fairness import BUDGET_S, LoopTurn

pytestmark = pytest.mark.anyio


class Clock:
    """Moves by what each piece of work takes."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


async def _work(turn: LoopTurn, clock: Clock, times: int, done: list[int], name: int) -> None:
    for _ in range(times):
        while turn.is_over:
            await turn.pass_on()
        clock.now_s += BUDGET_S / 4
        done.append(name)


async def test_many_who_work_at_once_leave_turns_to_others() -> None:
    clock = Clock()
    done: list[int] = []
    turn = LoopTurn(clock)
    longest_s = 0.0

    async def watch() -> None:
        nonlocal longest_s
        while len(done) < 200:
            began_s = clock.now_s
            await anyio.lowlevel.checkpoint()
            longest_s = max(longest_s, clock.now_s - began_s)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        for name in range(40):
            tasks.start_soon(_work, turn, clock, 5, done, name)
    assert len(done) == 200
    assert longest_s <= 3 * BUDGET_S


async def test_who_works_alone_goes_on_at_once() -> None:
    clock = Clock()
    turn = LoopTurn(clock)
    assert turn.is_over
    await turn.pass_on()
    assert not turn.is_over
    clock.now_s += 2 * BUDGET_S
    assert turn.is_over


async def test_those_who_wait_go_on_in_the_order_in_which_they_came() -> None:
    clock = Clock()
    turn = LoopTurn(clock)
    order: list[int] = []

    async def wait(name: int) -> None:
        await turn.pass_on()
        clock.now_s += 2 * BUDGET_S  # ends the turn for all others
        order.append(name)

    async with anyio.create_task_group() as tasks:
        for name in range(20):
            tasks.start_soon(wait, name)
            await anyio.lowlevel.checkpoint()
    assert sorted(order) == list(range(20))
    assert sum(abs(name - place) for place, name in enumerate(order)) <= 20  # but for neighbours


async def test_a_sleeper_in_the_queue_is_woken_once() -> None:
    clock = Clock()
    turn = LoopTurn(clock)
    steps = 0

    class Counted:
        """Counts how often the loop resumes who waits in it."""

        def __await__(self):
            nonlocal steps
            waiting = turn.pass_on().__await__()
            reply = None
            while True:
                steps += 1
                try:
                    asked = waiting.send(reply)
                except StopIteration:
                    return
                reply = yield asked

    async def wait() -> None:
        await Counted()
        clock.now_s += 2 * BUDGET_S

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(wait)
    assert steps <= 50 * 4


async def test_a_link_that_ends_while_it_waits_holds_up_nobody() -> None:
    clock = Clock()
    turn = LoopTurn(clock)
    done: list[int] = []
    for cancelled_after in range(6):
        done.clear()
        async with anyio.create_task_group() as tasks:
            scopes = [anyio.CancelScope() for _ in range(8)]

            async def wait(name: int) -> None:
                with scopes[name]:  # noqa: B023 - read at once
                    await turn.pass_on()
                    done.append(name)
                    clock.now_s += 2 * BUDGET_S

            for name in range(8):
                tasks.start_soon(wait, name)
            for _ in range(cancelled_after):
                await anyio.lowlevel.checkpoint()
            for name in (0, 1, 2, 5):
                scopes[name].cancel()
        assert {3, 4, 6, 7} <= set(done)
    with anyio.fail_after(30):
        await turn.pass_on()


def test_a_loop_that_ended_in_the_middle_of_a_wait_does_not_hold_up_the_next() -> None:
    clock = Clock()
    turn = LoopTurn(clock)

    async def abandon() -> None:
        waiting = turn.pass_on()
        waiting.send(None)  # at its checkpoint, with the place at the head
        waiting_too = turn.pass_on()
        waiting_too.send(None)
        kept.extend((waiting, waiting_too))

    kept: list[object] = []
    anyio.run(abandon)

    async def go_on() -> bool:
        with anyio.fail_after(30):
            await turn.pass_on()
        return True

    assert anyio.run(go_on)
    for waiting in kept:
        waiting.close()  # type: ignore[attr-defined]
