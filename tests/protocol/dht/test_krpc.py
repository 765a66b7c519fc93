"""Messages of the distributed hash table: the vectors of BEP 5, and what is no message."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cpu_time import cpu_time
from torrent_engine.base.errors import KrpcError
from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.codec.bencode import encode
from torrent_engine.protocol.dht.common_queries import decode_common_query
from torrent_engine.protocol.dht.krpc import (
    Bencoded,
    ErrorReply,
    NodeInfo,
    Query,
    Response,
    _any_message,
    compact_address,
    decode_message,
    decode_nodes,
    encode_failure,
    encode_nodes,
    encode_query,
    encode_response,
)

ASKING = NodeId(b"abcdefghij0123456789")
ANSWERING = NodeId(b"mnopqrstuvwxyz123456")
TARGET = b"mnopqrstuvwxyz123456"

BEP5_QUERIES = {
    "ping": (
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe",
        b"ping",
        {},
    ),
    "find_node": (
        (
            b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e"
            b"1:q9:find_node1:t2:aa1:y1:qe"
        ),
        b"find_node",
        {b"target": TARGET},
    ),
    "get_peers": (
        (
            b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e"
            b"1:q9:get_peers1:t2:aa1:y1:qe"
        ),
        b"get_peers",
        {b"info_hash": TARGET},
    ),
    "announce_peer": (
        (
            b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz1234564:porti6881e"
            b"5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe"
        ),
        b"announce_peer",
        {b"info_hash": TARGET, b"port": 6881, b"token": b"aoeusnth"},
    ),
}
BEP5_RESPONSES = {
    "ping": (b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re", ANSWERING, {}),
    "find_node": (
        b"d1:rd2:id20:0123456789abcdefghij5:nodes9:def456...e1:t2:aa1:y1:re",
        b"0123456789abcdefghij",
        {b"nodes": b"def456..."},
    ),
    "get_peers_values": (
        (
            b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth"
            b"6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re"
        ),
        ASKING,
        {b"token": b"aoeusnth", b"values": [b"axje.u", b"idhtnm"]},
    ),
    "get_peers_nodes": (
        b"d1:rd2:id20:abcdefghij01234567895:nodes9:def456...5:token8:aoeusnthe1:t2:aa1:y1:re",
        ASKING,
        {b"nodes": b"def456...", b"token": b"aoeusnth"},
    ),
}
MALFORMED = {
    "empty": b"",
    "no_bencoding": b"hello",
    "no_dictionary": b"le",
    "ends_inside": b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:q",
    "key_twice": b"d1:t2:aa1:t2:aa1:y1:qe",
    "no_transaction": b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:y1:qe",
    "transaction_is_a_number": b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:ti1e1:y1:qe",
    "transaction_too_long": b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t65:%b1:y1:qe"
    % (b"t" * 65),
    "no_kind": b"d1:t2:aae",
    "kind_unknown": b"d1:t2:aa1:y1:xe",
    "kind_is_a_list": b"d1:t2:aa1:ylee",
    "query_without_method": b"d1:ad2:id20:abcdefghij0123456789e1:t2:aa1:y1:qe",
    "method_is_a_number": b"d1:ad2:id20:abcdefghij0123456789e1:qi1e1:t2:aa1:y1:qe",
    "query_without_arguments": b"d1:q4:ping1:t2:aa1:y1:qe",
    "arguments_are_a_list": b"d1:ale1:q4:ping1:t2:aa1:y1:qe",
    "query_without_id": b"d1:ade1:q4:ping1:t2:aa1:y1:qe",
    "query_with_short_id": b"d1:ad2:id19:abcdefghij012345678e1:q4:ping1:t2:aa1:y1:qe",
    "query_with_number_as_id": b"d1:ad2:idi7ee1:q4:ping1:t2:aa1:y1:qe",
    "response_without_values": b"d1:t2:aa1:y1:re",
    "response_without_id": b"d1:rde1:t2:aa1:y1:re",
    "response_with_long_id": b"d1:rd2:id21:mnopqrstuvwxyz1234567e1:t2:aa1:y1:re",
    "a1_eleven_deep": b"d1:a" + b"l" * 10 + b"e" * 10 + b"1:t2:aa1:y1:qe",
    "a1_depth_bomb": b"l" * 4000,
    "a2_token_bomb": b"l" + b"i0e" * 500 + b"e",
    "a3_long_integer": b"d1:ad2:id20:abcdefghij01234567891:xi" + b"9" * 30 + b"ee1:t2:aa1:y1:qe",
    "longer_than_a_datagram_may_be": b"4100:" + b"x" * 4100,
}


@pytest.mark.parametrize(("data", "method", "arguments"), BEP5_QUERIES.values(), ids=BEP5_QUERIES)
def test_bep5_vector_of_a_query(data, method, arguments) -> None:
    decoded = decode_message(data)
    assert decoded == Query(b"aa", method, ASKING, {b"id": ASKING, **arguments})
    assert encode_query(b"aa", method, ASKING, arguments) == data


@pytest.mark.parametrize(("data", "sender", "values"), BEP5_RESPONSES.values(), ids=BEP5_RESPONSES)
def test_bep5_vector_of_a_response(data, sender, values) -> None:
    assert decode_message(data) == Response(b"aa", sender, {b"id": sender, **values})
    assert encode_response(b"aa", sender, values) == data


def test_bep5_vector_of_an_error() -> None:
    data = b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee"
    assert decode_message(data) == ErrorReply(b"aa", 201, "A Generic Error Ocurred")
    assert encode_failure(b"aa", 201, "A Generic Error Ocurred") == data


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_bep5_malformed_message_is_refused(data: bytes) -> None:
    with pytest.raises(KrpcError) as caught:
        decode_message(data)
    assert caught.value.code == 203


def test_bep5_malformed_query_tells_its_transaction_so_that_it_can_be_answered() -> None:
    with pytest.raises(KrpcError) as caught:
        decode_message(b"d1:ade1:q4:ping1:t2:aa1:y1:qe")
    assert (caught.value.transaction, caught.value.is_query) == (b"aa", True)


@pytest.mark.parametrize("behind", [b"", b"x", b"e", b"i1"])
@pytest.mark.parametrize("value", [b"l" + b"i1e" * 100 + b"e", b"3:abc"], ids=["long", "short"])
@pytest.mark.parametrize("kind", ["q", "r"])
def test_bep44_value_is_the_same_whatever_is_behind_the_message(
    kind: str, value: bytes, behind: bytes
) -> None:
    inner = b"d2:id20:abcdefghij01234567891:v" + value + b"e"
    query = b"d1:a" + inner + b"1:q3:put1:t2:aa1:y1:qe"
    data = query if kind == "q" else b"d1:r" + inner + b"1:t2:aa1:y1:re"
    message = decode_message(data + behind)
    assert isinstance(message, Query | Response)
    assert message.value == value


LONG = {
    "zeros with a minus": b"i-0e" * 440,
    "empty lists, then a fault": b"le" * 440 + b"i-0e",
    "keys many times": b"d" + b"1:mde" * 200 + b"e",
}


@pytest.mark.no_cover
@pytest.mark.parametrize("items", LONG.values(), ids=LONG.keys())
def test_c1_no_datagram_takes_long_to_decode(items: bytes) -> None:
    head = b"d1:ad2:id20:abcdefghij01234567891:v1:x1:xl"
    data = head + items + b"ee1:q3:put1:t2:aa1:y1:qe"
    took: list[float] = []
    for _ in range(5):
        with cpu_time() as spent:
            for _ in range(10):  # one alone takes as long as cold caches do
                with suppress(KrpcError):
                    decode_message(data)
        took.append(spent.seconds / 10)
    assert min(took) < 0.0015  # some 0.5 ms; it was 2 to 4


def test_bep5_a_long_response_is_read_and_a_short_one_is_corrected() -> None:
    peers: dict[bytes, Any] = {b"id": ANSWERING, b"values": [b"abcdef"] * 100}
    response = decode_message(encode({"r": peers, "t": b"aa", "y": "r"}))
    assert isinstance(response, Response)
    assert response.values[b"values"] == peers[b"values"]
    few = encode({"r": {b"id": ANSWERING, b"values": [b"abcdef"] * 30}, "t": b"aa", "y": "r"})
    assert isinstance(decode_message(few.replace(b"6:", b"06:")), Response)


def test_bep5_malformed_response_is_told_from_a_query() -> None:
    with pytest.raises(KrpcError) as caught:
        decode_message(b"d1:rde1:t2:aa1:y1:re")
    assert (caught.value.transaction, caught.value.is_query) == (b"aa", False)


@pytest.mark.parametrize(
    ("blob", "expected"),
    [
        (b"\xc0\x00\x02\x01\x1a\xe1", PeerAddress("192.0.2.1", 6881)),
        (b"\xc0\x00\x02\x01", PeerAddress("192.0.2.1", 0)),
        (b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01\x1a\xe1", PeerAddress("2001:db8::1", 6881)),
        (b"short", None),
    ],
)
def test_bep42_external_address(blob: bytes, expected: PeerAddress | None) -> None:
    data = encode_response(b"aa", ANSWERING, {}, external=blob)
    message = decode_message(data)
    assert isinstance(message, Response)
    assert message.external == expected


def test_bep43_read_only_sender_is_known() -> None:
    data = encode_query(b"aa", b"ping", ASKING, {}, is_read_only=True, client=b"TE01")
    message = decode_message(data)
    assert isinstance(message, Query)
    assert message.is_read_only
    assert message.client == b"TE01"
    assert b"2:roi1e" in data


def test_bep44_value_is_kept_as_it_stands_in_the_datagram() -> None:
    unsorted = b"d1:bi1e1:ai2ee"
    data = encode_query(b"aa", b"put", ASKING, {b"token": b"x", b"v": Bencoded(unsorted)})
    message = decode_message(data)
    assert isinstance(message, Query)
    assert message.value == unsorted
    answer = decode_message(encode_response(b"aa", ASKING, {b"v": Bencoded(unsorted)}))
    assert isinstance(answer, Response)
    assert answer.value == unsorted


@pytest.mark.parametrize("is_ipv6", [False, True])
def test_bep5_bep32_node_lists_go_both_ways(is_ipv6: bool) -> None:
    hosts = ["2001:db8::1", "fe80::2"] if is_ipv6 else ["192.0.2.1", "10.0.0.2"]
    nodes = [NodeInfo(ASKING, PeerAddress(host, 6881)) for host in hosts]
    blob = encode_nodes(nodes, is_ipv6=is_ipv6)
    assert len(blob) == 2 * (38 if is_ipv6 else 26)
    assert decode_nodes(blob, is_ipv6=is_ipv6) == nodes
    assert encode_nodes(nodes, is_ipv6=not is_ipv6) == b""


def test_bep5_no_node_list_is_no_nodes() -> None:
    assert decode_nodes(None, is_ipv6=False) == decode_nodes(b"", is_ipv6=True) == []


@pytest.mark.parametrize(("blob", "count"), [(b"x" * 27, 1), (5, 0), ([], 0), (b"x", 0)])
def test_bep5_of_a_malformed_node_list_the_whole_nodes_are_read(blob, count) -> None:
    assert len(decode_nodes(blob, is_ipv6=False)) == count


@pytest.mark.parametrize("address", [("router.example", 6881), ("192.0.2.1", 70_000), ("", 1)])
def test_address_that_has_no_compact_form_gives_none(address) -> None:
    assert compact_address(PeerAddress(*address)) == b""


_values: st.SearchStrategy[Any] = st.recursive(
    st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=24),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([b"id", b"v", b"target", b"x"]), inner, max_size=4)
    ),
    max_leaves=12,
)
_behind = st.just(b"") | st.binary(max_size=3)
_messages: st.SearchStrategy[Any] = st.dictionaries(
    st.sampled_from([b"t", b"y", b"q", b"a", b"r", b"e", b"ip", b"ro", b"v"]),
    _values | st.sampled_from([b"q", b"r", b"e", b"aa", {b"id": ASKING}]),
    max_size=8,
)


@given(st.binary(max_size=200) | st.builds(bytes.__add__, _messages.map(encode), _behind))
def test_decode_message_raises_nothing_but_krpc_error(data: bytes) -> None:
    with suppress(KrpcError):
        assert decode_message(data).transaction in data


@given(st.data())
def test_mutated_message_raises_nothing_but_krpc_error(data: st.DataObject) -> None:
    vectors = [vector[0] for vector in (*BEP5_QUERIES.values(), *BEP5_RESPONSES.values())]
    raw = bytearray(data.draw(st.sampled_from(vectors)))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with suppress(KrpcError):
        assert decode_message(bytes(raw)).transaction in raw


_common = st.builds(
    encode_query,
    st.binary(min_size=1, max_size=10),
    st.sampled_from([b"ping", b"find_node", b"get_peers", b"announce_peer"]),
    st.binary(min_size=20, max_size=20).map(NodeId),
    st.dictionaries(
        st.sampled_from([b"target", b"info_hash", b"want", b"scrape"]),
        st.binary(min_size=19, max_size=21),
        max_size=2,
    ),
    is_read_only=st.booleans(),
    client=st.sampled_from([b"", b"LT20", b"longer"]),
)


@given(_common, st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=2))
def test_short_way_and_long_way_decode_the_same(
    data: bytes, changes: list[tuple[int, int]]
) -> None:
    raw = bytearray(data)
    for position, byte in changes:
        raw[position % len(raw)] = byte

    def outcome(decoder: Callable[[bytes], object]) -> object:
        try:
            return decoder(bytes(raw))
        except KrpcError as error:
            return str(error)

    assert outcome(decode_message) == outcome(_any_message)


def test_common_queries_take_the_short_way() -> None:
    for data in (BEP5_QUERIES[name][0] for name in ("ping", "find_node", "get_peers")):
        assert decode_common_query(data) is not None
        assert decode_common_query(data[:-1]) is None
    transaction = b"1:y1:qe"  # looks like the end
    data = encode_query(transaction, b"ping", ASKING, {})
    assert decode_common_query(data) == (transaction, b"ping", ASKING, {b"id": ASKING}, b"")


@pytest.mark.parametrize("length", [0, 1, 9])
def test_transaction_of_another_length_than_it_says_is_refused(length: int) -> None:
    with pytest.raises(KrpcError):
        decode_message(b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t%d:aa1:y1:qe" % length)
