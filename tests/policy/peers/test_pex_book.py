"""BEP 11: what each peer is told of the others."""

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.config import PexConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.policy.peers.pex_book import LOOK_AGAIN_S, PexBook, PexChange

CONFIG = PexConfig()
EVERYBODY = 1_000
"""Peers that are looked at in one turn."""


def address(number: int) -> PeerAddress:
    return PeerAddress(f"8.0.{number >> 8}.{number & 255}", 6881)


def book(config: PexConfig = CONFIG) -> PexBook[int]:
    return PexBook(config, random.Random(1))


def join(subject: PexBook[int], *numbers: int, is_dialled: bool = True, now: float = 0.0) -> None:
    for number in numbers:
        subject.connected(number, address(number), now, is_dialled=is_dialled)
        subject.add_receiver(number, address(number).host)


def sent(
    subject: PexBook[int], now: float, known: dict[int, set[PeerAddress]] | None = None
) -> dict[int, PexChange[int]]:
    return dict(subject.changes(now, lambda key: (known or {}).get(key, set()), EVERYBODY))


def named(change: PexChange[int]) -> set[int]:
    return {contact.key for contact in change.added}


def test_bep11_every_peer_is_told_of_all_others_and_never_of_itself() -> None:
    subject = book()
    join(subject, 1, 2, 3)
    changes = sent(subject, 0)
    assert {key: named(change) for key, change in changes.items()} == {
        1: {2, 3},
        2: {1, 3},
        3: {1, 2},
    }


def test_bep11_one_peer_alone_is_told_nothing() -> None:
    subject = book()
    join(subject, 1)
    assert sent(subject, 0) == {}


def test_bep11_only_changes_are_sent_and_at_most_once_a_minute() -> None:
    subject = book()
    join(subject, 1, 2)
    assert named(sent(subject, 0)[1]) == {2}
    join(subject, 3)
    assert set(sent(subject, 1)) == {3}  # it was told nothing yet
    assert sent(subject, 59.9) == {}
    changes = sent(subject, 60)
    assert {key: named(change) for key, change in changes.items()} == {1: {3}, 2: {3}}
    assert sent(subject, 600) == {}


def test_bep11_who_left_is_dropped_for_those_who_heard_of_it() -> None:
    subject = book()
    join(subject, 1, 2, 3)
    sent(subject, 0)
    subject.left(3)
    join(subject, 4)
    changes = sent(subject, 60)
    assert changes[1].dropped == changes[2].dropped == [address(3)]
    assert changes[4].dropped == []
    assert sent(subject, 120) == {}
    assert address(3) not in subject
    assert address(4) in subject


def test_bep11_a_short_absence_or_visit_is_not_told() -> None:
    subject = book()
    join(subject, 1, 2)
    sent(subject, 0)
    subject.left(2)
    join(subject, 3)
    subject.left(3)
    join(subject, 2)
    changes = sent(subject, 60)
    assert 1 not in changes
    assert named(changes[2]) == {1}  # a new link hears all anew


def test_bep11_a_peer_does_not_hear_of_whom_it_named_to_us() -> None:
    subject = book()
    join(subject, 1, 2, 3)
    assert named(sent(subject, 0, {1: {address(2)}})[1]) == {3}


def test_bep11_whom_a_peer_named_after_us_is_not_dropped_for_that() -> None:
    subject = book()
    join(subject, 1, 2, 3)
    sent(subject, 0)
    join(subject, 4)
    assert sent(subject, 60, {1: {address(2)}})[1].dropped == []


def test_bep11_only_who_speaks_it_hears_and_everybody_with_a_known_port_is_named() -> None:
    subject = book()
    join(subject, 1)
    subject.connected(2, address(2), 0.0, is_dialled=True)
    subject.add_receiver(3, address(3).host)  # where it add_receiver is not known
    changes = sent(subject, 0)
    assert {key: named(change) for key, change in changes.items()} == {1: {2}, 3: {1, 2}}


def test_bep11_a_port_that_is_told_later_takes_the_place_of_the_first() -> None:
    subject = book()
    join(subject, 1, 2)
    sent(subject, 0)
    moved = PeerAddress(address(2).host, 7000)
    subject.connected(2, moved, 0.0, is_dialled=False)
    change = sent(subject, 60)[1]
    assert [each.address for each in change.added] == [moved]
    assert change.dropped == [address(2)]


def test_f11_a_contact_that_changes_its_port_again_and_again_does_so_once_a_minute() -> None:
    subject = book()
    join(subject, 1, 2)
    sent(subject, 0)
    ports = [PeerAddress(address(2).host, 7000 + port) for port in range(60)]
    for now, moved in enumerate(ports):
        subject.connected(2, moved, float(now), is_dialled=False)
    assert [each.address for each in sent(subject, 60)[1].added] == [ports[0]]
    subject.connected(2, ports[1], 60.0, is_dialled=False)
    assert [each.address for each in sent(subject, 120)[1].added] == [ports[1]]
    subject.left(2)
    subject.connected(2, address(2), 121.0, is_dialled=False)  # a new link is no change
    assert [each.address for each in sent(subject, 180)[1].added] == [address(2)]


def test_f11_however_often_contacts_come_and_go_so_many_peers_are_looked_at_in_a_turn() -> None:
    subject, most, looks = book(), 7, list[int]()

    def known_to(key: int) -> set[PeerAddress]:
        looks.append(key)
        return set()

    join(subject, *range(100))
    for now in range(200):
        subject.connected(1000, address(1000), now, is_dialled=True)
        subject.left(1000)
        before = len(looks)
        subject.changes(now, known_to, most)
        assert len(looks) - before <= most
    assert set(looks) == set(range(100))


def test_f11_a_peer_for_which_nothing_has_changed_is_looked_at_again_in_some_seconds() -> None:
    subject = book()
    join(subject, 1)
    assert sent(subject, 0) == {}
    join(subject, 2)
    assert set(sent(subject, LOOK_AGAIN_S - 0.1)) == {2}
    assert set(sent(subject, LOOK_AGAIN_S)) == {1}


def test_f11_who_joins_while_contacts_come_and_go_is_soon_told_of_all() -> None:
    subject, told = book(), set[int]()
    join(subject, *range(40))
    for now in range(12):
        subject.connected(1000 + now, address(1000 + now), now, is_dialled=True)
        told |= {key for key, _ in subject.changes(now, lambda _key: (), 4)}
    assert told == set(range(40))


def test_a_new_link_with_the_same_address_outlives_the_old_one() -> None:
    subject = book()
    join(subject, 1, 2)
    sent(subject, 0)
    subject.connected(3, address(2), 0.0, is_dialled=True)
    subject.left(2)
    assert address(2) in subject
    assert sent(subject, 60) == {}
    subject.left(3)
    assert sent(subject, 120)[1].dropped == [address(2)]


def test_b9_a_message_has_fifty_at_most_and_those_that_we_dialled_first() -> None:
    subject = book()
    join(subject, *range(60), is_dialled=False)
    join(subject, *range(60, 100))
    subject.add_receiver(1000, "8.9.9.9")
    changes = [sent(subject, now)[1000] for now in (0, 60)]
    assert named(changes[0]) >= set(range(60, 100))
    assert [len(change.added) for change in changes] == [50, 50]
    assert named(changes[0]) | named(changes[1]) == set(range(100))
    for number in range(70):
        subject.left(number)
    changes = [sent(subject, now)[1000] for now in (120, 180)]
    assert sorted(len(change.dropped) for change in changes) == [20, 50]


def test_bep11_who_is_named_first_is_left_to_chance() -> None:
    def first(seed: int) -> set[int]:
        subject = PexBook[int](replace(CONFIG, max_contacts=3), random.Random(seed))
        join(subject, *range(1, 40))
        return named(sent(subject, 0)[1])

    assert first(1) == first(1) != first(2)


def test_b9_local_peers_are_named_in_reach_only() -> None:
    subject = book()
    hosts = ["127.0.0.1", "10.0.0.1", "fd00::1", "8.8.8.8", "2600::1"]
    for key, host in enumerate(hosts):
        subject.connected(key, PeerAddress(host, 6881), 0.0, is_dialled=True)
        subject.add_receiver(key, host)
    changes = sent(subject, 0)
    assert named(changes[0]) == {1, 2, 3, 4}
    assert named(changes[1]) == {2, 3, 4}
    assert named(changes[3]) == {4}
    assert named(changes[4]) == {3}


STEPS = st.lists(
    st.tuples(st.sampled_from(["join", "leave", "wait"]), st.integers(0, 7)), max_size=60
)


@given(STEPS)
def test_bep11_what_a_listener_was_told_adds_up_to_who_is_there(
    steps: list[tuple[str, int]],
) -> None:
    subject, now = book(replace(CONFIG, max_contacts=2)), 0.0
    subject.add_receiver(100, "8.9.9.9")
    present: set[int] = set()
    heard: set[PeerAddress] = set()
    steps = [*steps, *[("wait", 0)] * 8]
    for what, number in steps:
        if what == "join" and number not in present:
            join(subject, number)
            present.add(number)
        elif what == "leave":
            subject.left(number)
            present.discard(number)
        elif what == "wait":
            now += CONFIG.interval_s
            change = sent(subject, now).get(100, PexChange([], []))
            added = {contact.address for contact in change.added}
            assert not added & heard
            assert heard >= set(change.dropped)
            assert max(len(change.added), len(change.dropped)) <= 2
            heard = (heard | added) - set(change.dropped)
    assert heard == set(map(address, present))


def test_bep11_two_peers_of_one_address_leave_one_after_the_other() -> None:
    subject = book()
    subject.connected(1, address(1), 0.0, is_dialled=False)
    subject.connected(2, address(1), 0.0, is_dialled=False)
    subject.left(2)
    subject.left(1)
    assert address(1) not in subject
