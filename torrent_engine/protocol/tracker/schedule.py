"""The announce schedule of one torrent: trackers, events, times, backoff and tiers.

Public torrents announce to one tracker of each tier, all tiers in parallel; private ones (BEP 27)
to one tracker at a time over all tiers. After two failures in a tier, several of its trackers are
tried at once, so that a list of dead trackers does not delay the working one. The first to respond
becomes the tracker of its tier, unless one that precedes it in the order of BEP 12 responds too.
Source: BEP 3, 12, 27, 31.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from torrent_engine.base.config import TrackerConfig
from torrent_engine.base.errors import TrackerError, TrackerRefusedError, TrackerTimeoutError
from torrent_engine.protocol.tracker.announce import (
    MAX_INTERVAL_S,
    NOTHING_MOVED,
    AnnounceEvent,
    AnnounceResponse,
    AnnounceTotals,
)
from torrent_engine.protocol.tracker.tiers import TrackerTiers
from torrent_engine.protocol.tracker.urls import parse_tracker_url

MAX_TRACKERS: Final = 100  # row A15; each tier may use a socket
MAX_REFUSED: Final = 100  # ours: URLs of one torrent that are shown as unusable
NEVER: Final = float("inf")
UNANSWERED: Final = 2  # ours: failures in a row before several trackers are tried at once
MAX_AT_ONCE: Final = (
    16  # ours: simultaneous announces of one torrent; public torrents list about 20
)
FIRST_PATIENCE_S: Final = 3.0  # ours: if further trackers can be tried; doubled after each failure
_JITTER: Final = 0.1  # ours: spreads the announces of torrents started together


@dataclass(slots=True)
class TrackerRecord:
    """The state of one tracker; only :class:`AnnounceSchedule` changes it."""

    url: str
    message: str = ""
    """The last error or warning, unredacted; "" without one."""
    last_response: AnnounceResponse | None = None
    last_success_s: float | None = None
    tracker_id: bytes | None = None
    failures: int = 0
    """Failed announces in a row."""
    next_try_s: float = 0.0
    """No announce before this time; infinity: never again."""
    announced_s: float = float("-inf")
    """When the last announce was sent."""
    retry_after_s: float = 0.0
    """"retry in" of a refused announce (BEP 31): no announce before this time."""
    is_started: bool = False
    """It confirmed "started": we are listed as a peer until "stopped"."""
    is_unconfirmed: bool = False
    """An announce was sent and not answered, as far as we know; we may be listed."""
    owes_completed: bool = False
    base: AnnounceTotals = NOTHING_MOVED
    """The totals when we began to announce to it: it is told what was moved since then."""


@dataclass(frozen=True, slots=True)
class AnnounceAttempt:
    """One announce to send now; report its result with ``succeeded`` or ``failed``."""

    url: str
    event: AnnounceEvent
    tracker_id: bytes | None
    patience_s: float | None = None
    """Timeout of this attempt; None: the client's own timeout."""
    base: AnnounceTotals = NOTHING_MOVED
    """What had been moved before we began to announce to this tracker."""


@dataclass(slots=True)
class _TrackerGroup:
    """Trackers of which one is used at a time."""

    tiers: list[int]
    in_flight: dict[str, AnnounceAttempt] = field(default_factory=dict)
    """Outstanding announces by URL: one, or several after failures."""
    tried: dict[str, int] = field(default_factory=dict)
    """URL -> position in the order, of those tried in this round; a round ends with the first
    success, or when all were tried."""
    unanswered: int = 0
    """Number of failures in this round."""
    answered: int | None = None
    """Position of :attr:`current` in the order, while other announces of the round are pending."""
    current: str | None = None
    """The tracker that responded last."""
    next_s: float = 0.0

    def end_round(self) -> None:
        """End the round."""
        self.tried.clear()
        self.unanswered = 0


def usable_trackers(
    tiers: Sequence[Sequence[str]],
) -> tuple[list[list[str]], dict[str, str]]:
    """Return the first trackers that can be used, tier by tier, and why others cannot.

    What comes after ``MAX_TRACKERS``, or after as many as ``MAX_REFUSED`` that cannot be used, is
    not looked at (row A15). An odd URL can take 3 ms the first time: where there are many, call
    this in a thread before; what it parses is remembered.
    """
    usable: list[list[str]] = []
    refused: dict[str, str] = {}
    room = MAX_TRACKERS
    for tier in tiers:
        usable.append([])
        for url in tier:
            if not room or len(refused) >= MAX_REFUSED:
                return usable, refused
            try:
                parse_tracker_url(url)
            except TrackerError as error:
                refused[url] = str(error)
            else:
                usable[-1].append(url)
                room -= 1
    return usable, refused


class AnnounceSchedule:
    """The announce schedule of one torrent; ``now`` is any monotonic time in seconds."""

    def __init__(
        self,
        tiers: Sequence[Sequence[str]],
        *,
        is_private: bool,
        config: TrackerConfig,
        rng: random.Random,
        totals: Callable[[], AnnounceTotals] = lambda: NOTHING_MOVED,
    ) -> None:
        usable, self.refused = usable_trackers(tiers)
        """``refused``: URLs that cannot be trackers here, with the reason."""
        self._config = config
        self._rng = rng
        self._totals = totals
        """Returns the totals of the torrent, whenever that was started."""
        self._is_private = is_private
        self._tiers = TrackerTiers(usable, rng)
        self._stop_announces: list[AnnounceAttempt] = []
        self._records: dict[str, TrackerRecord] = {}
        self._add_records(self._tiers)
        self._groups = self._make_groups()

    def records(self) -> list[TrackerRecord]:
        """Return all trackers in the order of BEP 12."""
        return [self._records[url] for url in self._tiers]

    def tier_of(self, url: str) -> int:
        """Return the index of a tracker's tier."""
        return self._tiers.tier_of(url)

    def next_announce_s(self, url: str) -> float:
        """Return the earliest time of the next announce to a tracker; infinity for never."""
        return max(self._lane_of(url).next_s, self._records[url].next_try_s)

    def is_backup(self, url: str) -> bool:
        """Return whether a tracker is used only if another one fails."""
        group = self._lane_of(url)
        if url in group.in_flight or url == group.current:
            return False
        return bool(group.in_flight or group.current) or self._lane_urls(group)[0] != url

    def is_announcing(self, url: str) -> bool:
        """Return whether an announce to this tracker is outstanding."""
        return url in self._lane_of(url).in_flight

    def due(self, *, now: float) -> list[AnnounceAttempt]:
        """Return the announces to send now; the number of simultaneous ones is limited."""
        attempts, self._stop_announces = self._stop_announces, []
        for group in sorted(
            self._groups, key=lambda group: group.next_s
        ):  # the longest waiting first
            while self._may_ask(group) and group.next_s <= now:
                attempt = self._next_attempt(group, now)
                if attempt is None:
                    break
                attempts.append(attempt)
        return attempts

    def next_timer(self) -> float:
        """Return when to call ``due`` again."""
        if self._stop_announces:
            return 0.0
        if self._is_full:
            return NEVER
        waiting = [group.next_s for group in self._groups if not group.in_flight]
        return min(waiting, default=NEVER)

    def succeeded(
        self, attempt: AnnounceAttempt, response: AnnounceResponse, *, now: float
    ) -> float:
        """Record a response, promote its tracker (BEP 12); return seconds to the next announce."""
        if attempt.url not in self._records:
            self._queue_stop(attempt)
            return NEVER
        record, group = self._end(attempt)
        record.last_response, record.last_success_s = response, now
        record.message = response.warning or ""
        record.failures, record.next_try_s, record.retry_after_s = 0, now, 0.0
        record.is_started = True
        record.tracker_id = response.tracker_id or record.tracker_id
        if attempt.event is not AnnounceEvent.NONE:
            record.owes_completed = record.owes_completed and attempt.event is AnnounceEvent.STARTED
        interval_s = 0.0 if record.owes_completed else self._interval_s(response)
        place = group.tried.get(attempt.url, 0)
        if group.answered is None or place < group.answered:
            self._tiers.promote(attempt.url)
            group.current, group.answered = attempt.url, place
            group.next_s = now + interval_s
        self._settle(group)
        return interval_s

    def failed(self, attempt: AnnounceAttempt, error: TrackerError, *, now: float) -> float:
        """Record a failure; return seconds until the tracker is tried again (BEP 31, backoff)."""
        is_answer_lost = isinstance(error, TrackerTimeoutError) and error.is_sent
        if attempt.url not in self._records:
            if is_answer_lost or attempt.event is not AnnounceEvent.STARTED:
                self._queue_stop(attempt)
            return NEVER
        record, group = self._end(attempt)
        record.is_unconfirmed = is_answer_lost
        record.failures += 1
        record.message = str(error)
        record.owes_completed = record.owes_completed and record.is_started
        record.next_try_s = now + self._backoff_s(record, error)
        has_retry_in = isinstance(error, TrackerRefusedError) and error.retry_in_s is not None
        record.retry_after_s = record.next_try_s if has_retry_in else 0.0
        group.unanswered += 1
        if group.answered is None:
            group.next_s = now  # the next tracker of the round is tried at once
        self._settle(group)
        return record.next_try_s - now

    def abandoned(self, attempt: AnnounceAttempt, *, now: float) -> None:
        """Record that an announce was cancelled; the tracker may list us or not."""
        if attempt.url not in self._records:
            self._queue_stop(attempt)
            return
        group = self._lane_of(attempt.url)
        group.in_flight.pop(attempt.url, None)
        group.tried.pop(attempt.url, None)
        if group.answered is None:
            group.next_s = now
        self._settle(group)

    def completed(self, *, now: float) -> None:
        """Schedule "completed" for every tracker that lists us, regardless of the interval."""
        for record in self._records.values():
            record.owes_completed = record.is_started or record.is_unconfirmed
        for group in self._groups:
            if group.current is not None and self._records[group.current].owes_completed:
                group.next_s = min(group.next_s, now)

    def want_peers(self, *, now: float) -> None:
        """Announce again as early as the minimum interval allows."""
        for group in self._groups:
            if group.current is None:
                continue
            record = self._records[group.current]
            if record.failures == 0 and record.last_success_s is not None:
                earliest_s = record.last_success_s + self._min_interval_s(record.last_response)
                group.next_s = min(group.next_s, max(now, earliest_s))

    def reannounce(self, *, now: float) -> float:
        """Announce as early as is allowed, also to trackers that failed; return when.

        That is the minimum interval after the last announce, and not before the "retry in" of a
        refusal (BEP 31). Infinity: there is no tracker.
        """
        self.want_peers(now=now)
        for group in self._groups:
            if group.in_flight or self._is_answered(group):
                continue
            records = [self._records[url] for url in self._lane_urls(group)]
            for record in records:
                soonest_s = max(
                    now, record.announced_s + self._config.min_interval_s, record.retry_after_s
                )
                record.next_try_s = min(record.next_try_s, soonest_s)
            group.next_s = min((record.next_try_s for record in records), default=NEVER)
        return min(
            (group.next_s for group in self._groups if self._lane_urls(group)), default=NEVER
        )

    def _is_answered(self, group: _TrackerGroup) -> bool:
        """Return whether the tracker of a group answered the last announce."""
        return group.current is not None and not self._records[group.current].failures

    def to_stop(self) -> list[AnnounceAttempt]:
        """Return a "stopped" for every tracker that counts us, or may do so."""
        stop_announces, self._stop_announces = self._stop_announces, []
        return stop_announces + [
            _attempt(record, AnnounceEvent.STOPPED)
            for record in self.records()
            if record.is_started or record.is_unconfirmed
        ]

    def reset(self) -> None:
        """Reset what the trackers know and what is outstanding: the next ``due`` starts anew.

        Back-off stays, so that stopping and starting again does not hammer a dead tracker. The
        trackers are told only of payload that is moved from now on.
        """
        base = self._totals()
        for record in self._records.values():
            record.base = base
            record.is_started = record.is_unconfirmed = record.owes_completed = False
        for group in self._groups:
            group.in_flight.clear()
            group.current = group.answered = None
            group.end_round()
            group.next_s = 0.0

    def add(self, url: str, tier: int | None = None) -> bool:
        """Add a tracker; False if it is there already or there are too many.

        Raises TrackerError if there is room, and the URL cannot be a tracker.
        """
        if len(self._records) >= MAX_TRACKERS or url in self._records:
            return False
        parse_tracker_url(url)
        known_tiers = len(self._tiers)
        index = self._tiers.add(url, tier)
        self._add_records([url])
        if index is not None and index >= known_tiers:
            self._add_tier(index)
        elif (group := self._lane_of(url)).next_s == NEVER:
            group.next_s = 0.0
        return True

    def remove(self, url: str) -> bool:
        """Remove a tracker; return False if it is unknown. It is sent "stopped" if it counts us.

        An outstanding announce is waited for. Another tracker of its tier replaces it.
        """
        if self.refused.pop(url, None) is not None:
            return True
        if url not in self._records:
            return False
        record, group = self._records.pop(url), self._lane_of(url)
        if group.in_flight.pop(url, None) is not None:
            group.next_s = group.next_s if group.answered is not None else 0.0
        elif record.is_started or record.is_unconfirmed:
            self._queue_stop(_attempt(record, AnnounceEvent.STOPPED))
        if group.current == url:
            group.current, group.answered, group.next_s = None, None, 0.0
        group.tried.pop(url, None)
        self._settle(group)
        self._tiers.remove(url)
        return True

    def set_tiers(self, tiers: Sequence[Sequence[str]]) -> bool:
        """Replace all trackers; return False if they are the same in the same tiers.

        Those that stay keep their state, and those that go are sent "stopped" if they count us.
        """
        usable, self.refused = usable_trackers(tiers)
        wanted = TrackerTiers(usable, self._rng)
        if self._shape(wanted) == self._shape(self._tiers):
            return False
        kept = set(wanted)
        for url in [url for url in self._records if url not in kept]:
            self.remove(url)
        before = self._groups
        self._add_records([url for url in wanted if url not in self._records])
        self._tiers = wanted
        self._groups = self._make_groups()
        for group in self._groups:
            self._continue(group, before)
        return True

    @staticmethod
    def _shape(tiers: TrackerTiers) -> list[frozenset[str]]:
        """Return the trackers of each tier, without empty tiers."""
        found = [frozenset(tiers.tier(index)) for index in range(len(tiers))]
        return [tier for tier in found if tier]

    def _continue(self, group: _TrackerGroup, before: Sequence[_TrackerGroup]) -> None:
        """Let a new group go on with what is under way and known of its trackers."""
        urls = set(self._lane_urls(group))
        for old in before:
            for url in old.in_flight.keys() & urls:
                group.in_flight[url] = old.in_flight[url]
                group.tried[url] = old.tried.get(url, 0)
            if old.current in urls and group.current is None:
                group.current = old.current
                group.next_s = 0.0 if old.next_s == NEVER else old.next_s  # it may have others now
                self._tiers.promote(old.current)

    def _add_records(self, urls: Iterable[str]) -> None:
        base = self._totals()
        for url in urls:
            self._records[url] = TrackerRecord(url, base=base)
            self._cancel_stop(self._records[url])

    def _queue_stop(self, attempt: AnnounceAttempt) -> None:
        self._stop_announces.append(replace(attempt, event=AnnounceEvent.STOPPED))

    def _cancel_stop(self, record: TrackerRecord) -> None:
        """Keep a tracker that is added again before "stopped" was sent to it."""
        for attempt in self._stop_announces:
            if attempt.url == record.url:
                record.is_started, record.tracker_id = True, attempt.tracker_id
                record.base = attempt.base
        self._stop_announces = [each for each in self._stop_announces if each.url != record.url]

    def _make_groups(self) -> list[_TrackerGroup]:
        if self._is_private:
            return [_TrackerGroup(list(range(len(self._tiers))))]
        return [_TrackerGroup([index]) for index in range(len(self._tiers))]

    def _add_tier(self, index: int) -> None:
        if self._is_private:
            group = self._groups[0]
            group.tiers.append(index)
            if group.next_s == NEVER:
                group.next_s = 0.0
        else:
            self._groups.append(_TrackerGroup([index]))

    def _lane_of(self, url: str) -> _TrackerGroup:
        tier = self._tiers.tier_of(url)
        return next(group for group in self._groups if tier in group.tiers)

    def _lane_urls(self, group: _TrackerGroup) -> list[str]:
        return [url for tier in group.tiers for url in self._tiers.tier(tier)]

    @property
    def _is_full(self) -> bool:
        return sum(len(group.in_flight) for group in self._groups) >= MAX_AT_ONCE

    def _may_ask(self, group: _TrackerGroup) -> bool:
        """Return whether one more of a group may be asked, as far as those under way go."""
        if not group.in_flight:
            return not self._is_full
        if self._is_private or group.answered is not None:
            return False
        return group.unanswered >= UNANSWERED and not self._is_full

    def _next_attempt(self, group: _TrackerGroup, now: float) -> AnnounceAttempt | None:
        waiting = self._waiting(group, now)
        if not waiting and not group.in_flight:
            group.end_round()
            waits = [self._records[url].next_try_s for url in self._lane_urls(group)]
            group.next_s = min(waits, default=NEVER)
            waiting = self._waiting(group, now)
        if not waiting:
            return None
        record = waiting[0]
        group.tried[record.url] = len(group.tried)
        patience_s = (
            self._patience_s(record) if len(waiting) > 1 or self._others_wait(now) else None
        )
        attempt = _attempt(record, _event_for(record), patience_s)
        group.in_flight[record.url] = attempt
        record.is_unconfirmed, record.announced_s = True, now
        return attempt

    def _waiting(self, group: _TrackerGroup, now: float) -> list[TrackerRecord]:
        """Return the trackers that may be asked in this round, in order."""
        records = (self._records[url] for url in self._lane_urls(group))
        return [r for r in records if r.url not in group.tried and r.next_try_s <= now]

    def _others_wait(self, now: float) -> bool:
        """Return whether more groups are due than may be asked at once."""
        busy = sum(len(group.in_flight) for group in self._groups)
        idle = sum(not group.in_flight and group.next_s <= now for group in self._groups)
        return busy + idle > MAX_AT_ONCE

    def _patience_s(self, record: TrackerRecord) -> float | None:
        """Return how long others wait for one that never answered."""
        if self._is_private or record.last_success_s is not None:
            return None
        patience_s = FIRST_PATIENCE_S * 2.0 ** min(record.failures, 30)
        return patience_s if patience_s < self._config.total_timeout_s else None

    def _settle(self, group: _TrackerGroup) -> None:
        """End a round that somebody answered, when nobody of it is asked any more."""
        if not group.in_flight and group.answered is not None:
            group.answered = None
            group.end_round()

    def _end(self, attempt: AnnounceAttempt) -> tuple[TrackerRecord, _TrackerGroup]:
        group = self._lane_of(attempt.url)
        group.in_flight.pop(attempt.url, None)
        record = self._records[attempt.url]
        record.is_unconfirmed = False
        return record, group

    def _interval_s(self, response: AnnounceResponse) -> float:
        interval_s = response.interval_s or self._config.default_interval_s
        return min(max(interval_s, self._min_interval_s(response)), MAX_INTERVAL_S)

    def _min_interval_s(self, response: AnnounceResponse | None) -> float:
        announced_s = (response.min_interval_s if response else None) or 0.0
        return min(max(announced_s, self._config.min_interval_s), MAX_INTERVAL_S)

    def _backoff_s(self, record: TrackerRecord, error: TrackerError) -> float:
        if isinstance(error, TrackerRefusedError) and error.retry_in_s is not None:
            return max(error.retry_in_s, self._config.backoff_first_s)
        doubled_s = self._config.backoff_first_s * 2.0 ** min(record.failures - 1, 30)
        jitter = 1.0 + self._rng.uniform(0.0, _JITTER)
        return min(doubled_s, self._config.backoff_max_s) * jitter


def _attempt(
    record: TrackerRecord, event: AnnounceEvent, patience_s: float | None = None
) -> AnnounceAttempt:
    return AnnounceAttempt(record.url, event, record.tracker_id, patience_s, record.base)


def _event_for(record: TrackerRecord) -> AnnounceEvent:
    if not record.is_started:
        return AnnounceEvent.STARTED
    return AnnounceEvent.COMPLETED if record.owes_completed else AnnounceEvent.NONE
