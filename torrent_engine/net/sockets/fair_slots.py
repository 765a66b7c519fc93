"""A limited number of slots, granted to the key that holds the fewest.

So that one torrent does not delay the others, the slots of each key (a torrent) are limited, and
some are reserved for keys that hold none. Requests that are doubtful come after others, and leave
twice as many slots to them.
"""

from collections import Counter, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import anyio

_DOUBTFUL_FACTOR: Final = 2  # ours: so that keys with doubtful requests may make others


@dataclass(frozen=True, slots=True)
class SlotLimits:
    """The numbers of slots."""

    total: int
    per_key: int
    """Held by one key at once; key None is not limited."""
    reserved: int = 0
    """Part of the total for keys that hold none."""


class FairSlots:
    """Slots by key; ``is_doubtful`` requests have a low priority, ``is_last`` the lowest."""

    def __init__(self, limits: SlotLimits) -> None:
        self._limits = limits
        self._held: Counter[Hashable] = Counter()
        self._used = 0
        self._waiting: tuple[_Queue, _Queue, _Queue] = ({}, {}, {})
        """Waiting requests by key: of normal, low and lowest priority."""

    @property
    def used(self) -> int:
        """Number of slots held."""
        return self._used

    @asynccontextmanager
    async def turn(self, key: Hashable, *, is_last: bool = False) -> AsyncIterator[None]:
        """Hold a slot for the length of a block."""
        await self.acquire(key, is_last=is_last)
        try:
            yield
        finally:
            self.release(key)

    async def acquire(
        self, key: Hashable, *, is_last: bool = False, is_doubtful: bool = False
    ) -> None:
        """Wait for a slot; :meth:`release` must follow."""
        if self._may_take(key, is_doubtful=is_doubtful) and not any(self._waiting):
            self._take(key)
            return
        event, queue = anyio.Event(), self._waiting[2 if is_last else is_doubtful]
        queue.setdefault(key, deque()).append(event)
        self._grant()  # waiting keys may all be at their limit
        try:
            await event.wait()
        except BaseException:
            if event.is_set():
                self.release(key)
            else:
                self._forget(key, event)
            raise

    def _forget(self, key: Hashable, event: anyio.Event) -> None:
        for queue in self._waiting:
            if event in queue.get(key, ()):
                _remove(queue, key, event)

    def doubt(self, key: Hashable) -> None:
        """Let the waiting requests of a key be doubtful."""
        if (events := self._waiting[0].pop(key, None)) is not None:
            self._waiting[1].setdefault(key, deque()).extend(events)
            self._grant()

    def release(self, key: Hashable) -> None:
        """Release a slot."""
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]
        self._used -= 1
        self._grant()

    def _may_take(self, key: Hashable, *, is_doubtful: bool = False) -> bool:
        free, held = self._limits.total - self._used, self._held[key]
        if key is None or not (held or is_doubtful):
            return free > 0
        is_free = self._is_free_for_doubtful if is_doubtful else free > self._limits.reserved
        return held < self._limits.per_key and is_free

    @property
    def _is_free_for_doubtful(self) -> bool:
        return self._limits.total - self._used > self._limits.reserved * _DOUBTFUL_FACTOR

    def _take(self, key: Hashable) -> None:
        self._held[key] += 1
        self._used += 1

    def _grant(self) -> None:
        for queue in self._waiting:
            while self._used < self._limits.total:
                found = self._next(queue)
                if found is None:
                    break
                key, event = found
                _remove(queue, key, event)
                self._take(key)
                event.set()

    def _next(self, queue: "_Queue") -> tuple[Hashable, anyio.Event] | None:
        """Return the first request of the key that holds fewest; None if none may take a slot."""
        is_doubtful = queue is self._waiting[1]
        if is_doubtful and not self._is_free_for_doubtful:
            return None
        found: tuple[Hashable, anyio.Event] | None = None
        fewest = self._limits.total
        for key, events in queue.items():
            held = self._held[key]
            if (found is None or held < fewest) and self._may_take(key, is_doubtful=is_doubtful):
                found, fewest = (key, events[0]), held
                if not held:
                    break
        return found


_Queue = dict[Hashable, deque[anyio.Event]]


def _remove(queue: _Queue, key: Hashable, event: anyio.Event) -> None:
    events = queue[key]
    events.remove(event)
    if events:
        queue[key] = queue.pop(key)  # after other keys that hold as many
    else:
        del queue[key]
