"""Connecting through SOCKS5, SOCKS4 and HTTP proxies."""

import importlib.util
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import anyio.abc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.small_proxy import SmallProxy, small_proxy
from torrent_engine.base.config import NetworkConfig, ProxyConfig, ProxyKind
from torrent_engine.base.errors import ConfigError, NameResolutionError, NetworkError, ProxyError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.proxy.proxy import Proxy
from torrent_engine.net.proxy.routes import DirectRoute, ProxyRoute, Routes
from torrent_engine.net.proxy.socks import Credentials, connect_socks5, receive, send_all
from torrent_engine.net.sockets.binding import Binding
from torrent_engine.net.sockets.name_resolver import (
    USER,
    current_client,
    resolving_for,
)

pytestmark = pytest.mark.anyio

KINDS = ("socks5", "socks4", "http")
TIMEOUT_S = 30.0
FAR = PeerAddress("192.0.2.7", 6881)
NAMED = PeerAddress("tracker.test", 80)
HELLO = b"\x13BitTorrent protocol"


def config_of(proxy: SmallProxy, **changes: object) -> ProxyConfig:
    config = ProxyConfig(ProxyKind(proxy.kind), proxy.host, proxy.port)
    return replace(config, **changes)  # type: ignore[arg-type]


@asynccontextmanager
async def echoing() -> AsyncIterator[tuple[str, int]]:
    """A place beyond the proxy that sends back whatever it gets."""

    async def echo(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            async for data in stream:
                await stream.send(data)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, echo)
        yield "127.0.0.1", listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("chunk_bytes", [1, 1_000])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", [FAR, NAMED], ids=["address", "name"])
async def test_a_way_is_opened_and_not_a_byte_behind_the_answer_is_lost(
    kind: str, target: PeerAddress, chunk_bytes: int
) -> None:
    async with echoing() as place, small_proxy(kind, chunk_bytes=chunk_bytes) as proxy:
        proxy.places, proxy.early = {(target.host, target.port): place}, HELLO
        with await Proxy(config_of(proxy)).dial(target, TIMEOUT_S) as sock:
            assert sock.getblocking() is False
            assert await receive(sock, len(HELLO)) == HELLO
            await send_all(sock, b"ping")
            assert await receive(sock, 4) == b"ping"
        assert proxy.asked == [target]


@pytest.mark.parametrize("kind", ["socks5", "http"])
async def test_ipv6_addresses_go_through(kind: str) -> None:
    target = PeerAddress("2001:db8::7", 6881)
    async with echoing() as place, small_proxy(kind, places={target: place}) as proxy:
        (await Proxy(config_of(proxy)).dial(target, TIMEOUT_S)).close()
        assert proxy.asked == [target]


async def test_socks4_knows_no_ipv6() -> None:
    async with small_proxy("socks4") as proxy:
        with pytest.raises(ProxyError, match="IPv6"):
            await Proxy(config_of(proxy)).dial(PeerAddress("2001:db8::7", 1), TIMEOUT_S)
        assert proxy.asked == []


@pytest.mark.parametrize("kind", ["socks5", "http"])
async def test_user_and_password_open_it(kind: str) -> None:
    async with echoing() as place, small_proxy(kind, username="me", password="secret") as proxy:
        proxy.places = {(FAR.host, FAR.port): place}
        config = config_of(proxy, username="me", password="secret")
        (await Proxy(config).dial(FAR, TIMEOUT_S)).close()
        assert proxy.asked == [FAR]
        with pytest.raises(ProxyError) as caught:
            await Proxy(replace(config, password="wrong-one")).dial(FAR, TIMEOUT_S)
        assert "wrong-one" not in str(caught.value)
        with pytest.raises(ProxyError):
            await Proxy(config_of(proxy)).dial(FAR, TIMEOUT_S)
        assert proxy.asked == [FAR]


async def test_socks4_tells_the_user_name() -> None:
    async with echoing() as place, small_proxy("socks4", places={FAR: place}) as proxy:
        (await Proxy(config_of(proxy, username="me")).dial(FAR, TIMEOUT_S)).close()
        assert proxy.users == ["me"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refusal_names_the_proxy(kind: str) -> None:
    async with small_proxy(kind) as proxy:
        with pytest.raises(ProxyError, match=rf"proxy 127\.0\.0\.1:{proxy.port}: "):
            await Proxy(config_of(proxy)).dial(FAR, TIMEOUT_S)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_silent_proxy_is_given_up(kind: str) -> None:
    async with small_proxy(kind, is_silent=True) as proxy:
        with pytest.raises(ProxyError, match="no response in 0 s"):
            await Proxy(config_of(proxy)).dial(FAR, 0.1)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_proxy_that_is_not_there_is_a_network_error(kind: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        config = ProxyConfig(ProxyKind(kind), *unused.getsockname())
        with pytest.raises(NetworkError):
            await Proxy(config).dial(FAR, TIMEOUT_S)


async def test_the_user_hears_once_of_a_proxy_that_is_not_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        at = unused.getsockname()
        config = ProxyConfig(ProxyKind.SOCKS5, "127.0.0.1", at[1], "who", "secret")
        proxy = Proxy(config)
        for _ in range(3):
            with pytest.raises(ProxyError):
                await proxy.dial(FAR, TIMEOUT_S)
    (told,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert f"the proxy 127.0.0.1:{at[1]} cannot be reached: " in told
    assert "who" not in told
    assert "secret" not in told


MALFORMED_SOCKS5 = {
    "nothing": b"",
    "one_byte": b"\5",
    "other_version": b"\4\0",
    "unknown_method": b"\5\x07",
    "method_not_offered": b"\5\2",
    "no_reply": b"\5\0",
    "reply_of_other_version": b"\5\0\4\0\0\1\0\0\0\0\0\1",
    "unknown_code": b"\5\0\5\x63\0\1\0\0\0\0\0\1",
    "reserved_is_set": b"\5\0\5\0\7\1\0\0\0\0\0\1",
    "unknown_address": b"\5\0\5\0\0\x09\0\0\0\0\0\1",
    "address_cut": b"\5\0\5\0\0\1\0\0\0",
    "ipv6_cut": b"\5\0\5\0\0\4\0\0\0",
    "name_not_utf8": b"\5\0\5\0\0\3\2\xff\xfe\0\1",
    "name_cut": b"\5\0\5\0\0\3\x20ab",
    "no_length": b"\5\0\5\0\0\3",
}
MALFORMED_SOCKS4 = {
    "nothing": b"",
    "short": b"\0\x5a",
    "other_version": b"\4\x5a\0\0\0\0\0\0",
    "unknown_code": b"\0\x11\0\0\0\0\0\0",
}
MALFORMED_HTTP = {"nothing": b"", "half": b"HTTP/1.1 200 OK\r\n", "socks": b"\5\0\r\n\r\n"}
MALFORMED = [
    pytest.param(kind, data, id=f"{kind}-{name}")
    for kind, table in zip(KINDS, (MALFORMED_SOCKS5, MALFORMED_SOCKS4, MALFORMED_HTTP), strict=True)
    for name, data in table.items()
]


@pytest.mark.parametrize(("kind", "says"), MALFORMED)
async def test_what_is_no_answer_is_a_proxy_error(kind: str, says: bytes) -> None:
    async with small_proxy(kind, says=says) as proxy:
        with pytest.raises(ProxyError):
            await Proxy(config_of(proxy)).dial(FAR, TIMEOUT_S)


@pytest.mark.parametrize("target", ["", "a" * 300, "é" * 70, "..é"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_name_that_is_none_is_a_proxy_error(kind: str, target: str) -> None:
    async with small_proxy(kind) as proxy:
        with pytest.raises(ProxyError):
            await Proxy(config_of(proxy)).dial(PeerAddress(target, 80), 5.0)


@given(st.binary(max_size=40) | st.binary(max_size=30).map(lambda tail: b"\5\0\5\0\0" + tail))
def test_any_answer_of_a_socks5_proxy_is_taken_or_a_proxy_error(says: bytes) -> None:
    async def ask() -> bool:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.sendall(says)
            theirs.shutdown(socket.SHUT_WR)
            try:
                await connect_socks5(ours, FAR, Credentials())
            except ProxyError:
                return False
            return True

    granted = anyio.run(ask)
    assert not granted or says.startswith(b"\5\0\5\0\0")


async def test_the_proxys_own_name_is_looked_up_once_for_many_dials() -> None:
    asked: list[str] = []

    async def look_up(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.3", "127.0.0.1"]  # nobody is at the first one

    async with echoing() as place, small_proxy(places={NAMED: place}) as proxy:
        through = Proxy(config_of(proxy, host="proxy.test"), resolver=look_up)
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(_dial_and_close, through, NAMED)
        assert proxy.asked == [NAMED] * 3
    assert asked == ["proxy.test"]


async def test_the_proxys_own_name_is_looked_up_for_no_torrent_that_may_have_to_wait() -> None:
    clients: list[object] = []

    async def look_up(_host: str, _port: int) -> list[str]:
        clients.append(current_client())
        return ["127.0.0.1"]

    async with echoing() as place, small_proxy(places={NAMED: place}) as proxy:
        through = Proxy(config_of(proxy, host="proxy.test"), resolver=look_up)
        with resolving_for("a torrent whose names are on a silent server"):
            await _dial_and_close(through, NAMED)
    assert clients == [USER]


@pytest.mark.parametrize(("kept_s", "asked_again"), [(60.0, False), (0.0, True)])
async def test_a_failed_look_up_of_the_proxy_is_repeated_only_after_seconds(
    monkeypatch: pytest.MonkeyPatch, kept_s: float, asked_again: bool
) -> None:
    monkeypatch.setattr("torrent_engine.net.proxy.proxy.PROXY_FAILURE_KEPT_S", kept_s)
    asked: list[str] = []

    async def look_up(host: str, _port: int) -> list[str]:
        asked.append(host)
        if len(asked) == 1:
            raise NameResolutionError("cannot resolve proxy.test: the network is down")
        return ["127.0.0.1"]

    async with echoing() as place, small_proxy(places={NAMED: place}) as proxy:
        through = Proxy(config_of(proxy, host="proxy.test"), resolver=look_up)
        with pytest.raises(ProxyError, match="the network is down"):
            await _dial_and_close(through, NAMED)
        if asked_again:
            await _dial_and_close(through, NAMED)
        else:
            with pytest.raises(ProxyError, match="the network is down"):
                await _dial_and_close(through, NAMED)
    assert asked == ["proxy.test"] * (1 + asked_again)


async def _dial_and_close(proxy: Proxy, target: PeerAddress) -> None:
    (await proxy.dial(target, TIMEOUT_S)).close()


async def test_the_way_to_the_proxy_is_bound() -> None:
    async with small_proxy() as proxy:
        with pytest.raises(ProxyError):
            await Proxy(config_of(proxy), binding=Binding("192.0.2.77")).dial(FAR, TIMEOUT_S)
        assert proxy.links == []


# -- routes -----------------------------------------------------------------------------------

PROXY = ProxyConfig(ProxyKind.HTTP, "127.0.0.1", 8080)


def test_without_a_proxy_everything_goes_straight() -> None:
    routes = Routes(NetworkConfig(interface="127.0.0.2"))
    for route in (routes.peers, routes.trackers, routes.web_seeds):
        assert isinstance(route, DirectRoute)
        assert route.binding is routes.binding
        assert not route.takes_names
    assert routes.proxy is None


def test_what_is_not_for_the_proxy_goes_straight() -> None:
    routes = Routes(NetworkConfig(proxy=replace(PROXY, for_trackers=False)))
    assert isinstance(routes.peers, ProxyRoute)
    assert isinstance(routes.trackers, DirectRoute)
    assert isinstance(routes.web_seeds, ProxyRoute)
    assert routes.peers.takes_names
    assert not routes.peers.is_direct


@pytest.mark.parametrize("required", [False, True])
def test_a_socks4_proxy_gets_names_only_if_nobody_else_may_have_them(required: bool) -> None:
    proxy = replace(PROXY, kind=ProxyKind.SOCKS4, required=required)
    assert Routes(NetworkConfig(proxy=proxy)).peers.takes_names is required


@pytest.mark.parametrize(
    "changes",
    [
        {"host": ""},
        {"port": 0},
        {"port": 65_536},
        {"required": True, "for_peers": False},
        {"required": True, "for_web_seeds": False},
        {"kind": ProxyKind.SOCKS5, "username": "Zoë", "password": "x"},
        {"kind": ProxyKind.SOCKS5, "username": "x" * 256, "password": "x"},
        {"kind": ProxyKind.SOCKS5, "username": "x"},
        {"kind": ProxyKind.SOCKS4, "username": "x\0y"},
    ],
    ids=str,
)
def test_a_proxy_that_cannot_work_is_a_config_error(changes) -> None:
    with pytest.raises(ConfigError, match=r"^(proxy: |ProxyConfig\.)"):
        Routes(NetworkConfig(proxy=replace(PROXY, **changes)))


def test_without_the_library_a_socks_proxy_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"pip install torrent-engine\[proxy\]"):
        Routes(NetworkConfig(proxy=replace(PROXY, kind=ProxyKind.SOCKS5)))
    assert Routes(NetworkConfig(proxy=PROXY)).proxy is not None
