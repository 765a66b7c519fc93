import socket
from collections.abc import Iterator

import pytest

from torrent_engine.net.sockets import vectored as gather
from torrent_engine.net.sockets.vectored import MAX_JOINED_BYTES, send_some

BLOCK = bytes(range(256)) * 64


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.settimeout(10)
        yield ours, theirs


@pytest.fixture(params=["sendmsg", "joined"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    way: str = request.param
    monkeypatch.setattr(gather, "HAS_SENDMSG", way == "sendmsg")
    return way


def test_what_is_sent_is_a_prefix_of_all_buffers(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    buffers: list[bytes | memoryview] = [
        b"header",
        memoryview(BLOCK),
        b"more",
        memoryview(BLOCK)[:7],
    ]
    sent = send_some(ours, buffers)
    assert sent >= len(b"header")
    assert theirs.recv(1 << 20) == (b"".join(buffers)[:sent])


def test_thousands_of_buffers_go_out_in_turns(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    wanted = b"".join(number.to_bytes(2, "big") for number in range(3_000))
    rest: list[bytes | memoryview] = [wanted[at : at + 2] for at in range(0, len(wanted), 2)]
    got = b""
    while rest:
        sent = send_some(ours, rest)
        assert sent % 2 == 0
        got += theirs.recv(sent)
        del rest[: sent // 2]
    assert got == wanted


def test_socket_that_is_full_raises(pair: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(BlockingIOError):
        send_without_end(pair[0])


def send_without_end(sock: socket.socket) -> None:
    while True:
        send_some(sock, [BLOCK, BLOCK])


def test_first_buffer_is_not_copied_for_little_more() -> None:
    large = memoryview(bytes(MAX_JOINED_BYTES))
    assert gather._joined([large, b"x"]) is large
    assert gather._joined([b"x", b"y"]) == b"xy"
