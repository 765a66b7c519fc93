"""Owns one search: whom to ask next on the way to a target, and when enough have answered.

Source: BEP 5 and Kademlia (iterative lookup), BEP 42 (who counts); row C2.
"""

from bisect import insort
from collections import Counter
from collections.abc import Iterable

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.protocol.dht.candidate import Candidate, Grade, Standing
from torrent_engine.protocol.dht.hosts import is_local, packed_host, site_of
from torrent_engine.protocol.dht.krpc import NodeInfo


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

    def add(self, nodes: Iterable[NodeInfo], namer: Candidate | None = None) -> None:
        """Take nodes that somebody named, or that we know ourselves."""
        for node_id, address in nodes:
            known = self._known.get(address)
            if known is None:
                self._add(address, node_id, namer)
            elif namer is not None:
                known.named(node_id, namer)
                if known.is_better(node_id):
                    self._order.remove(known)
                    known.rename(node_id)
                    known.hop = namer.hop + 1
                    insort(self._order, known, key=_by_distance)

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

    def to_ask_at_once(self, addresses: Iterable[PeerAddress]) -> list[Candidate]:
        """Return whom of these to ask besides all others; one that failed may be there now."""
        chosen: list[Candidate] = []
        for address in addresses:
            known = self._known.get(address)
            if known is None or known.standing is Standing.FAILED:
                known = self._insert(address, None, None)
            if known.standing is Standing.NEW and self._may_ask(known):
                self._mark_asked(known)
                chosen.append(known)
            self._keep_bounded()
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
        if candidate.standing is Standing.ASKED:
            self._waiting -= 1
            candidate.slow()

    def refused(self, candidate: Candidate) -> None:
        """Know that an error came: nobody lied, and there is nothing to be had."""
        self._settled(candidate)
        candidate.refused()
        self._drop(candidate)

    def failed(self, candidate: Candidate) -> None:
        """Know that no answer will come."""
        self.slow(candidate)
        self._settled(candidate)
        candidate.failed()
        self._drop(candidate)

    def answered(self, candidate: Candidate, node_id: NodeId, token: bytes | None = None) -> None:
        """Know that a candidate answered, under this id, and may be written to with a token."""
        self._settled(candidate)
        self.responded += 1
        self._order.remove(candidate)
        candidate.answered(node_id)
        candidate.token = token
        insort(self._order, candidate, key=_by_distance)

    def closest(self, count: int) -> list[Candidate]:
        """Return who answered, closest first: of sound ones alone, or others where they are few."""
        sound, others = self._answered()
        return sound[:count] if len(sound) >= count else [*sound, *others][:count]

    def to_write(self) -> list[Candidate]:
        """Return who is given something: the closest, and the less believed that are closer.

        The latter take no place of the others: a lie about an id keeps nobody from storing.
        """
        sound, others = self._answered()
        sound = sound[: self.width]
        if len(sound) == self.width:
            others = [each for each in others if each.distance < sound[-1].distance]
        return sound + others[: self.width]

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
            if standing is Standing.SLOW or candidate.grade > level:
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

    def _answered(self) -> tuple[list[Candidate], list[Candidate]]:
        """Return who answered, one a host and closest first: the sound, and all others."""
        sound: list[Candidate] = []
        others: list[Candidate] = []
        hosts: set[str] = set()
        for candidate in self._order:
            if candidate.standing is not Standing.ANSWERED or not self._counts(candidate):
                continue
            if _is_first(candidate, hosts):
                (sound if candidate.grade is Grade.SOUND else others).append(candidate)
        return sound, others

    def _counts(self, candidate: Candidate) -> bool:
        return candidate.token is not None or not self._needs_tokens

    def _may_ask(self, candidate: Candidate) -> bool:
        if not candidate.is_vouched_for:
            return False
        host = candidate.address.host
        if is_local(host):
            return True
        site = site_of(packed_host(host))
        return host not in self._busy_hosts and (
            self._sites[site] < self._config.max_asked_per_site
        )

    def _mark_asked(self, candidate: Candidate) -> None:
        candidate.asked()
        self.asked += 1
        self.in_flight += 1
        self._waiting += 1
        host = candidate.address.host
        if not is_local(host):
            self._busy_hosts.add(host)
            self._sites[site_of(packed_host(host))] += 1

    def _settled(self, candidate: Candidate) -> None:
        self.in_flight -= 1
        self._waiting -= candidate.standing is Standing.ASKED

    def _drop(self, candidate: Candidate) -> None:
        """Leave out who failed: it is in nobody's way any more, and not asked again."""
        self._busy_hosts.discard(candidate.address.host)
        self._order.remove(candidate)

    def _add(self, address: PeerAddress, node_id: NodeId | None, namer: Candidate | None) -> None:
        self._insert(address, node_id, namer)
        self._keep_bounded()

    def _insert(
        self, address: PeerAddress, node_id: NodeId | None, namer: Candidate | None
    ) -> Candidate:
        hop = 0 if namer is None else namer.hop + 1
        candidate = Candidate(address, node_id, self.target, hop, is_trusted=namer is None)
        if namer is not None and node_id is not None:
            candidate.named(node_id, namer)
        self._known[address] = candidate
        insort(self._order, candidate, key=_by_distance)
        return candidate

    def _keep_bounded(self) -> None:
        """Forget the farthest that nobody waits for; who answered is not asked again."""
        if len(self._order) <= self._config.max_lookup_candidates:
            return
        for position in range(len(self._order) - 1, -1, -1):
            candidate = self._order[position]
            if candidate.standing in {Standing.NEW, Standing.ANSWERED}:
                del self._order[position]
                if candidate.standing is Standing.NEW:
                    del self._known[candidate.address]
                return


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
