"""Owns the connections of one torrent: who is dialled, who is let in, and when each ends.

Source: BEP 3 (handshake).
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio
import anyio.abc
from anyio.abc import TaskStatus

from torrent_engine.base.errors import NetworkError, TorrentEngineError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.engine.connection_slots import ConnectionSlots, Lent
from torrent_engine.engine.duplicate_links import (
    CONNECTED_ALREADY,
    DuplicateLinks,
    linked,
    takes_its_place,
)
from torrent_engine.engine.events import PeerBanned, PeerConnected, PeerDisconnected
from torrent_engine.engine.greeting import Greeting, new_connection
from torrent_engine.engine.kept_links import KeptLinks
from torrent_engine.engine.link_upkeep import least_useful, note_seed, said_before, why_to_end
from torrent_engine.engine.own_endpoints import OwnEndpoints
from torrent_engine.engine.peer import Identity, Peer
from torrent_engine.engine.peer_serving import PeerServing
from torrent_engine.engine.torrent import Swarm
from torrent_engine.net.peer_link import Gate, PeerLink
from torrent_engine.net.streams import dial
from torrent_engine.net.transport import TcpTransport, Transport
from torrent_engine.policy.addresses import may_be_shared
from torrent_engine.policy.candidates import CandidateList, Source
from torrent_engine.policy.replacement import Replacement
from torrent_engine.policy.suspicion import Verdict
from torrent_engine.protocol.wire.messages import HandshakeReceived, PeerEvent

logger = logging.getLogger(__name__)

IDLE_DIAL_WAIT_S: Final = 30.0  # ours: look again now and then when there is nobody to dial


@dataclass(frozen=True, slots=True)
class PoolRole:
    """What the peers of a pool are for: metadata, or payload."""

    greeting: Greeting
    handle: Callable[[Peer, list[PeerEvent]], None]
    """Takes what each read of a peer completed."""
    on_joined: Callable[[Peer], None]
    """A peer passed the handshake."""
    on_left: Callable[[Peer], None]
    gate: Gate
    """May hold back reading."""


class PeerPool:
    """Dials candidates, serves peers, and keeps out who is banned."""

    def __init__(
        self,
        swarm: Swarm,
        candidates: CandidateList,
        slots: ConnectionSlots,
        role: PoolRole,
    ) -> None:
        self.candidates = candidates
        self.own = OwnEndpoints(candidates, swarm.shared_config.listen_hosts)
        self.connecting = 0
        """Dials and handshakes under way."""
        self.listen_port: int | None = None
        self._swarm = swarm
        self._config = swarm.shared_config.pool
        self._slots = slots.share(self._least_useful)
        self._role = role
        self.kept = KeptLinks(self._slots)
        """Whose links :meth:`detach` kept, once the run has ended."""
        self._adopted = KeptLinks(self._slots)
        self._tasks: anyio.abc.TaskGroup | None = None
        self._incoming: Counter[str] = Counter()
        self._duplicates = DuplicateLinks(candidates)
        self._replacement = Replacement(self._config, candidates)
        self._wake = anyio.Event()
        candidates.on_turn = self.wake

    # -- life -------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Dial candidates until cancelled; every link has ended when this returns."""
        self._update_wanting()
        self.own.begin(self.listen_port)
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                for peer in self._adopted:
                    self.candidates.mark_connected(peer.address, self._swarm.clock())
                    tasks.start_soon(self._guard, self._serve_adopted, peer)
                task_status.started()
                while True:
                    self._wake = anyio.Event()
                    wait_s = self._dial_some(tasks)
                    with anyio.move_on_after(wait_s):
                        await self._wake.wait()
        finally:
            self._tasks = None
            self.close_adopted()
            self._slots.looked(None)
            self.candidates.all_idle(self._swarm.clock())

    def wake(self) -> None:
        """Look at once whether somebody can be dialled."""
        self._wake.set()

    def add(self, addresses: Iterable[PeerAddress], source: Source) -> int:
        """Take candidates; return how many are new."""
        now = self._swarm.clock()
        new = sum(self.candidates.add(address, source, now) for address in addresses)
        if new:
            self.wake()
        return new

    def _dial_some(self, tasks: anyio.abc.TaskGroup) -> float:
        """Start dials as far as the limits allow; return the seconds until the next look."""
        config, clock, waits_for_slot = self._config, self._swarm.clock, False
        linked_ips = {peer.address.host for peer in self._swarm.peers if peer.is_incoming}
        while self._has_places and self.connecting < config.max_half_open and not waits_for_slot:
            now = clock()
            due = self.candidates.next_due(now)
            if due is None or due > now:  # nobody's link is ended for nothing
                self._slots.looked(None)
                return IDLE_DIAL_WAIT_S if due is None else min(max(due - now, 0.05), 30.0)
            waits_for_slot = not self._slots.has_room(self.connecting)
            if not waits_for_slot and (address := self.candidates.next_to_dial(now, linked_ips)):
                self._slots.take(self.connecting)
                self.connecting += 1
                tasks.start_soon(self._guard, self._dial, address)
        self._slots.looked(self.wake if waits_for_slot else None)
        return IDLE_DIAL_WAIT_S

    @property
    def _has_places(self) -> bool:
        connections = len(self._swarm.peers) + self.connecting + len(self._adopted)
        return connections < self._config.max_connections_per_torrent

    def _least_useful(self) -> Lent | None:
        peer = least_useful(self._swarm.peers, self._swarm.clock())
        return None if peer is None else peer.link

    def _make_room(self, newcomer: PeerAddress) -> bool:
        """Tell whether a peer may come; one of lower priority leaves for it (BEP 40)."""
        if self._has_places and self._slots.has_room(self.connecting):
            return True
        by_chance = (peer for peer in self._swarm.peers if not peer.source & Source.MANUAL)
        links = {peer.address: peer.link for peer in by_chance}
        leaving = self._replacement.who_leaves(newcomer, links, self._swarm.clock())
        if leaving is not None:
            links[leaving].end("a peer of higher priority came")
        return leaving is not None

    # -- one connection ---------------------------------------------------------------------

    async def _guard(self, work: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Run the task of one connection; a bug in it reaches no other (row F10)."""
        try:
            await work(*arguments)
        except Exception:
            logger.exception("a bug ended the task of a connection")

    async def _dial(self, address: PeerAddress) -> None:
        try:
            sock = await dial(address, self._config.connect_timeout_s)
        except NetworkError as error:
            logger.debug("dial: %s", error)
            self._half_open_ended()
            self.candidates.mark_failed(address, self._swarm.clock())
            return
        except BaseException:
            self._half_open_ended()
            raise
        source = self.candidates.sources(address)
        await self._serve(TcpTransport(sock), address, source, b"")

    def accept(self, transport: Transport, address: PeerAddress, received: bytes) -> None:
        """Take an incoming connection whose handshake names this torrent.

        ``received`` is what came of it so far. It is closed if there is no room.
        """
        tasks, now = self._tasks, self._swarm.clock()
        is_banned = self.candidates.is_banned(address, None, now)
        if tasks is None or is_banned or self._is_crowded(address) or not self._make_room(address):
            transport.close()
            return
        self._slots.take(self.connecting)
        self.connecting += 1
        self._incoming[address.host] += 1
        tasks.start_soon(self._guard, self._serve_incoming, transport, address, received)

    async def _serve_incoming(
        self, transport: Transport, address: PeerAddress, received: bytes
    ) -> None:
        try:
            await self._serve(transport, address, Source.INCOMING, received)
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
            peer.address.host == host and not peer.is_incoming for peer in self._swarm.peers
        )
        return dialled + self._incoming[host] >= config.max_per_ip

    def _half_open_ended(self) -> None:
        self.connecting -= 1
        self._slots.give_back()
        self.wake()

    async def _serve(
        self, transport: Transport, address: PeerAddress, source: Source, received: bytes
    ) -> None:
        """Run one connection from its handshake to its end."""
        connection = new_connection(self._swarm, self._role.greeting)
        clock = self._swarm.clock
        link = PeerLink(transport, address, connection, gate=self._role.gate, clock=clock)
        self.own.exclude_local(transport.local_host)
        link.connection.send_handshake(dht=self._role.greeting.dht_port() is not None)
        serving = PeerServing(link, partial(self.join, source=source), self._role.handle)
        await self._serve_link(link, serving, received)

    async def _serve_link(self, link: PeerLink, serving: PeerServing, received: bytes) -> None:
        """Run one connection to its end, or until it is detached; its errors end here."""
        timeout_s = self._swarm.shared_config.wire.handshake_timeout_s
        reason: str | None = None
        try:
            now = self._swarm.clock()
            reason = await serving.run(received, now=now, timeout_s=timeout_s)
        except TorrentEngineError as error:
            reason = str(error)
        except Exception:
            logger.exception("peer %s: a bug ended its link", link.address)
            reason = "internal error"
        finally:
            if serving.peer is not None and link.is_detached:
                self.kept.keep(serving.peer)
            else:
                link.close()
                self._part(serving, link.address, reason)

    def _part(self, serving: PeerServing, address: PeerAddress, reason: str | None) -> None:
        if serving.peer is None:
            self._half_open_ended()
        else:
            note_seed(serving.peer, self.candidates)
            self._leave(serving.peer)
        self._ended(serving, address, reason)

    # -- from metadata to payload -----------------------------------------------------------

    def detach(self) -> None:
        """Let the links outlive the run, which is to be cancelled now; :attr:`kept` has them."""
        for peer in self._swarm.peers:
            if peer.link.close_reason is None:
                peer.link.detach()

    def adopt(self, kept: KeptLinks) -> None:
        """Go on with the links of another pool; closed at the end of a run that came to nothing."""
        self._adopted = kept

    def close_adopted(self) -> None:
        """Close the links that this pool has not gone on with."""
        self._adopted.close()

    async def _serve_adopted(self, peer: Peer) -> None:
        """Go on with a peer that we knew before the metadata; what it said is looked at anew."""
        self._adopted.hand_over(peer, self._slots)
        link, now = peer.link, self._swarm.clock()
        link.set_gate(self._role.gate)
        serving = PeerServing(link, lambda _link, _handshake: None, self._role.handle, peer)
        peer.is_adopted = True
        self._incoming[peer.address.host] += peer.is_incoming
        self._swarm.peers.add(peer)
        self._role.greeting.greet(peer, self.own.port_seen_by(peer.address.host))
        self._role.on_joined(peer)
        self._role.handle(peer, said_before(peer, self._role.greeting.geometry, now))
        try:
            await self._serve_link(link, serving, b"")
        finally:
            self._incoming[peer.address.host] -= peer.is_incoming

    def _leave(self, peer: Peer) -> None:
        self._swarm.peers.discard(peer)
        self._slots.give_back()
        self._role.on_left(peer)
        self.wake()

    def _ended(self, serving: PeerServing, address: PeerAddress, reason: str | None) -> None:
        """Note the end of a connection; without a reason the whole pool was stopped."""
        now, peer = self._swarm.clock(), serving.peer
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
        self._swarm.bus.publish(
            PeerDisconnected(self._swarm.info_hash, peer.address, reason or "stopped")
        )

    def join(self, link: PeerLink, handshake: HandshakeReceived, source: Source) -> Peer | None:
        """Make a peer of a link whose handshake came; None if it must not be one."""
        swarm, now = self._swarm, self._swarm.clock()
        if handshake.peer_id == swarm.peer_id:
            self.candidates.exclude(link.address)
            link.end("it is ourselves")
            return None
        if self.candidates.is_banned(link.address, handshake.peer_id, now):
            link.end("banned")
            return None
        is_incoming, old = source is Source.INCOMING, linked(swarm.peers, handshake.peer_id)
        if old and not takes_its_place(old, swarm.peer_id, is_incoming=is_incoming):
            self._duplicates.end(link, old, now)
            return None
        identity = Identity(link.address, handshake.peer_id)
        peer = Peer(link, identity, source, swarm.shared_config.transfer, now)
        self.connecting -= 1
        self.wake()  # one half-open slot is free
        swarm.peers.add(peer)
        self._slots.proven()
        self.candidates.mark_connected(link.address, now)
        if old is not None:
            self._duplicates.end(old.link, peer, now)
        self._role.greeting.greet(peer, self.own.port_seen_by(peer.address.host))
        self._role.on_joined(peer)
        peer.tell_connected = lambda: self._tell_connected(peer)
        if not peer.connection.extensions_enabled:
            peer.tell_connected()
        return peer

    def _tell_connected(self, peer: Peer) -> None:
        info_hash, peer.tell_connected = self._swarm.info_hash, None
        connected = PeerConnected(info_hash, peer.address, peer.client, peer.is_incoming)
        self._swarm.bus.publish(connected)

    # -- blame ------------------------------------------------------------------------------

    def judge(self, verdict: Verdict) -> None:
        """Ban who sent bad data, and end its link."""
        for identity in verdict.ban:
            if isinstance(identity, Identity):
                self.ban(identity, "sent bad data")

    def ban(self, identity: Identity, why: str) -> None:
        """Keep a peer out, and end its links."""
        now = self._swarm.clock()
        is_new = not self.candidates.is_banned(identity.address, identity.peer_id, now)
        self.candidates.ban(identity.address, identity.peer_id, now)
        if is_new:
            self._swarm.bus.publish(PeerBanned(self._swarm.info_hash, identity.address, why))
        for peer in tuple(self._swarm.peers):
            if peer.identity == identity:
                peer.link.end(f"banned: {why}")

    def _update_wanting(self) -> bool:
        """Let seeds be dialled while they have what we miss; return whether we have all; slow."""
        is_complete = self._role.greeting.is_complete()
        self.candidates.set_wanting(wanting=not is_complete)
        return is_complete

    def tick(self, now: float) -> None:
        """End links that are silent, stuck or of no use to either side; queue keep-alives."""
        is_complete = self._update_wanting()
        self.own.update()
        for peer in tuple(self._swarm.peers):
            if peer.your_ip:
                self.own.public.told(peer.your_ip, peer.address.host)
                peer.your_ip = b""
            reason = why_to_end(peer, now, self._swarm.shared_config.wire, is_complete=is_complete)
            if reason is None:
                peer.link.flush()
            else:
                peer.link.end(reason)
