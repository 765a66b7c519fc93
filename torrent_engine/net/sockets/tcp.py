"""TCP sockets: listening, accepting and dialling. All are non-blocking.

Plain sockets, not anyio streams: bytes are received directly into the buffer of a connection.
"""

import errno
import logging
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import anyio
import anyio.abc
import anyio.lowlevel

from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.sockets.binding import UNBOUND, Binding
from torrent_engine.net.sockets.descriptors import is_reserved
from torrent_engine.net.sockets.flood_filter import FloodFilter
from torrent_engine.net.sockets.system import NO_LINGER, REUSES_ADDRESS

logger = logging.getLogger(__name__)

LISTEN_BACKLOG: Final = 1_024  # ours: pending connections during a flood
ACCEPTS_PER_TURN: Final = 8  # ours: accepted before other tasks run
REFUSALS_PER_TURN: Final = 128  # ours: refused before other tasks run, 20 to 50 us each
REFUSAL_PAUSE_S: Final = 0.02  # ours: pause after that; further connections wait in the backlog
PORT_ATTEMPTS: Final = 20  # ours: following ports to try if one is in use
ACCEPT_PAUSE_S: Final = 1.0  # row F9: when the process is out of descriptors
OUT_OF_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
IN_PROGRESS: Final = frozenset({0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR})
NO_SUCH_FAMILY: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


def listen(hosts: Sequence[str], port: int, binding: Binding = UNBOUND) -> list[socket.socket]:
    """Bind and listen on one port of every host; hosts of missing address families are skipped.

    With port 0 the system chooses. If the port is in use, following ones are tried; all hosts get
    the same port. Raises NetworkError if no port is free or no host can be bound.
    """
    last_error: OSError | None = None
    candidates = range(port, min(port + PORT_ATTEMPTS, 65_536)) if port else [0] * PORT_ATTEMPTS
    for candidate in candidates:
        try:
            return bind_each(binding.hosts(hosts), candidate, partial(bind_tcp, binding=binding))
        except OSError as error:
            last_error = error
            if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
                break
    raise NetworkError(f"cannot listen on port {port}: {_reason(last_error)}") from last_error


def bind_each(
    hosts: Sequence[str], port: int, bind: Callable[[str, int], socket.socket]
) -> list[socket.socket]:
    """Return a bound socket of each host of an available address family, on one port.

    Raises OSError, with all sockets closed, if one of them cannot be bound, or there is none.
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


def bind_tcp(host: str, port: int, binding: Binding = UNBOUND) -> socket.socket:
    """Return a non-blocking TCP socket that listens on an address. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        binding.to_device(sock)
        if REUSES_ADDRESS:
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


OnAccept = Callable[[socket.socket, PeerAddress], bool]
"""Takes over a connection, or closes it and returns False."""


async def accept_forever(listener: socket.socket, on_accept: OnAccept) -> None:
    """Call ``on_accept`` with every accepted socket, until cancelled.

    Without free descriptors for links it pauses for a second (row F9). Refusing a flood of
    connections takes a bounded part of the time, and the system drops it where it can (row B5).
    """
    flood = FloodFilter(listener, anyio.current_time)
    while True:
        flood.unblock()
        try:
            pause_s = _accept_some(listener, on_accept, flood)
        except BlockingIOError:
            with anyio.move_on_after(flood.next_end_s):
                await anyio.wait_readable(listener)
        except OSError as error:
            if error.errno not in OUT_OF_DESCRIPTORS:
                logger.debug("accept: %s", error)
            await anyio.sleep(ACCEPT_PAUSE_S if error.errno in OUT_OF_DESCRIPTORS else 0)
        else:
            await anyio.sleep(pause_s)  # other tasks must run during a flood


def _accept_some(listener: socket.socket, on_accept: OnAccept, flood: FloodFilter) -> float:
    """Accept pending connections, up to a limit; return the pause before the next call.

    Raises BlockingIOError if none is pending and none was refused, OSError if accepting fails.
    """
    taken = refused = 0
    while taken < ACCEPTS_PER_TURN and refused < REFUSALS_PER_TURN:
        try:
            sock, address = listener.accept()
        except BlockingIOError:
            if refused:
                break
            raise
        if is_reserved(sock):
            reset(sock)
            return ACCEPT_PAUSE_S
        sock.settimeout(0.0)
        host = plain_host(address[0])
        try:
            is_taken = on_accept(sock, PeerAddress(host, address[1]))
        except BaseException:
            close(sock)
            raise
        if is_taken:
            taken += 1
        else:
            refused += 1
            flood.note_refusal(host)
    return 0.0 if taken == ACCEPTS_PER_TURN else REFUSAL_PAUSE_S


async def dial(address: PeerAddress, timeout_s: float, binding: Binding = UNBOUND) -> socket.socket:
    """Connect to a literal address from ``binding``; return the non-blocking socket.

    Raises NetworkError if it is refused, unreachable, or takes longer than ``timeout_s``.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise NetworkError(f"{address}: {_reason(error)}") from error
    try:
        _bind_source(binding, sock, address)
        await _connect(sock, address, timeout_s)
    except BaseException:
        close(sock)
        raise
    return sock


def _bind_source(binding: Binding, sock: socket.socket, address: PeerAddress) -> None:
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
        raise NetworkError(f"{address}: timed out after {timeout_s:.0f} s") from error
    except (OSError, OverflowError) as error:
        raise NetworkError(f"{address}: {_reason(error)}") from error


def _raise_for(code: int) -> None:
    if code:
        raise OSError(code, os.strerror(code))


async def open_stream(sock: socket.socket) -> anyio.abc.SocketStream:
    """Return a connected socket as a stream, which owns it from then on.

    Raises OSError, with the socket closed, if the peer has reset the connection by now.
    """
    try:
        return await anyio.abc.SocketStream.from_socket(sock)
    except BaseException as error:
        close(sock)
        if isinstance(error, ValueError):  # it has no peer
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)) from error
        raise


def close(sock: socket.socket) -> None:
    """Close a socket, and wake the tasks that wait for it in the event loop."""
    if sock.fileno() >= 0:
        with suppress(OSError, ValueError):
            anyio.notify_closing(sock)
        sock.close()


def reset(sock: socket.socket) -> None:
    """Reset the connection of a socket that no task uses."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    sock.close()


def plain_host(host: str) -> str:
    """Return a normalized address: without a zone, IPv4-mapped addresses as IPv4."""
    host = host.partition("%")[0]
    return host.removeprefix("::ffff:") if host.startswith("::ffff:") and "." in host else host


def _reason(error: BaseException | None) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
