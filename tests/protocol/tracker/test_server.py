"""The tracker's side: swarms, HTTP and UDP answers, malformed requests."""

import random
from contextlib import suppress
from dataclasses import replace
from struct import pack, unpack_from
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.tracker import TARGETS
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import InfoHash, PeerAddress, PeerId
from torrent_engine.codec.bencode import decode
from torrent_engine.protocol.tracker import http_announce, server, udp_announce, udp_server
from torrent_engine.protocol.tracker.announce import (
    AnnounceEvent,
    AnnounceRequest,
    AnnounceTotals,
    ScrapeCounts,
)
from torrent_engine.protocol.tracker.server import HttpTracker
from torrent_engine.protocol.tracker.swarms import SwarmLimits, SwarmStore
from torrent_engine.protocol.tracker.udp_server import UdpTracker

INFO_HASH = InfoHash(bytes(range(20)))
FIRST = PeerAddress("192.0.2.1", 40001)
SECOND = PeerAddress("192.0.2.2", 40002)
V6 = PeerAddress("2001:db8::1", 40003)


def store(**limits):
    return SwarmStore(interval_s=100.0, rng=random.Random(1), limits=SwarmLimits(**limits))


def request(name, port=7000, left=1, **changes):
    totals = AnnounceTotals(uploaded_bytes=0, downloaded_bytes=0, left_bytes=left)
    fields = {"info_hash": INFO_HASH, "peer_id": PeerId(name.encode() * 20), "port": port}
    return AnnounceRequest(totals=totals, **{**fields, **changes})


def addresses(peers):
    return {peer.address for peer in peers}


def test_bep3_a_peer_is_given_the_others():
    swarms = store()
    assert swarms.announce(request("a"), FIRST, now=0.0) == []
    assert addresses(swarms.announce(request("b"), SECOND, now=1.0)) == {FIRST}
    assert addresses(swarms.announce(request("a"), FIRST, now=2.0)) == {SECOND}


def test_bep3_a_peer_is_not_given_itself_under_another_address():
    swarms = store()
    swarms.announce(request("a"), FIRST, now=0.0)
    assert swarms.announce(request("a"), V6, now=0.0) == []


def test_bep3_a_seed_is_given_leeches_only():
    swarms = store()
    swarms.announce(request("s", left=0), FIRST, now=0.0)
    first = swarms.announce(request("t", left=0), SECOND, now=0.0)
    assert [peer.address for peer in first] == [FIRST]  # it may be aria2 without metadata
    assert swarms.announce(request("t", left=0), SECOND, now=0.0) == []
    assert addresses(swarms.announce(request("l"), V6, now=0.0)) == {FIRST, SECOND}


def test_bep3_stopped_removes_a_peer():
    swarms = store()
    swarms.announce(request("a"), FIRST, now=0.0)
    assert swarms.announce(request("a", event=AnnounceEvent.STOPPED), FIRST, now=1.0) == []
    swarms.announce(request("a", event=AnnounceEvent.STOPPED, info_hash=b"?" * 20), FIRST, now=1.0)
    assert swarms.scrape(INFO_HASH, now=1.0) == ScrapeCounts(seeds=0, leeches=0, downloads=0)


def test_bep48_completed_is_counted_once_for_a_peer_that_was_a_leech():
    swarms = store()
    done = request("a", left=0, event=AnnounceEvent.COMPLETED)
    swarms.announce(request("a"), FIRST, now=0.0)
    swarms.announce(done, FIRST, now=1.0)
    swarms.announce(done, FIRST, now=2.0)
    swarms.announce(request("b", left=0, event=AnnounceEvent.COMPLETED), SECOND, now=2.0)
    assert swarms.scrape(INFO_HASH, now=2.0) == ScrapeCounts(seeds=2, leeches=0, downloads=1)


def test_a_silent_peer_is_forgotten():
    swarms = store()
    swarms.announce(request("a"), FIRST, now=0.0)
    swarms.announce(request("b"), SECOND, now=200.0)
    assert swarms.scrape(INFO_HASH, now=251.0).leeches == 1
    assert swarms.scrape(INFO_HASH, now=600.0).leeches == 0
    assert swarms.totals() == (0, 0)


def test_numwant_is_obeyed_and_draws_at_random():
    swarms = store()
    for n in range(50):
        swarms.announce(request(chr(65 + n)), PeerAddress("192.0.2.9", n + 1), now=0.0)
    draws = [
        frozenset(addresses(swarms.announce(request("z", numwant=5), FIRST, now=0.0)))
        for _ in range(5)
    ]
    assert {len(draw) for draw in draws} == {5}
    assert len(set(draws)) > 1
    assert swarms.announce(request("z", numwant=0), FIRST, now=0.0) == []
    assert swarms.announce(request("z", numwant=-1), FIRST, now=0.0) == []


def test_bounds_of_the_store_hold():
    swarms = store(max_torrents=1, max_peers_per_torrent=2)
    for n in range(5):
        swarms.announce(request(chr(65 + n)), PeerAddress("192.0.2.9", n + 1), now=0.0)
    assert swarms.totals() == (1, 2)
    other = InfoHash(b"?" * 20)
    swarms.announce(request("z", info_hash=other), FIRST, now=0.0)
    assert swarms.totals() == (1, 1)
    assert swarms.scrape(other, now=0.0).leeches == 1


# HTTP


def target(name="a", path="/announce", **extra):
    fields = {"port": 7000, "left": 1, "compact": 1, **extra}
    query = "&".join(f"{key}={value}" for key, value in fields.items() if value is not None)
    info_hash = quote_from_bytes(INFO_HASH, safe="")
    return f"{path}?info_hash={info_hash}&peer_id={name * 20}&{query}".encode()


def http(tracker, raw, source=FIRST, now=0.0):
    answer = tracker.handle(raw, source, now=now)
    assert answer.status == 200
    return decode(answer.body)


def tracker(**limits):
    return HttpTracker(store(**limits), interval_s=1800)


def test_bep23_compact_announce_is_answered_compactly():
    t = tracker()
    http(t, target("a"), FIRST)
    http(t, target("v", port=7001), V6)
    fields = http(t, target("b"), SECOND)
    assert fields[b"peers"] == b"\xc0\x00\x02\x01" + pack(">H", 7000)
    assert fields[b"peers6"].endswith(pack(">H", 7001))
    assert fields[b"interval"] == 1800
    assert (fields[b"complete"], fields[b"incomplete"]) == (0, 3)
    assert fields[b"external ip"] == b"\xc0\x00\x02\x02"


@pytest.mark.parametrize("with_id", [True, False])
def test_bep3_plain_announce_is_answered_with_dictionaries(with_id):
    t = tracker()
    http(t, target("a"), FIRST)
    fields = http(t, target("b", compact=0, no_peer_id=None if with_id else 1), SECOND)
    expected = {b"ip": b"192.0.2.1", b"port": 7000}
    assert fields[b"peers"] == [{**expected, **({b"peer id": b"a" * 20} if with_id else {})}]


def test_ip_field_is_believed_of_loopback_clients_only():
    t = tracker()
    http(t, target("a", ip="198.51.100.7"), PeerAddress("127.0.0.1", 1))
    http(t, target("b", ip="198.51.100.8"), SECOND)
    http(t, target("c", ip="nonsense"), PeerAddress("::1", 1))
    peers = http(t, target("z", compact=0), FIRST)[b"peers"]
    assert {peer[b"ip"] for peer in peers} == {b"198.51.100.7", b"192.0.2.2", b"::1"}


def test_bep48_scrape_is_answered():
    t = tracker()
    http(t, target("a", left=0))
    fields = http(t, target(path="/scrape"))
    assert fields == {b"files": {INFO_HASH: {b"complete": 1, b"downloaded": 0, b"incomplete": 0}}}


def test_stats_and_unknown_paths():
    t = tracker()
    http(t, target("a"))
    http(t, b"/announce?port=1")
    assert b"peers 1\nhttp_announces 1\n" in t.handle(b"/stats", FIRST, now=0.0).body
    assert b"http_refused 1\n" in t.handle(b"/stats", FIRST, now=0.0).body
    assert t.handle(b"/etc/passwd", FIRST, now=0.0).status == 404


def test_negative_left_and_numwant_mean_unknown():
    announce = server.parse_announce(target(left=-1, numwant=-1).partition(b"?")[2])
    assert announce.request.totals.left_bytes == 1
    assert announce.request.numwant == 50


def test_numwant_is_capped():
    announce = server.parse_announce(target(numwant=10**9).partition(b"?")[2])
    assert announce.request.numwant == 200


def test_our_own_announce_is_understood():
    sent = request("p", port=6881, left=5, event=AnnounceEvent.COMPLETED)
    query = http_announce.announce_target("/announce", sent).partition("?")[2]
    announce = server.parse_announce(query.encode())
    assert announce.request == replace(sent, key=0)
    assert (announce.is_compact, announce.wants_peer_ids) == (True, False)


BAD_QUERIES = {
    "empty": b"",
    "no_info_hash": b"peer_id=" + b"a" * 20 + b"&port=1",
    "short_info_hash": target().partition(b"?")[2].replace(b"%13", b""),
    "no_peer_id": target(name="").partition(b"?")[2],
    "no_port": target(port=None).partition(b"?")[2],
    "port_zero": target(port=0).partition(b"?")[2],
    "port_too_large": target(port=65536).partition(b"?")[2],
    "port_text": target(port="x").partition(b"?")[2],
    "port_negative": target(port=-1).partition(b"?")[2],
    "port_unicode_digit": target(port="%C2%B2").partition(b"?")[2],
    "left_digits": target(left="9" * 5000).partition(b"?")[2],
    "left_text": target(left="-x" * 2).partition(b"?")[2] + b"&uploaded=x",
    "event": target(event="exploded").partition(b"?")[2],
    "fields": b"&".join([b"a=b"] * 300),
    "length": b"a" * 10_000,
}


@pytest.mark.parametrize("query", BAD_QUERIES.values(), ids=BAD_QUERIES.keys())
def test_bep3_malformed_announce_is_a_failure_reason(query):
    with pytest.raises(RemoteProtocolError):
        server.parse_announce(query)
    assert b"failure reason" in http(tracker(), b"/announce?" + query)


@pytest.mark.parametrize(
    "query", [b"", b"info_hash=abc", b"&".join([b"info_hash=" + b"a" * 20] * 75)]
)
def test_bep48_malformed_scrape_is_a_failure_reason(query):
    with pytest.raises(RemoteProtocolError):
        server.parse_scrape(query)
    assert b"failure reason" in http(tracker(), b"/scrape?" + query)


@given(st.binary(max_size=200) | st.text("infohsapertlvcmw_&=%0123456789+-").map(str.encode))
def test_bep3_any_query_raises_nothing_but_protocol_errors(query):
    for parser in (server.parse_announce, server.parse_scrape):
        with suppress(RemoteProtocolError):
            parser(query)
    for path in (b"/announce?", b"/scrape?", b"", b"/"):
        assert tracker().handle(path + query, FIRST, now=0.0).status in {200, 404}


# UDP


def udp(**limits):
    return UdpTracker(store(**limits), interval_s=1800, secret=b"k" * 32)


def connection_id(t, source=FIRST, now=0.0):
    answer = t.handle(udp_announce.encode_connect(7), source, now=now)
    assert unpack_from(">II", answer) == (0, 7)
    return udp_announce.parse_connect_response(answer)


def announced(t, sent, source=FIRST, now=0.0):
    packet = udp_announce.encode_announce(
        sent, connection_id=connection_id(t, source, now), transaction_id=8, target="/announce"
    )
    answer = t.handle(packet, source, now=now)
    assert unpack_from(">II", answer) == (1, 8)
    return udp_announce.parse_announce_response(answer, v6=":" in source.host, max_peers=999)


def test_bep15_announce_is_answered():
    t = udp()
    announced(t, request("a", left=0), FIRST)
    response = announced(t, request("b"), SECOND)
    assert response.peers == (PeerAddress(FIRST.host, 7000),)
    assert (response.interval_s, response.seeds, response.leeches) == (1800.0, 1, 1)


@pytest.mark.parametrize("event", [4, 5, 2**32 - 1], ids=["paused", "unknown", "minus one"])
def test_bep21_an_event_without_a_number_of_bep_15_is_none(event):
    t = udp()
    announced(t, request("a"), FIRST)
    packet = udp_announce.encode_announce(
        request("b"), connection_id=connection_id(t, SECOND), transaction_id=8
    )
    answer = t.handle(packet[:80] + pack(">I", event) + packet[84:], SECOND, now=0.0)
    response = udp_announce.parse_announce_response(answer, v6=False, max_peers=999)
    assert response.peers == (PeerAddress(FIRST.host, 7000),)
    assert (response.seeds, response.leeches) == (0, 2)


def test_bep15_ipv6_clients_get_ipv6_peers():
    t = udp()
    announced(t, request("a"), FIRST)
    announced(t, request("v"), V6)
    response = announced(t, request("w", port=7001), PeerAddress("2001:db8::2", 5))
    assert response.peers == (PeerAddress(V6.host, 7000),)


def test_bep15_numwant_minus_one_is_the_default_and_answers_fit_a_packet():
    t = udp()
    for n in range(300):
        announced(t, request(chr(0x21 + n % 90), port=n + 1), V6)
    sent = request("\x7f", port=9000)
    assert len(announced(t, replace(sent, numwant=-1), V6).peers) == 50
    assert len(announced(t, replace(sent, numwant=2**31 - 1), V6).peers) == 76
    assert 20 + 76 * 18 <= 1400


def test_bep15_scrape_is_answered():
    t = udp()
    announced(t, request("a", left=0), FIRST)
    packet = udp_announce.encode_scrape(
        [INFO_HASH, InfoHash(b"?" * 20)], connection_id=connection_id(t), transaction_id=9
    )
    found = udp_announce.parse_scrape_response(
        t.handle(packet, FIRST, now=0.0), [INFO_HASH, InfoHash(b"?" * 20)]
    )
    assert found[INFO_HASH] == ScrapeCounts(seeds=1, leeches=0, downloads=0)
    assert found[InfoHash(b"?" * 20)] == ScrapeCounts(seeds=0, leeches=0, downloads=0)


def test_bep15_connection_id_is_good_for_two_minutes_and_one_address():
    t = udp()
    own = connection_id(t, FIRST, now=59.0)

    def works(source, now):
        packet = udp_announce.encode_announce(request("a"), connection_id=own, transaction_id=1)
        return t.handle(packet, source, now=now) is not None

    assert works(FIRST, 59.0)
    assert works(FIRST, 59.0 + 120.0)
    assert works(PeerAddress(FIRST.host, 1), 59.0)  # NAT may change the port
    assert not works(FIRST, 59.0 + 180.0)
    assert not works(SECOND, 59.0)


def test_c5_who_sees_nothing_must_guess_every_bit_of_a_connection_id():
    t = udp()
    own = connection_id(t, FIRST, now=0.0)
    for bit in range(64):
        packet = udp_announce.encode_announce(
            request("a"), connection_id=own ^ 1 << bit, transaction_id=1
        )
        assert t.handle(packet, FIRST, now=0.0) is None
    assert t.announces == 0
    other = UdpTracker(store(), interval_s=100, secret=b"another secret")
    packet = udp_announce.encode_announce(request("a"), connection_id=own, transaction_id=1)
    assert other.handle(packet, FIRST, now=0.0) is None


def test_c1_strangers_get_no_more_bytes_than_they_send():
    t = udp()
    for packet in (udp_announce.encode_connect(1), b"", bytes(15), bytes(98), bytes(2000)):
        answer = t.handle(packet, FIRST, now=0.0)
        assert len(answer or b"") <= len(packet)
    assert t.dropped == 4


def test_one_address_gets_some_hundred_answers_a_second_and_keeps_nobody_waiting():
    t = udp()

    def announces(source, now, count=1):
        packet = udp_announce.encode_announce(
            request("a"), connection_id=connection_id(t, source, now=now), transaction_id=1
        )
        return sum(t.handle(packet, source, now=now) is not None for _ in range(count))

    assert announces(FIRST, 0.0, 3_000) == udp_server.MAX_REQUESTS_PER_S
    assert announces(SECOND, 0.5) == 1
    assert announces(FIRST, 1.0) == 1
    spoofed = udp_announce.encode_announce(request("a"), connection_id=7, transaction_id=1)
    for _ in range(3_000):
        t.handle(spoofed, SECOND, now=1.0)
    assert announces(SECOND, 1.0) == 1


def test_one_network_gets_ten_times_the_answers_of_one_address(monkeypatch):
    monkeypatch.setattr(udp_server, "MAX_REQUESTS_PER_S", 5)
    monkeypatch.setattr(udp_server, "MAX_NETWORK_REQUESTS_PER_S", 50)
    t = udp()

    def answers(host, count):
        source = PeerAddress(host, 6881)
        packet = udp_announce.encode_scrape(
            [INFO_HASH], connection_id=connection_id(t, source, now=0.0), transaction_id=1
        )
        return sum(t.handle(packet, source, now=0.0) is not None for _ in range(count))

    assert answers("2001:db8:5::1", 1_000) == 5  # those that are too many do not count
    assert [answers(f"2001:db8:5:{site:x}::1", 5) for site in range(1, 12)] == [5] * 9 + [0] * 2
    assert answers("2001:db8:6::1", 5) == 5


BAD_PACKETS = {
    "announce_short": pack(">II", 1, 1) + bytes(20),
    "announce_port_zero": pack(">II", 1, 1) + bytes(82),
    "scrape_empty": pack(">II", 2, 1),
    "scrape_too_many": pack(">II", 2, 1) + bytes(20 * 75),
    "action": pack(">II", 9, 1),
    "connect_without_magic": pack(">II", 0, 1),
}


@pytest.mark.parametrize("tail", BAD_PACKETS.values(), ids=BAD_PACKETS.keys())
def test_bep15_malformed_request_is_an_error_packet(tail):
    t = udp()
    answer = t.handle(pack(">Q", connection_id(t)) + tail, FIRST, now=0.0)
    assert unpack_from(">II", answer) == (3, 1)
    assert b"(BEP 15)" in answer


@given(st.binary(max_size=200), st.booleans())
def test_bep15_any_packet_is_survived(packet, is_known):
    t = udp()
    if is_known:
        packet = pack(">Q", connection_id(t)) + packet
    answer = t.handle(packet, FIRST, now=0.0)
    assert answer is None or len(answer) >= 8
    for parser in (udp_server.parse_announce, udp_server.parse_scrape):
        with suppress(RemoteProtocolError):
            parser(packet)
    with suppress(RemoteProtocolError):
        udp_server.parse_url_options(bytes(98) + packet)


@pytest.mark.parametrize("size", [0, 1, 300, 700])
def test_bep41_url_options_come_back(size):
    options = udp_announce.encode_url_options("/" * size)
    assert udp_server.parse_url_options(bytes(98) + options) == b"/" * size


def test_bep41_nop_and_unknown_options_are_passed_over():
    options = b"\x01\x01\x07\x02xx\x02\x03/a?\x01\x02\x01b\x00\x02\x05never"
    assert udp_server.parse_url_options(bytes(98) + options) == b"/a?b"
    assert udp_server.parse_url_options(bytes(50)) == b""


@pytest.mark.parametrize("options", [b"\x02", b"\x02\x05abcd", b"\x07", b"\x01\x02\xff"])
def test_bep41_option_past_the_end_is_refused(options):
    with pytest.raises(RemoteProtocolError):
        udp_server.parse_url_options(bytes(98) + options)


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_messages_have_only_declared_outcomes(name):
    target, rng = TARGETS[name], random.Random(name)
    assert [target.check(target.mutated(rng)) for _ in range(250)] == [None] * 250
