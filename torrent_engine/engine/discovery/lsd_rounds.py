"""Scheduling of local service discovery announces.

Source: BEP 14; row C6. What is due when is decided by ``policy/peers/discovery_schedule.py``.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import anyio

from torrent_engine.base.config import LsdConfig
from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.engine.discovery.scheduled_rounds import ScheduledRounds
from torrent_engine.policy.peers.candidate import Source
from torrent_engine.policy.peers.discovery_schedule import RoundIntervals


class LocalSource(Protocol):
    """What is needed of :class:`torrent_engine.net.lsd.service.LsdService`."""

    capacity: int

    def announce(self, port: int, info_hashes: Sequence[InfoHash]) -> int:
        """Announce up to ``capacity`` torrents; return how many datagrams went. Does not raise."""

    async def run(self) -> None:
        """Receive announces until cancelled; must not raise."""


class MakeSource(Protocol):
    """Creates local discovery around the function that gets the announces of neighbours."""

    def __call__(
        self, *, on_announce: Callable[[Sequence[InfoHash], PeerAddress], None]
    ) -> LocalSource:
        """Return the source."""


class LsdRounds(ScheduledRounds):
    """Run :meth:`run` in a task.

    Nothing is opened before the first one joins: whoever has only private torrents joins no group.
    """

    def __init__(
        self,
        make_source: MakeSource,
        config: LsdConfig,
        *,
        clock: Callable[[], float],
        rng: random.Random,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._source = make_source(on_announce=self._heard)
        pace = _pace(config, self._source.capacity)
        super().__init__(Source.LSD, pace, clock=clock, rng=rng, sleep=sleep)
        self._config = config

    def _heard(self, info_hashes: Sequence[InfoHash], address: PeerAddress) -> None:
        """Deliver a peer on the local network to those torrents it announced that are ours."""
        for info_hash in info_hashes:
            if (member := self._members.get(info_hash)) is not None:
                member.take([address], Source.LSD, self._config.max_peers_per_interval)

    async def run(self) -> None:
        """Announce and receive until cancelled."""
        while not self._members:
            await self._alarm.wait(float("inf"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._source.run)
            while True:
                while begun := self._schedule.begin(now=self._clock()):
                    self._announce(begun)
                now = self._clock()
                await self._alarm.wait(self._schedule.next_timer(now=now) - now)

    def _announce(self, info_hashes: Sequence[InfoHash]) -> None:
        by_port: dict[int, list[InfoHash]] = {}
        for info_hash in info_hashes:
            by_port.setdefault(self._members[info_hash].listen_port, []).append(info_hash)
        sent = sum(self._source.announce(port, each) for port, each in by_port.items())
        for info_hash in info_hashes:
            self._ended(info_hash, self._members[info_hash], reached=sent)


def _pace(config: LsdConfig, capacity: int) -> RoundIntervals:
    return RoundIntervals(
        interval_s=config.announce_interval_s,
        min_interval_s=config.min_interval_s,
        retry_s=config.min_interval_s,
        rejoin_s=config.min_interval_s,
        turn_s=config.datagram_interval_s,
        burst_turns=config.burst_datagrams,
        gather_s=config.gather_s,
        per_turn=capacity,
    )
