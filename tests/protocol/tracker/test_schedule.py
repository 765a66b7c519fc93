"""What is announced to whom and when, in a world whose time is a number."""

import heapq
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.config import TrackerConfig
from torrent_engine.base.errors import TrackerError, TrackerRefusedError, TrackerTimeoutError
from torrent_engine.protocol.tracker import schedule as schedule_module
from torrent_engine.protocol.tracker.announce import AnnounceEvent, AnnounceResponse, AnnounceTotals
from torrent_engine.protocol.tracker.schedule import (
    FIRST_PATIENCE_S,
    MAX_AT_ONCE,
    MAX_TRACKERS,
    AnnounceAttempt,
    AnnounceSchedule,
)

A, B, C, D = (f"http://{name}.example/announce" for name in "abcd")
E = AnnounceEvent
CONFIG = TrackerConfig()


class Plain(random.Random):
    """No shuffling and no jitter."""

    def shuffle(self, x):
        pass

    def uniform(self, a, b):
        return a

    def randrange(self, *args):
        return 0


def schedule(*tiers, is_private=False, config=CONFIG):
    return AnnounceSchedule(tiers, is_private=is_private, config=config, rng=Plain(1))


def answer(interval_s=1800.0, **fields):
    return AnnounceResponse(interval_s=interval_s, peers=(), **fields)


def due(s, now):
    return {(attempt.url, attempt.event) for attempt in s.due(now=now)}


def one(s, now):
    (attempt,) = s.due(now=now)
    return attempt


def test_bep3_started_then_every_interval():
    s = schedule([A])
    attempt = one(s, 0.0)
    assert attempt.event is E.STARTED
    assert s.due(now=1.0) == []
    assert s.succeeded(attempt, answer(), now=2.0) == 1800.0
    assert s.next_timer() == 1802.0
    assert s.due(now=1801.9) == []
    assert one(s, 1802.0).event is E.NONE


@pytest.mark.parametrize(
    ("interval_s", "min_interval_s", "expected_s"),
    [
        (1800.0, None, 1800.0),
        (None, None, 1800.0),
        (1.0, None, 60.0),
        (100.0, 300.0, 300.0),
        (1e9, None, 86_400.0),
        (100.0, 1e9, 86_400.0),
    ],
)
def test_bep3_interval_is_believed_within_bounds(interval_s, min_interval_s, expected_s):
    s = schedule([A])
    response = answer(interval_s, min_interval_s=min_interval_s)
    assert s.succeeded(one(s, 0.0), response, now=0.0) == expected_s


def test_bep12_public_torrent_announces_to_one_tracker_of_each_tier():
    s = schedule([A, B], [C])
    assert due(s, 0.0) == {(A, E.STARTED), (C, E.STARTED)}


def test_bep27_private_torrent_announces_to_one_tracker_at_a_time():
    s = schedule([A], [B], [C], is_private=True)
    first = one(s, 0.0)
    assert first.url == A
    assert s.due(now=5.0) == []
    s.failed(first, TrackerError("down"), now=5.0)
    second = one(s, 5.0)
    assert second.url == B
    s.succeeded(second, answer(), now=6.0)
    assert s.due(now=1000.0) == []
    assert s.next_timer() == 1806.0


def test_bep12_next_in_tier_is_tried_at_once_and_promoted():
    s = schedule([A, B, C])
    s.failed(one(s, 0.0), TrackerError("down"), now=1.0)
    attempt = one(s, 1.0)
    assert attempt.url == B
    s.succeeded(attempt, answer(), now=2.0)
    assert [record.url for record in s.records()] == [B, A, C]
    assert one(s, 1802.0).url == B


def test_bep12_every_tracker_is_tried_once_before_any_is_tried_again():
    """Slow failures: the first one's back-off is over before the last one was asked."""
    s = schedule([A, B, C])
    asked, now = [], 0.0
    for _ in range(4):
        attempt = one(s, now)
        asked.append(attempt.url)
        now += 30.0
        s.failed(attempt, TrackerError("slow"), now=now)
    assert asked == [A, B, C, A]


def test_failures_back_off_exponentially_up_to_a_cap():
    s = schedule([A])
    now, waits = 0.0, []
    for _ in range(12):
        attempt = one(s, now)
        waits.append(s.failed(attempt, TrackerError("down"), now=now))
        assert s.due(now=now) == []
        now = s.next_timer()
    assert waits[:4] == [10.0, 20.0, 40.0, 80.0]
    assert waits[-1] == 3600.0


def test_a_success_ends_the_back_off():
    s = schedule([A])
    s.failed(one(s, 0.0), TrackerError("down"), now=0.0)
    s.succeeded(one(s, 10.0), answer(warning="mind the gap"), now=10.0)
    (record,) = s.records()
    assert (record.failures, record.message) == (0, "mind the gap")
    assert s.failed(one(s, 1810.0), TrackerError("down"), now=1810.0) == 10.0


def test_bep31_retry_in_is_obeyed():
    s = schedule([A])
    refusal = TrackerRefusedError("busy", retry_in_s=600.0)
    assert s.failed(one(s, 0.0), refusal, now=0.0) == 600.0
    assert s.due(now=599.0) == []
    assert len(s.due(now=600.0)) == 1


def test_bep31_never_disables_a_tracker_but_not_its_tier():
    s = schedule([A, B])
    s.failed(one(s, 0.0), TrackerRefusedError("no", retry_in_s=float("inf")), now=0.0)
    s.succeeded(one(s, 0.0), answer(), now=0.0)
    s.failed(one(s, 1800.0), TrackerError("down"), now=1800.0)
    assert s.due(now=1800.0) == []
    assert one(s, s.next_timer()).url == B


def test_bep31_when_all_said_never_nothing_is_due_again():
    s = schedule([A])
    s.failed(one(s, 0.0), TrackerRefusedError("no", retry_in_s=float("inf")), now=0.0)
    assert s.due(now=0.0) == []
    assert s.next_timer() == float("inf")
    assert s.next_announce_s(A) == float("inf")


def test_bep3_tracker_id_is_kept_and_sent():
    s = schedule([A])
    s.succeeded(one(s, 0.0), answer(tracker_id=b"T1"), now=0.0)
    attempt = one(s, 1800.0)
    assert attempt.tracker_id == b"T1"
    s.succeeded(attempt, answer(), now=1800.0)
    assert one(s, 3600.0).tracker_id == b"T1"


def test_bep3_completed_is_sent_at_once_and_once():
    s = schedule([A], [B])
    for attempt in s.due(now=0.0):
        s.succeeded(attempt, answer(), now=0.0)
    s.completed(now=50.0)
    attempts = s.due(now=50.0)
    assert {(a.url, a.event) for a in attempts} == {(A, E.COMPLETED), (B, E.COMPLETED)}
    for attempt in attempts:
        s.succeeded(attempt, answer(), now=51.0)
    assert due(s, 5000.0) == {(A, E.NONE), (B, E.NONE)}


def test_bep3_completed_while_started_is_under_way_follows_it():
    s = schedule([A])
    attempt = one(s, 0.0)
    s.completed(now=1.0)
    s.succeeded(attempt, answer(), now=2.0)
    assert one(s, 2.0).event is E.COMPLETED


def test_bep3_completed_while_a_plain_announce_is_under_way_follows_it():
    s = schedule([A])
    s.succeeded(one(s, 0.0), answer(), now=0.0)
    attempt = one(s, 1800.0)
    s.completed(now=1801.0)
    s.succeeded(attempt, answer(), now=1802.0)
    assert one(s, 1802.0).event is E.COMPLETED


def test_bep3_completed_is_not_sent_to_who_never_heard_started():
    s = schedule([A])
    s.failed(one(s, 0.0), TrackerError("down"), now=0.0)
    s.completed(now=1.0)
    attempt = one(s, 10.0)
    assert attempt.event is E.STARTED
    s.succeeded(attempt, answer(), now=10.0)
    assert s.next_timer() == 1810.0


def test_bep3_completed_during_a_started_that_fails_is_dropped():
    s = schedule([A])
    attempt = one(s, 0.0)
    s.completed(now=0.5)
    s.failed(attempt, TrackerError("down"), now=1.0)
    s.succeeded(one(s, 11.0), answer(), now=11.0)
    assert s.next_timer() == 1811.0


def test_bep3_completed_survives_a_failed_announce():
    s = schedule([A])
    s.succeeded(one(s, 0.0), answer(), now=0.0)
    s.completed(now=1.0)
    s.failed(one(s, 1.0), TrackerError("down"), now=2.0)
    assert one(s, 12.0).event is E.COMPLETED


def test_wanting_peers_waits_for_the_minimum_interval():
    s = schedule([A], [B])
    first, second = s.due(now=0.0)
    s.succeeded(first, answer(min_interval_s=300.0), now=0.0)
    s.succeeded(second, answer(), now=0.0)
    s.want_peers(now=10.0)
    assert s.due(now=59.0) == []
    assert one(s, 60.0).url == B
    assert one(s, 300.0).url == A


def test_wanting_peers_does_not_shorten_a_back_off():
    s = schedule([A])
    s.succeeded(one(s, 0.0), answer(), now=0.0)
    s.failed(one(s, 1800.0), TrackerError("down"), now=1800.0)
    assert s.due(now=1800.0) == []
    s.want_peers(now=1801.0)
    assert s.next_timer() == 1810.0


def test_wanting_peers_before_any_answer_changes_nothing():
    s = schedule([A])
    attempt = one(s, 0.0)
    s.want_peers(now=1.0)
    s.succeeded(attempt, answer(), now=1.0)
    assert s.next_timer() == 1801.0


def test_stopped_goes_to_all_that_count_us_or_may():
    s = schedule([A], [B], [C])
    a, b, _ = s.due(now=0.0)
    s.succeeded(a, answer(tracker_id=b"T"), now=0.0)
    s.failed(b, TrackerError("down"), now=0.0)
    stops = {(stop.url, stop.event, stop.tracker_id) for stop in s.to_stop()}
    assert stops == {(A, E.STOPPED, b"T"), (C, E.STOPPED, None)}


def test_after_a_reset_all_trackers_hear_started_again():
    s = schedule([A], [B])
    a, _ = s.due(now=0.0)
    s.succeeded(a, answer(), now=0.0)
    s.reset()
    assert s.to_stop() == []
    assert due(s, 1.0) == {(A, E.STARTED), (B, E.STARTED)}


def test_a_tracker_that_is_added_again_before_its_stop_is_told_of_the_same_payload():
    moved = [0]
    totals = lambda: AnnounceTotals(moved[0], 0, 0)  # noqa: E731 - shorter
    s = AnnounceSchedule([[A]], is_private=False, config=CONFIG, rng=Plain(1), totals=totals)
    moved[0] = 5
    s.add(B)
    s.succeeded(next(each for each in s.due(now=0.0) if each.url == B), answer(), now=0.0)
    moved[0] = 9
    s.remove(B)
    s.add(B)
    assert {each.url: each.base.uploaded_bytes for each in s.to_stop()} == {A: 0, B: 5}
    s.reset()
    assert {each.base.uploaded_bytes for each in s.due(now=1.0)} == {9}


LOST = TrackerTimeoutError("no response", is_sent=True)


@pytest.mark.parametrize(
    ("error", "may_be_listed"),
    [
        (LOST, True),
        (TrackerTimeoutError("no connection"), False),
        (TrackerError("down"), False),
        (TrackerRefusedError("banned"), False),
    ],
)
def test_bep3_who_got_an_announce_and_whose_answer_was_lost_is_sent_stopped(error, may_be_listed):
    expected = [(A, E.STOPPED)] * may_be_listed
    s = schedule([A])
    s.failed(one(s, 0.0), error, now=30.0)
    assert [(each.url, each.event) for each in s.to_stop()] == expected
    s.remove(A)
    assert due(s, 30.0) == set(expected)
    s.add(A)
    attempt = next(each for each in s.due(now=60.0) if each.event is E.STARTED)
    s.remove(A)
    s.failed(attempt, error, now=90.0)
    assert due(s, 90.0) == set(expected)


def test_bep3_a_later_refusal_says_that_a_lost_announce_listed_nobody():
    s = schedule([A])
    s.failed(one(s, 0.0), LOST, now=30.0)
    s.failed(one(s, 60.0), TrackerRefusedError("unknown torrent"), now=61.0)
    assert s.to_stop() == []


def test_a_reset_keeps_the_back_off():
    s = schedule([A])
    s.failed(one(s, 0.0), TrackerError("down"), now=0.0)
    s.reset()
    assert s.due(now=5.0) == []
    assert s.next_timer() == 10.0


def test_d1_urls_that_cannot_be_trackers_are_set_aside():
    s = schedule(["wss://t.example", A], ["file:///etc/passwd"])
    assert [record.url for record in s.records()] == [A]
    assert set(s.refused) == {"wss://t.example", "file:///etc/passwd"}


@pytest.mark.parametrize("tiers", [1, 50, 1000])
@pytest.mark.parametrize("has_usable", [True, False])
def test_a15_urls_past_a_hundred_trackers_are_not_looked_at(monkeypatch, tiers, has_usable):
    seen = []

    def parse(url):
        seen.append(url)
        if not has_usable:
            raise TrackerError("no tracker")

    monkeypatch.setattr(schedule_module, "parse_tracker_url", parse)
    urls = [f"http://t{n}.example/announce" for n in range(1000)]
    in_tiers = [urls[n::tiers] for n in range(tiers)]
    s = schedule(*in_tiers)
    s.set_tiers(in_tiers[::-1])
    s.set_tiers(in_tiers)
    assert len(seen) == 300
    assert (len(s.records()), len(s.refused)) == ((100, 0) if has_usable else (0, 100))


def test_a15_a_full_schedule_parses_no_url_that_is_added(monkeypatch):
    s = schedule(*([url] for url in MANY))
    monkeypatch.setattr(schedule_module, "parse_tracker_url", None)
    assert not s.add(A)


def test_a15_trackers_past_a_hundred_are_dropped():
    s = schedule(*([f"http://t{n}.example/announce"] for n in range(250)))
    assert len(s.records()) == 100
    assert not s.add(A)


@pytest.mark.parametrize("is_private", [False, True])
def test_adding_a_tracker(is_private):
    s = schedule([A], is_private=is_private)
    s.succeeded(one(s, 0.0), answer(), now=0.0)
    assert s.add(B)
    assert not s.add(B)
    expected = set() if is_private else {(B, E.STARTED)}
    assert due(s, 1.0) == expected
    assert s.tier_of(B) == 1


def test_adding_to_a_private_torrent_without_a_tracker_left_is_tried_at_once():
    s = schedule(is_private=True)
    assert s.due(now=0.0) == []
    assert s.next_timer() == float("inf")
    assert s.add(B)
    assert one(s, 1.0).url == B


def test_adding_what_is_no_tracker_is_an_error():
    with pytest.raises(TrackerError):
        schedule([A]).add("ftp://t.example/announce")


def test_is_announcing_says_who_is_asked():
    s = schedule([A, B])
    attempt = one(s, 0.0)
    assert (s.is_announcing(A), s.is_announcing(B)) == (True, False)
    s.succeeded(attempt, answer(), now=0.0)
    assert not s.is_announcing(A)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ok", "fail", "never", "completed", "want", "reset", "add", "tick"]),
        st.integers(0, 3),
    ),
    max_size=60,
)


@given(STEPS, st.booleans())
def test_any_story_keeps_one_announce_a_lane_and_never_stalls(steps, is_private):
    s = AnnounceSchedule([[A, B], [C]], is_private=is_private, config=CONFIG, rng=random.Random(1))
    now, lanes = 0.0, 1 if is_private else 2
    flying: list[AnnounceAttempt] = []
    for what, index in steps:
        if what == "completed":
            s.completed(now=now)
        elif what == "want":
            s.want_peers(now=now)
        elif what == "reset":
            s.reset()
            flying.clear()
        elif what == "add":
            lanes += s.add(f"http://x{index}.example/announce") and not is_private
        elif what == "tick":
            now = max(now, min(s.next_timer(), now + 1e6))
            flying += s.due(now=now)
        elif flying:
            attempt = flying.pop(index % len(flying))
            if what == "ok":
                assert 0 <= s.succeeded(attempt, answer(100.0), now=now) <= 86_400
            else:
                retry_in_s = float("inf") if what == "never" else None
                s.failed(attempt, TrackerRefusedError("no", retry_in_s=retry_in_s), now=now)
        assert len(flying) <= lanes
        assert len({attempt.url for attempt in flying}) == len(flying)
        started = {attempt.url for attempt in s.to_stop()}
        assert {attempt.url for attempt in flying} <= started
    if not flying and any(record.next_try_s < float("inf") for record in s.records()):
        s.due(now=now)
        assert s.next_timer() < float("inf") or any(s.is_announcing(r.url) for r in s.records())


def test_bep3_an_abandoned_announce_is_made_again_at_once_and_owes_a_stopped():
    s = schedule([A])
    s.abandoned(one(s, 0.0), now=1.0)
    assert [attempt.event for attempt in s.to_stop()] == [E.STOPPED]  # it may count us
    assert not s.is_announcing(A)
    assert one(s, 1.0).event is E.STARTED


# -- trackers that are removed ----------------------------------------------------------------


def test_a_tracker_that_counts_us_is_told_stopped_and_asked_no_more():
    s = schedule([A], [B])
    for attempt in s.due(now=0.0):
        s.succeeded(attempt, answer(tracker_id=b"id"), now=1.0)
    assert s.remove(A)
    assert s.next_timer() == 0.0
    assert s.due(now=2.0) == [AnnounceAttempt(A, E.STOPPED, b"id")]
    assert due(s, 10_000.0) == {(B, E.NONE)}
    assert [record.url for record in s.records()] == [B]
    assert not s.remove(A)


def test_a_tracker_that_does_not_count_us_is_told_nothing():
    s = schedule([A])
    s.failed(one(s, 0.0), TrackerError("down"), now=1.0)
    assert s.remove(A)
    assert s.due(now=10_000.0) == []
    assert s.next_timer() == float("inf")


@pytest.mark.parametrize("end", ["answer", "failure", "abandoned"])
def test_a_tracker_that_is_removed_while_it_is_asked_is_told_after_its_answer(end):
    s = schedule([A, B])
    attempt = one(s, 0.0)
    assert s.remove(A)
    assert due(s, 1.0) == {(B, E.STARTED)}
    if end == "answer":
        assert s.succeeded(attempt, answer(), now=2.0) == float("inf")
    elif end == "failure":
        assert s.failed(attempt, TrackerError("down"), now=2.0) == float("inf")
    else:
        s.abandoned(attempt, now=2.0)
    goodbyes = {(A, E.STOPPED)} if end != "failure" else set()
    assert due(s, 3.0) == goodbyes


def test_the_next_of_its_tier_takes_the_place_of_a_tracker_that_is_removed():
    s = schedule([A, B])
    s.succeeded(one(s, 0.0), answer(), now=0.0)
    s.remove(A)
    assert due(s, 1.0) == {(A, E.STOPPED), (B, E.STARTED)}


def test_what_is_owed_to_a_tracker_that_was_removed_is_said_at_the_end():
    s = schedule([A])
    s.succeeded(one(s, 0.0), answer(), now=0.0)
    s.remove(A)
    assert [attempt.event for attempt in s.to_stop()] == [E.STOPPED]
    assert s.to_stop() == []


def test_a_tracker_that_comes_back_at_once_is_not_stopped():
    s = schedule([A])
    s.succeeded(one(s, 0.0), answer(), now=0.0)
    s.remove(A)
    assert s.add(A, 0)
    assert due(s, 1.0) == {(A, E.NONE)}
    s.remove(A)
    s.due(now=2.0)
    assert s.add(A)
    assert due(s, 3.0) == {(A, E.STARTED)}


def test_a_url_that_cannot_be_a_tracker_is_removed_too():
    s = schedule(["ftp://x.example/"])
    assert s.remove("ftp://x.example/")
    assert not s.refused


@pytest.mark.parametrize("is_private", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_any_life_of_added_and_removed_trackers_asks_those_that_are_there(seed, is_private):
    rng = random.Random(seed)
    s = AnnounceSchedule([[A, B], [C]], is_private=is_private, config=CONFIG, rng=rng)
    there, told, under_way = {A, B, C}, set(), []
    for now in range(60):
        url = rng.choice([A, B, C, D])
        if rng.random() < 0.3:
            assert s.remove(url) == (url in there)
            there.discard(url)
        elif rng.random() < 0.3:
            assert s.add(url, rng.choice([None, 0, 1])) == (url not in there)
            there.add(url)
        for attempt in s.due(now=now * 100.0):
            if attempt.event is E.STOPPED:
                told.discard(attempt.url)
            else:
                assert attempt.url in there
                under_way.append(attempt)
        rng.shuffle(under_way)
        while under_way and rng.random() < 0.6:
            attempt = under_way.pop()
            if rng.random() < 0.3:
                s.failed(attempt, TrackerError("down"), now=now * 100.0)
            else:
                s.succeeded(attempt, answer(), now=now * 100.0)
                told.add(attempt.url)
    told -= {attempt.url for attempt in s.to_stop()}
    assert not told
    assert {record.url for record in s.records()} == there


# -- many dead trackers -----------------------------------------------------------------------

MANY = [f"http://{number}.example/announce" for number in range(MAX_TRACKERS)]
SILENT_S = CONFIG.total_timeout_s


class Swarm:
    """Trackers that answer after some time, or never; time is a number."""

    def __init__(self, s, fate):
        self.schedule = s
        self.fate = fate
        """Of a URL: after how long something comes of it, and whether that is an answer."""
        self.now = 0.0
        self.asked: list[str] = []
        self.answered: list[str] = []
        self.most_at_once = 0
        self._ends: list[tuple[float, int, AnnounceAttempt, bool]] = []

    def run(self, until_s):
        while True:
            for attempt in self.schedule.due(now=self.now):
                self._ask(attempt)
            self.most_at_once = max(self.most_at_once, len(self._ends))
            following = min(self.schedule.next_timer(), self._ends[0][0] if self._ends else 1e9)
            if following > until_s:
                return
            assert following >= self.now
            self.now = following
            self._end_some()

    def _ask(self, attempt):
        self.asked.append(attempt.url)
        delay_s, is_living = self.fate(attempt.url)
        patience_s = attempt.patience_s or SILENT_S
        end = self.now + min(delay_s, patience_s)
        is_answered = is_living and delay_s < patience_s
        heapq.heappush(self._ends, (end, len(self.asked), attempt, is_answered))

    def _end_some(self):
        while self._ends and self._ends[0][0] <= self.now:
            _, _, attempt, is_answered = heapq.heappop(self._ends)
            if is_answered:
                self.answered.append(attempt.url)
                self.schedule.succeeded(attempt, answer(), now=self.now)
            else:
                self.schedule.failed(attempt, TrackerError("no answer"), now=self.now)


@pytest.mark.parametrize("living", [0, 1, 2, 50, 99])
@pytest.mark.parametrize("silence_s", [0.01, SILENT_S])
def test_bep12_one_living_tracker_among_a_hundred_of_a_tier_is_found_soon(living, silence_s):
    s = schedule(MANY)
    swarm = Swarm(s, lambda url: (0.2, True) if url == MANY[living] else (silence_s, False))
    swarm.run(until_s=30.0)
    assert swarm.answered == [MANY[living]]
    assert swarm.most_at_once <= MAX_AT_ONCE
    assert s.records()[0].url == MANY[living]  # promoted
    swarm.run(until_s=1_000.0)
    before = len(swarm.asked)
    swarm.run(until_s=4_000.0)
    assert set(swarm.asked[before:]) == {MANY[living]}  # the dead ones are left alone


def test_bep12_two_are_asked_one_after_the_other_before_several_are_asked_at_once():
    s = schedule(MANY)
    for url in MANY[:2]:
        attempt = one(s, 0.0)
        assert attempt.url == url
        assert s.due(now=0.0) == []
        s.failed(attempt, TrackerError("no"), now=0.0)
    assert [attempt.url for attempt in s.due(now=0.0)] == MANY[2 : 2 + MAX_AT_ONCE]


def test_bep12_of_several_that_answer_the_first_in_order_is_asked_from_then_on():
    s = schedule(MANY)
    for _ in range(2):
        s.failed(one(s, 0.0), TrackerError("no"), now=0.0)
    attempts = s.due(now=0.0)
    order = [attempts[5], attempts[9], attempts[3], attempts[4]]
    for number, attempt in enumerate(order):
        s.succeeded(attempt, answer(1000.0), now=float(number))
    for attempt in set(attempts) - set(order):
        s.failed(attempt, TrackerError("no"), now=9.0)
    assert s.records()[0].url == attempts[3].url
    assert s.due(now=100.0) == []
    assert [each.url for each in s.due(now=1002.0)] == [attempts[3].url]
    counting = {attempt.url for attempt in s.to_stop()}
    assert counting == {attempt.url for attempt in order}  # all that count us hear "stopped"


def test_bep27_a_private_torrent_asks_one_at_a_time_however_many_are_dead():
    s = schedule(MANY, is_private=True)
    swarm = Swarm(s, lambda url: (0.2, True) if url == MANY[9] else (SILENT_S, False))
    swarm.run(until_s=1_000.0)
    assert swarm.most_at_once == 1
    assert swarm.answered == [MANY[9]]


def test_bep12_a_tracker_that_worked_before_is_waited_for():
    s = schedule([A, B])
    first = one(s, 0.0)
    assert first.patience_s == FIRST_PATIENCE_S
    s.succeeded(first, answer(100.0), now=0.0)
    assert one(s, 100.0).patience_s is None


def test_bep12_patience_grows_with_each_failure_and_is_not_for_who_comes_last():
    s = schedule([A, B])
    first = one(s, 0.0)
    s.failed(first, TrackerError("no"), now=0.0)
    assert one(s, 0.0).patience_s is None  # nobody waits behind it
    s.failed(AnnounceAttempt(B, E.STARTED, None), TrackerError("no"), now=0.0)
    assert one(s, 1000.0).patience_s == 2 * FIRST_PATIENCE_S


def test_bep12_a_hundred_tiers_are_asked_some_at_a_time():
    s = schedule(*([url] for url in MANY))
    swarm = Swarm(s, lambda url: (0.2, True) if url == MANY[99] else (SILENT_S, False))
    swarm.run(until_s=30.0)
    assert swarm.answered == [MANY[99]]
    assert swarm.most_at_once <= MAX_AT_ONCE


@given(st.lists(st.sampled_from([0.1, 1.0, 5.0, 99.0]), min_size=1, max_size=40), st.booleans())
def test_bep12_whoever_answers_in_time_is_found_and_nobody_is_asked_twice_at_once(waits, flat):
    urls = MANY[: len(waits)]
    s = schedule(urls) if flat else schedule(*([url] for url in urls))
    swarm = Swarm(s, lambda url: (waits[urls.index(url)], True))
    swarm.run(until_s=600.0)
    assert swarm.most_at_once <= MAX_AT_ONCE
    assert bool(swarm.answered) == any(wait < SILENT_S for wait in waits)
    if not flat:
        expected = {url for url, wait in zip(urls, waits, strict=True) if wait < SILENT_S}
        assert set(swarm.answered) == expected


# -- edits of the whole list ------------------------------------------------------------------


def answered(s, now, **fields):
    """Let all that is due succeed."""
    for attempt in s.due(now=now):
        s.succeeded(attempt, answer(**fields), now=now)


def test_trackers_that_stay_in_a_new_list_keep_their_interval():
    s = schedule([A, B], [C])
    answered(s, 0.0)
    assert s.set_tiers([[C], [A], [D]])
    assert [record.url for record in s.records()] == [C, A, D]
    assert due(s, 1.0) == {(D, E.STARTED)}
    assert s.next_announce_s(A) == s.next_announce_s(C) == 1800.0


def test_a_tracker_that_refused_for_good_holds_up_none_that_comes_beside_it():
    s = schedule([A])
    answered(s, 0.0)
    s.failed(one(s, 1800.0), TrackerRefusedError("no", retry_in_s=float("inf")), now=1800.0)
    assert due(s, 1e6) == set()
    assert s.set_tiers([[A, B]])
    assert due(s, 1e6) == {(B, E.STARTED)}


def test_trackers_that_go_are_sent_stopped_if_they_count_us():
    s = schedule([A], [B])
    attempt = next(each for each in s.due(now=0.0) if each.url == A)
    s.succeeded(attempt, answer(), now=0.0)
    assert s.set_tiers([[C]])
    assert due(s, 1.0) == {(A, E.STOPPED), (C, E.STARTED)}
    assert s.set_tiers([])
    assert s.records() == []


def test_the_same_list_changes_nothing():
    s = schedule([A, B], [C])
    answered(s, 0.0)
    assert not s.set_tiers([[B, A], [], [C]])
    assert s.due(now=1.0) == []


def test_a_removed_tracker_that_comes_back_in_a_list_is_not_sent_stopped():
    s = schedule([A])
    answered(s, 0.0)
    s.remove(A)
    s.set_tiers([[A]])
    assert due(s, 1.0) == {(A, E.NONE)}


@pytest.mark.parametrize("is_private", [False, True])
def test_an_announce_under_way_counts_in_the_new_list(is_private):
    s = schedule([A], is_private=is_private)
    attempt = one(s, 0.0)
    s.set_tiers([[B], [A]])
    assert s.is_announcing(A)
    assert s.succeeded(attempt, answer(), now=1.0) == 1800.0
    assert s.next_announce_s(A) == 1801.0
    assert due(s, 2.0) == (set() if is_private else {(B, E.STARTED)})


def test_urls_of_a_new_list_that_are_no_trackers_are_refused():
    s = schedule([A])
    s.set_tiers([["wss://x.example"], [A]])
    assert list(s.refused) == ["wss://x.example"]
    assert [record.url for record in s.records()] == [A]


@given(st.lists(st.lists(st.sampled_from([A, B, C, D]), max_size=4), max_size=4), st.randoms())
def test_any_new_list_leaves_a_schedule_that_works(tiers, rng):
    s = schedule([A], [B, C])
    attempts = s.due(now=0.0)
    under_way = [each for each in attempts if rng.random() < 0.5]
    for attempt in attempts:
        if attempt not in under_way:
            s.succeeded(attempt, answer(), now=0.0)
    s.set_tiers(tiers)
    for attempt in under_way:
        s.failed(attempt, TrackerError("down"), now=0.5)
    wanted = {url for tier in tiers for url in tier}
    assert {record.url for record in s.records()} == wanted
    for now in (1.0, 4000.0, 8000.0):
        for attempt in s.due(now=now):
            if attempt.event is not E.STOPPED:
                s.succeeded(attempt, answer(), now=now)
    asked = {record.url for record in s.records() if record.last_success_s is not None}
    assert not wanted or asked


# -- announces by hand ------------------------------------------------------------------------


def test_bep3_reannounce_waits_for_the_minimum_interval():
    s = schedule([A])
    answered(s, 0.0, min_interval_s=300.0)
    assert s.reannounce(now=100.0) == 300.0
    assert s.due(now=299.0) == []
    assert due(s, 300.0) == {(A, E.NONE)}


def test_reannounce_is_at_once_after_the_interval():
    s = schedule([A])
    answered(s, 0.0)
    assert s.reannounce(now=1000.0) == 1000.0
    assert due(s, 1000.0) == {(A, E.NONE)}


def test_reannounce_asks_failed_trackers_again_a_minute_after_the_last_time():
    s = schedule([A])
    for now in (0.0, 20.0, 50.0, 100.0, 200.0):
        s.failed(one(s, now), TrackerError("down"), now=now)
    assert s.due(now=209.0) == []
    assert s.reannounce(now=210.0) == 260.0
    assert due(s, 260.0) == {(A, E.STARTED)}


def test_bep31_reannounce_does_not_ask_who_refused_until_later():
    s = schedule([A])
    s.failed(one(s, 0.0), TrackerRefusedError("busy", retry_in_s=5000.0), now=0.0)
    assert s.reannounce(now=100.0) == 5000.0
    assert s.due(now=4999.0) == []


def test_reannounce_without_trackers_is_never():
    assert schedule().reannounce(now=5.0) == float("inf")


def test_backups_are_those_in_whose_place_another_is_asked():
    s = schedule([A, B], [C])
    assert [s.is_backup(url) for url in (A, B, C)] == [False, True, False]
    first = next(each for each in s.due(now=0.0) if each.url == A)
    s.failed(first, TrackerError("down"), now=0.0)
    s.succeeded(one(s, 0.0), answer(), now=0.0)
    assert [s.is_backup(url) for url in (A, B, C)] == [True, False, False]
