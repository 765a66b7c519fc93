"""Sockets that keep to one interface, or to one address of ours."""

import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_interface

import pytest

from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.sockets.binding import UNBOUND, Binding
from torrent_engine.net.sockets.interfaces import Interface
from torrent_engine.net.sockets.system import HAS_DEVICES
from torrent_engine.net.sockets.tcp import dial, listen

LAN = Interface(
    "lan",
    7,
    is_loopback=False,
    is_multicast=True,
    addresses=tuple(
        map(ip_interface, ("127.0.0.9/8", "192.0.2.1/24", "fe80::1/64", "2001:db8::1/64"))
    ),
)
OTHER = Interface("other", 8, is_loopback=False, is_multicast=True, addresses=())
EVERYWHERE = ("0.0.0.0", "::")


def on(interface: str | None, *, has_devices: bool = False) -> Binding:
    return Binding(interface, has_devices=has_devices, find_interfaces=lambda: [OTHER, LAN])


@contextmanager
def unbound_socket(family: socket.AddressFamily = socket.AF_INET) -> Iterator[socket.socket]:
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        yield sock


def test_without_an_interface_nothing_is_bound() -> None:
    with unbound_socket() as sock:
        UNBOUND.apply(sock)
        assert sock.getsockname()[1] == 0
    assert UNBOUND.hosts(EVERYWHERE) == EVERYWHERE
    assert on(None).interfaces() == [OTHER, LAN]


def test_an_address_is_where_sockets_leave_and_listen() -> None:
    binding = on("127.0.0.9")
    with unbound_socket() as sock:
        binding.apply(sock)
        assert sock.getsockname()[0] == "127.0.0.9"
    assert binding.hosts(EVERYWHERE) == ["127.0.0.9"]
    assert binding.hosts(("127.0.0.1",)) == ["127.0.0.9"]
    assert binding.interfaces() == [LAN]


def test_an_address_of_one_family_leads_nowhere_in_the_other() -> None:
    with unbound_socket(socket.AF_INET6) as sock, pytest.raises(OSError, match="no address"):
        on("127.0.0.9").apply(sock)


def test_where_the_system_knows_no_devices_the_addresses_of_the_interface_serve() -> None:
    binding = on("lan")
    with unbound_socket() as sock:
        binding.apply(sock)
        assert sock.getsockname()[0] == "127.0.0.9"
    assert binding.hosts(EVERYWHERE) == ["127.0.0.9", "192.0.2.1", "2001:db8::1"]
    assert binding.hosts(("192.0.2.1",)) == ["192.0.2.1"]
    assert binding.interfaces() == [LAN]


def test_an_interface_that_is_not_there_lets_nothing_out() -> None:
    binding = on("none")
    with unbound_socket() as sock, pytest.raises(OSError, match="none") as caught:
        binding.apply(sock)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    assert binding.hosts(EVERYWHERE) == []


@pytest.mark.skipif(not HAS_DEVICES, reason="sockets are tied to interfaces on Linux only")
def test_on_linux_the_socket_is_tied_to_the_device() -> None:
    binding = on("lo", has_devices=True)
    with unbound_socket() as sock:
        binding.apply(sock)
        name = sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
        assert name.rstrip(b"\0") == b"lo"
    assert binding.hosts(EVERYWHERE) == EVERYWHERE


@pytest.mark.skipif(not HAS_DEVICES, reason="sockets are tied to interfaces on Linux only")
def test_a_socket_that_is_tied_to_another_device_or_none_is_not_current() -> None:
    with unbound_socket() as sock:
        assert UNBOUND.is_current(sock)
        assert on("lo").is_current(sock)  # where the system knows no devices
        assert not on("lo", has_devices=True).is_current(sock)
        on("lo", has_devices=True).apply(sock)
        assert on("lo", has_devices=True).is_current(sock)
        assert not on("lan", has_devices=True).is_current(sock)


@pytest.mark.skipif(not HAS_DEVICES, reason="sockets are tied to interfaces on Linux only")
def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(NetworkError, match="interface nope0: "):
        listen(EVERYWHERE, 0, Binding("nope0"))


@pytest.mark.skipif(sys.platform != "linux", reason="all of 127/8 is ours on Linux only")
@pytest.mark.anyio
async def test_a_dial_and_a_listener_keep_to_the_address() -> None:
    (listener,) = listen(("0.0.0.0",), 0, Binding("127.0.0.3"))
    with listener:
        host, port = listener.getsockname()
        assert host == "127.0.0.3"
        with await dial(PeerAddress(host, port), 30.0, Binding("127.0.0.2")) as sock:
            assert sock.getsockname()[0] == "127.0.0.2"


@pytest.mark.anyio
async def test_a_dial_from_an_address_that_is_not_ours_is_a_network_error() -> None:
    with pytest.raises(NetworkError, match=r"127\.0\.0\.1:9"):
        await dial(PeerAddress("127.0.0.1", 9), 30.0, Binding("192.0.2.77"))
    with pytest.raises(NetworkError):
        listen(("0.0.0.0",), 0, Binding("192.0.2.77"))
