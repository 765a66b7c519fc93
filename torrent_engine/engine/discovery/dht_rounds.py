"""Scheduling of DHT searches, one at a time for each torrent.

Source: BEP 5. What is due when is decided by ``policy/peers/discovery_schedule.py``.
"""

import random
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import anyio
import anyio.abc
import anyio.lowlevel

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.engine.discovery.discovery_member import DiscoveryMember
from torrent_engine.engine.discovery.scheduled_rounds import ScheduledRounds
from torrent_engine.policy.peers.candidate import Source
from torrent_engine.policy.peers.discovery_schedule import RoundIntervals

SHARE_OF_AN_ANSWER: Final = 25  # ours: peers that are taken of it however many came before
NO_NODES_WAIT_S: Final = (0.02, 1.0)  # ours: until we look whether the DHT knows a node; doubled


class PeerSource(Protocol):
    """What is needed of the DHT."""

    @property
    def node_count(self) -> int:
        """Number of known nodes."""

    async def search(
        self,
        info_hash: InfoHash,
        *,
        port: int | None,
        is_seed: bool,
        on_peers: Callable[[list[PeerAddress]], None],
    ) -> int:
        """Search for peers of a torrent and announce us; return how many nodes accepted.

        It does not raise.
        """


class DhtRounds(ScheduledRounds):
    """Run :meth:`run` in a task."""

    def __init__(
        self,
        source: PeerSource,
        config: DhtConfig,
        *,
        clock: Callable[[], float],
        rng: random.Random,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        mapped_port: Callable[[], int | None] = lambda: None,
    ) -> None:
        super().__init__(Source.DHT, _pace(config), clock=clock, rng=rng, sleep=sleep)
        self._source = source
        self._mapped_port = mapped_port
        self._config = config
        self._running: dict[InfoHash, anyio.CancelScope] = {}
        self._no_nodes_wait_s = NO_NODES_WAIT_S[0]

    def leave(self, info_hash: InfoHash) -> None:
        """Leave a torrent out from now on; a round in progress ends at once."""
        super().leave(info_hash)
        if (scope := self._running.get(info_hash)) is not None:
            scope.cancel()

    async def run(self) -> None:
        """Begin rounds when they are due, until cancelled."""
        async with anyio.create_task_group() as tasks:
            while True:
                self._begin_some(tasks)
                await self._alarm.wait(self._delay_s())

    def _begin_some(self, tasks: anyio.abc.TaskGroup) -> None:
        while self._source.node_count and len(self._running) < self._config.max_rounds:
            begun = self._schedule.begin(now=self._clock())
            if not begun:
                return
            for info_hash in begun:
                self._begin(info_hash, tasks)

    def _begin(self, info_hash: InfoHash, tasks: anyio.abc.TaskGroup) -> None:
        if info_hash in self._running:  # of a torrent that left, and comes to its end just now
            self._plan(info_hash, self._members[info_hash], is_empty=True)
            return
        self._running[info_hash] = scope = anyio.CancelScope()
        tasks.start_soon(self._round, info_hash, self._members[info_hash], scope)

    async def _round(
        self, info_hash: InfoHash, member: DiscoveryMember, scope: anyio.CancelScope
    ) -> None:
        stored = 0
        try:
            with scope:
                await anyio.lowlevel.checkpoint()  # it may have left before its turn
                stored = await self._source.search(
                    info_hash,
                    port=self._mapped_port() or member.listen_port or None,
                    is_seed=member.is_seed(),
                    on_peers=lambda peers: self._take(member, peers),
                )
        finally:
            del self._running[info_hash]
        if not member.has_left:
            self._ended(info_hash, member, reached=stored)
        self._alarm.ring()

    def _take(self, member: DiscoveryMember, peers: list[PeerAddress]) -> None:
        """Deliver the peers of one answer; the lookup bounds the number of answers."""
        member.take(peers, Source.DHT, self._config.max_peers_per_round, share=SHARE_OF_AN_ANSWER)

    def _delay_s(self) -> float:
        """Return how long nothing can begin."""
        if len(self._running) >= self._config.max_rounds:
            return float("inf")  # the end of any of them rings
        now = self._clock()
        delay_s = self._schedule.next_timer(now=now) - now
        if self._source.node_count:
            self._no_nodes_wait_s = NO_NODES_WAIT_S[0]
            return delay_s
        wait_s = self._no_nodes_wait_s
        self._no_nodes_wait_s = min(2 * wait_s, NO_NODES_WAIT_S[1])
        return max(delay_s, wait_s)


def _pace(config: DhtConfig) -> RoundIntervals:
    return RoundIntervals(
        interval_s=config.announce_interval_s,
        min_interval_s=config.min_announce_interval_s,
        retry_s=config.first_retry_s,
        rejoin_s=config.first_retry_s,
        turn_s=1.0 / config.rounds_per_s,
        burst_turns=config.max_rounds,
    )
