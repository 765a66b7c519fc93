"""What a node does unasked, whoever is gone or forged: its table is filled, and around its id."""

import random

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.protocol.dht.krpc import NodeInfo, Query, decode_message, encode_query
from torrent_engine.protocol.dht.node import DhtNode, SavedTable

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
