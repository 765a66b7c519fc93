"""What lookups believe of an answer: nodes, peers, samples and values, true and false."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.ids import InfoHash, NodeId, PeerAddress
from torrent_engine.codec.bencode import BencodeValue, encode
from torrent_engine.protocol.dht.events import DhtEvent, ItemFound, SamplesFound, ScrapeFound
from torrent_engine.protocol.dht.item_tasks import GetItem, PutImmutable, PutMutable
from torrent_engine.protocol.dht.items import MutableItem, immutable_target, sign_item
from torrent_engine.protocol.dht.krpc import (
    Bencoded,
    NodeInfo,
    Response,
    decode_message,
    encode_nodes,
    encode_response,
)
from torrent_engine.protocol.dht.lookup_tasks import (
    MAX_LATE_PEERS,
    MAX_PEERS,
    MAX_PEERS_PER_RESPONSE,
    MAX_SAMPLES,
    Announcement,
    GetPeers,
    LookupTask,
    Sample,
)
from torrent_engine.protocol.dht.response_nodes import response_nodes
from torrent_engine.protocol.dht.scrape_filter import ScrapeFilter

TARGET = NodeId(bytes(20))
TELLER = NodeInfo(NodeId(b"t" * 20), PeerAddress("20.1.1.1", 6881))
SEED = b"k" * 32
VALUE = Bencoded(b"5:value")


def response(values: dict[bytes, BencodeValue | Bencoded]) -> Response:
    message = decode_message(encode_response(b"aa", TELLER.id, values))
    assert isinstance(message, Response)
    return message


def told(task: LookupTask, values: dict[bytes, BencodeValue | Bencoded]) -> list[DhtEvent]:
    return list(task.take(1, TELLER, response(values)))


def of_item(item: MutableItem) -> dict[bytes, BencodeValue | Bencoded]:
    return {b"v": item.value, b"k": item.key, b"sig": item.signature, b"seq": item.sequence}


def named(nodes: list[NodeInfo], *, at_most: int = 8, teller: str = "20.1.1.1") -> list[NodeInfo]:
    values: dict[bytes, BencodeValue | Bencoded] = {b"nodes": encode_nodes(nodes, is_ipv6=False)}
    address = PeerAddress(teller, 1)
    return response_nodes(response(values), address, TARGET, own=(), is_ipv6=False, at_most=at_most)


def node(number: int, host: str = "") -> NodeInfo:
    return NodeInfo(
        NodeId(number.to_bytes(20, "big")), PeerAddress(host or f"30.{number}.1.1", 6881)
    )


def test_c2_of_many_named_nodes_the_closest_few_are_taken() -> None:
    nodes = [node(number) for number in (9, 3, 7, 1, 5)]
    assert named(nodes, at_most=3) == [node(1), node(3), node(5)]
    crowd = [node(number) for number in range(150, 0, -1)]
    assert len(named(crowd, at_most=8)) == 8


@pytest.mark.parametrize("host", ["10.0.0.1", "127.0.0.1", "192.168.0.9"])
def test_c2_only_a_neighbour_names_nodes_of_our_own_network(host: str) -> None:
    assert named([node(1, host)]) == []
    assert named([node(1, host)], teller="192.168.0.1") == [node(1, host)]


MALFORMED_NODES: dict[str, BencodeValue] = {
    "a number": 7,
    "a list": [b"x" * 26],
    "one byte short": bytes(25),
    "one byte over": bytes(27),
    "port 0": b"n" * 20 + b"\x14\1\1\1\0\0",
    "nobody": b"n" * 20 + bytes(4) + b"\1\1",
    "everybody": b"n" * 20 + b"\xff\xff\xff\xff\1\1",
}


@pytest.mark.parametrize("blob", MALFORMED_NODES.values(), ids=MALFORMED_NODES)
def test_bep5_malformed_nodes_are_no_nodes(blob: BencodeValue) -> None:
    answer = response({b"nodes": blob})
    assert response_nodes(answer, TELLER.address, TARGET, own=(), is_ipv6=False, at_most=8) == []


@given(st.binary(max_size=200), st.booleans())
def test_named_nodes_raises_nothing(blob: bytes, is_ipv6: bool) -> None:
    answer = response({b"nodes": blob, b"nodes6": blob})
    found = response_nodes(answer, TELLER.address, TARGET, own=(), is_ipv6=is_ipv6, at_most=8)
    assert len(found) <= 8


def test_bep32_a_mixed_list_of_peers_is_read() -> None:
    task = GetPeers(InfoHash(TARGET))
    six = b"\x2a\0" + bytes(13) + b"\1" + b"\0\7"
    events = told(task, {b"values": [b"\x14\1\1\5\0\7", six, bytes(6), b"\x0a\1\1\1\0\7", 5]})
    assert [event.peers for event in events] == [  # type: ignore[attr-defined]
        (PeerAddress("20.1.1.5", 7), PeerAddress("2a00::1", 7))
    ]


def test_c2_peers_of_one_lookup_are_bounded() -> None:
    task, rng = GetPeers(InfoHash(TARGET)), random.Random(1)
    counts: list[int] = []
    for _ in range(60):
        values: list[BencodeValue] = [b"\x14" + rng.randbytes(4) + b"\7" for _ in range(200)]
        events = told(task, {b"values": values})
        counts.append(sum(len(event.peers) for event in events))  # type: ignore[attr-defined, misc]
    found = sum(counts)
    assert max(counts) == MAX_PEERS_PER_RESPONSE
    assert found == task.found == MAX_PEERS + counts.count(MAX_LATE_PEERS) * MAX_LATE_PEERS
    assert counts[-1] == MAX_LATE_PEERS  # who comes late is heard too


def test_bep33_filters_are_united_and_those_that_are_full_ignored() -> None:
    task = GetPeers(InfoHash(TARGET), scrape=True)
    filters = [ScrapeFilter(), ScrapeFilter()]
    for number in range(100):
        filters[number % 2].add(bytes([20, 1, 1, number]))
    full = b"\xff" * 256
    for each in filters:
        told(task, {b"BFsd": bytes(each), b"BFpe": bytes(256)})
    for bad in (full, b"short", 7):
        told(task, {b"BFsd": bad, b"BFpe": bytes(256)})
    (scrape,) = task.end(1)
    assert isinstance(scrape, ScrapeFound)
    assert scrape.seeds == pytest.approx(100, abs=8)
    assert (scrape.leeches, scrape.nodes) == (0, 2)
    assert task.arguments()[b"scrape"] == 1


def test_bep33_nothing_is_said_of_a_scrape_that_was_not_asked_for() -> None:
    task = GetPeers(InfoHash(TARGET), no_seed=True)
    told(task, {b"BFsd": bytes(256), b"BFpe": bytes(256)})
    assert list(task.end(1)) == []
    assert task.arguments() == {b"info_hash": TARGET, b"noseed": 1}


def test_bep5_an_announce_without_a_port_is_implied() -> None:
    method, arguments = GetPeers(InfoHash(TARGET), announcement=Announcement(None)).write(
        TELLER, b"tok"
    )
    assert method == b"announce_peer"
    assert arguments[b"implied_port"] == 1
    assert arguments[b"token"] == b"tok"
    assert b"seed" not in arguments


def test_bep51_samples_are_told_with_what_belongs_to_them() -> None:
    task = Sample(TARGET)
    blob = b"a" * 20 + b"b" * 20
    (event,) = told(task, {b"samples": blob, b"num": 9, b"interval": 60})
    expected = (InfoHash(b"a" * 20), InfoHash(b"b" * 20))
    assert event == SamplesFound(1, TELLER, expected, 9, 60)
    assert task.found == 2


@pytest.mark.parametrize(
    "values",
    [{}, {b"samples": 7}, {b"samples": bytes(19)}],
    ids=["none", "a number", "a piece"],
)
def test_bep51_malformed_samples_are_none(values: dict[bytes, BencodeValue | Bencoded]) -> None:
    assert told(Sample(TARGET), values) == []


def test_bep51_samples_and_numbers_are_bounded() -> None:
    values: dict[bytes, BencodeValue | Bencoded] = {
        b"samples": bytes(20 * 190),
        b"num": -5,
        b"interval": 1 << 40,
    }
    (event,) = told(Sample(TARGET), values)
    assert isinstance(event, SamplesFound)
    assert len(event.info_hashes) == MAX_SAMPLES
    assert (event.stored, event.interval_s) == (0, 21_600)


def test_bep44_an_immutable_value_is_believed_by_its_hash_and_ends_the_lookup() -> None:
    task = GetItem(NodeId(immutable_target(VALUE)))
    assert told(task, {b"v": Bencoded(b"5:wrong")}) == []
    assert not task.is_enough
    assert told(task, {b"v": VALUE}) == [ItemFound(1, task.target, VALUE)]
    assert task.is_enough


def test_bep44_of_signed_values_the_highest_sequence_is_told() -> None:
    items = [sign_item(SEED, Bencoded(encode(b"%d" % n)), n) for n in range(4)]
    task = GetItem(NodeId(items[0].target))
    heard = [told(task, of_item(items[number])) for number in (1, 0, 1, 3, 2)]
    sequences = [[e.item.sequence for e in events] for events in heard]  # type: ignore[attr-defined]
    assert sequences == [[1], [], [], [3], []]
    assert not task.is_enough


def test_bep44_with_a_least_sequence_older_values_are_not_told() -> None:
    item = sign_item(SEED, VALUE, 5)
    task = GetItem(NodeId(item.target), min_seq=5)
    assert task.arguments()[b"seq"] == 5
    assert told(task, of_item(item)) == []
    newer = sign_item(SEED, VALUE, 6)
    assert told(task, of_item(newer)) == [ItemFound(1, task.target, VALUE, newer)]


GENUINE = sign_item(SEED, VALUE, 5, salt=b"salt")
FORGED: dict[str, dict[bytes, BencodeValue | Bencoded]] = {
    "another value": {**of_item(GENUINE), b"v": Bencoded(b"5:other")},
    "another sequence": {**of_item(GENUINE), b"seq": 6},
    "another signature": {**of_item(GENUINE), b"sig": bytes(64)},
    "short signature": {**of_item(GENUINE), b"sig": bytes(63)},
    "no signature": {key: each for key, each in of_item(GENUINE).items() if key != b"sig"},
    "negative sequence": {**of_item(GENUINE), b"seq": -1},
    "sequence of another type": {**of_item(GENUINE), b"seq": b"5"},
    "no point of the curve": {**of_item(GENUINE), b"k": b"\xff" * 32},
    "another key": of_item(sign_item(b"j" * 32, VALUE, 9, salt=b"salt")),
    "signed without the salt": of_item(sign_item(SEED, VALUE, 9)),
    "no value": {key: each for key, each in of_item(GENUINE).items() if key != b"v"},
}


@pytest.mark.parametrize("values", FORGED.values(), ids=FORGED)
def test_bep44_a_forged_value_is_not_told(values: dict[bytes, BencodeValue | Bencoded]) -> None:
    task = GetItem(NodeId(GENUINE.target), salt=b"salt")
    assert told(task, values) == []
    assert task.found == 0
    assert told(task, of_item(GENUINE)) == [ItemFound(1, task.target, VALUE, GENUINE)]


def test_bep44_a_put_of_an_immutable_value_carries_it_as_it_stands() -> None:
    task = PutImmutable(VALUE)
    assert task.target == immutable_target(VALUE)
    assert task.write(TELLER, b"tok") == (b"put", {b"token": b"tok", b"v": VALUE})
    told(task, {b"v": VALUE})
    assert task.found == 1


def test_bep44_cas_is_sent_only_to_who_has_a_version() -> None:
    task = PutMutable(GENUINE, cas=4)
    _, arguments = task.write(TELLER, b"tok")
    assert b"cas" not in arguments
    assert arguments[b"salt"] == b"salt"
    told(task, {b"seq": 4})
    _, arguments = task.write(TELLER, b"tok")
    assert arguments[b"cas"] == 4
    told(task, {b"seq": 5})
    assert task.write(TELLER, b"tok")[1][b"cas"] == 4  # somebody was faster: it will refuse
    unsalted = PutMutable(sign_item(SEED, VALUE, 1))
    assert b"salt" not in unsalted.write(TELLER, b"tok")[1]


def test_bep44_who_has_an_older_version_than_the_one_replaced_is_given_the_new_one() -> None:
    task = PutMutable(GENUINE, cas=4)
    told(task, {b"seq": 3})
    assert b"cas" not in task.write(TELLER, b"tok")[1]
