"""Sockets to listen on, and those that systemd passes."""

import errno
import fcntl
import os
import re
import socket
from contextlib import closing
from pathlib import Path

import pytest

from torrent_engine.base.errors import ConfigError, NetworkError, StorageError
from torrent_engine.daemon.http import sockets
from torrent_engine.daemon.http.sockets import ListenAddress, bind, bind_unix, passed_sockets

FREE_DESCRIPTORS = 900
"""Above those that a process of tests has."""


@pytest.mark.parametrize(
    ("text", "host", "port", "is_loopback"),
    [
        ("127.0.0.1:9091", "127.0.0.1", 9091, True),
        ("127.9.9.9:1", "127.9.9.9", 1, True),
        ("[::1]:9091", "::1", 9091, True),
        ("localhost:0", "localhost", 0, True),
        ("0.0.0.0:80", "0.0.0.0", 80, False),
        (":80", "", 80, False),
        ("[::]:80", "::", 80, False),
        ("192.0.2.1:65535", "192.0.2.1", 65535, False),
        ("nas.example:1", "nas.example", 1, False),
    ],
)
def test_address_is_read(text: str, host: str, port: int, *, is_loopback: bool) -> None:
    address = ListenAddress.parse(text)
    assert (address.host, address.port, address.is_loopback) == (host, port, is_loopback)
    assert ListenAddress.parse(str(address)) == address


@pytest.mark.parametrize(
    "text", ["", "9091", "a", "::1:9091", "a:b", "a:65536", "a:-1", "a b:1", "[x]:1", "h:1/"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="an address is"):
        ListenAddress.parse(text)


def test_no_host_is_every_address_of_both_families_on_one_port() -> None:
    bound = bind(ListenAddress("", 0))
    try:
        ports = {each.getsockname()[1] for each in bound}
        assert len(ports) == 1
        socket.create_connection(("127.0.0.1", ports.pop()), timeout=5).close()
        v6 = [each for each in bound if each.family == socket.AF_INET6]
        assert all(each.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) for each in v6)
    finally:
        for each in bound:
            each.close()


@pytest.mark.parametrize("text", ["[::]:0", "[::1]:0"])
def test_ipv6_socket_is_none_of_ipv4(text: str) -> None:
    (bound,) = bind(ListenAddress.parse(text))
    with closing(bound):
        assert bound.family == socket.AF_INET6
        assert bound.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def test_address_in_use_or_unknown_is_a_network_error_and_leaves_nothing_open() -> None:
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as taken,
        pytest.raises(NetworkError, match="another program listens there"),
    ):
        bind(ListenAddress("127.0.0.1", taken.getsockname()[1]))
    with pytest.raises(NetworkError):
        bind(ListenAddress("192.0.2.1", 0))


def test_unix_socket_takes_the_place_of_one_that_nobody_answers(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    bind_unix(path).close()  # leaves its name, as a killed process does
    assert path.exists()
    with closing(bind_unix(path)):
        assert path.stat().st_mode & 0o777 == 0o660
        with pytest.raises(NetworkError, match="another program"):
            bind_unix(path)
        with closing(socket.socket(socket.AF_UNIX)) as client:
            client.connect(str(path))


def test_file_in_the_place_of_a_unix_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    path.write_text("mine")
    with pytest.raises(NetworkError):
        bind_unix(path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_unix_socket_that_its_folder_does_not_take_is_an_error_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("torrent_engine.daemon.http.sockets._remove_stale", refuse)
    with pytest.raises(StorageError, match=re.escape(f"{tmp_path}/a.sock: {os.strerror(code)}")):
        bind_unix(tmp_path / "a.sock")


def test_unix_socket_in_a_very_deep_folder(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["deep" * 10] * 4)
    folder.mkdir(parents=True)
    with closing(bind_unix(folder / "a.sock")):
        assert (folder / "a.sock").exists()


def environment(count: object, names: str = "", pid: object = None) -> dict[str, str]:
    own = os.getpid() if pid is None else pid
    return {"LISTEN_FDS": str(count), "LISTEN_FDNAMES": names, "LISTEN_PID": str(own), "A": "b"}


def test_passed_sockets_are_known_by_name_and_their_variables_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    try:
        # Others get the lowest that is free: nobody else takes these, so they are in a row.
        row = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, FREE_DESCRIPTORS) for each in made]
        assert row == list(range(row[0], row[0] + 3))
        monkeypatch.setattr(sockets, "FIRST_PASSED", row[0])
        given = environment(3, "http:http:")
        found = passed_sockets(given)
        assert list(found) == ["http", "http1", "unknown"]
        assert [each.getsockname() for each in found.values()] == [
            each.getsockname() for each in made
        ]
        assert given == {"A": "b"}
        for passed in found.values():
            passed.close()
    finally:
        for listener in made:
            listener.close()


@pytest.mark.parametrize(
    "given", [{}, environment(1, pid=1), environment("x"), environment(""), environment(0)]
)
def test_sockets_of_another_process_are_not_taken(given: dict[str, str]) -> None:
    assert passed_sockets(given) == {}


def test_passed_descriptor_that_does_not_listen_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with closing(socket.socket()) as plain:
        monkeypatch.setattr(sockets, "FIRST_PASSED", plain.fileno())
        with pytest.raises(NetworkError, match="no socket that listens"):
            passed_sockets(environment(1))
        assert plain.fileno() >= 0
        assert plain.getsockname()
