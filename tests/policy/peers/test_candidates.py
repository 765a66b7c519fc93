"""Whom we dial, and whom not."""

import random
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cpu_time import cpu_time
from torrent_engine.base.config import PoolConfig
from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.policy.addresses import is_dialable
from torrent_engine.policy.peers.candidates import PRIVATE_SOURCES, CandidateList, Source
from torrent_engine.policy.peers.dial_limiter import DialLimiter
from torrent_engine.policy.peers.peer_priority import peer_priority

CONFIG = PoolConfig()
HOME = replace(CONFIG, allow_multiple_per_ip=True)


def peer(number: int, port: int = 6881) -> PeerAddress:
    return PeerAddress(f"8.{number >> 16}.{number >> 8 & 255}.{number & 255}", port)


def candidates(config: PoolConfig = CONFIG, **options) -> CandidateList:
    return CandidateList(config, random.Random(1), **options)


def dial_all(subject: CandidateList, now: float) -> list[PeerAddress]:
    return list(iter(lambda: subject.next_to_dial(now), None))


def test_every_candidate_is_dialled_once() -> None:
    subject = candidates()
    for number in range(100):
        assert subject.add(peer(number), Source.TRACKER, now=0)
        assert not subject.add(peer(number), Source.DHT, now=0)
    assert len(subject) == 100
    assert subject.next_due(0) == 0
    assert sorted(dial_all(subject, 0)) == sorted(peer(number) for number in range(100))
    assert subject.next_due(0) is None
    assert subject.sources(peer(3)) == Source.TRACKER | Source.DHT
    assert subject.sources(peer(1000)) == Source(0)


def test_peers_given_by_hand_come_first_and_hearsay_last() -> None:
    subject = candidates()
    for number, source in enumerate((Source.PEX, Source.TRACKER, Source.MANUAL, Source.LSD)):
        subject.add(peer(number), source, now=0)
    dialled = dial_all(subject, 0)
    assert set(dialled[:2]) == {peer(2), peer(3)}
    assert dialled[2:] == [peer(1), peer(0)]


def test_better_source_lifts_a_candidate_that_waits() -> None:
    subject = candidates()
    subject.add(peer(0), Source.PEX, now=0)
    subject.add(peer(1), Source.TRACKER, now=0)
    subject.add(peer(0), Source.LSD, now=0)
    assert dial_all(subject, 0) == [peer(0), peer(1)]
    subject.add(peer(0), Source.MANUAL, now=0)  # it is busy: nothing to do
    assert subject.next_to_dial(0) is None


def test_failed_dial_is_tried_again_later_and_later_and_then_forgotten() -> None:
    subject = candidates()
    subject.add(peer(0), Source.TRACKER, now=0)
    now, waits = 0.0, []
    while peer(0) in subject:
        assert subject.next_to_dial(now) == peer(0)
        subject.mark_failed(peer(0), now)
        assert subject.next_to_dial(now) is None
        due = subject.next_due(now)
        if due is not None:
            waits.append(due - now)
            assert subject.next_to_dial(due - 0.1) is None
            now = due
    assert waits == [15, 30, 60, 120, 240]
    assert len(subject) == 0


def test_peer_given_by_hand_is_never_forgotten_and_asked_for_again_is_due_at_once() -> None:
    subject = candidates()
    subject.add(peer(0), Source.MANUAL, now=0)
    for attempt in range(20):
        assert subject.next_to_dial(attempt * 10_000) == peer(0)
        subject.mark_failed(peer(0), attempt * 10_000)
    assert subject.next_due(190_000) == 190_000 + CONFIG.backoff_max_s
    subject.add(peer(0), Source.TRACKER, now=190_001)
    assert subject.next_to_dial(190_001) is None
    subject.add(peer(0), Source.MANUAL, now=190_001)
    assert subject.next_to_dial(190_001) == peer(0)


def test_end_of_a_good_link_is_no_failure_and_of_a_bad_one_is() -> None:
    subject = candidates()
    for number in range(2):
        subject.add(peer(number), Source.TRACKER, now=0)
        assert subject.next_to_dial(0) is not None
        subject.mark_connected(peer(number), now=number)
    assert subject.proven(5) == [peer(1), peer(0)]
    assert subject.proven(1) == [peer(1)]
    for _ in range(CONFIG.max_failures - 1):
        subject.mark_disconnected(peer(0), now=100, good=False)
    subject.mark_disconnected(peer(1), now=100, good=True)
    assert subject.next_to_dial(115) == peer(1)
    subject.mark_disconnected(peer(0), now=100, good=False)
    assert peer(0) not in subject


def test_bep9_who_begins_anew_with_the_metadata_is_dialled_soon_once() -> None:
    subject = candidates()
    subject.add(peer(0), Source.TRACKER, now=0)
    for now, due in ((10, 11), (20, 35), (40, 55)):
        subject.mark_connected(peer(0), now)
        subject.mark_disconnected(peer(0), now, good=True, reconnects_soon=True)
        assert subject.next_to_dial(now) is None
        assert (subject.next_due(now) or 0) == pytest.approx(due, abs=0.5)


def test_incoming_link_makes_a_candidate_busy() -> None:
    subject = candidates()
    subject.add(peer(0), Source.INCOMING, now=0)
    subject.mark_connected(peer(0), now=0)
    assert subject.next_to_dial(0) is None
    subject.mark_disconnected(peer(0), now=10, good=True)
    assert subject.next_to_dial(25) == peer(0)


def test_words_about_unknown_peers_are_ignored() -> None:
    subject = candidates()
    subject.mark_failed(peer(0), 0)
    subject.mark_connected(peer(0), 0)
    subject.mark_disconnected(peer(0), 0, good=True)
    assert len(subject) == 0


def test_one_link_per_ip_address_unless_many_may_share_it() -> None:
    strict, home = candidates(), candidates(HOME)
    for subject in (strict, home):
        for port in (1001, 1002, 1003):
            subject.add(peer(7, port), Source.TRACKER, now=0)
    assert len(dial_all(strict, 0)) == 1
    assert len(dial_all(home, 0)) == 3


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1"])
def test_every_port_of_the_loopback_is_a_peer_of_its_own(host: str) -> None:
    subject = candidates()
    for port in range(1, 101):
        assert subject.add(PeerAddress(host, port), Source.TRACKER, now=0)
    for port in range(1, 10):
        subject.ban(PeerAddress(host, port), None, now=0)
    assert len(dial_all(subject, 0)) == 91


def test_address_in_use_is_looked_at_again_later() -> None:
    subject = candidates()
    subject.add(peer(0), Source.TRACKER, now=0)
    assert subject.next_to_dial(0, in_use={peer(0).host}) is None
    assert subject.next_to_dial(0) is None
    assert subject.next_to_dial(10) == peer(0)


def test_crowd_of_ports_of_one_address_is_cut() -> None:
    strict, home = candidates(), candidates(HOME)
    for subject in (strict, home):
        for port in range(1, 101):
            subject.add(peer(0, port), Source.PEX, now=0)
    assert (len(strict), len(home)) == (CONFIG.max_candidates_per_ip, 100)


def test_b9_hundred_liars_naming_one_victim_cause_at_most_5_dials_a_minute() -> None:
    subject, rng, dials = candidates(), random.Random(2), []
    for second in range(600):
        for _ in range(10):  # 100 liars, 50 names each in 10 minutes and more
            subject.add(PeerAddress("8.8.8.8", rng.randrange(1, 65536)), Source.PEX, now=second)
        while (address := subject.next_to_dial(second)) is not None:
            dials.append(second)
            subject.mark_failed(address, second)
    assert dials
    for start in range(600):
        assert sum(start <= when < start + 60 for when in dials) <= 5


def test_b9_dial_limit_is_shared_between_torrents_that_share_it() -> None:
    limiter = DialLimiter(CONFIG)
    subjects = [candidates(dial_limiter=limiter) for _ in range(20)]
    for subject in subjects:
        subject.add(peer(0), Source.PEX, now=0)

    def dial_each(now: float) -> int:
        return sum(dial_and_fail(subject, now) for subject in subjects)

    assert dial_each(0) == 5
    assert dial_each(61) == 5
    limiter.begin("9.9.9.9", 1000)
    assert len(limiter._dials) == 1


def dial_and_fail(subject: CandidateList, now: float) -> bool:
    if (address := subject.next_to_dial(now)) is None:
        return False
    subject.mark_failed(address, now)
    return True


def test_b9_whom_the_user_named_for_many_torrents_is_dialled_for_each() -> None:
    limiter = DialLimiter(CONFIG)
    subjects = [candidates(dial_limiter=limiter) for _ in range(20)]
    for subject in subjects:
        subject.add(peer(0), Source.MANUAL, now=0)
    assert sum(dial_and_fail(subject, 0) for subject in subjects) == 20
    stranger = candidates(dial_limiter=limiter)
    stranger.add(peer(0), Source.PEX, now=0)
    assert not dial_and_fail(stranger, 59)  # those dials count for everybody else
    assert dial_and_fail(stranger, 60)


@pytest.mark.parametrize("source", [Source.PEX, Source.DHT, Source.TRACKER])
def test_b9_a_host_that_answers_is_dialled_for_each_of_a_thousand_torrents(source: Source) -> None:
    subjects, _ = torrents_of_one_peer(1_000, source)
    dialled = 0
    for subject in subjects:
        while subject.next_to_dial(0) is not None:
            dialled += 1
            subject.mark_connected(peer(0), 0)
    assert dialled == 1_000


def test_b9_a_victim_that_a_thousand_torrents_hear_of_is_dialled_five_times_a_minute() -> None:
    subjects, _ = torrents_of_one_peer(1_000, Source.PEX)
    dials = [now for now in range(120) for subject in subjects if dial_and_fail(subject, now)]
    assert dials == [0] * 5 + [60] * 5


def test_b9_whom_trackers_name_and_nobody_reaches_is_dialled_two_times_a_second() -> None:
    subjects, _ = torrents_of_one_peer(1_000)
    dials = sum(dial_and_fail(subject, 0) for subject in subjects)
    assert dials == CONFIG.max_dials_per_known_ip_per_minute == 120
    assert not dial_and_fail(subjects[-1], 59)
    assert dial_and_fail(subjects[-1], 60)


def test_b9_more_dials_may_fail_of_a_host_that_answered_before() -> None:
    subjects, _ = torrents_of_one_peer(300, Source.PEX)
    assert subjects[0].next_to_dial(0) == peer(0)
    subjects[0].mark_connected(peer(0), 0)
    assert sum(dial_and_fail(subject, 1) for subject in subjects[1:]) == 120
    later_s = 1_000.0
    assert sum(dial_and_fail(subject, later_s) for subject in subjects[1:]) == 5


# -- one handshake at a time ------------------------------------------------------------------


def torrents_of_one_peer(
    count: int, source: Source = Source.TRACKER
) -> tuple[list[CandidateList], list[int]]:
    """Return lists that share a limiter and name one peer, and who was told to look again."""
    limiter, woken = DialLimiter(CONFIG), list[int]()
    subjects = [candidates(dial_limiter=limiter) for _ in range(count)]
    for number, subject in enumerate(subjects):
        subject.add(peer(0), source, now=0)
        subject.dial_with(partial(woken.append, number))
    return subjects, woken


@pytest.mark.parametrize("outcome", ["answered", "failed", "banned", "ourselves", "stopped"])
def test_torrents_shake_hands_with_one_address_one_after_the_other(outcome: str) -> None:
    (first, second, third), woken = torrents_of_one_peer(3)
    assert first.next_to_dial(0) == peer(0)
    assert second.next_to_dial(0) is None
    assert third.next_to_dial(0) is None
    assert not woken
    match outcome:
        case "answered":
            first.mark_connected(peer(0), 0.5)
        case "failed":
            first.mark_failed(peer(0), 0.5)
        case "banned":
            first.ban(peer(0), None, 0.5)
        case "ourselves":
            first.exclude(peer(0))
        case _:
            first.all_idle(0.5)
    assert woken == [1, 2]
    assert second.next_to_dial(0.5) == peer(0)
    if outcome == "answered":  # that allows one more
        assert third.next_to_dial(0.5) == peer(0)
        return
    assert third.next_to_dial(0.5) is None
    second.mark_connected(peer(0), 1.0)
    assert woken == [1, 2, 2]
    assert third.next_to_dial(1.0) == peer(0)


def test_other_ports_of_an_address_wait_for_its_handshake_only_and_others_not_at_all() -> None:
    subject = candidates()
    for port in (1, 2):
        subject.add(peer(0, port), Source.TRACKER, now=0)
    subject.add(peer(1), Source.PEX, now=0)
    dialled = dial_all(subject, 0)
    assert [address.host for address in dialled] == [peer(0).host, peer(1).host]
    subject.mark_failed(dialled[0], 7)
    assert {dialled[0], subject.next_to_dial(7)} == {peer(0, 1), peer(0, 2)}


def test_who_is_held_back_and_banned_meanwhile_is_gone() -> None:
    (first, second), woken = torrents_of_one_peer(2)
    assert first.next_to_dial(0)
    assert second.next_to_dial(0) is None
    second.ban(peer(0), None, 0)
    first.mark_connected(peer(0), 1)
    assert woken == [1]
    assert second.next_to_dial(1_000) is None


# -- seeds ------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [Source.TRACKER, Source.MANUAL], ids=["told", "named"])
def test_bep21_seeds_are_dialled_only_while_we_want_something(source: Source) -> None:
    subject, woken = candidates(), list[int]()
    subject.dial_with(lambda: woken.append(1))
    for number in range(3):
        subject.add(peer(number), source, now=0)
        assert subject.next_to_dial(0) == peer(number)
        subject.mark_connected(peer(number), 0)
        subject.note_seed(peer(number), is_seed=number > 0)
        subject.mark_disconnected(peer(number), 0, good=True)
    subject.set_wanting(wanting=False)
    assert [subject.is_seed(peer(number)) for number in range(4)] == [False, True, True, False]
    assert dial_all(subject, 1_000) == [peer(0)]
    subject.add(peer(1), source, now=1_000)
    assert subject.next_due(1_000) is None
    woken.clear()
    subject.set_wanting(wanting=True)
    assert woken
    assert set(dial_all(subject, 1_000)) == {peer(1), peer(2)}


def test_bep21_seeds_that_parted_from_us_are_dialled_at_once_when_something_is_wanted() -> None:
    subject = candidates()
    for number in range(2):
        subject.add(peer(number), Source.TRACKER, now=0)
        assert subject.next_to_dial(0) == peer(number)
    subject.mark_connected(peer(0), 0)
    subject.mark_disconnected(peer(0), 10, good=True)
    subject.mark_failed(peer(1), 10)  # this one may be gone
    for number in range(2):
        subject.note_seed(peer(number), is_seed=True)
    subject.set_wanting(wanting=False)
    subject.set_wanting(wanting=True)
    assert dial_all(subject, 11) == [peer(0)]


def test_bep21_who_is_no_seed_any_more_counts_again_and_a_back_off_goes_on_meanwhile() -> None:
    subject = candidates()
    subject.add(peer(0), Source.TRACKER, now=0)
    subject.note_seed(peer(0), is_seed=True)
    subject.set_wanting(wanting=False)
    subject.mark_failed(peer(0), 0)
    assert subject.next_due(0) is None
    subject.note_seed(peer(0), is_seed=False)
    assert subject.next_due(0) == CONFIG.backoff_first_s
    subject.note_seed(peer(9), is_seed=True)  # nobody we know
    assert peer(9) not in subject


# -- quick retries ----------------------------------------------------------------------------


def waits_of(source: Source, *, hung_up: bool, seed: int = 1) -> list[float]:
    """Return how long a peer is let alone after each failure in a row, until it is forgotten."""
    subject, now, waits = CandidateList(CONFIG, random.Random(seed)), 0.0, list[float]()
    subject.add(peer(0), source, now)
    while len(waits) < 12 and subject.next_to_dial(now) is not None:
        subject.mark_failed(peer(0), now, hung_up=hung_up)
        if (due := subject.next_due(now)) is not None:
            waits.append(due - now)
            now = due
    return waits


@pytest.mark.parametrize(
    ("source", "hung_up"),
    [(Source.TRACKER, True), (Source.MANUAL, True), (Source.MANUAL, False)],
    ids=["hung up", "named, hung up", "named, refused"],
)
def test_first_retry_is_quick_and_differs_and_the_later_ones_grow(
    source: Source, hung_up: bool
) -> None:
    lives = [waits_of(source, hung_up=hung_up, seed=seed) for seed in range(50)]
    for number, waits in enumerate(map(list, zip(*lives, strict=True))):
        middle = CONFIG.quick_retry_first_s * 2**number
        low, high = (min(middle * factor, CONFIG.backoff_max_s) for factor in (0.5, 1.5))
        assert low - 1e-6 <= min(waits) <= max(waits) <= high + 1e-6
    assert len({waits[0] for waits in lives}) == 50
    assert len(lives[0]) == (12 if source is Source.MANUAL else CONFIG.max_failures - 1)


def test_a_refused_dial_of_a_stranger_is_not_retried_quickly() -> None:
    assert waits_of(Source.TRACKER, hung_up=False) == [15, 30, 60, 120, 240]


def test_b9_local_addresses_told_by_strangers_are_refused() -> None:
    subject = candidates()
    for host in ("127.0.0.1", "10.1.2.3", "192.168.1.1", "169.254.169.254", "::1", "fe80::1"):
        assert not subject.add(PeerAddress(host, 80), Source.PEX, now=0, allow_local=False)
        assert subject.add(PeerAddress(host, 80), Source.LSD, now=0)


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("8.8.8.8", 0),
        ("8.8.8.8", 65536),
        ("8.8.8.8", -1),
        ("0.0.0.0", 80),
        ("::", 80),
        ("224.0.0.1", 80),
        ("ff02::1", 80),
        ("255.255.255.255", 80),
        ("example.org", 80),
        ("", 80),
        ("1.2.3", 80),
    ],
)
def test_address_that_cannot_be_dialled_is_refused(host: str, port: int) -> None:
    assert not is_dialable(PeerAddress(host, port))
    assert not candidates().add(PeerAddress(host, port), Source.TRACKER, now=0)


@given(st.text(max_size=20) | st.ip_addresses().map(str), st.integers())
def test_no_address_whatever_raises(host: str, port: int) -> None:
    subject = candidates()
    if subject.add(PeerAddress(host, port), Source.PEX, now=0):
        assert subject.next_to_dial(0) == (host, port)


def test_own_address_is_never_dialled() -> None:
    subject = candidates()
    subject.add(peer(0), Source.TRACKER, now=0)
    subject.exclude(peer(0))
    assert subject.next_to_dial(0) is None
    assert not subject.add(peer(0), Source.TRACKER, now=0)


def test_bep27_private_torrent_takes_no_peers_from_dht_pex_or_lsd() -> None:
    subject = candidates(is_private=True)
    taken = {source for source in Source if subject.add(peer(source.value), source, now=0)}
    assert taken == {Source.MANUAL, Source.TRACKER, Source.INCOMING}


def test_bep40_priority_decides_once_our_address_is_known() -> None:
    subject, own = candidates(), PeerAddress("123.213.32.10", 6881)
    for number in range(50):
        subject.add(peer(number * 7919), Source.TRACKER, now=0)
    subject.add(own, Source.TRACKER, now=0)
    subject.add(peer(1), Source.TRACKER, now=0)
    subject.add(peer(2), Source.TRACKER, now=0)
    assert subject.next_to_dial(0) is not None
    subject.set_external_address(own)
    dialled = dial_all(subject, 0)
    assert len(dialled) == 51
    assert own not in dialled
    priorities = [peer_priority(own, address) for address in dialled]
    assert priorities == sorted(priorities, reverse=True)


@pytest.mark.no_cover
def test_f11_our_address_that_changes_takes_a_short_turn_of_many_candidates() -> None:
    subject, own = candidates(), PeerAddress("123.213.32.10", 6881)
    for number in range(3_000):
        subject.add(peer(number * 577), Source.TRACKER, now=0)
    took: list[float] = []
    for number in range(3):
        with cpu_time() as spent:
            subject.set_external_address(PeerAddress(f"123.213.32.{number}", 6881))
        took.append(spent.seconds)
    assert min(took) < 0.012  # it was 0.03 s
    for _ in range(6):
        subject.set_external_address(own)
    priorities = [peer_priority(own, address) for address in dial_all(subject, 0)]
    assert len(priorities) == 3_000
    assert priorities == sorted(priorities, reverse=True)


def test_bep40_whose_priority_is_to_change_may_be_gone_by_then() -> None:
    subject = candidates()
    for number in range(1_200):
        subject.add(peer(number * 577), Source.PEX, now=0)
    subject.set_external_address(peer(1))
    subject.forget([peer(number * 577) for number in range(1_100)], Source.PEX)
    for _ in range(3):
        subject.set_external_address(peer(1))
    assert len(dial_all(subject, 0)) == 100


def test_bep40_our_address_of_one_family_says_nothing_of_peers_of_the_other() -> None:
    subject, ours = candidates(), (PeerAddress("123.213.32.10", 9), PeerAddress("2600::1", 9))
    theirs = {peer(n) for n in range(20)} | {
        PeerAddress(f"2601:0:0:{n:x}::1", 1) for n in range(20)
    }
    for own in ours:
        subject.set_external_address(own)
    for address in theirs:
        subject.add(address, Source.TRACKER, now=0)
    dialled = dial_all(subject, 0)
    priorities = [peer_priority(ours[":" in address.host], address) for address in dialled]
    assert set(dialled) == theirs
    assert priorities == sorted(priorities, reverse=True)


def test_own_public_address_is_not_dialled_until_another_takes_its_place() -> None:
    subject = candidates()
    subject.set_external_address(peer(0))
    assert not subject.add(peer(0), Source.TRACKER, now=0)
    subject.set_external_address(PeerAddress("2600::1", 6881))
    assert not subject.add(peer(0), Source.TRACKER, now=0)
    subject.set_external_address(peer(1))
    assert subject.add(peer(0), Source.TRACKER, now=0)


def test_b9_a_candidate_that_is_said_to_be_our_own_address_is_dialled_when_it_is_not() -> None:
    subject, woken = candidates(), list[int]()
    subject.dial_with(lambda: woken.append(1))
    for number in range(3):
        subject.add(peer(number), Source.TRACKER, now=0)
    for number in range(3):
        subject.set_external_address(peer(number))
        assert not subject.dial_now(peer(number), 0)
        subject.add(peer(number), Source.MANUAL, now=0)
    assert len(woken) == 2
    assert set(dial_all(subject, 1)) == {peer(0), peer(1)}
    assert subject.next_due(1) is None
    subject.set_external_address(PeerAddress("123.213.32.10", 6881))
    assert dial_all(subject, 1) == [peer(2)]


def test_proven_are_those_whose_last_link_ended_well_and_untried_ones_of_before() -> None:
    subject = candidates()
    for number, source in enumerate((Source.TRACKER, Source.TRACKER, Source.RESUME, Source.RESUME)):
        subject.add(peer(number), source, now=0)
    subject.add(peer(4), Source.TRACKER, now=0)
    assert set(dial_all(subject, 0)[:2]) == {peer(2), peer(3)}  # tried before all others
    subject.all_idle(0)
    for number in (0, 1):
        subject.mark_connected(peer(number), number)
    subject.mark_failed(peer(3), 2)
    assert subject.proven(9) == [peer(1), peer(0), peer(2)]
    subject.mark_disconnected(peer(1), 3, good=False)
    assert subject.proven(9) == [peer(0), peer(2)]


def test_full_list_evicts_the_worst_and_refuses_who_is_no_better() -> None:
    subject = candidates(replace(CONFIG, max_candidates=3))
    for number in range(3):
        subject.add(peer(number), Source.TRACKER if number else Source.PEX, now=0)
    assert not subject.add(peer(3), Source.DHT, now=0)
    assert subject.add(peer(4), Source.LSD, now=0)
    assert peer(0) not in subject
    busy = subject.next_to_dial(0)
    assert busy == peer(4)
    subject.mark_failed(peer(4), 0)  # a failure weighs more than any source
    assert subject.add(peer(5), Source.DHT, now=0)
    assert peer(4) not in subject
    assert len(subject) == 3


def test_full_list_of_busy_peers_takes_nobody() -> None:
    subject = candidates(replace(CONFIG, max_candidates=2))
    for number in range(2):
        subject.add(peer(number), Source.PEX, now=0)
    assert len(dial_all(subject, 0)) == 2
    assert not subject.add(peer(3), Source.MANUAL, now=0)


def hearsay(number: int) -> PeerAddress:
    return PeerAddress(f"20.{number >> 16}.{number >> 8 & 255}.{number & 255}", 6881)


BETTER = {peer(1): Source.MANUAL, peer(2): Source.RESUME, peer(3): Source.TRACKER}


def with_better(most: int = CONFIG.max_candidates) -> CandidateList:
    """Return a list with those of better sources, each dialled once for nothing."""
    subject = candidates(replace(CONFIG, max_candidates=most))
    for address, source in BETTER.items():
        subject.add(address, source, now=0)
        subject.mark_failed(address, now=0)
    return subject


def test_b9_no_better_candidate_that_failed_once_is_forgotten_for_hearsay() -> None:
    subject = with_better(30)
    for number in range(100):
        assert subject.add(hearsay(number), Source.DHT, now=1) == (number < 27)
    assert len(subject) == 30
    assert set(BETTER) <= set(subject._candidates)


def test_b9_hearsay_gives_way_until_it_is_half_of_a_full_list_and_has_no_more_then() -> None:
    subject = candidates(replace(CONFIG, max_candidates=20))
    for number in range(20):
        subject.add(hearsay(number), Source.PEX, now=0)
    for number in range(10):
        assert subject.add(peer(number), Source.TRACKER, now=0)
        subject.mark_failed(peer(number), now=0)
    for number in range(50, 80):
        assert not subject.add(hearsay(number), Source.PEX, now=1)
    assert subject.add(peer(10), Source.TRACKER, now=1)
    assert subject.count_from(Source.PEX) == 9
    assert subject.add(hearsay(50), Source.PEX, now=1)  # for one of those that failed
    assert not subject.add(hearsay(51), Source.PEX, now=1)
    assert subject.count_from(Source.PEX) == 10


def test_b9_who_is_of_an_earlier_run_is_forgotten_for_a_tracker_but_not_for_hearsay() -> None:
    subject = candidates(replace(CONFIG, max_candidates=4))
    for number in range(4):
        subject.add(peer(number), Source.RESUME, now=0)
        subject.mark_failed(peer(number), now=0)
    assert not subject.add(hearsay(0), Source.DHT, now=1)
    assert subject.add(peer(50), Source.TRACKER, now=1)


def test_whom_the_user_named_is_forgotten_for_nobody() -> None:
    subject = candidates(replace(CONFIG, max_candidates=4))
    for number in range(4):
        subject.add(peer(number), Source.MANUAL, now=0)
        subject.mark_failed(peer(number), now=0)
    for source in Source:
        assert not subject.add(peer(50), source, now=1)
    assert len(subject) == 4


def test_b9_hearsay_about_an_address_makes_room_for_a_better_source() -> None:
    subject = candidates()
    ports = range(100, 100 + CONFIG.max_candidates_per_ip)
    for port in ports:
        assert subject.add(peer(0, port), Source.PEX, now=0)
    assert not subject.add(peer(0, 1), Source.DHT, now=0)
    assert subject.add(peer(0, 1), Source.TRACKER, now=0)
    assert subject.add(peer(0, 2), Source.MANUAL, now=0)
    assert len(subject) == CONFIG.max_candidates_per_ip
    for port in ports:
        subject.add(peer(0, port), Source.TRACKER, now=0)
    assert not subject.add(peer(0, 99), Source.TRACKER, now=0)
    assert {peer(0, 1), peer(0, 2)} <= set(subject._candidates)


def test_b9_a_port_that_failed_makes_room_for_an_untried_one_of_the_same_standing() -> None:
    subject = candidates()
    for port in range(100, 100 + CONFIG.max_candidates_per_ip):
        assert subject.add(peer(0, port), Source.PEX, now=0)
    assert not subject.add(peer(0, 1), Source.DHT, now=0)
    tried = subject.next_to_dial(0)
    assert tried is not None
    subject.mark_failed(tried, now=1)
    assert subject.add(peer(0, 1), Source.DHT, now=1)
    assert tried not in subject
    assert not subject.add(peer(0, 2), Source.DHT, now=1)


def test_b9_a_better_word_that_failed_makes_room_for_no_hearsay() -> None:
    subject = candidates(replace(CONFIG, max_candidates_per_ip=1))
    subject.add(peer(0, 1), Source.TRACKER, now=0)
    assert subject.next_to_dial(0) == peer(0, 1)
    subject.mark_failed(peer(0, 1), now=0)
    assert not subject.add(peer(0, 2), Source.DHT, now=0)
    assert subject.add(peer(0, 3), Source.TRACKER, now=0)


def test_b9_a_port_that_is_dialled_makes_room_for_nobody() -> None:
    subject = candidates(replace(CONFIG, max_candidates_per_ip=1))
    assert subject.add(peer(0, 1), Source.PEX, now=0)
    assert subject.next_to_dial(0) == peer(0, 1)
    assert not subject.add(peer(0, 2), Source.MANUAL, now=0)


def test_b9_fresh_hearsay_without_end_delays_no_retry_of_a_better_candidate() -> None:
    subject, retried = with_better(), set[PeerAddress]()
    for now in range(60):
        for number in range(6):
            subject.add(hearsay(now * 6 + number), Source.DHT, now)
        for _ in range(5):
            dialled = subject.next_to_dial(now)
            assert dialled is not None
            subject.mark_failed(dialled, now)
            retried |= {dialled} & BETTER.keys()
    assert retried == BETTER.keys()


def test_b9_hearsay_that_answered_is_hearsay_no_more() -> None:
    subject = candidates(replace(CONFIG, max_candidates=10))
    subject.add(peer(0), Source.DHT, now=0)
    assert subject.next_to_dial(0) == peer(0)
    subject.mark_connected(peer(0), now=0)
    subject.mark_disconnected(peer(0), now=1, good=True)
    subject.mark_failed(peer(0), now=2)
    for number in range(20):
        subject.add(hearsay(number), Source.DHT, now=3)
    assert peer(0) in subject


def test_b7_banned_peer_is_neither_dialled_nor_taken_again() -> None:
    subject, poisoner = candidates(), PeerId(b"p" * 20)
    subject.add(peer(0, 1), Source.TRACKER, now=0)
    subject.add(peer(0, 2), Source.TRACKER, now=0)
    subject.ban(peer(0, 1), poisoner, now=0)
    assert not subject.add(peer(0, 1), Source.TRACKER, now=0)
    assert subject.is_banned(peer(0, 77), poisoner, now=0)
    assert dial_all(subject, 0) == [peer(0, 2)]
    assert subject.add(peer(0, 1), Source.TRACKER, now=CONFIG.ban_s + 1)


def test_b7_ip_address_banned_meanwhile_is_not_dialled() -> None:
    subject = candidates()
    for port in range(1, 5):
        subject.add(peer(0, port), Source.TRACKER, now=0)
    for port in range(1, 4):
        subject.ban(peer(0, port), None, now=0)
    assert subject.next_to_dial(0) is None
    assert len(subject) == 0


VERBS = st.sampled_from(["add", "dial", "fail", "good", "bad", "connect", "ban", "own"])


@given(st.lists(st.tuples(VERBS, st.integers(0, 9), st.integers(0, 40)), max_size=120))
def test_random_lives_keep_the_counts_right(steps: list[tuple[str, int, int]]) -> None:
    config = replace(CONFIG, max_candidates=6, max_connections_per_ip=2)
    subject, now = candidates(config), 0.0
    for verb, number, pause_s in steps:
        now += pause_s
        address = PeerAddress(f"8.8.8.{number // 3}", 1 + number % 3)
        match verb:
            case "add":
                subject.add(address, Source.TRACKER if number % 2 else Source.PEX, now)
            case "dial":
                dialled = subject.next_to_dial(now)
                assert dialled is None or not subject.is_banned(dialled, None, now)
            case "fail":
                subject.mark_failed(address, now)
            case "good" | "bad":
                subject.mark_disconnected(address, now, good=verb == "good")
            case "connect":
                subject.mark_connected(address, now)
            case "ban":
                subject.ban(address, None, now)
            case _:
                subject.set_external_address(address)
        known = subject._candidates
        assert len(subject) <= 6
        assert all(each.busy != (address in subject._waiting) for address, each in known.items())
        assert len(subject._waiting) == sum(not each.busy for each in known.values())
        ports = Counter({host: len(each) for host, each in subject._of_operator.items()})
        assert ports == Counter(address.host for address in known)
        busy = Counter(address.host for address, each in known.items() if each.busy)
        assert subject._busy_per_operator == busy
        dialling = {address.host for address, each in known.items() if each.dial is not None}
        assert set(subject._limiter._pending) == dialling


# -- several handshakes with a host that answers ------------------------------------------------


def test_torrents_that_wait_dial_in_their_order_as_soon_as_there_is_room() -> None:
    subjects, _ = torrents_of_one_peer(40)
    dials: list[int] = []

    def dial(number: int) -> None:
        if subjects[number].next_to_dial(now) is not None:
            dials.append(number)

    for number, subject in enumerate(subjects):
        subject.dial_with(partial(dial, number))
    now, rounds = 0.0, list[int]()
    for number in range(len(subjects)):
        dial(number)
    while len(dials) < len(subjects):
        begun, now = dials[sum(rounds) :], now + 1
        rounds.append(len(begun))
        for number in begun:
            subjects[number].mark_connected(peer(0), now)
    assert dials == sorted(dials)
    assert rounds == [1, 2, 4, 8, 16]  # and the other nine


def test_a_peer_that_hangs_up_on_a_second_handshake_is_dialled_again_alone() -> None:
    (first, second, third, fourth), _ = torrents_of_one_peer(4)
    assert first.next_to_dial(0) == peer(0)
    first.mark_connected(peer(0), 0)
    assert (second.next_to_dial(1), third.next_to_dial(1)) == (peer(0), peer(0))
    third.mark_failed(peer(0), 1, hung_up=True)
    assert third.next_to_dial(1) is None  # it has its turn after the second
    assert fourth.next_to_dial(1) is None
    second.mark_connected(peer(0), 2)
    assert third.next_to_dial(2) == peer(0)  # without the wait that follows a failure
    assert fourth.next_to_dial(2) is None
    third.mark_failed(peer(0), 3, hung_up=True)
    assert (third.next_due(3) or 0) > 3  # alone that is a failure


# -- who named whom -----------------------------------------------------------------------------


def test_candidates_are_counted_by_source_as_long_as_they_are_known() -> None:
    subject = candidates()
    for number in range(3):
        subject.add(peer(number), Source.DHT, now=0)
        subject.add(peer(number), Source.DHT, now=0)
    subject.add(peer(0), Source.PEX, now=0)
    assert subject.origin(peer(0)) == Source.DHT
    assert (subject.count_from(Source.DHT), subject.count_from(Source.PEX)) == (3, 1)
    subject.ban(peer(0), None, now=0)
    assert (subject.count_from(Source.DHT), subject.count_from(Source.PEX)) == (2, 0)
    assert subject.origin(peer(0)) == Source(0)


# -- magnets of private torrents ----------------------------------------------------------------


def test_b10_a_torrent_that_turns_out_private_forgets_who_no_tracker_named() -> None:
    subject = candidates()
    for number, source in enumerate(Source):
        subject.add(peer(number), source, now=0)
    both = peer(99)
    subject.add(both, Source.DHT, now=0)
    subject.add(both, Source.TRACKER, now=0)
    assert subject.become_private() == []
    left = {address for address in map(peer, range(len(Source))) if address in subject}
    assert {subject.sources(address) for address in left} == set(PRIVATE_SOURCES)
    assert subject.sources(both) == Source.TRACKER
    assert all(not subject.count_from(each) for each in ~PRIVATE_SOURCES)
    for source in ~PRIVATE_SOURCES:
        assert not subject.add(peer(200), source, now=1)
    assert subject.add(peer(200), Source.TRACKER, now=1)
    assert set(dial_all(subject, 1)) == {*left, both, peer(200)}


def test_b10_links_with_peers_that_no_tracker_named_are_to_end() -> None:
    subject = candidates()
    subject.add(peer(1), Source.PEX, now=0)
    subject.add(peer(2), Source.TRACKER, now=0)
    assert len(dial_all(subject, 0)) == 2
    assert subject.become_private() == [peer(1)]
    subject.mark_connected(peer(1), now=1)
    subject.mark_disconnected(peer(1), now=1, good=True)
    assert peer(1) not in subject


# -- hearsay --------------------------------------------------------------------------------------


def test_b9_only_who_nobody_else_named_is_forgotten_with_its_source() -> None:
    subject = candidates()
    subject.add(peer(1), Source.PEX, now=0)
    assert dial_all(subject, 0) == [peer(1)]
    for number in (2, 3):
        subject.add(peer(number), Source.PEX, now=0)
    subject.add(peer(3), Source.DHT, now=0)
    subject.forget(map(peer, range(5)), Source.PEX)
    assert [number for number in range(5) if peer(number) in subject] == [1, 3]


def test_b9_whoever_wants_to_hears_what_became_of_each_dial() -> None:
    subject, reached, not_reached = candidates(), list[PeerAddress](), list[PeerAddress]()
    subject.report_dials(reached.append, not_reached.append)
    for number in range(3):
        subject.add(peer(number), Source.PEX, now=0)
    dial_all(subject, 0)
    subject.mark_failed(peer(0), now=1)
    subject.mark_failed(peer(1), now=1, hung_up=True)
    subject.mark_connected(peer(2), now=1)
    assert (reached, not_reached) == ([peer(2)], [peer(0)])


# -- one peer in several ways -----------------------------------------------------------------


def test_b9_a_dial_in_another_way_counts_as_a_dial() -> None:
    limiter = DialLimiter(CONFIG)
    subject, stranger = candidates(dial_limiter=limiter), candidates(dial_limiter=limiter)
    for each in (subject, stranger):
        each.add(peer(0), Source.PEX, now=0)
    assert not subject.dial_again(peer(0), 0)  # it is not dialled
    assert subject.next_to_dial(0) == peer(0)
    assert [subject.dial_again(peer(0), 1) for _ in range(5)] == [True] * 4 + [False]
    subject.mark_failed(peer(0), 2)
    assert not subject.dial_again(peer(0), 3)
    assert stranger.next_to_dial(59) is None
    assert stranger.next_to_dial(60) == peer(0)


def test_b9_whom_the_user_named_is_dialled_in_another_way_however_often() -> None:
    subject = candidates()
    subject.add(peer(0), Source.MANUAL, now=0)
    assert subject.next_to_dial(0) == peer(0)
    assert all(subject.dial_again(peer(0), 0) for _ in range(20))
    subject.ban(peer(0), None, 0)
    assert not subject.dial_again(peer(0), 0)


def test_who_is_connected_is_not_dialled_in_another_way() -> None:
    subject = candidates()
    subject.add(peer(0), Source.TRACKER, now=0)
    assert subject.next_to_dial(0) == peer(0)
    subject.mark_connected(peer(0), 0)
    assert not subject.dial_again(peer(0), 0)
    assert not subject.dial_again(peer(1), 0)


def test_a_dial_of_who_comes_meanwhile_is_no_failure() -> None:
    subject, not_reached = candidates(), list[PeerAddress]()
    subject.report_dials(lambda _: None, not_reached.append)
    subject.add(peer(0), Source.TRACKER, now=0)
    assert subject.next_to_dial(0) == peer(0)
    subject.mark_connected(peer(0), 1)  # over uTP, from where it listens
    subject.mark_failed(peer(0), 2)
    assert subject.next_due(3) is None
    subject.mark_disconnected(peer(0), 4, good=True)
    assert subject.next_due(4) == 4 + CONFIG.backoff_first_s
    assert not not_reached


def test_bep55_a_peer_may_be_dialled_before_its_turn_within_the_limits() -> None:
    (subject, other), _ = torrents_of_one_peer(2, Source.PEX)
    assert not subject.dial_now(peer(1), 0)  # nobody knows it
    assert subject.dial_now(peer(0), 0)
    assert not subject.dial_now(peer(0), 0)
    assert not other.dial_now(peer(0), 0)  # another torrent shakes hands with it
    subject.mark_failed(peer(0), 0)
    assert subject.next_to_dial(1) is None
    assert subject.dial_now(peer(0), 1)
    subject.mark_failed(peer(0), 1)
    assert [other.dial_now(peer(0), 2) for _ in range(2)] == [True, False]
    other.mark_failed(peer(0), 2)
    for _ in range(2):
        assert subject.dial_now(peer(0), 3)
        subject.mark_failed(peer(0), 3)
    assert not subject.dial_now(peer(0), 4)  # five dials
    other.ban(peer(0), None, 5)
    assert not other.dial_now(peer(0), 100)


def in_one_64(number: int) -> PeerAddress:
    return PeerAddress(f"2600:0:0:1::{number + 1:x}", 6881)


def test_b9_addresses_of_one_64_are_dialled_one_at_a_time() -> None:
    subject = candidates()
    known = sum(subject.add(in_one_64(number), Source.PEX, now=0) for number in range(3_000))
    assert known == CONFIG.max_candidates_per_ip
    assert len(dial_all(subject, 0)) == 1
    assert subject.add(PeerAddress("2600:0:0:2::1", 6881), Source.PEX, now=0)
    assert dial_all(subject, 0) == [PeerAddress("2600:0:0:2::1", 6881)]


def test_b9_dials_to_one_64_a_minute_are_as_few_as_those_to_one_address() -> None:
    limiter, dials = DialLimiter(CONFIG), 0
    for number in range(100):  # a torrent each, so that no list of candidates is full
        subject = candidates(dial_limiter=limiter)
        subject.add(in_one_64(number), Source.PEX, now=0)
        while (address := subject.next_to_dial(number * 0.1)) is not None:
            dials += 1
            subject.mark_failed(address, number * 0.1)
    assert dials == CONFIG.max_dials_per_ip_per_minute


def test_b9_a_link_with_one_address_of_a_64_is_one_with_all_of_it() -> None:
    subject = candidates()
    subject.add(in_one_64(7), Source.PEX, now=0)
    assert subject.next_to_dial(0, in_use={"2600:0:0:1::/64"}) is None


@pytest.mark.parametrize("host", ["64:ff9b::192.168.0.1", "2002:c0a8:1::1", "64:ff9b::127.0.0.1"])
def test_b9_a_local_address_inside_an_ipv6_one_is_local(host: str) -> None:
    subject = candidates()
    address = PeerAddress(host, 6881)
    assert not subject.add(address, Source.PEX, now=0, allow_local=False)
