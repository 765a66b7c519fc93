"""The routing table (BEP 5): who has a place in which bucket, who is told of, who is asked."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.protocol.dht.krpc import NodeInfo, decode_nodes
from torrent_engine.protocol.dht.routing import RoutingTable
from torrent_engine.protocol.dht.security import node_id_for

OWN = NodeId(bytes(20))
CONFIG = DhtConfig()


def table(config: DhtConfig = CONFIG, *, own: NodeId = OWN, is_ipv6: bool = False) -> RoutingTable:
    return RoutingTable(own, config, random.Random(1), is_ipv6=is_ipv6)


def node(number: int, host: str | None = None, *, port: int = 6881) -> NodeInfo:
    """Return a node whose id is ``number``, each in a /24 of its own unless told."""
    if host is None:
        spread = number % 200 * 200 + number // 200 % 200
        host = f"20.{spread // 200}.{spread % 200}.{number % 250 + 1}"
    return NodeInfo(NodeId(number.to_bytes(20, "big")), PeerAddress(host, port))


def far(number: int) -> NodeInfo:
    """Return a node in the half of the space that we are not in."""
    return replace_id(node(number), (1 << 159) + number)


def replace_id(old: NodeInfo, number: int) -> NodeInfo:
    return NodeInfo(NodeId(number.to_bytes(20, "big")), old.address)


def random_nodes(count: int, seed: int = 1) -> list[NodeInfo]:
    rng = random.Random(seed)
    return [
        NodeInfo(
            NodeId(rng.randbytes(20)),
            PeerAddress(f"{rng.randrange(20, 100)}.{rng.randrange(256)}.{rng.randrange(256)}.7", 1),
        )
        for _ in range(count)
    ]


def test_bep5_node_that_answered_is_told_of() -> None:
    known = table()
    assert known.seen(node(7), 0.0)
    assert known.nodes() == known.closest(OWN, 8) == [node(7)]
    assert len(known) == 1
    assert decode_nodes(known.closest_compact(OWN, 8), is_ipv6=False) == [node(7)]


def test_bep5_node_that_was_only_heard_of_is_told_to_nobody_but_can_be_asked() -> None:
    known = table()
    assert known.insert(node(7), 0.0)
    assert known.closest(OWN, 8) == known.nodes() == []
    assert known.closest(OWN, 8, include_unverified=True) == [node(7)]
    assert known.questionable(0.0) == [node(7)]


def test_bep5_full_bucket_keeps_its_good_nodes_and_others_wait() -> None:
    known = table()
    for number in range(9):
        known.seen(far(number), 0.0)
    known.seen(node(101), 0.0)  # our half: the bucket of the far half is settled
    assert set(known.nodes()) == {*map(far, range(8)), node(101)}
    assert far(8) in known


def test_bep5_bucket_of_our_own_id_is_split() -> None:
    known = table()
    for number in range(1, 33):
        known.seen(node(number), 0.0)
    expected = [node(number) for number in range(1, 9)]
    assert known.closest(OWN, 8) == expected


def test_bep5_closest_are_those_of_all_nodes_that_have_a_place() -> None:
    known = table(own=NodeId(random.Random(5).randbytes(20)))
    for each in random_nodes(2_000):
        known.seen(each, 0.0)
    rng = random.Random(9)
    for count in (1, 8, 20, 1_000):
        target = rng.randbytes(20)
        number = int.from_bytes(target, "big")
        everybody = sorted(known.nodes(), key=lambda n: int.from_bytes(n.id, "big") ^ number)
        assert known.closest(target, count) == everybody[:count]


def test_bep5_closest_to_a_neighbour_of_ours_are_found_in_other_buckets_too() -> None:
    known = table()
    for each in random_nodes(200):
        known.seen(each, 0.0)
    target = (1).to_bytes(20, "big")
    everybody = sorted(known.nodes(), key=lambda n: int.from_bytes(n.id, "big") ^ 1)
    assert known.closest(target, 30) == everybody[:30]


def test_bep5_table_grows_with_the_logarithm_of_the_network() -> None:
    known = table(own=NodeId(random.Random(5).randbytes(20)))
    for each in random_nodes(10_000):
        known.seen(each, 0.0)
    assert 60 <= len(known) <= 8 * 14


def test_bep5_node_that_fails_once_stays_twice_makes_room_for_one_that_waits() -> None:
    known = table()
    for number in range(9):
        known.seen(far(number), 0.0)
    known.seen(node(101), 0.0)
    known.failed(far(3), 1.0)
    assert far(3) in known.nodes()
    known.failed(far(3), 2.0)
    assert far(3) not in known
    assert far(8) in known.nodes()


def test_bep5_bad_node_stays_while_nobody_waits_but_is_told_to_nobody() -> None:
    known = table()
    known.seen(node(1), 0.0)
    known.failed(node(1), 1.0)
    known.failed(node(1), 2.0)
    assert node(1) in known
    assert known.closest(OWN, 8) == known.nodes() == []
    assert len(known) == 0
    known.seen(node(1), 3.0)
    assert known.nodes() == [node(1)]


def test_bep5_bad_node_leaves_at_last() -> None:
    known = table()
    known.seen(node(1), 0.0)
    for second in range(CONFIG.max_node_failures):
        assert node(1) in known
        known.failed(node(1), float(second))
    assert node(1) not in known


def test_bep5_newcomer_takes_the_place_of_a_bad_node() -> None:
    known = table()
    for number in range(8):
        known.seen(far(number), 0.0)
    known.seen(node(101), 0.0)
    known.failed(far(3), 1.0)
    known.failed(far(3), 2.0)
    assert known.insert(far(9), 3.0)
    assert far(3) not in known
    known.seen(far(9), 4.0)
    assert far(9) in known.nodes()


def test_bep5_answer_comes_before_hearsay() -> None:
    known = table()
    known.seen(node(101), 0.0)
    for number in range(8):
        known.insert(far(number), 0.0)
    for number in range(8, 16):
        assert known.seen(far(number), 1.0)
    assert set(known.nodes()) == {node(101), *map(far, range(8, 16))}


def test_c2_hearsay_moves_nobody_who_answers() -> None:
    known = table()
    settled = random_nodes(500, seed=2)
    for each in settled:
        known.seen(each, 0.0)
    before = known.nodes()
    for each in random_nodes(5_000, seed=3):
        known.insert(each, 1.0)
    assert known.nodes() == before


def test_one_that_waited_and_answers_is_given_a_place() -> None:
    known = table()
    known.seen(node(101), 0.0)
    for number in range(9):
        known.insert(far(number), 0.0)
    known.seen(far(8), 1.0)
    assert far(8) in known.nodes()


def test_bep5_silent_node_is_questionable_after_15_minutes() -> None:
    known = table()
    known.seen(node(1), 0.0)
    assert known.questionable(899.0) == []
    assert known.questionable(901.0) == [node(1)]
    assert known.questionable(902.0) == []  # was handed out a moment ago
    known.seen(node(1), 903.0)
    assert known.questionable(1_000.0) == []


def test_bep5_node_that_failed_is_asked_again_after_a_minute() -> None:
    known = table()
    known.seen(node(1), 0.0)
    known.failed(node(1), 100.0)
    assert known.questionable(159.0) == []
    assert known.questionable(161.0) == [node(1)]


def test_c2_hearsay_pushes_nobody_out_who_waits() -> None:
    known = table()
    known.seen(node(101), 0.0)
    for number in range(30):
        known.insert(far(number), 0.0)
    assert all(far(number) in known for number in range(15))
    assert not any(far(number) in known for number in range(15, 30))


def test_bep5_one_that_waits_and_fails_leaves_at_once() -> None:
    known = table()
    known.seen(node(101), 0.0)
    for number in range(9):
        known.seen(far(number), 0.0)
    known.failed(far(8), 1.0)
    assert far(8) not in known
    assert len(known) == 9


def test_bep5_answer_pushes_out_the_oldest_who_waits() -> None:
    known = table()
    known.seen(node(101), 0.0)
    for number in range(30):
        known.seen(far(number), 0.0)
    assert [number for number in range(30) if far(number) in known] == [*range(8), *range(22, 30)]


def test_bep5_query_of_a_node_that_once_answered_keeps_it_good() -> None:
    known = table()
    known.seen(node(1), 0.0)
    known.queried(node(1), 800.0)
    assert known.questionable(1_000.0) == []


def test_bep5_query_of_a_node_that_never_answered_does_not() -> None:
    known = table()
    known.queried(node(1), 0.0)
    known.queried(node(1), 1.0)
    assert known.questionable(2.0) == [node(1)]
    assert known.nodes() == []


def test_bep5_questionable_are_the_unknown_then_those_silent_for_longest() -> None:
    known = table()
    for number in (1, 2, 3):
        known.seen(node(number), float(number))
    known.insert(node(4), 0.0)
    assert known.questionable(5_000.0, 3) == [node(4), node(1), node(2)]


def test_bep5_bucket_without_a_change_is_refreshed_with_an_id_of_its_own() -> None:
    known = table(own=NodeId(random.Random(5).randbytes(20)))
    for each in random_nodes(300):
        known.seen(each, 0.0)
    assert known.needs_refresh(900.0) == []
    targets = known.needs_refresh(901.0)
    own = int.from_bytes(known.own_id, "big")
    shared = [160 - (int.from_bytes(each, "big") ^ own).bit_length() for each in targets]
    assert shared[:-1] == list(range(len(targets) - 1))
    assert shared[-1] >= len(targets) - 1
    for target in targets[:-1]:
        known.refreshed(target, 901.0)
    assert len(known.needs_refresh(902.0)) == 1


def test_c2_one_node_an_address_and_a_24_in_a_bucket() -> None:
    known = table()
    assert known.seen(node(1, "20.0.0.1"), 0.0)
    assert not known.seen(node(2, "20.0.0.1", port=7), 0.0)
    assert not known.seen(node(3, "20.0.0.9"), 0.0)
    assert known.seen(node(4, "20.0.1.1"), 0.0)


def test_c2_one_node_a_64_in_a_bucket() -> None:
    known = table(is_ipv6=True)
    assert known.seen(node(1, "2001:db8:0:1::1"), 0.0)
    assert not known.seen(node(2, "2001:db8:0:1::2"), 0.0)
    assert known.seen(node(3, "2001:db8:0:2::1"), 0.0)


def test_c2_other_bucket_may_have_a_node_of_the_same_24() -> None:
    known = table()
    for number in range(9):
        known.seen(far(number), 0.0)
    known.seen(node(1, "20.200.0.1"), 0.0)
    near = node(2, "20.200.0.2")
    assert not known.seen(near, 0.0)
    replacements = replace_id(near, (1 << 159) + 99)
    assert known.seen(replacements, 0.0)


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "192.168.1.1"])
def test_c2_local_addresses_are_exempt(host: str) -> None:
    known = table()
    assert known.seen(node(1, host, port=1), 0.0)
    assert known.seen(node(2, host, port=2), 0.0)
    assert known.seen(node(3, host, port=2), 0.0)  # it has changed its id
    assert node(2, host, port=2) not in known


def test_c2_restriction_can_be_turned_off() -> None:
    known = table(replace(CONFIG, restrict_node_ips=False))
    assert known.seen(node(1, "20.0.0.1", port=1), 0.0)
    assert known.seen(node(2, "20.0.0.1", port=2), 0.0)


def test_c2_own_id_wrong_family_and_impossible_addresses_are_refused() -> None:
    known = table()
    assert not known.seen(NodeInfo(OWN, PeerAddress("20.0.0.1", 1)), 0.0)
    for host in ("2001:db8::1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "router.example", ""):
        assert not known.seen(node(1, host), 0.0)
    assert not known.seen(node(1, "20.0.0.1", port=0), 0.0)
    assert not table(is_ipv6=True).seen(node(1, "ff02::1"), 0.0)
    assert not table(is_ipv6=True).seen(node(1, "::"), 0.0)


def test_c2_twin_of_an_id_at_another_address_is_refused_while_the_first_is_good() -> None:
    known = table()
    known.seen(node(1, "20.0.0.1"), 0.0)
    assert not known.seen(node(1, "30.0.0.1"), 0.0)
    known.failed(node(1, "20.0.0.1"), 1.0)
    known.failed(node(1, "20.0.0.1"), 2.0)
    assert not known.insert(node(1, "30.0.0.1"), 2.0)  # hearsay is not enough
    assert known.seen(node(1, "30.0.0.1"), 3.0)
    assert known.nodes() == [node(1, "30.0.0.1")]


def test_bep45_node_that_answers_under_another_id_is_no_longer_known_under_the_first() -> None:
    known = table()
    known.seen(node(1, "20.0.0.1"), 0.0)
    assert not known.insert(node(2, "20.0.0.1"), 1.0)
    assert known.seen(node(2, "20.0.0.1"), 2.0)
    assert known.nodes() == [node(2, "20.0.0.1")]


def test_bep42_fitting_ids_are_preferred_where_a_bucket_is_full() -> None:
    known = table()
    known.seen(node(101), 0.0)
    for number in range(8):
        known.seen(far(number), 0.0)
    rng = random.Random(3)
    fitting: list[NodeInfo] = []
    while len(fitting) < 8:
        host = f"30.{rng.randrange(256)}.{rng.randrange(256)}.1"
        node_id = node_id_for(host, rng)
        if node_id[0] & 0x80:
            fitting.append(NodeInfo(node_id, PeerAddress(host, 1)))
    for each in fitting:
        known.seen(each, 1.0)
    assert set(known.nodes()) == {node(101), *fitting}


def test_bep42_preference_can_be_turned_off() -> None:
    known = table(replace(CONFIG, prefer_valid_ids=False))
    known.seen(node(101), 0.0)
    for number in range(8):
        known.seen(far(number), 0.0)
    before = known.nodes()
    rng = random.Random(3)
    for _ in range(50):
        host = f"30.{rng.randrange(256)}.{rng.randrange(256)}.1"
        node_id = node_id_for(host, rng)
        if node_id[0] & 0x80:
            known.seen(NodeInfo(node_id, PeerAddress(host, 1)), 1.0)
    assert known.nodes() == before


def test_bep42_enforced_only_fitting_ids_enter() -> None:
    known = table(replace(CONFIG, enforce_valid_ids=True))
    fitting = NodeInfo(node_id_for("20.0.0.1", random.Random(1)), PeerAddress("20.0.0.1", 1))
    assert known.seen(fitting, 0.0)
    assert not known.seen(node(1, "20.0.1.1"), 0.0)
    assert known.seen(node(1, "127.0.0.1"), 0.0)


def test_bep42_change_of_our_own_id_keeps_the_nodes() -> None:
    known = table()
    for each in random_nodes(100):
        known.seen(each, 0.0)
    before = set(known.nodes())
    known.change_id(NodeId(b"\xff" * 20))
    assert known.own_id == b"\xff" * 20
    assert len(before & set(known.nodes())) >= 16  # all are in its far half now
    assert set(known.closest(OWN, 500)) == set(known.nodes())


def test_c2_memory_is_bounded_by_buckets_however_many_nodes_come() -> None:
    known = table()
    for number in range(1, 3_000):
        known.seen(replace_id(node(number), number << 3), 0.0)
    assert sum(1 for _ in known._all()) <= 160 * 16
    assert len(known._by_id) == len(known._by_address) == sum(1 for _ in known._all())


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["insert", "seen", "failed", "queried", "change"]),
            st.integers(1, 40),
            st.integers(0, 12),
        ),
        max_size=150,
    )
)
def test_maps_and_buckets_agree_whatever_happens(steps: list[tuple[str, int, int]]) -> None:
    known = table(replace(CONFIG, bucket_nodes=2, max_replacements=2))
    for now, (what, number, host) in enumerate(steps):
        each = node(number << 150 | 1, f"20.0.{host // 2}.{host}")
        if what == "change":
            known.change_id(NodeId((number << 152).to_bytes(20, "big")))
        else:
            getattr(known, what)(each, float(now))
        entries = list(known._all())
        assert {id(entry) for entry in known._by_id.values()} == set(map(id, entries))
        assert {id(entry) for entry in known._by_address.values()} == set(map(id, entries))
        assert all(
            known._bucket_of(entry.number).neighbours_of(entry) == [entry] for entry in entries
        )
        assert all(
            len(bucket.nodes) <= 2 and len(bucket.replacements) <= 2 for bucket in known._buckets
        )


def test_c1_who_never_answered_is_forgotten_at_its_first_failure() -> None:
    known = table()
    known.queried(node(1), 0.0)
    known.insert(node(2), 0.0)
    known.failed(node(1), 1.0)
    known.failed(node(2), 1.0)
    assert node(1) not in known
    assert node(2) not in known
    assert known.questionable(5_000.0) == []


def test_c2_who_answers_takes_the_site_of_one_that_may_be_forged() -> None:
    known = table()
    forged, real, later = (node(n, f"20.0.0.{n}") for n in (1, 2, 3))
    known.queried(forged, 0.0)
    assert not known.insert(real, 1.0)
    assert known.seen(real, 1.0)
    assert forged not in known
    assert not known.seen(later, 2.0)  # the first that answers stays
    known.failed(real, 3.0)
    known.failed(real, 4.0)
    assert known.seen(later, 5.0)
    assert known.nodes() == [later]


def test_c2_in_a_full_bucket_who_answers_waits_in_place_of_a_forged_neighbour() -> None:
    known = table()
    known.seen(node(101), 0.0)
    for number in range(8):
        known.seen(far(number), 0.0)
    forged, real = (replace_id(node(1, f"30.0.0.{n}"), (1 << 159) + 90 + n) for n in (1, 2))
    known.queried(forged, 0.0)
    assert forged in known
    assert known.seen(real, 1.0)
    assert forged not in known
    assert real in known


def test_c2_a_flood_of_newcomers_leaves_every_second_ping_to_who_may_be_gone() -> None:
    known = table()
    settled = [node(number) for number in range(1, 6)]
    for each in settled:
        known.seen(each, 0.0)
    asked = []
    for second in range(10):
        known.queried(far(100 + second), 1_000.0 + second)
        (chosen,) = known.questionable(1_000.0 + second)
        if chosen not in settled:
            known.failed(chosen, 1_000.0 + second)
        asked.append(chosen)
    assert [each for each in asked if each in settled] == settled
