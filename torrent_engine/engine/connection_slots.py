"""Owns the number of connections of all torrents together."""

from collections.abc import Callable


class ConnectionSlots:
    """Counts connections against a limit that all torrents share."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0
        self._waiters: dict[Callable[[], None], None] = {}

    @property
    def has_room(self) -> bool:
        """Whether one more connection may be made."""
        return self.used < self._limit

    def take(self) -> None:
        """Count one connection."""
        self.used += 1

    def give_back(self) -> None:
        """Count one connection less, and call who waits for that."""
        self.used -= 1
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            waiter()

    def tell_when_free(self, waiter: Callable[[], None]) -> None:
        """Have ``waiter`` called once, when a connection has ended."""
        self._waiters[waiter] = None
