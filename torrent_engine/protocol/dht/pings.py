"""Owns single pings: those that somebody wants to hear of, and those that only fill the table."""

from collections.abc import Callable

from torrent_engine.protocol.dht.events import PingEnded
from torrent_engine.protocol.dht.krpc import Failure, Response
from torrent_engine.protocol.dht.transactions import Outstanding

Tell = Callable[[PingEnded], None]


class SilentPing:
    """A ping whose only result is what the routing table learns; an ``Asker``."""

    def __init__(self) -> None:
        self.outstanding = 0

    def answered(self, query: Outstanding, response: Response, *, now: float) -> None:
        """Count it as over."""
        self.outstanding -= 1

    def refused(self, query: Outstanding, failure: Failure, *, now: float) -> None:
        """Count it as over."""
        self.outstanding -= 1

    def slow(self, query: Outstanding, *, now: float) -> None:
        """Wait on."""

    def failed(self, query: Outstanding, *, now: float) -> None:
        """Count it as over."""
        self.outstanding -= 1


class Ping:
    """A ping that ends with an event; an ``Asker``."""

    def __init__(self, number: int, tell: Tell) -> None:
        self._number = number
        self._tell = tell

    def answered(self, query: Outstanding, response: Response, *, now: float) -> None:
        """Tell who answered, and how fast."""
        round_trip_s = max(now - query.sent_s, 0.0)
        self._end(query, response, round_trip_s)

    def refused(self, query: Outstanding, failure: Failure, *, now: float) -> None:
        """Tell that nobody answered as a node should."""
        self._end(query, None, None)

    def slow(self, query: Outstanding, *, now: float) -> None:
        """Wait on."""

    def failed(self, query: Outstanding, *, now: float) -> None:
        """Tell that nobody answered."""
        self._end(query, None, None)

    def _end(
        self, query: Outstanding, response: Response | None, round_trip_s: float | None
    ) -> None:
        node_id = None if response is None else response.sender
        client = b"" if response is None else response.client
        self._tell(PingEnded(self._number, query.address, node_id, round_trip_s, client))
