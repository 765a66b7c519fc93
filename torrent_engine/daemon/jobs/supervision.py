"""Supervision of background parts: one that fails is started again, later each time."""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

import anyio

FIRST_WAIT_S: Final = 1.0  # ours
MAX_WAIT_S: Final = 300.0  # ours
STEADY_S: Final = 600.0  # ours: after this time without a fault the waits begin anew
logger = logging.getLogger(__name__)


class BackgroundPart(Protocol):
    """Background work that goes on until it is cancelled."""

    @property
    def name(self) -> str:
        """A short word for logs and for ``health``."""

    async def run(self) -> None:
        """Work until cancelled; what it raises is a bug or a fault of the system."""


class PartState(StrEnum):
    """What a part does."""

    RUNNING = "running"
    WAITING = "waiting"
    """It failed and is started again."""
    ENDED = "ended"
    """It had nothing to do."""


@dataclass(frozen=True, slots=True)
class PartHealth:
    """The state of one part."""

    name: str
    state: PartState
    since: float
    """Seconds since 1970."""
    error: str = ""
    """Its last fault."""
    faults: int = 0
    """Since the start of the process."""


@dataclass(slots=True)
class _Supervised:
    part: BackgroundPart
    state: PartState = PartState.WAITING
    since: float = 0.0
    error: str = ""
    faults: int = 0
    wait_s: float = field(default=FIRST_WAIT_S)


class Supervisor:
    """Runs parts beside each other; a fault of one reaches no other."""

    def __init__(
        self,
        parts: Sequence[BackgroundPart],
        *,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._supervised = [_Supervised(part) for part in parts]
        self._sleep = sleep
        self._clock = clock
        self._wall_clock = wall_clock

    def health(self) -> list[PartHealth]:
        """Return the state of each part."""
        return [
            PartHealth(each.part.name, each.state, each.since, each.error, each.faults)
            for each in self._supervised
        ]

    async def run(self) -> None:
        """Run all parts until cancelled."""
        async with anyio.create_task_group() as tasks:
            for each in self._supervised:
                tasks.start_soon(self._keep_running, each)

    async def _keep_running(self, each: _Supervised) -> None:
        while True:
            began_s = self._clock()
            self._enter(each, PartState.RUNNING)
            try:
                await each.part.run()
            except Exception as error:
                if self._clock() - began_s >= STEADY_S:
                    each.wait_s = FIRST_WAIT_S
                self._failed(each, error)
            else:
                self._enter(each, PartState.ENDED)
                return
            await self._sleep(each.wait_s)
            each.wait_s = min(each.wait_s * 2, MAX_WAIT_S)

    def _failed(self, each: _Supervised, error: Exception) -> None:
        each.faults += 1
        each.error = f"{type(error).__name__}: {error}"
        self._enter(each, PartState.WAITING)
        logger.error("%s: failed; again in %g s", each.part.name, each.wait_s, exc_info=error)

    def _enter(self, each: _Supervised, state: PartState) -> None:
        each.state, each.since = state, self._wall_clock()
