"""The UDP tracker protocol: packets, and the exchange with its timers."""

import random
from contextlib import suppress
from dataclasses import replace
from struct import pack, unpack_from

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.config import TrackerConfig
from torrent_engine.base.errors import LocalProtocolError, RemoteProtocolError, TrackerRefusedError
from torrent_engine.base.ids import InfoHash, PeerAddress, PeerId
from torrent_engine.protocol.tracker.announce import (
    AnnounceEvent,
    AnnounceRequest,
    AnnounceTotals,
    ScrapeCounts,
)
from torrent_engine.protocol.tracker.udp_announce import (
    encode_announce,
    encode_connect,
    encode_scrape,
    encode_url_options,
    parse_announce_response,
    parse_connect_response,
    parse_error_response,
    parse_scrape_response,
)
from torrent_engine.protocol.tracker.udp_exchange import (
    ExchangeState,
    UdpAnnounce,
    UdpConnection,
    UdpExchange,
    UdpScrape,
)

INFO_HASH = InfoHash(b"h" * 20)
REQUEST = AnnounceRequest(
    info_hash=INFO_HASH,
    peer_id=PeerId(b"p" * 20),
    port=6881,
    totals=AnnounceTotals(uploaded_bytes=10, downloaded_bytes=20, left_bytes=30),
    event=AnnounceEvent.STARTED,
    numwant=-1,
    key=0x01020304,
)
CONFIG = TrackerConfig()
CONNECTION_ID = 0x1122334455667788


def txid(packet):
    return unpack_from(">I", packet, 12)[0]


def connect_answer(packet, connection_id=CONNECTION_ID):
    return pack(">IIQ", 0, txid(packet), connection_id)


def announce_answer(packet, peers=b"", interval=1800):
    return pack(">IIIII", 1, txid(packet), interval, 3, 4) + peers


def exchange(request=None, **changes):
    options = {"v6": False, "rng": random.Random(1), "config": CONFIG, **changes}
    return UdpExchange(request or UdpAnnounce(REQUEST), **options)


def sent(machine):
    (packet,) = machine.datagrams_to_send()
    return packet


def connected(now=0.0):
    machine = exchange()
    machine.start(now=now)
    assert machine.receive_datagram(connect_answer(sent(machine)), now=now)
    return machine


def test_bep15_connect_request_layout():
    assert encode_connect(7) == bytes.fromhex("00000417271019800000000000000007")


def test_bep15_announce_request_layout():
    packet = encode_announce(REQUEST, connection_id=CONNECTION_ID, transaction_id=9)
    assert len(packet) == 98
    assert packet[:16] == bytes.fromhex("11223344556677880000000100000009")
    assert packet[16:56] == b"h" * 20 + b"p" * 20
    assert unpack_from(">QQQ", packet, 56) == (20, 30, 10)
    assert unpack_from(">IIIiH", packet, 80) == (2, 0, 0x01020304, -1, 6881)


def test_bep15_counts_out_of_range_are_clamped():
    totals = AnnounceTotals(uploaded_bytes=-5, downloaded_bytes=2**70, left_bytes=0)
    request = replace(REQUEST, totals=totals)
    packet = encode_announce(request, connection_id=0, transaction_id=0)
    assert unpack_from(">QQQ", packet, 56) == (2**63 - 1, 0, 0)


def test_bep15_scrape_request_layout():
    packet = encode_scrape([INFO_HASH, INFO_HASH], connection_id=1, transaction_id=2)
    assert packet == pack(">QII", 1, 2, 2) + b"h" * 40


@pytest.mark.parametrize("length", [0, 1, 255, 256, 600])
def test_bep41_url_data_is_split_into_options(length):
    target = "/" * length
    options = encode_url_options(target)
    data, position = b"", 0
    while position < len(options) and options[position] == 2:
        size = options[position + 1]
        data += options[position + 2 : position + 2 + size]
        position += 2 + size
    assert data.decode() == target
    assert options[position:] == (b"\x00" if length else b"")


def test_bep41_announce_carries_path_and_query():
    packet = encode_announce(REQUEST, connection_id=0, transaction_id=0, target="/a?b=c")
    assert packet[98:] == b"\x02\x06/a?b=c\x00"


def test_bep15_announce_response_is_read():
    peers = b"\x01\x02\x03\x04\x00\x50\x01\x02\x03\x05\x00\x00"
    response = parse_announce_response(
        pack(">IIIII", 1, 0, 1800, 3, 4) + peers, v6=False, max_peers=9
    )
    assert response.peers == (PeerAddress("1.2.3.4", 80),)
    assert (response.interval_s, response.leeches, response.seeds) == (1800.0, 3, 4)


def test_bep15_ipv6_announce_response_has_18_byte_peers():
    peers = bytes(15) + b"\x01\x00\x50"
    response = parse_announce_response(pack(">IIIII", 1, 0, 0, 0, 0) + peers, v6=True, max_peers=9)
    assert response.peers == (PeerAddress("::1", 80),)
    assert response.interval_s is None


def test_c5_peers_past_the_cap_and_a_broken_last_peer_are_dropped():
    blob = b"".join(bytes((1, 1, 1, n, 0, 1)) for n in range(9)) + b"xyz"
    packet = pack(">IIIII", 1, 0, 1, 0, 0) + blob
    assert len(parse_announce_response(packet, v6=False, max_peers=100).peers) == 9
    assert len(parse_announce_response(packet, v6=False, max_peers=4).peers) == 4


MALFORMED = {
    "connect": parse_connect_response,
    "announce": lambda data: parse_announce_response(data, v6=False, max_peers=1),
    "scrape": lambda data: parse_scrape_response(data, [INFO_HASH]),
}


@pytest.mark.parametrize("size", [0, 8, 12, 15])
@pytest.mark.parametrize("parser", MALFORMED.values(), ids=MALFORMED.keys())
def test_bep15_short_response_is_refused(parser, size):
    with pytest.raises(RemoteProtocolError):
        parser(bytes(size))


@given(st.binary(max_size=200))
def test_bep15_any_packet_raises_only_declared_errors(packet):
    for parser in MALFORMED.values():
        with suppress(RemoteProtocolError):
            parser(packet)
    parse_announce_response(bytes(20) + packet, v6=True, max_peers=5)
    assert parse_error_response(bytes(8) + packet).reason


@given(st.lists(st.binary(max_size=60) | st.none(), max_size=12), st.booleans())
def test_c5_any_datagrams_leave_the_exchange_sane(packets, is_scrape):
    machine = exchange(UdpScrape([INFO_HASH]) if is_scrape else None)
    now, last = 0.0, b""
    machine.start(now=now)
    for packet in packets:
        last = (machine.datagrams_to_send() or [last])[0]
        if packet is None:
            now = min(machine.next_timer(), 1e9)
            machine.handle_timer(now=now)
        else:
            machine.receive_datagram(packet[:4] + last[12:16] + packet[4:], now=now)
            machine.receive_datagram(packet, now=now)
    is_done = machine.state is ExchangeState.DONE
    assert is_done == (machine.answer is not None or machine.error is not None)
    assert is_done == (machine.next_timer() == float("inf"))


def test_bep15_connects_then_announces():
    machine = connected()
    packet = sent(machine)
    assert unpack_from(">QI", packet) == (CONNECTION_ID, 1)
    assert machine.receive_datagram(announce_answer(packet), now=1.0)
    assert machine.state is ExchangeState.DONE
    assert machine.answer.seeds == 4
    assert machine.connection == UdpConnection(CONNECTION_ID, 60.0)


def test_bep15_connect_is_sent_again_after_15_times_2_to_the_n_seconds():
    machine = exchange()
    machine.start(now=0.0)
    times, packets = [0.0], {sent(machine)}
    while machine.state is not ExchangeState.DONE:
        now = machine.next_timer()
        machine.handle_timer(now=now)
        packets.update(machine.datagrams_to_send())
        times.append(now)
    assert times == [0, 15, 45, 105, 225, 465, 945, 1905, 3825, 7665]
    assert len(packets) == 1  # the same transaction: a late answer still counts
    assert str(machine.error) == "no answer"


def test_bep15_announce_is_sent_again_until_its_connection_id_expires():
    """The example of BEP 15: announced at 2, no answer, "connect" once the id is a minute old."""
    machine = connected(now=2.0)
    sends: list[tuple[str, float]] = []
    while len(sends) < 5:
        packet = sent(machine)
        sends.append(("connect" if len(packet) == 16 else "announce", machine.next_timer()))
        machine.handle_timer(now=machine.next_timer())
    kinds = [kind for kind, _ in sends]
    assert kinds == ["announce", "announce", "announce", "connect", "connect"]
    assert [due for _, due in sends] == [17.0, 47.0, 107.0, 227.0, 467.0]


def test_bep15_a_tracker_that_only_connects_is_given_up():
    machine = exchange()
    now = 0.0
    machine.start(now=now)
    for _ in range(50):
        for packet in machine.datagrams_to_send():
            if len(packet) == 16:
                machine.receive_datagram(connect_answer(packet), now=now)
        if machine.state is ExchangeState.DONE:
            break
        now = machine.next_timer()
        machine.handle_timer(now=now)
    assert machine.error is not None


def test_bep15_handle_timer_before_its_time_does_nothing():
    machine = exchange()
    machine.start(now=0.0)
    sent(machine)
    machine.handle_timer(now=14.9)
    assert machine.datagrams_to_send() == []


def test_bep15_a_connection_id_at_hand_saves_the_connect():
    machine = exchange(connection=UdpConnection(5, expires_at_s=60.0))
    machine.start(now=59.0)
    assert unpack_from(">QI", sent(machine)) == (5, 1)


def test_bep15_an_expired_connection_id_is_not_used():
    machine = exchange(connection=UdpConnection(5, expires_at_s=60.0))
    machine.start(now=60.0)
    assert len(sent(machine)) == 16


def test_bep15_an_error_for_a_kept_connection_id_makes_us_connect_again():
    machine = exchange(connection=UdpConnection(5, expires_at_s=60.0))
    machine.start(now=0.0)
    error = pack(">II", 3, txid(sent(machine))) + b"bad connection id"
    assert machine.receive_datagram(error, now=1.0)
    packet = sent(machine)
    assert len(packet) == 16
    assert machine.state is ExchangeState.CONNECTING


def test_bep15_error_packet_is_a_refusal():
    machine = connected()
    assert machine.receive_datagram(pack(">II", 3, txid(sent(machine))) + b"no such", now=1.0)
    assert isinstance(machine.error, TrackerRefusedError)
    assert machine.error.reason == "no such"
    assert machine.connection is None


def test_c5_spoofed_datagrams_are_not_taken():
    machine = connected()
    packet = sent(machine)
    wrong = bytearray(announce_answer(packet))
    wrong[4] ^= 1
    for spoofed in (b"", b"\x00" * 7, bytes(wrong), connect_answer(packet)):
        assert not machine.receive_datagram(spoofed, now=1.0)
    assert machine.state is ExchangeState.REQUESTING
    assert machine.receive_datagram(announce_answer(packet), now=1.0)
    assert not machine.receive_datagram(announce_answer(packet), now=1.0)


def test_c5_who_sees_nothing_must_guess_every_bit_of_a_transaction():
    for machine, answer in ((exchange(), connect_answer), (connected(), announce_answer)):
        if machine.next_timer() == float("inf"):
            machine.start(now=0.0)
        right = bytearray(answer(sent(machine)))
        for bit in range(32):
            guess = bytearray(right)
            guess[4 + bit // 8] ^= 1 << bit % 8
            assert not machine.receive_datagram(bytes(guess), now=1.0)
        assert machine.receive_datagram(bytes(right), now=1.0)


def test_c5_no_bit_of_a_transaction_is_the_same_each_time():
    rng, ids = random.Random(1), []
    for _ in range(1_000):
        machine = exchange(rng=rng)
        machine.start(now=0.0)
        ids.append(txid(sent(machine)))
    for bit in range(32):
        assert 400 < sum(each >> bit & 1 for each in ids) < 600


def test_c5_a_short_answer_with_the_right_transaction_ends_the_exchange():
    machine = connected()
    assert machine.receive_datagram(announce_answer(sent(machine))[:19], now=1.0)
    assert isinstance(machine.error, RemoteProtocolError)
    assert machine.error.bep == 15


def test_bep15_scrape_answers_in_order():
    hashes = [INFO_HASH, InfoHash(b"i" * 20)]
    machine = exchange(UdpScrape(hashes), connection=UdpConnection(1, 60.0))
    machine.start(now=0.0)
    packet = sent(machine)
    machine.receive_datagram(pack(">II6I", 2, txid(packet), 1, 2, 3, 4, 5, 6), now=1.0)
    assert machine.answer == {
        hashes[0]: ScrapeCounts(seeds=1, leeches=3, downloads=2),
        hashes[1]: ScrapeCounts(seeds=4, leeches=6, downloads=5),
    }


def test_an_exchange_starts_once():
    machine = exchange()
    machine.start(now=0.0)
    with pytest.raises(LocalProtocolError):
        machine.start(now=1.0)
