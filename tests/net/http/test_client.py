"""The HTTP client against servers of bad manners (rows A13, A14, D1 to D4)."""

import gzip
import logging
import socket
import subprocess
import sys
import threading
import tracemalloc
import zlib
from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest

from tests.support.certificates import server_context, trusting_context
from tests.support.names import names
from tests.support.rude_server import answering, response, rude_server
from torrent_engine.base.config import TrackerConfig
from torrent_engine.base.errors import HttpError, NetworkError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.http import client as http_client
from torrent_engine.net.http.address_policy import TRACKER_POLICY, WEB_SEED_POLICY
from torrent_engine.net.http.client import HttpClient
from torrent_engine.net.proxy.routes import DirectRoute
from torrent_engine.net.sockets.resolver import resolve

pytestmark = pytest.mark.anyio

CONFIG = TrackerConfig(read_timeout_s=60.0, total_timeout_s=60.0)
HASTY = TrackerConfig(read_timeout_s=0.2, total_timeout_s=0.5)
CANARY = "canary0123456789passkey"


def client(config=CONFIG, **options):
    return HttpClient(config, **options)


async def fetch(handler, path="/", *, config=CONFIG, max_bytes=1000, **options):
    async with rude_server(handler) as server:
        return await client(config).get(server.base + path, max_bytes=max_bytes, **options)


async def failure(handler, *, config=CONFIG, max_bytes=1000, **options):
    async with rude_server(handler) as server:
        with pytest.raises(HttpError) as caught:
            await client(config).get(server.base, max_bytes=max_bytes, **options)
    return str(caught.value)


async def test_a_plain_get():
    async with rude_server(answering(response(b"body", X_Seen="yes"))) as server:
        got = await client(user_agent="me/1").get(f"{server.base}/p%41?a=%2f%e4&b", max_bytes=10)
    assert (got.status, got.body, got.address) == (200, b"body", "127.0.0.1")
    assert got.headers["x-seen"] == "yes"
    head = server.requests[0].decode().lower()
    assert head.startswith("get /p%41?a=%2f%e4&b http/1.1\r\n")
    assert f"host: 127.0.0.1:{server.port}\r\n" in head
    assert "user-agent: me/1\r\n" in head
    assert "accept-encoding: gzip, deflate\r\n" in head


@pytest.mark.parametrize(("size", "is_other"), [(1_000, False), (4 << 20, True)])
async def test_a13_what_may_become_long_is_unpacked_in_a_thread(monkeypatch, size, is_other):
    threads = []
    refusal = http_client._refusal

    def watched(reader, chunk):
        threads.append(threading.current_thread() is not threading.main_thread())
        return refusal(reader, chunk)

    monkeypatch.setattr(http_client, "_refusal", watched)
    packed = gzip.compress(bytes(size))
    got = await fetch(answering(response(packed, Content_Encoding="gzip")), max_bytes=size)
    assert got.body == bytes(size)
    assert any(threads) is is_other


async def test_an_error_status_is_an_answer():
    assert (await fetch(answering(response(b"no", status=404)))).status == 404


async def test_headers_of_the_caller_are_sent():
    async with rude_server(answering(response(b"x", status=206))) as server:
        got = await client().get(server.base, max_bytes=10, headers={"Range": "bytes=0-0"})
    assert got.status == 206
    assert b"range: bytes=0-0" in server.requests[0].lower()


async def test_user_and_password_of_the_url_become_basic_auth():
    async with rude_server(answering(response())) as server:
        url = server.base.replace("://", "://us%65r:p%40ss@")
        await client().get(url, max_bytes=10)
    assert b"authorization: basic dXNlcjpwQHNz".lower() in server.requests[0].lower()


COMPRESSED = {
    "gzip": ("gzip", gzip.compress(b"hello" * 20)),
    "x_gzip": ("X-Gzip", gzip.compress(b"hello" * 20)),
    "zlib": ("deflate", zlib.compress(b"hello" * 20)),
    "raw_deflate": ("deflate", zlib.compress(b"hello" * 20, wbits=-15)),
    "identity": ("identity", b"hello" * 20),
    "trailing_bytes": ("gzip", gzip.compress(b"hello" * 20) + b"junk"),
}


@pytest.mark.parametrize(("encoding", "body"), COMPRESSED.values(), ids=COMPRESSED.keys())
async def test_a13_compressed_bodies_are_inflated(encoding, body):
    got = await fetch(answering(response(body, Content_Encoding=encoding)))
    assert got.body == b"hello" * 20


BROKEN = {
    "cut_short": ("gzip", gzip.compress(b"hello" * 20)[:-9]),
    "no_gzip": ("gzip", b"hello"),
    "no_deflate": ("deflate", b"\xff\xff\xff\xff"),
    "unknown": ("br", b"hello"),
    "two": ("gzip, gzip", b"hello"),
}


@pytest.mark.parametrize(("encoding", "body"), BROKEN.values(), ids=BROKEN.keys())
async def test_a13_broken_compression_is_refused(encoding, body):
    message = await failure(answering(response(body, Content_Encoding=encoding)))
    assert "compressed" in message or "encoding" in message


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a13_a_compression_bomb_is_stopped_at_the_cap(encoding):
    pack = gzip.compress if encoding == "gzip" else zlib.compress
    bomb = pack(bytes(64 * 1024 * 1024))
    assert len(bomb) < 100_000
    await fetch(answering(response(b"warm up")))
    tracemalloc.start()
    try:
        message = await failure(
            answering(response(bomb, Content_Encoding=encoding)), max_bytes=1024 * 1024
        )
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "after decompression" in message
    assert peak_bytes < 8 * 1024 * 1024


async def test_d3_a_body_over_the_cap_is_refused():
    assert "more than 1000 bytes" in await failure(answering(response(bytes(1001))))
    assert len((await fetch(answering(response(bytes(1000))))).body) == 1000


async def test_d3_a_body_without_end_is_cut_off():
    async def endless(stream, _head):
        await stream.send(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await stream.send(b"1000\r\n" + bytes(4096) + b"\r\n")

    assert "more than" in await failure(endless, max_bytes=100_000)


async def test_d3_silence_ends_at_the_read_timeout():
    async def silent(stream, _head):
        await stream.receive()

    assert await failure(silent, config=HASTY)


async def test_d3_dripping_ends_at_the_total_timeout():
    async def drip(stream, _head):
        await stream.send(b"HTTP/1.1 200 X\r\nContent-Length: 1000\r\n\r\n")
        while True:
            await stream.send(b"x")
            await anyio.sleep(0.05)

    config = replace(CONFIG, total_timeout_s=0.5)
    assert "no complete response in 0.5 s" in await failure(drip, config=config)


async def test_a14_a_header_without_end_is_cut_off():
    async def endless(stream, _head):
        await stream.send(b"HTTP/1.1 200 X\r\n")
        while True:
            await stream.send(b"X-More: " + b"y" * 1000 + b"\r\n")

    assert await failure(endless)


CHUNKED = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"
FLOODS = {
    "interim_answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "interim responses"),
    "chunks_of_one_byte": (CHUNKED, b"1\r\nx\r\n", "small chunks"),
    "chunk_extensions": (CHUNKED, b"1;" + b"a" * 1_000 + b"\r\nx\r\n", "chunk header"),
    "trailers": (CHUNKED + b"0\r\n", b"a:\r\n", "100 lines"),
    "header_lines": (b"HTTP/1.1 200 X\r\n", b"a:\r\n", "100 lines"),
}


def flooding(head, part):
    """Return a server that sends one thing for ever."""

    async def flood(stream, _head):
        await stream.send(head)
        while True:
            await stream.send(part * 2_000)

    return flood


@pytest.mark.parametrize(("head", "part", "reason"), FLOODS.values(), ids=FLOODS.keys())
async def test_a14_floods_are_refused_by_their_count(head, part, reason):
    assert reason in await failure(flooding(head, part), max_bytes=1 << 20)


async def test_a14_small_chunks_leave_the_loop_to_others(monkeypatch):
    turns: list[int] = []
    monkeypatch.setattr(anyio.lowlevel, "checkpoint", checkpoint_counter(turns))
    body = b"".join(b"1\r\nx\r\n" for _ in range(500)) + b"0\r\n\r\n"
    assert (await fetch(answering(CHUNKED + body))).body == b"x" * 500
    assert len(turns) >= 500 // http_client.CHUNKS_PER_TURN


def checkpoint_counter(turns):
    checkpoint = anyio.lowlevel.checkpoint

    async def counted():
        turns.append(1)
        await checkpoint()

    return counted


HEADERS = {
    "too_long": {f"X-{n}": "y" * 1000 for n in range(17)},
    "too_many": {f"X-{n}": "y" for n in range(101)},
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS.keys())
async def test_a14_a_large_header_is_refused(headers):
    assert "response header" in await failure(answering(response(b"", **headers)))


NONSENSE = {
    "nothing": b"",
    "text": b"hello\r\n\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "bad_length": b"HTTP/1.1 200 X\r\nContent-Length: -5\r\n\r\n",
    "two_lengths": b"HTTP/1.1 200 X\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "short_body": b"HTTP/1.1 200 X\r\nContent-Length: 50\r\n\r\nhello",
    "bad_chunk": b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "huge_chunk": b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n",
}


@pytest.mark.parametrize("raw", NONSENSE.values(), ids=NONSENSE.keys())
async def test_a14_what_is_no_http_is_an_http_error(raw):
    assert await failure(answering(raw))


async def test_a_port_where_nobody_listens_is_an_http_error():
    async with rude_server(answering(response())) as server:
        url = server.base
    with pytest.raises(HttpError):
        await client().get(url, max_bytes=10)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "udp://127.0.0.1:1/", "file:///x", "x", ""])
async def test_d1_other_schemes_are_refused(url):
    with pytest.raises(HttpError):
        await client().get(url, max_bytes=10)


# Redirects


async def test_redirects_are_followed():
    moved = response(status=302, Location="/there?x=1")
    async with rude_server(answering(moved, response(b"found"))) as server:
        got = await client().get(f"{server.base}/here", max_bytes=10)
    assert (got.body, got.url) == (b"found", f"{server.base}/there?x=1")
    assert server.requests[1].startswith(b"GET /there?x=1 ")


LOCATIONS = {
    "raw space": (b"/a b", b"/a%20b"),
    "UTF-8": ("/ü?ü".encode(), b"/%C3%BC?%C3%BC"),
    "Latin-1": (b"/\xfc", b"/%FC"),
    "encoded already": (b"/a%20b%C3%BC", b"/a%20b%C3%BC"),
    "relative": ("ä b/c".encode(), b"/%C3%A4%20b/c"),
}


@pytest.mark.parametrize(("raw", "target"), LOCATIONS.values(), ids=LOCATIONS)
async def test_rfc3986_a_redirect_with_raw_characters_is_quoted_once(raw, target):
    moved = response(status=302, Location="?").replace(b"?", raw)
    async with rude_server(answering(moved, response(b"found"))) as server:
        got = await client().get(f"{server.base}/here", max_bytes=10)
    assert got.body == b"found"
    assert server.requests[1].startswith(b"GET " + target + b" ")


async def test_rfc3490_a_host_that_is_not_ascii_is_looked_up_in_idna():
    asked = []

    async def resolver(host, _port):
        asked.append(host)
        return ["127.0.0.1"]

    async with rude_server(answering(response(b"found"))) as server:
        url = f"http://Bücher.example:{server.port}/ä b"
        await client(resolver=resolver).get(url, max_bytes=10)
    assert asked == ["xn--bcher-kva.example"]
    assert server.requests[0].startswith(b"GET /%C3%A4%20b ")
    assert b"Host: xn--bcher-kva.example:" in server.requests[0]


async def test_d1_more_than_five_redirects_are_refused():
    async with rude_server(answering(response(status=301, Location="/again"))) as server:
        with pytest.raises(HttpError, match="more than 5 redirects"):
            await client().get(server.base, max_bytes=10)
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:70/",
        "http://[::1",
        "//\x00/",
    ],
)
async def test_d1_every_redirect_is_checked(location):
    hop = answering(response(status=302, Location=location.replace("\x00", "%00%")))
    async with rude_server(hop) as server:
        with pytest.raises(HttpError):
            await client().get(f"{server.base}/", max_bytes=10)
    assert len(server.requests) == 1  # nobody went there, and nobody came back here


async def test_d1_a_redirect_from_outside_to_inside_is_refused(monkeypatch):
    """127.0.0.1 plays the public server for the first hop."""
    async with (
        rude_server(answering(response(b"secret"))) as canary,
        rude_server(answering(response(status=302, Location=f"{canary.base}/announce"))) as server,
    ):
        monkeypatch.setattr(http_client, "is_global", lambda _address: True)
        with pytest.raises(HttpError, match="not a public address"):
            await client().get(f"{server.base}/announce", max_bytes=10, policy=TRACKER_POLICY)
    assert canary.requests == []


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "192.168.0.1"])
async def test_d1_web_seeds_on_this_machine_are_not_asked(address):
    async with rude_server(answering(response(b"secret"))) as canary:
        url = f"http://seed.example:{canary.port}/"
        http = client(resolver=names(**{"seed.example": [address]}))
        with pytest.raises(HttpError, match="not a public address"):
            await http.get(url, max_bytes=10, policy=WEB_SEED_POLICY)
    assert canary.requests == []


@pytest.mark.parametrize("is_same", [True, False])
async def test_d1_secrets_do_not_follow_a_redirect_to_another_origin(is_same):
    async with rude_server(answering(response(b"end"))) as other:
        where = "/next" if is_same else f"{other.base}/next"
        first = answering(response(status=307, Location=where), response(b"end"))
        async with rude_server(first) as server:
            await client().get(
                server.base.replace("://", f"://u:{CANARY}@"),
                max_bytes=10,
                headers={"Cookie": CANARY, "Range": "bytes=0-1"},
            )
    last = (server if is_same else other).requests[-1].lower()
    assert (b"cookie:" in last) == is_same
    assert (b"authorization:" in last) == is_same
    assert b"range: bytes=0-1" in last


# Names


async def test_d1_a_name_is_looked_up_once_and_the_connection_goes_there():
    resolver = names(**{"t.example": ["127.0.0.1"]})
    async with rude_server(answering(response(b"x"))) as server:
        got = await client(resolver=resolver).get(f"http://t.example:{server.port}/", max_bytes=10)
    assert got.address == "127.0.0.1"
    assert resolver.asked == ["t.example"]
    assert f"host: t.example:{server.port}".encode() in server.requests[0].lower()


async def test_the_next_address_is_tried_when_one_refuses():
    resolver = names(**{"t.example": ["127.0.0.9", "127.0.0.1"]})
    async with rude_server(answering(response(b"x"))) as server:
        got = await client(resolver=resolver).get(f"http://t.example:{server.port}/", max_bytes=10)
    assert got.address == "127.0.0.1"


class NamesRoute(DirectRoute):
    """Takes names, as a proxy does, and leads all of them to one port."""

    takes_names = True

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    async def dial(self, address: PeerAddress, timeout_s: float) -> socket.socket:
        return await super().dial(PeerAddress("127.0.0.1", self._port), timeout_s)


async def test_d1_a_redirect_to_a_host_that_is_no_name_is_an_http_error_behind_a_proxy():
    moved = answering(response(b"", status=302, Location="http://1.2.3.256/announce"))
    async with rude_server(moved) as server:
        direct = client(route=NamesRoute(server.port))
        with pytest.raises(HttpError, match=r"1\.2\.3\.256"):
            await direct.get("http://tracker.example/announce", max_bytes=10)


async def test_no_more_than_some_addresses_of_a_name_are_tried(monkeypatch):
    tried = []

    async def fetch(self, httpx, hop, address, max_bytes):
        tried.append(address)
        raise http_client._ConnectFailedError("refused")

    monkeypatch.setattr(HttpClient, "_fetch", fetch)
    many = [f"127.0.{n // 200}.{n % 200 + 1}" for n in range(1_000)]
    with pytest.raises(HttpError, match="refused"):
        await client(resolver=names(**{"t.example": many})).get("http://t.example/", max_bytes=10)
    assert tried == many[: http_client.MAX_ADDRESSES]


async def test_known_addresses_are_used_and_checked_too():
    async with rude_server(answering(response(b"x"))) as server:
        url = f"http://nowhere.invalid:{server.port}/"
        got = await client().get(url, max_bytes=10, addresses=["127.0.0.1"])
        with pytest.raises(HttpError, match="never allowed"):
            await client().get(url, max_bytes=10, addresses=["169.254.169.254"])
    assert got.body == b"x"


async def test_an_unknown_name_is_an_http_error():
    with pytest.raises(HttpError, match="cannot resolve"):
        await client(resolver=names()).get("http://nowhere.invalid/", max_bytes=10)


async def test_the_resolver_passes_literals_and_maps_errors():
    assert await resolve("192.0.2.1", 80) == ["192.0.2.1"]
    assert await resolve("::1", 80) == ["::1"]
    assert "127.0.0.1" in await resolve("localhost", 80) or "::1" in await resolve("localhost", 80)
    with pytest.raises(NetworkError, match="cannot resolve"):
        await resolve("a" * 64 + ".invalid", 80)


# TLS


@pytest.mark.parametrize(
    ("certified", "days_valid", "host", "is_trusted", "is_fine"),
    [
        ("t.example", 30, "t.example", True, True),
        ("127.0.0.1", 30, "127.0.0.1", True, True),
        ("t.example", 30, "t.example", False, False),
        ("other.example", 30, "t.example", True, False),
        ("t.example", -5, "t.example", True, False),
    ],
    ids=["right", "right_literal", "self_signed", "wrong_host", "expired"],
)
async def test_d2_certificates_are_checked(
    tmp_path, certified, days_valid, host, is_trusted, is_fine
):
    context = server_context(tmp_path, certified, days_valid=days_valid)
    trust = trusting_context(tmp_path) if is_trusted else None
    resolver = names(**{"t.example": ["127.0.0.1"], "127.0.0.1": ["127.0.0.1"]})
    async with rude_server(answering(response(b"x")), ssl_context=context) as server:
        url = f"https://{host}:{server.port}/"
        with anyio.fail_after(30):
            http = client(resolver=resolver, ssl_context=trust)
            if is_fine:
                assert (await http.get(url, max_bytes=10)).body == b"x"
            else:
                with pytest.raises(HttpError):
                    await http.get(url, max_bytes=10)
    assert len(server.requests) == int(is_fine)


async def test_d2_checking_can_be_switched_off_and_is_logged(tmp_path, caplog):
    context = server_context(tmp_path, "other.example")
    async with rude_server(answering(response(b"x")), ssl_context=context) as server:
        http = client(replace(CONFIG, verify_tls=False))
        assert (await http.get(server.base, max_bytes=10)).body == b"x"
    assert "not verified" in caplog.text


# Secrets and limits


async def test_d4_no_secret_is_logged_or_in_an_error(caplog):
    caplog.set_level(logging.DEBUG)
    moved = response(status=302, Location=f"/{CANARY}/next", Set_Cookie=CANARY)
    async with rude_server(answering(moved, b"nonsense")) as server:
        url = f"{server.base}/{CANARY}/announce?passkey={CANARY}".replace("://", f"://u:{CANARY}@")
        with pytest.raises(HttpError) as caught:
            await client().get(url, max_bytes=10)
    assert CANARY in server.requests[1].decode()
    assert CANARY not in str(caught.value)
    assert CANARY not in caplog.text


async def test_d3_no_more_than_the_limit_run_at_once():
    async def slow(stream, _head):
        await anyio.sleep(0.02)
        await stream.send(response(b"x"))

    http = client(replace(CONFIG, max_concurrent=3))

    async def get(url):
        await http.get(url, max_bytes=10)

    async with rude_server(slow) as server, anyio.create_task_group() as tasks:
        for _ in range(12):
            tasks.start_soon(get, server.base)
    assert len(server.requests) == 12
    assert server.most_open <= 3


def test_httpx2_is_imported_at_the_first_request_only():
    code = (
        "import sys, torrent_engine.net.http.client, torrent_engine.net.tracker.client, "
        "torrent_engine.engine.discovery.tracker_coordinator; "
        "sys.exit(any(name in sys.modules for name in ('httpx2', 'httpcore2', 'h11')))"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, timeout=30)
    assert ended.returncode == 0
