"""Local service discovery on multicast sockets of every interface.

Source: BEP 14; row C6. The message format is in ``protocol/lsd.py``.
"""

import logging
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import anyio
import anyio.lowlevel

from torrent_engine.base.config import LsdConfig
from torrent_engine.base.errors import LocalProtocolError, NetworkError, RemoteProtocolError
from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.net.lsd.interfaces import MulticastInterface, is_local, multicast_interfaces
from torrent_engine.net.sockets.interfaces import Interface, interfaces
from torrent_engine.net.sockets.multicast import (
    Group,
    OutgoingInterface,
    join,
    leave,
    open_receiver,
    send_to_group,
)
from torrent_engine.net.sockets.tcp import close
from torrent_engine.policy.limits.announce_budget import AnnounceBudget
from torrent_engine.protocol.lsd import (
    COOKIE_BYTES,
    GROUP_IPV4,
    GROUP_IPV6,
    LSD_PORT,
    MAX_DATAGRAM_BYTES,
    LsdAnnounce,
    capacity,
    decode_announce,
    encode_announce,
    is_announce,
)

logger = logging.getLogger(__name__)

GROUPS: Final = {False: Group(GROUP_IPV4, LSD_PORT), True: Group(GROUP_IPV6, LSD_PORT)}
ERROR_PAUSE_S: Final = 1.0  # ours: prevents a busy loop if a socket keeps failing


class LsdService:
    """Announces torrents on the local network; :meth:`run` receives announces of others.

    No errors are raised: an interface or receiver that fails is skipped, logged once, and tried
    again.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        *,
        config: LsdConfig,
        find_interfaces: Callable[[], list[Interface]] = interfaces,
        clock: Callable[[], float] = time.monotonic,
        on_announce: Callable[[Sequence[InfoHash], PeerAddress], None] = lambda _, __: None,
    ) -> None:
        """Create the service; ``on_announce`` receives each announce and must not raise."""
        self.cookie = secrets.token_hex(COOKIE_BYTES).encode()
        self.capacity = capacity(self.cookie)
        """Torrents in one datagram."""
        self._on_announce = on_announce
        self._hosts = tuple(hosts)
        self._config = config
        self._find_interfaces = find_interfaces
        self._clock = clock
        self._interfaces: list[MulticastInterface] = []
        self._receivers: dict[bool, socket.socket] = {}
        self._joined: set[tuple[bool, int]] = set()
        self._logged: set[str] = set()
        self._budgets = {is_ipv6: AnnounceBudget(config) for is_ipv6 in (False, True)}

    def announce(self, port: int, info_hashes: Sequence[InfoHash]) -> int:
        """Announce up to :attr:`capacity` torrents once; return the number of datagrams sent.

        With port 0 nobody could connect: nothing is sent then.
        """
        self.update_interfaces()
        if not port:
            return 0
        message = LsdAnnounce(port, tuple(info_hashes), self.cookie)
        return sum(self._send(message, interface) for interface in self._interfaces)

    async def run(self) -> None:
        """Receive announces until cancelled."""
        try:
            async with anyio.create_task_group() as tasks:
                while True:
                    for receiver in self._open_missing():
                        tasks.start_soon(self._receive, receiver)
                    self.update_interfaces()
                    await anyio.sleep(self._config.rescan_interval_s)
        finally:
            for receiver in self._receivers.values():
                close(receiver)
            self._receivers.clear()
            self._joined.clear()

    # -- sending ----------------------------------------------------------------------------

    def _send(self, message: LsdAnnounce, interface: MulticastInterface) -> bool:
        way = OutgoingInterface(interface.index, interface.source, self._config.ttl)
        try:
            data = encode_announce(message, is_ipv6=interface.is_ipv6)
            send_to_group(data, GROUPS[interface.is_ipv6], way)
        except (NetworkError, LocalProtocolError) as error:
            self._log_once(f"interface {interface.index}: {error}")
            return False
        return True

    # -- interfaces ---------------------------------------------------------------------------

    def update_interfaces(self) -> None:
        """Refresh the list of interfaces; join the groups on new ones, leave them on others."""
        found = multicast_interfaces(self._hosts, self._find_interfaces())
        self._interfaces = found[: self._config.max_interfaces]
        if not self._interfaces:
            self._log_once("no usable interface")
        wanted = {(interface.is_ipv6, interface.index) for interface in self._interfaces}
        for is_ipv6, index in self._joined - wanted:
            self._leave(index, is_ipv6=is_ipv6)
        for is_ipv6, index in wanted - self._joined:
            self._join(index, is_ipv6=is_ipv6)

    def _join(self, index: int, *, is_ipv6: bool) -> None:
        if (receiver := self._receivers.get(is_ipv6)) is None:
            return
        try:
            join(receiver, GROUPS[is_ipv6], index)
        except NetworkError as error:
            self._log_once(f"interface {index}: {error}")
        else:
            self._joined.add((is_ipv6, index))

    def _leave(self, index: int, *, is_ipv6: bool) -> None:
        """Give up a membership; an interface that returns is joined again."""
        self._joined.discard((is_ipv6, index))
        with suppress(NetworkError):  # some systems end it with the interface
            leave(self._receivers[is_ipv6], GROUPS[is_ipv6], index)

    def _open_missing(self) -> list[socket.socket]:
        """Open the receivers that are not open; return those that could be opened."""
        missing = {":" in host for host in self._hosts} - self._receivers.keys()
        opened = [self._open(is_ipv6=is_ipv6) for is_ipv6 in sorted(missing)]
        return [receiver for receiver in opened if receiver is not None]

    def _open(self, *, is_ipv6: bool) -> socket.socket | None:
        try:
            receiver = open_receiver(GROUPS[is_ipv6])
        except NetworkError as error:
            self._log_once(str(error))
            return None
        self._receivers[is_ipv6] = receiver
        return receiver

    def _log_once(self, what: str) -> None:
        """Log a failure once."""
        if what not in self._logged:
            self._logged.add(what)
            logger.info("local service discovery: %s", what)

    # -- receiving ----------------------------------------------------------------------------

    async def _receive(self, receiver: socket.socket) -> None:
        while True:
            try:
                data, sender = receiver.recvfrom(MAX_DATAGRAM_BYTES + 1)
            except BlockingIOError:
                await anyio.wait_readable(receiver)
            except OSError as error:
                logger.debug("local service discovery: %s", error)
                await anyio.sleep(ERROR_PAUSE_S)
            else:
                with suppress(RemoteProtocolError):
                    self.receive_datagram(data, sender[0])
                await anyio.lowlevel.checkpoint()

    def receive_datagram(self, data: bytes, host: str) -> None:
        """Deliver an announce of a local host; drop our own and those of other networks (row C6).

        Raises RemoteProtocolError for a malformed announce.
        """
        if not is_announce(data) or not is_local(host, self._interfaces):
            return
        budget = self._budgets[":" in host]
        if not budget.admits(host, self._clock()):
            return
        message = decode_announce(data)
        if message.cookie != self.cookie and budget.take(host):
            self._on_announce(message.info_hashes, PeerAddress(host, message.port))
