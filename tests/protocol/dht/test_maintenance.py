"""When a table is filled, refreshed and checked; where the internet sees us."""

import random
from dataclasses import replace
from itertools import pairwise

import pytest

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.protocol.dht.external import ExternalAddress
from torrent_engine.protocol.dht.krpc import NodeInfo
from torrent_engine.protocol.dht.maintenance import Maintenance, MaintenanceTasks
from torrent_engine.protocol.dht.routing import RoutingTable

CONFIG = DhtConfig()
OWN_ID = NodeId(bytes(20))


def node(number: int) -> NodeInfo:
    return NodeInfo(NodeId(bytes([number]) * 20), PeerAddress(f"20.{number}.1.1", 1))


def table(*numbers: int, now: float = 0.0) -> RoutingTable:
    made = RoutingTable(OWN_ID, CONFIG, random.Random(1), is_ipv6=False)
    for number in numbers:
        made.seen(node(number), now)
    return made


def test_an_empty_table_is_filled_as_soon_as_there_is_an_address() -> None:
    upkeep = Maintenance(CONFIG, 0.0)
    assert upkeep.due(table(), 0.0, knows_addresses=False) == MaintenanceTasks()
    assert upkeep.next_timer() > 0.0
    upkeep.bootstrap_now(1.0)
    assert upkeep.next_timer() == 1.0
    assert upkeep.due(table(), 1.0, knows_addresses=True).bootstrap
    assert not upkeep.due(table(), 2.0, knows_addresses=True).bootstrap  # it is under way


def test_filling_is_tried_again_ever_more_seldom() -> None:
    upkeep, tries, now = Maintenance(CONFIG, 0.0), [], 0.0
    while now < 3_000:
        if upkeep.due(table(), now, knows_addresses=True).bootstrap:
            tries.append(now)
            upkeep.bootstrap_ended(0, now)
        now += 1.0
    waits = [later - earlier for earlier, later in pairwise(tries)]
    assert waits[0] == CONFIG.bootstrap_retry_first_s
    assert waits == sorted(waits)
    assert max(waits) == CONFIG.bootstrap_retry_max_s


def test_a_table_that_became_empty_is_filled_again() -> None:
    upkeep = Maintenance(CONFIG, 0.0)
    upkeep.due(table(), 0.0, knows_addresses=True)
    upkeep.bootstrap_ended(3, 1.0)
    assert upkeep.is_bootstrapped
    assert not upkeep.due(table(1), 10.0, knows_addresses=True).bootstrap
    assert upkeep.due(table(), 20.0, knows_addresses=True).bootstrap


def test_bep5_a_bucket_without_change_is_refreshed_once() -> None:
    upkeep, known = Maintenance(CONFIG, 0.0), table(*range(1, 30))
    upkeep.bootstrap_ended(29, 0.0)
    wanted = []
    for now in range(0, 1_200, 5):
        chores = upkeep.due(known, float(now), knows_addresses=True)
        if chores.refresh is not None:
            wanted.append((now, chores.refresh))
    buckets = len(known._buckets)
    assert min(now for now, _ in wanted) >= CONFIG.refresh_s
    assert [target for _, target in wanted].count(OWN_ID) == 1
    assert len(wanted) == buckets + 1


def test_bep5_nodes_that_are_silent_are_pinged_one_after_the_other() -> None:
    upkeep, known = Maintenance(CONFIG, 0.0), table(1, 2, 3)
    pinged = []
    for now in range(1_000):
        chores = upkeep.due(known, float(now), knows_addresses=True)
        if chores.ping is not None:
            pinged.append((now, chores.ping))
    times = [now for now, _ in pinged]
    assert min(times) >= CONFIG.good_node_s
    assert len(set(times)) == len(times)
    assert {each for _, each in pinged} == {node(1), node(2), node(3)}


def test_c1_a_newcomer_is_pinged_soon_and_the_next_after_a_pause() -> None:
    config = replace(CONFIG, check_interval_s=1.0)
    upkeep, known = Maintenance(config, 0.0), table(1)
    upkeep.due(known, 0.0, knows_addresses=True)
    known.queried(node(5), 3.0)
    known.queried(node(6), 3.0)
    upkeep.check_soon(3.0)
    assert upkeep.next_timer() <= 3.0
    first = upkeep.due(known, 3.0, knows_addresses=True).ping
    upkeep.check_soon(3.1)
    assert upkeep.due(known, 3.1, knows_addresses=True).ping is None
    second = upkeep.due(known, 4.0, knows_addresses=True).ping
    assert {first, second} == {node(5), node(6)}


def tell(external: ExternalAddress, told: str, tellers: range, *, port: int = 1) -> None:
    for number in tellers:
        external.add_vote(PeerAddress(told, port), PeerAddress(f"20.{number}.1.1", 9))


def test_bep42_our_address_is_what_most_networks_say() -> None:
    external = ExternalAddress(CONFIG, is_ipv6=False)
    tell(external, "99.1.1.1", range(4))
    assert external.believed is None
    tell(external, "99.1.1.1", range(5))
    assert external.believed == PeerAddress("99.1.1.1", 1)
    tell(external, "88.1.1.1", range(10, 14))
    assert external.believed == PeerAddress("99.1.1.1", 1)
    tell(external, "88.1.1.1", range(10, 17))
    assert external.believed == PeerAddress("88.1.1.1", 1)


def test_bep42_networks_that_agree_on_the_host_alone_say_no_port() -> None:
    external = ExternalAddress(CONFIG, is_ipv6=False)
    for number in range(6):
        tell(external, "99.1.1.1", range(number, number + 1), port=1_000 + number)
    assert external.believed == PeerAddress("99.1.1.1", 0)


def test_bep42_a_local_address_or_one_of_another_family_says_nothing() -> None:
    external = ExternalAddress(CONFIG, is_ipv6=False)
    for told in ("10.1.1.1", "127.0.0.1", "2a00::1", "224.0.0.1", "0.0.0.0"):
        tell(external, told, range(20))
    assert external.believed is None
    six = ExternalAddress(CONFIG, is_ipv6=True)
    for number in range(5):
        six.add_vote(PeerAddress("2a00::1", 7), PeerAddress(f"2a01:{number:x}::1", 9))
    assert six.believed == PeerAddress("2a00::1", 7)


def test_bep42_the_gateway_is_believed_until_enough_networks_say_something() -> None:
    external = ExternalAddress(CONFIG, is_ipv6=False)
    assert external.set_hint(PeerAddress("99.1.1.1", 7))
    assert not external.set_hint(PeerAddress("99.1.1.1", 7))
    assert external.set_hint(PeerAddress("99.1.1.2", 7))
    assert external.believed == PeerAddress("99.1.1.2", 7)
    tell(external, "88.1.1.1", range(CONFIG.external_votes))
    assert external.believed == PeerAddress("88.1.1.1", 1)
    assert not external.set_hint(PeerAddress("99.1.1.1", 7))
    assert external.believed == PeerAddress("88.1.1.1", 1)


@pytest.mark.parametrize("host", ["10.0.0.1", "192.168.1.1", "2a00::1", "0.0.0.0", "100.64.1.1"])
def test_bep42_a_gateway_behind_another_one_says_nothing(host: str) -> None:
    external = ExternalAddress(CONFIG, is_ipv6=False)
    assert not external.set_hint(PeerAddress(host, 7))
    assert external.believed is None


def test_bep42_votes_that_are_remembered_are_bounded() -> None:
    external = ExternalAddress(CONFIG, is_ipv6=False)
    tell(external, "99.1.1.1", range(250))
    assert len(external._votes) == CONFIG.max_external_votes
