"""Whether a query is answered and with how much (row C1), read-only nodes (BEP 43)."""

import random
from contextlib import suppress
from dataclasses import replace
from functools import cache
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.dht_queries import ADDRESS, ASKING, HASH, PADDING, QUIET, Asked, filled_table
from torrent_engine.base.config import DhtConfig
from torrent_engine.base.errors import KrpcError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.protocol.dht.items import immutable_target
from torrent_engine.protocol.dht.krpc import (
    Bencoded,
    ErrorReply,
    Query,
    decode_message,
    decode_nodes,
    encode_query,
)

BIG = Bencoded(b"990:" + b"x" * 990)
VICTIM = PeerAddress("203.0.113.9", 53)


def loaded(*, is_ipv6: bool = False) -> Asked:
    """Return a node that has much to tell of everything."""
    asked = Asked(QUIET, is_ipv6=is_ipv6)
    asked.responder.handlers.other_table = filled_table(is_ipv6=not is_ipv6)
    for number in range(100):
        asked.announce(number)
        asked.announce(number + 200, key=number.to_bytes(20, "big"))
    asked.values(b"put", {b"token": asked.token(immutable_target(BIG)), b"v": BIG})
    return asked


@cache
def shared(*, is_ipv6: bool = False) -> Asked:
    """Return the same for all tests that leave it as it is."""
    return loaded(is_ipv6=is_ipv6)


GREEDY: dict[str, tuple[bytes, dict[bytes, Any]]] = {
    "ping": (b"ping", {}),
    "find_node": (b"find_node", {b"target": HASH}),
    "find_node_of_both": (b"find_node", {b"target": HASH, b"want": [b"n4", b"n6"]}),
    "get_peers": (b"get_peers", {b"info_hash": HASH}),
    "get_peers_of_nothing": (b"get_peers", {b"info_hash": b"x" * 20}),
    "scrape": (b"get_peers", {b"info_hash": HASH, b"scrape": 1, b"want": [b"n4", b"n6"]}),
    "announce_peer": (b"announce_peer", {b"info_hash": HASH, b"port": 1, b"token": b"x"}),
    "get": (b"get", {b"target": immutable_target(BIG)}),
    "put": (b"put", {b"token": b"x", b"v": Bencoded(b"i1e")}),
    "sample_infohashes": (b"sample_infohashes", {b"target": HASH}),
    "unknown": (b"x", {}),
    "unknown_with_target": (b"x", {b"target": HASH, b"want": [b"n4", b"n6"]}),
}


@pytest.mark.parametrize("is_ipv6", [False, True])
@pytest.mark.parametrize(("method", "arguments"), GREEDY.values(), ids=GREEDY)
@pytest.mark.parametrize("padding", [0, 1, 50, 200, 400, 1_200])
def test_c1_answer_to_who_may_be_forged_is_at_most_three_times_the_query(
    method, arguments, padding: int, is_ipv6: bool
) -> None:
    asked = shared(is_ipv6=is_ipv6)
    victim = PeerAddress("2001:db8:bad::1", 53) if is_ipv6 else VICTIM
    asked.ask(method, arguments | {b"zz": b"x" * padding}, address=victim)
    assert asked.reply is not None
    assert len(asked.reply) <= min(3 * len(asked.request), 1_400)


@pytest.mark.parametrize("transaction", [b"", b"t", b"t" * 9, b"t" * 10, b"t" * 64])
@pytest.mark.parametrize(("method", "arguments"), GREEDY.values(), ids=GREEDY)
def test_c1_bound_holds_for_every_transaction_id(method, arguments, transaction: bytes) -> None:
    asked = shared()
    asked.ask(method, arguments, address=VICTIM, transaction=transaction)
    assert asked.reply is not None
    assert len(asked.reply) <= 3 * len(asked.request)


def test_c1_short_query_of_a_stranger_still_gets_most_of_the_nodes() -> None:
    asked = Asked()
    answer = asked.values(b"find_node", {b"target": HASH})
    assert len(decode_nodes(answer.values[b"nodes"], is_ipv6=False)) >= 7
    answer = asked.values(b"get_peers", {b"info_hash": HASH})
    assert len(decode_nodes(answer.values[b"nodes"], is_ipv6=False)) >= 7


def test_c1_short_query_of_a_stranger_gets_peers_and_nodes() -> None:
    values = loaded().values(b"get_peers", {b"info_hash": HASH}, address=VICTIM).values
    assert len(decode_nodes(values[b"nodes"], is_ipv6=False)) >= 3
    assert isinstance(values[b"values"], list)
    assert len(values[b"values"]) >= 10


def test_bep32_only_a_value_of_bep44_gets_more_than_1024_bytes() -> None:
    asked = loaded()
    asked.responder.prove(VICTIM.host, 0.0)
    value = asked.values(b"get", {b"target": immutable_target(BIG)}, address=VICTIM)
    assert value.value == BIG
    assert asked.reply is not None
    assert len(asked.reply) > 1_024
    scrape = asked.values(*GREEDY["scrape"], address=VICTIM).values
    assert scrape.keys() >= {b"BFsd", b"BFpe", b"values", b"nodes", b"nodes6"}
    assert asked.reply is not None
    assert 3 * len(asked.request) < len(asked.reply) <= 1_024


def test_c1_who_brought_a_token_gets_more_from_then_on() -> None:
    asked = loaded()
    get = {b"target": immutable_target(BIG)}
    fresh = PeerAddress("198.51.100.7", 6881)
    assert asked.values(b"get", get, address=fresh).value is None
    announce = {b"info_hash": HASH, b"port": 1, b"token": asked.token(address=fresh)}
    asked.values(b"announce_peer", announce, address=fresh)
    assert asked.values(b"get", get, address=fresh).value == BIG


def test_c1_bad_token_proves_nothing() -> None:
    asked = loaded()
    asked.failure(
        b"announce_peer", {b"info_hash": HASH, b"port": 1, b"token": b"x"}, address=VICTIM
    )
    asked.values(*GREEDY["get"], address=VICTIM)
    assert asked.reply is not None
    assert len(asked.reply) <= 3 * len(asked.request)


def test_c1_forged_queries_of_one_that_is_proven_get_ten_large_answers_a_minute() -> None:
    asked = loaded()
    asked.responder.prove(VICTIM.host, 0.0)
    sizes = []
    for _ in range(30):
        asked.values(*GREEDY["get"], address=VICTIM, now=1.0)
        sizes.append(len(asked.reply or b"") > 3 * len(asked.request))
    assert sizes == [True] * 10 + [False] * 20


def test_c1_flood_of_forged_queries_is_not_amplified_even_without_throttle_and_budget() -> None:
    asked = loaded()
    kinds = list(GREEDY.values())
    bytes_in = bytes_out = 0
    for number in range(2_000):
        asked.ask(*kinds[number % len(kinds)], address=VICTIM, now=number / 1_000)
        bytes_in += len(asked.request)
        bytes_out += len(asked.reply or b"")
    assert 0 < bytes_out <= 3 * bytes_in


def test_c1_flood_of_forged_queries_ends_in_silence() -> None:
    asked = Asked(DhtConfig())
    bytes_in = bytes_out = 0
    for number in range(10_000):
        asked.ask(*GREEDY["find_node"], address=VICTIM, now=number / 1_000)
        bytes_in += len(asked.request)
        bytes_out += len(asked.reply or b"")
    assert 0 < bytes_out < bytes_in / 100


def test_c1_flood_from_many_forged_addresses_stays_in_the_upload_budget() -> None:
    asked = Asked(DhtConfig())
    bytes_out = 0
    for number in range(5_000):
        victim = PeerAddress(f"203.0.{number // 250}.{number % 250 + 1}", 53)
        asked.ask(*GREEDY["find_node"], address=victim, now=number / 1_000)
        bytes_out += len(asked.reply or b"")
    assert 0 < bytes_out <= 8_000 * 5 + 24_000


def test_c1_sixth_query_in_a_second_is_not_answered() -> None:
    asked = Asked(DhtConfig())
    answers = [asked.ask(b"ping", {}) is not None for _ in range(8)]
    assert answers == [True] * 5 + [False] * 3
    assert (asked.responder.answered, asked.responder.unanswered) == (5, 3)


def test_c1_silence_can_be_seen_before_decoding() -> None:
    asked = Asked(DhtConfig())
    assert not asked.responder.is_silent(ADDRESS.host, 0.0)
    for _ in range(51):
        asked.ask(b"ping", {})
    assert asked.responder.is_silent(ADDRESS.host, 0.0)
    assert not asked.responder.is_silent("192.0.2.2", 0.0)


MALFORMED_QUERY = b"d1:ade1:q4:ping1:t2:aa1:y1:qe"


def refused(asked: Asked, data: bytes, *, now: float = 0.0) -> bytes | None:
    with pytest.raises(KrpcError) as caught:
        decode_message(data)
    return asked.responder.refuse(caught.value, ADDRESS, request_bytes=len(data), now=now)


def test_bep5_malformed_query_is_answered_with_an_error() -> None:
    data = refused(Asked(), MALFORMED_QUERY)
    assert data is not None
    assert decode_message(data) == ErrorReply(b"aa", 203, "query without node id")


@pytest.mark.parametrize("data", [b"", b"d1:rde1:t2:aa1:y1:re", b"d1:y1:qe"])
def test_bep5_malformed_answer_meets_silence(data: bytes) -> None:
    assert refused(Asked(), data) is None


def test_c1_malformed_queries_are_throttled_too() -> None:
    asked = Asked(DhtConfig())
    assert sum(refused(asked, MALFORMED_QUERY) is not None for _ in range(50)) == 5


def test_c1_error_that_is_larger_than_three_queries_is_not_sent() -> None:
    assert refused(Asked(replace(QUIET, max_amplification=1.0)), b"d1:t0:1:y1:qe") is None


def test_bep43_read_only_node_answers_nobody() -> None:
    asked = Asked(replace(QUIET, read_only=True))
    assert asked.ask(b"ping", {}) is None
    assert refused(asked, MALFORMED_QUERY) is None
    assert asked.responder.is_silent(ADDRESS.host, 0.0)


def test_bep43_read_only_sender_is_answered_as_usual() -> None:
    asked = Asked()
    data = encode_query(b"aa", b"find_node", ASKING, {b"target": HASH}, is_read_only=True)
    query = decode_message(data)
    assert isinstance(query, Query)
    assert asked.responder.answer(query, ADDRESS, request_bytes=len(data), now=0.0) is not None


SHARED = loaded()
NUMBERS = count()
_keys = st.sampled_from(
    b"target info_hash token port v k seq sig salt cas want scrape noseed seed implied_port".split()
)
_plain: st.SearchStrategy[Any] = (
    st.integers(-2, 70_000) | st.binary(max_size=70) | st.sampled_from([HASH, b"n6"])
)
_any = _plain | st.lists(_plain, max_size=3) | st.dictionaries(st.binary(max_size=3), _plain)


@settings(max_examples=300)
@given(
    st.sampled_from(
        b"ping find_node get_peers announce_peer get put sample_infohashes vote".split()
    ),
    st.dictionaries(_keys, _any, max_size=8),
    st.binary(max_size=64),
    st.booleans(),
)
def test_c1_every_query_is_answered_within_its_bound_and_nothing_escapes(
    method: bytes, arguments, transaction: bytes, has_token: bool
) -> None:
    address = PeerAddress(f"198.18.{next(NUMBERS) % 62_500 // 250}.{next(NUMBERS) % 250}", 53)
    if has_token:
        arguments = arguments | {b"token": SHARED.token(address=address)}
    SHARED.ask(method, arguments, address=address, transaction=transaction)
    bound = 1_400 if has_token else min(3 * len(SHARED.request), 1_400)
    assert SHARED.reply is None or len(SHARED.reply) <= bound


@given(st.data())
def test_mutated_queries_raise_nothing_but_krpc_error(data: st.DataObject) -> None:
    method, arguments = data.draw(st.sampled_from(list(GREEDY.values())))
    raw = bytearray(encode_query(b"aa", method, ASKING, arguments))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    reply: bytes | None = None
    with suppress(KrpcError):
        query = decode_message(bytes(raw))
        if isinstance(query, Query):
            reply = SHARED.responder.answer(query, VICTIM, request_bytes=len(raw), now=0.0)
    assert reply is None or len(reply) <= 1_400


def test_reply_is_never_an_accident_of_the_padding() -> None:
    asked = loaded()
    rng = random.Random(4)
    for _ in range(300):
        method, arguments = rng.choice(list(GREEDY.values()))
        asked.ask(method, arguments | {b"pad": PADDING[: rng.randrange(400)]}, address=VICTIM)
        assert asked.reply is not None
        assert len(asked.reply) <= 3 * len(asked.request)
