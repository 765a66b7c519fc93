"""The tracker client: HTTP and UDP, families, refusals, secrets, spoofers."""

import random
import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from struct import pack, unpack_from
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import pytest

from tests.support.rude_server import answering, response, rude_server
from tests.support.swarm import until
from torrent_engine.base.config import TrackerConfig
from torrent_engine.base.errors import (
    NetworkError,
    TrackerError,
    TrackerRefusedError,
    TrackerTimeoutError,
)
from torrent_engine.base.ids import InfoHash, PeerAddress, PeerId
from torrent_engine.codec.bencode import encode
from torrent_engine.net.http import connections
from torrent_engine.net.sockets.binding import Binding
from torrent_engine.net.sockets.datagrams import open_datagrams
from torrent_engine.net.tracker import client as tracker_client
from torrent_engine.net.tracker.client import open_tracker_client
from torrent_engine.net.tracker.embedded import EmbeddedTracker
from torrent_engine.net.tracker.udp import UdpTrackers
from torrent_engine.protocol.tracker import http_announce
from torrent_engine.protocol.tracker.announce import AnnounceRequest, AnnounceTotals, ScrapeCounts
from torrent_engine.protocol.tracker.udp_exchange import UdpAnnounce

pytestmark = pytest.mark.anyio

CONFIG = TrackerConfig(read_timeout_s=60.0, total_timeout_s=60.0)
HASTY = TrackerConfig(read_timeout_s=2.0, total_timeout_s=2.0, udp_first_timeout_s=0.05)
PATIENT = TrackerConfig(read_timeout_s=30.0, total_timeout_s=30.0, udp_first_timeout_s=10.0)
INFO_HASH = InfoHash(b"h" * 20)
REQUEST = AnnounceRequest(
    info_hash=INFO_HASH,
    peer_id=PeerId(b"p" * 20),
    port=6881,
    totals=AnnounceTotals(uploaded_bytes=0, downloaded_bytes=0, left_bytes=1),
)
PEERS = encode({"interval": 99, "peers": b"\x01\x02\x03\x04\x00\x50"})
CANARY = "canary0123456789passkey"


def resolver(**hosts):
    async def look_up(host, port):
        if host in hosts:
            return hosts[host]
        if host[0].isdigit() or ":" in host:
            return [host]
        raise NetworkError(f"cannot resolve {host}")

    return look_up


async def announce(url, config=CONFIG, **hosts):
    async with open_tracker_client(config, resolver=resolver(**hosts)) as client:
        return await client.announce(url, REQUEST)


async def http_failure(*responses, config=CONFIG, path="/announce"):
    async with rude_server(answering(*responses)) as server:
        with pytest.raises(TrackerError) as caught:
            await announce(f"{server.base}{path}", config)
    return caught.value


async def test_bep3_announce_over_http():
    async with rude_server(answering(response(PEERS))) as server:
        got = await announce(f"{server.base}/announce?key=1")
    assert got.peers == (PeerAddress("1.2.3.4", 80),)
    assert got.interval_s == 99.0
    assert server.requests[0].startswith(b"GET /announce?key=1&info_hash=hhhh")


async def test_bep3_failure_reason_is_a_refusal_whatever_the_status():
    body = encode({"failure reason": "not registered", "retry in": 2})
    for status in (200, 400, 503):
        error = await http_failure(response(body, status=status))
        assert isinstance(error, TrackerRefusedError)
        assert (error.reason, error.retry_in_s) == ("not registered", 120.0)


@pytest.mark.parametrize(("peers", "is_long"), [(50, False), (2_000, True)])
async def test_d3_long_responses_are_parsed_in_a_thread(monkeypatch, peers, is_long):
    threads = []

    def parse(body, **options):
        threads.append(threading.get_ident())
        return real(body, **options)

    real = http_announce.parse_announce_response
    monkeypatch.setattr(http_announce, "parse_announce_response", parse)
    packed = b"".join(pack(">4BH", 8, 8, n >> 8, n & 255, 6881) for n in range(peers))
    async with rude_server(answering(response(encode({"peers": packed})))) as server:
        got = await announce(f"{server.base}/announce")
    assert len(got.peers) == peers
    assert (threads != [threading.get_ident()]) is is_long


async def test_d3_refusals_and_faults_of_long_responses_are_those_of_short_ones():
    body = encode({"failure reason": "not registered", "retry in": 2, "x": bytes(5_000)})
    error = await http_failure(response(body))
    assert isinstance(error, TrackerRefusedError)
    assert (error.reason, error.retry_in_s) == ("not registered", 120.0)
    assert "malformed" in str(await http_failure(response(b"d1:x" + b"x" * 5_000)))


async def test_d3_a_long_response_without_a_thread_to_parse_it_is_a_tracker_error(monkeypatch):
    async def run_sync(*_arguments, **_options):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(anyio.to_thread, "run_sync", run_sync)
    error = await http_failure(response(encode({"peers": bytes(6_000)})))
    assert "no thread" in str(error)


RUDE = {
    "not_found": response(b"<html>", status=404),
    "html": response(b"<html>", status=200),
    "empty": response(b""),
    "peers": response(encode({"peers": [1, {"port": 2}]})),
    "garbage": b"\xff\xff\r\n\r\n",
    "nothing": b"",
    "redirect_nowhere": response(b"", status=302),
    "redirect_to_metadata": response(status=302, Location="http://169.254.169.254/announce"),
    "redirect_to_admin": response(status=302, Location="/admin/reboot"),
    "too_long": response(bytes(1024 * 1024 + 1)),
}


@pytest.mark.parametrize("raw", RUDE.values(), ids=RUDE.keys())
async def test_d3_rude_http_trackers_are_tracker_errors(raw):
    assert str(await http_failure(raw))


async def test_d1_a_tracker_url_that_is_no_announce_is_not_asked_of_loopback():
    error = await http_failure(response(PEERS), path="/shutdown")
    assert "no such path on this machine" in str(error)


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/announce", "udp://[fe80::1]:80", "wss://a.example", "x"]
)
async def test_d1_forbidden_trackers_are_refused(url):
    with pytest.raises(TrackerError):
        await announce(url)


async def test_d4_the_passkey_is_in_no_error():
    secret_path = f"/{CANARY}/announce?passkey={CANARY}"
    for raw in (
        response(encode({"failure reason": f"{CANARY} is unknown"})),
        response(f"{CANARY}".encode(), status=403),
        response(status=302, Location=f"http://169.254.169.254/{CANARY}/announce"),
        b"",
    ):
        error = await http_failure(raw, path=secret_path)
        assert CANARY not in str(error)
        assert CANARY not in str(getattr(error, "reason", ""))


async def test_bep48_scrape_over_http():
    counts: Any = {b"complete": 1, b"incomplete": 2, b"downloaded": 3}
    body = encode({b"files": {bytes(INFO_HASH): counts}})
    async with (
        rude_server(answering(response(body))) as server,
        open_tracker_client(CONFIG) as client,
    ):
        found = await client.scrape(f"{server.base}/announce?k=1", [INFO_HASH])
        with pytest.raises(TrackerError, match="no scrape URL"):
            await client.scrape(f"{server.base}/other", [INFO_HASH])
    assert found == {INFO_HASH: ScrapeCounts(seeds=1, leeches=2, downloads=3)}
    assert server.requests[0].startswith(b"GET /scrape?k=1&info_hash=hhhh")


async def test_an_unknown_host_is_a_tracker_error():
    with pytest.raises(TrackerError, match="cannot resolve"):
        await announce("http://nowhere.invalid/announce")


async def test_bep7_both_families_of_a_name_are_announced_to():
    async with EmbeddedTracker() as tracker:
        if len(tracker.hosts) < 2:
            pytest.skip("this machine has no IPv6 loopback")
        for scheme in ("http", "udp"):
            url = f"{scheme}://both.example:{tracker.port}/announce"
            other = replace(REQUEST, peer_id=PeerId(b"q" * 20), port=7)
            hosts = {"both.example": ["127.0.0.1", "::1"]}
            async with open_tracker_client(CONFIG, resolver=resolver(**hosts)) as client:
                await client.announce(url, REQUEST)
                got = await client.announce(url, other)
            assert {PeerAddress("127.0.0.1", 6881), PeerAddress("::1", 6881)} <= set(got.peers)


async def test_bep7_one_family_that_answers_is_enough(monkeypatch):
    monkeypatch.setattr(tracker_client, "SECOND_FAMILY_GRACE_S", 0.1)
    async with EmbeddedTracker("127.0.0.1") as tracker:
        for scheme in ("http", "udp"):
            url = f"{scheme}://both.example:{tracker.port}/announce"
            with anyio.fail_after(30):
                got = await announce(url, **{"both.example": ["::1", "127.0.0.1"]})
            assert got.interval_s == 1800.0


async def test_bep7_a_silent_family_does_not_take_the_turn_of_the_other(monkeypatch):
    monkeypatch.setattr(tracker_client, "SECOND_FAMILY_GRACE_S", 0.1)

    async def silent(_stream, _head):
        await anyio.sleep_forever()

    config = replace(CONFIG, max_concurrent=1)
    async with rude_server(silent) as server, EmbeddedTracker("::1", server.port) as tracker:
        if not tracker.hosts:
            pytest.skip("this machine has no IPv6 loopback")
        url = f"http://both.example:{server.port}/announce"
        with anyio.fail_after(CONFIG.read_timeout_s - 1):
            got = await announce(url, config, **{"both.example": ["127.0.0.1", "::1"]})
    assert got.interval_s == 1800.0
    assert len(server.requests) == 1


async def test_bep12_patience_begins_when_it_is_an_announces_turn():
    is_asked = anyio.Event()

    async def slow(stream, head):
        is_asked.set()
        await anyio.sleep(2.5 if b"/slow" in head else 0.0)
        await stream.send(response(PEERS))

    config = replace(CONFIG, max_concurrent=1)
    async with (
        rude_server(slow) as server,
        open_tracker_client(config) as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(client.announce, f"{server.base}/slow/announce", REQUEST)
        await is_asked.wait()
        url = f"{server.base}/quick/announce"
        got = await client.announce(url, REQUEST, patience_s=2.0)
    assert got.interval_s == 99.0
    assert len(server.requests) == 2


async def test_announces_whose_names_are_not_answered_keep_no_other_one_waiting():
    hosts, asked = resolver(**{"good.example": ["127.0.0.1"]}), []

    async def look_up(host, port):
        if host.endswith("silent"):
            asked.append(host)
            await anyio.sleep_forever()
        return await hosts(host, port)

    async with (
        rude_server(answering(response(PEERS))) as server,
        open_tracker_client(CONFIG, resolver=look_up) as client,
        anyio.create_task_group() as tasks,
    ):
        for number in range(2 * CONFIG.max_concurrent):
            request = replace(REQUEST, info_hash=InfoHash(number.to_bytes(20, "big")))
            tasks.start_soon(client.announce, f"http://{number}.silent/announce", request)
        with anyio.fail_after(30):
            await until(lambda: len(asked) >= CONFIG.max_concurrent)
            got = await client.announce(f"{server.base}/announce", REQUEST)
        assert got.interval_s == 99.0
        tasks.cancel_scope.cancel()


async def test_bep12_a_tracker_is_waited_for_no_longer_than_there_is_patience():
    async def silent(_stream, _head):
        await anyio.sleep_forever()

    async with rude_server(silent) as server, open_tracker_client(CONFIG) as client:
        with pytest.raises(TrackerTimeoutError, match=r"no response in 2 s") as caught:
            await client.announce(f"{server.base}/announce", REQUEST, patience_s=2.0)
    assert caught.value.is_sent


async def test_bep3_an_http_announce_without_a_connection_is_not_sent(monkeypatch):
    async def connect(*_arguments, **_options):
        await anyio.sleep_forever()

    monkeypatch.setattr(connections._Backend, "connect_tcp", connect)
    async with open_tracker_client(CONFIG) as client:
        with pytest.raises(TrackerTimeoutError) as caught:
            await client.announce("http://127.0.0.1:1/announce", REQUEST, patience_s=0.1)
    assert not caught.value.is_sent


# UDP


class UdpTrackerScript:
    """A UDP tracker that answers by script: a list of functions of the packet."""

    def __init__(self, *steps):
        self.steps = list(steps)
        self.packets: list[bytes] = []
        self.remotes: list[tuple[str, int]] = []
        self.port = 0

    async def __aenter__(self):
        self.tasks = await anyio.create_task_group().__aenter__()
        self.udp = await anyio.create_udp_socket(local_host="127.0.0.1")
        self.port = self.udp.extra(anyio.abc.SocketAttribute.local_port)
        self.tasks.start_soon(self.serve)
        return self

    async def __aexit__(self, *_):
        self.tasks.cancel_scope.cancel()
        await self.tasks.__aexit__(None, None, None)

    @property
    def url(self):
        return f"udp://127.0.0.1:{self.port}/announce?k=1"

    async def serve(self):
        async with self.udp:
            async for packet, remote in self.udp:
                self.packets.append(packet)
                self.remotes.append(remote)
                step = self.steps.pop(0) if self.steps else (lambda _packet: None)
                answer = step(packet)
                if answer is not None:
                    await self.udp.sendto(answer, *remote)


def txid(packet):
    return unpack_from(">I", packet, 12)[0]


def connect(packet):
    return pack(">IIQ", 0, txid(packet), 77)


def peers(packet):
    return pack(">IIIII", 1, txid(packet), 60, 1, 2) + b"\x01\x02\x03\x04\x00\x50"


def refuse(packet):
    return pack(">II", 3, txid(packet)) + b"go away " + CANARY.encode()


def silence(_packet):
    return None


def spoofed(packet):
    return pack(">IIIII", 1, txid(packet) ^ 1, 60, 1, 2) + b"\x06\x06\x06\x06\x00\x06"


async def test_bep15_announce_over_udp():
    async with UdpTrackerScript(connect, peers) as tracker:
        got = await announce(tracker.url)
    assert got.peers == (PeerAddress("1.2.3.4", 80),)
    assert tracker.packets[1].endswith(b"\x02\x0d/announce?k=1\x00")


@pytest.mark.parametrize(("steps", "is_sent"), [([silence], False), ([connect, silence], True)])
async def test_bep15_an_announce_is_sent_when_there_is_a_connection_id(steps, is_sent):
    async with UdpTrackerScript(*steps) as tracker, open_tracker_client(CONFIG) as client:
        with pytest.raises(TrackerTimeoutError) as caught:
            await client.announce(tracker.url, REQUEST, patience_s=2.0)
    assert caught.value.is_sent is is_sent


async def test_bep15_lost_packets_are_sent_again():
    async with UdpTrackerScript(silence, connect, silence, peers) as tracker:
        got = await announce(tracker.url, replace(CONFIG, udp_first_timeout_s=1.0))
    assert got.seeds == 2
    assert tracker.packets[0] == tracker.packets[1]
    assert tracker.packets[2] == tracker.packets[3]


async def test_bep15_the_connection_id_is_used_again():
    async with (
        UdpTrackerScript(connect, peers, peers) as tracker,
        open_tracker_client(CONFIG, rng=random.Random(1)) as client,
    ):
        await client.announce(tracker.url, REQUEST)
        await client.announce(tracker.url, REQUEST)
    assert [len(packet) for packet in tracker.packets] == [16, 114, 114]


async def test_bep15_requests_side_by_side_get_their_own_answers():
    async with EmbeddedTracker("127.0.0.1") as tracker, open_tracker_client(CONFIG) as client:
        seen: list[int] = []

        async def one(number):
            info_hash = InfoHash(bytes([number]) * 20)
            await client.announce(tracker.udp_url, replace(REQUEST, info_hash=info_hash))
            counts = await client.scrape(tracker.udp_url, [info_hash])
            assert counts[info_hash].leeches == 1
            seen.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(one, number)
    assert sorted(seen) == list(range(20))


async def test_d4_udp_refusal_is_redacted():
    async with UdpTrackerScript(connect, refuse) as tracker:
        with pytest.raises(TrackerRefusedError) as caught:
            await announce(f"udp://127.0.0.1:{tracker.port}/{CANARY}/announce")
    assert caught.value.reason == "go away ***"


async def test_c5_spoofed_answers_are_not_believed():
    async with UdpTrackerScript(connect, spoofed, peers) as tracker:
        got = await announce(tracker.url, replace(CONFIG, udp_first_timeout_s=1.0))
    assert got.peers == (PeerAddress("1.2.3.4", 80),)


async def test_c5_answers_from_another_address_are_not_believed():
    """The forger knows the transaction id, and still it is not who was asked."""
    async with await anyio.create_udp_socket(local_host="127.0.0.1") as forger:
        reply_to: list[tuple[str, int]] = []

        async def forge(packet, remote):
            await forger.sendto(peers(packet), *remote)

        class Forged(UdpTrackerScript):
            async def serve(self):
                async with self.udp:
                    async for packet, remote in self.udp:
                        reply_to.append(remote)
                        if len(packet) == 16:
                            await self.udp.sendto(connect(packet), *remote)
                        else:
                            await forge(packet, remote)

        async with Forged() as tracker:
            with pytest.raises(TrackerError, match="no response"):
                await announce(tracker.url, HASTY)
    assert len(reply_to) > 2


async def test_d3_a_silent_udp_tracker_is_given_up():
    async with UdpTrackerScript() as tracker:
        with pytest.raises(TrackerError, match=r"no response in 2 s"):
            await announce(tracker.url, HASTY)
    assert len(tracker.packets) >= 3


async def test_bep15_after_an_address_that_is_silent_another_one_of_the_name_is_asked():
    steps = [connect, peers] * 3
    async with UdpTrackerScript(*steps) as tracker:
        look_up = resolver(**{"two.example": ["127.0.0.2", "127.0.0.1"]})
        url = f"udp://two.example:{tracker.port}/announce"
        async with open_tracker_client(HASTY, resolver=look_up) as client:
            with pytest.raises(TrackerError):
                await client.announce(url, REQUEST)
            for _ in range(2):
                assert (await client.announce(url, REQUEST)).seeds == 2
            tracker.steps.clear()
            with pytest.raises(TrackerError):  # now all are silent: from the first again
                await client.announce(url, REQUEST)
            with pytest.raises(TrackerError):
                await client.announce(url, REQUEST)


async def test_bep15_nonsense_with_the_right_transaction_is_a_tracker_error():
    async with UdpTrackerScript(connect, lambda packet: peers(packet)[:10]) as tracker:
        with pytest.raises(TrackerError, match="BEP 15"):
            await announce(tracker.url)


async def test_an_address_without_a_route_fails_at_once():
    async with anyio.create_task_group() as tasks:
        udp = UdpTrackers(tasks, config=CONFIG, rng=random.Random(1))
        with pytest.raises(TrackerError, match="no route"):
            await udp.ask("255.255.255.255", 80, UdpAnnounce(REQUEST))


@asynccontextmanager
async def asking_over(*hosts, only=False):
    async with open_datagrams(hosts, 0) as datagrams, open_tracker_client(PATIENT) as client:
        client.share(datagrams, only=only)
        yield client, datagrams


async def test_bep15_a_tracker_is_asked_from_the_listening_port():
    async with (
        UdpTrackerScript(connect, peers, peers) as tracker,
        asking_over("127.0.0.1") as (client, datagrams),
    ):
        for _ in range(2):
            assert (await client.announce(tracker.url, REQUEST)).seeds == 2
            client.share(None)
        is_shared = [port == datagrams.port for _, port in tracker.remotes]
    assert is_shared == [True, True, False]


class Device(Binding):
    """A device that a test deletes and creates again; the sockets reach everything."""

    def __init__(self):
        super().__init__(None)
        self.bound = []
        self.deleted = 0

    def to_device(self, sock):
        self.bound.append(sock)

    def is_current(self, sock):
        return sock in self.bound[self.deleted :]


async def test_own_sockets_are_replaced_after_their_device_was_created_again():
    device = Device()
    async with (
        UdpTrackerScript(connect, peers, peers, peers) as tracker,
        open_tracker_client(PATIENT, binding=device) as client,
    ):
        for _ in range(3):
            assert (await client.announce(tracker.url, REQUEST)).seeds == 2
            device.deleted = 1
        assert [sock.fileno() >= 0 for sock in device.bound] == [False, True]
    assert device.bound[1].fileno() == -1


async def test_bep15_what_the_listening_sockets_do_not_reach_is_asked_over_others():
    async with (
        UdpTrackerScript(connect, peers) as tracker,
        asking_over("::1") as (client, _),
    ):
        assert (await client.announce(tracker.url, REQUEST)).seeds == 2


async def test_a_confined_tracker_client_sends_nothing_past_its_sockets():
    async with (
        UdpTrackerScript(connect, peers) as tracker,
        asking_over("::1", only=True) as (client, _),
    ):
        with pytest.raises(TrackerError, match="cannot send"):
            await client.announce(tracker.url, REQUEST)
    assert tracker.packets == []


async def test_d3_no_more_than_the_limit_are_asked_at_once():
    async def slow(stream, _head):
        await anyio.sleep(0.02)
        await stream.send(response(PEERS))

    async with (
        rude_server(slow) as server,
        open_tracker_client(replace(CONFIG, max_concurrent=3)) as client,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(9):
            tasks.start_soon(client.announce, f"{server.base}/announce", REQUEST)
    assert len(server.requests) == 9
    assert server.most_open <= 3


async def test_an_error_in_the_block_leaves_as_itself():
    with pytest.raises(KeyError):
        async with open_tracker_client(CONFIG):
            raise KeyError("mine")
