"""Requests to web seeds of bad manners (rows A13, A14, B5, D1, D2, D4)."""

import gzip
import logging
import random
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from tests.support.certificates import server_context, trusting_context
from tests.support.names import names
from tests.support.processes import free_port
from tests.support.rude_server import answering, response, rude_server
from tests.support.web_server import web_server
from torrent_engine.base.config import TrackerConfig, WebSeedConfig
from torrent_engine.base.errors import HttpError
from torrent_engine.net.http import stream as http_stream
from torrent_engine.net.http.address_policy import USER_POLICY, WEB_SEED_POLICY, AddressRefusedError
from torrent_engine.net.http.client import HttpClient
from torrent_engine.net.http.stream import HttpStreams, StreamedResponse
from torrent_engine.net.http.web_seed import FileNotServedError, WebSeedBusyError, WebSeedServer
from torrent_engine.protocol.web_seed import Span

pytestmark = pytest.mark.anyio

CONFIG = WebSeedConfig(read_timeout_s=60.0)
HASTY = WebSeedConfig(read_timeout_s=0.2)
BODY = bytes(range(50))
SPAN = Span(100, 50, 1000)
WHOLE = bytes(100) + BODY + bytes(850)
PLACE = "bytes 100-149/1000"
CANARY = "canary0123456789passkey"


class Bucket:
    """A sink that keeps what it gets, up to a number of bytes."""

    def __init__(self, enough_bytes=10**9):
        self.data = b""
        self.waits = 0
        self.reads = []
        self.enough_bytes = enough_bytes

    async def ready(self):
        self.waits += 1

    def was_read(self, count_bytes):
        self.reads.append(count_bytes)

    def take(self, data):
        self.data += data
        return len(self.data) < self.enough_bytes


class Asker:
    """A web seed's server as we see it."""

    def __init__(self, *, config=CONFIG, policy=USER_POLICY, **client):
        self.streams = HttpStreams(HttpClient(TrackerConfig(), **client), config, policy)
        self.server = WebSeedServer(self.streams, config)
        self.sink = Bucket()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.streams.aclose()

    async def fetch(self, url, span=SPAN):
        with anyio.fail_after(30):
            await self.server.fetch_range(url, span, self.sink)
        return self.sink.data


async def fetch(handler, **options):
    async with rude_server(handler) as server, Asker(**options) as asker:
        return await asker.fetch(server.base)


async def failure(handler, kind=HttpError, **options):
    async with rude_server(handler) as server, Asker(**options) as asker:
        with pytest.raises(kind) as caught:
            await asker.fetch(server.base)
    return str(caught.value)


GOOD = response(BODY, status=206, Content_Range=PLACE)
CHUNKED = (
    f"HTTP/1.1 206 X\r\nContent-Range: {PLACE}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    + b"a\r\n" + BODY[:10] + b"\r\n28\r\n" + BODY[10:] + b"\r\n0\r\n\r\n"
)  # fmt: skip
UNTIL_CLOSED = f"HTTP/1.1 206 X\r\nContent-Range: {PLACE}\r\n\r\n".encode() + BODY
ACCEPTED = {
    "with_length": GOOD,
    "chunked": CHUNKED,
    "until_closed": UNTIL_CLOSED,
    "whole_file": response(WHOLE),
    "identity": response(BODY, status=206, Content_Range=PLACE, Content_Encoding="identity"),
}


@pytest.mark.parametrize("answer", ACCEPTED.values(), ids=ACCEPTED.keys())
async def test_bep19_a_range_arrives(answer):
    assert await fetch(answering(answer)) == BODY


@pytest.mark.parametrize(
    ("answer", "counted"),
    [(GOOD, len(BODY)), (response(WHOLE), len(WHOLE)), (GOOD[:-10], len(BODY) - 10)],
    ids=["range", "whole file", "cut short"],
)
async def test_each_read_is_accounted_for_with_what_is_skipped(answer, counted):
    async with rude_server(answering(answer)) as server, Asker() as asker:
        with suppress(HttpError):
            await asker.fetch(server.base)
        assert len(asker.sink.reads) >= asker.sink.waits > 0
        assert sum(asker.sink.reads) <= counted
        assert sum(asker.sink.reads) >= len(asker.sink.data)


async def test_servers_that_do_not_answer_take_no_place_of_those_that_do():
    async with rude_server(answering(GOOD)) as server, Asker() as asker:
        for _ in range(20):
            with pytest.raises(HttpError, match=r"(?i)connect"):
                await asker.fetch(f"http://127.0.0.1:{free_port()}/x")
        assert not asker.streams.is_open
        assert await asker.fetch(server.base) == BODY


async def test_bep19_the_request_asks_for_the_range_and_no_compression():
    async with rude_server(answering(GOOD)) as server, Asker(user_agent="me/1") as asker:
        await asker.fetch(f"{server.base}/a%20b?c=d")
    head = server.requests[0].lower()
    assert head.startswith(b"get /a%20b?c=d http/1.1\r\n")
    assert b"\r\nrange: bytes=100-149\r\n" in head
    assert b"\r\naccept-encoding: identity\r\n" in head
    assert b"\r\nuser-agent: me/1\r\n" in head
    assert b"connection: close" not in head


async def test_a_connection_is_kept_for_the_next_request():
    data = bytes(1000)
    async with web_server({"/x": data}) as server, Asker() as asker:
        for first in range(0, 500, 100):
            await asker.fetch(f"{server.base}/x", Span(first, 100, 1000))
        assert asker.streams.is_open
        await asker.streams.aclose()
        assert not asker.streams.is_open
    assert (server.connections, len(server.asked)) == (1, 5)


async def test_a14_a_connection_on_which_more_came_than_the_answer_is_not_kept():
    async def generous(stream, _head):
        await stream.send(GOOD + b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000)
        await stream.receive()

    async with rude_server(generous) as server, Asker() as asker:
        for count in (1, 2):
            asker.sink = Bucket()
            assert await asker.fetch(server.base) == BODY
            assert len(server.requests) == count


async def test_a_kept_connection_that_the_server_closed_is_replaced():
    async with rude_server(answering(GOOD)) as server, Asker() as asker:
        for _ in range(3):  # the rude server hangs up after each answer
            await asker.fetch(server.base)
    assert asker.sink.data == BODY * 3


async def test_several_requests_run_at_once():
    data = bytes(1000)
    async with web_server({"/x": data}) as server, Asker() as asker:
        async with anyio.create_task_group() as tasks:
            for first in range(0, 300, 100):
                tasks.start_soon(asker.fetch, f"{server.base}/x", Span(first, 100, 1000))
        assert len(asker.sink.data) == 300
    assert 1 < server.most_open <= 3


async def test_enough_is_enough():
    data = bytes(4_000_000)
    async with web_server({"/x": data}) as server, Asker() as asker:
        asker.sink.enough_bytes = 100_000
        await asker.fetch(f"{server.base}/x", Span(0, len(data), len(data)))
        assert 100_000 <= len(asker.sink.data) < 1_000_000
        await asker.fetch(f"{server.base}/x", Span(0, 10, len(data)))
    assert server.connections == 2  # the first one was given up with its answer


async def test_nothing_is_read_before_the_sink_is_ready():
    class Full(Bucket):
        async def ready(self):
            await anyio.sleep_forever()

    async with rude_server(answering(GOOD)) as server, Asker() as asker:
        asker.sink = Full()
        with anyio.move_on_after(0.2) as scope:
            await asker.fetch(server.base)
    assert scope.cancelled_caught
    assert asker.sink.data == b""


WRONG = {
    "another_range": response(BODY, status=206, Content_Range="bytes 0-49/1000"),
    "a_longer_range": response(bytes(60), status=206, Content_Range="bytes 100-159/1000"),
    "a_shorter_range": response(bytes(40), status=206, Content_Range="bytes 100-139/1000"),
    "of_another_file": response(BODY, status=206, Content_Range="bytes 100-149/2000"),
    "no_content_range": response(BODY, status=206),
    "malformed": response(BODY, status=206, Content_Range="bytes x-y/z"),
    "multipart": response(BODY, status=206, Content_Type="multipart/byteranges; boundary=x"),
    "another_whole_file": response(bytes(999)),
    "an_error_page": response(b"<html>welcome to our wifi</html>"),
    "length_and_range_differ": response(bytes(60), status=206, Content_Range=PLACE),
}


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG.keys())
async def test_a14_what_is_not_the_range_is_not_taken(answer):
    async with rude_server(answering(answer)) as server, Asker() as asker:
        with pytest.raises(FileNotServedError):
            await asker.fetch(server.base)
    assert asker.sink.data == b""


HEAD = f"HTTP/1.1 206 X\r\nContent-Range: {PLACE}\r\n".encode()
BROKEN = {
    "nothing": b"",
    "text": b"hello\r\n\r\n",
    "bad_length": HEAD + b"Content-Length: -5\r\n\r\n",
    "two_lengths": HEAD + b"Content-Length: 50\r\nContent-Length: 51\r\n\r\n" + BODY,
    "short_body": HEAD + b"Content-Length: 50\r\n\r\n" + BODY[:40],
    "short_until_closed": HEAD + b"\r\n" + BODY[:40],
    "long_until_closed": HEAD + b"\r\n" + BODY + b"x",
    "long_chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n33\r\n" + BODY + b"x\r\n0\r\n\r\n",
    "one_chunk_more": HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n32\r\n" + BODY + b"\r\n1\r\nx\r\n0\r\n\r\n",
    "short_chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad_chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "huge_chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n",
    "chunked_twice": HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "status_500": response(status=500),
    "status_204": response(status=204),
    "status_99": b"HTTP/1.1 99 X\r\n\r\n",
    "too_many_lines": response(
        BODY, status=206, Content_Range=PLACE, **{f"X{n}": "y" for n in range(99)}
    ),
    "too_long_lines": response(
        BODY, status=206, Content_Range=PLACE, **{f"X{n}": "y" * 1000 for n in range(17)}
    ),
}  # fmt: skip


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
async def test_a14_what_is_no_http_is_an_http_error(answer):
    async with rude_server(answering(answer)) as server, Asker() as asker:
        with pytest.raises(HttpError):
            await asker.fetch(server.base)
    assert len(asker.sink.data) <= len(BODY)


async def test_a14_a_header_without_end_is_cut_off():
    async def endless(stream, _head):
        await stream.send(b"HTTP/1.1 206 X\r\n")
        while True:
            await stream.send(b"X-More: " + b"y" * 1000 + b"\r\n")

    assert await failure(endless)


async def test_a14_interim_answers_without_end_are_cut_off():
    async def endless(stream, _head):
        while True:
            await stream.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            await anyio.sleep(0.01)

    assert "more than 8 interim responses" in await failure(endless)


MIB = 1 << 20
CHUNKED_MIB = (
    f"HTTP/1.1 206 X\r\nContent-Range: bytes 0-{MIB - 1}/{MIB}\r\n".encode()
    + b"Transfer-Encoding: chunked\r\n\r\n"
)
FLOODS = {
    "interim_answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "interim responses"),
    "chunks_of_one_byte": (CHUNKED_MIB, b"1\r\nx\r\n", "small chunks"),
    "chunk_extensions": (CHUNKED_MIB, b"1;" + b"a" * 1_000 + b"\r\nx\r\n", "chunk header"),
    "header_lines": (b"HTTP/1.1 206 X\r\n", b"a:\r\n", "100 lines"),
}


@pytest.mark.parametrize(("head", "part", "reason"), FLOODS.values(), ids=FLOODS.keys())
async def test_a14_floods_are_refused_by_their_count(head, part, reason):
    async def flood(stream, _head):
        await stream.send(head)
        while True:
            await stream.send(part * 2_000)

    async with rude_server(flood) as server, Asker() as asker:
        with pytest.raises(HttpError, match=reason):
            await asker.fetch(server.base, Span(0, MIB, MIB))


@pytest.mark.parametrize("rest", [b"1;", b"0\r\n"])
async def test_a14_a_chunk_or_a_trailer_that_drips_ends_in_time(rest):
    async def drip(stream, _head):
        await stream.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        await stream.send(b"32\r\n" + BODY + b"\r\n" if rest.startswith(b"0") else b"")
        await stream.send(rest)
        while True:
            await stream.send(b"a")
            await anyio.sleep(0.02)

    config = replace(CONFIG, slow_after_s=0.5, read_timeout_s=1.5)
    assert "no complete chunk in 2 s" in await failure(drip, config=config)


@pytest.mark.parametrize(
    ("sizes", "pauses"),
    [([1] * 8, 0), ([1] * 20, 12), ([255] * 9 + [256] + [1] * 8, 2), ([4096] * 500, 0)],
)
async def test_a14_bytes_that_come_one_by_one_are_gathered(monkeypatch, sizes, pauses):
    slept: list[float] = []

    async def sleep(delay_s: float) -> None:
        slept.append(delay_s)

    async def parts():
        for size in sizes:
            yield bytes(size)

    monkeypatch.setattr("torrent_engine.net.http.stream.anyio.sleep", sleep)
    library: Any = SimpleNamespace(TransportError=OSError)
    response: Any = SimpleNamespace(status_code=200, stream=parts())
    streamed = StreamedResponse(library, response, {}, "192.0.2.1")
    assert [len(await streamed.read()) for _ in sizes] == sizes
    assert len(slept) == pauses
    assert await streamed.read() == b""


async def test_a14_a_body_without_end_is_cut_off():
    async def endless(stream, _head):
        await stream.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        while True:
            await stream.send(b"1000\r\n" + bytes(4096) + b"\r\n")

    async with rude_server(endless) as server, Asker() as asker:
        with pytest.raises(HttpError, match="longer than what was asked for"):
            await asker.fetch(server.base)
    assert asker.sink.data == b""


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, gzip"])
async def test_a13_nothing_is_inflated(encoding):
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    place = f"bytes 0-{len(bomb) - 1}/{len(bomb)}"
    answer = response(bomb, status=206, Content_Range=place, Content_Encoding=encoding)
    span = Span(0, len(bomb), len(bomb))
    async with rude_server(answering(answer)) as server, Asker() as asker:
        tracemalloc.start()
        try:
            with pytest.raises(HttpError, match="content encoding"):
                await asker.fetch(server.base, span)
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert asker.sink.data == b""
    assert peak_bytes < 8 * 1024 * 1024


async def test_a_server_without_ranges_is_no_use_far_into_a_file():
    config = replace(CONFIG, max_skipped_bytes=99)
    assert "does not serve ranges" in await failure(answering(response(WHOLE)), config=config)
    config = replace(CONFIG, max_skipped_bytes=100)
    assert await fetch(answering(response(WHOLE)), config=config) == BODY


@pytest.mark.parametrize("status", [401, 403, 404, 410, 416, 451])
async def test_a_file_that_is_not_there_is_told_apart(status):
    assert f"status {status}" in await failure(
        answering(response(status=status)), FileNotServedError
    )


BUSY = {
    "header": (response(status=503, Retry_After="17"), 17.0),
    "too_many_requests": (response(status=429, Retry_After="3"), 3.0),
    "bep17_body": (response(b" 40\n", status=503), 40.0),
    "header_first": (response(b"40", status=503, Retry_After="17"), 17.0),
    "a_date": (response(status=503, Retry_After="Fri, 31 Dec 1999 23:59:59 GMT"), None),
    "a_page": (response(b"<html>" + bytes(1000), status=503), None),
    "negative": (response(b"-5", status=503), None),
    "huge": (response(b"9" * 60, status=503), None),
    "nothing": (response(status=503), None),
}


@pytest.mark.parametrize(("answer", "retry_in_s"), BUSY.values(), ids=BUSY.keys())
async def test_bep17_a_busy_server_says_when_to_come_back(answer, retry_in_s):
    async with rude_server(answering(answer)) as server, Asker() as asker:
        with pytest.raises(WebSeedBusyError) as caught:
            await asker.fetch(server.base)
    assert caught.value.retry_in_s == retry_in_s


async def test_bep17_a_piece_arrives():
    async with rude_server(answering(response(BODY))) as server, Asker() as asker:
        await asker.server.fetch_body(f"{server.base}/s?piece=1", len(BODY), asker.sink)
    assert asker.sink.data == BODY
    assert b"range:" not in server.requests[0].lower()


@pytest.mark.parametrize(
    "answer",
    [response(BODY[:-1]), response(BODY + b"x"), response(BODY, status=206), response(status=404)],
    ids=["short", "long", "a_range", "missing"],
)
async def test_bep17_another_answer_is_an_error(answer):
    async with rude_server(answering(answer)) as server, Asker() as asker:
        with pytest.raises(HttpError):
            await asker.server.fetch_body(server.base, len(BODY), asker.sink)
    assert asker.sink.data == b""


async def test_a14_mutated_answers_raise_nothing_but_http_errors():
    """Whatever comes, it is an HttpError or, byte for byte, a body of the right length."""
    rng, left = random.Random(14), [CHUNKED, GOOD, UNTIL_CLOSED] * 60

    async def mutated(stream, _head):
        data = bytearray(left.pop())
        for _ in range(rng.randint(1, 6)):
            place = rng.randrange(len(data))
            data[place : place + rng.randint(0, 3)] = rng.choice(
                [b"", b"\r\n", b"9", rng.randbytes(2)]
            )
        await stream.send(bytes(data))

    refused = 0
    async with rude_server(mutated) as server:
        while left:
            async with Asker() as asker:
                with suppress(HttpError):
                    await asker.fetch(server.base)
                    assert len(asker.sink.data) == len(BODY)
                    refused -= 1
            assert len(asker.sink.data) <= len(BODY)
            refused += 1
    assert 60 < refused < 180


# Slowness


async def test_b5_silence_ends_at_the_read_timeout():
    async def silent(stream, _head):
        await stream.send(HEAD + b"Content-Length: 50\r\n\r\n")
        await stream.receive()

    assert await failure(silent, config=HASTY)


async def test_b5_a_trickle_is_cut_off():
    async def drip(stream, _head):
        await stream.send(HEAD + b"Content-Length: 50\r\n\r\n")
        for byte in BODY:
            await stream.send(bytes((byte,)))
            await anyio.sleep(0.05)

    config = replace(CONFIG, slow_after_s=0.3, min_bytes_per_s=1000)
    assert "bytes in" in await failure(drip, config=config)


async def test_b5_our_own_waiting_is_not_held_against_the_server():
    class Slow(Bucket):
        async def ready(self):
            await anyio.sleep(0.1)

    config = replace(CONFIG, slow_after_s=0.05, min_bytes_per_s=1)
    async with rude_server(answering(CHUNKED)) as server, Asker(config=config) as asker:
        asker.sink = Slow()
        assert await asker.fetch(server.base) == BODY


# Where it may lead (D1)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.1.2.3"])
async def test_d1_a_web_seed_at_a_local_address_is_not_asked(address):
    async with rude_server(answering(GOOD)) as canary:
        resolver = names(**{"seed.example": [address]})
        async with Asker(policy=WEB_SEED_POLICY, resolver=resolver) as asker:
            with pytest.raises(AddressRefusedError, match="not a public address"):
                await asker.fetch(f"http://seed.example:{canary.port}/")
    assert canary.requests == []


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "0.0.0.0", "224.0.0.1", "[::]"])
async def test_d1_never_allowed_is_never_allowed(host):
    async with Asker() as asker:
        with pytest.raises(AddressRefusedError, match="never allowed"):
            await asker.fetch(f"http://{host}/latest/meta-data")
    assert not asker.streams.is_open


LOCATIONS = {
    "metadata_service": "http://169.254.169.254/latest/meta-data",
    "loopback": "http://127.0.0.1:{port}/secret",
    "loopback_by_name": "http://local.example:{port}/secret",
    "loopback6": "http://[::1]:{port}/secret",
    "mapped": "http://[::ffff:127.0.0.1]:{port}/secret",
    "file": "file:///etc/passwd",
    "gopher": "gopher://127.0.0.1:{port}/",
    "malformed": "http://[::1",
}


@pytest.mark.parametrize("location", LOCATIONS.values(), ids=LOCATIONS.keys())
async def test_d1_a_redirect_from_outside_to_inside_is_refused(monkeypatch, location):
    """127.0.0.1 plays the public server for the first hop."""
    resolver = names(
        **{"seed.example": ["127.0.0.1"], "local.example": ["127.0.0.1"]},
        **{host: [host] for host in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254")},
    )
    async with rude_server(answering(GOOD)) as canary:
        moved = response(status=302, Location=location.format(port=canary.port))
        async with rude_server(answering(moved)) as server:
            monkeypatch.setattr(http_stream, "is_global", lambda _address: True)
            async with Asker(resolver=resolver) as asker:
                with pytest.raises(HttpError):
                    await asker.fetch(f"http://seed.example:{server.port}/x")
        assert len(server.requests) == 1
    assert canary.requests == []


async def test_d1_a_name_that_flips_is_looked_up_once():
    """A second look-up would lead to 127.0.0.1: it never happens while connections live."""
    found = [["127.0.0.1"], ["169.254.169.254"]]

    async def flipping(_host, _port):
        return found.pop(0)

    async with web_server({"/x": WHOLE}) as server, Asker(resolver=flipping) as asker:
        url = f"http://seed.example:{server.port}/x"
        for _ in range(3):
            await asker.fetch(url)
        assert len(found) == 1
        await asker.streams.aclose()
        with pytest.raises(AddressRefusedError):
            await asker.fetch(url)
    assert len(server.asked) == 3


async def test_a_name_is_looked_up_again_after_a_failure():
    resolver = names(**{"t.example": ["127.0.0.1"]})
    answers = [response(status=500), GOOD]
    async with rude_server(answering(*answers)) as server, Asker(resolver=resolver) as asker:
        url = f"http://t.example:{server.port}/"
        with pytest.raises(HttpError, match="status 500"):
            await asker.fetch(url)
        assert await asker.fetch(url) == BODY
    assert resolver.asked == ["t.example"] * 2


async def test_redirects_are_followed_and_remembered():
    async with web_server({"/there": WHOLE}) as server:
        moved = response(status=302, Location=f"{server.base}/there")
        async with rude_server(answering(moved)) as first, Asker() as asker:
            for _ in range(3):
                await asker.fetch(f"{first.base}/x")
    assert asker.sink.data == BODY * 3
    assert len(first.requests) == 1
    assert [asked.first for asked in server.asked] == [100] * 3


async def test_a_remembered_redirect_that_ends_is_asked_for_again():
    async with web_server({"/1": WHOLE, "/2": WHOLE}) as server:
        moved = [response(status=302, Location=f"{server.base}/{n}") for n in (1, 2)]
        async with rude_server(answering(*moved)) as first, Asker() as asker:
            await asker.fetch(first.base)
            server.files = {"/2": WHOLE}
            await asker.fetch(first.base)
    assert asker.sink.data == BODY * 2
    assert len(first.requests) == 2


async def test_d1_more_than_five_redirects_are_refused():
    again = answering(response(status=301, Location="/again"))
    async with rude_server(again) as server, Asker() as asker:
        with pytest.raises(HttpError, match="more than 5 redirects"):
            await asker.fetch(server.base)
    assert len(server.requests) == 6


async def test_d1_redirects_to_ever_new_servers_are_refused():
    hosts = {f"h{n}.example": ["127.0.0.1"] for n in range(40)}
    async with web_server({"/x": WHOLE}) as server:

        def moving(asked):
            if asked.path == b"/x":
                return server.file_answer(asked)
            url = f"http://h{asked.path[1:].decode()}.example:{server.port}/x"
            return response(status=302, Location=url)

        server.answer = moving
        async with Asker(resolver=names(**hosts)) as asker:
            for n in range(16):
                await asker.fetch(f"http://h0.example:{server.port}/{n}")
            with pytest.raises(HttpError, match="more than 16 servers"):
                await asker.fetch(f"http://h0.example:{server.port}/16")
    assert len(asker.sink.data) == len(BODY) * 16


@pytest.mark.parametrize("is_same", [True, False])
async def test_d1_secrets_do_not_follow_a_redirect_to_another_origin(is_same):
    async with rude_server(answering(GOOD)) as other:
        where = "/next" if is_same else f"{other.base}/next"
        first = answering(response(status=307, Location=where), GOOD)
        async with rude_server(first) as server, Asker() as asker:
            for _ in range(2):  # the second time by what is remembered
                await asker.fetch(server.base.replace("://", f"://u:{CANARY}@"))
    lasts = (server if is_same else other).requests[-2:]
    assert [b"authorization:" in last.lower() for last in lasts] == [is_same] * 2
    assert all(b"range: bytes=100-149" in last.lower() for last in lasts)


async def test_the_next_address_is_tried_when_one_refuses_and_kept():
    resolver = names(**{"t.example": ["127.0.0.9", "127.0.0.1"]})
    async with web_server({"/x": WHOLE}) as server, Asker(resolver=resolver) as asker:
        for _ in range(2):
            await asker.fetch(f"http://t.example:{server.port}/x")
    assert asker.sink.data == BODY * 2
    assert resolver.asked == ["t.example"]


async def test_a_server_that_is_gone_is_an_http_error():
    async with rude_server(answering(GOOD)) as server:
        url = server.base
    async with Asker() as asker:
        with pytest.raises(HttpError):
            await asker.fetch(url)
        with pytest.raises(HttpError, match="cannot resolve"):
            await asker.fetch("http://nowhere.invalid/")


# TLS and secrets


@pytest.mark.parametrize(
    ("certified", "days_valid", "is_trusted", "is_fine"),
    [
        ("t.example", 30, True, True),
        ("t.example", 30, False, False),
        ("other.example", 30, True, False),
        ("t.example", -5, True, False),
    ],
    ids=["right", "self_signed", "wrong_host", "expired"],
)
async def test_d2_certificates_are_checked(tmp_path, certified, days_valid, is_trusted, is_fine):
    context = server_context(tmp_path, certified, days_valid=days_valid)
    trust = trusting_context(tmp_path) if is_trusted else None
    resolver = names(**{"t.example": ["127.0.0.1"]})
    async with rude_server(answering(GOOD), ssl_context=context) as server:
        url = f"https://t.example:{server.port}/"
        async with Asker(resolver=resolver, ssl_context=trust) as asker:
            if is_fine:
                assert await asker.fetch(url) == BODY
            else:
                with pytest.raises(HttpError):
                    await asker.fetch(url)
    assert len(server.requests) == int(is_fine)


async def test_d2_a_connection_is_not_shared_by_two_hosts_of_one_address(tmp_path):
    context = server_context(tmp_path, "t.example")
    resolver = names(**{"t.example": ["127.0.0.1"], "other.example": ["127.0.0.1"]})
    trust = trusting_context(tmp_path)
    async with (
        rude_server(answering(GOOD), ssl_context=context) as server,
        Asker(resolver=resolver, ssl_context=trust) as asker,
    ):
        await asker.fetch(f"https://t.example:{server.port}/")
        with pytest.raises(HttpError):
            await asker.fetch(f"https://other.example:{server.port}/")
    assert len(server.requests) == 1


async def test_d4_no_secret_is_logged_or_in_an_error(caplog):
    caplog.set_level(logging.DEBUG)
    moved = response(status=302, Location=f"/{CANARY}/next", Set_Cookie=CANARY)
    async with rude_server(answering(moved, b"nonsense")) as server, Asker() as asker:
        url = f"{server.base}/{CANARY}/x?key={CANARY}".replace("://", f"://u:{CANARY}@")
        with pytest.raises(HttpError) as caught:
            await asker.fetch(url)
    assert CANARY in server.requests[1].decode()
    assert CANARY not in str(caught.value)
    assert CANARY not in caplog.text
