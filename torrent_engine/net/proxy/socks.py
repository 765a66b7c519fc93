"""SOCKS handshakes on a non-blocking socket.

No byte after the proxy's reply is read, because it belongs to the stream. python-socks implements
the protocols (SOCKS4 with 4a, RFC 1928, RFC 1929); it is imported at the first handshake.
"""

import importlib.util
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio

from torrent_engine.base.errors import ConfigError, ProxyError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.sockets.tcp import plain_host

if TYPE_CHECKING:
    from types import ModuleType

    from python_socks._protocols import socks5

HOW_TO_INSTALL: Final = "pip install torrent-engine[proxy]"
_UDP_ASSOCIATE: Final = 3
_HOST_BYTES: Final = {1: 4, 4: 16}
_NAME: Final = 3


class Credentials(NamedTuple):
    """User name and password; empty: none."""

    username: str = ""
    password: str = ""


def check_installed() -> None:
    """Raise ConfigError, with the command to install it, if python-socks is missing."""
    if importlib.util.find_spec("python_socks") is None:
        raise ConfigError(f"a SOCKS proxy needs a library: {HOW_TO_INSTALL}")


async def connect_socks4(sock: socket.socket, target: PeerAddress, who: Credentials) -> None:
    """Open a tunnel to a name or an IPv4 address. Raises ProxyError if the proxy refuses."""
    if ":" in target.host:
        raise ProxyError("SOCKS4 does not support IPv6")
    library = _library()
    with _mapped(library):
        connection = library.socks4.Connection()
        request = library.socks4.ConnectRequest(
            host=target.host, port=target.port, user_id=who.username or None
        )
        await send_all(sock, connection.send(request))
        connection.receive(await receive(sock, library.socks4.ConnectReply.SIZE))


async def connect_socks5(sock: socket.socket, target: PeerAddress, who: Credentials) -> None:
    """Open a tunnel to a name or a literal address. Raises ProxyError if the proxy refuses."""
    library = _library()
    with _mapped(library):
        await _ask_socks5(library, sock, library.socks5.ConnectRequest(*target), who)


async def associate_socks5(sock: socket.socket, who: Credentials) -> PeerAddress:
    """Open a UDP relay that lasts as long as ``sock``; return the relay's address.

    Its host may be 0.0.0.0 or ::, meaning the proxy's address. Raises ProxyError if the proxy
    refuses.
    """
    library = _library()
    with _mapped(library):
        from_anywhere = "::" if sock.family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104
        reply = await _ask_socks5(library, sock, library.associate_request(from_anywhere), who)
    return PeerAddress(plain_host(reply.bound_host), reply.bound_port)


async def _ask_socks5(
    library: "_Library",
    sock: socket.socket,
    request: "socks5.ConnectRequest",
    who: Credentials,
) -> "socks5.ConnectReply":
    connection, module = library.socks5.Connection(), library.socks5
    await send_all(sock, connection.send(module.AuthMethodsRequest(who.username, who.password)))
    chosen = connection.receive(await receive(sock, module.AuthMethodReply.SIZE))
    if chosen.method == module.AuthMethod.USERNAME_PASSWORD:
        await send_all(sock, connection.send(module.AuthRequest(who.username, who.password)))
        connection.receive(await receive(sock, module.AuthReply.SIZE))
    await send_all(sock, connection.send(request))
    reply: socks5.ConnectReply = connection.receive(await _receive_reply(sock))
    return reply


async def _receive_reply(sock: socket.socket) -> bytes:
    """Read one reply of RFC 1928 section 6; a refusal may be truncated."""
    head = await receive(sock, 4)
    if len(head) < 4 or head[1]:
        return head
    host_bytes = _HOST_BYTES.get(head[3], 0)
    if head[3] == _NAME:
        length = await receive(sock, 1)
        head += length
        host_bytes = int.from_bytes(length)
    rest = await receive(sock, host_bytes + 2)
    if len(rest) < host_bytes + 2:
        raise ProxyError("the proxy closed the connection")
    return head + rest


# -- bytes ------------------------------------------------------------------------------------


async def send_all(sock: socket.socket, data: bytes) -> None:
    """Send all bytes. Raises OSError if the connection is closed."""
    view = memoryview(data)
    while view:
        try:
            view = view[sock.send(view) :]
        except BlockingIOError:
            await anyio.wait_writable(sock)


async def receive(sock: socket.socket, count: int) -> bytes:
    """Return exactly ``count`` bytes, fewer at the end of the stream. Raises OSError."""
    data = b""
    while len(data) < count:
        try:
            received = sock.recv(count - len(data))
        except BlockingIOError:
            await anyio.wait_readable(sock)
            continue
        if not received:
            break
        data += received
    return data


# -- the library ------------------------------------------------------------------------------


class _Library:
    """The sans-I/O parts of python-socks."""

    def __init__(self) -> None:
        check_installed()
        from python_socks._protocols import errors, socks4, socks5

        class AssociateRequest(socks5.ConnectRequest):
            """A UDP ASSOCIATE request (RFC 1928 section 7)."""

            def dumps(self) -> bytes:
                data = super().dumps()
                return data[:1] + bytes([_UDP_ASSOCIATE]) + data[2:]

        self.socks4: ModuleType = socks4
        self.socks5: ModuleType = socks5
        self.refusal: type[Exception] = errors.ReplyError
        self._associate_request = AssociateRequest

    def associate_request(self, source_host: str) -> "socks5.ConnectRequest":
        """Return a UDP ASSOCIATE request without a source address."""
        return self._associate_request(source_host, 0)


@lru_cache(maxsize=1)
def _library() -> _Library:
    return _Library()


@contextmanager
def _mapped(library: _Library) -> Iterator[None]:
    """Map the library's errors for malformed replies and invalid names to ProxyError."""
    try:
        yield
    except library.refusal as error:
        raise ProxyError(str(error)) from error
    except OSError as error:
        raise ProxyError(error.strerror or str(error)) from error
    except (ValueError, LookupError) as error:
        raise ProxyError(f"invalid SOCKS reply or request: {error}") from error
