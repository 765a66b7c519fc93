"""Owns the connections of one torrent: who is dialled, who is let in, and when each ends.

Source: BEP 3 (handshake), BEP 10 (extension handshake), BEP 6 (allowed fast).
"""

import ipaddress
import logging
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio
import anyio.abc

from torrent_engine.base.errors import NetworkError, TorrentEngineError
from torrent_engine.base.ids import CLIENT_NAME, PeerAddress
from torrent_engine.engine.connection_slots import ConnectionSlots
from torrent_engine.engine.duplicate_links import (
    CONNECTED_ALREADY,
    DuplicateLinks,
    linked,
    takes_its_place,
)
from torrent_engine.engine.events import PeerBanned, PeerConnected, PeerDisconnected
from torrent_engine.engine.own_endpoints import OwnEndpoints
from torrent_engine.engine.peer import Identity, Peer
from torrent_engine.engine.peer_events import PeerEvents
from torrent_engine.engine.peer_serving import PeerServing
from torrent_engine.engine.saved_peers import MAX_SAVED_PEERS, SavedPeer
from torrent_engine.engine.torrent import Torrent
from torrent_engine.net.peer_link import Gate, PeerLink
from torrent_engine.net.streams import close, dial
from torrent_engine.policy.addresses import may_be_shared
from torrent_engine.policy.candidates import CandidateList, Source
from torrent_engine.policy.suspicion import Verdict
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.extension import DONT_HAVE, ExtensionHandshake
from torrent_engine.protocol.wire.fast import allowed_fast_set
from torrent_engine.protocol.wire.messages import HandshakeReceived

logger = logging.getLogger(__name__)

IDLE_DIAL_WAIT_S: Final = 30.0  # ours: look again now and then when there is nobody to dial
NO_USE_GRACE_S: Final = 1.0  # ours: within this a new peer has said what it has and what it is
LOCAL_EXTENSIONS: Final = {DONT_HAVE: 7}


@dataclass(frozen=True, slots=True)
class PoolCallbacks:
    """Whom the pool tells of its peers."""

    on_joined: Callable[[Peer], None]
    """A peer passed the handshake."""
    on_left: Callable[[Peer], None]


class PeerPool:
    """Dials candidates, serves peers, and keeps out who is banned."""

    def __init__(
        self,
        torrent: Torrent,
        candidates: CandidateList,
        slots: ConnectionSlots,
        events: PeerEvents,
        callbacks: PoolCallbacks,
        gate: Gate,
    ) -> None:
        self.candidates = candidates
        self.own = OwnEndpoints(candidates, torrent.shared_config.listen_hosts)
        self.connecting = 0
        """Dials and handshakes under way."""
        self.listen_port: int | None = None
        self._torrent = torrent
        self._config = torrent.shared_config.pool
        self._slots = slots
        self._events = events
        self._callbacks = callbacks
        self._gate = gate
        self._tasks: anyio.abc.TaskGroup | None = None
        self._incoming: Counter[str] = Counter()
        self._duplicates = DuplicateLinks(candidates)
        self._wake = anyio.Event()
        candidates.on_turn = self.wake

    # -- life -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Dial candidates until cancelled; every link has ended when this returns."""
        self._update_wanting()
        self.own.begin(self.listen_port)
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                while True:
                    self._wake = anyio.Event()
                    wait_s = self._dial_some(tasks)
                    with anyio.move_on_after(wait_s):
                        await self._wake.wait()
        finally:
            self._tasks = None
            self.candidates.all_idle(self._torrent.clock())

    def wake(self) -> None:
        """Look at once whether somebody can be dialled."""
        self._wake.set()

    def add(self, addresses: Iterable[PeerAddress], source: Source) -> int:
        """Take candidates; return how many are new."""
        now = self._torrent.clock()
        new = sum(self.candidates.add(address, source, now) for address in addresses)
        if new:
            self.wake()
        return new

    def restore(self, peers: Iterable[SavedPeer]) -> None:
        """Take the good peers of an earlier run."""
        for peer in peers:
            self.add([peer.address], Source.RESUME)
            self.candidates.note_seed(peer.address, is_seed=peer.is_seed)

    def good_peers(self) -> list[SavedPeer]:
        """Return whom to dial first in the next run."""
        candidates = self.candidates
        proven = candidates.proven(MAX_SAVED_PEERS)
        return [SavedPeer(address, candidates.is_seed(address)) for address in proven]

    def _dial_some(self, tasks: anyio.abc.TaskGroup) -> float:
        """Start dials as far as the limits allow; return the seconds until the next look."""
        config, clock = self._config, self._torrent.clock
        linked_ips = {peer.address.host for peer in self._torrent.peers if peer.is_incoming}
        while self._has_room() and self.connecting < config.max_half_open:
            now = clock()
            address = self.candidates.next_to_dial(now, linked_ips)
            if address is None:
                due = self.candidates.next_due(now)
                return IDLE_DIAL_WAIT_S if due is None else min(max(due - now, 0.05), 30.0)
            self.connecting += 1
            self._slots.take()
            tasks.start_soon(self._dial, address, config.connect_timeout_s)
        if not self._slots.has_room:
            self._slots.tell_when_free(self.wake)
        return IDLE_DIAL_WAIT_S

    def _has_room(self) -> bool:
        connections = len(self._torrent.peers) + self.connecting
        return connections < self._config.max_connections_per_torrent and self._slots.has_room

    # -- one connection ---------------------------------------------------------------------

    async def _dial(self, address: PeerAddress, timeout_s: float) -> None:
        try:
            sock = await dial(address, timeout_s)
        except NetworkError as error:
            logger.debug("dial: %s", error)
            self._half_open_ended()
            self.candidates.mark_failed(address, self._torrent.clock())
            return
        except BaseException:
            self._half_open_ended()
            raise
        source = self.candidates.sources(address)
        await self._serve(sock, address, source, b"")

    def accept(self, sock: socket.socket, address: PeerAddress, received: bytes) -> None:
        """Take an incoming connection whose handshake names this torrent.

        ``received`` is what came of it so far. The socket is closed if there is no room.
        """
        tasks, now = self._tasks, self._torrent.clock()
        is_banned = self.candidates.is_banned(address, None, now)
        if tasks is None or is_banned or not self._has_room() or self._is_crowded(address):
            close(sock)
            return
        self.connecting += 1
        self._slots.take()
        self._incoming[address.host] += 1
        tasks.start_soon(self._serve_incoming, sock, address, received)

    async def _serve_incoming(
        self, sock: socket.socket, address: PeerAddress, received: bytes
    ) -> None:
        try:
            await self._serve(sock, address, Source.INCOMING, received)
        finally:
            self._incoming[address.host] -= 1
            if not self._incoming[address.host]:
                del self._incoming[address.host]

    def _is_crowded(self, address: PeerAddress) -> bool:
        """Tell whether an IP address has its links, those that have not shaken hands included."""
        config, host = self._config, address.host
        if may_be_shared(host, config):
            return False
        dialled = sum(
            peer.address.host == host and not peer.is_incoming for peer in self._torrent.peers
        )
        return dialled + self._incoming[host] >= config.max_per_ip

    def _half_open_ended(self) -> None:
        self.connecting -= 1
        self._slots.give_back()
        self.wake()

    async def _serve(
        self, sock: socket.socket, address: PeerAddress, source: Source, received: bytes
    ) -> None:
        """Run one connection from its handshake to its end; its errors end here."""
        link = PeerLink(
            sock, address, self._connection(), gate=self._gate, clock=self._torrent.clock
        )
        self.own.exclude_local(sock)
        serving = PeerServing(link, partial(self.join, source=source), self._events.handle)
        timeout_s = self._torrent.shared_config.wire.handshake_timeout_s
        reason: str | None = None
        try:
            link.connection.send_handshake()
            now = self._torrent.clock()
            reason = await serving.run(received, now=now, timeout_s=timeout_s)
        except TorrentEngineError as error:
            reason = str(error)
        except Exception:
            logger.exception("peer %s: a bug ended its link", address)
            reason = "internal error"
        finally:
            close(sock)
            if serving.peer is None:
                self._half_open_ended()
            else:
                self._remember(serving.peer)
                self._leave(serving.peer)
            self._ended(serving, address, reason)

    def _connection(self) -> PeerConnection:
        torrent, config = self._torrent, self._torrent.shared_config
        return PeerConnection(
            geometry=torrent.metainfo.geometry,
            info_hash=torrent.metainfo.info_hash,
            peer_id=torrent.peer_id,
            limits=config.wire,
            transfer=config.transfer,
            extensions=LOCAL_EXTENSIONS,
            buffers=torrent.buffers,
            joins_blocks=True,
            now=torrent.clock(),
        )

    def _remember(self, peer: Peer) -> None:
        """Note whether a peer was a seed, before the managers forget what it had."""
        address = peer.address
        if peer.is_incoming and peer.listen_port is not None:
            address = PeerAddress(address.host, peer.listen_port)
        self.candidates.note_seed(address, is_seed=peer.wants_nothing)

    def _leave(self, peer: Peer) -> None:
        self._torrent.peers.discard(peer)
        self._slots.give_back()
        self._callbacks.on_left(peer)
        self.wake()

    def _ended(self, serving: PeerServing, address: PeerAddress, reason: str | None) -> None:
        """Note the end of a connection; without a reason the whole pool was stopped."""
        now, peer = self._torrent.clock(), serving.peer
        if peer is None:
            logger.debug("%s: no handshake: %s", address, reason)
            if reason not in {None, CONNECTED_ALREADY}:
                self.candidates.mark_failed(address, now, hung_up=serving.was_hung_up_on)
            return
        ended = self._duplicates.released(peer)
        if reason != CONNECTED_ALREADY:
            ended.append(address)
        if reason is not None:
            is_good = not peer.connection.is_violated
            for each in ended:
                self.candidates.mark_disconnected(each, now, good=is_good)
        if peer.tell_connected is not None:
            peer.tell_connected()
        self._torrent.bus.publish(
            PeerDisconnected(self._torrent.metainfo.info_hash, peer.address, reason or "stopped")
        )

    def join(self, link: PeerLink, handshake: HandshakeReceived, source: Source) -> Peer | None:
        """Make a peer of a link whose handshake came; None if it must not be one."""
        torrent, now = self._torrent, self._torrent.clock()
        if handshake.peer_id == torrent.peer_id:
            self.candidates.exclude(link.address)
            link.end("it is ourselves")
            return None
        if self.candidates.is_banned(link.address, handshake.peer_id, now):
            link.end("banned")
            return None
        is_incoming, old = source is Source.INCOMING, linked(torrent.peers, handshake.peer_id)
        if old and not takes_its_place(old, torrent.peer_id, is_incoming=is_incoming):
            self._duplicates.end(link, old, now)
            return None
        identity = Identity(link.address, handshake.peer_id)
        peer = Peer(link, identity, source, torrent.shared_config.transfer, now)
        self.connecting -= 1
        self.wake()  # one half-open slot is free
        torrent.peers.add(peer)
        self.candidates.mark_connected(link.address, now)
        if old is not None:
            self._duplicates.end(old.link, peer, now)
        self._greet(peer)
        self._callbacks.on_joined(peer)
        peer.tell_connected = lambda: self._tell_connected(peer)
        if not peer.connection.extensions_enabled:
            peer.tell_connected()
        return peer

    def _tell_connected(self, peer: Peer) -> None:
        info_hash, peer.tell_connected = self._torrent.metainfo.info_hash, None
        connected = PeerConnected(info_hash, peer.address, peer.client, peer.is_incoming)
        self._torrent.bus.publish(connected)

    def _greet(self, peer: Peer) -> None:
        """Say what we have and what we are; the bitfield must come first (BEP 3)."""
        torrent, connection = self._torrent, peer.connection
        connection.send_bitfield(torrent.table.have)
        if connection.extensions_enabled:
            connection.send_extension_handshake(self._extension_handshake(peer))
        if connection.fast_enabled and not torrent.table.have.none():
            info_hash, count = torrent.metainfo.info_hash, torrent.metainfo.piece_count
            pieces = allowed_fast_set(peer.address.host, info_hash, count)
            connection.allow_fast([piece for piece in pieces if torrent.table.have.has(piece)])

    def _extension_handshake(self, peer: Peer) -> ExtensionHandshake:
        torrent = self._torrent
        return ExtensionHandshake(
            extensions=LOCAL_EXTENSIONS,
            client=CLIENT_NAME,
            listen_port=self.listen_port,
            your_ip=ipaddress.ip_address(peer.address.host).packed,
            reqq=torrent.shared_config.wire.reqq,
            is_upload_only=self._torrent.is_complete,
            metadata_bytes=len(torrent.metainfo.info_bytes),
        )

    # -- blame ------------------------------------------------------------------------------

    def judge(self, verdict: Verdict) -> None:
        """Ban who sent bad data, and end its link."""
        now = self._torrent.clock()
        for identity in verdict.ban:
            if not isinstance(identity, Identity):
                continue
            is_new = not self.candidates.is_banned(identity.address, identity.peer_id, now)
            self.candidates.ban(identity.address, identity.peer_id, now)
            if is_new:
                self._torrent.bus.publish(
                    PeerBanned(self._torrent.metainfo.info_hash, identity.address, "sent bad data")
                )
            for peer in tuple(self._torrent.peers):
                if peer.identity == identity:
                    peer.link.end("banned: sent bad data")

    def _update_wanting(self) -> bool:
        """Let seeds be dialled as long as they have something for us; return whether we have all.

        Once a tick and not for each peer: it goes over all pieces.
        """
        is_complete = self._torrent.is_complete
        self.candidates.set_wanting(wanting=not is_complete)
        return is_complete

    def tick(self, now: float) -> None:
        """End links that are silent, stuck or of no use to either side; queue keep-alives."""
        is_complete = self._update_wanting()
        self.own.update()
        for peer in tuple(self._torrent.peers):
            if peer.your_ip:
                self.own.public.told(peer.your_ip, peer.address.host)
                peer.your_ip = b""
            if (reason := peer.connection.timed_out(now)) is not None:
                peer.link.end(reason)
            elif peer.link.stuck_s(now) > self._torrent.shared_config.wire.unread_timeout_s:
                peer.link.end("it reads nothing")
            elif is_complete and peer.wants_nothing and now - peer.connected_s >= NO_USE_GRACE_S:
                peer.link.end("both sides are complete")
            else:
                peer.link.flush()
