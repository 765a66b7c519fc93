"""What a node does unasked, whoever is gone or forged: its table is filled, and around its id."""

import random
from itertools import pairwise

from tests.support.dht_network import Host, Network
from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.protocol.dht.krpc import NodeInfo, Query, decode_message, encode_query
from torrent_engine.protocol.dht.maintenance import MAX_REFRESHES
from torrent_engine.protocol.dht.node import DhtNode, SavedTable
from torrent_engine.protocol.dht.response_nodes import distance

CONFIG = DhtConfig(max_upload_bytes_per_s=0)
ROUTER = PeerAddress("99.1.1.1", 6881)
ROUTER_ASKED_S = 5.0


def make() -> DhtNode:
    return DhtNode(CONFIG, rng=random.Random(1), secret=bytes(32), is_ipv6=False, now=0.0)


def strangers(count: int) -> list[NodeInfo]:
    rng = random.Random(2)
    return [
        NodeInfo(NodeId(rng.randbytes(20)), PeerAddress(f"20.{n // 200}.{n % 200}.1", 6881))
        for n in range(count)
    ]


def targets_asked(node: DhtNode, address: PeerAddress) -> list[object]:
    """Return for whom an address is asked by what a node sends now."""
    queries = [decode_message(data) for data, to in node.datagrams_to_send() if to == address]
    return [each.arguments.get(b"target") for each in queries if isinstance(each, Query)]


def run(node: DhtNode, now: float, end_s: float) -> None:
    """Let time pass in a network in which nobody answers."""
    while now < end_s:
        node.handle_timer(now=now)
        node.datagrams_to_send()
        now += 0.5


def test_c2_saved_nodes_that_are_all_gone_do_not_delay_the_routers() -> None:
    node = make()
    node.restore(SavedTable(node.node_id, tuple(strangers(200))), now=0.0)
    run(node, 0.0, ROUTER_ASKED_S)
    node.bootstrap([ROUTER], now=ROUTER_ASKED_S)
    assert targets_asked(node, ROUTER) == [node.node_id]


def test_c2_a_router_that_was_silent_is_asked_again_in_the_same_look_around() -> None:
    node = make()
    node.restore(SavedTable(node.node_id, tuple(strangers(200))), now=0.0)
    for now in (5.0, 5.0 + CONFIG.query_timeout_s + 1.0):
        node.datagrams_to_send()
        node.bootstrap([ROUTER], now=now)
        assert targets_asked(node, ROUTER) == [node.node_id]
        run(node, now, now + CONFIG.query_timeout_s + 1.0)


def test_c2_forged_queries_do_not_keep_the_routers_from_being_asked() -> None:
    node, now, asked = make(), 0.0, 0
    for number, forged in enumerate(strangers(200)):
        now = number / 2
        query = encode_query(b"aa", b"find_node", forged.id, {b"target": bytes(20)})
        node.receive_datagram(query, forged.address, now=now)
        node.handle_timer(now=now)
        asked += len(targets_asked(node, ROUTER))
        if number == 50:
            node.bootstrap([ROUTER], now=now)
    assert asked >= 2  # now, and at each later try


class Neighbours(Network):
    """A network that a node joins with an id that is none of its address, or moves in."""

    def __init__(self) -> None:
        super().__init__("neighbours", config=CONFIG)
        self.others = [self.add_node() for _ in range(150)]
        self.fill_tables(self.others)

    def joined(self, node_id: NodeId | None) -> Host:
        host = self.add_node(node_id=node_id)
        host.node.bootstrap([self.others[0].address], now=self.now)
        self.poke(host)
        self.run(30.0)
        return host

    def moved(self, host: Host) -> Host:
        self.remove(host)
        host = self.add(self.new_address(), host.machine)
        for teller in self.others:
            host.node._take_external(host.address, teller.address, self.now)
        self.poke(host)
        self.run(30.0)
        return host

    def knowing(self, host: Host) -> int:
        """Return how many of the eight closest have a node in their tables."""
        self.others.sort(key=lambda other: distance(other.node.node_id, host.node.node_id))
        return sum(host.info in other.node.table for other in self.others[:8])


def test_bep42_who_takes_another_id_while_it_joins_is_soon_known_to_its_neighbours() -> None:
    network, wrong = Neighbours(), NodeId(bytes(20))
    newcomer = network.joined(wrong)
    assert newcomer.node.node_id != wrong
    assert network.knowing(newcomer) >= 7


def test_bep42_who_takes_another_id_later_is_soon_known_to_its_neighbours() -> None:
    network = Neighbours()
    newcomer = network.joined(None)
    before = newcomer.node.node_id
    newcomer = network.moved(newcomer)
    assert newcomer.node.node_id != before
    assert network.knowing(newcomer) >= 7


def test_c2_refreshing_lookups_that_nobody_answers_do_not_add_up() -> None:
    network = Neighbours()
    node = network.joined(None).node
    start_s, running = network.now + CONFIG.refresh_s, []
    for step in range(600):
        node.handle_timer(now=start_s + step / 2)
        node.datagrams_to_send()
        running.append(node.stats().lookups)
    assert sum(now > before for before, now in pairwise(running)) >= 5
    assert max(running) <= MAX_REFRESHES + 1  # and the bootstrap, when the table is empty
