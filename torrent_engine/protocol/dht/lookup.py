"""One iterative lookup: it queries ever closer nodes and may write to the closest.

Source: BEP 5; BEP 33 and 44 (writes need a token of the node).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.protocol.dht.candidate import LookupCandidate
from torrent_engine.protocol.dht.events import DhtEvent, LookupEnded, Refusal
from torrent_engine.protocol.dht.krpc import ErrorReply, NodeInfo, Response
from torrent_engine.protocol.dht.lookup_tasks import Arguments, LookupTask, token_of
from torrent_engine.protocol.dht.response_nodes import response_nodes
from torrent_engine.protocol.dht.search import Search
from torrent_engine.protocol.dht.transactions import Outstanding, QueryOwner

MAX_REFUSALS: Final = 16  # ours: as many as there are writes at most


class LookupHost(Protocol):
    """The services that a lookup needs of its node."""

    config: DhtConfig
    is_ipv6: bool

    def send_query(
        self,
        node: tuple[PeerAddress, NodeId | None],
        method: bytes,
        arguments: Arguments,
        owner: QueryOwner,
        *,
        now: float,
    ) -> Outstanding | None:
        """Send a query; None if it cannot be sent."""

    def own_identities(self) -> Collection[NodeId | PeerAddress]:
        """Return our own ids and addresses."""

    def report(self, event: DhtEvent, *, now: float) -> None:
        """Record an event."""

    def nodes_found(self, nodes: Iterable[NodeInfo], lookup: int, *, now: float) -> None:
        """Process the nodes in a response to a lookup."""


class Phase(Enum):
    """The phase of a lookup."""

    WAITING = auto()
    """It has not started."""
    SEARCHING = auto()
    WRITING = auto()
    ENDED = auto()


@dataclass(frozen=True, slots=True)
class Start:
    """The first nodes of a lookup."""

    nodes: tuple[NodeInfo, ...] = ()
    addresses: tuple[PeerAddress, ...] = ()


class Lookup:
    """One lookup in progress."""

    def __init__(self, number: int, task: LookupTask, host: LookupHost) -> None:
        self.number = number
        self.task = task
        self.phase = Phase.WAITING
        self._host = host
        self._search = Search(task.target, host.config, needs_tokens=task.writes)
        self._asked: dict[bytes, LookupCandidate] = {}
        self._stored: list[NodeInfo] = []
        self._refusals: list[Refusal] = []
        self._began_s = 0.0

    def start(self, start: Start, *, now: float) -> None:
        """Start with these nodes; without any it ends at once."""
        self.phase = Phase.SEARCHING
        self._began_s = now
        for event in self.task.begin(self.number):
            self._host.report(event, now=now)
        self._search.add(start.nodes)
        for address in start.addresses:
            self._search.add_address(address)
        self._continue(now)

    def query_at_once(self, addresses: Iterable[PeerAddress], *, now: float) -> None:
        """Query these nodes now, regardless of the order."""
        if self.phase is Phase.SEARCHING:
            self._query_candidates(self._search.to_query_at_once(addresses), now)

    def answered(self, query: Outstanding, response: Response, *, now: float) -> None:
        """Handle the response to a query or to a write."""
        candidate = self._asked.pop(query.transaction, None)
        if candidate is None or self.phase is Phase.ENDED:
            return
        if self.phase is Phase.WRITING:
            self._stored.append(NodeInfo(response.sender, query.address))
        else:
            self._take(candidate, response, now)
        self._continue(now)

    def refused(self, query: Outstanding, failure: ErrorReply, *, now: float) -> None:
        """Handle an error response."""
        candidate = self._asked.pop(query.transaction, None)
        if candidate is None or self.phase is Phase.ENDED:
            return
        if self.phase is Phase.SEARCHING:
            self._search.refused(candidate)
        elif len(self._refusals) < MAX_REFUSALS:
            self._refusals.append(Refusal(query.address, failure.code, failure.message))
        self._continue(now)

    def slow(self, query: Outstanding, *, now: float) -> None:
        """Handle the short timeout: query another node in parallel."""
        candidate = self._asked.get(query.transaction)
        if candidate is not None and self.phase is Phase.SEARCHING:
            self._search.slow(candidate)
            self._continue(now)

    def failed(self, query: Outstanding, *, now: float) -> None:
        """Handle the final timeout of a query."""
        candidate = self._asked.pop(query.transaction, None)
        if candidate is None or self.phase is Phase.ENDED:
            return
        if self.phase is Phase.SEARCHING:
            self._search.failed(candidate)
        self._continue(now)

    def cancel(self) -> None:
        """End without further events."""
        self.phase = Phase.ENDED
        self._asked.clear()

    def _take(self, candidate: LookupCandidate, response: Response, now: float) -> None:
        self._search.answered(candidate, response.sender, token_of(response))
        node = NodeInfo(response.sender, candidate.address)
        for event in self.task.take(self.number, node, response):
            self._host.report(event, now=now)
        if self.task.is_single:
            return
        named = response_nodes(
            response,
            candidate.address,
            self.task.target,
            own=self._host.own_identities(),
            is_ipv6=self._host.is_ipv6,
            at_most=self._host.config.max_nodes_per_response,
        )
        self._search.add(named, candidate)
        self._host.nodes_found(named, self.number, now=now)

    def _continue(self, now: float) -> None:
        """Query the next nodes; when the search is complete, write, then end."""
        if self.phase is Phase.SEARCHING:
            if not self.task.is_enough:
                self._ask(now)
                while self._search.is_done() and self._widen():
                    self._ask(now)
            if self.task.is_enough or self._search.is_done():
                self._begin_writing(now)
        if self.phase is Phase.WRITING and not self._asked:
            self._end(now)

    def _widen(self) -> bool:
        """Extend the search once if few of the closest nodes have the value.

        The others may never have received it, or may be malicious (row C2).
        """
        config, task = self._host.config, self.task
        if not task.is_widened or self._search.width >= config.wide_lookup_width:
            return False
        closest = self._search.closest(self._search.width)
        having = sum(candidate.address in task.holders for candidate in closest)
        if 2 * having >= self._search.width:
            return False
        self._search.width = config.wide_lookup_width
        return True

    def _ask(self, now: float) -> None:
        while chosen := self._search.to_query():
            self._query_candidates(chosen, now)

    def _query_candidates(self, chosen: Iterable[LookupCandidate], now: float) -> None:
        for candidate in chosen:
            method, arguments = self.task.method, self.task.arguments()
            if not self._send(candidate, method, arguments, now):
                self._search.refused(candidate)

    def _begin_writing(self, now: float) -> None:
        """Stop waiting for late responses and write to the closest nodes."""
        self.phase = Phase.WRITING
        self._asked.clear()
        if self.task.writes:
            for candidate in self._search.to_write():
                if candidate.token is not None:
                    node = _info(candidate)
                    method, arguments = self.task.write(node, candidate.token)
                    self._send(candidate, method, arguments, now)

    def _send(
        self, candidate: LookupCandidate, method: bytes, arguments: Arguments, now: float
    ) -> bool:
        node = candidate.address, candidate.node_id
        query = self._host.send_query(node, method, arguments, self, now=now)
        if query is None:
            return False
        self._asked[query.transaction] = candidate
        return True

    def _end(self, now: float) -> None:
        self.phase = Phase.ENDED
        for event in self.task.end(self.number):
            self._host.report(event, now=now)
        closest = self._search.closest(self._host.config.lookup_width)
        self._host.report(
            LookupEnded(
                self.number,
                self.task.kind,
                self.task.target,
                self.task.found,
                self._search.asked,
                self._search.responded,
                closest[0].hop + 1 if closest else 0,
                tuple(_info(candidate) for candidate in closest),
                tuple(self._stored),
                tuple(self._refusals),
                now - self._began_s,
            ),
            now=now,
        )


def _info(candidate: LookupCandidate) -> NodeInfo:
    """Return the node of a candidate that responded."""
    return NodeInfo(candidate.node_id or NodeId(bytes(20)), candidate.address)
