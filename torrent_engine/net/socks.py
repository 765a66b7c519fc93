"""Owns the handshake with a SOCKS proxy over a plain non-blocking socket.

Not one byte behind the proxy's answer is read: it is the stream's. python-socks speaks the
protocols (SOCKS4 with 4a, RFC 1928, RFC 1929); it is loaded with the first handshake.
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
from torrent_engine.net.streams import plain_host

if TYPE_CHECKING:
    from types import ModuleType

    from python_socks._protocols import socks5

HOW_TO_INSTALL: Final = "pip install torrent-engine[proxy]"
_UDP_ASSOCIATE: Final = 3
_HOST_BYTES: Final = {1: 4, 4: 16}
_NAME: Final = 3


class Credentials(NamedTuple):
    """Who we say that we are; empty: nobody."""

    username: str = ""
    password: str = ""


def check_installed() -> None:
    """Raise ConfigError, which says what to install, if python-socks is missing."""
    if importlib.util.find_spec("python_socks") is None:
        raise ConfigError(f"a SOCKS proxy needs a library: {HOW_TO_INSTALL}")


async def connect_socks4(sock: socket.socket, target: PeerAddress, who: Credentials) -> None:
    """Have a way to a name or an IPv4 address opened; ProxyError if the proxy does not."""
    if ":" in target.host:
        raise ProxyError("SOCKS4 knows no IPv6")
    library = _library()
    with _mapped(library):
        connection = library.socks4.Connection()
        request = library.socks4.ConnectRequest(
            host=target.host, port=target.port, user_id=who.username or None
        )
        await send_all(sock, connection.send(request))
        connection.receive(await receive(sock, library.socks4.ConnectReply.SIZE))


async def connect_socks5(sock: socket.socket, target: PeerAddress, who: Credentials) -> None:
    """Have a way to a name or a literal address opened; ProxyError if the proxy does not."""
    library = _library()
    with _mapped(library):
        await _ask_socks5(library, sock, library.socks5.ConnectRequest(*target), who)


async def associate_socks5(sock: socket.socket, who: Credentials) -> PeerAddress:
    """Have datagrams relayed for as long as ``sock`` is open; return where to send them.

    Its host may be 0.0.0.0 or ::, which is the proxy's own. ProxyError if the proxy refuses.
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
    """Read one reply of RFC 1928 section 6, or what there is of it if it is a refusal."""
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
        raise ProxyError("the proxy hung up")
    return head + rest


# -- bytes ------------------------------------------------------------------------------------


async def send_all(sock: socket.socket, data: bytes) -> None:
    """Send all of it; OSError if the connection is gone."""
    view = memoryview(data)
    while view:
        try:
            view = view[sock.send(view) :]
        except BlockingIOError:
            await anyio.wait_writable(sock)


async def receive(sock: socket.socket, count: int) -> bytes:
    """Return exactly so many bytes, or less if the other side closes; OSError if it breaks."""
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
    """The parts of python-socks that do no I/O."""

    def __init__(self) -> None:
        check_installed()
        from python_socks._protocols import errors, socks4, socks5

        class AssociateRequest(socks5.ConnectRequest):
            """Asks for a relay of datagrams (RFC 1928 section 7)."""

            def dumps(self) -> bytes:
                data = super().dumps()
                return data[:1] + bytes([_UDP_ASSOCIATE]) + data[2:]

        self.socks4: ModuleType = socks4
        self.socks5: ModuleType = socks5
        self.refusal: type[Exception] = errors.ReplyError
        self._associate_request = AssociateRequest

    def associate_request(self, source_host: str) -> "socks5.ConnectRequest":
        """Return a request that does not say where the datagrams will come from."""
        return self._associate_request(source_host, 0)


@lru_cache(maxsize=1)
def _library() -> _Library:
    return _Library()


@contextmanager
def _mapped(library: _Library) -> Iterator[None]:
    """Map what the library raises for an answer that is none, or for a name that none may be."""
    try:
        yield
    except library.refusal as error:
        raise ProxyError(str(error)) from error
    except OSError as error:
        raise ProxyError(error.strerror or str(error)) from error
    except (ValueError, LookupError) as error:
        raise ProxyError(f"no answer of a SOCKS proxy, or no request: {error}") from error
