"""Owns the connections of one torrent: who is dialled, who is let in, and when each ends.

Source: BEP 3 (handshake).
"""

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import anyio
import anyio.abc
from anyio.abc import TaskStatus

from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.network_config import LinkProtocol
from torrent_engine.base.operators import operator_of
from torrent_engine.engine.connection_slots import ConnectionSlots
from torrent_engine.engine.events import PeerBanned
from torrent_engine.engine.incoming_links import IncomingLinks
from torrent_engine.engine.ip_filter import FilterWatch
from torrent_engine.engine.kept_links import KeptLinks
from torrent_engine.engine.link_lives import LinkLives
from torrent_engine.engine.link_upkeep import why_to_end
from torrent_engine.engine.network import Network
from torrent_engine.engine.peer import Identity, Peer
from torrent_engine.engine.peer_dialling import PeerDialling
from torrent_engine.engine.pool_places import PoolPlaces
from torrent_engine.engine.pool_role import PoolRole
from torrent_engine.engine.torrent import Swarm
from torrent_engine.net.transport import Transport
from torrent_engine.policy.candidates import CandidateList, Source
from torrent_engine.policy.suspicion import Verdict

__all__ = ["PeerPool", "PoolRole"]

logger = logging.getLogger(__name__)

IDLE_DIAL_WAIT_S: Final = 30.0  # ours: look again now and then when there is nobody to dial


class PeerPool:
    """Dials candidates, serves peers, and keeps out who is banned."""

    def __init__(
        self,
        swarm: Swarm,
        candidates: CandidateList,
        slots: ConnectionSlots,
        role: PoolRole,
        network: Network,
    ) -> None:
        self.candidates = candidates
        self.listen_port: int | None = None
        self._swarm = swarm
        self._config = swarm.shared_config.pool
        self._role = role
        self._places = PoolPlaces(swarm, candidates, slots, self.wake)
        self._lives = LinkLives(swarm, candidates, self._places, role, network)
        self.own = self._lives.own
        self.dialling = PeerDialling(swarm, candidates, self._lives, network)
        self._incoming = IncomingLinks(swarm, candidates, self._places, self._lives)
        self._adopted = KeptLinks(self._places.slots)
        self._filter_watch = FilterWatch(candidates.admission.ip_filter)
        self._tasks: anyio.abc.TaskGroup | None = None
        self._wake = anyio.Event()
        candidates.on_turn = self.wake

    @property
    def connecting(self) -> int:
        """Dials and handshakes under way."""
        return self._places.half_open + self._places.newcomers

    @property
    def is_dialling(self) -> bool:
        """Whether a dial is under way; who comes and says nothing does not count."""
        return self._places.half_open > 0

    @property
    def kept(self) -> KeptLinks:
        """Whose links :meth:`detach` kept, once the run has ended."""
        return self._lives.kept

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
            self._places.slots.looked(None)
            self.candidates.all_idle(self._swarm.clock())

    def wake(self) -> None:
        """Look at once whether somebody can be dialled."""
        self._wake.set()

    def add(self, addresses: Iterable[PeerAddress], source: Source) -> int:
        """Take candidates; return how many are new."""
        now = self._swarm.clock()
        new = sum(self.candidates.add(address, source, now) for address in addresses)
        if new or source & Source.MANUAL:  # who is named by hand is tried at once, known or not
            self.wake()
        return new

    def reach(self, address: PeerAddress, *, only: LinkProtocol | None = None) -> bool:
        """Dial a candidate before its turn, over one protocol only or any.

        False, and no dial, if it is not known, dialled or linked already, or at some limit.
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
        while places.may_dial_more and not waits_for_slot:
            now = clock()
            due = self.candidates.next_due(now)
            if due is None or due > now:  # nobody's link is ended for nothing
                places.slots.looked(None)
                return IDLE_DIAL_WAIT_S if due is None else min(max(due - now, 0.05), 30.0)
            waits_for_slot = not places.has_slot
            if not waits_for_slot and (address := self.candidates.next_to_dial(now, in_use)):
                self._begin_dial(tasks, address)
        places.slots.looked(self.wake if waits_for_slot else None)
        return IDLE_DIAL_WAIT_S

    def _begin_dial(
        self, tasks: anyio.abc.TaskGroup, address: PeerAddress, only: LinkProtocol | None = None
    ) -> None:
        place = self._places.take()
        tasks.start_soon(self._guard, self.dialling.dial, address, only, place)

    def accept(self, transport: Transport, address: PeerAddress, received: bytes) -> None:
        """Take an incoming connection that is for this torrent.

        ``received`` is what came so far of its handshake. It is closed if there is no room.
        """
        tasks = self._tasks
        admitted = None if tasks is None else self._incoming.admit(address)
        if tasks is None or admitted is None:
            transport.close()
        else:
            serve = self._incoming.serve
            tasks.start_soon(self._guard, serve, transport, address, received, admitted)

    async def _guard(self, work: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Run the task of one connection; a bug in it reaches no other (row F10)."""
        try:
            await work(*arguments)
        except Exception:
            logger.exception("a bug ended the task of a connection")

    # -- from metadata to payload -----------------------------------------------------------

    def detach(self) -> None:
        """Let the links outlive the run, which is to be cancelled now; :attr:`kept` has them."""
        for peer in self._swarm.peers:
            if peer.link.close_reason is None:
                peer.link.detach()

    def adopt(self, kept: KeptLinks) -> None:
        """Go on with the links of another pool; closed at the end of a run that came to nothing."""
        self._adopted = self._places.adopted = kept

    def close_adopted(self) -> None:
        """Close the links that this pool has not gone on with."""
        self._adopted.close()

    async def _serve_adopted(self, peer: Peer) -> None:
        self._adopted.hand_over(peer, self._places.slots)
        serve = self._incoming.serve_adopted if peer.is_incoming else self._lives.serve_adopted
        await serve(peer)

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
        for peer in self._filter_watch.forbidden(self._swarm.peers):
            peer.link.end("forbidden by the IP filter")
        for peer in tuple(self._swarm.peers):
            if peer.your_ip:
                self.own.public.told(peer.your_ip, peer.address.host)
                peer.your_ip = b""
            reason = why_to_end(peer, now, is_complete=is_complete)
            if reason is None:
                peer.link.flush()
            else:
                peer.link.end(reason)
