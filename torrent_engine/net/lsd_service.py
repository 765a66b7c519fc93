"""Owns the talk on the local network: sends our announces on every interface, hears the others'.

Source: BEP 14; row C6. What the bytes mean is in ``protocol/lsd.py``.
"""

import logging
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import anyio
import anyio.lowlevel

from torrent_engine.base.config import LsdConfig
from torrent_engine.base.errors import NetworkError, RemoteProtocolError
from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.net.interfaces import Interface, interfaces
from torrent_engine.net.lsd_places import Place, is_near, places
from torrent_engine.net.multicast import Exit, Group, join, open_receiver, send_to_group
from torrent_engine.net.streams import close
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
)

logger = logging.getLogger(__name__)

GROUPS: Final = {False: Group(GROUP_IPV4, LSD_PORT), True: Group(GROUP_IPV6, LSD_PORT)}
MINUTE_S: Final = 60.0
ERROR_PAUSE_S: Final = 1.0  # ours: a socket that only fails must not keep the loop busy


class LsdService:
    """Announces torrents to the local network; :meth:`run` hears who else has them.

    Nothing that fails here leaves: an interface that does not work is left out, said once in the
    log, and tried again.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        *,
        config: LsdConfig,
        find_interfaces: Callable[[], list[Interface]] = interfaces,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cookie = secrets.token_hex(COOKIE_BYTES).encode()
        self.capacity = capacity(self.cookie)
        """How many torrents one datagram announces."""
        self.on_announce: Callable[[Sequence[InfoHash], PeerAddress], None] = lambda _, __: None
        """Called for each announce of a neighbour; it must not raise."""
        self._hosts = tuple(hosts)
        self._config = config
        self._find_interfaces = find_interfaces
        self._clock = clock
        self._places: list[Place] = []
        self._receivers: dict[bool, socket.socket] = {}
        self._joined: set[tuple[bool, int]] = set()
        self._said: set[str] = set()
        self._heard: Counter[str] = Counter()
        """Datagrams of each host in this minute, without those that were too many."""
        self._minute_ends = float("-inf")

    def announce(self, port: int, info_hashes: Sequence[InfoHash]) -> int:
        """Announce up to :attr:`capacity` torrents once; return the number of datagrams sent."""
        self.look_around()
        message = LsdAnnounce(port, tuple(info_hashes), self.cookie)
        return sum(self._send(message, place) for place in self._places)

    async def run(self) -> None:
        """Hear announces until cancelled."""
        try:
            async with anyio.create_task_group() as tasks:
                for is_ipv6 in sorted({":" in host for host in self._hosts}):
                    if (receiver := self._open(is_ipv6=is_ipv6)) is not None:
                        tasks.start_soon(self._hear, receiver)
                while True:
                    self.look_around()
                    await anyio.sleep(self._config.rescan_interval_s)
        finally:
            for receiver in self._receivers.values():
                close(receiver)
            self._receivers.clear()
            self._joined.clear()

    # -- sending ----------------------------------------------------------------------------

    def _send(self, message: LsdAnnounce, place: Place) -> bool:
        data = encode_announce(message, is_ipv6=place.is_ipv6)
        way = Exit(place.index, place.source, self._config.ttl)
        try:
            send_to_group(data, GROUPS[place.is_ipv6], way)
        except NetworkError as error:
            self._say(f"interface {place.index}: {error}")
            return False
        return True

    # -- interfaces ---------------------------------------------------------------------------

    def look_around(self) -> None:
        """Take the interfaces that are there now, and hear on those that are new."""
        found = places(self._hosts, self._find_interfaces())
        self._places = found[: self._config.max_places]
        if not self._places:
            self._say("no interface to speak on")
        wanted = {(place.is_ipv6, place.index) for place in self._places}
        self._joined &= wanted  # one that comes back is joined anew
        for is_ipv6, index in wanted - self._joined:
            self._join(index, is_ipv6=is_ipv6)

    def _join(self, index: int, *, is_ipv6: bool) -> None:
        if (receiver := self._receivers.get(is_ipv6)) is None:
            return
        try:
            join(receiver, GROUPS[is_ipv6], index)
        except NetworkError as error:
            self._say(f"interface {index}: {error}")
        else:
            self._joined.add((is_ipv6, index))

    def _open(self, *, is_ipv6: bool) -> socket.socket | None:
        try:
            receiver = open_receiver(GROUPS[is_ipv6])
        except NetworkError as error:
            self._say(str(error))
            return None
        self._receivers[is_ipv6] = receiver
        return receiver

    def _say(self, what: str) -> None:
        """Log once what does not work."""
        if what not in self._said:
            self._said.add(what)
            logger.info("local service discovery: %s", what)

    # -- hearing ------------------------------------------------------------------------------

    async def _hear(self, receiver: socket.socket) -> None:
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
        """Hand on what a neighbour announces; drop our own, and whoever is no neighbour (row C6).

        Raises RemoteProtocolError if it is no announce.
        """
        if not is_near(host, self._places) or not self._may_hear(host):
            return
        message = decode_announce(data)
        if message.cookie != self.cookie:
            self.on_announce(message.info_hashes, PeerAddress(host, message.port))

    def _may_hear(self, host: str) -> bool:
        """Count a datagram; False if this host, or all together, sent too many in this minute."""
        now = self._clock()
        if now >= self._minute_ends:
            self._heard.clear()
            self._minute_ends = now + MINUTE_S
        config = self._config
        if self._heard[host] >= config.max_heard_per_host_per_minute:
            return False  # nor is it counted: a loud host must not use up what all may say
        if self._heard.total() >= config.max_heard_per_minute:
            return False
        self._heard[host] += 1
        return True
