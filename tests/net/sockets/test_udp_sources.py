"""Answers leave from the address that was asked, where a socket is bound to all of ours."""

import socket
import struct
import sys
from collections.abc import Iterator

import pytest

from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.sockets.datagrams import bind_udp
from torrent_engine.net.sockets.udp_batches import UdpSocket
from torrent_engine.net.sockets.udp_sources import MAX_KNOWN, UdpSources

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system chooses")

SECOND = "127.0.0.5"
PEER = PeerAddress("192.0.2.1", 6881)
IPV4 = (socket.IPPROTO_IP, 8)
IPV6 = (socket.IPPROTO_IPV6, 50)


@pytest.fixture
def everywhere() -> Iterator[UdpSocket]:
    sock = UdpSocket(bind_udp("0.0.0.0", 0))
    yield sock
    sock.close()


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(30)
        yield sock


def ask(everywhere: UdpSocket, client: socket.socket, host: str) -> PeerAddress:
    """Send one datagram to an address of ours, and return who is to be answered."""
    client.sendto(b"question", (host, everywhere.port))
    trains = everywhere.receive()[0]
    while not trains:
        trains = everywhere.receive()[0]
    return trains[0].address


def test_a_datagram_answers_from_the_address_that_was_asked(
    everywhere: UdpSocket, client: socket.socket
) -> None:
    for host in (SECOND, "127.0.0.1", SECOND):
        assert everywhere.send(b"answer", ask(everywhere, client, host))
        assert client.recvfrom(100) == (b"answer", (host, everywhere.port))


@pytest.mark.parametrize("count", [1, 5])
def test_packets_answer_from_the_address_that_was_asked(
    everywhere: UdpSocket, client: socket.socket, count: int
) -> None:
    address = ask(everywhere, client, SECOND)
    assert everywhere.send_packets([(b"head", b"payload")] * count, address) == count
    for _ in range(count):
        assert client.recvfrom(100) == (b"headpayload", (SECOND, everywhere.port))


def test_where_that_address_is_gone_the_system_chooses_again(
    everywhere: UdpSocket, client: socket.socket
) -> None:
    address = PeerAddress(*client.getsockname())
    gone = struct.pack("=I4s4s", 0, socket.inet_aton("192.0.2.7"), bytes(4))
    for again in (False, True):
        everywhere._sources.note(address, *IPV4, gone)
        if again:
            assert everywhere.send_packets([(b"x", b"y")], address) == 1
        else:
            assert not everywhere.send(b"lost", address)
        assert everywhere.send(b"answer", address)
        assert client.recvfrom(100) == (b"answer", ("127.0.0.1", everywhere.port))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_run_arrives_and_can_be_sent_again_where_that_address_is_gone(host: str) -> None:
    gone4 = struct.pack("=I4s4s", 0, socket.inet_aton("192.0.2.7"), bytes(4))
    gone6 = socket.inet_pton(socket.AF_INET6, "2001:db8::77") + bytes(4)
    our = UdpSocket(bind_udp("::" if ":" in host else "0.0.0.0", 0))
    there = bind_udp(host, 0)
    try:
        there.settimeout(30)
        address = PeerAddress(*there.getsockname()[:2])
        kind, gone = (IPV6, gone6) if ":" in host else (IPV4, gone4)
        for _ in range(4):
            our._sources.note(address, *kind, gone)
            assert our.send_packets([(b"head", b"payload")] * 5, address) == 5
            assert [there.recv(100) for _ in range(5)] == [b"headpayload"] * 5
        assert our.can_segment
    finally:
        our.close()
        there.close()


def test_a_socket_of_one_address_has_no_choice() -> None:
    sock = UdpSocket(bind_udp("127.0.0.1", 0))
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        address = ask(sock, client, "127.0.0.1")
    assert sock._sources.source_for(address) == ()
    sock.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_what_is_remembered_is_bounded_and_says_nothing_of_interfaces(host: str) -> None:
    with bind_udp(host, 0) as sock:
        sources = UdpSources(sock)
        if ":" in host:
            kind, value = IPV6, socket.inet_pton(socket.AF_INET6, "2001:db8::5") + b"\x07\0\0\0"
            expected = value[:16] + bytes(4)
        else:
            ours = socket.inet_aton("192.0.2.5")
            kind, value = IPV4, struct.pack("=I4s4s", 7, ours, ours)
            expected = struct.pack("=I4s4s", 0, ours, bytes(4))
        for number in range(MAX_KNOWN + 1):
            sources.note(PeerAddress("192.0.2.1", number), *kind, value)
        sources.note(PEER, *kind, value)
        assert len(sources._known) == 2
        assert sources.source_for(PEER) == ((*kind, expected),)
        sources.forget(PEER)
        assert sources.source_for(PEER) == ()


def test_a_link_local_address_keeps_its_interface() -> None:
    with bind_udp("::", 0) as sock:
        sources = UdpSources(sock)
        value = socket.inet_pton(socket.AF_INET6, "fe80::5") + b"\x07\0\0\0"
        sources.note(PEER, *IPV6, value)
        assert sources.source_for(PEER) == ((*IPV6, value),)


def test_what_is_no_place_is_passed_over() -> None:
    with bind_udp("0.0.0.0", 0) as sock:
        sources = UdpSources(sock)
        sources.note(PEER, socket.SOL_SOCKET, 35, bytes(16))
        assert sources.source_for(PEER) == ()
