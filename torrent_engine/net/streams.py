"""TCP sockets: listening on all addresses of a port, accepting, dialling. All non-blocking.

Plain sockets, not streams of the event loop: a peer's bytes are received straight into its
connection's buffer.
"""

import errno
import logging
import os
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import anyio
import anyio.lowlevel

from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.binding import UNBOUND, Binding
from torrent_engine.net.descriptors import is_reserved

logger = logging.getLogger(__name__)

LISTEN_BACKLOG: Final = 256
PORT_ATTEMPTS: Final = 20  # ours: how far to move on from a busy port
NO_LINGER: Final = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
ACCEPT_PAUSE_S: Final = 1.0  # row F9: when the process is out of descriptors
OUT_OF_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
IN_PROGRESS: Final = frozenset({0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR})
NO_SUCH_FAMILY: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


def listen(hosts: Sequence[str], port: int, binding: Binding = UNBOUND) -> list[socket.socket]:
    """Bind and listen on one port of every host; a host of a missing address family is left out.

    With port 0 the system chooses. A busy port moves on to the next, a few times; all hosts get the
    same port. Raises NetworkError if no port is free or no host can be bound.
    """
    last_error: OSError | None = None
    candidates = range(port, min(port + PORT_ATTEMPTS, 65_536)) if port else [0] * PORT_ATTEMPTS
    for candidate in candidates:
        try:
            return bind_each(binding.hosts(hosts), candidate, partial(_bind, binding=binding))
        except OSError as error:
            last_error = error
            if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
                break
    raise NetworkError(f"cannot listen on port {port}: {_reason(last_error)}") from last_error


def bind_each(
    hosts: Sequence[str], port: int, bind: Callable[[str, int], socket.socket]
) -> list[socket.socket]:
    """Return a socket of each host that this machine has an address family for, on one port.

    Raises OSError, and leaves nothing open, if one cannot be bound, or none.
    """
    sockets: list[socket.socket] = []
    try:
        for host in hosts:
            try:
                sockets.append(bind(host, port))
            except OSError as error:
                if error.errno not in NO_SUCH_FAMILY:
                    raise
                logger.info("not listening on %s: %s", host, error)
                continue
            port = sockets[-1].getsockname()[1]
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    if not sockets:
        raise OSError(errno.EADDRNOTAVAIL, f"none of {', '.join(hosts)} can be bound")
    return sockets


def _bind(host: str, port: int, binding: Binding) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        binding.to_device(sock)
        if sys.platform != "win32":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.settimeout(0.0)
        sock.bind((host, port))
        sock.listen(LISTEN_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


async def accept_forever(
    listener: socket.socket, on_accept: Callable[[socket.socket, PeerAddress], None]
) -> None:
    """Hand every accepted socket to ``on_accept``, until cancelled.

    Out of descriptors that links may have, it waits a second instead of spinning (row F9).
    """
    while True:
        try:
            sock, address = listener.accept()
        except BlockingIOError:
            await anyio.wait_readable(listener)
        except OSError as error:
            if error.errno not in OUT_OF_DESCRIPTORS:
                logger.debug("accept: %s", error)
            await anyio.sleep(ACCEPT_PAUSE_S if error.errno in OUT_OF_DESCRIPTORS else 0)
        else:
            if is_reserved(sock):
                reset(sock)
                await anyio.sleep(ACCEPT_PAUSE_S)
                continue
            sock.settimeout(0.0)
            on_accept(sock, PeerAddress(plain_host(address[0]), address[1]))
            await anyio.lowlevel.checkpoint()  # a flood of connections must not stop the rest


async def dial(address: PeerAddress, timeout_s: float, binding: Binding = UNBOUND) -> socket.socket:
    """Connect to a literal address from where ``binding`` says; return the non-blocking socket.

    Raises NetworkError when it is refused, unreachable, or not there within ``timeout_s``.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise NetworkError(f"{address}: {_reason(error)}") from error
    try:
        _leave_from(binding, sock, address)
        await _connect(sock, address, timeout_s)
    except BaseException:
        close(sock)
        raise
    return sock


def _leave_from(binding: Binding, sock: socket.socket, address: PeerAddress) -> None:
    try:
        binding.apply(sock)
    except OSError as error:
        raise NetworkError(f"{address}: {_reason(error)}") from error


async def _connect(sock: socket.socket, address: PeerAddress, timeout_s: float) -> None:
    sock.settimeout(0.0)
    try:
        code = sock.connect_ex((address.host, address.port))
        if code not in IN_PROGRESS:
            _raise_for(code)
        with anyio.fail_after(timeout_s):
            await anyio.wait_writable(sock)
        _raise_for(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    except TimeoutError as error:
        raise NetworkError(f"{address}: no answer within {timeout_s:.0f} s") from error
    except (OSError, OverflowError) as error:
        raise NetworkError(f"{address}: {_reason(error)}") from error


def _raise_for(code: int) -> None:
    if code:
        raise OSError(code, os.strerror(code))


def close(sock: socket.socket) -> None:
    """Close a socket after telling the event loop, so that no task waits for it for ever."""
    if sock.fileno() >= 0:
        with suppress(OSError, ValueError):
            anyio.notify_closing(sock)
        sock.close()


def reset(sock: socket.socket) -> None:
    """Close a socket that no task knows, and let nothing of it remain in the system."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    sock.close()


def plain_host(host: str) -> str:
    """Return an address as candidates spell it: without a scope, IPv4 out of its IPv6 mapping."""
    host = host.partition("%")[0]
    return host.removeprefix("::ffff:") if host.startswith("::ffff:") and "." in host else host


def _reason(error: BaseException | None) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
