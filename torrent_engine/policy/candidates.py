"""Owns one list: the peers that we know of and may dial, each idle or busy, and whose turn it is.

Source: BEP 21 (upload only), BEP 27 (private torrents), BEP 40 (priority); rows B7 and B9. Every
verb costs O(log n), but :meth:`set_own_address` and :meth:`set_wanting` look at all.
"""

import random
from collections import Counter
from collections.abc import Callable, Container, Iterable
from typing import Final

from torrent_engine.base.config import PoolConfig
from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.base.operators import operator_of
from torrent_engine.policy.addresses import may_be_shared
from torrent_engine.policy.admission import Admission
from torrent_engine.policy.bans import BanList
from torrent_engine.policy.candidate import PRIVATE_SOURCES, Candidate, Source, count_down, trust_in
from torrent_engine.policy.dial_limiter import DialLimiter
from torrent_engine.policy.dial_queue import DialQueue
from torrent_engine.policy.ip_filter import AddressVerdicts
from torrent_engine.policy.peer_priority import OwnPriority, is_ipv6

__all__ = ["PRIVATE_SOURCES", "CandidateList", "Source"]

IN_USE_RETRY_S: Final = 10.0  # ours: how soon an address that has its links is looked at again
NEVER: Final = float("inf")
TURN_WAIT_S: Final = 60.0  # ours: longer than any handshake takes, whose end is told of anyway


class CandidateList:
    """Says whom to dial next; told of every dial's and every link's end."""

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
        self._per_operator: Counter[str] = Counter()
        self._per_source: Counter[Source] = Counter()
        self._busy_per_operator: Counter[str] = Counter()
        self._waiting = DialQueue()
        self._held_back: dict[str, dict[PeerAddress, float]] = {}
        """Who waits for the end of a handshake with a destination, and since when."""
        self.on_turn: Callable[[], None] = lambda: None
        """Called when :meth:`next_to_dial` is worth a call sooner than it said."""
        self.on_reached: Callable[[PeerAddress], None] = lambda _address: None
        """Hears of each candidate that a handshake came from."""
        self.on_not_reached: Callable[[PeerAddress], None] = lambda _address: None
        """Hears of each dial that failed, but for peers that were there and hung up at once."""
        self._is_wanting = True
        self._own = OwnPriority(rng)

    def __len__(self) -> int:
        """Return the number of candidates, idle and busy."""
        return len(self._candidates)

    def __contains__(self, address: object) -> bool:
        """Tell whether an address is known."""
        return address in self._candidates

    def sources(self, address: PeerAddress) -> Source:
        """Return who told us of a peer; empty if it is not known."""
        candidate = self._candidates.get(address)
        return Source(0) if candidate is None else candidate.sources

    def origin(self, address: PeerAddress) -> Source:
        """Return who was the first to tell us of a peer; empty if it is not known."""
        candidate = self._candidates.get(address)
        return Source(0) if candidate is None else candidate.origin

    def count_from(self, source: Source) -> int:
        """Return how many candidates a source named, as the only one or as one of several."""
        return self._per_source[source]

    def add(
        self, address: PeerAddress, source: Source, now: float, *, allow_local: bool = True
    ) -> bool:
        """Note a peer and return whether it is new.

        Refused are: addresses that cannot be dialled, our own, banned and filtered ones, those that
        a private torrent must not use, local ones unless ``allow_local`` (False for what someone
        from elsewhere says), more of one operator than allowed, and, when the list is full,
        whoever is no better than the worst that is there.
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
        if not self._make_room(candidate.rank):
            return False
        self._candidates[address] = candidate
        self._per_operator[operator_of(address.host)] += 1
        self._per_source.update(source)
        self._wait_until(candidate, now)
        return True

    def exclude(self, address: PeerAddress) -> None:
        """Never dial this address: it is our own."""
        self.admission.exclude(address)
        self._remove(address)

    def forget(self, addresses: Iterable[PeerAddress], source: Source) -> None:
        """Drop who waits and was named by nobody but this source."""
        for address in addresses:
            candidate = self._candidates.get(address)
            if candidate is not None and not candidate.busy and candidate.sources == source:
                self._remove(address)

    def become_private(self) -> list[PeerAddress]:
        """Take peers of private sources only from now on (BEP 27), and forget all others.

        Returns those of them that are dialled or linked now: their links must end.
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
            self._place_again(candidate)
        return busy

    def set_own_address(self, address: PeerAddress) -> None:
        """Tell how peers of one family see us: the canonical priority (BEP 40) follows from it.

        It is not dialled until another takes its place.
        """
        self._own.set_address(address)
        self._remove(address)
        for candidate in self._candidates.values():
            if is_ipv6(candidate.address) == is_ipv6(address):
                candidate.priority = self._own.priority(candidate.address)
                self._place_again(candidate)

    def canonical_priority(self, address: PeerAddress) -> int | None:
        """Return a peer's priority (BEP 40), more is better; None while ours is not known."""
        return self._own.canonical(address)

    def next_to_dial(self, now: float, in_use: Container[str] = ()) -> PeerAddress | None:
        """Return whom to dial now, if anybody, and regard the peer as busy from now on.

        ``in_use`` are operators that have all the links they may have. After each dial call
        :meth:`mark_connected` or :meth:`mark_failed`: until then nobody who has the same limiter
        dials that destination.
        """
        while (address := self._waiting.pop(now)) is not None:
            candidate = self._candidates[address]
            if self.admission.forbids_dial(address, now):
                self._remove(address)
            elif self._limiter.is_shaking_hands(self._destination(address)):
                self._hold_back(candidate, now)
            elif (free_at := self._free_at(address, now, in_use)) > now:
                self._wait_until(candidate, free_at)
            else:
                self._begin_dialling(candidate, now)
                return address
        return None

    def dial_now(self, address: PeerAddress, now: float) -> bool:
        """Regard one that waits as busy, as :meth:`next_to_dial` does; False if it must wait."""
        candidate = self._candidates.get(address)
        if candidate is None or candidate.busy or self.admission.forbids_dial(address, now):
            return False
        is_taken = self._limiter.is_shaking_hands(self._destination(address))
        if is_taken or self._free_at(address, now, ()) > now:
            return False
        self._begin_dialling(candidate, now)
        return True

    def dial_again(self, address: PeerAddress, now: float) -> bool:
        """Count one more dial of one that is dialled, in another way; False if it must not be."""
        candidate = self._candidates.get(address)
        if candidate is None or not candidate.dialling:
            return False
        if self._limited_until(candidate, now) > now or self.admission.forbids_dial(address, now):
            return False
        self._limiter.again(self._destination(address), now)
        return True

    def next_due(self, now: float) -> float | None:
        """Return when :meth:`next_to_dial` may have an answer at the earliest, None if never."""
        due = self._waiting.next_due(now)
        return None if due == NEVER else due

    def is_seed(self, address: PeerAddress) -> bool:
        """Tell whether a peer had nothing to ask for when its last link ended."""
        return address in self._candidates and self._candidates[address].is_seed

    def note_seed(self, address: PeerAddress, *, is_seed: bool) -> None:
        """Record whether a peer, when its link ended, had nothing to ask for (BEP 21)."""
        if (candidate := self._candidates.get(address)) is not None:
            candidate.is_seed = is_seed
            self._place_again(candidate)

    def set_wanting(self, *, wanting: bool) -> None:
        """Tell whether we want any piece: if not, seeds are not dialled, whoever named them.

        They are remembered, and count again when something is wanted: at once if nothing but that
        kept us apart.
        """
        if wanting == self._is_wanting:
            return
        self._is_wanting = wanting
        for candidate in self._candidates.values():
            if candidate.is_seed:
                candidate.due = candidate.due if candidate.failures or not wanting else 0.0
                self._place_again(candidate)
        self.on_turn()

    def mark_connected(self, address: PeerAddress, now: float) -> None:
        """Record that a peer passed the handshake, whoever dialled."""
        if (candidate := self._candidates.get(address)) is not None:
            candidate.failures = 0
            candidate.connected_at = now
            self._set_busy(candidate)
            self._end_dialling(candidate)
            self.on_reached(address)

    def mark_failed(self, address: PeerAddress, now: float, *, hung_up: bool = False) -> None:
        """Record a failed dial: try again after a growing time, forget after too many.

        ``hung_up`` says that the peer was there but closed the link before it answered our
        handshake, as some do while they shake hands with another of our torrents: the first
        retries come soon then, and so they do for a peer that the user named. A dial is no failure
        if the peer came by itself meanwhile.
        """
        candidate = self._candidates.get(address)
        if candidate and (candidate.dialling or not candidate.busy):
            self._failed(candidate, now, hung_up=hung_up)

    def mark_disconnected(self, address: PeerAddress, now: float, *, good: bool) -> None:
        """Record the end of a link; ``good`` says that the peer is worth dialling again."""
        candidate = self._candidates.get(address)
        if candidate and good:
            candidate.failures = 0
            self._end_busy(candidate)
            self._wait_until(candidate, now + self._config.backoff_first_s)
        elif candidate:
            self._failed(candidate, now, hung_up=False)

    def _failed(self, candidate: Candidate, now: float, *, hung_up: bool) -> None:
        candidate.failures += 1
        is_hopeless = candidate.failures >= self._config.max_failures
        if is_hopeless and not candidate.sources & Source.MANUAL:
            self._remove(candidate.address)
        else:
            self._end_busy(candidate)
            is_quick = hung_up or bool(candidate.sources & Source.MANUAL)
            wait_s = candidate.backoff_s(self._config, self._rng, is_quick=is_quick)
            self._wait_until(candidate, now + wait_s)
        if not hung_up:
            self.on_not_reached(candidate.address)

    def all_idle(self, now: float) -> None:
        """Record that no dial and no link is left; whoever was busy may be dialled at once."""
        for candidate in self._candidates.values():
            if candidate.busy:
                self._end_busy(candidate)
                self._wait_until(candidate, now)

    def ban(self, address: PeerAddress, peer_id: PeerId | None, now: float) -> None:
        """Keep a peer out for a while; several of one operator keep all of it out (row B7)."""
        self._bans.ban(address, peer_id, now)
        self._remove(address)

    def is_banned(self, address: PeerAddress, peer_id: PeerId | None, now: float) -> bool:
        """Tell whether a link with this peer must not be: by a ban, or by the IP filter."""
        return self.admission.forbids(address, peer_id, now)

    def proven(self, count: int) -> list[PeerAddress]:
        """Return peers worth dialling in a later run, the best first.

        First whose last link ended well, the latest first; then those of an earlier run that were
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
        count = self._per_operator[operator_of(address.host)]
        is_crowded = count >= self._config.max_candidates_per_ip
        if is_crowded and not may_be_shared(address.host, self._config):
            return True
        return self.admission.refuses(address, source, now, allow_local=allow_local)

    def _add_source(self, candidate: Candidate, source: Source, now: float) -> None:
        trust_before = candidate.trust
        self._per_source.update(source & ~candidate.sources)
        candidate.sources |= source
        candidate.trust = trust_in(candidate.sources)
        if candidate.busy:
            return
        if source & Source.MANUAL:  # somebody who names a peer by hand wants it now
            self._wait_until(candidate, now)
        elif candidate.trust != trust_before:
            self._place_again(candidate)

    def _make_room(self, rank: int) -> bool:
        """Evict the oldest of the worst that wait if the list is full; False if none is worse."""
        if len(self._candidates) < self._config.max_candidates:
            return True
        worst = self._waiting.worst()
        if worst is None or worst[0] <= rank:
            return False
        self._remove(worst[1])
        return True

    def _hold_back(self, candidate: Candidate, now: float) -> None:
        """Let a candidate wait until the handshake with its destination has ended."""
        destination = self._destination(candidate.address)
        self._held_back.setdefault(destination, {})[candidate.address] = now
        self._wait_until(candidate, now + TURN_WAIT_S)
        self._limiter.wait_for(destination, self._turn_came)

    def _turn_came(self, destination: str) -> None:
        for address, since in self._held_back.pop(destination, {}).items():
            if self._waiting.due(address) is not None:
                self._wait_until(self._candidates[address], since)
        self.on_turn()

    def _free_at(self, address: PeerAddress, now: float, in_use: Container[str]) -> float:
        """Return when this peer may be dialled as far as its operator is concerned."""
        operator = operator_of(address.host)
        if not may_be_shared(operator, self._config) and (
            operator in in_use or self._busy_per_operator[operator] >= self._config.max_per_ip
        ):
            return now + IN_USE_RETRY_S
        return self._limited_until(self._candidates[address], now)

    def _limited_until(self, candidate: Candidate, now: float) -> float:
        """Return when the limit of dials lets this one be: only hearsay can be abused."""
        if candidate.sources & Source.MANUAL:
            return now
        return self._limiter.free_at(self._destination(candidate.address), now)

    def _destination(self, address: PeerAddress) -> str:
        host = address.host
        return str(address) if may_be_shared(host, self._config) else operator_of(host)

    def _wait_until(self, candidate: Candidate, due: float) -> None:
        candidate.due = due
        if candidate.is_seed and not self._is_wanting:
            due = NEVER
        self._waiting.put(candidate.address, candidate.rank, candidate.priority, due)

    def _place_again(self, candidate: Candidate) -> None:
        """Put a candidate that waits where it belongs now."""
        if not candidate.busy:
            self._wait_until(candidate, candidate.due)

    def _set_busy(self, candidate: Candidate) -> None:
        self._waiting.discard(candidate.address)
        if not candidate.busy:
            candidate.busy = True
            self._busy_per_operator[operator_of(candidate.address.host)] += 1

    def _begin_dialling(self, candidate: Candidate, now: float) -> None:
        self._limiter.begin(self._destination(candidate.address), now)
        self._set_busy(candidate)
        candidate.dialling = True

    def _end_dialling(self, candidate: Candidate) -> None:
        if candidate.dialling:
            candidate.dialling = False
            self._limiter.end(self._destination(candidate.address))

    def _end_busy(self, candidate: Candidate) -> None:
        self._end_dialling(candidate)
        if candidate.busy:
            candidate.busy = False
            count_down(self._busy_per_operator, operator_of(candidate.address.host))

    def _remove(self, address: PeerAddress) -> None:
        if (candidate := self._candidates.pop(address, None)) is not None:
            self._waiting.discard(address)
            self._end_busy(candidate)
            self._per_source.subtract(candidate.sources)
            count_down(self._per_operator, operator_of(address.host))
