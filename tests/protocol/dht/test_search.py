"""One search: it goes to ever closer nodes, ends, and is not led astray (rows C1 and C2)."""

import random
from dataclasses import replace

import pytest

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.protocol.dht.candidate import MAX_UNTESTED, LookupCandidate
from torrent_engine.protocol.dht.krpc import NodeInfo
from torrent_engine.protocol.dht.search import Search
from torrent_engine.protocol.dht.security import node_id_for

TARGET = bytes(20)
CONFIG = DhtConfig()


def at(distance: int, number: int | None = None, host: str = "") -> NodeInfo:
    """Return a node at a distance from the target; local, so that any id is right."""
    number = distance if number is None else number
    host = host or f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return NodeInfo(NodeId(distance.to_bytes(20, "big")), PeerAddress(host, 6881))


def answer(
    search: Search, candidate: LookupCandidate, *named: NodeInfo, token: bytes = b"t"
) -> None:
    assert candidate.node_id is not None
    search.answered(candidate, candidate.node_id, token)
    search.add(named, candidate)


def distances(candidates: list[LookupCandidate]) -> list[int]:
    return [candidate.distance for candidate in candidates]


def run(search: Search, world: dict[PeerAddress, list[NodeInfo]], *, dead: int = 0) -> int:
    """Let a search go on until it is done; nodes at multiples of ``dead`` never answer."""
    rounds = 0
    late: list[LookupCandidate] = []
    while True:
        asked = search.to_query()
        if not asked and search.is_done():
            return rounds
        rounds += 1
        assert rounds < 1_000
        assert asked or late
        for candidate in late:
            search.failed(candidate)
        late = []
        for candidate in asked:
            if candidate.address not in world or (dead and candidate.distance % dead == 0):
                search.slow(candidate)
                late.append(candidate)
            else:
                answer(search, candidate, *world[candidate.address])


def test_bep5_the_closest_is_asked_first_and_so_many_at_a_time() -> None:
    search = Search(TARGET, CONFIG)
    search.add([at(each) for each in (90, 10, 50, 70, 30)])
    assert distances(search.to_query()) == [10, 30, 50, 70]
    assert search.to_query() == []
    assert not search.is_done()


def test_bep5_the_search_converges_on_the_closest_of_the_network() -> None:
    nodes = [at(number) for number in range(1, 400)]
    by_number = {node.address: number for number, node in enumerate(nodes, 1)}
    world = {
        node.address: [at(max(by_number[node.address] // 2 + each, 1)) for each in range(-4, 4)]
        for node in nodes
    }
    search = Search(TARGET, CONFIG)
    search.add(nodes[-3:])
    run(search, world)
    assert distances(search.closest(8)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert search.asked < 60


def test_a_late_node_lets_another_be_asked_and_may_answer_later() -> None:
    search = Search(TARGET, CONFIG)
    search.add([at(each) for each in range(1, 7)])
    first = search.to_query()
    search.slow(first[0])
    assert distances(search.to_query()) == [5]
    answer(search, first[0])
    assert distances(search.closest(8)) == [1]


def test_a_search_ends_although_nobody_answers() -> None:
    search = Search(TARGET, CONFIG)
    search.add([at(each) for each in range(1, 30)])
    run(search, {})
    assert search.closest(8) == []
    assert search.in_flight == 0


def test_a_search_with_nobody_to_ask_is_done() -> None:
    search = Search(TARGET, CONFIG)
    assert search.to_query() == []
    assert search.is_done()


def test_late_nodes_do_not_hold_up_the_end() -> None:
    search = Search(TARGET, CONFIG)
    search.add([at(each) for each in range(1, 13)])
    first = search.to_query()
    for candidate in first:
        search.slow(candidate)
    while asked := search.to_query():
        for candidate in asked:
            answer(search, candidate)
    assert distances(search.closest(8)) == list(range(5, 13))
    assert search.in_flight == 4
    assert search.is_done()


def test_a_search_that_is_fed_for_ever_ends() -> None:
    config = replace(CONFIG, max_lookup_queries=50, max_lookup_candidates=40)
    search, rng = Search(TARGET, config), random.Random(1)
    search.add([at(1 << 150, 1)])
    closer = 1 << 149
    for _ in range(1_000):
        asked = search.to_query()
        if not asked:
            break
        for candidate in asked:
            closer -= rng.getrandbits(100)
            named = [at(closer - each, rng.getrandbits(24)) for each in range(1, 9)]
            answer(search, candidate, *named)
            assert len(search._order) <= 40 + config.max_lookup_in_flight
    assert search.asked == 50
    assert search.is_done()
    assert len(search._known) <= 40 + 50


def test_bep33_a_search_for_tokens_does_not_count_who_gives_none() -> None:
    search = Search(TARGET, CONFIG, needs_tokens=True)
    search.add([at(each) for each in range(1, 13)])
    while asked := search.to_query():
        for candidate in asked:
            assert candidate.node_id is not None
            token = b"t" if candidate.distance > 4 else None
            search.answered(candidate, candidate.node_id, token)
    assert distances(search.closest(8)) == list(range(5, 13))


def test_c2_who_names_dead_nodes_is_believed_no_more() -> None:
    search = Search(TARGET, CONFIG)
    search.add([at(1_000), *(at(each) for each in range(2_000, 2_008))])
    liar, *honest = search.to_query()
    answer(search, liar, *(at(each) for each in range(1, 9)))
    for candidate in honest:
        answer(search, candidate)
    fakes = search.to_query()
    assert distances(fakes)[:3] == [1, 2, 3]  # no more on the word of one who proved nothing
    assert distances(fakes)[3] >= 2_000
    for candidate in fakes[:3]:
        search.slow(candidate)
    assert liar.is_doubtful
    assert min(distances(search.to_query())) >= 2_000


def test_c2_who_named_living_nodes_may_be_wrong_now_and_then() -> None:
    search = Search(TARGET, CONFIG)
    search.add([at(1_000)])
    (teller,) = search.to_query()
    answer(search, teller, *(at(each) for each in range(1, 9)))
    asked = search.to_query()
    answer(search, asked[0])
    for candidate in asked[1:]:
        search.failed(candidate)
    assert teller.good == 1
    assert not teller.is_doubtful


def test_c2_a_false_id_of_a_living_node_is_held_against_who_named_it() -> None:
    search = Search(TARGET, CONFIG)
    search.add([at(1_000)])
    (liar,) = search.to_query()
    answer(search, liar, at(1, number=77))
    (framed,) = search.to_query()
    search.answered(framed, NodeId((500).to_bytes(20, "big")), b"t")
    assert (liar.good, liar.bad) == (0, 1)
    assert distances(search.closest(8)) == [500, 1_000]


def test_c2_of_two_claims_about_one_address_the_closer_is_tried() -> None:
    search = Search(TARGET, CONFIG)
    search.add([at(1_000), at(1_001)])
    liar, honest = search.to_query()
    answer(search, liar, at(900_000, number=77))
    answer(search, honest, at(3, number=77))
    assert distances(search.to_query()) == [3]


def test_c2_a_false_id_next_to_the_target_does_not_replace_one_that_fits() -> None:
    address = PeerAddress("77.1.1.1", 6881)
    honest = NodeInfo(node_id_for(address.host, random.Random(1)), address)
    search = Search(TARGET, CONFIG)
    search.add([at(1_000), at(1_001)])
    liar, teller = search.to_query()
    answer(search, liar, NodeInfo(at(1).id, address))
    answer(search, teller, honest, NodeInfo(at(2).id, address))
    (candidate,) = search.to_query()
    assert candidate.node_id == honest.id
    answer(search, candidate)
    assert (liar.good, liar.bad) == (0, 1)
    assert teller.good == 1


def test_bep42_nodes_with_ids_of_their_own_choice_do_not_count_while_others_are_there() -> None:
    rng = random.Random(1)
    hosts = [f"{20 + each}.1.1.1" for each in range(12)]
    sound = [NodeInfo(node_id_for(host, rng), PeerAddress(host, 1)) for host in hosts]
    sybils = [at(each, host=f"{40 + each}.1.1.1") for each in range(1, 30)]
    search = Search(TARGET, CONFIG)
    search.add(sybils + sound)
    asked: set[PeerAddress] = set()
    while chosen := search.to_query():
        for candidate in chosen:
            asked.add(candidate.address)
            answer(search, candidate)
    assert {candidate.address for candidate in search.closest(8)} <= asked
    assert {candidate.address for candidate in search.closest(8)} <= {s.address for s in sound}
    assert asked <= {node.address for node in sound}
    assert len(search.closest(8)) == 8
    assert search.is_done()


def test_bep42_nodes_with_ids_of_their_own_choice_are_asked_where_no_others_are() -> None:
    sybils = [at(each, host=f"{40 + each}.1.1.1") for each in range(1, 30)]
    search = Search(TARGET, CONFIG)
    search.add(sybils)
    while chosen := search.to_query():
        for candidate in chosen:
            answer(search, candidate)
    assert distances(search.closest(8)) == list(range(1, 9))


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ([f"40.1.1.{each}" for each in range(1, 30)], CONFIG.max_lookup_queries_per_network),
        (["40.1.1.1"] * 29, 1),
        ([f"2a00:1:1:1::{each:x}" for each in range(1, 30)], CONFIG.max_lookup_queries_per_network),
    ],
    ids=["one /24", "one address", "one /64"],
)
def test_c2_few_nodes_of_one_network_are_asked(hosts: list[str], expected: int) -> None:
    search, asked = Search(TARGET, CONFIG), 0
    nodes = [at(each, host=host) for each, host in enumerate(hosts, 1)]
    ports = [replace_port(node, 1_000 + each) for each, node in enumerate(nodes)]
    search.add(ports)
    while chosen := search.to_query():
        for candidate in chosen:
            asked += 1
            answer(search, candidate)
    assert asked == expected


def replace_port(node: NodeInfo, port: int) -> NodeInfo:
    return NodeInfo(node.id, PeerAddress(node.address.host, port))


def test_c2_whoever_lies_about_ids_keeps_nobody_from_being_written_to() -> None:
    """A node that became doubtful is given the announce beside the closest, not instead."""
    search = Search(TARGET, CONFIG)
    search.add([at(each) for each in range(1, 13)])
    while asked := search.to_query():
        for candidate in asked:
            if candidate.distance == 1:
                candidate.bad = 5
            answer(search, candidate)
    assert distances(search.closest(8)) == list(range(2, 10))
    assert sorted(distances(search.to_write())) == list(range(1, 10))


def test_c2_who_is_asked_at_once_needs_no_place_among_the_candidates() -> None:
    search = Search(bytes(20), replace(CONFIG, max_lookup_candidates=4))
    search.add([at(number) for number in range(1, 5)])
    router = PeerAddress("99.1.1.1", 6881)
    (asked,) = search.to_query_at_once([router])
    assert asked.address == router
    assert search.to_query_at_once([router]) == []
    search.answered(asked, NodeId(b"\xff" * 20))
    assert [each.address for each in search.closest(8)] == [router]


def test_c2_trust_is_weighed_where_it_changed_not_at_each_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Liars may name each other, so that hundreds of nodes have many referrers each."""
    config, rng = replace(CONFIG, lookup_width=400), random.Random(1)
    search, pool = Search(TARGET, config), [at(number) for number in range(1, 400)]
    search.add(pool[:4])
    for _ in range(20):
        for candidate in search.to_query():
            answer(search, candidate, *rng.sample(pool, 8))
    looked_at = 0

    def counting(candidate: LookupCandidate) -> bool:
        nonlocal looked_at
        looked_at += 1
        return candidate.bad >= MAX_UNTESTED + 2 * candidate.good

    monkeypatch.setattr(LookupCandidate, "is_doubtful", property(counting))
    late = search.to_query()[0]
    search.slow(late)
    assert not search.is_done()
    assert looked_at <= 2 * len(late.claims)
