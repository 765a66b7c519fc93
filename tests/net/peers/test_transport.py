"""A TCP connection as a link sees it."""

import socket
from contextlib import suppress

import pytest

from torrent_engine.net.peers.transport import MAX_UNSENT_BYTES, TcpTransport

RECEIVE_BYTES = 64 * 1024


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="the system has no such bound")
def test_b12_a_peer_that_reads_nothing_is_given_little() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        peer.connect(server.getsockname())
        accepted, _ = server.accept()
        with accepted:
            accepted.setblocking(False)
            transport, taken = TcpTransport(accepted), 0
            with suppress(BlockingIOError):
                while True:
                    taken += transport.send_some([bytes(1 << 20)])
    assert MAX_UNSENT_BYTES <= taken < 1 << 20


@pytest.mark.skipif(not hasattr(socket, "socketpair"), reason="the system has no socket pairs")
def test_what_is_no_tcp_socket_is_sent_as_well() -> None:
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        assert TcpTransport(here).send_some([b"ab", b"c"]) == 3
        assert there.recv(10) == b"abc"


def test_a_socket_that_is_closed_already_makes_a_transport() -> None:
    with socket.socket() as sock:
        sock.close()
        assert TcpTransport(sock).local_host == ""
