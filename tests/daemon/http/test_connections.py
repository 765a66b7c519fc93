"""Deadlines, caps and ends of connections."""

import os
import re
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from email.utils import parsedate_to_datetime
from pathlib import Path

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

from tests.support.http_server import (
    Echo,
    Served,
    answer,
    endless,
    read_all,
    read_answer,
    read_head,
    served,
    status_of,
    statuses_of,
)
from torrent_engine.daemon.http.asgi import AsgiReceive, AsgiScope, AsgiSend
from torrent_engine.daemon.http.limits import ConnectionCount, HttpLimits, address_group
from torrent_engine.daemon.http.server import HttpListener, open_server
from torrent_engine.daemon.http.sockets import bind_unix

pytestmark = pytest.mark.anyio
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
HALF = b"GET / HTTP/1.1\r\nHost: local"


@asynccontextmanager
async def half_requests(here: Served, count: int) -> AsyncIterator[list[anyio.abc.SocketStream]]:
    """Connect many clients that have sent half a request."""
    streams: list[anyio.abc.SocketStream] = []
    try:
        for _ in range(count):
            streams.append(await here.connect())
            await streams[-1].send(HALF)
        yield streams
    finally:
        for stream in streams:
            await stream.aclose()


def ask_and_reset(port: int) -> None:
    """Send a request and reset the connection before the server's loop accepts it."""
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(GET)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


async def test_request_of_a_client_without_an_address_is_not_taken_for_one_of_the_unix_socket() -> (
    None
):
    app = Echo()
    async with served(app) as here:
        for _ in range(3):
            ask_and_reset(here.port)
        assert status_of(await here.get()) == 200
        assert here.server.connections <= 1
    assert [scope["client"] is not None for scope in app.scopes] == [True]


# -- deadlines ------------------------------------------------------------------------------------


async def test_hundred_slow_clients_leave_room_for_another() -> None:
    limits = HttpLimits(max_connections=110, max_connections_per_address=110, head_s=300.0)
    async with served(Echo(), limits) as here, half_requests(here, 100):
        with anyio.fail_after(60):  # well below what the slow ones may take
            for _ in range(20):
                assert status_of(await here.get()) == 200


async def test_hundred_slow_clients_are_told_that_their_time_is_over() -> None:
    limits = HttpLimits(max_connections=110, max_connections_per_address=110, head_s=1.0)
    async with served(Echo(), limits) as here, half_requests(here, 100) as slow:
        for stream in slow:
            assert status_of(await read_all(stream)) == 408


async def test_hundred_slow_clients_of_one_address_leave_room_for_others_by_default() -> None:
    async with served(Echo(), HttpLimits(head_s=300.0)) as here:
        slow = [slow_client(here.port) for _ in range(100)]
        try:
            with anyio.fail_after(30):
                while here.server.connections < 64:  # noqa: ASYNC110 - the server tells nobody
                    await anyio.sleep(0.01)
            with anyio.fail_after(60):
                for _ in range(20):
                    assert status_of(await here.get()) == 200
        finally:
            for each in slow:
                each.close()


def slow_client(port: int, sent: bytes = HALF) -> socket.socket:
    """Connect from another address of this machine, and send half a request."""
    client = socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", 0))
    client.sendall(sent)
    return client


async def test_head_that_comes_byte_by_byte_is_not_waited_for() -> None:
    async with served(Echo(), HttpLimits(head_s=0.3)) as here, await here.connect() as stream:
        begun_s = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drip, stream, GET[:-1] * 100)
            assert status_of(await read_all(stream)) == 408
            tasks.cancel_scope.cancel()
    assert anyio.current_time() - begun_s < 2.0


async def drip(stream: anyio.abc.ByteSendStream, data: bytes, pause_s: float = 0.05) -> None:
    for byte in data:
        try:
            await stream.send(bytes([byte]))
        except anyio.BrokenResourceError:
            return
        await anyio.sleep(pause_s)


async def test_client_that_says_nothing_is_dropped() -> None:
    async with served(Echo(), HttpLimits(head_s=0.1)) as here, await here.connect() as stream:
        assert await read_all(stream) == b""


async def test_idle_connection_is_kept_for_the_next_request_and_then_closed() -> None:
    limits = HttpLimits(head_s=5.0, idle_s=0.3)
    async with served(Echo(), limits) as here, await here.connect() as stream:
        for _ in range(3):
            await stream.send(GET)
            assert status_of(await read_answer(stream)) == 200
        assert b"HTTP/1.1" not in await read_all(stream, limit_s=3.0)


async def test_second_head_of_a_connection_has_a_deadline_too() -> None:
    limits = HttpLimits(head_s=0.3, idle_s=60.0)
    async with served(Echo(), limits) as here, await here.connect() as stream:
        await stream.send(GET + HALF)
        answers = await read_all(stream)
    assert statuses_of(answers) == [200, 408]


async def test_slow_body_is_refused_and_the_request_ends() -> None:
    limits = HttpLimits(body_check_s=0.2, min_body_bytes_per_s=1024)
    echo = Echo()
    async with served(echo, limits) as here, await here.connect() as stream:
        await stream.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drip, stream, bytes(1000))
            assert status_of(await read_all(stream)) == 408
            tasks.cancel_scope.cancel()
    assert echo.seen == []


async def test_body_that_takes_too_long_in_all_is_refused() -> None:
    limits = HttpLimits(body_s=0.5, body_check_s=0.1, min_body_bytes_per_s=1)
    async with served(Echo(), limits) as here, await here.connect() as stream:
        await stream.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drip, stream, bytes(1000))
            assert status_of(await read_all(stream)) == 408
            tasks.cancel_scope.cancel()


async def test_body_that_the_application_does_not_read_yet_is_not_the_clients_fault() -> None:
    go_on = anyio.Event()

    async def late(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        await go_on.wait()
        await Echo()(scope, receive, send)

    limits = HttpLimits(body_s=2.0, body_check_s=0.05)
    body = bytes(4 * 2**20)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4194304\r\n\r\n"
    async with (
        served(late, limits) as here,
        await here.connect() as stream,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(stream.send, head + body)
        await anyio.sleep(2.5)  # longer than a body may take
        go_on.set()
        assert b'"bytes": 4194304' in await read_all(stream)


async def test_client_that_takes_nothing_is_dropped_and_its_request_cancelled() -> None:
    ended = anyio.Event()

    async def flood(_: AsgiScope, __: AsgiReceive, send: AsgiSend) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
        finally:
            ended.set()

    async with served(flood, HttpLimits(write_s=0.3)) as here, await here.connect() as stream:
        await stream.send(GET)
        with anyio.fail_after(30):
            await ended.wait()
        with anyio.fail_after(30):
            while here.server.connections:  # noqa: ASYNC110 - the server tells nobody
                await anyio.sleep(0.01)
        assert ended.is_set()


async def test_application_may_let_the_client_of_one_request_pause_for_longer() -> None:
    limits: list[float] = []

    async def app(scope: AsgiScope, _: AsgiReceive, send: AsgiSend) -> None:
        connection = scope["extensions"]["te.set_write_limit"].__self__
        if not limits:
            scope["extensions"]["te.set_write_limit"](300.0)
        limits.append(connection._write_s)
        await answer(send, b"")

    async with served(app, HttpLimits(write_s=7.0)) as here, await here.connect() as stream:
        for _ in range(2):
            await stream.send(GET)
            await read_answer(stream)
    assert limits == [300.0, 7.0]


# -- caps -----------------------------------------------------------------------------------------


async def test_more_connections_than_allowed_of_an_address_are_refused() -> None:
    limits = HttpLimits(max_connections=10, max_connections_per_address=3)
    async with served(Echo(), limits) as here:
        async with half_requests(here, 3):
            found = await here.talk(b"")
            assert status_of(found) == 503
            assert b"\r\nRetry-After: 1\r\n" in found
        with anyio.fail_after(30):
            while here.server.connections:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        assert status_of(await here.get()) == 200


@pytest.mark.parametrize("kind", ["nothing", "half a head", "idle", "half a body"])
async def test_connections_that_wait_for_their_clients_keep_nobody_out(kind: str) -> None:
    sent = {
        "nothing": b"",
        "half a head": HALF,
        "idle": GET,
        "half a body": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf",
    }[kind]
    limits = HttpLimits(max_connections=6, max_connections_per_address=5)
    async with served(Echo(), limits) as here, AsyncExitStack() as stack:
        kept = await stack.enter_async_context(await here.connect())
        await kept.send(GET)
        assert (await kept.receive()).startswith(b"HTTP/1.1 200 ")
        for _ in range(5):
            client = stack.enter_context(closing(slow_client(here.port, sent)))
            if kind == "idle":
                await anyio.wait_readable(client)
        with anyio.fail_after(30.0):
            while here.server.connections < 6:  # noqa: ASYNC110 - the server tells nobody
                await anyio.sleep(0.01)
        for _ in range(2):
            assert status_of(await here.get()) == 200
        await kept.send(GET)
        assert (await kept.receive()).startswith(b"HTTP/1.1 200 ")


async def test_f9_with_few_descriptors_silent_clients_hold_few_and_keep_nobody_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torrent_engine.daemon.http.limits.descriptor_limit", lambda: 64)
    async with served(Echo()) as here, AsyncExitStack() as stack:
        for _ in range(30):
            stack.enter_context(closing(slow_client(here.port, b"")))
        with anyio.fail_after(30.0):
            while here.server.connections < 8:  # noqa: ASYNC110 - the server tells nobody
                await anyio.sleep(0.01)
        for _ in range(3):
            assert status_of(await here.get()) == 200
            assert here.server.connections <= 8


async def test_connections_with_running_requests_are_not_replaced() -> None:
    begun, ended = anyio.Semaphore(0), anyio.Event()

    async def wait(_: AsgiScope, __: AsgiReceive, send: AsgiSend) -> None:
        begun.release()
        await ended.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with served(wait, HttpLimits(max_connections=2)) as here, AsyncExitStack() as stack:
        running = [await stack.enter_async_context(await here.connect()) for _ in range(2)]
        for each in running:
            await each.send(GET)
            await begun.acquire()
        assert status_of(await here.talk(b"")) == 503
        ended.set()
        for each in running:
            assert (await each.receive()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_in_many_small_parts_is_refused_in_chunks_only(is_chunked: bool) -> None:
    """What arrives byte by byte costs a read each; thousands of chunks come in one."""
    count = 800
    how = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % (16_384 + count)
    part = b"1\r\nx\r\n" if is_chunked else b"x"
    first = b"4000\r\n%b\r\n" % bytes(16_384) if is_chunked else bytes(16_384)
    async with served(Echo()) as here, await here.connect() as stream:
        await stream.send(b"POST / HTTP/1.1\r\nHost: localhost\r\n%b\r\n\r\n%b" % (how, first))
        if is_chunked:
            await stream.send(part * count)
        else:
            for _ in range(count):
                await stream.send(part)
                await anyio.lowlevel.checkpoint()
        assert status_of(await read_answer(stream)) == (400 if is_chunked else 200)


@pytest.mark.parametrize("limits", [(2, 9), (9, 2)], ids=["all", "of an address"])
async def test_connections_whose_answers_are_held_back_keep_nobody_out(
    limits: tuple[int, int],
) -> None:
    """As those of clients that sent wrong tokens."""
    begun, cancelled = anyio.Semaphore(0), anyio.Event()

    async def hold(scope: AsgiScope, _: AsgiReceive, send: AsgiSend) -> None:
        if scope["path"] != "/wrong":
            await answer(send, b"")
            return
        with scope["extensions"]["te.held"]():
            begun.release()
            try:
                await anyio.sleep_forever()
            finally:
                cancelled.set()

    config = HttpLimits(max_connections=limits[0], max_connections_per_address=limits[1])
    async with served(hold, config) as here, AsyncExitStack() as stack:
        for _ in range(2):
            stream = await stack.enter_async_context(await here.connect())
            await stream.send(GET.replace(b"GET / ", b"POST /wrong "))
            await begun.acquire()
        assert status_of(await here.get()) == 200
        with anyio.fail_after(30):
            await cancelled.wait()  # a login, too, though it is no request that only reads


def test_connections_are_counted_by_network_and_in_all() -> None:
    count = ConnectionCount(HttpLimits(max_connections=4, max_connections_per_address=2))
    assert [count.admit("2001:db8::1"), count.admit("2001:db8::2")] == [True, True]
    assert not count.admit("2001:db8::3")
    assert count.admit("::ffff:192.0.2.1")
    assert count.admit(None)
    assert not count.admit("192.0.2.1")
    count.leave("2001:db8::1")
    assert count.admit("192.0.2.1")
    assert not count.admit("192.0.2.1")
    assert count.total == 4


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("no address", "no address"),
    ],
)
def test_group_of_an_address(host: str, group: str) -> None:
    assert address_group(host) == group


def test_default_limits_suit_proxies_and_players() -> None:
    limits = HttpLimits()
    assert limits.idle_s == 75.0  # proxies close an idle connection after 60 s
    assert limits.max_requests == 10_000
    assert (limits.max_connections, limits.max_connections_per_address) == (100, 64)
    assert (limits.head_s, limits.body_s, limits.write_s) == (10.0, 60.0, 60.0)
    assert limits.stop_s + limits.cancel_s <= 2.5


async def test_connection_ends_after_its_last_allowed_request() -> None:
    async with served(Echo(), HttpLimits(max_requests=3)) as here:
        answers = await here.talk(GET * 5)
    assert statuses_of(answers) == [200, 200, 200]
    assert answers.count(b"connection: close") + answers.count(b"Connection: close") == 1


async def test_pipelined_requests_are_answered_in_order() -> None:
    echo = Echo()
    asked = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(200))
    last = b"GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    async with served(echo) as here:
        answers = await here.talk(asked + last)
    assert statuses_of(answers) == [200] * 201
    assert [path for _, path, _ in echo.seen] == [*(f"/{n}" for n in range(200)), "/end"]


async def test_client_that_floods_behind_a_running_request_is_not_read() -> None:
    limits = HttpLimits(max_pipelined_bytes=4096)
    async with served(endless, limits) as here, await here.connect() as stream:
        await stream.send(GET)
        await read_head(stream)
        with anyio.move_on_after(1.0) as limit:
            while True:
                await stream.send(GET * 1000)
        assert limit.cancelled_caught


# -- bodies that nobody reads ----------------------------------------------------------------------


async def refuse(_: AsgiScope, __: AsgiReceive, send: AsgiSend) -> None:
    await answer(send, b'{"refused": true}', 413)


async def test_refusal_of_a_long_body_is_seen_by_a_client_that_still_sends() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n"
    async with served(refuse) as here, await here.connect() as stream:
        await stream.send(head + bytes(10_000))
        found = await read_all(stream)
    assert status_of(found) == 413
    assert found.endswith(b'{"refused": true}')
    assert b"connection: close" in found


async def test_short_body_that_nobody_reads_does_not_end_the_connection() -> None:
    body = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nGET /a HT"
    last = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    async with served(refuse) as here, await here.connect() as stream:
        await stream.send(body[:-4])
        await read_answer(stream)
        await stream.send(body[-4:] + last)
        answers = await read_all(stream)
    assert statuses_of(answers) == [413]


async def test_100_continue_is_sent_only_when_the_body_is_read() -> None:
    head = (
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n"
        b"Connection: close\r\n\r\n"
    )
    async with served(Echo()) as here, await here.connect() as stream:
        await stream.send(head)
        assert (await read_head(stream)).startswith(b"HTTP/1.1 100 ")
        await stream.send(b"hello")
        assert b'"bytes": 5' in await read_all(stream)
    async with served(refuse) as here:
        assert status_of(await here.talk(head)) == 413


# -- clients that go away --------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "is_cancelled"), [("GET", True), ("POST", False)])
async def test_request_that_only_reads_ends_with_its_client(
    method: str, *, is_cancelled: bool
) -> None:
    begun, ended, go_on = anyio.Event(), anyio.Event(), anyio.Event()
    result: list[bool] = []

    async def slow(_: AsgiScope, __: AsgiReceive, send: AsgiSend) -> None:
        begun.set()
        try:
            await go_on.wait()
            await answer(send, b"{}")
            result.append(False)
        except anyio.get_cancelled_exc_class():
            result.append(True)
            raise
        finally:
            ended.set()

    async with served(slow) as here:
        stream = await here.connect()
        await stream.send(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await begun.wait()
        await stream.aclose()
        gone_s = anyio.current_time()
        if not is_cancelled:
            with anyio.fail_after(30):
                while here.server.connections:  # noqa: ASYNC110
                    await anyio.sleep(0.01)
            go_on.set()
        with anyio.fail_after(30):
            await ended.wait()
    assert result == [is_cancelled]
    assert anyio.current_time() - gone_s < 5.0


async def test_reset_connection_leaves_the_server_alone() -> None:
    async with served(endless) as here:
        for _ in range(20):
            raw = socket.create_connection(("127.0.0.1", here.port))
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            raw.sendall(GET)
            raw.close()
        stream = await here.connect()
        await stream.send(GET)
        assert status_of(await read_head(stream)) == 200
        await stream.aclose()


# -- errors of the application ---------------------------------------------------------------------


async def test_error_of_the_application_is_a_500_and_the_server_lives(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(scope: AsgiScope, _: AsgiReceive, send: AsgiSend) -> None:
        if scope["path"] == "/late":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("a bug")

    async with served(broken) as here:
        assert status_of(await here.get("/early")) == 500
        late = await here.get("/late")
        assert status_of(late) == 200
        assert not late.endswith(b"0\r\n\r\n")  # cut, so that the client knows
        assert status_of(await here.get("/early")) == 500
    assert caplog.text.count("RuntimeError: a bug") == 3


# -- stopping --------------------------------------------------------------------------------------


async def test_stop_ends_an_endless_answer_a_deaf_client_and_half_a_request() -> None:
    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        if scope["path"] == "/events":
            await endless(scope, receive, send)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})

    assert HttpLimits().stop_s + HttpLimits().cancel_s <= 2.5
    async with AsyncExitStack() as streams:
        with anyio.fail_after(30):  # what is below never ends by itself
            async with served(app, HttpLimits(stop_s=0.2, cancel_s=0.05)) as here:
                for request in (b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n", GET, HALF, b""):
                    stream = await streams.enter_async_context(await here.connect())
                    if request:
                        await stream.send(request)
                    if request.endswith(b"\r\n\r\n"):
                        await read_head(stream)
                while here.server.connections < 4:  # noqa: ASYNC110
                    await anyio.sleep(0.01)


async def test_stop_lets_a_running_request_end_and_refuses_new_connections() -> None:
    begun, go_on = anyio.Event(), anyio.Event()

    async def slow(_: AsgiScope, __: AsgiReceive, send: AsgiSend) -> None:
        begun.set()
        await go_on.wait()
        await answer(send, b'{"done": true}')

    found: list[bytes] = []
    async with anyio.create_task_group() as tasks:
        async with served(slow) as here:
            stream = await here.connect()
            await stream.send(GET)
            await begun.wait()
            here.server.close_listeners()
            with pytest.raises(OSError):  # noqa: PT011 - any way of not answering
                await here.connect()
            go_on.set()
            found.append(await read_all(stream))
            await stream.aclose()
        tasks.cancel_scope.cancel()
    assert b'{"done": true}' in found[0]
    assert b"connection: close" in found[0]


async def test_answer_to_what_stops_the_server_arrives_even_if_it_is_empty() -> None:
    asked = anyio.Event()

    async def stopping(_: AsgiScope, __: AsgiReceive, send: AsgiSend) -> None:
        asked.set()
        await answer(send, b"", 204)
        here.server.close_listeners()

    async with served(stopping) as here:
        stream = await here.connect()
        await stream.send(GET)
        await asked.wait()
        assert (await read_all(stream)).startswith(b"HTTP/1.1 204 ")
        await stream.aclose()


async def test_stop_of_an_idle_server_waits_for_nothing() -> None:
    with anyio.fail_after(30):
        async with served(Echo(), HttpLimits(stop_s=60.0, cancel_s=60.0)) as here:
            stream = await here.connect()
            await stream.send(GET)
            assert status_of(await read_head(stream)) == 200
    await stream.aclose()


# -- what the application is told ------------------------------------------------------------------


async def test_unix_socket_tells_who_asks(tmp_path: Path) -> None:
    echo = Echo()
    path = tmp_path / "http.sock"
    listener = HttpListener("unix", bind_unix(path), path=path)
    async with open_server(echo, [listener]), await anyio.connect_unix(path) as stream:
        await stream.send(GET)
        assert status_of(await read_head(stream)) == 200
        assert path.stat().st_mode & 0o777 == 0o660
    assert echo.scopes[0]["client"] is None
    assert echo.scopes[0]["extensions"]["te.peer_uid"] == os.geteuid()
    assert echo.scopes[0]["extensions"]["te.listener"] == "unix"
    listener.close()  # from Python 3.13 on the loop has removed it
    assert not path.exists()


async def test_scope_of_tcp_has_addresses_and_no_user() -> None:
    echo = Echo()
    async with served(echo) as here:
        await here.get("/a/%2e%2e/b?x=%20", "X-A: 1", "x-a: 2")
    scope = echo.scopes[0]
    assert scope["client"][0] == "127.0.0.1"
    assert scope["server"] == ("127.0.0.1", here.port)
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (
        "/a/../b",
        b"/a/%2e%2e/b",
        b"x=%20",
    )
    assert [v for n, v in scope["headers"] if n == b"x-a"] == [b"1", b"2"]
    assert scope["extensions"]["te.peer_uid"] is None
    assert scope["asgi"]["spec_version"] == "2.4"


async def test_head_of_an_answer_leaves_before_its_body_is_there() -> None:
    go_on = anyio.Event()

    async def waits(_: AsgiScope, __: AsgiReceive, send: AsgiSend) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"late", "more_body": False})

    async with served(waits) as here, await here.connect() as stream:
        await stream.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert status_of(await read_head(stream)) == 200
        go_on.set()
        assert b"late" in await read_all(stream)


async def test_answer_has_a_date_and_does_not_name_the_server() -> None:
    async with served(Echo()) as here:
        found = await here.get()
    fields = dict(line.split(b": ", 1) for line in found.split(b"\r\n\r\n")[0].split(b"\r\n")[1:])
    assert abs(parsedate_to_datetime(fields[b"date"].decode()).timestamp() - time.time()) < 60
    assert b"server" not in fields


async def test_small_answers_leave_at_once() -> None:
    async with served(endless) as here, await here.connect() as stream:
        await stream.send(GET)
        await read_head(stream)
        (connection,) = here.server.open_connections
        plain = connection.transport.get_extra_info("socket")
        assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
async def test_requests_are_logged_at_debug_level_with_their_time(
    caplog: pytest.LogCaptureFixture, level: str
) -> None:
    caplog.set_level(level, "torrent_engine.daemon.http")
    async with served(Echo()) as here:
        await here.get("/a%0Ab?token=secret")
    lines = [each.getMessage() for each in caplog.records if "GET" in each.getMessage()]
    assert len(lines) == (level == "DEBUG")
    for line in lines:  # neither a line break nor what may be a credential
        assert re.search(r"127\.0\.0\.1.* GET /a%0Ab 200 in \d+\.\d ms$", line)
