"""One node by its datagrams: what it takes, what it sends, and when it wants to be woken."""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import InfoHash, NodeId, PeerAddress
from torrent_engine.codec.bencode import BencodeValue, Encodable, decode
from torrent_engine.protocol.dht.events import (
    ExternalAddressChanged,
    LookupEnded,
    PeersFound,
    PingEnded,
)
from torrent_engine.protocol.dht.krpc import (
    NodeInfo,
    Query,
    Response,
    compact_address,
    decode_message,
    decode_nodes,
    encode_failure,
    encode_nodes,
    encode_query,
    encode_response,
)
from torrent_engine.protocol.dht.lookup_queue import MAX_STARTS
from torrent_engine.protocol.dht.node import DhtNode, SavedTable
from torrent_engine.protocol.dht.security import is_valid_node_id, node_id_for
from torrent_engine.protocol.dht.transactions import MAX_TIMEOUTS
from torrent_engine.protocol.dht.upkeep import MAX_SILENT_PINGS

OWN_ID = NodeId(b"own-id-own-id-own-id")
INFO_HASH = InfoHash(b"mnopqrstuvwxyz123456")
CONFIG = DhtConfig()


def make(config: DhtConfig = CONFIG, *, is_ipv6: bool = False) -> DhtNode:
    return DhtNode(
        config, rng=random.Random(1), secret=bytes(32), is_ipv6=is_ipv6, node_id=OWN_ID, now=0.0
    )


def other(number: int) -> NodeInfo:
    """Return a node with an id that fits its address."""
    host = f"{20 + number}.1.1.1"
    return NodeInfo(node_id_for(host, random.Random(number)), PeerAddress(host, 6881))


def sent(node: DhtNode) -> Iterator[tuple[Query, PeerAddress]]:
    """Yield the queries among what a node sends."""
    for data, address in node.datagrams_to_send():
        message = decode_message(data)
        if isinstance(message, Query):
            yield message, address


def answer(
    node: DhtNode,
    query: Query,
    who: NodeInfo,
    *,
    now: float,
    external: bytes = b"",
    **values: BencodeValue,
) -> None:
    raw = {key.encode(): value for key, value in values.items()}
    data = encode_response(query.transaction, who.id, raw, external=external)
    node.receive_datagram(data, who.address, now=now)


def joined(config: DhtConfig = CONFIG, count: int = 3) -> DhtNode:
    """Return a node that knows a few others and has nothing under way."""
    node = make(config)
    nodes = {other(number).address: other(number) for number in range(count)}
    node.bootstrap(nodes, now=0.0)
    while queries := list(sent(node)):
        for query, address in queries:
            answer(node, query, nodes[address], now=0.0)
    node.events()
    return node


def test_bep5_a_node_bootstraps_from_addresses_and_says_so() -> None:
    node = make()
    assert node.next_timer() is not None
    assert not node.stats().is_bootstrapped
    node = joined()
    assert node.stats().is_bootstrapped
    assert node.node_count == 3
    stats = node.stats()
    assert (stats.nodes, stats.outstanding, stats.lookups) == (3, 0, 0)
    assert stats.traffic.queries_out == stats.traffic.datagrams_in == 3


def test_c2_an_answer_counts_only_from_where_it_was_asked() -> None:
    node, friend = make(), other(1)
    node.ping(friend.address, now=0.0)
    ((query, address),) = sent(node)
    assert address == friend.address
    answer(node, query, NodeInfo(friend.id, PeerAddress("99.1.1.1", 6881)), now=0.1)
    assert node.events() == []
    assert node.stats().traffic.unexpected == 1
    answer(node, query, friend, now=0.2)
    assert node.events() == [PingEnded(1, friend.address, friend.id, 0.2)]
    assert node.node_count == 1


def test_c2_who_answers_with_our_own_id_did_not_answer() -> None:
    node, friend = make(), other(1)
    node.ping(friend.address, now=0.0)
    ((query, _),) = sent(node)
    answer(node, query, NodeInfo(OWN_ID, friend.address), now=0.1)
    assert node.events() == [PingEnded(1, friend.address, None, None)]
    assert node.node_count == 0


def test_bep5_a_ping_that_nobody_answers_ends() -> None:
    node, friend = make(), other(1)
    node.ping(friend.address, now=0.0)
    node.handle_timer(now=CONFIG.query_timeout_s)
    assert node.events() == [PingEnded(1, friend.address, None, None)]
    assert node.stats().traffic.timeouts == 1


@pytest.mark.parametrize(
    "address",
    [
        PeerAddress("0.0.0.0", 1),
        PeerAddress("224.0.0.1", 1),
        PeerAddress("20.1.1.1", 0),
        PeerAddress("20.1.1.1", 65_536),
        PeerAddress("2a00::1", 1),
        PeerAddress("no address", 1),
    ],
    ids=["unspecified", "multicast", "port 0", "port too high", "other family", "a name"],
)
def test_addresses_that_cannot_be_a_nodes_are_not_asked(address: PeerAddress) -> None:
    node = make()
    node.ping(address, now=0.0)
    node.add_node(address, now=0.0)
    node.bootstrap([address], now=0.0)
    node.sample(address, now=0.0)
    assert list(sent(node)) == []
    assert [type(event) for event in node.events()] == [PingEnded, LookupEnded]


def test_bep5_a_node_that_a_peer_named_enters_the_table_when_it_answers() -> None:
    node, friend = joined(), other(9)
    node.add_node(friend.address, now=1.0)
    ((query, _),) = sent(node)
    assert query.method == b"ping"
    assert node.node_count == 3
    answer(node, query, friend, now=1.1)
    assert node.node_count == 4
    assert node.events() == []


def test_bep5_who_asks_us_is_answered_and_pinged_before_it_is_told_to_others() -> None:
    node, asking = joined(), other(9)
    query = encode_query(b"aa", b"ping", asking.id, {}, client=b"XX01" * 4)
    node.receive_datagram(query, asking.address, now=30.0)
    ((reply, address),) = node.datagrams_to_send()
    assert address == asking.address
    assert b"1:y1:r" in reply
    assert node.node_count == 3
    node.handle_timer(now=31.0)
    pings = [each for each, where in sent(node) if where == asking.address]
    answer(node, pings[0], asking, now=31.1)
    assert node.node_count == 4


def test_bep43_who_is_read_only_is_answered_and_not_remembered() -> None:
    node, asking = joined(), other(9)
    query = encode_query(b"aa", b"ping", asking.id, {}, is_read_only=True)
    node.receive_datagram(query, asking.address, now=30.0)
    assert len(node.datagrams_to_send()) == 1
    node.handle_timer(now=100.0)
    assert asking.address not in {address for _, address in sent(node)}


def test_bep43_a_read_only_node_says_so_and_answers_nobody() -> None:
    node, asking = make(replace(CONFIG, read_only=True)), other(9)
    node.receive_datagram(encode_query(b"aa", b"ping", asking.id, {}), asking.address, now=1.0)
    assert node.datagrams_to_send() == []
    node.ping(asking.address, now=1.0)
    ((query, _),) = sent(node)
    assert query.is_read_only


def test_c1_spoofed_queries_send_no_more_than_three_bytes_for_one() -> None:
    node, rng = joined(replace(CONFIG, max_upload_bytes_per_s=0), count=60), random.Random(2)
    bytes_in = bytes_out = 0
    for number in range(2_000):
        now = 10.0 + number / 100
        victim = PeerAddress(f"{rng.randrange(70, 90)}.{number % 250}.{rng.randrange(250)}.1", 1)
        method = rng.choice([b"find_node", b"get_peers", b"get", b"sample_infohashes", b"ping"])
        key = {b"get_peers": b"info_hash"}.get(method, b"target")
        data = encode_query(b"a", method, NodeId(rng.randbytes(20)), {key: rng.randbytes(20)})
        node.receive_datagram(data, victim, now=now)
        node.handle_timer(now=now)
        bytes_in += len(data)
        bytes_out += sum(
            len(each) for each, address in node.datagrams_to_send() if address.host[:1] in "78"
        )
    assert 1.0 < bytes_out / bytes_in <= 3.0


def test_c1_strangers_are_pinged_only_for_what_their_queries_left_over() -> None:
    """A reply of three times the query leaves nothing: the ping waits for the next idle check."""
    node, stranger = joined(replace(CONFIG, max_upload_bytes_per_s=0), count=60), other(100)
    node.handle_timer(now=30.0)
    list(sent(node))
    arguments: dict[bytes, Encodable] = {b"target": bytes(20)}
    data = encode_query(b"a", b"find_node", stranger.id, arguments)
    node.receive_datagram(data, stranger.address, now=31.5)
    assert len(node.datagrams_to_send()) == 1
    node.handle_timer(now=31.6)
    assert list(sent(node)) == []
    small = other(101)
    data = encode_query(b"a", b"ping", small.id, {b"pad": bytes(40)})
    node.receive_datagram(data, small.address, now=32.0)
    node.handle_timer(now=32.1)
    assert {query.method for query, _ in sent(node)} == {b"ping"}


def test_lookups_wait_for_the_first_look_around() -> None:
    node, friend = make(), other(1)
    node.bootstrap([friend.address], now=0.0)
    node.get_peers(INFO_HASH, now=0.0)
    ((query, address),) = sent(node)
    assert query.method == b"find_node"
    assert node.stats().lookups_waiting == 1
    answer(node, query, friend, now=0.1)
    assert [(each.method, where) for each, where in sent(node)] == [(b"get_peers", address)]


def test_c1_strangers_are_pinged_one_at_a_time() -> None:
    node = joined(replace(CONFIG, max_upload_bytes_per_s=0))
    pings = 0
    for number in range(1_000):
        now = 100.0 + number / 100
        stranger = other(number % 200 + 10)
        data = encode_query(b"aa", b"ping", stranger.id, {}, client=b"x" * 16)
        node.receive_datagram(data, stranger.address, now=now)
        node.handle_timer(now=now)
        pings += sum(query.method == b"ping" for query, _ in sent(node))
    assert 5 <= pings <= 11


def test_lookups_begin_when_there_is_room_and_end_at_once_when_there_is_none() -> None:
    node = joined(replace(CONFIG, max_lookups=2, max_waiting_lookups=3))
    numbers = [node.get_peers(INFO_HASH, now=1.0) for _ in range(6)]
    assert (node.stats().lookups, node.stats().lookups_waiting) == (2, 3)
    (end,) = node.events()
    assert isinstance(end, LookupEnded)
    assert (end.lookup, end.queried) == (numbers[5], 0)
    ended = set()
    for _ in range(10):
        for query, address in list(sent(node)):
            known = next(other(n) for n in range(3) if other(n).address == address)
            answer(node, query, known, now=2.0)
        ended |= {each.lookup for each in node.events() if isinstance(each, LookupEnded)}
    assert ended == set(numbers[:5])


def test_a_lookup_that_is_cancelled_says_nothing_more() -> None:
    node = joined(replace(CONFIG, max_lookups=1))
    running, waiting = node.get_peers(INFO_HASH, now=1.0), node.get_peers(INFO_HASH, now=1.0)
    queries = list(sent(node))
    node.cancel(running, now=1.0)
    node.cancel(waiting, now=1.0)
    node.cancel(99, now=1.0)
    for query, address in queries:
        friend = next(other(n) for n in range(3) if other(n).address == address)
        answer(node, query, friend, now=1.1, values=[b"\x14\x01\x01\x05\x1a\xe1"])
    node.handle_timer(now=60.0)
    assert node.events() == []
    assert node.stats().lookups == node.stats().lookups_waiting == 0


def test_the_place_of_a_lookup_that_is_cancelled_goes_to_the_next_at_once() -> None:
    node = joined(replace(CONFIG, max_lookups=1))
    running, waiting = node.get_peers(INFO_HASH, now=1.0), node.find_node(OWN_ID, now=1.0)
    list(sent(node))
    node.cancel(running, now=1.0)
    assert {query.method for query, _ in sent(node)} == {b"find_node"}
    node.cancel(waiting, now=1.0)
    assert (node.stats().lookups, node.stats().outstanding) == (0, 0)


def test_bep5_peers_are_told_once_and_as_they_come() -> None:
    node = joined()
    number = node.get_peers(INFO_HASH, now=1.0)
    queries = list(sent(node))
    peers = [b"\x14\x01\x01\x05\x1a\xe1", b"\x14\x01\x01\x06\x1a\xe1"]
    events = []
    for query, address in queries:
        assert query.arguments[b"info_hash"] == INFO_HASH
        friend = next(other(n) for n in range(3) if other(n).address == address)
        answer(node, query, friend, now=1.1, values=[*peers, *peers, b"short", 7])
        events += node.events()
    assert [type(event) for event in events] == [PeersFound, LookupEnded]
    assert isinstance(events[0], PeersFound)
    assert events[0].lookup == number
    assert events[0].peers == (PeerAddress("20.1.1.5", 6881), PeerAddress("20.1.1.6", 6881))


def test_bep5_an_announce_gives_back_the_token_of_each_node() -> None:
    node = joined()
    node.announce(INFO_HASH, 1234, is_seed=True, now=1.0)
    for query, address in list(sent(node)):
        friend = next(other(n) for n in range(3) if other(n).address == address)
        answer(node, query, friend, now=1.1, token=b"T" + friend.address.host.encode())
    writes = list(sent(node))
    assert {query.method for query, _ in writes} == {b"announce_peer"}
    for number, (query, address) in enumerate(writes):
        assert query.arguments[b"token"] == b"T" + address.host.encode()
        assert query.arguments[b"port"] == 1234
        assert query.arguments[b"implied_port"] == 0
        assert query.arguments[b"seed"] == 1
        friend = next(other(n) for n in range(3) if other(n).address == address)
        if number:
            answer(node, query, friend, now=1.2)
        else:
            refusal = encode_failure(query.transaction, 203, "bad token")
            node.receive_datagram(refusal, address, now=1.2)
    (end,) = node.events()
    assert isinstance(end, LookupEnded)
    assert len(end.stored_at) == 2
    assert [refusal.code for refusal in end.refusals] == [203]


def test_bep33_who_gives_no_token_is_not_announced_to() -> None:
    node = joined()
    node.announce(INFO_HASH, 1234, is_seed=False, now=1.0)
    tokens: list[BencodeValue] = [b"", 7, b"x" * 1_000]
    for (query, address), token in zip(list(sent(node)), tokens, strict=True):
        friend = next(other(n) for n in range(3) if other(n).address == address)
        answer(node, query, friend, now=1.1, token=token)
    assert list(sent(node)) == []
    (end,) = node.events()
    assert isinstance(end, LookupEnded)
    assert end.stored_at == ()
    assert end.responded == 3


def test_c2_a_node_named_to_us_is_asked_only_where_it_may_be() -> None:
    node = joined(count=1)
    node.find_node(NodeId(INFO_HASH), now=1.0)
    ((query, _),) = sent(node)
    hosts = ["127.0.0.1", "10.1.1.1", "192.168.1.1", "169.254.1.1", "224.1.1.1", "0.0.0.0"]
    named = [NodeInfo(NodeId(bytes([n]) * 20), PeerAddress(h, 9)) for n, h in enumerate(hosts)]
    good = other(7)
    named += [NodeInfo(OWN_ID, PeerAddress("21.2.2.2", 9)), good]
    answer(node, query, other(0), now=1.1, nodes=encode_nodes(named, is_ipv6=False))
    assert [address for _, address in sent(node)] == [good.address]


def external_votes(node: DhtNode, address: PeerAddress, tellers: range, *, now: float) -> None:
    for number in tellers:
        friend = other(number)
        node.ping(friend.address, now=now)
        for query, _ in list(sent(node)):
            answer(node, query, friend, now=now, external=compact_address(address))


def test_bep42_the_id_follows_the_address_that_many_networks_see() -> None:
    node, ours = make(), PeerAddress("99.1.1.1", 6881)
    external_votes(node, ours, range(CONFIG.external_votes - 1), now=1.0)
    assert node.external is None
    assert node.node_id == OWN_ID
    external_votes(node, ours, range(CONFIG.external_votes - 1, CONFIG.external_votes), now=1.0)
    assert node.external == ours
    assert is_valid_node_id(node.node_id, ours.host)
    assert node.node_count == CONFIG.external_votes
    changes = [each for each in node.events() if isinstance(each, ExternalAddressChanged)]
    assert changes == [ExternalAddressChanged(ours, node.node_id)]


def test_bep42_the_id_fits_what_the_gateway_says_before_any_node_has_answered() -> None:
    node, ours = make(), PeerAddress("99.1.1.1", 6881)
    node.set_gateway_address(ours, now=1.0)
    assert node.external == ours
    assert is_valid_node_id(node.node_id, ours.host)
    assert [type(each) for each in node.events()] == [ExternalAddressChanged]


def test_bep42_a_new_id_is_kept_for_a_while() -> None:
    node = make()
    external_votes(node, PeerAddress("99.1.1.1", 1), range(10), now=1.0)
    first = node.node_id
    moved = PeerAddress("88.1.1.1", 1)
    external_votes(node, moved, range(10), now=2.0)
    assert node.external == moved
    assert node.node_id == first
    external_votes(node, moved, range(1), now=2.0 + CONFIG.id_change_interval_s)
    assert is_valid_node_id(node.node_id, moved.host)


def test_c2_one_network_has_one_vote_on_our_address() -> None:
    node = make()
    for number in range(50):
        liar = NodeInfo(NodeId(bytes([number]) * 20), PeerAddress(f"66.6.6.{number}", 1))
        node.ping(liar.address, now=1.0)
        ((query, _),) = sent(node)
        lie = compact_address(PeerAddress("99.1.1.1", 1))
        answer(node, query, liar, now=1.0, external=lie)
    assert node.external is None


def test_the_timer_never_spins() -> None:
    node, now, calls = joined(), 1.0, 0
    while now < 7_200.0:
        due = node.next_timer()
        assert due is not None
        now = max(now, due)
        node.handle_timer(now=now)
        for query, address in list(sent(node)):
            known = [other(n) for n in range(3) if other(n).address == address]
            if known:
                answer(node, query, known[0], now=now)
        calls += 1
    assert calls < 2_000
    assert node.node_count == 3


def test_bep5_the_neighbours_are_looked_up_every_quarter_of_an_hour() -> None:
    node = joined()
    lookups = []
    for now in range(0, 2_000, 5):
        node.handle_timer(now=float(now))
        for query, address in list(sent(node)):
            if query.method == b"find_node":
                lookups.append((now, query.arguments[b"target"]))
            known = next(other(n) for n in range(3) if other(n).address == address)
            answer(node, query, known, now=float(now))
    assert {target for _, target in lookups} == {OWN_ID}
    first, second = sorted({now for now, _ in lookups})
    assert first >= 900
    assert second >= first + 900
    assert node.events() == []


def test_bep5_nodes_that_answer_no_more_leave_the_table() -> None:
    node = joined()
    for now in range(0, 8_000, 5):
        node.handle_timer(now=float(now))
        node.datagrams_to_send()
    assert node.node_count == 0
    assert not node.stats().is_bootstrapped
    assert node._table.nodes() == []


def test_a_saved_table_is_asked_first() -> None:
    node = make()
    node.restore(SavedTable(OWN_ID, tuple(other(n) for n in range(3))), now=0.0)
    assert list(sent(node)) == []  # nobody may want it yet
    assert node.next_timer() == 0.0
    node.handle_timer(now=60.0)
    assert {address for _, address in sent(node)} == {other(n).address for n in range(3)}
    assert joined().saved() == SavedTable(OWN_ID, tuple(joined()._table.nodes()))


def test_bep32_a_node_serves_one_family() -> None:
    node = make(is_ipv6=True)
    friend = NodeInfo(NodeId(b"6" * 20), PeerAddress("2a00:1::1", 6881))
    node.bootstrap([friend.address, PeerAddress("20.1.1.1", 1)], now=0.0)
    ((query, address),) = sent(node)
    assert address == friend.address
    named = NodeInfo(NodeId(b"7" * 20), PeerAddress("2a00:2::1", 6881))
    answer(
        node,
        query,
        friend,
        now=0.1,
        nodes=encode_nodes([other(1)], is_ipv6=False),
        nodes6=encode_nodes([named], is_ipv6=True),
    )
    assert [address for _, address in sent(node)] == [named.address]


def test_bep32_two_nodes_beside_each_other_tell_both_families() -> None:
    node, beside, asking = joined(), make(is_ipv6=True), other(9)
    six = NodeInfo(NodeId(b"6" * 20), PeerAddress("2a00:1::1", 6881))
    beside.ping(six.address, now=0.0)
    ((query, _),) = sent(beside)
    answer(beside, query, six, now=0.1)
    node.pair_with(beside)
    arguments: dict[bytes, Encodable] = {b"target": bytes(20), b"want": [b"n4", b"n6"]}
    data = encode_query(b"aa", b"find_node", asking.id, arguments)
    node.receive_datagram(data, asking.address, now=1.0)
    ((reply, _),) = node.datagrams_to_send()
    response = decode_message(reply)
    assert isinstance(response, Response)
    assert response.values[b"nodes6"] == encode_nodes([six], is_ipv6=True)
    assert len(decode_nodes(response.values[b"nodes"], is_ipv6=False)) == 3


def test_what_nobody_takes_is_bounded() -> None:
    node, asking = joined(replace(CONFIG, max_upload_bytes_per_s=0)), other(9)
    for number in range(5_000):
        asking = other(number % 200 + 10)
        data = encode_query(b"aa", b"ping", asking.id, {})
        node.receive_datagram(data, asking.address, now=float(number))
    assert len(node.datagrams_to_send()) <= 2_000


MALFORMED = {
    "nothing": b"",
    "text": b"hello",
    "list": b"le",
    "no kind": b"d1:t2:aae",
    "query without arguments": b"d1:q4:ping1:t2:aa1:y1:qe",
    "short id": b"d1:ad2:id3:abce1:q4:ping1:t2:aa1:y1:qe",
    "response without values": b"d1:t2:aa1:y1:re",
    "odd nodes": b"d1:rd2:id20:mnopqrstuvwxyz1234565:nodes3:abce1:t2:aa1:y1:re",
    "error without code": b"d1:ele1:t2:aa1:y1:ee",
    "deep": b"d1:a" + b"l" * 500 + b"e" * 500 + b"1:q4:ping1:t2:aa1:y1:qe",
    "huge": b"d1:t5000:" + b"x" * 5_000 + b"e",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_bep5_a_malformed_datagram_changes_nothing(data: bytes) -> None:
    node = joined()
    node.receive_datagram(data, other(1).address, now=1.0)
    for reply, _ in node.datagrams_to_send():
        assert b"1:y1:e" in reply
    assert node.node_count == 3
    assert node.events() == []


@given(st.binary(max_size=300) | st.text("0123456789ilde:-adqrty").map(str.encode))
def test_receive_datagram_raises_nothing(data: bytes) -> None:
    node = joined()
    node.find_node(NodeId(INFO_HASH), now=1.0)
    node.receive_datagram(data, other(1).address, now=1.0)
    assert node.stats().traffic.datagrams_in >= 1


VALUES = st.recursive(
    st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=60),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=6), inner),
    max_leaves=8,
)
KEYS = st.sampled_from(["nodes", "nodes6", "values", "token", "samples", "num", "v", "k", "seq"])


@given(st.dictionaries(KEYS, VALUES), st.sampled_from(["peers", "get", "sample", "announce"]))
def test_an_answer_with_any_values_raises_nothing(
    values: dict[str, BencodeValue], kind: str
) -> None:
    node = joined()
    if kind == "peers":
        node.get_peers(INFO_HASH, scrape=True, now=1.0)
    elif kind == "get":
        node.get(NodeId(INFO_HASH), now=1.0)
    elif kind == "sample":
        node.sample(NodeId(INFO_HASH), now=1.0)
    else:
        node.announce(INFO_HASH, None, is_seed=False, now=1.0)
    for query, address in list(sent(node)):
        friend = next(other(n) for n in range(3) if other(n).address == address)
        answer(node, query, friend, now=1.1, **values)  # type: ignore[arg-type]
    node.handle_timer(now=30.0)
    node.handle_timer(now=60.0)
    ends = [event for event in node.events() if isinstance(event, LookupEnded)]
    assert len(ends) == 1


def test_what_goes_out_is_canonical_bencoding() -> None:
    node = joined()
    node.announce(INFO_HASH, None, is_seed=True, now=1.0)
    node.sample(NodeId(INFO_HASH), now=1.0)
    datagrams = node.datagrams_to_send()
    assert datagrams
    for data, _ in datagrams:
        assert isinstance(decode(data, canonical=True), dict)


def test_a_call_of_the_timer_handles_a_few_of_many_timeouts_and_the_rest_is_due_at_once() -> None:
    node = make()
    for number in range(40):
        node.ping(other(number).address, now=0.0)
    now, ended = CONFIG.query_timeout_s, list[int]()
    while len(ended) < 10:
        due_s = node.next_timer()
        assert due_s is not None
        assert due_s <= now
        node.handle_timer(now=now)
        ended.append(len(node.events()))
    assert ended == [MAX_TIMEOUTS] * 10


def test_lookups_that_waited_for_the_first_node_start_a_few_at_a_time() -> None:
    node = make()
    node.bootstrap([other(0).address], now=0.0)
    for number in range(20):
        node.find_node(NodeId(bytes([number]) * 20), now=0.0)
    ((query, _),) = sent(node)
    answer(node, query, other(0), now=0.1)
    running = [len(list(sent(node)))]
    while node.next_timer() == float("-inf"):
        node.handle_timer(now=0.1)
        running.append(len(list(sent(node))))
    assert running == [MAX_STARTS] * (20 // MAX_STARTS)
    assert node.stats().lookups_waiting == 0


def test_c2_dead_addresses_that_peers_name_keep_no_node_of_the_table_from_being_pinged() -> None:
    node, now = joined(), CONFIG.good_node_s + 1.0
    for number in range(2 * MAX_SILENT_PINGS):
        node.add_node(PeerAddress(f"99.1.{number}.1", 6881), now=now)
    assert len(list(sent(node))) == MAX_SILENT_PINGS
    node.handle_timer(now=now)
    pinged = [address for query, address in sent(node) if query.method == b"ping"]
    assert len(pinged) == 1
    assert pinged[0] in {other(number).address for number in range(3)}
