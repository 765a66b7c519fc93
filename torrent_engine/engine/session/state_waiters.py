"""Tasks that wait for a state of a Session; no state is missed, however short it was."""

import anyio

from torrent_engine.engine.states import State


class _Waiter:
    """One task, and the states that it waits for."""

    def __init__(self, states: frozenset[State]) -> None:
        self.states = states
        self.seen: State | None = None
        self.event = anyio.Event()


class StateWaiters:
    """The tasks that wait for a state of one Session."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: list[_Waiter] = []

    def entered(self, state: State) -> None:
        """Wake the tasks that wait for this state."""
        for waiter in self._waiters:
            if state in waiter.states and waiter.seen is None:
                waiter.seen = state
                waiter.event.set()

    async def wait(self, states: frozenset[State]) -> State:
        """Wait until one of these states is entered next, and return it."""
        waiter = _Waiter(states)
        self._waiters.append(waiter)
        try:
            while waiter.seen is None:
                await waiter.event.wait()
            return waiter.seen
        finally:
            self._waiters.remove(waiter)
