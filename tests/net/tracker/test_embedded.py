"""The embedded tracker on loopback: both protocols, both families, rude clients."""

import socket
import struct
import sys
from functools import partial

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.clock import ManualClock
from tests.support.swarm import until
from torrent_engine.base.config import TrackerConfig
from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import InfoHash, PeerAddress, PeerId
from torrent_engine.base.operators import network_of
from torrent_engine.codec.bencode import decode
from torrent_engine.net.http.client import HttpClient
from torrent_engine.net.sockets import tcp
from torrent_engine.net.sockets.fairness import BUDGET_S, LoopTurn, RateGate
from torrent_engine.net.tracker import embedded as embedded_tracker
from torrent_engine.net.tracker import embedded_http
from torrent_engine.net.tracker.client import open_tracker_client
from torrent_engine.net.tracker.embedded import ACCEPT_BURST, NETWORK_SHARE, EmbeddedTracker
from torrent_engine.net.tracker.embedded_http import serve_http
from torrent_engine.protocol.tracker.announce import (
    AnnounceEvent,
    AnnounceRequest,
    AnnounceTotals,
    ScrapeCounts,
)
from torrent_engine.protocol.tracker.server import HttpAnswer

pytestmark = pytest.mark.anyio

INFO_HASH = InfoHash(b"\x00\xff&=" * 5)


def request(name, port, left=1, event=AnnounceEvent.STARTED):
    return AnnounceRequest(
        info_hash=INFO_HASH,
        peer_id=PeerId(name.encode() * 20),
        port=port,
        totals=AnnounceTotals(uploaded_bytes=0, downloaded_bytes=0, left_bytes=left),
        event=event,
    )


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
HOSTS = ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)]


@pytest.mark.parametrize("scheme", ["http", "udp"])
@pytest.mark.parametrize("host", HOSTS)
async def test_bep15_announce_scrape_and_stop(scheme, host):
    async with EmbeddedTracker(host, interval_s=120) as tracker:
        async with open_tracker_client(TrackerConfig()) as client:
            url = tracker.announce_url if scheme == "http" else tracker.udp_url
            first = await client.announce(url, request("a", 1001, left=0))
            second = await client.announce(url, request("b", 1002))
            counts = await client.scrape(url, [INFO_HASH])
            await client.announce(url, request("a", 1001, event=AnnounceEvent.STOPPED))
            third = await client.announce(url, request("b", 1002))
        stats = tracker.stats()
    assert (first.interval_s, first.peers) == (120.0, ())
    assert second.peers == (PeerAddress(host, 1001),)
    assert counts == {INFO_HASH: ScrapeCounts(seeds=1, leeches=1, downloads=0)}
    assert third.peers == ()
    assert (stats.torrents, stats.peers, stats.scrapes, stats.refused) == (1, 1, 1, 0)
    assert (stats.http_announces, stats.udp_announces) == ((4, 0) if scheme == "http" else (0, 4))


@needs_ipv6
async def test_bep7_both_families_share_one_swarm_and_one_port():
    async with EmbeddedTracker() as tracker, open_tracker_client(TrackerConfig()) as client:
        assert tracker.hosts == ("127.0.0.1", "::1")
        v6 = f"http://[::1]:{tracker.port}/announce"
        await client.announce(tracker.announce_url, request("a", 1001))
        await client.announce(v6, request("b", 1002))
        seen = await client.announce(tracker.udp_url, request("c", 1003))
        assert seen.peers == (PeerAddress("127.0.0.1", 1001),)
        seen = await client.announce(v6, request("d", 1004))
        assert PeerAddress("::1", 1002) in seen.peers


async def talk(tracker, *parts, pause_s=0.0):
    """Send parts, return everything that comes back until the tracker closes."""
    async with await anyio.connect_tcp("127.0.0.1", tracker.port) as stream:
        for part in parts:
            try:
                await stream.send(part)
            except anyio.BrokenResourceError:
                break
            await anyio.sleep(pause_s)
        answer = b""
        with anyio.fail_after(30):
            try:
                while True:
                    answer += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return answer


def get(target, *lines):
    return "\r\n".join((f"GET {target} HTTP/1.1", "Host: x", *lines, "", "")).encode()


async def test_keep_alive_serves_several_requests():
    async with EmbeddedTracker("127.0.0.1") as tracker:
        answer = await talk(
            tracker, get("/stats"), get("/nothing"), get("/stats", "Connection: close")
        )
    assert answer.count(b"HTTP/1.1 200") == 2
    assert answer.count(b"HTTP/1.1 404") == 1


async def test_a_malformed_announce_is_a_failure_reason():
    async with EmbeddedTracker("127.0.0.1") as tracker:
        got = await HttpClient(TrackerConfig()).get(
            f"{tracker.announce_url}?info_hash=short&port=1", max_bytes=1000
        )
        assert tracker.stats().refused == 1
    assert decode(got.body) == {b"failure reason": b"info_hash must have 20 bytes (BEP 3)"}


RUDE = {
    "no_http": (b"hello\r\n\r\n", b"HTTP/1.1 400"),
    "post": (b"POST /announce HTTP/1.0\r\nHost: x\r\n\r\n", b"HTTP/1.1 405"),
    "body": (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", b"HTTP/1.1 413"),
    "long_header": (b"GET / HTTP/1.1\r\nX: " + b"y" * 40_000, b"HTTP/1.1 431"),
    "long_target": (b"GET /" + b"y" * 40_000, b"HTTP/1.1 431"),
    "no_host": (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 400"),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"HTTP/1.1 400"),
}


@pytest.mark.parametrize(("raw", "expected"), RUDE.values(), ids=RUDE.keys())
async def test_a14_rude_requests_are_answered_once_and_closed(raw, expected):
    async with EmbeddedTracker("127.0.0.1") as tracker:
        answer = await talk(tracker, raw)
        assert (await talk(tracker, get("/stats", "Connection: close"))).startswith(b"HTTP/1.1 200")
    assert answer.startswith(expected) or answer == b""
    assert answer.count(b"HTTP/1.1") <= 1


async def test_a14_a_header_of_many_lines_is_refused():
    async with EmbeddedTracker("127.0.0.1") as tracker:
        lines = [f"X-{number}: 1" for number in range(101)]
        assert (await talk(tracker, get("/stats", *lines))).startswith(b"HTTP/1.1 431")


async def test_b5_a_slow_request_is_closed():
    async with EmbeddedTracker("127.0.0.1", request_timeout_s=0.1) as tracker:
        assert await talk(tracker, b"GET /announce HTT") == b""
        assert await talk(tracker) == b""


async def test_c5_udp_nonsense_is_dropped():
    async with EmbeddedTracker("127.0.0.1") as tracker:
        async with await anyio.create_connected_udp_socket("127.0.0.1", tracker.port) as udp:
            for packet in (b"x", bytes(16), bytes(98), bytes(1400)):
                await udp.send(packet)
            await udp.send(bytes.fromhex("00000417271019800000000000000007"))
            with anyio.fail_after(30):
                answer = await udp.receive()
        assert answer[:8] == bytes.fromhex("0000000000000007")
        assert tracker.stats().refused == 4


async def test_f11_others_come_between_two_datagrams_of_a_batch_if_its_time_is_over(monkeypatch):
    class Turn:
        is_over, passed = True, 0

        async def pass_on(self):
            self.passed += 1
            await anyio.lowlevel.checkpoint()

    turn = Turn()
    monkeypatch.setattr(embedded_tracker, "LOOP_TURN", turn)
    async with (
        EmbeddedTracker("127.0.0.1") as tracker,
        await anyio.create_connected_udp_socket("127.0.0.1", tracker.port) as udp,
    ):
        for _ in range(5):
            await udp.send(bytes.fromhex("00000417271019800000000000000007"))
        with anyio.fail_after(30):
            for _ in range(5):
                await udp.receive()
    assert turn.passed == 5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
async def test_bep15_answers_leave_from_the_address_that_was_asked():
    hello = bytes.fromhex("00000417271019800000000000000007")
    async with EmbeddedTracker("0.0.0.0") as tracker:
        for host in ("127.0.0.1", "127.0.0.77"):
            # A connected socket hears nobody but the address that it is connected to.
            async with await anyio.create_connected_udp_socket(host, tracker.port) as udp:
                await udp.send(hello)
                with anyio.fail_after(30):
                    answer = await udp.receive()
            assert answer[:8] == bytes.fromhex("0000000000000007")


async def test_a_taken_port_is_a_network_error():
    async with EmbeddedTracker("127.0.0.1") as tracker:
        with pytest.raises(NetworkError, match=f"cannot bind port {tracker.port}"):
            async with EmbeddedTracker("127.0.0.1", tracker.port):
                pass


async def test_an_address_that_is_not_here_is_left_out():
    async with EmbeddedTracker(("192.0.2.1", "127.0.0.1")) as tracker:
        assert tracker.hosts == ("127.0.0.1",)
    for hosts in ("192.0.2.1", ()):
        with pytest.raises(NetworkError):
            await EmbeddedTracker(hosts).__aenter__()


async def test_an_error_in_the_block_leaves_as_itself_and_frees_the_port():
    with pytest.raises(KeyError):
        async with EmbeddedTracker("127.0.0.1") as tracker:
            raise KeyError("mine")
    async with EmbeddedTracker("127.0.0.1", tracker.port) as again:
        assert again.port == tracker.port


class MemoryStream(anyio.abc.ByteStream):
    """A client that sends what it is given and then closes."""

    def __init__(self, chunks):
        self.chunks = list(chunks)
        self.answer = b""

    async def receive(self, max_bytes=65536):
        await anyio.lowlevel.checkpoint()
        if not self.chunks:
            raise anyio.EndOfStream
        return self.chunks.pop(0)

    async def send(self, item):
        self.answer += item

    async def send_eof(self):
        pass

    async def aclose(self):
        pass


GOOD = b"GET /announce?x HTTP/1.1\r\nHost: x\r\n\r\n"
PIECES = st.sampled_from(
    [GOOD, GOOD[:20], b"\r\n", b"Content-Length: 3\r\n\r\nabc", b"Expect: 100-continue\r\n\r\n"]
) | st.binary(min_size=1, max_size=60)


def test_a14_any_bytes_are_survived_by_the_http_server():
    """Not async: each example runs its own loop."""

    def handle(_target):
        return HttpAnswer(200, "text/plain", b"fine")

    @settings(max_examples=60)
    @given(st.lists(PIECES, max_size=8))
    def survives(chunks):
        stream = MemoryStream(chunks)
        anyio.run(partial(serve_http, stream, handle, request_timeout_s=5.0, pace=RateGate(0)))
        assert stream.answer == b"" or stream.answer.startswith(b"HTTP/1.1 ")

    survives()


async def test_b5_requests_that_come_at_the_same_moment_do_not_hold_the_loop(monkeypatch):
    clock, longest_s = ManualClock(), 0.0
    monkeypatch.setattr(embedded_http, "LOOP_TURN", LoopTurn(clock))

    def handle(_target):
        clock.advance(BUDGET_S / 4)
        return HttpAnswer(200, "text/plain", b"fine")

    streams = [MemoryStream([GOOD]) for _ in range(40)]
    async with anyio.create_task_group() as tasks:
        for stream in streams:
            serve = partial(serve_http, stream, handle, request_timeout_s=5.0, pace=RateGate(0))
            tasks.start_soon(serve)
        while not all(stream.answer for stream in streams):
            began_s = clock()
            await anyio.lowlevel.checkpoint()
            longest_s = max(longest_s, clock() - began_s)
    assert all(stream.answer.startswith(b"HTTP/1.1 200") for stream in streams)
    assert longest_s <= 3 * BUDGET_S


UPGRADES = {
    "upgrade": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "connect": b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "expect": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
    "http_1_0": b"GET /stats HTTP/1.0\r\n\r\n",
    "head": b"HEAD /stats HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("raw", UPGRADES.values(), ids=UPGRADES.keys())
async def test_a14_special_requests_do_not_hurt(raw):
    async with EmbeddedTracker("127.0.0.1", request_timeout_s=2.0) as tracker:
        assert (await talk(tracker, raw)).startswith(b"HTTP/1.1 ") or b"Expect" in raw
        assert (await talk(tracker, get("/stats", "Connection: close"))).startswith(b"HTTP/1.1 200")


async def test_b5_connections_past_the_cap_are_closed(monkeypatch):
    monkeypatch.setattr(embedded_tracker, "MAX_CONNECTIONS", 1)
    async with (
        EmbeddedTracker("127.0.0.1") as tracker,
        await anyio.connect_tcp("127.0.0.1", tracker.port) as first,
    ):
        await first.send(get("/stats"))
        assert (await first.receive()).startswith(b"HTTP/1.1 200")
        assert await talk(tracker) == b""
        await first.send(get("/stats"))
        assert (await first.receive()).startswith(b"HTTP/1.1 200")


async def test_b5_requests_of_one_network_wait_their_turn(monkeypatch):
    monkeypatch.setattr(embedded_tracker, "MAX_REQUESTS_PER_S", 0.01)
    monkeypatch.setattr(embedded_tracker, "NETWORK_SHARE", 1)
    async with (
        EmbeddedTracker(("127.0.0.1", "::1")) as tracker,
        await anyio.connect_tcp("127.0.0.1", tracker.port) as first,
    ):
        await first.send(get("/stats"))
        assert (await first.receive()).startswith(b"HTTP/1.1 200")
        async with await anyio.connect_tcp(
            "127.0.0.1", tracker.port, local_host="127.0.0.2"
        ) as neighbour:
            await neighbour.send(get("/stats"))
            paces, key = tracker._network_paces, network_of("127.0.0.1")
            await until(lambda: paces[key]._lock.statistics().locked)
            with anyio.move_on_after(0.05) as silence:
                await neighbour.receive()
            assert silence.cancelled_caught
    assert not tracker._paces
    assert not tracker._network_paces


def test_b5_connections_of_one_network_have_a_rate_in_common():
    tracker = EmbeddedTracker()
    taken = sum(
        tracker._admits(f"2001:db8:5:{number:x}::1", 0.0)
        for number in range(2 * ACCEPT_BURST * NETWORK_SHARE)
    )
    assert taken == ACCEPT_BURST * NETWORK_SHARE
    assert tracker._admits("192.0.2.1", 0.0)


async def test_b5_requests_of_one_address_wait_their_turn(monkeypatch):
    monkeypatch.setattr(embedded_tracker, "MAX_REQUESTS_PER_S", 0.01)
    monkeypatch.setattr(embedded_tracker, "NETWORK_SHARE", 1_000_000)
    async with EmbeddedTracker("127.0.0.1") as tracker:
        async with await anyio.connect_tcp("127.0.0.1", tracker.port) as first:
            await first.send(get("/stats") * 50)
            assert (await first.receive()).startswith(b"HTTP/1.1 200")
            await until(lambda: tracker._paces["127.0.0.1"]._lock.statistics().locked)
            async with await anyio.connect_tcp(
                "127.0.0.1", tracker.port, local_host="127.0.0.2"
            ) as other:
                await other.send(get("/stats"))
                with anyio.fail_after(30):
                    assert (await other.receive()).startswith(b"HTTP/1.1 200")
            with anyio.move_on_after(0.05) as silence:
                await first.receive()
            assert silence.cancelled_caught
        assert tracker.stats().refused == 0


@needs_ipv6
async def test_b5_connections_of_one_address_give_way_to_others(monkeypatch):
    monkeypatch.setattr(embedded_tracker, "MAX_CONNECTIONS", 8)
    async with EmbeddedTracker(("127.0.0.1", "::1")) as tracker:
        slow = [await anyio.connect_tcp("127.0.0.1", tracker.port) for _ in range(8)]
        for stream in slow:
            await stream.send(b"GET /stats HTTP/1.1\r\n")
        await until(lambda: len(tracker._room) == 8)
        async with await anyio.connect_tcp("::1", tracker.port) as other:
            await other.send(get("/stats", "Connection: close"))
            with anyio.fail_after(30):
                assert (await other.receive()).startswith(b"HTTP/1.1 200")
        with anyio.fail_after(30), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await slow[0].receive()
        for stream in slow:
            await stream.aclose()
        await until(lambda: not len(tracker._room))


async def test_f9_running_out_of_descriptors_only_pauses_accepting(monkeypatch):
    monkeypatch.setattr(tcp, "ACCEPT_PAUSE_S", 0.0)

    class Listener(socket.socket):
        failures = 3

        def accept(self):
            if self.failures:
                self.failures -= 1
                raise OSError(24, "Too many open files")
            return super().accept()

    listener = Listener()
    listener.settimeout(0.0)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    port = listener.getsockname()[1]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(EmbeddedTracker()._serve_tcp, listener)
        async with await anyio.connect_tcp("127.0.0.1", port) as client:
            await client.send(get("/stats"))
            with anyio.fail_after(30):
                assert (await client.receive()).startswith(b"HTTP/1.1 200")
        tasks.cancel_scope.cancel()
    assert listener.failures == 0
    assert listener.fileno() < 0


def connect_and_reset(port):
    """Open connections that are gone before the loop has accepted them."""
    for _ in range(3):
        client = socket.create_connection(("127.0.0.1", port))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()


async def test_b5_connections_that_are_reset_before_they_are_served_end_nothing():
    async with EmbeddedTracker("127.0.0.1") as tracker:
        connect_and_reset(tracker.port)
        assert (await talk(tracker, get("/stats", "Connection: close"))).startswith(b"HTTP/1.1 200")
        await until(lambda: not len(tracker._room))


async def test_b5_connections_of_one_address_above_its_rate_are_reset(monkeypatch):
    monkeypatch.setattr(embedded_tracker, "MAX_ACCEPTS_PER_S", 0.01)
    monkeypatch.setattr(embedded_tracker, "ACCEPT_BURST", 2)
    asking = get("/stats", "Connection: close")
    async with EmbeddedTracker("127.0.0.1") as tracker:
        for _ in range(2):
            assert (await talk(tracker, asking)).startswith(b"HTTP/1.1 200")
        with pytest.raises((anyio.BrokenResourceError, OSError)), anyio.fail_after(30):
            async with await anyio.connect_tcp("127.0.0.1", tracker.port) as client:
                await client.receive()
        async with await anyio.connect_tcp(
            "127.0.0.1", tracker.port, local_host="127.0.0.2"
        ) as other:
            await other.send(asking)
            with anyio.fail_after(30):
                assert (await other.receive()).startswith(b"HTTP/1.1 200")


async def test_f10_a_bug_in_one_connection_reaches_no_other(monkeypatch, caplog):
    asking = get("/stats", "Connection: close")
    async with EmbeddedTracker("127.0.0.1") as tracker:
        with monkeypatch.context() as patch:
            patch.setattr(tracker, "_answer", lambda *_: 1 / 0)
            assert await talk(tracker, asking) == b""
        assert (await talk(tracker, asking)).startswith(b"HTTP/1.1 200")
    assert "internal error in the connection of 127.0.0.1" in caplog.text
