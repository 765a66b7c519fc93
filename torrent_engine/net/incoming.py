"""Owns incoming connections until they have said which torrent they want, in plain or encrypted.

A connection that does not begin with the protocol's name is taken for an encrypted handshake. One
of a kind that we do not take is closed at once, so that the other side comes back with the other.
Of one address so many connections a second are taken; others are closed before they are read.
Source: BEP 3 (handshake), Message Stream Encryption; rows B5 and B11.
"""

import logging
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import anyio
import anyio.abc

from torrent_engine.base.config import PoolConfig
from torrent_engine.base.errors import EncryptionError, NetworkError
from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.base.network_config import EncryptionConfig, EncryptionPolicy
from torrent_engine.net.encryption_handshake import accept_encrypted
from torrent_engine.net.pace import Pace
from torrent_engine.net.streams import accept_forever, close, reset
from torrent_engine.net.transport import TcpTransport, Transport, receive_some
from torrent_engine.net.waiting_room import WaitingRoom
from torrent_engine.policy.operator_rates import OperatorRates
from torrent_engine.protocol.wire.encryption_keys import req2_hash
from torrent_engine.protocol.wire.messages import (
    HANDSHAKE_BYTES,
    INFO_HASH_OFFSET,
    PEER_ID_OFFSET,
    PROTOCOL_STRING,
)

logger = logging.getLogger(__name__)

MAX_WAITING: Final = 200  # ours: connections whose handshake is not here yet
MAX_HELD: Final = 8  # ours: connections that wait until one torrent is awake

Accept = Callable[[Transport, PeerAddress, bytes], None]
"""Takes over a connection; the bytes are what was received of the handshake."""
Arrival = tuple[Transport, PeerAddress, bytes]


class IncomingRouter:
    """Finds out what each connection is for, and hands it to that torrent."""

    def __init__(
        self,
        handshake_timeout_s: float,
        encryption: EncryptionConfig | None = None,
        pool: PoolConfig | None = None,
    ) -> None:
        pool = pool or PoolConfig()
        self._timeout_s = handshake_timeout_s
        self._encryption = encryption or EncryptionConfig()
        self.allows: Callable[[PeerAddress], bool] = lambda _address: True
        """Whether an address may come at all; the others are hung up on."""
        self._torrents: dict[InfoHash, Accept] = {}
        self._by_hash: dict[bytes, InfoHash] = {}
        """The torrents by what names them in an encrypted handshake."""
        self._held: dict[InfoHash, list[Arrival]] = {}
        self._waiting = WaitingRoom(min(MAX_WAITING, pool.max_half_open_incoming), time.monotonic)
        self._pace = Pace(self._encryption.max_handshakes_per_s)
        self._rates = OperatorRates(pool.max_incoming_per_ip_per_s, pool.incoming_burst_per_ip)
        self._tasks: anyio.abc.TaskGroup | None = None

    def register(self, info_hash: InfoHash, accept: Accept) -> None:
        """Hand connections for a torrent to ``accept`` from now on, and those that were held."""
        self._add(info_hash, accept)
        for transport, address, received in self._held.pop(info_hash, ()):
            accept(transport, address, received)

    def is_registered(self, info_hash: InfoHash) -> bool:
        """Return whether somebody takes connections for a torrent, or they are held."""
        return info_hash in self._torrents

    def hold(self, info_hash: InfoHash) -> None:
        """Hold connections for a torrent until :meth:`register`: it wakes up."""

        def hold(transport: Transport, address: PeerAddress, received: bytes) -> None:
            held = self._held.setdefault(info_hash, [])
            if len(held) < MAX_HELD:
                held.append((transport, address, received))
            else:
                transport.close()

        self._add(info_hash, hold)

    def unregister(self, info_hash: InfoHash) -> None:
        """Close connections for a torrent, held ones too; twice is harmless."""
        if self._torrents.pop(info_hash, None) is not None:
            del self._by_hash[req2_hash(info_hash)]
        for transport, _, _ in self._held.pop(info_hash, ()):
            transport.close()

    async def run(self, listeners: list[socket.socket]) -> None:
        """Accept on all sockets until cancelled; they are closed then."""
        try:
            async with anyio.create_task_group() as self._tasks:
                for listener in listeners:
                    self._tasks.start_soon(accept_forever, listener, self._accepted)
                await anyio.sleep_forever()
        finally:
            self._tasks = None
            for listener in listeners:
                close(listener)
            for info_hash in tuple(self._held):
                self.unregister(info_hash)

    def incoming(self, transport: Transport, address: PeerAddress) -> None:
        """Take a connection that somebody began, over whatever protocol but TCP."""
        if self._rates.take(address.host, time.monotonic()):
            self._take(transport, address)
        else:
            transport.close()

    def _take(self, transport: Transport, address: PeerAddress) -> None:
        scope = anyio.CancelScope()
        ticket: object = None
        if self._tasks is not None and self._torrents and self.allows(address):
            ticket = self._waiting.enter(address, scope.cancel)
        if self._tasks is None or ticket is None:
            transport.close()
        else:
            leave = partial(self._waiting.left, address, ticket)
            self._tasks.start_soon(self._route_guarded, transport, address, scope, leave)

    def _accepted(self, sock: socket.socket, address: PeerAddress) -> None:
        """Take a connection of TCP; one too many of its address is reset, which costs least."""
        if self._rates.take(address.host, time.monotonic()):
            self._take(TcpTransport(sock), address)
        else:
            reset(sock)

    def _add(self, info_hash: InfoHash, accept: Accept) -> None:
        self._torrents[info_hash] = accept
        self._by_hash[req2_hash(info_hash)] = info_hash

    async def _route_guarded(
        self,
        transport: Transport,
        address: PeerAddress,
        scope: anyio.CancelScope,
        leave: Callable[[], None],
    ) -> None:
        """Hand a connection on, or close it; a bug reaches no other connection (row F10)."""
        try:
            await self._route(transport, address, scope, leave)
        except Exception:
            logger.exception("a bug ended the connection of %s", address)

    async def _route(
        self,
        transport: Transport,
        address: PeerAddress,
        scope: anyio.CancelScope,
        leave: Callable[[], None],
    ) -> None:
        taken: tuple[Transport, InfoHash, bytes] | None = None
        scope.deadline = anyio.current_time() + self._timeout_s
        try:
            with scope:
                taken = await self._identify(transport)
        except (OSError, EncryptionError, NetworkError) as error:
            logger.debug("incoming %s: %s", address, error)
        finally:
            leave()
            if taken is None:
                transport.close()
        if taken is not None:
            transport, info_hash, received = taken
            self._hand_on(info_hash, (transport, address, received))

    def _hand_on(self, info_hash: InfoHash, arrival: Arrival) -> None:
        accept = self._torrents.get(info_hash)
        if accept is None:
            arrival[0].close()
        else:
            accept(*arrival)

    async def _identify(self, transport: Transport) -> tuple[Transport, InfoHash, bytes] | None:
        """Return what to go on with, for which torrent, and what came of the plain handshake."""
        received, policy = await _read_until_info_hash(transport), self._encryption.incoming
        if received.startswith(PROTOCOL_STRING):
            if policy is EncryptionPolicy.REQUIRED or len(received) < PEER_ID_OFFSET:
                return None
            return transport, InfoHash(received[INFO_HASH_OFFSET:PEER_ID_OFFSET]), received
        if policy is EncryptionPolicy.DISABLED or not received:
            return None
        await self._pace.turn()
        config, find = self._encryption, self._by_hash.get
        transport, info_hash = await accept_encrypted(transport, received, find, config)
        return transport, info_hash, b""


async def _read_until_info_hash(transport: Transport) -> bytes:
    """Return 48 to 68 bytes of a handshake, less if it is none or the connection ends."""
    received = b""
    while len(received) < PEER_ID_OFFSET:
        try:
            data = receive_some(transport, HANDSHAKE_BYTES - len(received))
        except BlockingIOError:
            await transport.wait_readable()
            continue
        received += data
        name = received[: len(PROTOCOL_STRING)]
        if not data or name != PROTOCOL_STRING[: len(name)]:
            break
    return received
