"""Links share a budget of each turn of the loop."""

import anyio
import anyio.lowlevel
import pytest

from torrent_engine.net.loop_turn import BUDGET_S, LoopTurn

pytestmark = pytest.mark.anyio


class Clock:
    """Moves by what each piece of work takes."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


async def test_many_who_work_at_once_leave_turns_to_others() -> None:
    clock, done = Clock(), []
    turn = LoopTurn(clock)

    async def work(name: int) -> None:
        for _ in range(5):
            while turn.is_over:
                await turn.pass_on()
            clock.now_s += BUDGET_S / 4
            done.append(name)

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
            tasks.start_soon(work, name)
    assert len(done) == 200
    assert longest_s <= 3 * BUDGET_S
    assert turn._waiting == 0


async def test_who_works_alone_goes_on_at_once() -> None:
    clock = Clock()
    turn = LoopTurn(clock)
    assert turn.is_over
    await turn.pass_on()
    assert not turn.is_over
    clock.now_s += 2 * BUDGET_S
    assert turn.is_over
