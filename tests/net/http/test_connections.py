"""HTTP over a proxy, and HTTP that is bound to an address of ours."""

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import pytest
from anyio.streams.tls import TLSStream

from tests.support.certificates import server_context, trusting_context
from tests.support.names import names
from tests.support.rude_server import answering, response, rude_server
from tests.support.small_proxy import SmallProxy, small_proxy
from torrent_engine.base.config import ProxyConfig, ProxyKind, TrackerConfig, WebSeedConfig
from torrent_engine.base.errors import HttpError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.http.address_policy import (
    TRACKER_POLICY,
    USER_POLICY,
    WEB_SEED_POLICY,
    AddressRefusedError,
    check_address,
    is_global,
)
from torrent_engine.net.http.client import HttpClient
from torrent_engine.net.http.stream import HttpStreams
from torrent_engine.net.proxy.proxy import Proxy
from torrent_engine.net.proxy.routes import DirectRoute, ProxyRoute
from torrent_engine.net.sockets.binding import Binding

pytestmark = pytest.mark.anyio

CONFIG = TrackerConfig(read_timeout_s=20.0, total_timeout_s=30.0)
HASTY = TrackerConfig(read_timeout_s=0.2, total_timeout_s=20.0)
NAME = "tracker.test"
KINDS = ["socks5", "socks4", "http"]


def route_through(proxy: SmallProxy) -> ProxyRoute:
    config = ProxyConfig(ProxyKind(proxy.kind), proxy.host, proxy.port, required=True)
    return ProxyRoute(Proxy(config))


@asynccontextmanager
async def beyond(kind: str, handler, *, ssl_context=None) -> AsyncIterator[tuple[SmallProxy, str]]:
    """A server that only a proxy knows how to reach, by the name of :data:`NAME`."""
    async with rude_server(handler, ssl_context=ssl_context) as server, small_proxy(kind) as proxy:
        proxy.places[NAME, server.port] = ("127.0.0.1", server.port)
        yield proxy, server.base.replace("127.0.0.1", NAME)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_page_comes_through_a_proxy_and_nobody_here_looks_its_host_up(kind: str) -> None:
    resolver = names()
    async with beyond(kind, answering(response(b"body"))) as (proxy, url):
        http = HttpClient(CONFIG, route=route_through(proxy), resolver=resolver)
        got = await http.get(url + "/a", max_bytes=10)
        assert (got.status, got.body, got.address) == (200, b"body", NAME)
        assert [host for host, _ in proxy.asked] == [NAME]
    assert resolver.asked == []


@pytest.mark.parametrize("kind", KINDS)
async def test_tls_goes_inside_and_checks_the_name(kind: str, tmp_path) -> None:
    context = server_context(tmp_path, NAME)
    trust = trusting_context(tmp_path)
    async with beyond(kind, answering(response(b"x")), ssl_context=context) as (proxy, url):
        http = HttpClient(CONFIG, route=route_through(proxy), ssl_context=trust)
        assert (await http.get(url, max_bytes=10)).body == b"x"
        port = proxy.asked[0][1]
        proxy.places["other.test", port] = ("127.0.0.1", port)
        with pytest.raises(HttpError, match="certificate"):
            await http.get(f"https://other.test:{port}/", max_bytes=10)


async def test_a_name_that_tls_does_not_take_is_an_http_error(monkeypatch, tmp_path) -> None:
    async def refuse(*_arguments, **_options):
        await anyio.lowlevel.checkpoint()
        raise ValueError("server_hostname cannot be an empty string or start with a leading dot.")

    monkeypatch.setattr(TLSStream, "wrap", refuse)
    context = server_context(tmp_path, NAME)
    async with beyond("http", answering(response(b"x")), ssl_context=context) as (proxy, url):
        http = HttpClient(CONFIG, route=route_through(proxy))
        with pytest.raises(HttpError, match="leading dot"):
            await http.get(url, max_bytes=10)


async def test_a_proxy_that_is_gone_is_an_http_error_and_nothing_goes_around_it() -> None:
    async with rude_server(answering(response(b"x"))) as server:
        async with small_proxy() as proxy:
            http = HttpClient(CONFIG, route=route_through(proxy), resolver=names())
        with pytest.raises(HttpError, match="proxy"):
            await http.get(server.base, max_bytes=10)
        assert server.requests == []


async def test_a_silent_server_beyond_a_proxy_is_given_up() -> None:
    async def never(stream: anyio.abc.ByteStream, _head: bytes) -> None:
        await stream.receive()

    async with beyond("socks5", never) as (proxy, url):
        http = HttpClient(HASTY, route=route_through(proxy))
        with pytest.raises(HttpError, match="no data"):
            await http.get(url, max_bytes=10)


async def test_a_server_beyond_a_proxy_that_speaks_no_tls_is_an_http_error() -> None:
    async with beyond("http", answering(response(b"x"))) as (proxy, url):
        http = HttpClient(HASTY, route=route_through(proxy))
        with pytest.raises(HttpError):
            await http.get(url.replace("http:", "https:"), max_bytes=10)


async def test_d1_a_redirect_beyond_a_proxy_does_not_lead_inside() -> None:
    moved = response(status=302, Location="http://10.0.0.1/secret")
    async with beyond("socks5", answering(moved)) as (proxy, url):
        http = HttpClient(CONFIG, route=route_through(proxy))
        with pytest.raises(HttpError, match="not a public address"):
            await http.get(url, max_bytes=10, policy=USER_POLICY)
        assert [host for host, _ in proxy.asked] == [NAME]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "[::1]"])
async def test_d1_a_web_seed_beyond_a_proxy_is_not_the_proxys_own_machine(host: str) -> None:
    async with small_proxy() as proxy:
        http = HttpClient(CONFIG, route=route_through(proxy))
        streams = HttpStreams(http, WebSeedConfig(), WEB_SEED_POLICY)
        with pytest.raises(AddressRefusedError):
            await streams.open(f"http://{host}/file", {})
        assert proxy.asked == []


def test_d1_a_name_that_somebody_else_looks_up_counts_as_public() -> None:
    assert is_global(NAME)
    assert not is_global("localhost")
    assert check_address("notlocalhost.example", WEB_SEED_POLICY) is None  # type: ignore[func-returns-value]
    assert check_address("nas", TRACKER_POLICY) is None  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    "host",
    [
        "127.1",
        "0x7f.1",
        "2130706433",
        "0",
        "169.254.43518",
        "0xa9fea9fe",
        "192.168.257",
        "127.1.",
        "ip6-loopback",
        "nas",
        "metadata.google.internal",
        "nas.local.",
    ],
)
def test_d1_what_a_resolver_takes_for_an_address_is_one_though_a_proxy_resolves(host: str) -> None:
    with pytest.raises(AddressRefusedError):
        check_address(host, WEB_SEED_POLICY)


def test_d1_a_tracker_on_this_machine_is_asked_for_announces_only() -> None:
    with pytest.raises(AddressRefusedError):
        check_address("localhost", TRACKER_POLICY, path="/admin")


class ResetRoute(DirectRoute):
    """The way to a server that accepts and resets at once."""

    async def dial(self, address: PeerAddress, timeout_s: float) -> socket.socket:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            sock = await super().dial(PeerAddress(*listener.getsockname()), timeout_s)
            server, _ = listener.accept()
            server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            server.close()
        await anyio.wait_readable(sock)
        return sock


async def test_a_server_that_resets_at_once_is_an_http_error() -> None:
    with pytest.raises(HttpError, match="reset"):
        await HttpClient(CONFIG, route=ResetRoute()).get("http://127.0.0.1:9/", max_bytes=1)


@pytest.mark.parametrize("kind", KINDS)
async def test_answers_in_a_row_share_one_way_through_the_proxy(kind: str) -> None:
    async def twice(stream: anyio.abc.ByteStream, _head: bytes) -> None:
        await stream.send(response(b"one"))
        await stream.receive()
        await stream.send(response(b"two"))

    async with beyond(kind, twice) as (proxy, url):
        http = HttpClient(CONFIG, route=route_through(proxy))
        streams = HttpStreams(http, WebSeedConfig(), WEB_SEED_POLICY)
        try:
            assert [await _body(streams, url), await _body(streams, url)] == [b"one", b"two"]
        finally:
            await streams.aclose()
        assert len(proxy.asked) == 1


async def test_a_kept_way_that_has_ended_is_not_used_again() -> None:
    async with beyond("socks5", answering(response(b"one"), response(b"two"))) as (proxy, url):
        http = HttpClient(CONFIG, route=route_through(proxy))
        streams = HttpStreams(http, WebSeedConfig(), WEB_SEED_POLICY)
        try:
            assert [await _body(streams, url), await _body(streams, url)] == [b"one", b"two"]
        finally:
            await streams.aclose()
        assert len(proxy.asked) == 2


async def _body(streams: HttpStreams, url: str) -> bytes:
    answer = await streams.open(url, {})
    try:
        body = b""
        while part := await answer.read():
            body += part
        return body
    finally:
        await answer.aclose()


async def test_requests_leave_from_the_address_that_they_are_bound_to() -> None:
    seen: list[str] = []

    async def look(stream: anyio.abc.ByteStream, _head: bytes) -> None:
        seen.append(stream.extra(anyio.abc.SocketAttribute.remote_address)[0])
        await stream.send(response(b"x"))

    async with rude_server(look) as server:
        http = HttpClient(CONFIG, route=DirectRoute(Binding("127.0.0.2")))
        assert (await http.get(server.base, max_bytes=10)).body == b"x"
    assert seen == ["127.0.0.2"]


async def test_requests_bound_to_what_is_not_there_do_not_leave() -> None:
    async with rude_server(answering(response(b"x"))) as server:
        http = HttpClient(CONFIG, route=DirectRoute(Binding("192.0.2.77")))
        with pytest.raises(HttpError):
            await http.get(server.base, max_bytes=10)
        assert server.requests == []
