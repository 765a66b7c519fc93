"""The HTTP tracker protocol, client side."""

from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.errors import RemoteProtocolError, TrackerRefusedError
from torrent_engine.base.ids import InfoHash, PeerAddress, PeerId
from torrent_engine.codec import bencode
from torrent_engine.protocol.tracker.announce import (
    AnnounceEvent,
    AnnounceRequest,
    AnnounceResponse,
    AnnounceTotals,
    ScrapeCounts,
    merge_responses,
    tracker_text,
)
from torrent_engine.protocol.tracker.http_announce import (
    announce_target,
    parse_announce_response,
    parse_scrape_response,
    scrape_target,
)

INFO_HASH = InfoHash(bytes(range(20)))
PEER_ID = PeerId(b"-TE0100-abcdefgh&=?/")


def request(**changes):
    fields = {
        "info_hash": INFO_HASH,
        "peer_id": PEER_ID,
        "port": 6881,
        "totals": AnnounceTotals(uploaded_bytes=1, downloaded_bytes=2, left_bytes=3),
        "key": 0xBEEF,
    }
    return AnnounceRequest(**{**fields, **changes})


def encode(value: Any) -> bytes:
    return bencode.encode(value)


def parse(body, max_peers=100):
    return parse_announce_response(body, max_peers=max_peers)


def test_bep3_announce_sends_every_field():
    path, _, query = announce_target("/announce", request()).partition("?")
    fields = parse_qs(query, encoding="latin-1", strict_parsing=True)
    assert path == "/announce"
    assert {name: values[0] for name, values in fields.items()} == {
        "info_hash": INFO_HASH.decode("latin-1"),
        "peer_id": PEER_ID.decode("latin-1"),
        "port": "6881",
        "uploaded": "1",
        "downloaded": "2",
        "left": "3",
        "numwant": "50",
        "key": "0000beef",
        "compact": "1",
        "no_peer_id": "1",
    }


@pytest.mark.parametrize("event", list(AnnounceEvent))
def test_bep3_event_is_sent_only_if_there_is_one(event):
    target = announce_target("/announce", request(event=event))
    assert ("event=" in target) == (event is not AnnounceEvent.NONE)
    if event is not AnnounceEvent.NONE:
        assert f"&event={event.name.lower()}" in target


@pytest.mark.parametrize("event", list(AnnounceEvent))
def test_bep21_a_partial_seed_is_paused_where_nothing_happened(event):
    totals = AnnounceTotals(
        uploaded_bytes=1, downloaded_bytes=2, left_bytes=3, is_partial_seed=True
    )
    name = "paused" if event is AnnounceEvent.NONE else event.name.lower()
    query = announce_target("/announce", request(event=event, totals=totals)).partition("?")[2]
    assert parse_qs(query, encoding="latin-1")["event"] == [name]


def test_bep3_tracker_id_is_sent_back():
    assert "&trackerid=a%00%26" in announce_target("/announce", request(tracker_id=b"a\x00&"))


def test_bep3_query_of_the_announce_url_is_kept():
    assert announce_target("/a?passkey=1", request()).startswith("/a?passkey=1&info_hash=%00%01")


def test_bep48_scrape_names_every_torrent():
    target = scrape_target("/scrape", [INFO_HASH, InfoHash(b"a" * 20)])
    assert target.startswith("/scrape?info_hash=%00%01")
    assert target.endswith("&info_hash=" + "a" * 20)


def test_bep23_compact_peers_are_read():
    body = encode({"interval": 1800, "peers": b"\x01\x02\x03\x04\x1a\xe1\x05\x06\x07\x08\x00\x50"})
    response = parse(body)
    assert response.interval_s == 1800
    assert response.peers == (PeerAddress("1.2.3.4", 6881), PeerAddress("5.6.7.8", 80))


def test_bep7_peers6_are_added():
    v6 = bytes.fromhex("20010db8000000000000000000000001") + b"\x00\x50"
    response = parse(encode({"interval": 1, "peers": b"\x01\x02\x03\x04\x00\x50", "peers6": v6}))
    assert response.peers == (PeerAddress("1.2.3.4", 80), PeerAddress("2001:db8::1", 80))


def test_bep3_dictionary_peers_are_read():
    peers = [
        {"ip": "1.2.3.4", "port": 1, "peer id": b"x" * 20},
        {"ip": "2001:db8::1", "port": 2},
        {"ip": "peer.example", "port": 3},
        {"ip": "fe80::1%eth0", "port": 4},
        {"ip": "1.2.3.4", "port": 0},
        {"ip": "1.2.3.4", "port": 70_000},
    ]
    response = parse(encode({"interval": 1, "peers": peers}))
    assert response.peers == (PeerAddress("1.2.3.4", 1), PeerAddress("2001:db8::1", 2))


def test_bep23_port_zero_and_repeated_peers_are_dropped():
    response = parse(
        encode({"peers": b"\x01\x02\x03\x04\x00\x00" + b"\x01\x02\x03\x04\x00\x07" * 3})
    )
    assert response.peers == (PeerAddress("1.2.3.4", 7),)


@pytest.mark.parametrize("as_list", [False, True])
def test_c5_peers_past_the_cap_are_dropped(as_list):
    peers = [{"ip": f"1.2.3.{n}", "port": 1} for n in range(200)]
    blob = b"".join(bytes((1, 2, 3, n, 0, 1)) for n in range(200))
    response = parse(encode({"peers": peers if as_list else blob}), max_peers=7)
    assert len(response.peers) == 7


def test_bep3_optional_fields_are_read():
    fields = {
        "interval": 1800,
        "min interval": 60,
        "complete": 5,
        "incomplete": 6,
        "downloaded": 7,
        "tracker id": "T1",
        "warning message": "careful\x1b[0m",
        "peers": "",
    }
    assert parse(encode(fields)) == AnnounceResponse(
        interval_s=1800,
        peers=(),
        min_interval_s=60,
        seeds=5,
        leeches=6,
        downloads=7,
        tracker_id=b"T1",
        warning="careful [0m",
    )


def test_bep3_nonsense_in_optional_fields_is_as_if_absent():
    fields = {
        "interval": "soon",
        "min interval": -1,
        "complete": -5,
        "incomplete": [],
        "tracker id": 7,
        "warning message": 1,
        "external ip": b"abc",
    }
    assert parse(encode(fields)) == AnnounceResponse(interval_s=None, peers=())


@pytest.mark.parametrize(
    ("raw", "expected"),
    [(b"\x01\x02\x03\x04", "1.2.3.4"), (b"\x00" * 15 + b"\x01", "::1"), (b"1.2.3.4.", None)],
)
def test_bep24_external_ip_is_read(raw, expected):
    assert parse(encode({"external ip": raw})).external_ip == expected


@pytest.mark.parametrize(
    ("retry_in", "expected"),
    [(5, 300.0), ("never", float("inf")), ("7", 420.0), (-1, None), ("soon", None), (None, None)],
)
def test_bep31_retry_in_is_read(retry_in, expected):
    fields = {"failure reason": "go away"}
    if retry_in is not None:
        fields["retry in"] = retry_in
    with pytest.raises(TrackerRefusedError) as caught:
        parse(encode(fields))
    assert caught.value.reason == "go away"
    assert caught.value.retry_in_s == expected


MALFORMED = {
    "empty": b"",
    "html": b"<html>not a tracker</html>",
    "list": b"le",
    "integer": b"i1e",
    "cut": b"d8:intervali18",
    "peer_no_dictionary": encode({"peers": [1]}),
    "peer_without_ip": encode({"peers": [{"port": 1}]}),
    "peer_port_string": encode({"peers": [{"ip": "1.2.3.4", "port": "1"}]}),
    "too_deep": b"d5:peers" + b"l" * 50 + b"e" * 50 + b"e",
    "token_bomb": b"d5:peersl" + b"i0e" * 50_000 + b"ee",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_bep3_malformed_announce_response_is_refused(body):
    with pytest.raises(RemoteProtocolError):
        parse(body)


VALUES = st.recursive(
    st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([b"ip", b"port", b"x"]), inner, max_size=3)
    ),
    max_leaves=12,
)
KEYS = st.sampled_from(
    [b"peers", b"peers6", b"interval", b"failure reason", b"retry in", b"external ip", b"files"]
)
BODIES = st.binary(max_size=300) | st.dictionaries(KEYS, VALUES, max_size=6).map(encode)


@given(BODIES)
def test_any_body_raises_only_declared_errors(body):
    with suppress(RemoteProtocolError, TrackerRefusedError):
        response = parse(body, max_peers=3)
        assert all(0 < peer.port <= 0xFFFF for peer in response.peers)
        assert len(response.peers) <= 3
    with suppress(RemoteProtocolError, TrackerRefusedError):
        parse_scrape_response(body, [INFO_HASH])


def test_bep48_scrape_counts_are_read():
    other = InfoHash(b"o" * 20)
    files = {INFO_HASH: {"complete": 1, "downloaded": 2, "incomplete": 3}, b"?" * 20: {}, other: 5}
    found = parse_scrape_response(encode({"files": files}), [INFO_HASH, other])
    assert found == {INFO_HASH: ScrapeCounts(seeds=1, leeches=3, downloads=2)}


@pytest.mark.parametrize("body", [b"de", encode({"files": []}), b"x"])
def test_bep48_malformed_scrape_response_is_refused(body):
    with pytest.raises(RemoteProtocolError):
        parse_scrape_response(body, [INFO_HASH])


@pytest.mark.parametrize("name", ["failure reason", "failure_reason"])
def test_bep3_a_failure_reason_without_a_word_is_a_refusal(name):
    body = encode({name: "", "interval": 1800, "retry in": 5})
    with pytest.raises(TrackerRefusedError, match="no reason given") as raised:
        parse_announce_response(body, max_peers=10)
    assert raised.value.retry_in_s == 300.0


def test_an_answer_without_any_field_is_a_success_without_peers_as_in_other_clients():
    assert parse_announce_response(b"de", max_peers=10) == AnnounceResponse(None, ())


def test_bep48_failure_reason_of_a_scrape_is_a_refusal():
    with pytest.raises(TrackerRefusedError, match="no scrape"):
        parse_scrape_response(encode({"failure_reason": "no scrape"}), [INFO_HASH])


def test_bep7_answers_of_two_families_are_merged():
    a, b, c = (PeerAddress(f"1.1.1.{n}", n) for n in (1, 2, 3))
    first = AnnounceResponse(60.0, (a, b), seeds=1, tracker_id=b"t", warning="w")
    second = AnnounceResponse(90.0, (b, c), seeds=4, leeches=2)
    merged = merge_responses([first, second])
    assert merged.peers == (a, b, c)
    assert (merged.interval_s, merged.seeds, merged.leeches) == (60.0, 4, 2)
    assert (merged.tracker_id, merged.warning) == (b"t", "w")
    assert merge_responses([second]) is second


def test_text_of_a_tracker_is_one_short_printable_line():
    assert tracker_text(b"a\r\nb\x1b]0;x\x07\xff") == "a  b ]0;x \ufffd"
    assert len(tracker_text(b"x" * 10_000)) == 512
