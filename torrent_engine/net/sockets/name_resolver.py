"""Name resolution in its own threads, so that slow servers do not delay other lookups.

The system's lookup blocks its thread, for half a minute if no server responds, and cannot be
cancelled. Slow lookups therefore give up their slot to others, up to a limit. Each torrent has a
share of the slots. Those with names that are not answered come after others for a while, and
together have a part of the slots only, however many they are; names of DHT nodes have the lowest
priority. Results and failures are cached for a short time, failures for longer each time, unless
no name at all was answered since: then the network is down.
"""

import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from math import inf
from typing import Final, NamedTuple

import anyio
import anyio.from_thread
import anyio.lowlevel

from torrent_engine.base.errors import NameResolutionError
from torrent_engine.net.sockets.fair_slots import FairSlots, SlotLimits
from torrent_engine.net.sockets.resolver import Resolver, is_literal

LookUp = Callable[[str], list[str]]
"""A blocking lookup of a name; returns literal addresses, raises OSError or UnicodeError."""


class ResolverClient(NamedTuple):
    """The owner of a lookup."""

    key: Hashable
    """Key of a quota, such as a torrent; None: the user, without a quota."""
    is_last: bool = False
    """Lowest priority."""
    patience_s: float = inf
    """Timeout of a started lookup, if it is shorter than that of the resolver."""


USER: Final = ResolverClient(None)
_CURRENT_CLIENT: ContextVar[ResolverClient | None] = ContextVar("client", default=None)


_UNANSWERED: Final = frozenset(
    {socket.EAI_AGAIN, socket.EAI_MEMORY, getattr(socket, "EAI_SYSTEM", 0)}
)
LOOKUP_SLOTS: Final = SlotLimits(total=32, per_key=16, reserved=8)  # ours


@dataclass(frozen=True, slots=True)
class ResolverLimits:
    """Limits on lookups, and cache times."""

    slots: SlotLimits = LOOKUP_SLOTS
    """Simultaneous lookups."""
    slow_s: float = 2.0
    """Time after which a lookup gives up its slot, and its owner is silent until it is answered."""
    max_slow: int = 96
    """Slow lookups without a slot; further ones, and those of silent owners, keep their slots."""
    silent_s: float = 300.0
    """Time for which the lookups of a silent owner come after those of others."""
    timeout_s: float = 15.0
    """Timeout of a started lookup."""
    found_s: float = 60.0
    """How long a result is cached."""
    failed_first_s: float = 10.0
    """How long a failure is cached; doubled after each further one, unless the network is down."""
    failed_max_s: float = 600.0
    max_remembered: int = 1_000
    """Cached names, of results and of failures each, and silent owners."""


@contextmanager
def resolving_for(
    key: Hashable, *, is_last: bool = False, patience_s: float = inf
) -> Iterator[None]:
    """Charge the lookups of this task and its children to ``key``."""
    token = _CURRENT_CLIENT.set(ResolverClient(key, is_last, patience_s))
    try:
        yield
    finally:
        _CURRENT_CLIENT.reset(token)


def current_client() -> ResolverClient:
    """Return the owner of this task's lookups."""
    return _CURRENT_CLIENT.get() or USER


def low_priority_resolver(resolver: Resolver, key: Hashable) -> Resolver:
    """Return a resolver with the lowest priority."""

    async def resolve(host: str, port: int) -> list[str]:
        with resolving_for(key, is_last=True):
            return await resolver(host, port)

    return resolve


def system_look_up(name: str) -> list[str]:
    """Return the addresses of a name by the system's resolver, in the order to try them."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


class _Running:
    """One lookup in its thread."""

    def __init__(self, key: Hashable, *, is_doubtful: bool) -> None:
        self.key = key
        """The owner of its slot."""
        self.is_doubtful = is_doubtful
        """Its owner was silent when it began."""
        self.is_silent = False
        """It made its owner silent."""
        self.done = anyio.Event()
        self.addresses: list[str] = []
        self.error: Exception | None = None
        self.waiters = 0
        self.has_slot = True


class _Failure(NamedTuple):
    until_s: float
    failures: int
    message: str
    answers: int
    """Lookups that had been answered, in all."""


class _NoThreadError(OSError):
    """The system has no thread left for a lookup."""


def _is_answer(error: Exception | None) -> bool:
    """Return whether a lookup ended with an answer, if only that there is no such name."""
    if isinstance(error, socket.gaierror):
        return error.errno not in _UNANSWERED
    return not isinstance(error, _NoThreadError)


class NameResolver:
    """A :data:`Resolver` for all torrents of a process, in one event loop."""

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
        self._slow = 0
        self._silent: OrderedDict[Hashable, float] = OrderedDict()
        """Owners of lookups that were not answered, and until when that counts."""
        self._found: OrderedDict[str, tuple[float, list[str]]] = OrderedDict()
        self._failed: OrderedDict[str, _Failure] = OrderedDict()
        self._answers = 0
        """Lookups that were answered so far."""

    @property
    def running(self) -> int:
        """Number of lookups in progress."""
        return len(self._running)

    async def __call__(self, host: str, _port: int) -> list[str]:
        """Return the addresses of a host; literal addresses unchanged.

        Raises NameResolutionError if there are none, or at a timeout.
        """
        if is_literal(host):
            return [host]
        name, client = host.lower().rstrip("."), current_client()
        if (known := self._cached(name, client)) is not None:
            return known
        if (running := self._running.get(name)) is None:
            is_doubtful = self._is_doubtful(name, client.key)
            await self._slots.acquire(client.key, is_last=client.is_last, is_doubtful=is_doubtful)
            running = self._running.get(name)
            try:
                known = self._cached(name, client) if running is None else None
            except NameResolutionError:  # it failed for another one meanwhile
                self._slots.release(client.key)
                raise
            if running is None and known is None:
                is_doubtful = self._is_doubtful(name, client.key)
                running = self._begin(name, client.key, is_doubtful=is_doubtful)  # keeps the slot
            else:
                self._slots.release(client.key)
            if running is None:
                return known or []
        return await self._wait(host, running, min(client.patience_s, self._limits.timeout_s))

    def _cached(self, name: str, client: ResolverClient) -> list[str] | None:
        """Return cached addresses, or None. Raises NameResolutionError for a cached failure."""
        now = self._clock()
        found = self._found.get(name)
        if found is not None and now < found[0]:
            return found[1]
        failure = self._failed.get(name)
        if failure is not None and now < failure.until_s and client.key is not None:
            raise NameResolutionError(f"cannot resolve {name}: {failure.message} (cached)")
        return None

    def _is_doubtful(self, name: str, key: Hashable) -> bool:
        """Return whether a name is of a silent owner, and was never found."""
        return name not in self._found and self._clock() < self._silent.get(key, 0.0)

    def _note_silence(self, running: _Running) -> None:
        if running.key is None or running.done.is_set():
            return
        running.is_silent, now = True, self._clock()
        if self._silent.pop(running.key, 0.0) <= now:
            self._slots.doubt(running.key)
        self._silent[running.key] = now + self._limits.silent_s
        if len(self._silent) > self._limits.max_remembered:
            self._silent.popitem(last=False)

    async def _wait(self, host: str, running: _Running, timeout_s: float) -> list[str]:
        running.waiters += 1
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, running, timeout_s, tasks.cancel_scope)
                await running.done.wait()
                tasks.cancel_scope.cancel()
        finally:
            running.waiters -= 1
            if not running.waiters:
                self._release_slot(running)  # no waiter is left
        if not running.done.is_set():
            message = f"cannot resolve {host}: no response in {timeout_s:g} s"
            raise NameResolutionError(message, is_timeout=True)
        if running.error is not None:
            raise NameResolutionError(f"cannot resolve {host}: {running.error}") from running.error
        return running.addresses

    async def _watch(self, running: _Running, timeout_s: float, scope: anyio.CancelScope) -> None:
        """Release the slot of a slow lookup, and time out after that."""
        slow_s = min(self._limits.slow_s, timeout_s)
        await self._sleep(slow_s)
        self._note_silence(running)
        self._release_slot(running)
        await self._sleep(timeout_s - slow_s)
        scope.cancel()

    # -- threads ------------------------------------------------------------------------------

    def _begin(self, name: str, key: Hashable, *, is_doubtful: bool) -> _Running:
        running = self._running[name] = _Running(key, is_doubtful=is_doubtful)
        token = anyio.lowlevel.current_token()

        def work() -> None:
            addresses: list[str] = []
            error: Exception | None = None
            try:
                addresses = self._look_up(name)
            except (OSError, UnicodeError, ValueError) as failure:
                error = failure
            with suppress(RuntimeError):  # the event loop has ended
                anyio.from_thread.run_sync(
                    self._ended, name, running, addresses, error, token=token
                )

        # A daemon thread does not delay the end of the process.
        thread = threading.Thread(target=work, name=f"look up {name}"[:60], daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as failure:  # the system has none left
            self._ended(name, running, [], _NoThreadError(str(failure) or "no memory for a thread"))
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
            error = OSError("no address found")
        running.addresses, running.error = addresses, error
        if running.has_slot:
            running.has_slot = False
            self._slots.release(running.key)
        else:
            self._slow -= 1
        if addresses and running.is_silent:  # slow, not silent
            self._silent.pop(running.key, None)
        self._cache_result(name, addresses, error)
        running.done.set()

    def _release_slot(self, running: _Running) -> None:
        """Release the slot of a slow lookup, unless too many are slow, or its owner was silent."""
        if running.done.is_set() or not running.has_slot or running.is_doubtful:
            return
        if self._slow < self._limits.max_slow:
            running.has_slot = False
            self._slow += 1
            self._slots.release(running.key)

    # -- cache --------------------------------------------------------------------------------

    def _cache_result(self, name: str, addresses: list[str], error: Exception | None) -> None:
        now, limits = self._clock(), self._limits
        before = self._failed.pop(name, None)
        self._answers += _is_answer(error)
        if error is None:
            self._found.pop(name, None)
            self._found[name] = now + limits.found_s, addresses
        else:
            count = 1 if before is None else before.failures + (before.answers < self._answers)
            wait_s = min(limits.failed_first_s * 2.0 ** min(count - 1, 30), limits.failed_max_s)
            self._failed[name] = _Failure(now + wait_s, count, str(error), self._answers)
        for cache in (self._found, self._failed):
            if len(cache) > limits.max_remembered:
                cache.popitem(last=False)
