"""Datagrams through a SOCKS5 proxy."""

import errno
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from struct import pack, unpack_from
from typing import cast

import anyio
import anyio.abc
import pytest

from tests.support.small_proxy import SmallProxy, small_proxy
from torrent_engine.base.config import ProxyConfig, ProxyKind, TrackerConfig
from torrent_engine.base.errors import ProxyError, TrackerError
from torrent_engine.base.ids import InfoHash, PeerAddress, PeerId
from torrent_engine.net.proxy import socks_datagrams
from torrent_engine.net.proxy.proxy import Proxy
from torrent_engine.net.proxy.socks_datagrams import SocksDatagrams
from torrent_engine.net.sockets.binding import UNBOUND, Binding
from torrent_engine.net.sockets.udp_batches import CoalescedDatagrams, UdpSocket
from torrent_engine.net.tracker.udp import UdpTrackers
from torrent_engine.protocol.socks_udp import encode_header
from torrent_engine.protocol.tracker.announce import (
    AnnounceRequest,
    AnnounceResponse,
    AnnounceTotals,
)
from torrent_engine.protocol.tracker.udp_exchange import UdpAnnounce

pytestmark = pytest.mark.anyio

NOWHERE = PeerAddress("127.0.0.1", 9)


class Hearer:
    """Takes all datagrams."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, PeerAddress]] = []
        self.batches = 0

    def receive_datagram(self, data: bytes, address: PeerAddress) -> None:
        self.heard.append((data, address))

    def batch_ended(self) -> None:
        self.batches += 1


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - it is the condition of others
            await anyio.sleep(0.005)


def proxy_of(proxy: SmallProxy) -> Proxy:
    return Proxy(ProxyConfig(ProxyKind(proxy.kind), proxy.host, proxy.port))


@asynccontextmanager
async def relayed(proxy: SmallProxy, binding: Binding = UNBOUND) -> AsyncIterator[SocksDatagrams]:
    datagrams = SocksDatagrams(proxy_of(proxy), binding=binding)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(datagrams.run)
        yield datagrams
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def echoing() -> AsyncIterator[PeerAddress]:
    """Somebody who sends each datagram back."""

    async def echo(udp: anyio.abc.UDPSocket) -> None:
        async for data, (host, port) in udp:
            await udp.sendto(data, host, port)

    async with (
        await anyio.create_udp_socket(local_host="127.0.0.1") as udp,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(echo, udp)
        yield PeerAddress("127.0.0.1", udp.extra(anyio.abc.SocketAttribute.local_port))
        tasks.cancel_scope.cancel()


async def test_a_datagram_goes_there_and_its_answer_comes_back() -> None:
    async with small_proxy() as proxy, echoing() as echo, relayed(proxy) as datagrams:
        hearer = Hearer()
        datagrams.route(b"d", hearer)
        assert not datagrams.is_up
        assert not datagrams.send(b"d lost", echo)
        await until(lambda: datagrams.is_up)
        assert datagrams.send(b"d one", echo)
        assert datagrams.send_packets([(b"d", b" two"), (b"d ", b"2nd"), (b"d", b"")], echo) == 3
        assert datagrams.send(b"nobody's", echo)
        await until(lambda: len(hearer.heard) == 4)
        assert sorted(data for data, _ in hearer.heard) == [b"d", b"d 2nd", b"d one", b"d two"]
        assert {address for _, address in hearer.heard} == {echo}
        assert hearer.batches
        assert datagrams.dropped_count == 1
        datagrams.unroute(hearer)
        assert datagrams.send(b"d more", echo)
        await datagrams.wait_writable(echo)
        assert (datagrams.port, datagrams.port_of(is_ipv6=True)) == (0, 0)


async def test_packets_of_one_size_go_in_few_calls_and_arrive_apart() -> None:
    packets = [(bytes([0x01, number]), bytes(1000)) for number in range(60)]
    async with small_proxy() as proxy, echoing() as echo, relayed(proxy) as datagrams:
        hearer = Hearer()
        datagrams.route(b"\x01", hearer)
        await until(lambda: datagrams.is_up)
        for packet in packets:
            assert datagrams.send_packets([packet] * 3, echo) == 3
            await until(lambda: len(hearer.heard) >= 3)
            assert {data for data, _ in hearer.heard} == {b"".join(packet)}
            hearer.heard.clear()


async def test_names_go_to_the_proxy() -> None:
    async with small_proxy() as proxy, echoing() as echo, relayed(proxy) as datagrams:
        proxy.places["tracker.test", 80] = tuple(echo)  # type: ignore[assignment]
        hearer = Hearer()
        datagrams.route(b"x", hearer)
        await until(lambda: datagrams.is_up)
        assert datagrams.send(b"x", PeerAddress("tracker.test", 80))
        await until(lambda: hearer.heard)
        assert hearer.heard == [(b"x", echo)]
        assert proxy.datagrams_to == [("tracker.test", 80)]


async def test_what_cannot_be_addressed_is_lost() -> None:
    async with small_proxy() as proxy, relayed(proxy) as datagrams:
        await until(lambda: datagrams.is_up)
        assert not datagrams.send(b"x", PeerAddress("127.0.0.1", 0))
        assert datagrams.send_packets([(b"x", b"")], PeerAddress("", 1)) == 1
        assert datagrams.dropped_count == 2


async def test_it_relays_again_after_the_proxy_hung_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socks_datagrams, "FIRST_RETRY_S", 0.01)
    async with small_proxy() as proxy, echoing() as echo, relayed(proxy) as datagrams:
        hearer = Hearer()
        datagrams.route(b"x", hearer)
        await until(lambda: datagrams.is_up)
        await proxy.links[0].aclose()
        await until(lambda: proxy.associations == 2 and datagrams.is_up)
        assert datagrams.send(b"x", echo)
        await until(lambda: hearer.heard)


async def test_it_is_tried_again_when_there_is_no_socket_for_the_relay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socks_datagrams, "FIRST_RETRY_S", 0.01)
    failed = []

    class NoDescriptors:
        """The socket module while the process has no descriptors."""

        def __getattr__(self, name: str) -> object:
            return getattr(socket, name)

        def socket(self, *_: object) -> socket.socket:
            failed.append(OSError(errno.EMFILE, "Too many open files"))
            if len(failed) == 2:
                monkeypatch.setattr(socks_datagrams, "socket", socket)
            raise failed[-1]

    monkeypatch.setattr(socks_datagrams, "socket", NoDescriptors())
    async with small_proxy() as proxy, relayed(proxy) as datagrams:
        await until(lambda: datagrams.is_up)
        assert len(failed) == 2


async def test_a_proxy_that_relays_nothing_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socks_datagrams, "FIRST_RETRY_S", 0.01)
    async with small_proxy(relays_datagrams=False) as proxy, relayed(proxy) as datagrams:
        await until(lambda: len(proxy.links) > 2)
        assert not datagrams.is_up
        await datagrams.wait_writable(NOWHERE)  # does not wait for ever
        proxy.relays_datagrams = True
        await until(lambda: datagrams.is_up)


@pytest.mark.parametrize("kind", ["socks4", "http"])
async def test_other_proxies_carry_no_datagrams(kind: str) -> None:
    async with small_proxy(kind) as proxy:
        with pytest.raises(ProxyError, match=kind):
            await proxy_of(proxy).associate(30.0)
        assert proxy.links == []


async def test_a_relay_at_a_name_is_not_looked_up() -> None:
    async with small_proxy(says=b"\5\0\5\0\0\3\4host\0\1") as proxy:
        with pytest.raises(ProxyError, match="is a name"):
            await proxy_of(proxy).associate(30.0)


def test_what_came_together_is_told_apart_and_malformed_ones_are_dropped() -> None:
    datagrams, hearer = SocksDatagrams(Proxy(ProxyConfig(ProxyKind.SOCKS5, "h", 1))), Hearer()
    datagrams.route(b"x", hearer)
    headers = [encode_header("192.0.2.1", 1), encode_header("192.0.2.2", 2)]
    parts = [headers[0] + b"x1", headers[0] + b"x2", headers[1] + b"x3", b"\1" * 12, headers[1]]
    train = CoalescedDatagrams(b"".join(parts), 12, NOWHERE, 0.5)
    trains = list(datagrams._unwrap(train))
    one, two = PeerAddress("192.0.2.1", 1), PeerAddress("192.0.2.2", 2)
    assert trains == [
        CoalescedDatagrams(b"x1x2", 2, one, 0.5),
        CoalescedDatagrams(b"x3", 2, two, 0.5),
    ]


# -- trackers ---------------------------------------------------------------------------------

CONFIG = TrackerConfig(udp_first_timeout_s=0.5)
ANNOUNCE = UdpAnnounce(
    AnnounceRequest(
        info_hash=InfoHash(b"h" * 20),
        peer_id=PeerId(b"p" * 20),
        port=6881,
        totals=AnnounceTotals(uploaded_bytes=0, downloaded_bytes=0, left_bytes=1),
    )
)


@asynccontextmanager
async def tracking() -> AsyncIterator[PeerAddress]:
    """A UDP tracker with one peer."""

    async def serve(udp: anyio.abc.UDPSocket) -> None:
        async for data, (host, port) in udp:
            if len(data) == 16:
                answer = pack(">IIQ", 0, unpack_from(">I", data, 12)[0], 7)
            else:
                answer = pack(">IIIII", 1, unpack_from(">I", data, 12)[0], 99, 0, 0)
                answer += b"\x01\x02\x03\x04\x00\x50"
            await udp.sendto(answer, host, port)

    async with (
        await anyio.create_udp_socket(local_host="127.0.0.1") as udp,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(serve, udp)
        yield PeerAddress("127.0.0.1", udp.extra(anyio.abc.SocketAttribute.local_port))
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("host", ["127.0.0.1", "tracker.test"])
async def test_bep15_a_tracker_is_asked_through_the_proxy(host: str) -> None:
    async with (
        small_proxy() as proxy,
        tracking() as tracker,
        relayed(proxy) as datagrams,
        anyio.create_task_group() as tasks,
    ):
        proxy.places["tracker.test", tracker.port] = tuple(tracker)  # type: ignore[assignment]
        trackers = UdpTrackers(tasks, config=CONFIG, rng=random.Random(1))
        trackers.share(datagrams, only=True)
        await until(lambda: datagrams.is_up)
        answer = await trackers.ask(host, tracker.port, ANNOUNCE)
        assert isinstance(answer, AnnounceResponse)
        assert answer.peers == (PeerAddress("1.2.3.4", 80),)
        assert set(proxy.datagrams_to) == {(host, tracker.port)}


async def test_bep15_confined_to_no_datagrams_a_tracker_is_an_error() -> None:
    async with tracking() as tracker, anyio.create_task_group() as tasks:
        trackers = UdpTrackers(tasks, config=CONFIG, rng=random.Random(1))
        trackers.share(None, only=True)
        with pytest.raises(TrackerError, match="does not relay"):
            await trackers.ask(*tracker, ANNOUNCE)


@pytest.mark.parametrize(
    ("sender", "payload", "is_kept"),
    [
        (("192.0.2.1", 5), b"d1", True),
        (("2001:db8::1", 5), b"d1", True),
        (("evil.example", 5), b"d1", False),
        (("evil.example", 5), b"\x41", False),
        (("tracker.example", 5), b"\0\0\0\1", True),  # it is asked by its name
        (("0.0.0.0", 5), b"d1", False),
        (("255.255.255.255", 5), b"d1", False),
        (("192.0.2.1", 5), b"", False),
    ],
)
def test_datagrams_of_senders_that_are_no_addresses_are_dropped(
    sender: tuple[str, int], payload: bytes, *, is_kept: bool
) -> None:
    datagrams = SocksDatagrams(Proxy(ProxyConfig(ProxyKind.SOCKS5, "127.0.0.1", 1080)))
    data = encode_header(*sender) + payload
    found = list(datagrams._unwrap(CoalescedDatagrams(data, len(data), NOWHERE, 0.0)))
    kept = CoalescedDatagrams(payload, len(payload), PeerAddress(*sender), 0.0)
    assert found == ([kept] if is_kept else [])


def test_a_batch_that_takes_long_is_delivered_over_several_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socks_datagrams, "MAX_BATCH_S", -1.0)  # one a turn
    datagrams = SocksDatagrams(Proxy(ProxyConfig(ProxyKind.SOCKS5, "127.0.0.1", 1080)))
    hearer = Hearer()
    datagrams.route(b"d", hearer)
    senders = [PeerAddress("192.0.2.1", 1 + number) for number in range(3)]
    relay = datagrams._relay
    batches = [[encode_header(*sender) + b"d" for sender in senders], []]

    class Socket:
        def receive(self) -> tuple[list[CoalescedDatagrams], bool]:
            batch = batches.pop(0)
            return [CoalescedDatagrams(each, len(each), relay, 0.0) for each in batch], False

    udp = cast("UdpSocket", Socket())
    assert [datagrams._read_batch(udp) for _ in range(4)] == [True, True, True, False]
    assert hearer.heard == [(b"d", sender) for sender in senders]
    assert not datagrams._read_batch(udp)
    assert not batches


async def test_bytes_on_the_connection_of_an_association_end_it() -> None:
    datagrams = SocksDatagrams(Proxy(ProxyConfig(ProxyKind.SOCKS5, "127.0.0.1", 1080)))
    ours, theirs = socket.socketpair()
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with ours, theirs, udp:
        for each in (ours, theirs, udp):
            each.setblocking(False)
        udp.bind(("127.0.0.1", 0))
        assert theirs.send(b"x" * 50_000) > 1_000
        with anyio.fail_after(60):
            await datagrams._relay_until_closed(ours, UdpSocket(udp))


class Device(Binding):
    """Every address of this machine; sockets are outdated when a test says so."""

    def __init__(self) -> None:
        super().__init__(None)
        self.outdated: set[socket.socket] = set()

    def is_current(self, sock: socket.socket) -> bool:
        return sock not in self.outdated


async def test_a_relay_whose_device_was_deleted_is_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socks_datagrams, "DEVICE_CHECK_INTERVAL_S", 0.01)
    monkeypatch.setattr(socks_datagrams, "FIRST_RETRY_S", 0.01)
    device, links = Device(), []
    associate = Proxy.associate

    async def noted(proxy: Proxy, timeout_s: float) -> tuple[socket.socket, PeerAddress]:
        link, relay = await associate(proxy, timeout_s)
        links.append(link)
        return link, relay

    monkeypatch.setattr(Proxy, "associate", noted)
    async with small_proxy() as proxy, relayed(proxy, device) as datagrams:
        await until(lambda: datagrams.is_up)
        device.outdated.add(links[0])
        await until(lambda: len(links) == 2 and datagrams.is_up)
        assert links[0].fileno() == -1
