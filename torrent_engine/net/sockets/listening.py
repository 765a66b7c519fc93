"""The listening port: one number for TCP and UDP on all listening addresses.

Peers use the TCP port for uTP too, and gateways map both.
"""

import errno
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from torrent_engine.base.errors import NetworkError
from torrent_engine.net.sockets.binding import UNBOUND, Binding
from torrent_engine.net.sockets.datagrams import bind_udp
from torrent_engine.net.sockets.tcp import PORT_ATTEMPTS, bind_each, bind_tcp, listen

logger = logging.getLogger(__name__)

BUSY: Final = frozenset({errno.EADDRINUSE, errno.EACCES})
_MAX_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class Listening:
    """Bound sockets of one port."""

    tcp: list[socket.socket] = field(default_factory=list)
    """Listening sockets."""
    udp: list[socket.socket] = field(default_factory=list)

    @property
    def port(self) -> int:
        """The port; 0 if there is no socket."""
        sockets = self.tcp or self.udp
        return int(sockets[0].getsockname()[1]) if sockets else 0

    def close(self) -> None:
        """Close all sockets; may be called twice."""
        for sock in (*self.tcp, *self.udp):
            sock.close()


def listen_on_port(
    hosts: Sequence[str],
    port: int,
    *,
    tcp: bool = True,
    udp: bool = True,
    binding: Binding = UNBOUND,
) -> Listening:
    """Bind the port on every host, for TCP and for UDP as wanted; the caller closes the sockets.

    With port 0 the system chooses. If the port is in use for either, the following ports are tried.
    If UDP is not available at all, only TCP is bound. Raises NetworkError if no port can be bound.
    """
    found = port
    for _ in range(PORT_ATTEMPTS):
        listeners = listen(hosts, found, binding) if tcp else []
        if listeners:
            found = int(listeners[0].getsockname()[1])
        try:
            return Listening(listeners, _bind_udp(hosts, found, binding) if udp else [])
        except OSError as error:
            if listeners and error.errno not in BUSY:
                logger.warning("no UDP: %s", error)
                return Listening(listeners)
            Listening(listeners).close()
            failure = error
        if failure.errno not in BUSY:
            break
        found = min(found + 1, _MAX_PORT) if port else 0
    raise NetworkError(f"cannot bind UDP port {found}: {failure}") from failure


def bind_again(sock: socket.socket, binding: Binding) -> socket.socket:
    """Return a socket like a bound one, at the same address and port, on the present device.

    Raises OSError; the other socket stays open in any case.
    """
    host, port = sock.getsockname()[:2]
    bind = bind_tcp if sock.type == socket.SOCK_STREAM else bind_udp
    return bind(host, port, binding)


def _bind_udp(hosts: Sequence[str], port: int, binding: Binding) -> list[socket.socket]:
    return bind_each(binding.hosts(hosts), port, partial(bind_udp, binding=binding))
