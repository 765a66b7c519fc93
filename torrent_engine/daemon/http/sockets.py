"""Sockets to listen on: addresses, unix sockets, and those that systemd passes."""

import errno
import os
import re
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from torrent_engine.base.errors import ConfigError, NetworkError, StorageError
from torrent_engine.service.control_socket import socket_address

ANOTHER_ADDRESS: Final = "choose another address with --listen"
FIRST_PASSED: Final = 3  # sd_listen_fds(3)
_OF_THE_FOLDER: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC})
_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]*):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """An IP address, or a name such as ``localhost``, and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "ListenAddress":
        """Read ``HOST:PORT``, ``[IPV6]:PORT`` or ``:PORT``. Raises ConfigError."""
        found = _ADDRESS.fullmatch(text)
        if found is None or int(found[2]) > 65_535:
            raise ConfigError(f"{text!r}: an address is HOST:PORT or [IPV6]:PORT")
        return cls(found[1].strip("[]"), int(found[2]))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        with suppress(ValueError):
            return ip_address(self.host.partition("%")[0]).is_loopback
        return False

    def __str__(self) -> str:
        """Return it as it stands in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def bind(
    address: ListenAddress, *, backlog: int = 128, hint: str = ANOTHER_ADDRESS
) -> list[socket.socket]:
    """Return a socket for each family of an address; no host is every address, IPv4 and IPv6.

    Raises NetworkError; ``hint`` says what to do if another program listens there.
    """
    hosts = [address.host] if address.host else ["0.0.0.0", "::"]  # noqa: S104 - asked for
    sockets: list[socket.socket] = []
    port = address.port
    try:
        for host in hosts:
            for family, where in _resolved(host, port):
                sockets.append(_bound(family, where, backlog))
                port = port or sockets[0].getsockname()[1]
    except OSError as error:
        for each in sockets:
            each.close()
        if host == "::" and sockets and error.errno in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
            return bind(ListenAddress("0.0.0.0", port), backlog=backlog, hint=hint)  # noqa: S104
        raise NetworkError(f"{address}: {_reason(error, hint)}") from error
    return sockets


def _resolved(host: str, port: int) -> list[tuple[int, tuple[object, ...]]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((int(family), where) for family, _, _, _, where in found))


def _bound(family: int, where: tuple[object, ...], backlog: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setblocking(False)  # noqa: FBT003
        listener.bind(where)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener


def _reason(error: OSError, hint: str = ANOTHER_ADDRESS) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"another program listens there; {hint}"
    return error.strerror or str(error)


def bind_unix(path: Path, *, mode: int = 0o660, backlog: int = 128) -> socket.socket:
    """Return a listening unix socket, in the place of one that nobody answers any more.

    Raises StorageError if its folder does not take it, and NetworkError.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with socket_address(path) as address:
            _remove_stale(path, address)
            mask = os.umask(0o777 & ~mode)
            try:
                listener.bind(address)
            finally:
                os.umask(mask)
        listener.setblocking(False)  # noqa: FBT003
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        if error.errno in _OF_THE_FOLDER:
            raise StorageError(path, _reason(error)) from error
        raise NetworkError(f"{path}: {_reason(error)}") from error
    return listener


def _remove_stale(path: Path, address: str) -> None:
    """Remove a socket that nobody answers. Raises OSError if there is something else."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(errno.EEXIST, "something else has that name")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(address)
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
    raise OSError(errno.EADDRINUSE, "in use")


def passed_sockets(environment: "dict[str, str] | os._Environ[str]") -> dict[str, socket.socket]:
    """Return the sockets that systemd passed, by their names, and forget the variables.

    Sockets without a name, and a second one of a name, are numbered. Raises NetworkError for what
    is no listening stream socket.
    """
    count, pid = environment.pop("LISTEN_FDS", ""), environment.pop("LISTEN_PID", "")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if not count.isdecimal() or pid != str(os.getpid()):
        return {}
    found: dict[str, socket.socket] = {}
    for index in range(int(count)):
        name = names[index] if index < len(names) and names[index] else "unknown"
        key = name if name not in found else f"{name}{index}"
        found[key] = _passed(FIRST_PASSED + index)
    return found


def _passed(descriptor: int) -> socket.socket:
    try:
        passed = socket.socket(fileno=descriptor)
    except OSError as error:
        raise NetworkError(f"descriptor {descriptor}: {error.strerror}") from error
    is_listening = bool(passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    if passed.type != socket.SOCK_STREAM or not is_listening:
        passed.detach()
        raise NetworkError(f"descriptor {descriptor}: is no socket that listens")
    os.set_inheritable(descriptor, False)  # noqa: FBT003
    passed.setblocking(False)  # noqa: FBT003
    return passed
