"""The schedule of one peer source over all torrents.

What is due when is decided by ``policy/peers/discovery_schedule.py``.
"""

import random
from collections.abc import Awaitable, Callable

from torrent_engine.base.ids import InfoHash
from torrent_engine.engine.discovery.discovery_member import DiscoveryMember
from torrent_engine.engine.timers import Alarm
from torrent_engine.policy.peers.candidate import Source
from torrent_engine.policy.peers.discovery_schedule import DiscoverySchedule, RoundIntervals


class ScheduledRounds:
    """The torrents of one source; they join and leave at any time."""

    def __init__(
        self,
        source: Source,
        pace: RoundIntervals,
        *,
        clock: Callable[[], float],
        rng: random.Random,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._named_by = source
        self._clock = clock
        self._members: dict[InfoHash, DiscoveryMember] = {}
        self._schedule = DiscoverySchedule(pace, rng)
        self._alarm = Alarm(sleep)

    def join(self, info_hash: InfoHash, member: DiscoveryMember) -> None:
        """Include a torrent from now on."""
        self._members[info_hash] = member
        self._schedule.join(info_hash, needs_peers=member.needs_peers, now=self._clock())
        self._alarm.ring()

    def leave(self, info_hash: InfoHash) -> None:
        """Leave a torrent out from now on."""
        self._members.pop(info_hash, None)
        self._schedule.leave(info_hash, now=self._clock())

    def hurry(self, info_hash: InfoHash) -> None:
        """Schedule a torrent as soon as the source allows."""
        self._schedule.hurry(info_hash, now=self._clock())
        self._alarm.ring()

    def _ended(self, info_hash: InfoHash, member: DiscoveryMember, *, reached: int) -> None:
        """Plan the next round of a torrent; ``reached`` is how many took the announce."""
        found = member.end_round(self._named_by)
        self._plan(info_hash, member, is_empty=not reached or (member.needs_peers and not found))

    def _plan(self, info_hash: InfoHash, member: DiscoveryMember, *, is_empty: bool) -> None:
        now, needs_peers = self._clock(), member.needs_peers
        self._schedule.ended(info_hash, is_empty=is_empty, needs_peers=needs_peers, now=now)
