"""The list of known peer addresses, and the choice of the next one to dial.

Source: BEP 21 (upload only), BEP 27 (private torrents), BEP 40 (priority); rows B7 and B9. Every
method costs O(log n), except :meth:`set_external_address` and :meth:`set_wanting`, which are O(n).
"""

import random
from collections import Counter
from collections.abc import Callable, Container, Iterable
from itertools import islice
from typing import Final

from torrent_engine.base.config import PoolConfig
from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.base.operators import operator_of
from torrent_engine.policy.addresses import may_be_shared
from torrent_engine.policy.ip_filter.filter import AddressVerdicts
from torrent_engine.policy.peers.admission import Admission
from torrent_engine.policy.peers.bans import BanList
from torrent_engine.policy.peers.candidate import (
    PRIVATE_SOURCES,
    UNVERIFIED_SOURCES,
    Candidate,
    Source,
    Standing,
    count_down,
    trust_in,
)
from torrent_engine.policy.peers.dial_limiter import DialLimiter, DialOutcome
from torrent_engine.policy.peers.dial_queue import DialQueue
from torrent_engine.policy.peers.peer_priority import CanonicalPriority, is_ipv6

__all__ = ["PRIVATE_SOURCES", "CandidateList", "Source"]

RECONNECT_S: Final = 0.5  # ours: until a peer that closed all its connections accepts new ones
IN_USE_RETRY_S: Final = 10.0  # ours: retry of an address whose operator has all its connections
MAX_COLLISIONS: Final = 3  # ours: of simultaneous handshakes, before one counts as a failure
NEVER: Final = float("inf")
HEARSAY_SHARE: Final = 2  # ours: hearsay has one in so many places of a full list
HEARSAY_IN_A_ROW: Final = 3  # ours: of four dials one is of who was not only named by strangers
_FORGOTTEN_FOR_HEARSAY: Final = {Standing.NAMED, Standing.HEARSAY}
_FORGOTTEN_FOR_OTHERS: Final = _FORGOTTEN_FOR_HEARSAY | {Standing.BY_US}
PRIORITIES_PER_TURN: Final = 500  # ours: at up to 10 us each; another part follows each second
TURN_WAIT_S: Final = 60.0  # ours: a fallback, longer than any handshake; its end is signalled


def _badness(candidate: Candidate) -> tuple[Standing, int]:
    return candidate.standing, candidate.rank


class CandidateList:
    """The known addresses, ranked by the results of dials and connections."""

    def __init__(
        self,
        config: PoolConfig,
        rng: random.Random,
        *,
        is_private: bool = False,
        bans: BanList | None = None,
        dial_limiter: DialLimiter | None = None,
        ip_filter: AddressVerdicts | None = None,
    ) -> None:
        self._config = config
        self._rng = rng
        self._bans = BanList(config) if bans is None else bans
        self._limiter = DialLimiter(config) if dial_limiter is None else dial_limiter
        self.admission = Admission(self._bans, ip_filter, is_private=is_private)
        self._candidates: dict[PeerAddress, Candidate] = {}
        self.of_v2: set[PeerAddress] = set()
        """Those found in the v2 swarm of a hybrid torrent, and dialled with its hash (BEP 52)."""
        self._of_operator: dict[str, dict[PeerAddress, None]] = {}
        self._per_source: Counter[Source] = Counter()
        self._busy_per_operator: Counter[str] = Counter()
        self._waiting = DialQueue()
        self._hearsay_in_a_row = 0
        """Dials of hearsay since the last one of another candidate."""
        self._held_back: dict[str, dict[PeerAddress, float]] = {}
        """Destination -> candidates waiting for the end of a handshake with it, and since when."""
        self._on_turn: Callable[[], None] = lambda: None
        self._on_reached: Callable[[PeerAddress], None] = lambda _address: None
        self._on_not_reached: Callable[[PeerAddress], None] = lambda _address: None
        self._is_wanting = True
        self._outdated: dict[PeerAddress, None] = {}
        """Whose priority is to be computed again."""
        self._own = CanonicalPriority(rng)

    def __len__(self) -> int:
        """Return the number of candidates, idle and busy."""
        return len(self._candidates)

    def __contains__(self, address: object) -> bool:
        """Return whether an address is known."""
        return address in self._candidates

    def dial_with(self, on_turn: Callable[[], None]) -> None:
        """Call ``on_turn`` when :meth:`next_to_dial` is worth a call sooner than it said.

        If it is the turn of a destination, a callback that does not call it leaves it to others.
        """
        self._on_turn = on_turn

    def report_dials(
        self,
        on_reached: Callable[[PeerAddress], None],
        on_not_reached: Callable[[PeerAddress], None],
    ) -> None:
        """Call these with each candidate that sent a handshake, and each that was not reached.

        A peer that accepted the connection and closed it at once is neither.
        """
        self._on_reached = on_reached
        self._on_not_reached = on_not_reached

    def sources(self, address: PeerAddress) -> Source:
        """Return the sources of a peer; empty if it is unknown."""
        candidate = self._candidates.get(address)
        return Source(0) if candidate is None else candidate.sources

    def origin(self, address: PeerAddress) -> Source:
        """Return the first source of a peer; empty if it is unknown."""
        candidate = self._candidates.get(address)
        return Source(0) if candidate is None else candidate.origin

    def count_from(self, source: Source) -> int:
        """Return the number of candidates that have this source, among others or alone."""
        return self._per_source[source]

    def add(
        self, address: PeerAddress, source: Source, now: float, *, allow_local: bool = True
    ) -> bool:
        """Add a peer and return whether it is new.

        Refused are: addresses that cannot be dialled, our own, banned and filtered ones, sources
        that a private torrent must not use, local ones unless ``allow_local`` (False for peers
        learned from another network), addresses over the limit of their operator, and, if the
        list is full, any that ranks no better than the worst. Hearsay makes room for better
        sources; who was named by the user is never forgotten for another.
        """
        known = self._candidates.get(address)
        if known is not None:
            self._add_source(known, source, now)
            return False
        if self._is_refused(address, source, now, allow_local=allow_local):
            return False
        candidate = Candidate(
            address, source, trust_in(source), self._own.priority(address), source
        )
        if not (self._make_room_at_operator(candidate) and self._make_room(candidate)):
            return False
        self._candidates[address] = candidate
        self._of_operator.setdefault(operator_of(address.host), {})[address] = None
        self._per_source.update(source)
        self._wait_until(candidate, now)
        return True

    def exclude(self, address: PeerAddress) -> None:
        """Never dial this address: it is our own."""
        self.admission.exclude(address)
        self._remove(address)

    def forget(self, addresses: Iterable[PeerAddress], source: Source) -> None:
        """Remove waiting peers that have only this source."""
        for address in addresses:
            candidate = self._candidates.get(address)
            if candidate is not None and not candidate.busy and candidate.sources == source:
                self._remove(address)

    def become_private(self) -> list[PeerAddress]:
        """Accept peers of private sources only from now on (BEP 27); remove all others.

        Returns the removed peers that are being dialled or connected: their connections must end.
        """
        self.admission.is_private = True
        public = [c for c in self._candidates.values() if not c.sources & PRIVATE_SOURCES]
        busy = [candidate.address for candidate in public if candidate.busy]
        for candidate in public:
            self._remove(candidate.address)
        for candidate in self._candidates.values():
            self._per_source.subtract(candidate.sources & ~PRIVATE_SOURCES)
            candidate.sources &= PRIVATE_SOURCES
            candidate.trust = trust_in(candidate.sources)
            self._requeue(candidate)
        return busy

    def set_external_address(self, address: PeerAddress) -> None:
        """Set our external address in one family, from which BEP 40 priorities are computed.

        A candidate at that address is kept, and dialled once another takes its place: peers may lie
        about it. Each call computes a part of the priorities anew: call it again with the same
        address, such as once a second.
        """
        if address not in self._own:
            before = self._own.set_address(address)
            for each in (before, address):
                if each in self._candidates:
                    self._requeue(self._candidates[each])
            if before in self._candidates:
                self._on_turn()
            family = is_ipv6(address)
            same = (each for each in self._candidates if is_ipv6(each) == family)
            self._outdated.update(dict.fromkeys(same))
        for each in tuple(islice(self._outdated, PRIORITIES_PER_TURN)):
            del self._outdated[each]
            candidate = self._candidates[each]
            candidate.priority = self._own.priority(each)
            self._requeue(candidate)

    def canonical_priority(self, address: PeerAddress) -> int | None:
        """Return a peer's priority (BEP 40), more is better; None while our address is unknown."""
        return self._own.canonical(address)

    def next_to_dial(self, now: float, in_use: Container[str] = ()) -> PeerAddress | None:
        """Return the peer to dial now, if any, and mark it as busy.

        ``in_use`` are operators that have all their connections. After each dial call
        :meth:`mark_connected` or :meth:`mark_failed`: until then, torrents with the same limiter
        start few dials of that destination, or none if it never answered.
        """
        is_hearsays_turn = self._hearsay_in_a_row < HEARSAY_IN_A_ROW
        last = None if is_hearsays_turn else Standing.HEARSAY
        while (address := self._waiting.pop(now, last=last)) is not None:
            candidate = self._candidates[address]
            if self.admission.forbids_dial(address, now):
                self._remove(address)
            elif self._limiter.is_full(self._destination(address), now):
                self._hold_back(candidate, now)
            elif (free_at := self._free_at(address, now, in_use)) > now:
                self._wait_until(candidate, free_at)
            else:
                self._begin_dialling(candidate, now)
                return address
        return None

    def dial_now(self, address: PeerAddress, now: float) -> bool:
        """Mark a waiting peer as busy, as :meth:`next_to_dial`; return False if it must wait."""
        candidate = self._candidates.get(address)
        if candidate is None or candidate.busy or address in self._own:
            return False
        if self.admission.forbids_dial(address, now):
            return False
        is_full = self._limiter.is_full(self._destination(address), now)
        if is_full or self._free_at(address, now, ()) > now:
            return False
        self._begin_dialling(candidate, now)
        return True

    def dial_again(self, address: PeerAddress, now: float) -> bool:
        """Record a dial of a busy peer in another way; return False if it must not be dialled."""
        candidate = self._candidates.get(address)
        if candidate is None or candidate.dial is None or address in self._own:
            return False
        if self._limited_until(candidate, now) > now or self.admission.forbids_dial(address, now):
            return False
        self._limiter.again(candidate.dial, now)
        return True

    def next_due(self, now: float) -> float | None:
        """Return when :meth:`next_to_dial` may return a peer at the earliest; None if never."""
        due = self._waiting.next_due(now)
        return None if due == NEVER else due

    def is_seed(self, address: PeerAddress) -> bool:
        """Return whether a peer was upload-only at the end of a connection, or is said to be."""
        return address in self._candidates and self._candidates[address].is_seed

    def note_seed(self, address: PeerAddress, *, is_seed: bool, by_hearsay: bool = False) -> bool:
        """Record whether a peer was upload-only when its connection ended (BEP 21).

        ``by_hearsay``: a PEX message says so (BEP 11). That changes nothing of what the peer said
        itself, and counts until another source names it. Return whether it is a seed no more.
        """
        candidate = self._candidates.get(address)
        if candidate is None:
            return False
        was_seed = candidate.is_seed
        if by_hearsay and was_seed and not candidate.is_seed_by_hearsay:
            return False
        candidate.is_seed, candidate.is_seed_by_hearsay = is_seed, is_seed and by_hearsay
        self._requeue(candidate)
        return was_seed and not is_seed

    def set_wanting(self, *, wanting: bool) -> None:
        """Set whether we want any piece; while not, seeds are not dialled, whatever their source.

        They stay in the list; when pieces are wanted again, those without failures are due at
        once.
        """
        if wanting == self._is_wanting:
            return
        self._is_wanting = wanting
        for candidate in self._candidates.values():
            if candidate.is_seed:
                candidate.due = candidate.due if candidate.failures or not wanting else 0.0
                self._requeue(candidate)
        self._on_turn()

    def mark_connected(self, address: PeerAddress, now: float) -> None:
        """Record a completed handshake, whoever dialled."""
        if (candidate := self._candidates.get(address)) is not None:
            candidate.failures = candidate.collisions = 0
            candidate.connected_at = now
            self._set_busy(candidate)
            self._end_dialling(candidate, DialOutcome.ANSWERED)
            self._on_reached(address)

    def mark_failed(self, address: PeerAddress, now: float, *, hung_up: bool = False) -> None:
        """Record a failed dial: retry with backoff, forget the peer after too many failures.

        ``hung_up``: the peer accepted the connection but closed it before answering our handshake,
        as some clients do during a handshake with another of our torrents. The first retries are
        then quick, as for a peer added by the user. If another handshake with the same destination
        was pending, this one is retried after it. It is no failure if the peer connected to us in
        the meantime.
        """
        candidate = self._candidates.get(address)
        if candidate is None or (candidate.busy and candidate.dial is None):
            return
        if hung_up and candidate.dial is not None and candidate.dial.is_concurrent:
            candidate.collisions += 1
            if candidate.collisions <= MAX_COLLISIONS:
                self._end_busy(candidate, DialOutcome.HUNG_UP)
                self._wait_until(candidate, now)
                return
        self._failed(candidate, now, hung_up=hung_up)

    def mark_disconnected(
        self, address: PeerAddress, now: float, *, good: bool, reconnects_soon: bool = False
    ) -> None:
        """Record the end of a connection; ``good``: the peer is worth dialling again.

        ``reconnects_soon``: the peer fetched the metadata and is expected to accept a connection
        for the payload at once; it is dialled soon, once.
        """
        candidate = self._candidates.get(address)
        if candidate and good:
            candidate.failures = 0
            self._end_busy(candidate, DialOutcome.ANSWERED)
            is_soon = reconnects_soon and not candidate.reconnected_soon
            candidate.reconnected_soon = candidate.reconnected_soon or is_soon
            wait_s = RECONNECT_S if is_soon else self._config.backoff_first_s
            self._wait_until(candidate, now + wait_s)
        elif candidate:
            self._failed(candidate, now, hung_up=False)

    def _failed(self, candidate: Candidate, now: float, *, hung_up: bool) -> None:
        candidate.failures += 1
        is_hopeless = candidate.failures >= self._config.max_failures
        if is_hopeless and not candidate.sources & Source.MANUAL:
            self._remove(candidate.address)
        else:
            outcome = DialOutcome.HUNG_UP if hung_up else DialOutcome.FAILED
            self._end_busy(candidate, outcome)
            is_quick = hung_up or bool(candidate.sources & Source.MANUAL)
            wait_s = candidate.backoff_s(self._config, self._rng, is_quick=is_quick)
            self._wait_until(candidate, now + wait_s)
        if not hung_up:
            self._on_not_reached(candidate.address)

    def all_idle(self, now: float) -> None:
        """Record that all dials and connections ended; busy peers may be dialled at once."""
        for candidate in self._candidates.values():
            if candidate.busy:
                self._end_busy(candidate)
                self._wait_until(candidate, now)

    def ban(self, address: PeerAddress, peer_id: PeerId | None, now: float) -> None:
        """Ban a peer; several banned peers of one operator ban it whole (row B7)."""
        self._bans.ban(address, peer_id, now)
        self._remove(address)

    def is_banned(self, address: PeerAddress, peer_id: PeerId | None, now: float) -> bool:
        """Return whether a peer is forbidden by a ban or by the IP filter."""
        return self.admission.forbids(address, peer_id, now)

    def proven(self, count: int) -> list[PeerAddress]:
        """Return peers worth dialling in a later run, the best first.

        First peers with good connections, the latest first; then those of an earlier run that were
        not dialled in this one.
        """
        proven = [each for each in self._candidates.values() if each.is_proven]
        proven.sort(key=lambda each: each.connected_at, reverse=True)
        return [each.address for each in proven[:count]]

    def _is_refused(
        self, address: PeerAddress, source: Source, now: float, *, allow_local: bool
    ) -> bool:
        if address in self._own:
            return True
        return self.admission.refuses(address, source, now, allow_local=allow_local)

    def _add_source(self, candidate: Candidate, source: Source, now: float) -> None:
        before = candidate.trust, candidate.standing
        self._per_source.update(source & ~candidate.sources)
        candidate.sources |= source
        candidate.trust = trust_in(candidate.sources)
        if candidate.is_seed_by_hearsay and source != Source.PEX:
            self.note_seed(candidate.address, is_seed=False, by_hearsay=True)
        if candidate.busy:
            return
        if source & Source.MANUAL:  # the user wants it now
            self._wait_until(candidate, now)
        elif (candidate.trust, candidate.standing) != before:
            self._requeue(candidate)

    def _make_room_at_operator(self, new: Candidate) -> bool:
        """Evict the worst of an operator with all its ports; False if it is none worse."""
        host = new.address.host
        known = self._of_operator.get(operator_of(host), ())
        if len(known) < self._config.max_candidates_per_ip or may_be_shared(host, self._config):
            return True
        waiting = (each for each in map(self._candidates.__getitem__, known) if not each.busy)
        worst = max(waiting, key=_badness, default=None)
        if worst is None or _badness(worst) <= _badness(new):
            return False
        self._remove(worst.address)
        return True

    def _make_room(self, new: Candidate) -> bool:
        """Evict the oldest of the worst waiting peers if the list is full; False if none."""
        most = self._config.max_candidates
        if len(self._candidates) < most:
            return True
        if self._waiting.count_of(Standing.HEARSAY) * HEARSAY_SHARE >= most:
            kinds = {Standing.HEARSAY}
        elif new.standing is Standing.HEARSAY:
            kinds = _FORGOTTEN_FOR_HEARSAY
        else:
            kinds = _FORGOTTEN_FOR_OTHERS
        worst = self._waiting.worst(kinds)
        if worst is None or worst[0] <= new.rank:
            return False
        self._remove(worst[1])
        return True

    def _hold_back(self, candidate: Candidate, now: float) -> None:
        """Delay a candidate until the handshake with its destination has ended."""
        destination = self._destination(candidate.address)
        self._held_back.setdefault(destination, {})[candidate.address] = now
        self._wait_until(candidate, now + TURN_WAIT_S)
        self._limiter.wait_for(destination, self._on_handshake_slot)

    def _on_handshake_slot(self, destination: str) -> None:
        for address, since in self._held_back.pop(destination, {}).items():
            if self._waiting.due(address) is not None:
                self._wait_until(self._candidates[address], since)
        self._on_turn()

    def _free_at(self, address: PeerAddress, now: float, in_use: Container[str]) -> float:
        """Return when the limits of its operator permit dialling this peer."""
        operator = operator_of(address.host)
        if not may_be_shared(operator, self._config) and (
            operator in in_use
            or self._busy_per_operator[operator] >= self._config.max_connections_per_ip
        ):
            return now + IN_USE_RETRY_S
        return self._limited_until(self._candidates[address], now)

    def _limited_until(self, candidate: Candidate, now: float) -> float:
        """Return when the dial limiter permits this dial; verified sources have a higher limit."""
        if candidate.sources & Source.MANUAL:
            return now
        is_known = bool(candidate.sources & ~UNVERIFIED_SOURCES)
        destination = self._destination(candidate.address)
        return self._limiter.free_at(destination, now, is_known=is_known)

    def _destination(self, address: PeerAddress) -> str:
        host = address.host
        return str(address) if may_be_shared(host, self._config) else operator_of(host)

    def _wait_until(self, candidate: Candidate, due: float) -> None:
        candidate.due = due
        if (candidate.is_seed and not self._is_wanting) or candidate.address in self._own:
            due = NEVER
        rank, priority, kind = candidate.rank, candidate.priority, candidate.standing
        self._waiting.put(candidate.address, rank, priority, due, kind=kind)

    def _requeue(self, candidate: Candidate) -> None:
        """Queue a waiting candidate again by its current rank."""
        if not candidate.busy:
            self._wait_until(candidate, candidate.due)

    def _set_busy(self, candidate: Candidate) -> None:
        self._waiting.discard(candidate.address)
        if not candidate.busy:
            candidate.busy = True
            self._busy_per_operator[operator_of(candidate.address.host)] += 1

    def _begin_dialling(self, candidate: Candidate, now: float) -> None:
        is_hearsay = candidate.standing is Standing.HEARSAY
        self._hearsay_in_a_row = self._hearsay_in_a_row + 1 if is_hearsay else 0
        candidate.dial = self._limiter.begin(self._destination(candidate.address), now)
        self._set_busy(candidate)

    def _end_dialling(self, candidate: Candidate, outcome: DialOutcome) -> None:
        dial, candidate.dial = candidate.dial, None
        if dial is not None:
            self._limiter.end(dial, outcome)

    def _end_busy(self, candidate: Candidate, outcome: DialOutcome = DialOutcome.FAILED) -> None:
        if candidate.busy:
            candidate.busy = False
            count_down(self._busy_per_operator, operator_of(candidate.address.host))
        self._end_dialling(candidate, outcome)

    def _remove(self, address: PeerAddress) -> None:
        if (candidate := self._candidates.pop(address, None)) is not None:
            self.of_v2.discard(address)
            self._outdated.pop(address, None)
            self._waiting.discard(address)
            self._per_source.subtract(candidate.sources)
            self._forget_at_operator(address)
            self._end_busy(candidate)

    def _forget_at_operator(self, address: PeerAddress) -> None:
        operator = operator_of(address.host)
        del self._of_operator[operator][address]
        if not self._of_operator[operator]:
            del self._of_operator[operator]
