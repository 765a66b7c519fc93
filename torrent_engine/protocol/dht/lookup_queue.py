"""Owns the lookups of a node: so many run at a time, the others wait, each has a number."""

from collections import deque
from collections.abc import Callable

from torrent_engine.base.config import DhtConfig
from torrent_engine.protocol.dht.lookup import Lookup, Phase, Start

WhereToStart = Callable[[Lookup], Start]


class LookupQueue:
    """The lookups that run, and those that wait for their turn, first come first served."""

    def __init__(self, config: DhtConfig, where_to_start: WhereToStart) -> None:
        self.is_held = False
        """Whether new lookups wait, as they do while no node is known yet."""
        self._config = config
        self._where_to_start = where_to_start
        self._running: dict[int, Lookup] = {}
        self._waiting: deque[Lookup] = deque()

    @property
    def running(self) -> int:
        """How many lookups ask somebody."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._waiting)

    def add(self, lookup: Lookup, *, now: float) -> bool:
        """Take a lookup; False if too many wait."""
        if len(self._waiting) >= self._config.max_waiting_lookups:
            return False
        self._waiting.append(lookup)
        self.go_on(now)
        return True

    def start(self, lookup: Lookup, start: Start, *, now: float) -> None:
        """Begin a lookup of the node's own at once."""
        self._running[lookup.number] = lookup
        lookup.start(start, now=now)

    def ended(self, number: int) -> None:
        """Forget a lookup that is over."""
        self._running.pop(number, None)

    def cancel(self, number: int) -> Lookup | None:
        """End a lookup without a word; None if it is over already."""
        lookup = self._running.pop(number, None)
        if lookup is None:
            lookup = next((each for each in self._waiting if each.number == number), None)
            if lookup is None:
                return None
            self._waiting.remove(lookup)
        lookup.cancel()
        return lookup

    def go_on(self, now: float) -> None:
        """Begin lookups that wait, as far as there is room."""
        while self._waiting and not self.is_held and self.running < self._config.max_lookups:
            lookup = self._waiting.popleft()
            if lookup.phase is Phase.WAITING:
                self.start(lookup, self._where_to_start(lookup), now=now)
