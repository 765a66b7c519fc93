"""Look-ups of host names in threads of our own, so that silent servers stop nobody else.

The system's look-up blocks its thread, for half a minute where no server answers, and cannot be
cancelled. So there are more threads than look-ups that count: one that takes long gives its slot
to another. Each torrent has its share of the slots, names of DHT nodes come last, what failed is
not asked for again at once, and what was found is remembered for a short time.
"""

import socket
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, NamedTuple

import anyio
import anyio.from_thread
import anyio.lowlevel

from torrent_engine.base.errors import NetworkError
from torrent_engine.net.fair_slots import FairSlots, SlotLimits
from torrent_engine.net.resolver import Resolver, is_literal

LookUp = Callable[[str], list[str]]
"""Blocks; takes a name, returns literal addresses; raises OSError or UnicodeError."""


class Asker(NamedTuple):
    """On whose behalf a name is looked up."""

    key: Hashable
    """Who shares a quota, such as a torrent; None: the user, who has none."""
    is_last: bool = False
    """Everybody else comes first."""


USER: Final = Asker(None)
_ASKER: ContextVar[Asker | None] = ContextVar("asker", default=None)


LOOK_UPS: Final = SlotLimits(total=32, per_key=16, reserved=8)  # ours: threads are cheap


@dataclass(frozen=True, slots=True)
class ResolverLimits:
    """How many look-ups there are, and how long what they lead to is believed."""

    slots: SlotLimits = LOOK_UPS
    """Look-ups that count."""
    slow_s: float = 5.0
    """Then a look-up gives its slot up, its thread waits on; resolv.conf(5): 5 s a server."""
    max_slow: int = 32
    """Slow look-ups at once; further ones keep their slots."""
    max_slow_per_key: int = 8
    timeout_s: float = 15.0
    """How long somebody waits for a look-up that has begun."""
    found_s: float = 60.0
    failed_first_s: float = 10.0
    """How long a failure is believed; doubled after each further one."""
    failed_max_s: float = 600.0
    max_remembered: int = 1_000
    """Names, of either kind."""


@contextmanager
def asking_for(key: Hashable, *, is_last: bool = False) -> Iterator[None]:
    """Count the look-ups of this task, and those that it starts, for ``key``."""
    token = _ASKER.set(Asker(key, is_last))
    try:
        yield
    finally:
        _ASKER.reset(token)


def current_asker() -> Asker:
    """Return on whose behalf this task looks names up."""
    return _ASKER.get() or USER


def asked_last(resolver: Resolver, key: Hashable) -> Resolver:
    """Return a resolver for names that matter less than all others."""

    async def resolve(host: str, port: int) -> list[str]:
        with asking_for(key, is_last=True):
            return await resolver(host, port)

    return resolve


def system_look_up(name: str) -> list[str]:
    """Ask the system for the addresses of a name, in the order to try them."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


class _Running:
    """One look-up in its thread."""

    def __init__(self, key: Hashable) -> None:
        self.key = key
        """Whose slot it has, or had."""
        self.done = anyio.Event()
        self.addresses: list[str] = []
        self.error: Exception | None = None
        self.waiting = 0
        self.has_slot = True


class _Failure(NamedTuple):
    until_s: float
    failures: int
    message: str


class NameResolver:
    """Is a :data:`Resolver`; one serves all torrents of a process, in one event loop."""

    def __init__(
        self,
        look_up: LookUp = system_look_up,
        *,
        limits: ResolverLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._look_up = look_up
        self._limits = limits or ResolverLimits()
        self._clock = clock
        self._sleep = sleep
        self._slots = FairSlots(self._limits.slots)
        self._running: dict[str, _Running] = {}
        self._slow: Counter[Hashable] = Counter()
        self._found: OrderedDict[str, tuple[float, list[str]]] = OrderedDict()
        self._failed: OrderedDict[str, _Failure] = OrderedDict()

    @property
    def running(self) -> int:
        """How many threads look something up."""
        return len(self._running)

    async def __call__(self, host: str, _port: int) -> list[str]:
        """Return the addresses of a host; literal ones as they are.

        Raises NetworkError if there is none, or it did not come in time.
        """
        if is_literal(host):
            return [host]
        name, asker = host.lower().rstrip("."), current_asker()
        if (known := self._known(name, asker)) is not None:
            return known
        if (running := self._running.get(name)) is None:
            await self._slots.acquire(asker.key, is_last=asker.is_last)
            running = self._running.get(name)
            known = self._known(name, asker) if running is None else None
            if running is None and known is None:
                running = self._begin(name, asker.key)  # it keeps the slot
            else:
                self._slots.release(asker.key)
            if running is None:
                return known or []
        return await self._wait(host, running)

    def _known(self, name: str, asker: Asker) -> list[str] | None:
        """Return what is remembered; raises NetworkError for a name that failed just now."""
        now = self._clock()
        found = self._found.get(name)
        if found is not None and now < found[0]:
            return found[1]
        failure = self._failed.get(name)
        if failure is not None and now < failure.until_s and asker.key is not None:
            raise NetworkError(f"cannot resolve {name}: {failure.message} (some time ago)")
        return None

    async def _wait(self, host: str, running: _Running) -> list[str]:
        running.waiting += 1
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, running, tasks.cancel_scope)
                await running.done.wait()
                tasks.cancel_scope.cancel()
        finally:
            running.waiting -= 1
            if not running.waiting:
                self._give_slot_up(running)  # nobody wants to know any more
        if not running.done.is_set():
            raise NetworkError(f"cannot resolve {host}: no answer in {self._limits.timeout_s:g} s")
        if running.error is not None:
            raise NetworkError(f"cannot resolve {host}: {running.error}") from running.error
        return running.addresses

    async def _watch(self, running: _Running, scope: anyio.CancelScope) -> None:
        """Give the slot of a look-up up when it is slow, and up waiting after that."""
        await self._sleep(self._limits.slow_s)
        self._give_slot_up(running)
        await self._sleep(self._limits.timeout_s - self._limits.slow_s)
        scope.cancel()

    # -- threads ------------------------------------------------------------------------------

    def _begin(self, name: str, key: Hashable) -> _Running:
        running = self._running[name] = _Running(key)
        token = anyio.lowlevel.current_token()

        def work() -> None:
            addresses: list[str] = []
            error: Exception | None = None
            try:
                addresses = self._look_up(name)
            except (OSError, UnicodeError, ValueError) as failure:
                error = failure
            with suppress(RuntimeError):  # the loop has ended meanwhile
                anyio.from_thread.run_sync(
                    self._ended, name, running, addresses, error, token=token
                )

        # A daemon: the process must not wait for a silent server when it ends.
        threading.Thread(target=work, name=f"look up {name}"[:60], daemon=True).start()
        return running

    def _ended(
        self,
        name: str,
        running: _Running,
        addresses: list[str],
        error: Exception | None,
    ) -> None:
        del self._running[name]
        if not addresses and error is None:
            error = OSError("it has no address")
        running.addresses, running.error = addresses, error
        if running.has_slot:
            running.has_slot = False
            self._slots.release(running.key)
        else:
            self._slow[running.key] -= 1
            if not self._slow[running.key]:
                del self._slow[running.key]
        self._remember(name, addresses, error)
        running.done.set()

    def _give_slot_up(self, running: _Running) -> None:
        """Let another look-up begin, while not too many are slow."""
        if running.done.is_set() or not running.has_slot:
            return
        limits = self._limits
        is_full = self._slow.total() >= limits.max_slow
        if not is_full and self._slow[running.key] < limits.max_slow_per_key:
            running.has_slot = False
            self._slow[running.key] += 1
            self._slots.release(running.key)

    # -- memory -------------------------------------------------------------------------------

    def _remember(self, name: str, addresses: list[str], error: Exception | None) -> None:
        now, limits = self._clock(), self._limits
        before = self._failed.pop(name, None)
        if error is None:
            self._found.pop(name, None)
            self._found[name] = now + limits.found_s, addresses
        else:
            count = 1 if before is None else before.failures + 1
            wait_s = min(limits.failed_first_s * 2.0 ** min(count - 1, 30), limits.failed_max_s)
            self._failed[name] = _Failure(now + wait_s, count, str(error))
        for memory in (self._found, self._failed):
            if len(memory) > limits.max_remembered:
                memory.popitem(last=False)
