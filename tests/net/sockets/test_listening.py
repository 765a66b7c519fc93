"""One port number for TCP and UDP: busy ones, missing addresses, UDP that is not to be had."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from torrent_engine.base.errors import NetworkError
from torrent_engine.net.sockets import listening as listening_module
from torrent_engine.net.sockets.listening import Listening, listen_on_port

LOOPBACK = "127.0.0.1"


@contextmanager
def listening(
    *hosts: str, port: int = 0, tcp: bool = True, udp: bool = True
) -> Iterator[Listening]:
    found = listen_on_port(hosts or (LOOPBACK,), port, tcp=tcp, udp=udp)
    try:
        yield found
    finally:
        found.close()
        found.close()


def ports(sockets: list[socket.socket]) -> list[int]:
    return [sock.getsockname()[1] for sock in sockets]


def test_tcp_and_udp_have_the_same_port_on_all_addresses() -> None:
    with listening(LOOPBACK, "::1") as found:
        assert ports(found.tcp) == ports(found.udp) == [found.port] * 2
        assert found.port


def test_a_port_that_is_taken_over_udp_is_left_to_its_owner() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind((LOOPBACK, 0))
        port = taken.getsockname()[1]
        with listening(port=port) as found:
            assert found.port != port
            assert ports(found.tcp) == ports(found.udp)


def test_a_port_that_is_taken_over_tcp_is_left_to_its_owner() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with listening(port=port) as found:
            assert found.port != port
            assert ports(found.tcp) == ports(found.udp)


@pytest.mark.parametrize("wanted", ["tcp", "udp"])
def test_only_what_is_wanted_is_bound(wanted: str) -> None:
    with listening(tcp=wanted == "tcp", udp=wanted == "udp") as found:
        assert (len(found.tcp), len(found.udp)) == ((1, 0) if wanted == "tcp" else (0, 1))
        assert found.port


def test_nothing_wanted_is_nothing() -> None:
    with listening(tcp=False, udp=False) as found:
        assert found == Listening()
        assert found.port == 0


def refusing(code: int) -> Any:
    def bind(*_: object, **__: object) -> socket.socket:
        raise OSError(code, "told so")

    return bind


def test_without_udp_tcp_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening_module, "bind_udp", refusing(errno.EPERM))
    with listening() as found:
        assert (len(found.tcp), found.udp) == (1, [])


@pytest.mark.parametrize("code", [errno.EPERM, errno.EADDRINUSE])
def test_udp_alone_that_is_not_to_be_had_is_a_network_error(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(listening_module, "bind_udp", refusing(code))
    with pytest.raises(NetworkError, match="UDP port"):
        listen_on_port((LOOPBACK,), 0, tcp=False)


def test_no_address_at_all_is_a_network_error() -> None:
    with pytest.raises(NetworkError, match="listen"):
        listen_on_port(("192.0.2.1",), 0)
