"""The iterative search for the closest nodes: which to query next, and when to end.

Source: BEP 5 and Kademlia (iterative lookup), BEP 42 (valid ids); row C2.
"""

from bisect import insort
from collections import Counter
from collections.abc import Iterable

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.protocol.dht.candidate import Grade, LookupCandidate, QueryState
from torrent_engine.protocol.dht.hosts import is_local, packed_host, subnet_of
from torrent_engine.protocol.dht.krpc import NodeInfo


class Search:
    """The candidates of one lookup; guarantees that the lookup ends."""

    def __init__(self, target: bytes, config: DhtConfig, *, needs_tokens: bool = False) -> None:
        self.target = target
        self._needs_tokens = needs_tokens
        self.width = config.lookup_width
        self.asked = 0
        self.responded = 0
        self.in_flight = 0
        """Queries without a response, slow ones included."""
        self._config = config
        self._waiting = 0
        self._known: dict[PeerAddress, LookupCandidate] = {}
        self._order: list[LookupCandidate] = []
        self._subnets: Counter[bytes] = Counter()
        self._busy_hosts: set[str] = set()

    def add(self, nodes: Iterable[NodeInfo], referrer: LookupCandidate | None = None) -> None:
        """Add nodes of a response, or from our own table."""
        for node_id, address in nodes:
            known = self._known.get(address)
            if known is None:
                self._add(address, node_id, referrer)
            elif referrer is not None:
                known.referred_by(node_id, referrer)
                if known.is_better(node_id):
                    self._order.remove(known)
                    known.rename(node_id)
                    known.hop = referrer.hop + 1
                    insort(self._order, known, key=_by_distance)

    def add_address(self, address: PeerAddress) -> None:
        """Add a node of which only the address is known."""
        if address not in self._known:
            self._add(address, None, None)

    def to_query(self) -> list[LookupCandidate]:
        """Return the nodes to query now; they are marked as queried."""
        config = self._config
        room = min(
            config.lookup_parallelism - self._waiting,
            config.max_lookup_in_flight - self.in_flight,
            config.max_lookup_queries - self.asked,
        )
        chosen: list[LookupCandidate] = []
        while room > len(chosen) and (candidate := self._next()) is not None:
            self._mark_asked(candidate)
            chosen.append(candidate)
        return chosen

    def to_query_at_once(self, addresses: Iterable[PeerAddress]) -> list[LookupCandidate]:
        """Return which of these to query out of order, even if they failed before."""
        chosen: list[LookupCandidate] = []
        for address in addresses:
            known = self._known.get(address)
            if known is None or known.state is QueryState.FAILED:
                known = self._insert(address, None, None)
            if known.state is QueryState.NEW and self._may_ask(known):
                self._mark_asked(known)
                chosen.append(known)
            self._enforce_limit()
        return chosen

    def is_done(self) -> bool:
        """Return whether no query is outstanding or left; call it after :meth:`to_query`."""
        if self.in_flight == 0:
            return True
        if self._waiting == 0 and self.asked >= self._config.max_lookup_queries:
            return True
        return self._is_satisfied()

    def slow(self, candidate: LookupCandidate) -> None:
        """Record that a response is late."""
        if candidate.state is QueryState.ASKED:
            self._waiting -= 1
            candidate.slow()

    def refused(self, candidate: LookupCandidate) -> None:
        """Record an error response, which affects no trust."""
        self._settled(candidate)
        candidate.refused()
        self._drop(candidate)

    def failed(self, candidate: LookupCandidate) -> None:
        """Record that no response will come."""
        self.slow(candidate)
        self._settled(candidate)
        candidate.failed()
        self._drop(candidate)

    def answered(
        self, candidate: LookupCandidate, node_id: NodeId, token: bytes | None = None
    ) -> None:
        """Record a candidate's response, with its id and perhaps a write token."""
        self._settled(candidate)
        self.responded += 1
        self._order.remove(candidate)
        candidate.answered(node_id)
        candidate.token = token
        insort(self._order, candidate, key=_by_distance)

    def closest(self, count: int) -> list[LookupCandidate]:
        """Return responsive nodes, closest first: trusted ones, filled up with others."""
        trusted, others = self._answered()
        return trusted[:count] if len(trusted) >= count else [*trusted, *others][:count]

    def to_write(self) -> list[LookupCandidate]:
        """Return the nodes to write to: the closest trusted ones, and closer less trusted ones.

        The latter are additional: forged ids cannot keep a write from the proper nodes.
        """
        trusted, others = self._answered()
        trusted = trusted[: self.width]
        if len(trusted) == self.width:
            others = [each for each in others if each.distance < trusted[-1].distance]
        return trusted + others[: self.width]

    def _next(self) -> LookupCandidate | None:
        """Return the closest node to query, of the first grade that is not exhausted."""
        for level in Grade:
            candidate, is_waiting, heard = self._scan(level)
            if candidate is not None or is_waiting or heard >= self.width:
                return candidate
        return None

    def _is_satisfied(self) -> bool:
        """Return whether the closest have responded; only slow and farther queries are left."""
        for level in Grade:
            candidate, is_waiting, heard = self._scan(level)
            if candidate is not None or is_waiting:
                return False
            if heard >= self.width:
                return True
        return False

    def _scan(self, level: Grade) -> tuple[LookupCandidate | None, bool, int]:
        """Scan from the target outwards until enough nodes responded or one can be queried.

        Returns the node to query, whether a closer one is pending, and how many responded.
        """
        heard, is_waiting = 0, False
        hosts: set[str] = set()
        for candidate in self._order:
            state = candidate.state
            if state is QueryState.SLOW or candidate.grade > level:
                continue
            if state is QueryState.ANSWERED:
                heard += self._counts(candidate) and _is_first(candidate, hosts)
                if heard >= self.width:
                    break
            elif state is QueryState.ASKED:
                is_waiting = True
            elif self._may_ask(candidate):
                return candidate, is_waiting, heard
        return None, is_waiting, heard

    def _answered(self) -> tuple[list[LookupCandidate], list[LookupCandidate]]:
        """Return the nodes that responded, closest first, one per host: trusted ones, others."""
        trusted: list[LookupCandidate] = []
        others: list[LookupCandidate] = []
        hosts: set[str] = set()
        for candidate in self._order:
            if candidate.state is not QueryState.ANSWERED or not self._counts(candidate):
                continue
            if _is_first(candidate, hosts):
                (trusted if candidate.grade is Grade.SOUND else others).append(candidate)
        return trusted, others

    def _counts(self, candidate: LookupCandidate) -> bool:
        return candidate.token is not None or not self._needs_tokens

    def _may_ask(self, candidate: LookupCandidate) -> bool:
        if not candidate.has_referrer_room:
            return False
        host = candidate.address.host
        if is_local(host):
            return True
        subnet = subnet_of(packed_host(host))
        return host not in self._busy_hosts and (
            self._subnets[subnet] < self._config.max_lookup_queries_per_network
        )

    def _mark_asked(self, candidate: LookupCandidate) -> None:
        candidate.asked()
        self.asked += 1
        self.in_flight += 1
        self._waiting += 1
        host = candidate.address.host
        if not is_local(host):
            self._busy_hosts.add(host)
            self._subnets[subnet_of(packed_host(host))] += 1

    def _settled(self, candidate: LookupCandidate) -> None:
        self.in_flight -= 1
        self._waiting -= candidate.state is QueryState.ASKED

    def _drop(self, candidate: LookupCandidate) -> None:
        """Remove a candidate that failed; it is not queried again."""
        self._busy_hosts.discard(candidate.address.host)
        self._order.remove(candidate)

    def _add(
        self, address: PeerAddress, node_id: NodeId | None, referrer: LookupCandidate | None
    ) -> None:
        self._insert(address, node_id, referrer)
        self._enforce_limit()

    def _insert(
        self, address: PeerAddress, node_id: NodeId | None, referrer: LookupCandidate | None
    ) -> LookupCandidate:
        hop = 0 if referrer is None else referrer.hop + 1
        candidate = LookupCandidate(address, node_id, self.target, hop, is_trusted=referrer is None)
        if referrer is not None and node_id is not None:
            candidate.referred_by(node_id, referrer)
        self._known[address] = candidate
        insort(self._order, candidate, key=_by_distance)
        return candidate

    def _enforce_limit(self) -> None:
        """Remove the farthest idle candidates over the limit."""
        if len(self._order) <= self._config.max_lookup_candidates:
            return
        for position in range(len(self._order) - 1, -1, -1):
            candidate = self._order[position]
            if candidate.state in {QueryState.NEW, QueryState.ANSWERED}:
                del self._order[position]
                if candidate.state is QueryState.NEW:
                    del self._known[candidate.address]
                return


def _by_distance(candidate: LookupCandidate) -> int:
    return candidate.distance


def _is_first(candidate: LookupCandidate, hosts: set[str]) -> bool:
    """Return whether this is the first of its host; local nodes count as different hosts."""
    host = candidate.address.host
    if is_local(host):
        return True
    is_new = host not in hosts
    hosts.add(host)
    return is_new
