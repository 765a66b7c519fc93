"""Owns who waits for which state of a Session; no state is missed, however short it was."""

from typing import TYPE_CHECKING

import anyio

from torrent_engine.engine.states import State

if TYPE_CHECKING:
    from collections.abc import Callable


class _Waiter:
    """Somebody who waits until one of some states is passed through."""

    def __init__(self, states: frozenset[State]) -> None:
        self.states = states
        self.seen: State | None = None
        self.event = anyio.Event()


class StateWaiters:
    """Wakes tasks by the states that a Session passes through."""

    def __init__(self) -> None:
        self._waiters: list[_Waiter] = []
        self.listener: Callable[[State, State], None] | None = None
        """Hears of every move, old and new state."""

    def moved(self, old: State, new: State) -> None:
        """Take a move to another state."""
        if self.listener is not None:
            self.listener(old, new)
        for waiter in self._waiters:
            if new in waiter.states and waiter.seen is None:
                waiter.seen = new
                waiter.event.set()

    async def wait(self, states: frozenset[State]) -> State:
        """Wait for the next move to one of these states, and return it."""
        waiter = _Waiter(states)
        self._waiters.append(waiter)
        try:
            while waiter.seen is None:
                await waiter.event.wait()
            return waiter.seen
        finally:
            self._waiters.remove(waiter)
