"""Trackerless peer discovery for all torrents: DHT and local service discovery.

Source: BEP 5, BEP 14, BEP 27: private torrents take no part (row B10).
"""

import random
from collections.abc import Callable
from functools import partial
from typing import Protocol

import anyio

from torrent_engine.base.config import SharedConfig
from torrent_engine.base.errors import BusyError
from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.engine.discovery.dht_rounds import DhtRounds, PeerSource
from torrent_engine.engine.discovery.discovery_member import DiscoveryMember
from torrent_engine.engine.discovery.lsd_rounds import LsdRounds
from torrent_engine.net.lsd.service import LsdService
from torrent_engine.net.sockets.binding import UNBOUND, Binding
from torrent_engine.net.sockets.keep_running import keep_running
from torrent_engine.policy.peers.candidate import Source


class Rounds(Protocol):
    """One source of peers, and when it is asked for which torrent."""

    def join(self, info_hash: InfoHash, member: DiscoveryMember) -> None:
        """Include a torrent from now on."""

    def leave(self, info_hash: InfoHash) -> None:
        """Leave a torrent out from now on."""

    def hurry(self, info_hash: InfoHash) -> None:
        """Schedule a torrent as soon as the source allows."""

    async def run(self) -> None:
        """Run rounds when they are due, until cancelled."""


class NodeSource(PeerSource, Protocol):
    """Interface of the DHT."""

    def add_node(self, host: str, port: int) -> None:
        """Ping a node that may join the routing table."""

    def begin(self) -> None:
        """Start taking part in the DHT; before that nothing is sent."""


class PeerDiscovery:
    """Run :meth:`run` in a task; torrents join and leave at any time, also before it runs."""

    def __init__(self, *sources: Rounds, dht: NodeSource | None = None) -> None:
        self._sources = sources
        self._dht = dht
        self._members: dict[InfoHash, DiscoveryMember] = {}

    def __contains__(self, info_hash: object) -> bool:
        """Return whether a torrent has joined."""
        return info_hash in self._members

    async def run(self) -> None:
        """Run all sources until cancelled; a bug in one ends no other (row F10)."""
        async with anyio.create_task_group() as tasks:
            for source in self._sources:
                tasks.start_soon(keep_running, type(source).__name__, source.run)

    def join(  # noqa: PLR0913 - keyword-only settings
        self,
        info_hash: InfoHash,
        *,
        listen_port: int,
        is_seed: Callable[[], bool],
        on_peers: Callable[[list[PeerAddress], Source], None],
        on_round: Callable[[Source, int], None] = lambda _source, _count: None,
        is_private: bool = False,
        is_claim: bool = False,
    ) -> bool:
        """Search for peers of a torrent and announce it from now on.

        ``on_peers`` gets addresses and who named them, each once a round; ``on_round`` the number
        of them when a round of a source has ended. A private torrent is refused: False then, and
        nothing about it leaves this machine (row B10). With ``is_claim`` this is the second
        info-hash of a hybrid, as some link may say it: the torrent whose own it is comes before
        it. Raises BusyError if it has joined already.
        """
        if is_private:
            return False
        before = self._members.get(info_hash)
        if before is not None and before.is_claim and not is_claim:
            self.leave(info_hash)
        elif before is not None:
            raise BusyError(info_hash.hex(), "this torrent looks for peers already")
        member = DiscoveryMember(listen_port, is_seed, on_peers, on_round, is_claim)
        self._members[info_hash] = member
        if self._dht is not None:
            self._dht.begin()
        for source in self._sources:
            source.join(info_hash, member)
        return True

    def leave(self, info_hash: InfoHash, *, is_claim: bool = False) -> None:
        """Stop searching and announcing at once; harmless if it never joined.

        With ``is_claim`` the torrent whose own info-hash it is stays.
        """
        member = self._members.get(info_hash)
        if member is not None and (member.is_claim or not is_claim):
            del self._members[info_hash]
            member.has_left = True
            for source in self._sources:
                source.leave(info_hash)

    def hurry(self, info_hash: InfoHash) -> None:
        """Schedule a torrent with too few peers as soon as each source allows."""
        for source in self._sources:
            source.hurry(info_hash)

    def add_dht_node(self, host: str, port: int) -> None:
        """Add a DHT node that a torrent or peer names; nothing happens without a DHT."""
        if self._dht is not None:
            self._dht.add_node(host, port)


def make_discovery(
    config: SharedConfig,
    *,
    dht: NodeSource | None,
    clock: Callable[[], float],
    rng: random.Random,
    binding: Binding = UNBOUND,
    mapped_port: Callable[[], int | None] = lambda: None,
) -> PeerDiscovery:
    """Build the discovery over the DHT, if there is one, and LSD, unless switched off.

    ``mapped_port`` is where our gateway lets peers in, if that is not where we listen.
    """
    sources: list[Rounds] = []
    if dht is not None:
        rounds = DhtRounds(dht, config.dht, clock=clock, rng=rng, mapped_port=mapped_port)
        sources.append(rounds)
    if config.lsd.enabled:
        hosts = binding.hosts(config.listen_hosts)
        make_service = partial(
            LsdService, hosts, config=config.lsd, find_interfaces=binding.interfaces, clock=clock
        )
        sources.append(LsdRounds(make_service, config.lsd, clock=clock, rng=rng))
    return PeerDiscovery(*sources, dht=dht)
