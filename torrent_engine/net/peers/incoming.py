"""Routing of incoming connections to torrents, after a plaintext or encrypted handshake.

A connection that does not begin with the protocol string is treated as an encrypted handshake. If
the policy forbids its kind, it is closed at once, so that the peer retries with the other kind.
Connections per second are limited for each address and in total; excess ones are closed unread.
Source: BEP 3 (handshake), Message Stream Encryption; rows B5 and B11.
"""

import logging
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Final

import anyio
import anyio.abc

from torrent_engine.base.config import EncryptionConfig, EncryptionPolicy, PoolConfig
from torrent_engine.base.errors import EncryptionError, NetworkError
from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.net.peers.encryption_handshake import accept_encrypted
from torrent_engine.net.peers.transport import TcpTransport, Transport, wait_for_some
from torrent_engine.net.sockets.fairness import RateGate
from torrent_engine.net.sockets.handshake_limits import HALF_OPEN_PATIENCE_S, HandshakeLimiter
from torrent_engine.net.sockets.keep_running import keep_running
from torrent_engine.net.sockets.tcp import accept_forever, close, reset
from torrent_engine.policy.addresses import is_local
from torrent_engine.policy.limits.accept_rates import AcceptRates
from torrent_engine.protocol.wire.encryption_keys import req2_hash
from torrent_engine.protocol.wire.messages import (
    HANDSHAKE_BYTES,
    INFO_HASH_OFFSET,
    PEER_ID_OFFSET,
    PROTOCOL_STRING,
)

logger = logging.getLogger(__name__)

MAX_WAITING: Final = 200  # ours: half-open incoming connections
MAX_HELD: Final = 8  # ours: connections that wait for one dormant torrent

Accept = Callable[[Transport, PeerAddress, bytes], None]
"""Takes over a connection; the bytes are the received part of the handshake."""
Arrival = tuple[Transport, PeerAddress, bytes]


class Arrivals:
    """When a connection for one of our torrents came last, over IPv4 and over IPv6.

    Times are Unix times, the keys "ipv4" and "ipv6"; a family from which none came is left out.
    """

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._from_internet: dict[str, float] = {}

    def note(self, host: str, at: float) -> None:
        """Record one from a literal address."""
        family = "ipv6" if ":" in host else "ipv4"
        self._last[family] = at
        if not is_local(host):
            self._from_internet[family] = at

    @property
    def last(self) -> Mapping[str, float]:
        """From anywhere."""
        return dict(self._last)

    @property
    def last_from_internet(self) -> Mapping[str, float]:
        """From outside of this machine and its local network."""
        return dict(self._from_internet)


class IncomingRouter:
    """Reads the info-hash of each connection and passes it to that torrent."""

    def __init__(
        self,
        handshake_timeout_s: float,
        encryption: EncryptionConfig | None = None,
        pool: PoolConfig | None = None,
        *,
        allows: Callable[[PeerAddress], bool] = lambda _address: True,
    ) -> None:
        """Close connections from addresses that ``allows`` returns False for."""
        pool = pool or PoolConfig()
        self._timeout_s = handshake_timeout_s
        self._encryption = encryption or EncryptionConfig()
        self._allows = allows
        self._torrents: dict[InfoHash, Accept] = {}
        self._by_hash: dict[bytes, InfoHash] = {}
        """Info-hashes by their hash in encrypted handshakes."""
        self._aliases: dict[InfoHash, InfoHash] = {}
        """The v2 info-hashes of hybrid torrents, cut to 20 bytes, and the v1 ones."""
        self._alias_of: dict[InfoHash, InfoHash] = {}
        self._held: dict[InfoHash, list[Arrival]] = {}
        self._waiting = HandshakeLimiter(
            min(MAX_WAITING, pool.max_half_open_incoming), time.monotonic, HALF_OPEN_PATIENCE_S
        )
        self._pace = RateGate(self._encryption.max_handshakes_per_s)
        self._rates = AcceptRates(pool)
        self._tasks: anyio.abc.TaskGroup | None = None
        self._accepting: dict[socket.socket, anyio.CancelScope] = {}
        self.arrivals = Arrivals()

    def set_encryption(self, encryption: EncryptionConfig) -> None:
        """Change which handshakes are accepted from now on."""
        self._encryption = encryption

    def register(self, info_hash: InfoHash, accept: Accept, alias: InfoHash | None = None) -> None:
        """Pass connections for a torrent to ``accept`` from now on, held ones first.

        ``alias`` is its other info-hash, if it has two; where that is another torrent's, it is
        not used.
        """
        self._add(info_hash, accept)
        if alias is not None and self._aliases.setdefault(alias, info_hash) == info_hash:
            self._alias_of[info_hash] = alias
            self._by_hash[req2_hash(alias)] = alias
        for transport, address, received in self._held.pop(info_hash, ()):
            accept(transport, address, received)

    def is_registered(self, info_hash: InfoHash) -> bool:
        """Return whether connections for a torrent are accepted or held."""
        return info_hash in self._torrents

    def hold(self, info_hash: InfoHash) -> None:
        """Hold connections for a waking torrent until :meth:`register`."""

        def hold(transport: Transport, address: PeerAddress, received: bytes) -> None:
            held = self._held.setdefault(info_hash, [])
            if len(held) < MAX_HELD:
                held.append((transport, address, received))
            else:
                transport.close()

        self._add(info_hash, hold)

    def unregister(self, info_hash: InfoHash) -> None:
        """Close connections for a torrent, held ones too; may be called twice."""
        if self._torrents.pop(info_hash, None) is not None:
            gone = {info_hash}
            if (alias := self._alias_of.pop(info_hash, None)) is not None:
                del self._aliases[alias]
                gone.add(alias)
            for each in gone - self._torrents.keys() - self._aliases.keys():
                del self._by_hash[req2_hash(each)]
        for transport, _, _ in self._held.pop(info_hash, ()):
            transport.close()

    async def run(self, listeners: list[socket.socket]) -> None:
        """Accept on all sockets until cancelled; then close them."""
        try:
            async with anyio.create_task_group() as self._tasks:
                for listener in listeners:
                    self._accept_on(listener, self._tasks)
                await anyio.sleep_forever()
        finally:
            self._tasks = None
            for listener in (*listeners, *self._accepting):
                close(listener)
            self._accepting.clear()
            for info_hash in tuple(self._held):
                self.unregister(info_hash)

    def replace_listener(self, old: socket.socket, new: socket.socket) -> None:
        """Accept on ``new`` in place of ``old``, which is closed."""
        if (accepting := self._accepting.pop(old, None)) is not None:
            accepting.cancel()
        close(old)
        if self._tasks is None:
            close(new)
        else:
            self._accept_on(new, self._tasks)

    def _accept_on(self, listener: socket.socket, tasks: anyio.abc.TaskGroup) -> None:
        self._accepting[listener] = scope = anyio.CancelScope()
        tasks.start_soon(self._accept_forever, listener, scope)

    async def _accept_forever(self, listener: socket.socket, scope: anyio.CancelScope) -> None:
        with scope:
            await keep_running("listening", partial(self._accept, listener))

    async def _accept(self, listener: socket.socket) -> None:
        with suppress(anyio.ClosedResourceError):  # replaced
            await accept_forever(listener, self._accepted)

    def incoming(self, transport: Transport, address: PeerAddress) -> None:
        """Accept an incoming connection of another protocol than TCP."""
        if self._rates.take(address.host, time.monotonic()):
            self._take(transport, address)
        else:
            transport.close()

    def _take(self, transport: Transport, address: PeerAddress) -> None:
        scope = anyio.CancelScope()
        ticket: object = None
        if self._tasks is not None and self._torrents and self._allows(address):
            ticket = self._waiting.enter(address, scope.cancel)
        if self._tasks is None or ticket is None:
            transport.close()
        else:
            leave = partial(self._waiting.left, address, ticket)
            self._tasks.start_soon(self._route_guarded, transport, address, scope, leave)

    def _accepted(self, sock: socket.socket, address: PeerAddress) -> bool:
        """Accept a TCP connection; return False for one over the rate limit, which is reset."""
        if not self._rates.take(address.host, time.monotonic()):
            reset(sock)
            return False
        self._take(TcpTransport(sock), address)
        return True

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
        """Route a connection or close it; a bug affects no other connection (row F10)."""
        try:
            await self._route(transport, address, scope, leave)
        except Exception:
            logger.exception("internal error in the connection of %s", address)

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
            try:
                self._pass_on(info_hash, (transport, address, received))
            except BaseException:
                transport.close()
                raise

    def _pass_on(self, info_hash: InfoHash, arrival: Arrival) -> None:
        accept = self._torrents.get(info_hash)
        if accept is None and info_hash in self._aliases:
            accept = self._torrents.get(self._aliases[info_hash])
        if accept is None:
            arrival[0].close()
        else:
            self.arrivals.note(arrival[1].host, time.time())
            accept(*arrival)

    async def _identify(self, transport: Transport) -> tuple[Transport, InfoHash, bytes] | None:
        """Return transport, info-hash and the received part of the plain handshake."""
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
    """Return 48 to 68 bytes of a handshake, fewer if it is none or the connection ends."""
    received = b""
    while len(received) < PEER_ID_OFFSET:
        data = await wait_for_some(transport, HANDSHAKE_BYTES - len(received))
        received += data
        name = received[: len(PROTOCOL_STRING)]
        if not data or name != PROTOCOL_STRING[: len(name)]:
            break
    return received
