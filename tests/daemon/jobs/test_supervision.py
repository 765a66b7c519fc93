"""Background parts that fail and are started again."""

import anyio
import pytest

from torrent_engine.daemon.jobs.supervision import PartState, Supervisor

pytestmark = pytest.mark.anyio


class Part:
    """Fails a number of times, then works, or ends."""

    def __init__(self, name: str, failures: int, *, ends: bool = False) -> None:
        self.name = name
        self.starts = 0
        self.works = anyio.Event()
        self._failures = failures
        self._ends = ends

    async def run(self) -> None:
        self.starts += 1
        if self.starts <= self._failures:
            raise RuntimeError(f"fault {self.starts}")
        self.works.set()
        if not self._ends:
            await anyio.sleep_forever()


async def run(*parts: Part, clock=lambda: 0.0):
    """Run until all parts work; return the supervisor and the waits."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await anyio.lowlevel.checkpoint()

    supervisor = Supervisor(parts, sleep=sleep, clock=clock, wall_clock=lambda: 7.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(supervisor.run)
        with anyio.fail_after(30):
            for part in parts:
                await part.works.wait()
        await anyio.wait_all_tasks_blocked()
        health = supervisor.health()
        tasks.cancel_scope.cancel()
    return health, waits


async def test_a_part_that_fails_is_started_again_ever_later() -> None:
    (health,), waits = await run(Part("a", 12))
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert (health.state, health.faults, health.since) == (PartState.RUNNING, 12, 7.0)
    assert health.error == "RuntimeError: fault 12"


async def test_a_fault_of_one_reaches_no_other() -> None:
    steady, failing = Part("steady", 0), Part("failing", 3)
    health, _ = await run(steady, failing)
    assert (steady.starts, failing.starts) == (1, 4)
    assert [each.name for each in health] == ["steady", "failing"]
    assert health[0].error == ""


async def test_a_part_that_ran_long_begins_with_the_first_wait() -> None:
    times = iter([0.0, 0.0, 0.0, 0.0, 0.0, 700.0, 700.0])
    _, waits = await run(Part("a", 3), clock=lambda: next(times))
    assert waits == [1, 2, 1]


async def test_a_part_without_work_may_end() -> None:
    (health,), waits = await run(Part("a", 0, ends=True))
    assert (health.state, waits) == (PartState.ENDED, [])
