"""Listeners with TLS: handshakes have a deadline, and places among the connections."""

import datetime
import errno
import os
import socket
import ssl
from contextlib import ExitStack, closing
from pathlib import Path

import anyio
import anyio.abc
import anyio.to_thread
import pytest

from tests.support.certificates import server_context, trusting_context
from tests.support.http_server import ANSWER_S, Echo, Served, served, status_of
from torrent_engine.base.errors import ConfigError
from torrent_engine.daemon.http import tls as tls_module
from torrent_engine.daemon.http.limits import HttpLimits
from torrent_engine.daemon.http.tls import (
    CertificateFiles,
    load_certificate,
    self_signed,
    wrong_date,
)

pytestmark = pytest.mark.anyio
GET = b"GET /there HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
HALF_HELLO = b"\x16\x03\x01\x02\x00\x01"
OTHER_ADDRESS = "127.0.0.2"
LIMIT_S = 120.0


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    return server_context(tmp_path, "127.0.0.1")


@pytest.fixture
def trusting(tls: ssl.SSLContext, tmp_path: Path) -> ssl.SSLContext:
    return trusting_context(tmp_path)


def silent(here: Served, sent: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
    """Connect, and send no whole handshake."""
    client = socket.create_connection(("127.0.0.1", here.port), source_address=(source, 0))
    client.settimeout(LIMIT_S)
    client.sendall(sent)
    return client


def ends(client: socket.socket) -> bool:
    """Wait until the server closes a connection."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


async def get(here: Served, trusting: ssl.SSLContext) -> bytes:
    """Return the answer to a request, from the address that nobody else has."""

    def ask() -> bytes:
        source = (OTHER_ADDRESS, 0)
        plain = socket.create_connection(("127.0.0.1", here.port), LIMIT_S, source)
        with trusting.wrap_socket(plain, server_hostname="127.0.0.1") as client:
            client.sendall(GET)
            return client.recv(65_536)

    return await anyio.to_thread.run_sync(ask)


async def wait_for_handshakes(here: Served, count: int) -> None:
    with anyio.fail_after(LIMIT_S):
        while here.server.handshakes != count:  # noqa: ASYNC110 - the server tells nobody
            await anyio.sleep(0.01)


async def test_request_that_comes_with_the_end_of_the_handshake_is_answered(
    tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    echo = Echo()
    async with served(echo, tls=tls) as here, await here.connect() as stream:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = trusting.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                await stream.send(outgoing.read())
                with anyio.fail_after(ANSWER_S):
                    incoming.write(await stream.receive())
        client.write(GET)
        await stream.send(outgoing.read())  # the last record of the handshake, and the request
        assert status_of(await read_record(stream, incoming, client)) == 200
    assert (echo.scopes[0]["scheme"], echo.scopes[0]["path"]) == ("https", "/there")


async def read_record(
    stream: anyio.abc.SocketStream, incoming: ssl.MemoryBIO, client: ssl.SSLObject
) -> bytes:
    """Return the first bytes that are not of the handshake."""
    with anyio.fail_after(ANSWER_S):
        while True:
            try:
                return client.read(65_536)
            except ssl.SSLWantReadError:
                incoming.write(await stream.receive())


@pytest.mark.parametrize("sent", [b"", HALF_HELLO], ids=["nothing", "half_a_hello"])
async def test_handshake_has_a_deadline(tls: ssl.SSLContext, sent: bytes) -> None:
    async with served(Echo(), HttpLimits(handshake_s=0.2), tls) as here:
        with closing(silent(here, sent)) as client:
            await wait_for_handshakes(here, 1)
            assert await anyio.to_thread.run_sync(ends, client)
            await wait_for_handshakes(here, 0)


async def test_what_is_no_handshake_ends_the_connection_only(
    tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    async with served(Echo(), tls=tls) as here:
        for sent in (GET, bytes(100), b"\x16\x03\x01\xff\xff" + bytes(70_000)):
            with closing(silent(here, sent)) as client:
                client.shutdown(socket.SHUT_WR)
                await anyio.to_thread.run_sync(read_to_end, client)
        assert status_of(await get(here, trusting)) == 200


def read_to_end(client: socket.socket) -> None:
    try:
        while client.recv(65_536):
            pass
    except ConnectionResetError:
        return


async def test_handshakes_count_as_connections_of_their_address(
    tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    limits = HttpLimits(max_connections_per_address=3, handshake_s=LIMIT_S)
    async with served(Echo(), limits, tls) as here:
        with ExitStack() as clients:
            waiting = [clients.enter_context(closing(silent(here))) for _ in range(3)]
            await wait_for_handshakes(here, 3)
            one_more = clients.enter_context(closing(silent(here)))
            assert await anyio.to_thread.run_sync(ends, one_more)
            assert here.server.handshakes == 3
            assert status_of(await get(here, trusting)) == 200
            waiting[0].close()
            await wait_for_handshakes(here, 2)


async def test_clients_that_never_shake_hands_keep_nobody_out(
    tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    limits = HttpLimits(max_connections=3, handshake_s=LIMIT_S)
    async with served(Echo(), limits, tls) as here:
        with ExitStack() as clients:
            waiting = [clients.enter_context(closing(silent(here))) for _ in range(3)]
            await wait_for_handshakes(here, 3)
            assert status_of(await get(here, trusting)) == 200
            assert await anyio.to_thread.run_sync(ends, waiting[0])  # the one that waited longest
            assert here.server.handshakes == 2


async def test_stop_does_not_wait_for_handshakes(tls: ssl.SSLContext) -> None:
    async with served(Echo(), HttpLimits(handshake_s=LIMIT_S), tls) as here:
        client = silent(here)
        await wait_for_handshakes(here, 1)
    with closing(client):
        assert await anyio.to_thread.run_sync(ends, client)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", here.port), LIMIT_S)


@pytest.mark.parametrize(
    ("days", "text"), [(0, ""), (900, "the certificate ended on"), (-9, "begins on")]
)
def test_certificate_that_is_not_valid_now_is_named(tmp_path: Path, days: int, text: str) -> None:
    files = self_signed(tmp_path, ["localhost"])
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    found = wrong_date(files.certificate, now)
    assert text in found
    assert bool(found) == bool(text)


def test_certificate_that_has_ended_is_served_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tls_module, "LIFE_DAYS", -0.5)
    files = self_signed(tmp_path, ["localhost"])
    load_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), files)
    assert "the certificate ended on" in caplog.text
    assert str(files.certificate) in caplog.text


@pytest.mark.parametrize("broken", ["key_of_another", "no_key", "half_a_file"])
async def test_files_that_do_not_fit_leave_the_certificate_that_was_there(
    tls: ssl.SSLContext, trusting: ssl.SSLContext, tmp_path: Path, broken: str
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    server_context(other, "127.0.0.1")
    certificate, key = other / "server.pem", tmp_path / "server.pem"
    if broken == "no_key":
        key = tmp_path / "none.pem"
    elif broken == "half_a_file":
        key = tmp_path / "half.pem"
        key.write_bytes(certificate.read_bytes()[:80])
    with pytest.raises(ConfigError, match="tls: "):
        load_certificate(tls, CertificateFiles(certificate, key))
    async with served(Echo(), tls=tls) as here:
        assert status_of(await get(here, trusting)) == 200


def test_f9_a_certificate_that_cannot_be_read_is_not_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = self_signed(tmp_path, ["localhost"])
    before = files.certificate.read_bytes()

    def read(path: Path) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("torrent_engine.daemon.http.tls.read_regular", read)
        with pytest.raises(ConfigError, match="Too many open files"):
            self_signed(tmp_path, ["localhost"])
    assert files.certificate.read_bytes() == before


@pytest.mark.parametrize("name", ["certificate", "key"])
def test_f6_a_pipe_in_the_place_of_a_certificate_or_key_holds_no_start_up(
    tmp_path: Path, name: str
) -> None:
    files = self_signed(tmp_path, ["localhost"])
    path: Path = getattr(files, name)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="is no regular file"):
        load_certificate(
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self_signed(tmp_path, ["localhost"])
        )
