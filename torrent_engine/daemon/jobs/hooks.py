"""Hooks: programs of the user that are run at events of torrents and of the daemon."""

import hashlib
import json
import logging
import os
import stat
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import anyio
import anyio.to_thread

from torrent_engine.base.errors import ConfigError, StateDatabaseError
from torrent_engine.daemon.jobs.hook_facts import HookCall, HookEvent
from torrent_engine.daemon.state.counters import ServiceCounters
from torrent_engine.service.programs import OutputLimit, Program, ProgramEnd, Programs

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

MAX_QUEUED: Final = 1_000  # ours: of each hook
MAX_ATTEMPTS: Final = 3  # ours: of hooks that are not to be lost
RETRY_WAITS_S: Final = (30.0, 300.0)  # ours: before the second and the third
OUTPUT_BYTES: Final = 64 * 1024  # ours: of the beginning of its output, for the log
END_GRACE_S: Final = 5.0  # ours: between SIGTERM and SIGKILL
STOP_S: Final = 2.0  # ours: how long the hooks of "daemon_stopping" hold up the end
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hook:
    """One program and when it is run; without labels and categories for every torrent."""

    event: HookEvent
    command: tuple[str, ...]
    timeout_s: float = 300.0
    labels: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    environment: Mapping[str, str] = field(default_factory=dict)
    parallel: int = 2

    @property
    def key(self) -> str:
        """What tells it from others, over restarts."""
        data = json.dumps([self.event, *self.command]).encode()
        return hashlib.sha256(data).hexdigest()[:16]

    def wants(self, call: HookCall) -> bool:
        """Return whether it is run for an event."""
        if call.event is not self.event:
            return False
        if not self.labels and not self.categories:
            return True
        torrent = call.torrent
        if torrent is None:
            return False
        return bool(self.labels.intersection(torrent.labels)) or torrent.category in self.categories

    def check(self) -> None:
        """Raise ConfigError unless its program can be run and only we and root can change it."""
        name = f"hook for {self.event}"
        if not self.command or not Path(self.command[0]).is_absolute():
            raise ConfigError(f"{name}: command: an absolute path is needed")
        try:
            found = Path(self.command[0]).stat()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ConfigError(f"{name}: {self.command[0]}: {reason}") from None
        if not stat.S_ISREG(found.st_mode) or not os.access(self.command[0], os.X_OK):
            raise ConfigError(f"{name}: {self.command[0]}: is no program")
        if found.st_mode & stat.S_IWOTH or found.st_uid not in {0, os.geteuid()}:
            raise ConfigError(f"{name}: {self.command[0]}: others can change it")


@dataclass(frozen=True, slots=True)
class DueHook:
    """One run that is not to be lost; ``id`` is given by the store."""

    id: int
    key: str
    call: str
    """A :class:`HookCall` as JSON."""
    attempts: int = 0


class DueHooks(Protocol):
    """The table ``hook_due``. What is awaited raises StateDatabaseError if it is not written."""

    def add(self, key: str, call: str) -> DueHook:
        """Add a row; it is written with what else changes at this moment, :meth:`flush` at last."""

    async def flush(self) -> None:
        """Write what was added."""

    async def failed(self, due_id: int) -> None:
        """Count one more attempt of a row, and write it."""

    async def remove(self, due_id: int) -> None:
        """Remove a row, and write that."""

    def all(self) -> Sequence[DueHook]:
        """Return all rows, the oldest first."""


@dataclass(frozen=True, slots=True)
class _DueRun:
    hook: Hook
    call: HookCall
    due: DueHook


class HookRunner:
    """Runs hooks, some at a time; those for completed torrents at least once, over a crash too."""

    name = "hooks"

    def __init__(  # noqa: PLR0913 - what it works with, and where it tells
        self,
        hooks: Sequence[Hook],
        due: DueHooks,
        *,
        run: Callable[[Program], Awaitable[ProgramEnd]] | None = None,
        environment: Mapping[str, str] = os.environ,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        alert: Callable[[str, str], None] = lambda _program, _text: None,
        counters: ServiceCounters | None = None,
    ) -> None:
        """``alert`` takes a program that failed and a text, when it is not run again."""
        self._alert = alert
        self._counters = counters or ServiceCounters()
        self._hooks = tuple(hooks)
        self._due = due
        self._run_program = run or Programs().run
        self._environment = environment
        self._sleep = sleep
        self._calls: deque[HookCall] = deque()
        self._fresh: deque[_DueRun] = deque()
        """Runs that are not to be lost; their rows are there, but maybe not written."""
        self._woken = anyio.Event()
        self._slots: dict[str, anyio.Semaphore] = {}
        self._places = anyio.Semaphore(MAX_QUEUED)
        self.lost = 0
        """Events that found the queue full."""

    def wants(self, event: HookEvent) -> bool:
        """Return whether any hook is run at an event, so that it is worth describing."""
        return any(hook.event is event for hook in self._hooks)

    def fire(self, call: HookCall) -> None:
        """Run the hooks of an event soon; of a completed torrent, it is due from now on."""
        wanting = [hook for hook in self._hooks if hook.wants(call)]
        if not wanting:
            return
        if call.event is HookEvent.TORRENT_COMPLETED:
            text = call.to_json()
            for hook in wanting:
                self._fresh.append(_DueRun(hook, call, self._due.add(hook.key, text)))
        elif len(self._calls) >= MAX_QUEUED:
            self.lost += 1
            logger.error("hooks: %d events wait; %s is not told", MAX_QUEUED, call.event)
            return
        else:
            self._calls.append(call)
        self._woken.set()

    async def run(self) -> None:
        """Run hooks until cancelled; what was due when the last process ended comes first."""
        self._slots = {hook.key: anyio.Semaphore(hook.parallel) for hook in self._hooks}
        self._places = anyio.Semaphore(MAX_QUEUED)
        async with anyio.create_task_group() as tasks:
            for each in await self._left_over():
                tasks.start_soon(self._run_due, each)
            if self._calls:  # left by a run that failed
                self._woken.set()
            while True:
                await self._woken.wait()
                self._woken = anyio.Event()
                if self._fresh:
                    await self._begin_fresh(tasks)
                while self._calls:
                    await self._begin(self._calls.popleft(), tasks)

    async def run_last(self, call: HookCall, limit_s: float = STOP_S) -> None:
        """Run the hooks of the end of the daemon, for a short time only."""
        with anyio.move_on_after(limit_s):
            async with anyio.create_task_group() as tasks:
                for hook in self._hooks:
                    if hook.wants(call):
                        tasks.start_soon(self._call, hook, call, limit_s)

    async def _begin_fresh(self, tasks: "TaskGroup") -> None:
        """Begin runs that are not to be lost, once they are written down."""
        runs = list(self._fresh)
        try:
            await self._due.flush()
        except StateDatabaseError as error:
            logger.warning("hooks: not written down, and lost by a crash: %s", error)
        for each in runs:
            self._fresh.remove(each)
            tasks.start_soon(self._run_due, each)

    async def _begin(self, call: HookCall, tasks: "TaskGroup") -> None:
        for hook in self._hooks:
            if hook.wants(call):
                await self._places.acquire()
                tasks.start_soon(self._run_once, hook, call)

    async def _left_over(self) -> "list[_DueRun]":
        """Return all that is due: what an earlier process did not finish, and what is new."""
        self._fresh.clear()
        by_key = {hook.key: hook for hook in self._hooks}
        found: list[_DueRun] = []
        for due in self._due.all():
            try:
                found.append(_DueRun(by_key[due.key], HookCall.from_json(due.call), due))
            except (KeyError, ConfigError):
                logger.warning("hooks: a run of a hook that is gone is dropped")
                await self._due.remove(due.id)
        return found

    async def _run_once(self, hook: Hook, call: HookCall) -> None:
        try:
            async with self._slots[hook.key]:
                self._tell(hook, call, await self._call(hook, call, END_GRACE_S))
        finally:
            self._places.release()

    def _tell(self, hook: Hook, call: HookCall, end: ProgramEnd) -> None:
        """Raise an alert if the program failed."""
        if end.failure:
            self._alert(hook.command[0], f"{call.event}: {end.failure}")

    async def _run_due(self, one: "_DueRun") -> None:
        """Run a hook until it succeeds or has failed too often."""
        with suppress(StateDatabaseError):  # it is run again after the next start
            for attempt in range(one.due.attempts + 1, MAX_ATTEMPTS + 1):
                async with self._slots[one.hook.key]:
                    end = await self._call(one.hook, one.call, END_GRACE_S)
                if not end.failure:
                    break
                if attempt == MAX_ATTEMPTS:
                    self._tell(one.hook, one.call, end)
                    break
                await self._due.failed(one.due.id)
                await self._sleep(RETRY_WAITS_S[attempt - 1])
            await self._due.remove(one.due.id)

    async def _call(self, hook: Hook, call: HookCall, grace_s: float) -> ProgramEnd:
        path = None if call.torrent is None else call.torrent.save_path
        try:
            folder = await anyio.to_thread.run_sync(_folder_of, path)
        except (RuntimeError, MemoryError):  # the system has no thread left
            folder = Path("/")
        program = Program(
            hook.command,
            {**call.environment(self._environment), **hook.environment},
            hook.timeout_s,
            OutputLimit(OUTPUT_BYTES, keeps_end=False),
            folder,
            call.to_json().encode(),
            grace_s,
        )
        began_s = time.monotonic()
        end = await self._run_program(program)
        taken_s = time.monotonic() - began_s
        self._counters.note_hook(call.event.value, taken_s, has_failed=bool(end.failure))
        _log(hook, call, end)
        return end


def _folder_of(path: str | None) -> Path:
    """Return the working folder: the save path if it is there."""
    with suppress(OSError):  # as of a mount whose server is gone
        if path and Path(path).is_dir():
            return Path(path)
    return Path("/")


def _log(hook: Hook, call: HookCall, end: ProgramEnd) -> None:
    about = call.event if call.torrent is None else f"{call.event} {call.torrent.hash}"
    if end.failure:
        logger.warning("hook %s: %s: %s", hook.command[0], about, end.failure)
    else:
        logger.info("hook %s: %s: done: %s", hook.command[0], about, end.output)
