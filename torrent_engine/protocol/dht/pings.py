"""Single pings: with a result for the caller, or to fill the routing table."""

from collections.abc import Callable

from torrent_engine.protocol.dht.events import PingEnded
from torrent_engine.protocol.dht.krpc import ErrorReply, Response
from torrent_engine.protocol.dht.transactions import Outstanding

ReportEvent = Callable[[PingEnded], None]


class SilentPing:
    """A ping whose only effect is on the routing table."""

    def __init__(self) -> None:
        self.outstanding = 0

    def answered(self, query: Outstanding, response: Response, *, now: float) -> None:
        """Record that the ping ended."""
        self.outstanding -= 1

    def refused(self, query: Outstanding, failure: ErrorReply, *, now: float) -> None:
        """Record that the ping ended."""
        self.outstanding -= 1

    def slow(self, query: Outstanding, *, now: float) -> None:
        """Ignore the short time-out."""

    def failed(self, query: Outstanding, *, now: float) -> None:
        """Record that the ping ended."""
        self.outstanding -= 1


class Ping:
    """A ping that ends with an event."""

    def __init__(self, number: int, report: ReportEvent) -> None:
        self._number = number
        self._report = report

    def answered(self, query: Outstanding, response: Response, *, now: float) -> None:
        """Report the responding node and the round-trip time."""
        round_trip_s = max(now - query.sent_s, 0.0)
        self._end(query, response, round_trip_s)

    def refused(self, query: Outstanding, failure: ErrorReply, *, now: float) -> None:
        """Report that there was no valid response."""
        self._end(query, None, None)

    def slow(self, query: Outstanding, *, now: float) -> None:
        """Ignore the short time-out."""

    def failed(self, query: Outstanding, *, now: float) -> None:
        """Report that there was no response."""
        self._end(query, None, None)

    def _end(
        self, query: Outstanding, response: Response | None, round_trip_s: float | None
    ) -> None:
        node_id = None if response is None else response.sender
        client = b"" if response is None else response.client
        self._report(PingEnded(self._number, query.address, node_id, round_trip_s, client))
