"""The control socket: who is answered, how long, and what a folder without a process gives."""

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.service.test_torrents import ROW, FakeTorrents
from torrent_engine.base.errors import NetworkError, StateDatabaseError, StateInUseError
from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.state.store import NO_RESERVE, StateStore
from torrent_engine.service import control_socket
from torrent_engine.service.control_api import ControlApi, JsonObject
from torrent_engine.service.control_client import RemoteTorrents, is_answered, open_torrents
from torrent_engine.service.control_socket import MAX_BODY_BYTES, SOCKET_NAME, ControlServer
from torrent_engine.service.saved import SavedTorrents
from torrent_engine.service.torrents import Change, Failure, TorrentAction

pytestmark = pytest.mark.anyio
CHANGE = Change(TorrentAction.PAUSE, (InfoHash(b"a" * 20), InfoHash(b"b" * 20)))


def server(torrents: FakeTorrents | None = None, *, request_s: float = 30.0) -> ControlServer:
    return ControlServer(ControlApi(torrents or FakeTorrents()).answer, request_s=request_s)


async def exchanged(folder: Path, data: bytes) -> bytes:
    """Return all that the server sends before it closes."""
    answer = b""
    with anyio.fail_after(30):
        async with await anyio.connect_unix(str(folder / SOCKET_NAME)) as stream:
            await stream.send(data)
            try:
                while True:
                    answer += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return answer


async def test_torrents_are_listed_and_changed_by_another_process(tmp_path: Path) -> None:
    torrents = FakeTorrents()
    async with server(torrents).open(tmp_path):
        path = tmp_path / SOCKET_NAME
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        remote = RemoteTorrents(path)
        assert await remote.rows() == [ROW]
        assert await remote.change(CHANGE) == [Failure("62" * 20, "state_conflict", "no")]
        assert torrents.changes == [CHANGE]
    assert not path.exists()


async def test_a_path_too_long_for_the_system_works(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["x" * 50] * 3)
    folder.mkdir(parents=True)
    assert len(os.fsencode(folder)) > 108
    async with server().open(folder):
        assert await is_answered(folder / SOCKET_NAME)
        assert await RemoteTorrents(folder / SOCKET_NAME).rows() == [ROW]


async def test_a_socket_that_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / SOCKET_NAME
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    assert not await is_answered(path)
    async with await StateStore.open(tmp_path, config=NO_RESERVE):
        pass
    async with open_torrents(tmp_path) as torrents:
        assert isinstance(torrents, SavedTorrents)
    async with server().open(tmp_path):
        assert await is_answered(path)


async def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / SOCKET_NAME
    path.write_text("mine")
    with pytest.raises(OSError, match="in use"):
        async with server().open(tmp_path):
            pass
    assert path.read_text() == "mine"


async def test_a_folder_whose_process_does_not_answer_is_an_error(tmp_path: Path) -> None:
    async with await StateStore.open(tmp_path, config=NO_RESERVE) as store:
        store.claim_manager()
        with pytest.raises(StateInUseError):
            async with open_torrents(tmp_path, claim_s=0.0):
                pass


async def test_another_users_socket_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with server().open(tmp_path):
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        if os.getuid() == 0:  # what root owns is trusted
            os.chown(tmp_path / SOCKET_NAME, 12_345, 12_345)
        with pytest.raises(StateDatabaseError, match="another user"):
            await is_answered(tmp_path / SOCKET_NAME)


async def test_another_user_is_not_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_socket, "is_trusted", lambda stream: False)
    async with server().open(tmp_path):
        assert await exchanged(tmp_path, b"GET /api/v1/torrents HTTP/1.1\r\nHost: x\r\n\r\n") == b""


MALFORMED = {
    "no_http": (b"hello\r\n\r\n", 400),
    "binary": (bytes(range(256)) + b"\r\n\r\n", 400),
    "no_host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "long_line": (b"GET /" + b"a" * 100_000, 431),
    "two_lengths": (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 2\r\n\r\n", 400),
    "long_body": (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"%x\r\n" % (MAX_BODY_BYTES + 1)
        + bytes(MAX_BODY_BYTES + 1),
        413,
    ),
}


@pytest.mark.parametrize(("data", "status"), MALFORMED.values(), ids=MALFORMED.keys())
async def test_what_is_no_request_is_refused_and_the_next_is_answered(
    data: bytes, status: int, tmp_path: Path
) -> None:
    async with server().open(tmp_path):
        answer = await exchanged(tmp_path, data)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert await RemoteTorrents(tmp_path / SOCKET_NAME).rows() == [ROW]


async def test_a_client_that_hangs_is_closed_in_time(tmp_path: Path) -> None:
    async with server(request_s=0.05).open(tmp_path):
        answer = await exchanged(tmp_path, b"GET /api/v1/torrents HTT")
        assert answer.startswith(b"HTTP/1.1 408 ")


async def test_clients_beyond_the_limit_are_closed_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / SOCKET_NAME)
    limited = ControlServer(ControlApi(FakeTorrents()).answer, request_s=30.0, max_clients=1)
    async with limited.open(tmp_path), await anyio.connect_unix(path) as first:
        await first.send(b"GET /api/v1/tor")
        assert await exchanged(tmp_path, b"") == b""


async def test_a_server_that_hangs_is_an_error_in_time(tmp_path: Path) -> None:
    async def hang(method: bytes, target: bytes, body: bytes) -> tuple[int, JsonObject]:
        await anyio.sleep_forever()
        raise AssertionError

    async with ControlServer(hang).open(tmp_path):
        with pytest.raises(NetworkError, match="no answer in time"):
            await RemoteTorrents(tmp_path / SOCKET_NAME, answer_s=0.05).rows()


async def test_a_server_that_goes_away_is_an_error(tmp_path: Path) -> None:
    async def leave(method: bytes, target: bytes, body: bytes) -> tuple[int, JsonObject]:
        raise anyio.BrokenResourceError

    async with ControlServer(leave).open(tmp_path):
        with pytest.raises(NetworkError, match="no answer"):
            await RemoteTorrents(tmp_path / SOCKET_NAME).rows()


async def test_f9_a_connection_for_which_there_is_no_descriptor_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_socket, "ACCEPT_RETRY_S", 0.01)
    refused = anyio.Event()
    listen = anyio.create_unix_listener

    async def create(*arguments: Any, **options: Any) -> Any:
        listener = await listen(*arguments, **options)
        accept = type(listener).accept

        async def refuse(_self: object) -> Any:
            monkeypatch.setattr(type(listener), "accept", accept)
            refused.set()
            raise anyio.BrokenResourceError from OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(type(listener), "accept", refuse)
        return listener

    monkeypatch.setattr(anyio, "create_unix_listener", create)
    async with server().open(tmp_path):
        with anyio.fail_after(30):
            await refused.wait()
            assert await is_answered(tmp_path / SOCKET_NAME)
