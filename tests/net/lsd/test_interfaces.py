"""Where local service discovery speaks, and whose announces it believes."""

import ctypes
import ipaddress
import socket
import sys

import pytest

from torrent_engine.net.lsd.interfaces import MulticastInterface, is_local, multicast_interfaces
from torrent_engine.net.sockets import interfaces as module
from torrent_engine.net.sockets.interfaces import Interface, interfaces


def interface(index: int, *addresses: str, multicast: bool = True) -> Interface:
    found = tuple(ipaddress.ip_interface(text) for text in addresses)
    return Interface(f"if{index}", index, False, multicast, found)


LO = Interface("lo", 1, True, False, tuple(map(ipaddress.ip_interface, ("127.0.0.1/8", "::1/128"))))
HOME = interface(2, "192.168.1.7/24", "fe80::1/64", "2001:db8:1::7/64")
OFFICE = interface(3, "10.1.2.3/16", "fe80::2/64")
TUNNEL = interface(4, "10.9.0.1/24", multicast=False)
ALL = [LO, HOME, OFFICE, TUNNEL]


def where(hosts: tuple[str, ...], found: list[Interface]) -> list[tuple[int, bool, str | None]]:
    return [
        (place.index, place.is_ipv6, place.source) for place in multicast_interfaces(hosts, found)
    ]


CASES = {
    "everywhere": (("0.0.0.0", "::"), ALL, [(2, False, None), (3, False, None), (2, True, None)]),
    "ipv4_only": (("0.0.0.0",), ALL, [(2, False, None), (3, False, None)]),
    "one_address": (("10.1.2.3",), ALL, [(3, False, "10.1.2.3")]),
    "one_ipv6_address": (("2001:db8:1::7",), ALL, [(2, True, "2001:db8:1::7")]),
    "loopback": (("127.0.0.1", "::1"), ALL, [(1, False, "127.0.0.1"), (1, True, "::1")]),
    "another_loopback_address": (("127.9.9.9",), ALL, [(1, False, "127.9.9.9")]),
    "an_address_that_nobody_has": (("192.0.2.1",), ALL, []),
    "only_loopback_there": (("0.0.0.0", "::"), [LO], [(1, False, "127.0.0.1"), (1, True, "::1")]),
    "link_local_is_not_enough": (("::",), [OFFICE], []),
    "nothing_there": (("0.0.0.0",), [interface(9)], []),
    "twice_the_same": (("10.1.2.3", "10.1.2.3"), ALL, [(3, False, "10.1.2.3")]),
    "not_told": (("0.0.0.0", "::1"), [], [(0, False, None), (0, True, "::1")]),
}


@pytest.mark.parametrize(("hosts", "found", "expected"), CASES.values(), ids=CASES.keys())
def test_bep14_announces_go_where_we_listen(
    hosts: tuple[str, ...],
    found: list[Interface],
    expected: list[tuple[int, bool, str | None]],
) -> None:
    assert where(hosts, found) == expected


NEAR = ["192.168.1.9", "10.1.200.9", "2001:db8:1::9", "192.168.1.7"]
FAR = [
    "192.168.2.9",
    "10.2.0.1",
    "10.9.0.2",
    "8.8.8.8",
    "2001:db8:2::9",
    "fe80::9",
    "fe80::9%eth0",
    "127.0.0.1",
    "::1",
    "no address",
]


@pytest.mark.parametrize("host", NEAR)
def test_c6_who_is_in_a_network_of_ours_is_believed(host: str) -> None:
    assert is_local(host, multicast_interfaces(("0.0.0.0", "::"), ALL))


@pytest.mark.parametrize("host", FAR)
def test_c6_who_is_elsewhere_is_not_believed(host: str) -> None:
    assert not is_local(host, multicast_interfaces(("0.0.0.0", "::"), ALL))


def test_c6_who_listens_on_loopback_believes_loopback_only() -> None:
    here = multicast_interfaces(("127.0.0.1", "::1"), ALL)
    assert is_local("127.0.0.1", here)
    assert is_local("::1", here)
    assert not any(is_local(host, here) for host in NEAR)


def test_c6_where_interfaces_are_not_told_private_addresses_are_near() -> None:
    here = multicast_interfaces(("0.0.0.0",), [])
    assert isinstance(here[0], MulticastInterface)
    assert is_local("192.168.1.9", here)
    assert is_local("fd00::9", here)
    assert not is_local("8.8.8.8", here)


def test_the_loopback_interface_is_found() -> None:
    loopback = [each for each in interfaces() if each.is_loopback]
    assert len(loopback) == 1
    assert socket.if_indextoname(loopback[0].index) == loopback[0].name
    assert ipaddress.ip_interface("127.0.0.1/8") in loopback[0].addresses


def test_a_system_that_tells_nothing_has_no_known_interfaces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert interfaces() == []


def test_an_interface_that_is_gone_by_now_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_name: str) -> int:
        raise OSError("no such device")

    monkeypatch.setattr(socket, "if_nametoindex", gone)
    assert interfaces() == []


def test_addresses_of_bsd_systems_have_a_length_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IS_BSD", True)
    family = int(socket.AF_INET)
    address = ctypes.create_string_buffer(bytes([16, family, 0, 0, 10, 1, 2, 3]) + bytes(8))
    netmask = ctypes.create_string_buffer(bytes([6, 0, 0, 0, 255, 255]) + b"\xff" * 10)
    fields = module._IfAddrs(name=b"en0", flags=module.UP)
    fields.address = ctypes.addressof(address)
    fields.netmask = ctypes.addressof(netmask)
    assert module._entry(fields) == ("en0", module.UP, ipaddress.ip_interface("10.1.2.3/16"))


def test_c6_a_name_to_listen_at_is_no_place() -> None:
    assert where(("localhost", "127.0.0.1"), ALL) == [(1, False, "127.0.0.1")]
