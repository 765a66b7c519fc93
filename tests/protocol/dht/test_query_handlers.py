"""What is answered to each kind of query (BEP 5, 32, 33, 42, 44, 51)."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support.dht_queries import (
    ADDRESS,
    ASKING,
    HASH,
    OWN,
    PADDING,
    QUIET,
    Asked,
    filled_table,
)
from torrent_engine.base.ids import PeerAddress
from torrent_engine.protocol.dht.items import (
    MutableItem,
    immutable_target,
    mutable_target,
    sign_item,
)
from torrent_engine.protocol.dht.krpc import (
    Bencoded,
    ErrorReply,
    Response,
    compact_address,
    decode_nodes,
)
from torrent_engine.protocol.dht.scrape_filter import ScrapeFilter

SEED = b"\x07" * 32
VALUE = Bencoded(b"12:Hello World!")


def test_bep5_vector_of_a_ping_and_its_answer() -> None:
    asked = Asked()
    asked.ask(b"ping", {})
    assert asked.request == b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"
    expected = b"d2:ip6:\xc0\x00\x02\x01\x1a\xe11:rd2:id20:" + OWN + b"e1:t2:aa1:v4:TE\1\x001:y1:re"
    assert asked.reply == expected


@pytest.mark.parametrize("is_ipv6", [False, True])
def test_bep42_answer_tells_the_asking_node_its_address(is_ipv6: bool) -> None:
    asked = Asked(is_ipv6=is_ipv6)
    assert asked.values(b"ping", {}).external == asked.address


@pytest.mark.parametrize("is_ipv6", [False, True])
def test_bep5_bep32_find_node_tells_the_closest_nodes(is_ipv6: bool) -> None:
    asked = Asked(is_ipv6=is_ipv6)
    answer = asked.values(b"find_node", {b"target": HASH, b"pad": PADDING})
    told = decode_nodes(answer.values[b"nodes6" if is_ipv6 else b"nodes"], is_ipv6=is_ipv6)
    assert told == asked.table.closest(HASH, 8)
    assert (b"nodes" if is_ipv6 else b"nodes6") not in answer.values


@pytest.mark.parametrize(
    ("want", "told"),
    [
        ([b"n4"], {b"nodes"}),
        ([b"n6"], {b"nodes6"}),
        ([b"n4", b"n6"], {b"nodes", b"nodes6"}),
        ([b"n6", b"n4", b"n8"], {b"nodes", b"nodes6"}),
        ([b"n8"], {b"nodes"}),
        ([], {b"nodes"}),
        (b"n6", {b"nodes"}),
        (6, {b"nodes"}),
    ],
)
@pytest.mark.parametrize("method", [b"find_node", b"get_peers", b"get", b"sample_infohashes"])
def test_bep32_wanted_families_are_told(method: bytes, want, told: set[bytes]) -> None:
    asked = Asked()
    asked.responder.handlers.other_table = filled_table(is_ipv6=True)
    keys = {b"target": HASH, b"info_hash": HASH, b"want": want, b"pad": PADDING}
    answer = asked.values(method, keys)
    assert set(answer.values) & {b"nodes", b"nodes6"} == told
    for key in told:
        nodes = decode_nodes(answer.values[key], is_ipv6=key == b"nodes6")
        assert len(nodes) == 8


def test_bep32_family_that_we_do_not_have_is_left_out() -> None:
    answer = Asked().values(b"find_node", {b"target": HASH, b"want": [b"n4", b"n6"]})
    assert b"nodes6" not in answer.values
    assert len(decode_nodes(answer.values[b"nodes"], is_ipv6=False)) == 8


def test_bep5_get_peers_without_peers_tells_nodes_and_a_token() -> None:
    answer = Asked().values(b"get_peers", {b"info_hash": HASH, b"pad": PADDING})
    assert set(answer.values) == {b"id", b"nodes", b"token"}


@pytest.mark.parametrize("is_ipv6", [False, True])
def test_bep5_announced_peers_are_told_with_nodes(is_ipv6: bool) -> None:
    asked = Asked(is_ipv6=is_ipv6)
    for number in range(5):
        asked.announce(number)
    answer = asked.values(b"get_peers", {b"info_hash": HASH, b"pad": PADDING})
    values = answer.values[b"values"]
    assert isinstance(values, list)
    assert len(values) == 5
    assert {len(each) for each in values if isinstance(each, bytes)} == {18 if is_ipv6 else 6}
    assert decode_nodes(
        answer.values[b"nodes6" if is_ipv6 else b"nodes"], is_ipv6=is_ipv6
    ) == asked.table.closest(HASH, 8)


@pytest.mark.parametrize(
    ("arguments", "port"),
    [
        ({b"port": 5000}, 5000),
        ({b"port": 5000, b"implied_port": 0}, 5000),
        ({b"port": 5000, b"implied_port": 1}, ADDRESS.port),
        ({b"implied_port": 1}, ADDRESS.port),
    ],
)
def test_bep5_port_is_told_or_implied(arguments, port: int) -> None:
    asked = Asked()
    asked.values(b"announce_peer", {b"info_hash": HASH, b"token": asked.token(), **arguments})
    answer = asked.values(b"get_peers", {b"info_hash": HASH})
    assert answer.values[b"values"] == [compact_address(PeerAddress(ADDRESS.host, port))]


@pytest.mark.parametrize(
    "change",
    [
        {b"token": b"invented"},
        {b"token": 7},
        {b"info_hash": b"x" * 20},
        {b"info_hash": b"short"},
        {b"port": 0},
        {b"port": 65_536},
        {b"port": -1},
        {b"port": b"6881"},
    ],
    ids=str,
)
def test_bep5_bad_announce_is_refused(change) -> None:
    asked = Asked()
    good = {b"info_hash": HASH, b"port": 1, b"token": asked.token()}
    assert asked.failure(b"announce_peer", good | change) == 203
    assert len(asked.responder.handlers.peers) == 0


def test_bep5_announce_without_port_is_refused() -> None:
    asked = Asked()
    assert asked.failure(b"announce_peer", {b"info_hash": HASH, b"token": asked.token()}) == 203


def test_c2_announce_of_one_address_for_too_many_torrents_is_refused() -> None:
    asked = Asked(replace(QUIET, max_torrents_per_ip=1))
    for key, is_taken in ((HASH, True), (b"x" * 20, False)):
        arguments = {b"info_hash": key, b"port": 1, b"token": asked.token(key)}
        answer = asked.ask(b"announce_peer", arguments)
        assert isinstance(answer, Response) == is_taken
    assert isinstance(answer, ErrorReply)
    assert answer.code == 202


def test_bep5_token_of_another_address_is_refused() -> None:
    asked = Asked()
    arguments = {b"info_hash": HASH, b"port": 1, b"token": asked.token()}
    other = PeerAddress("192.0.2.2", ADDRESS.port)
    assert asked.failure(b"announce_peer", arguments, address=other) == 203
    another_port = PeerAddress(ADDRESS.host, 9)
    assert isinstance(asked.ask(b"announce_peer", arguments, address=another_port), Response)


@pytest.mark.parametrize("method", [b"find_node", b"get_peers", b"get", b"sample_infohashes"])
@pytest.mark.parametrize("key", [b"", b"x" * 19, b"x" * 21, 7, [], {}])
def test_bep5_key_of_another_form_is_refused(method: bytes, key) -> None:
    assert Asked().failure(method, {b"target": key, b"info_hash": key}) == 203


def test_bep5_unknown_method_is_refused() -> None:
    assert Asked().failure(b"vote", {}) == 204


@pytest.mark.parametrize("name", [b"target", b"info_hash"])
def test_unknown_method_with_a_key_is_answered_with_nodes(name: bytes) -> None:
    asked = Asked()
    answer = asked.values(b"vote", {name: HASH, b"pad": PADDING})
    assert decode_nodes(answer.values[b"nodes"], is_ipv6=False) == asked.table.closest(HASH, 8)


def test_bep33_seeds_are_known_and_left_out_where_wanted() -> None:
    asked = Asked()
    for number in range(20):
        asked.announce(number, is_seed=number < 15)
    values = asked.values(b"get_peers", {b"info_hash": HASH, b"noseed": 1}).values[b"values"]
    assert isinstance(values, list)
    leeches = {
        compact_address(PeerAddress(f"30.0.0.{number + 1}", 6881)) for number in range(15, 20)
    }
    assert leeches <= {each for each in values if isinstance(each, bytes)}


def test_bep33_scrape_tells_both_filters() -> None:
    asked = Asked()
    for number in range(30):
        asked.announce(number, is_seed=number < 10)
    asked.responder.prove(ADDRESS.host, 0.0)
    answer = asked.values(b"get_peers", {b"info_hash": HASH, b"scrape": 1})
    seeds, others = answer.values[b"BFsd"], answer.values[b"BFpe"]
    assert isinstance(seeds, bytes)
    assert isinstance(others, bytes)
    assert (round(ScrapeFilter(seeds).estimate()), round(ScrapeFilter(others).estimate())) == (
        10,
        20,
    )


@pytest.mark.parametrize("padding", range(0, 200, 20))
def test_bep33_scrape_without_room_for_both_filters_tells_neither(padding: int) -> None:
    asked = Asked()
    asked.announce(1)
    arguments = {b"info_hash": HASH, b"scrape": 1, b"zz": b"x" * padding}
    answer = asked.values(b"get_peers", arguments)
    assert (b"BFsd" in answer.values) == (b"BFpe" in answer.values) == (padding >= 120)
    assert b"values" in answer.values


def test_bep33_scrape_of_an_unknown_torrent_tells_none() -> None:
    asked = Asked()
    asked.responder.prove(ADDRESS.host, 0.0)
    answer = asked.values(b"get_peers", {b"info_hash": HASH, b"scrape": 1})
    assert b"BFsd" not in answer.values


def put(asked: Asked, item: MutableItem) -> dict[bytes, Any]:
    """Return the arguments of a "put" as its sender makes them."""
    arguments: dict[bytes, Any] = {
        b"k": item.key,
        b"seq": item.sequence,
        b"sig": item.signature,
        b"token": asked.token(item.target),
        b"v": item.value,
    }
    return arguments | ({b"salt": item.salt} if item.salt else {})


def test_bep44_immutable_value_is_put_and_got() -> None:
    asked = Asked()
    target = immutable_target(VALUE)
    first = asked.values(b"get", {b"target": target})
    assert b"v" not in first.values
    asked.values(b"put", {b"token": first.values[b"token"], b"v": VALUE})
    answer = asked.values(b"get", {b"target": target})
    assert answer.value == VALUE
    assert not answer.values.keys() & {b"k", b"seq", b"sig"}
    assert b"nodes" in answer.values


def test_bep44_value_is_kept_as_it_was_spelled() -> None:
    asked = Asked()
    unsorted = Bencoded(b"d1:bi1e1:ai2ee")
    token = asked.token(immutable_target(unsorted))
    asked.values(b"put", {b"token": token, b"v": unsorted})
    assert asked.values(b"get", {b"target": immutable_target(unsorted)}).value == unsorted


@pytest.mark.parametrize("salt", [b"", b"foobar", b"s" * 64])
def test_bep44_mutable_value_is_put_and_got(salt: bytes) -> None:
    asked = Asked()
    item = sign_item(SEED, VALUE, 1, salt=salt)
    asked.values(b"put", put(asked, item))
    answer = asked.values(b"get", {b"target": item.target, b"pad": PADDING})
    assert answer.value == item.value
    assert answer.values[b"k"] == item.key
    assert answer.values[b"seq"] == item.sequence
    assert answer.values[b"sig"] == item.signature


@pytest.mark.parametrize(("known", "is_told"), [(0, True), (1, False), (2, False), (b"1", True)])
def test_bep44_version_that_is_known_is_not_told_again(known, is_told: bool) -> None:
    asked = Asked()
    item = sign_item(SEED, VALUE, 1)
    asked.values(b"put", put(asked, item))
    answer = asked.values(b"get", {b"target": item.target, b"seq": known, b"pad": PADDING})
    assert answer.values[b"seq"] == 1
    assert (b"v" in answer.values, b"sig" in answer.values) == (is_told, is_told)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({b"token": b"invented"}, 203),
        ({b"k": b"short"}, 203),
        ({b"k": 7}, 203),
        ({b"seq": b"1"}, 203),
        ({b"seq": -1}, 203),
        ({b"cas": b"1"}, 203),
        ({b"sig": b"short"}, 206),
        ({b"sig": bytes(64)}, 206),
        ({b"seq": 2}, 206),
        ({b"v": Bencoded(b"i1e")}, 206),
        ({b"v": Bencoded(b"1000:" + b"x" * 1_000)}, 205),
        ({b"salt": b"s" * 65}, 207),
        ({b"salt": 7}, 207),
    ],
    ids=str,
)
def test_bep44_bad_put_is_refused(change, code: int) -> None:
    asked = Asked()
    arguments = put(asked, sign_item(SEED, VALUE, 1))
    assert asked.failure(b"put", arguments | change) == code
    assert len(asked.responder.handlers.items) == 0


def test_bep44_put_without_a_value_is_refused() -> None:
    asked = Asked()
    assert asked.failure(b"put", {b"token": asked.token()}) == 203


def test_bep44_immutable_put_needs_the_token_of_its_target() -> None:
    asked = Asked()
    assert asked.failure(b"put", {b"token": asked.token(), b"v": VALUE}) == 203


def test_bep44_value_of_a_thousand_bytes_is_taken() -> None:
    asked = Asked()
    value = Bencoded(b"996:" + b"x" * 996)
    asked.values(b"put", {b"token": asked.token(immutable_target(value)), b"v": value})
    assert asked.values(b"get", {b"target": immutable_target(value)}).value == value


@pytest.mark.parametrize(("sequence", "cas", "code"), [(4, None, 302), (6, 4, 301)])
def test_bep44_order_of_versions_is_kept(sequence: int, cas: int | None, code: int) -> None:
    asked = Asked()
    asked.values(b"put", put(asked, sign_item(SEED, VALUE, 5)))
    arguments = put(asked, sign_item(SEED, VALUE, sequence))
    if cas is not None:
        arguments[b"cas"] = cas
    assert asked.failure(b"put", arguments) == code


def test_bep46_torrent_that_is_updated_is_found_by_key_and_salt() -> None:
    asked = Asked()
    item = sign_item(SEED, Bencoded(b"d2:ih20:" + HASH + b"e"), 1, salt=b"n")
    asked.values(b"put", put(asked, item))
    answer = asked.values(b"get", {b"target": mutable_target(item.key, b"n"), b"pad": PADDING})
    assert answer.values[b"v"] == {b"ih": HASH}


def test_bep51_sample_is_told_with_its_number_interval_and_nodes() -> None:
    asked = Asked()
    for number in range(40):
        asked.announce(number, key=number.to_bytes(20, "big"))
    answer = asked.values(b"sample_infohashes", {b"target": HASH, b"pad": PADDING})
    samples = answer.values[b"samples"]
    assert isinstance(samples, bytes)
    assert len(samples) == 20 * asked.config.max_samples
    assert answer.values[b"num"] == 40
    assert answer.values[b"interval"] == 21_600
    assert len(decode_nodes(answer.values[b"nodes"], is_ipv6=False)) == 8


def test_bep51_sample_of_nothing_is_told_too() -> None:
    answer = Asked().values(b"sample_infohashes", {b"target": HASH})
    assert (answer.values[b"samples"], answer.values[b"num"]) == (b"", 0)


def test_bep5_query_alone_changes_no_table() -> None:
    asked = Asked()
    before = asked.table.nodes()
    asked.values(b"find_node", {b"target": ASKING})
    assert asked.table.nodes() == before
    assert asked.table.questionable(0.0) == []
