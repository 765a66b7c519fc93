"""The connection pool of one torrent: dials, incoming connections and their end.

Source: BEP 3 (handshake).
"""

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import anyio
import anyio.abc
from anyio.abc import TaskStatus

from torrent_engine.base.config import TransportProtocol
from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.operators import operator_of
from torrent_engine.engine.events import PeerBanned
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.swarm.connections import Connections
from torrent_engine.engine.swarm.context import Swarm
from torrent_engine.engine.swarm.dialer import PeerDialer
from torrent_engine.engine.swarm.eviction import why_to_end
from torrent_engine.engine.swarm.filter_watch import BanWatch, FilterWatch
from torrent_engine.engine.swarm.incoming import IncomingConnections
from torrent_engine.engine.swarm.parked_links import ParkedLinks
from torrent_engine.engine.swarm.peer import Identity, Peer
from torrent_engine.engine.swarm.pool_limits import PoolLimits
from torrent_engine.engine.swarm.pool_role import PoolRole
from torrent_engine.net.peers.transport import Transport
from torrent_engine.net.sockets.fairness import LOOP_TURN
from torrent_engine.policy.peers.candidates import CandidateList, Source
from torrent_engine.policy.peers.smart_ban import BanVerdict

__all__ = ["PeerPool", "PoolRole"]

logger = logging.getLogger(__name__)

IDLE_DIAL_WAIT_S: Final = 30.0  # ours: look again now and then when there is nobody to dial


class PeerPool:
    """Dials candidates, serves peers and refuses banned ones."""

    def __init__(
        self,
        swarm: Swarm,
        candidates: CandidateList,
        shared: SharedResources,
        role: PoolRole,
        *,
        links: ParkedLinks | None = None,
    ) -> None:
        """Go on with the connections in ``links``, those of another pool.

        They are closed at the end of a run that does not take them.
        """
        network, external_addresses = shared.network, shared.external_addresses
        self.candidates = candidates
        self._shared = shared
        self._swarm = swarm
        self._config = swarm.shared_config.pool
        self._role = role
        self._places = PoolLimits(swarm, candidates, shared.connection_slots, self.wake, links)
        self._connections = Connections(
            swarm, candidates, self._places, role, network, external_addresses
        )
        self.own = self._connections.own
        self._dialer = PeerDialer(
            swarm, candidates, self._connections, network, on_unreached=role.on_unreached
        )
        self._incoming = IncomingConnections(swarm, candidates, self._places, self._connections)
        self._adopted = self._places.adopted
        self._filter_watch = FilterWatch(candidates.admission.ip_filter)
        self._ban_watch = BanWatch(shared.bans)
        self._tasks: anyio.abc.TaskGroup | None = None
        self._wake = anyio.Event()
        candidates.dial_with(self._take_turn)

    @property
    def connecting(self) -> int:
        """Dials and handshakes under way."""
        return self._places.half_open + self._places.half_open_incoming

    @property
    def is_dialling(self) -> bool:
        """Whether a dial is in progress; silent incoming connections do not count."""
        return self._places.half_open > 0

    @property
    def kept(self) -> ParkedLinks:
        """Whose links :meth:`detach` kept, once the run has ended."""
        return self._connections.kept

    # -- life -------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Dial candidates until cancelled; every link has ended when this returns."""
        self._update_wanting()
        self.own.begin(self._shared.listen_port)
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
            self._places.slots.end_turn(None)
            self.candidates.all_idle(self._swarm.clock())

    def next_dial_due_s(self, now: float) -> float | None:
        """Return when the next candidate is due to be dialled; None if there is none."""
        return self.candidates.next_due(now)

    def set_wanting(self, *, wanting: bool) -> None:
        """Dial seeds from now on, or no more: nothing is wanted of them."""
        self.candidates.set_wanting(wanting=wanting)

    def wake(self) -> None:
        """Start dials at once if some are possible."""
        self._wake.set()

    def _take_turn(self) -> None:
        """Dial candidates at once: a dial slot is ours."""
        if self._tasks is not None:
            self._dial_some(self._tasks)
        self.wake()

    def add(
        self, addresses: Iterable[PeerAddress], source: Source, *, is_other: bool = False
    ) -> int:
        """Add candidates, of a hybrid's other swarm if that is said; return how many are new."""
        now, new, named, swarm = self._swarm.clock(), 0, False, self._swarm
        is_v2 = is_other != (swarm.is_v2 or swarm.v1_hash is not None)
        for address in addresses:
            new += self.candidates.add(address, source, now)
            named = True
            if is_v2 and address in self.candidates:
                self.candidates.of_v2.add(address)
        if named:  # who is known may be due sooner now
            self.wake()
        return new

    def dial_now(self, address: PeerAddress, *, only: TransportProtocol | None = None) -> bool:
        """Dial a candidate before its turn, over one protocol only or any.

        Return False, without a dial, if it is unknown, dialled or connected already, or if a limit
        is reached.
        """
        if self._tasks is None or not (self._places.may_dial_more and self._places.has_slot):
            return False
        if not self.candidates.dial_now(address, self._swarm.clock()):
            return False
        self._begin_dial(self._tasks, address, only)
        return True

    def _dial_some(self, tasks: anyio.abc.TaskGroup) -> float:
        """Start dials as far as the limits allow; return the seconds until the next look."""
        places, clock, waits_for_slot = self._places, self._swarm.clock, False
        incoming = (peer for peer in self._swarm.peers if peer.is_incoming)
        in_use = {operator_of(peer.address.host) for peer in incoming}
        in_use |= self._shared.connection_slots.crowded
        while places.may_dial_more and not waits_for_slot:
            now = clock()
            due = self.candidates.next_due(now)
            if due is None or due > now:  # nobody's link is ended for nothing
                places.slots.end_turn(None)
                return IDLE_DIAL_WAIT_S if due is None else min(max(due - now, 0.05), 30.0)
            waits_for_slot = not places.has_slot
            if not waits_for_slot and (address := self.candidates.next_to_dial(now, in_use)):
                self._begin_dial(tasks, address)
        places.slots.end_turn(self.wake if waits_for_slot else None)
        return IDLE_DIAL_WAIT_S

    def _begin_dial(
        self,
        tasks: anyio.abc.TaskGroup,
        address: PeerAddress,
        only: TransportProtocol | None = None,
    ) -> None:
        place = self._places.take()
        tasks.start_soon(self._guard, self._dialer.dial, address, only, place)

    def accept(self, transport: Transport, address: PeerAddress, received: bytes) -> None:
        """Serve an incoming connection for this torrent.

        ``received`` is what came so far of its handshake. It is closed if there is no room.
        """
        tasks = self._tasks
        admitted = None if tasks is None else self._incoming.admit(address)
        if tasks is None or admitted is None:
            transport.close()
        else:
            serve = self._incoming.serve
            tasks.start_soon(self._guard, serve, transport, address, received, admitted)

    def announce(self, peer: Peer) -> None:
        """Publish PeerConnected for a peer that has sent its extension handshake."""
        self._connections.announce(peer)

    async def _guard(self, work: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Run the task of one connection; a bug in it reaches no other (row F10)."""
        try:
            await work(*arguments)
        except Exception:
            logger.exception("internal error in the task of a connection")

    # -- from metadata to payload -----------------------------------------------------------

    def detach(self) -> None:
        """Detach all connections for another run; :attr:`kept` has them when :meth:`run` ends."""
        for peer in self._swarm.peers:
            if peer.link.close_reason is None:
                peer.link.detach()

    def close_adopted(self) -> None:
        """Close the links that this pool has not gone on with."""
        self._adopted.close()

    async def _serve_adopted(self, peer: Peer) -> None:
        """Go on with one of perhaps many, which all begin at the same time."""
        if LOOP_TURN.is_over:
            await LOOP_TURN.pass_on()
        self._adopted.hand_over(peer, self._places.slots)
        serve = (
            self._incoming.serve_adopted if peer.is_incoming else self._connections.serve_adopted
        )
        await serve(peer)

    # -- blame ------------------------------------------------------------------------------

    def judge(self, verdict: BanVerdict) -> None:
        """Ban who sent bad data, and end its link."""
        for identity in verdict.ban:
            if isinstance(identity, Identity):
                self.ban(identity, "sent bad data")

    def ban(self, identity: Identity, why: str) -> None:
        """Ban a peer and close its connections."""
        now = self._swarm.clock()
        is_new = not self._shared.bans.is_banned(*identity, now)
        self.candidates.ban(identity.address, identity.peer_id, now)
        if is_new:
            self._swarm.bus.publish(PeerBanned(self._swarm.info_hash, identity.address, why))
        for peer in tuple(self._swarm.peers):
            if peer.identity == identity:
                peer.link.end(f"banned: {why}")

    def move_to_v2(self, peer: Peer) -> None:
        """End a link of the v1 swarm of a hybrid, and dial the peer again in its v2 swarm."""
        self.candidates.of_v2.add(peer.address)
        peer.is_moving = True
        peer.link.end("to meet in the v2 swarm")

    def _update_wanting(self) -> bool:
        """Allow dials to seeds while pieces are missing; return whether we have all; slow."""
        is_complete = self._role.greeting.is_complete()
        self.candidates.set_wanting(wanting=not is_complete)
        return is_complete

    def tick(self, now: float) -> None:
        """End links that are silent, stuck or of no use to either side; queue keep-alives."""
        is_complete = self._update_wanting()
        self.own.update()
        if len(self._swarm.peers) > self._places.limit:
            self._places.end_excess(now)
        self._places.end_idle(now)
        for peer in self._filter_watch.forbidden(self._swarm.peers):
            peer.link.end("forbidden by the IP filter")
        for peer in self._ban_watch.banned(self._swarm.peers, now):
            peer.link.end("banned by the user")
        for peer in tuple(self._swarm.peers):
            if peer.your_ip:
                self.own.public.add_vote(peer.your_ip, peer.address.host)
                peer.your_ip = b""
            reason = why_to_end(peer, now, is_complete=is_complete)
            if reason is None:
                peer.link.flush()
            else:
                peer.link.end(reason)
