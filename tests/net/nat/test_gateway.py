"""Which gateway there is: tables of routes as Linux prints them, and the guess elsewhere."""

import sys
from ipaddress import ip_interface
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.net.nat import gateway as module
from torrent_engine.net.nat.gateway import (
    Gateway,
    default_ipv4,
    default_ipv6,
    find_gateway,
    guessed_gateway,
)
from torrent_engine.net.sockets.interfaces import Interface

HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
LITTLE_ENDIAN = pytest.mark.skipif(sys.byteorder != "little", reason="as such machines print it")


def ipv4_row(
    gateway: str, *, target: str = "00000000", flags: str = "0003", metric: int = 0
) -> str:
    mask = "00000000" if target == "00000000" else "00FFFFFF"
    return f"eth0\t{target}\t{gateway}\t{flags}\t0\t0\t{metric}\t{mask}\t0\t0\t0\n"


def ipv6_row(
    gateway: str, *, bits: str = "00", metric: str = "00000400", flags: str = "00450003"
) -> str:
    zero = "0" * 32
    return f"{zero} {bits} {zero} 00 {gateway} {metric} 00000001 00000000 {flags}     eth0\n"


@LITTLE_ENDIAN
def test_the_default_route_of_ipv4_names_the_gateway() -> None:
    table = HEAD + ipv4_row("00000000", target="0001A8C0", flags="0001") + ipv4_row("0101A8C0")
    assert default_ipv4(table) == "192.168.1.1"


@LITTLE_ENDIAN
def test_of_several_default_routes_the_best_metric_counts() -> None:
    table = HEAD + ipv4_row("0101A8C0", metric=600) + ipv4_row("0100000A", metric=100)
    assert default_ipv4(table) == "10.0.0.1"


def test_the_default_route_of_ipv6_names_the_gateway_with_its_scope() -> None:
    link_local = "fe800000000000000000000000000001"
    public = "20010db8000000000000000000000001"
    assert default_ipv6(ipv6_row(link_local)) == "fe80::1%eth0"
    assert default_ipv6(ipv6_row(link_local) + ipv6_row(public, metric="00000100")) == "2001:db8::1"


NO_GATEWAY = {
    "empty": "",
    "head only": HEAD,
    "no gateway": HEAD + ipv4_row("00000000"),
    "route is down": HEAD + ipv4_row("0101A8C0", flags="0002"),
    "not via a gateway": HEAD + ipv4_row("0101A8C0", flags="0001"),
    "not the default route": HEAD + ipv4_row("0101A8C0", target="0001A8C0"),
    "cut short": HEAD + "eth0\t00000000\t0101A8C0",
    "no number": HEAD + ipv4_row("zzzzzzzz"),
    "number too large": HEAD + ipv4_row("0101A8C0FF"),
    "metric is no number": HEAD + ipv4_row("0101A8C0").replace("\t0\t0\t0\t0", "\t0\t0\tx\t0", 1),
}


@pytest.mark.parametrize("table", NO_GATEWAY.values(), ids=NO_GATEWAY.keys())
def test_a_table_without_a_usable_route_has_no_gateway(table: str) -> None:
    assert default_ipv4(table) is None


NO_GATEWAY6 = {
    "empty": "",
    "no gateway": ipv6_row("0" * 32),
    "not the default route": ipv6_row("fe80" + "0" * 27 + "1", bits="40"),
    "route is down": ipv6_row("fe80" + "0" * 27 + "1", flags="00000002"),
    "gateway cut short": ipv6_row("fe80"),
    "cut short": "0" * 32 + " 00",
    "no number": ipv6_row("z" * 32),
}


@pytest.mark.parametrize("table", NO_GATEWAY6.values(), ids=NO_GATEWAY6.keys())
def test_a_table_of_ipv6_without_a_usable_route_has_no_gateway(table: str) -> None:
    assert default_ipv6(table) is None


@given(st.text(alphabet="0123456789abcdefx \t\n", max_size=300))
def test_no_table_raises_anything(text: str) -> None:
    assert default_ipv4(text) is None or default_ipv4(text)
    assert default_ipv6(text) is None or default_ipv6(text)


@LITTLE_ENDIAN
def test_the_gateway_comes_with_our_address_towards_it(tmp_path: Path) -> None:
    (tmp_path / "route").write_text(HEAD + ipv4_row("0100007F"))
    assert find_gateway(False, tmp_path) == Gateway("127.0.0.1", "127.0.0.1")


def test_without_tables_ipv6_has_no_gateway(tmp_path: Path) -> None:
    assert find_gateway(True, tmp_path) is None


def test_without_tables_the_first_address_of_our_network_is_guessed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_source", lambda _host: "10.1.2.77")
    known = [Interface("eth0", 2, False, True, (ip_interface("10.1.2.77/22"),))]
    assert guessed_gateway(known) == Gateway("10.1.0.1", "10.1.2.77")
    assert guessed_gateway([]) == Gateway("10.1.2.1", "10.1.2.77")


@pytest.mark.parametrize("source", [None, "127.0.0.1", "10.1.2.1"])
def test_who_has_no_way_out_or_is_the_gateway_guesses_none(
    source: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_source", lambda _host: source)
    assert guessed_gateway([]) is None
