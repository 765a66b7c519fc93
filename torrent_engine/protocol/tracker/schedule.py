"""The schedule of announces: which tracker is told what, and when; back-off, tiers, events due.

Public torrents announce to one tracker of each tier, all tiers side by side; private ones
(BEP 27) to one tracker at a time over all tiers. When two of a tier have not answered, several of
it are asked at once: a list of dead trackers must not keep us from the one that lives. Whoever
answers first stays the tracker of its tier, unless one that BEP 12 puts before it answers too.
Source: BEP 3, 12, 27, 31.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from torrent_engine.base.config import TrackerConfig
from torrent_engine.base.errors import TrackerError, TrackerRefusedError
from torrent_engine.protocol.tracker.announce import (
    MAX_INTERVAL_S,
    AnnounceEvent,
    AnnounceResponse,
)
from torrent_engine.protocol.tracker.tiers import TrackerTiers
from torrent_engine.protocol.tracker.urls import parse_tracker_url

MAX_TRACKERS: Final = 100  # row A15; each tier may hold a socket
NEVER: Final = float("inf")
UNANSWERED: Final = 2  # ours: so many fail one after the other before several are asked at once
MAX_AT_ONCE: Final = 16  # ours: announces of one torrent under way; a public torrent lists about 20
FIRST_PATIENCE_S: Final = 3.0  # ours: where others wait for their turn; doubled after each failure
_JITTER: Final = 0.1  # ours: torrents started together do not come back together


@dataclass(slots=True)
class TrackerRecord:
    """What is known about one tracker; only :class:`AnnounceSchedule` changes it."""

    url: str
    message: str = ""
    """The last error or warning, unredacted; "" when all is well."""
    last_response: AnnounceResponse | None = None
    last_success_s: float | None = None
    tracker_id: bytes | None = None
    failures: int = 0
    """Announces that failed in a row."""
    next_try_s: float = 0.0
    """Back-off: not asked before this; infinity once it will never be asked again."""
    is_started: bool = False
    """It answered "started": it counts us as a peer until it hears "stopped"."""
    is_in_doubt: bool = False
    """It was told something and has not answered yet; it may count us."""
    owes_completed: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """One announce to make now; report its end with ``succeeded`` or ``failed``."""

    url: str
    event: AnnounceEvent
    tracker_id: bytes | None
    patience_s: float | None = None
    """When it has failed without an answer; None: when the client gives up."""


@dataclass(slots=True)
class _Lane:
    """Trackers that stand in for each other."""

    tiers: list[int]
    in_flight: dict[str, Attempt] = field(default_factory=dict)
    """Whom we are asking, by URL: one, or several after some did not answer."""
    tried: dict[str, int] = field(default_factory=dict)
    """Asked in this round, and the place of each in the order; the round ends with the first
    success or with nobody left to ask."""
    unanswered: int = 0
    """How many failed in this round."""
    answered: int | None = None
    """Which place in the order :attr:`current` had, while others of its round are asked."""
    current: str | None = None
    """Who answered last."""
    next_s: float = 0.0

    def end_round(self) -> None:
        """Let the next announce begin a round."""
        self.tried.clear()
        self.unanswered = 0


class AnnounceSchedule:
    """Decides; never sleeps and never sends. ``now`` is any monotonic time in seconds."""

    def __init__(
        self,
        tiers: Sequence[Sequence[str]],
        *,
        is_private: bool,
        config: TrackerConfig,
        rng: random.Random,
    ) -> None:
        self.refused: dict[str, str] = {}
        """URLs that cannot be trackers here, with the reason."""
        self._config = config
        self._rng = rng
        self._is_private = is_private
        usable = [[url for url in tier if self._is_usable(url)] for tier in tiers]
        self._tiers = TrackerTiers(_capped(usable), rng)
        self._records = {url: TrackerRecord(url) for url in self._tiers}
        self._goodbyes: list[Attempt] = []
        self._lanes = self._first_lanes()

    def records(self) -> list[TrackerRecord]:
        """Return all trackers in the order in which they would be tried."""
        return [self._records[url] for url in self._tiers]

    def tier_of(self, url: str) -> int:
        """Return the index of a tracker's tier."""
        return self._tiers.tier_of(url)

    def next_announce_s(self, url: str) -> float:
        """Return when this tracker may be asked next, if its turn comes; infinity for never."""
        return max(self._lane_of(url).next_s, self._records[url].next_try_s)

    def is_announcing(self, url: str) -> bool:
        """Say whether an announce to this tracker is under way."""
        return url in self._lane_of(url).in_flight

    def due(self, *, now: float) -> list[Attempt]:
        """Return the announces to make now, not too many of them at once."""
        attempts, self._goodbyes = self._goodbyes, []
        for lane in sorted(self._lanes, key=lambda lane: lane.next_s):  # who waits longest
            while self._may_ask(lane) and lane.next_s <= now:
                attempt = self._next_attempt(lane, now)
                if attempt is None:
                    break
                attempts.append(attempt)
        return attempts

    def next_timer(self) -> float:
        """Return when ``due`` has something to give again, as far as is known now."""
        if self._goodbyes:
            return 0.0
        if self._is_full:
            return NEVER
        waiting = [lane.next_s for lane in self._lanes if not lane.in_flight]
        return min(waiting, default=NEVER)

    def succeeded(self, attempt: Attempt, response: AnnounceResponse, *, now: float) -> float:
        """Record an answer, promote its tracker (BEP 12); return seconds to the next announce."""
        if attempt.url not in self._records:
            self._say_goodbye(attempt)
            return NEVER
        record, lane = self._end(attempt)
        record.last_response, record.last_success_s = response, now
        record.message = response.warning or ""
        record.failures, record.next_try_s = 0, now
        record.is_started = True
        record.tracker_id = response.tracker_id or record.tracker_id
        if attempt.event is not AnnounceEvent.NONE:
            record.owes_completed = record.owes_completed and attempt.event is AnnounceEvent.STARTED
        interval_s = 0.0 if record.owes_completed else self._interval_s(response)
        place = lane.tried.get(attempt.url, 0)
        if lane.answered is None or place < lane.answered:
            self._tiers.promote(attempt.url)
            lane.current, lane.answered = attempt.url, place
            lane.next_s = now + interval_s
        self._settle(lane)
        return interval_s

    def failed(self, attempt: Attempt, error: TrackerError, *, now: float) -> float:
        """Record a failure; return seconds until this tracker is asked again (BEP 31, back-off)."""
        if attempt.url not in self._records:
            if attempt.event is not AnnounceEvent.STARTED:
                self._say_goodbye(attempt)
            return NEVER
        record, lane = self._end(attempt)
        record.failures += 1
        record.message = str(error)
        record.owes_completed = record.owes_completed and record.is_started
        record.next_try_s = now + self._backoff_s(record, error)
        lane.unanswered += 1
        if lane.answered is None:
            lane.next_s = now  # the next tracker of the round is asked at once
        self._settle(lane)
        return record.next_try_s - now

    def abandoned(self, attempt: Attempt, *, now: float) -> None:
        """Record that nobody waits for an answer any more; the tracker may count us or not."""
        if attempt.url not in self._records:
            self._say_goodbye(attempt)
            return
        lane = self._lane_of(attempt.url)
        lane.in_flight.pop(attempt.url, None)
        lane.tried.pop(attempt.url, None)
        if lane.answered is None:
            lane.next_s = now
        self._settle(lane)

    def completed(self, *, now: float) -> None:
        """Owe "completed" to every tracker that knows us; it does not wait for the interval."""
        for record in self._records.values():
            record.owes_completed = record.is_started or record.is_in_doubt
        for lane in self._lanes:
            if lane.current is not None and self._records[lane.current].owes_completed:
                lane.next_s = min(lane.next_s, now)

    def want_peers(self, *, now: float) -> None:
        """Announce again as early as the minimum interval allows."""
        for lane in self._lanes:
            if lane.current is None:
                continue
            record = self._records[lane.current]
            if record.failures == 0 and record.last_success_s is not None:
                earliest_s = record.last_success_s + self._min_interval_s(record.last_response)
                lane.next_s = min(lane.next_s, max(now, earliest_s))

    def to_stop(self) -> list[Attempt]:
        """Return a "stopped" for every tracker that counts us, or may do so."""
        goodbyes, self._goodbyes = self._goodbyes, []
        return goodbyes + [
            Attempt(record.url, AnnounceEvent.STOPPED, record.tracker_id)
            for record in self.records()
            if record.is_started or record.is_in_doubt
        ]

    def reset(self) -> None:
        """Forget who counts us and what is under way: the next ``due`` starts everywhere anew.

        Back-off stays, so that stopping and starting again does not hammer a dead tracker.
        """
        for record in self._records.values():
            record.is_started = record.is_in_doubt = record.owes_completed = False
        for lane in self._lanes:
            lane.in_flight.clear()
            lane.current = lane.answered = None
            lane.end_round()
            lane.next_s = 0.0

    def add(self, url: str, tier: int | None = None) -> bool:
        """Add a tracker; False if it is there already or there are too many.

        Raises TrackerError if the URL cannot be a tracker.
        """
        parse_tracker_url(url)
        if len(self._records) >= MAX_TRACKERS or url in self._records:
            return False
        known_tiers = len(self._tiers)
        index = self._tiers.add(url, tier)
        self._records[url] = TrackerRecord(url)
        self._take_back_goodbye(self._records[url])
        if index is not None and index >= known_tiers:
            self._add_tier(index)
        elif (lane := self._lane_of(url)).next_s == NEVER:
            lane.next_s = 0.0
        return True

    def remove(self, url: str) -> bool:
        """Forget a tracker; False if it is not there. If it counts us it is told "stopped".

        While it is being asked that waits for its answer. Another of its tier takes its place.
        """
        if self.refused.pop(url, None) is not None:
            return True
        if url not in self._records:
            return False
        record, lane = self._records.pop(url), self._lane_of(url)
        if lane.in_flight.pop(url, None) is not None:
            lane.next_s = lane.next_s if lane.answered is not None else 0.0
        elif record.is_started or record.is_in_doubt:
            self._say_goodbye(Attempt(url, AnnounceEvent.STOPPED, record.tracker_id))
        if lane.current == url:
            lane.current, lane.answered, lane.next_s = None, None, 0.0
        lane.tried.pop(url, None)
        self._settle(lane)
        self._tiers.remove(url)
        return True

    def _say_goodbye(self, attempt: Attempt) -> None:
        self._goodbyes.append(replace(attempt, event=AnnounceEvent.STOPPED))

    def _take_back_goodbye(self, record: TrackerRecord) -> None:
        """Go on with a tracker that comes back before it was told "stopped"."""
        for attempt in self._goodbyes:
            if attempt.url == record.url:
                record.is_started, record.tracker_id = True, attempt.tracker_id
        self._goodbyes = [each for each in self._goodbyes if each.url != record.url]

    def _is_usable(self, url: str) -> bool:
        try:
            parse_tracker_url(url)
        except TrackerError as error:
            self.refused[url] = str(error)
            return False
        return True

    def _first_lanes(self) -> list[_Lane]:
        if self._is_private:
            return [_Lane(list(range(len(self._tiers))))]
        return [_Lane([index]) for index in range(len(self._tiers))]

    def _add_tier(self, index: int) -> None:
        if self._is_private:
            lane = self._lanes[0]
            lane.tiers.append(index)
            if lane.next_s == NEVER:
                lane.next_s = 0.0
        else:
            self._lanes.append(_Lane([index]))

    def _lane_of(self, url: str) -> _Lane:
        tier = self._tiers.tier_of(url)
        return next(lane for lane in self._lanes if tier in lane.tiers)

    def _lane_urls(self, lane: _Lane) -> list[str]:
        return [url for tier in lane.tiers for url in self._tiers.tier(tier)]

    @property
    def _is_full(self) -> bool:
        return sum(len(lane.in_flight) for lane in self._lanes) >= MAX_AT_ONCE

    def _may_ask(self, lane: _Lane) -> bool:
        """Return whether one more of a lane may be asked, as far as those under way go."""
        if not lane.in_flight:
            return not self._is_full
        if self._is_private or lane.answered is not None:
            return False
        return lane.unanswered >= UNANSWERED and not self._is_full

    def _next_attempt(self, lane: _Lane, now: float) -> Attempt | None:
        waiting = self._waiting(lane, now)
        if not waiting and not lane.in_flight:
            lane.end_round()
            waits = [self._records[url].next_try_s for url in self._lane_urls(lane)]
            lane.next_s = min(waits, default=NEVER)
            waiting = self._waiting(lane, now)
        if not waiting:
            return None
        record = waiting[0]
        lane.tried[record.url] = len(lane.tried)
        patience_s = (
            self._patience_s(record) if len(waiting) > 1 or self._others_wait(now) else None
        )
        attempt = Attempt(record.url, _event_for(record), record.tracker_id, patience_s)
        lane.in_flight[record.url] = attempt
        record.is_in_doubt = True
        return attempt

    def _waiting(self, lane: _Lane, now: float) -> list[TrackerRecord]:
        """Return who may be asked in this round, in order."""
        records = (self._records[url] for url in self._lane_urls(lane))
        return [r for r in records if r.url not in lane.tried and r.next_try_s <= now]

    def _others_wait(self, now: float) -> bool:
        """Return whether more lanes are due than may be asked at once."""
        busy = sum(len(lane.in_flight) for lane in self._lanes)
        idle = sum(not lane.in_flight and lane.next_s <= now for lane in self._lanes)
        return busy + idle > MAX_AT_ONCE

    def _patience_s(self, record: TrackerRecord) -> float | None:
        """Return how long others wait for one that never answered."""
        if self._is_private or record.last_success_s is not None:
            return None
        patience_s = FIRST_PATIENCE_S * 2.0 ** min(record.failures, 30)
        return patience_s if patience_s < self._config.total_timeout_s else None

    def _settle(self, lane: _Lane) -> None:
        """End a round that somebody answered, when nobody of it is asked any more."""
        if not lane.in_flight and lane.answered is not None:
            lane.answered = None
            lane.end_round()

    def _end(self, attempt: Attempt) -> tuple[TrackerRecord, _Lane]:
        lane = self._lane_of(attempt.url)
        lane.in_flight.pop(attempt.url, None)
        record = self._records[attempt.url]
        record.is_in_doubt = False
        return record, lane

    def _interval_s(self, response: AnnounceResponse) -> float:
        interval_s = response.interval_s or self._config.default_interval_s
        return min(max(interval_s, self._min_interval_s(response)), MAX_INTERVAL_S)

    def _min_interval_s(self, response: AnnounceResponse | None) -> float:
        asked_s = (response.min_interval_s if response else None) or 0.0
        return min(max(asked_s, self._config.min_interval_s), MAX_INTERVAL_S)

    def _backoff_s(self, record: TrackerRecord, error: TrackerError) -> float:
        if isinstance(error, TrackerRefusedError) and error.retry_in_s is not None:
            return max(error.retry_in_s, self._config.backoff_first_s)
        doubled_s = self._config.backoff_first_s * 2.0 ** min(record.failures - 1, 30)
        jitter = 1.0 + self._rng.uniform(0.0, _JITTER)
        return min(doubled_s, self._config.backoff_max_s) * jitter


def _event_for(record: TrackerRecord) -> AnnounceEvent:
    if not record.is_started:
        return AnnounceEvent.STARTED
    return AnnounceEvent.COMPLETED if record.owes_completed else AnnounceEvent.NONE


def _capped(tiers: list[list[str]]) -> list[list[str]]:
    room = MAX_TRACKERS
    kept: list[list[str]] = []
    for tier in tiers:
        kept.append(tier[:room])
        room -= len(kept[-1])
    return kept
