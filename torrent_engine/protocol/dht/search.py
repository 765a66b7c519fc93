"""Owns one search: whom to ask next on the way to a target, and when enough have answered.

Source: BEP 5 and Kademlia (iterative lookup), BEP 42 (who counts). Row C2: who names nodes that
do not answer, or answer with another id, is believed less, and so is what it named.
"""

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.protocol.dht.hosts import is_local, packed_host, site_of
from torrent_engine.protocol.dht.krpc import NodeInfo
from torrent_engine.protocol.dht.named_nodes import distance
from torrent_engine.protocol.dht.security import is_valid_node_id

FARTHEST: Final = 1 << 160
MAX_NAMERS: Final = 8  # ours: who else named a node makes no difference
MAX_UNPROVED: Final = 3  # ours: nodes asked at a time on the word of somebody unproved


class Standing(Enum):
    """Where a candidate stands."""

    NEW = auto()
    ASKED = auto()
    SLOW = auto()
    """Asked; the short time-out has passed."""
    ANSWERED = auto()
    FAILED = auto()


class Grade(Enum):
    """How much a candidate is believed; the search goes on to the next when one is exhausted."""

    SOUND = 0
    INSECURE = 1
    """Its id does not belong to its address (BEP 42)."""
    DOUBTFUL = 2
    """It named nodes that are not there; or only such nodes have named it."""


@dataclass(slots=True, eq=False)
class Candidate:
    """A node that a search may ask."""

    address: PeerAddress
    node_id: NodeId | None
    """What others say, or what it answered; None where only its address is known."""
    distance: int
    hop: int
    """Answers on the way to it."""
    is_secure: bool
    namers: list["Candidate"] = field(default_factory=list)
    """Who named it; nobody where we knew it ourselves."""
    standing: Standing = Standing.NEW
    token: bytes | None = None
    good: int = 0
    """Nodes that it named and that answered with that id."""
    bad: int = 0
    """Nodes that it named and that did not."""
    pending: int = 0
    """Nodes that it named and that are asked."""

    @property
    def is_doubtful(self) -> bool:
        """Whether what it says proved wrong too often to be chance."""
        return self.bad >= MAX_UNPROVED + 2 * self.good

    @property
    def grade(self) -> Grade:
        """How much it is believed at this moment."""
        if self.standing is Standing.ANSWERED:
            doubtful = self.is_doubtful
        else:
            doubtful = bool(self.namers) and all(namer.is_doubtful for namer in self.namers)
        if doubtful:
            return Grade.DOUBTFUL
        return Grade.SOUND if self.is_secure else Grade.INSECURE

    def is_vouched_for(self) -> bool:
        """Tell whether somebody who named it may have one more node asked."""
        return not self.namers or any(
            namer.good or namer.pending < MAX_UNPROVED for namer in self.namers
        )


class Search:
    """Owns the candidates of one lookup, and the promise that it ends."""

    def __init__(self, target: bytes, config: DhtConfig, *, needs_tokens: bool = False) -> None:
        self.target = target
        self._needs_tokens = needs_tokens
        self.width = config.lookup_width
        self.asked = 0
        self.responded = 0
        self.in_flight = 0
        """Queries without an answer, late ones too."""
        self._config = config
        self._waiting = 0
        self._known: dict[PeerAddress, Candidate] = {}
        self._order: list[Candidate] = []
        self._sites: Counter[bytes] = Counter()
        self._busy_hosts: set[str] = set()
        self._level = Grade.SOUND

    def add(self, nodes: Iterable[NodeInfo], namer: Candidate | None = None) -> None:
        """Take nodes that somebody named, or that we know ourselves."""
        for node in nodes:
            known = self._known.get(node.address)
            if known is None:
                self._add(node.address, node.id, namer)
            elif namer is not None and namer is not known:
                self._name_again(known, node.id, namer)

    def add_address(self, address: PeerAddress) -> None:
        """Take a node of which only the address is known."""
        if address not in self._known:
            self._add(address, None, None)

    def to_ask(self) -> list[Candidate]:
        """Return whom to ask now; they count as asked."""
        config = self._config
        room = min(
            config.lookup_parallelism - self._waiting,
            config.max_lookup_in_flight - self.in_flight,
            config.max_lookup_queries - self.asked,
        )
        chosen: list[Candidate] = []
        while room > len(chosen) and (candidate := self._next()) is not None:
            self._mark_asked(candidate)
            chosen.append(candidate)
        return chosen

    def is_done(self) -> bool:
        """Tell whether nobody is left to ask or to wait for; call it after :meth:`to_ask`."""
        if self.in_flight == 0:
            return True
        if self._waiting == 0 and self.asked >= self._config.max_lookup_queries:
            return True
        return self._is_satisfied()

    def slow(self, candidate: Candidate) -> None:
        """Know that an answer is late."""
        if candidate.standing is not Standing.ASKED:
            return
        candidate.standing = Standing.SLOW
        self._waiting -= 1
        for namer in candidate.namers:
            namer.bad += 1

    def refused(self, candidate: Candidate) -> None:
        """Know that an error came: nobody lied, and there is nothing to be had."""
        for namer in candidate.namers:
            namer.bad -= candidate.standing is Standing.SLOW
        self._settle(candidate, Standing.FAILED)

    def failed(self, candidate: Candidate) -> None:
        """Know that no answer will come."""
        self.slow(candidate)
        self._settle(candidate, Standing.FAILED)

    def answered(self, candidate: Candidate, node_id: NodeId, token: bytes | None = None) -> None:
        """Know that a candidate answered, under this id, and may be written to with a token."""
        candidate.token = token
        was_slow = candidate.standing is Standing.SLOW
        is_named_so = candidate.node_id in {None, node_id}
        self._settle(candidate, Standing.ANSWERED)
        self.responded += 1
        for namer in candidate.namers:
            namer.good += is_named_so
            namer.bad += (not is_named_so) - was_slow
        if candidate.node_id != node_id:
            self._rename(candidate, node_id)

    def closest(self, count: int) -> list[Candidate]:
        """Return who answered, closest first: the sound ones, others where those are too few."""
        found: list[Candidate] = []
        for level in Grade:
            found = list(self._counting(level))[:count]
            if len(found) >= count:
                break
        return found

    def to_write(self) -> list[Candidate]:
        """Return who is given something: the closest, and the less believed among them.

        The latter take no place of the others: a lie about an id keeps nobody from storing.
        """
        closest = self.closest(self.width)
        if not closest:
            return []
        among = [
            candidate
            for candidate in self._counting(Grade.DOUBTFUL)
            if candidate.distance < closest[-1].distance and candidate not in closest
        ]
        return closest + among[: self.width]

    def _next(self) -> Candidate | None:
        """Return the closest that may be asked, of the first grade that is not exhausted."""
        for level in Grade:
            candidate, is_waiting, heard = self._look(level)
            if candidate is not None or is_waiting or heard >= self.width:
                return candidate
        return None

    def _is_satisfied(self) -> bool:
        """Tell whether the closest have answered, so that only late and farther ones are out."""
        for level in Grade:
            candidate, is_waiting, heard = self._look(level)
            if candidate is not None or is_waiting:
                return False
            if heard >= self.width:
                return True
        return False

    def _look(self, level: Grade) -> tuple[Candidate | None, bool, int]:
        """Go from the target outwards, until enough have answered or somebody can be asked.

        Return whom to ask, whether somebody closer is waited for, and how many answered.
        """
        heard, is_waiting = 0, False
        hosts: set[str] = set()
        for candidate in self._order:
            standing = candidate.standing
            if standing is Standing.SLOW or candidate.grade.value > level.value:
                continue
            if standing is Standing.ANSWERED:
                heard += self._counts(candidate) and _is_first(candidate, hosts)
                if heard >= self.width:
                    break
            elif standing is Standing.ASKED:
                is_waiting = True
            elif self._may_ask(candidate):
                return candidate, is_waiting, heard
        return None, is_waiting, heard

    def _counting(self, level: Grade) -> Iterator[Candidate]:
        """Yield who answered and is of this grade or better, one a host, closest first."""
        hosts: set[str] = set()
        for candidate in self._order:
            if candidate.standing is not Standing.ANSWERED or candidate.grade.value > level.value:
                continue
            if self._counts(candidate) and _is_first(candidate, hosts):
                yield candidate

    def _counts(self, candidate: Candidate) -> bool:
        return candidate.token is not None or not self._needs_tokens

    def _may_ask(self, candidate: Candidate) -> bool:
        if not candidate.is_vouched_for():
            return False
        host = candidate.address.host
        if is_local(host):
            return True
        site = site_of(packed_host(host))
        return host not in self._busy_hosts and (
            self._sites[site] < self._config.max_asked_per_site
        )

    def _mark_asked(self, candidate: Candidate) -> None:
        candidate.standing = Standing.ASKED
        self.asked += 1
        self.in_flight += 1
        self._waiting += 1
        host = candidate.address.host
        if not is_local(host):
            self._busy_hosts.add(host)
            self._sites[site_of(packed_host(host))] += 1
        for namer in candidate.namers:
            namer.pending += 1

    def _settle(self, candidate: Candidate, standing: Standing) -> None:
        """End what is known of a query; who failed is in nobody's way any more."""
        self.in_flight -= 1
        self._waiting -= candidate.standing is Standing.ASKED
        candidate.standing = standing
        for namer in candidate.namers:
            namer.pending -= 1
        if standing is Standing.FAILED:
            self._busy_hosts.discard(candidate.address.host)
            self._order.remove(candidate)

    def _add(self, address: PeerAddress, node_id: NodeId | None, namer: Candidate | None) -> None:
        candidate = Candidate(
            address,
            node_id,
            FARTHEST if node_id is None else distance(node_id, self.target),
            0 if namer is None else namer.hop + 1,
            node_id is None or is_valid_node_id(node_id, address.host),
            [] if namer is None else [namer],
        )
        self._known[address] = candidate
        insort(self._order, candidate, key=_by_distance)
        if len(self._order) > self._config.max_lookup_candidates:
            self._drop_farthest()

    def _drop_farthest(self) -> None:
        """Forget the farthest that nobody waits for; who answered is not asked again."""
        for position in range(len(self._order) - 1, -1, -1):
            candidate = self._order[position]
            if candidate.standing in {Standing.NEW, Standing.ANSWERED}:
                del self._order[position]
                if candidate.standing is Standing.NEW:
                    del self._known[candidate.address]
                return

    def _name_again(self, known: Candidate, node_id: NodeId, namer: Candidate) -> None:
        """Count one more word for, or against, a candidate."""
        if known.node_id is None or known.node_id == node_id:
            self._agree(known, node_id, namer)
        elif known.standing is Standing.ANSWERED:
            namer.bad += 1
        elif known.standing is Standing.NEW and known.namers:
            self._prefer_closer(known, node_id, namer)

    def _agree(self, known: Candidate, node_id: NodeId, namer: Candidate) -> None:
        if known.node_id is None and known.standing is Standing.NEW:
            self._rename(known, node_id)
        elif known.standing is Standing.ANSWERED:
            namer.good += 1
        elif known.standing is Standing.FAILED:
            namer.bad += 1
        elif known.namers and len(known.namers) < MAX_NAMERS and namer not in known.namers:
            known.namers.append(namer)
            namer.pending += known.standing is not Standing.NEW
            namer.bad += known.standing is Standing.SLOW

    def _prefer_closer(self, known: Candidate, node_id: NodeId, namer: Candidate) -> None:
        """Believe the claim that has it asked sooner: the answer tells who was right."""
        if distance(node_id, self.target) < known.distance:
            known.namers = [namer]
            known.hop = namer.hop + 1
            self._rename(known, node_id)

    def _rename(self, candidate: Candidate, node_id: NodeId) -> None:
        self._order.remove(candidate)
        candidate.node_id = node_id
        candidate.distance = distance(node_id, self.target)
        candidate.is_secure = is_valid_node_id(node_id, candidate.address.host)
        insort(self._order, candidate, key=_by_distance)


def _by_distance(candidate: Candidate) -> int:
    return candidate.distance


def _is_first(candidate: Candidate, hosts: set[str]) -> bool:
    """Tell whether this is the first of its host; on local networks each is a host of its own."""
    host = candidate.address.host
    if is_local(host):
        return True
    is_new = host not in hosts
    hosts.add(host)
    return is_new
