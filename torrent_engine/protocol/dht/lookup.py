"""Owns one lookup: it asks ever closer nodes, then perhaps writes to the closest, then ends once.

Source: BEP 5; BEP 33 and 44 (only who gave a token is written to).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.protocol.dht.candidate import Candidate
from torrent_engine.protocol.dht.events import DhtEvent, LookupEnded, Refusal
from torrent_engine.protocol.dht.krpc import Failure, NodeInfo, Response
from torrent_engine.protocol.dht.named_nodes import named_nodes
from torrent_engine.protocol.dht.questions import Arguments, Question, token_of
from torrent_engine.protocol.dht.search import Search
from torrent_engine.protocol.dht.transactions import Asker, Outstanding

MAX_REFUSALS: Final = 16  # ours: as many nodes as are written to at most


class Surroundings(Protocol):
    """What a lookup needs of the node that it runs in."""

    config: DhtConfig
    is_ipv6: bool

    def send_query(
        self,
        node: tuple[PeerAddress, NodeId | None],
        method: bytes,
        arguments: Arguments,
        asker: Asker,
        *,
        now: float,
    ) -> Outstanding | None:
        """Send a query; None if it cannot be sent."""

    def own(self) -> Collection[NodeId | PeerAddress]:
        """Return the ids and addresses that are ourselves."""

    def tell(self, event: DhtEvent, *, now: float) -> None:
        """Take an event."""

    def heard_of(self, nodes: Iterable[NodeInfo], lookup: int, *, now: float) -> None:
        """Take nodes that an answer to a lookup named."""


class Phase(Enum):
    """What a lookup does."""

    WAITING = auto()
    """It has not begun."""
    SEARCHING = auto()
    WRITING = auto()
    ENDED = auto()


@dataclass(frozen=True, slots=True)
class Start:
    """Where a lookup begins."""

    nodes: tuple[NodeInfo, ...] = ()
    addresses: tuple[PeerAddress, ...] = ()


class Lookup:
    """One question on its way through the network; an :class:`Asker`."""

    def __init__(self, number: int, question: Question, surroundings: Surroundings) -> None:
        self.number = number
        self.question = question
        self.phase = Phase.WAITING
        self._around = surroundings
        self._search = Search(question.target, surroundings.config, needs_tokens=question.writes)
        self._asked: dict[bytes, Candidate] = {}
        self._stored: list[NodeInfo] = []
        self._refusals: list[Refusal] = []
        self._began_s = 0.0

    def start(self, start: Start, *, now: float) -> None:
        """Begin with these nodes; with none of them it ends at once."""
        self.phase = Phase.SEARCHING
        self._began_s = now
        for event in self.question.begin(self.number):
            self._around.tell(event, now=now)
        self._search.add(start.nodes)
        for address in start.addresses:
            self._search.add_address(address)
        self._go_on(now)

    def ask_at_once(self, addresses: Iterable[PeerAddress], *, now: float) -> None:
        """Ask these too, and wait for nobody who is on the list before them."""
        if self.phase is Phase.SEARCHING:
            self._ask_these(self._search.to_ask_at_once(addresses), now)

    def answered(self, query: Outstanding, response: Response, *, now: float) -> None:
        """Take an answer, to what was asked or to what was written."""
        candidate = self._asked.pop(query.transaction, None)
        if candidate is None or self.phase is Phase.ENDED:
            return
        if self.phase is Phase.WRITING:
            self._stored.append(NodeInfo(response.sender, query.address))
        else:
            self._take(candidate, response, now)
        self._go_on(now)

    def refused(self, query: Outstanding, failure: Failure, *, now: float) -> None:
        """Take an error."""
        candidate = self._asked.pop(query.transaction, None)
        if candidate is None or self.phase is Phase.ENDED:
            return
        if self.phase is Phase.SEARCHING:
            self._search.refused(candidate)
        elif len(self._refusals) < MAX_REFUSALS:
            self._refusals.append(Refusal(query.address, failure.code, failure.message))
        self._go_on(now)

    def slow(self, query: Outstanding, *, now: float) -> None:
        """Ask somebody else meanwhile."""
        candidate = self._asked.get(query.transaction)
        if candidate is not None and self.phase is Phase.SEARCHING:
            self._search.slow(candidate)
            self._go_on(now)

    def failed(self, query: Outstanding, *, now: float) -> None:
        """Expect nothing of a node any more."""
        candidate = self._asked.pop(query.transaction, None)
        if candidate is None or self.phase is Phase.ENDED:
            return
        if self.phase is Phase.SEARCHING:
            self._search.failed(candidate)
        self._go_on(now)

    def cancel(self) -> None:
        """End without a word."""
        self.phase = Phase.ENDED
        self._asked.clear()

    def _take(self, candidate: Candidate, response: Response, now: float) -> None:
        self._search.answered(candidate, response.sender, token_of(response))
        node = NodeInfo(response.sender, candidate.address)
        for event in self.question.take(self.number, node, response):
            self._around.tell(event, now=now)
        if self.question.is_single:
            return
        named = named_nodes(
            response,
            candidate.address,
            self.question.target,
            own=self._around.own(),
            is_ipv6=self._around.is_ipv6,
            at_most=self._around.config.max_nodes_per_response,
        )
        self._search.add(named, candidate)
        self._around.heard_of(named, self.number, now=now)

    def _go_on(self, now: float) -> None:
        """Ask who is next; where nobody is, write; where all is written, end."""
        if self.phase is Phase.SEARCHING:
            if not self.question.is_enough:
                self._ask(now)
                while self._search.is_done() and self._widen():
                    self._ask(now)
            if self.question.is_enough or self._search.is_done():
                self._begin_writing(now)
        if self.phase is Phase.WRITING and not self._asked:
            self._end(now)

    def _widen(self) -> bool:
        """Go on farther, once, where few of the closest have what is looked for.

        They may never have been told, or they are no honest nodes (row C2).
        """
        config, question = self._around.config, self.question
        if not question.is_widened or self._search.width >= config.wide_lookup_width:
            return False
        closest = self._search.closest(self._search.width)
        having = sum(candidate.address in question.holders for candidate in closest)
        if 2 * having >= self._search.width:
            return False
        self._search.width = config.wide_lookup_width
        return True

    def _ask(self, now: float) -> None:
        while chosen := self._search.to_ask():
            self._ask_these(chosen, now)

    def _ask_these(self, chosen: Iterable[Candidate], now: float) -> None:
        for candidate in chosen:
            method, arguments = self.question.method, self.question.arguments()
            if not self._send(candidate, method, arguments, now):
                self._search.refused(candidate)

    def _begin_writing(self, now: float) -> None:
        """Leave the late answers, and give the closest what they are to keep."""
        self.phase = Phase.WRITING
        self._asked.clear()
        if self.question.writes:
            for candidate in self._search.to_write():
                if candidate.token is not None:
                    node = _info(candidate)
                    method, arguments = self.question.write(node, candidate.token)
                    self._send(candidate, method, arguments, now)

    def _send(self, candidate: Candidate, method: bytes, arguments: Arguments, now: float) -> bool:
        node = candidate.address, candidate.node_id
        query = self._around.send_query(node, method, arguments, self, now=now)
        if query is None:
            return False
        self._asked[query.transaction] = candidate
        return True

    def _end(self, now: float) -> None:
        self.phase = Phase.ENDED
        for event in self.question.end(self.number):
            self._around.tell(event, now=now)
        closest = self._search.closest(self._around.config.lookup_width)
        self._around.tell(
            LookupEnded(
                self.number,
                self.question.kind,
                self.question.target,
                self.question.found,
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


def _info(candidate: Candidate) -> NodeInfo:
    """Return a candidate that answered as a node."""
    return NodeInfo(candidate.node_id or NodeId(bytes(20)), candidate.address)
