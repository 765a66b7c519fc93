"""The running and the waiting lookups of a node."""

from collections import deque
from collections.abc import Callable
from typing import Final

from torrent_engine.base.config import DhtConfig
from torrent_engine.protocol.dht.lookup import Lookup, Phase, Start

MAX_STARTS: Final = 2  # ours: at once; each takes 1 to 3 ms

StartingNodes = Callable[[Lookup], Start]


class LookupQueue:
    """Running lookups, limited in number, and waiting ones, first come first served."""

    def __init__(self, config: DhtConfig, starting_nodes: StartingNodes) -> None:
        self.is_held = False
        """Whether new lookups wait because no node is known yet."""
        self._config = config
        self._starting_nodes = starting_nodes
        self._running: dict[int, Lookup] = {}
        self._waiting: deque[Lookup] = deque()

    @property
    def running(self) -> int:
        """Number of running lookups."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Number of waiting lookups."""
        return len(self._waiting)

    @property
    def can_start(self) -> bool:
        """Whether a waiting lookup may start."""
        has_room = self.running < self._config.max_lookups
        return bool(self._waiting) and not self.is_held and has_room

    def add(self, lookup: Lookup, *, now: float) -> bool:
        """Queue a lookup; return False if too many wait."""
        if len(self._waiting) >= self._config.max_waiting_lookups:
            return False
        self._waiting.append(lookup)
        self.start_waiting(now)
        return True

    def start(self, lookup: Lookup, start: Start, *, now: float) -> None:
        """Start a maintenance lookup at once."""
        self._running[lookup.number] = lookup
        lookup.start(start, now=now)

    def ended(self, number: int) -> None:
        """Remove a lookup that ended."""
        self._running.pop(number, None)

    def cancel(self, number: int) -> Lookup | None:
        """End a lookup without further events; return None if it has ended already."""
        lookup = self._running.pop(number, None)
        if lookup is None:
            lookup = next((each for each in self._waiting if each.number == number), None)
            if lookup is None:
                return None
            self._waiting.remove(lookup)
        lookup.cancel()
        return lookup

    def start_waiting(self, now: float) -> None:
        """Start a few waiting lookups, up to the limit; the others at the next calls."""
        for _ in range(MAX_STARTS):
            if not self.can_start:
                return
            lookup = self._waiting.popleft()
            if lookup.phase is Phase.WAITING:
                self.start(lookup, self._starting_nodes(lookup), now=now)
