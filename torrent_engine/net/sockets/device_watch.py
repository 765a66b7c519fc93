"""Replacement of listening sockets after their device was deleted and created again.

On Linux a socket is bound to the index of a device, and a VPN that connects anew has a new one. The
ports stay the same, and what uses the sockets keeps its state.
"""

import logging
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence

import anyio

from torrent_engine.net.sockets.binding import DEVICE_CHECK_INTERVAL_S, Binding
from torrent_engine.net.sockets.listening import bind_again

logger = logging.getLogger(__name__)

Replace = Callable[[socket.socket, socket.socket], None]
"""Uses the second socket in place of the first, and closes the first."""
User = tuple[list[socket.socket], Replace]
"""Sockets, in a list that is kept up to date, and what replaces one where it is used."""


class DeviceWatch:
    """Replaces sockets that are not bound to the present device, as soon as that is possible.

    Until then they stay open, and nothing is sent or received by another way.
    """

    def __init__(
        self,
        binding: Binding,
        users: Sequence[User],
        *,
        bind: Callable[[socket.socket, Binding], socket.socket] = bind_again,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._binding = binding
        self._users = users
        self._port = next((sock.getsockname()[1] for used, _ in users for sock in used), 0)
        self._bind = bind
        self._sleep = sleep
        self._failure: str | None = None
        """The last one that was logged; None: all sockets were bound to the device."""

    async def run(self) -> None:
        """Look every few seconds, until cancelled."""
        while True:
            await self._sleep(DEVICE_CHECK_INTERVAL_S)
            self.look()

    def look(self) -> None:
        """Replace the sockets that need it; those that cannot be bound wait for the next call."""
        replaced, failures = 0, list[str]()
        for sockets, at, replace in self._outdated():
            try:
                new = self._bind(sockets[at], self._binding)
            except OSError as error:
                failures.append(error.strerror or str(error))
            else:
                old, sockets[at] = sockets[at], new
                replace(old, new)
                replaced += 1
        self._log(replaced, failures)

    def _log(self, replaced: int, failures: Sequence[str]) -> None:
        """Log when sockets cannot be replaced for another reason than before, and when all are."""
        failure = failures[0] if failures else None
        if failure is not None and failure != self._failure:
            logger.warning("not listening on port %d: %s", self._port, failure)
        elif failure is None and replaced:
            logger.warning("interface %s is there again: listening anew", self._binding.device)
        self._failure = failure

    def _outdated(self) -> Iterator[tuple[list[socket.socket], int, Replace]]:
        for sockets, replace in self._users:
            for at, sock in enumerate(sockets):
                if not self._binding.is_current(sock):
                    yield sockets, at, replace
