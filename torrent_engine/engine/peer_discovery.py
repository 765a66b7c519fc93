"""Owns the search for peers without trackers: DHT and local network, asked once for all torrents.

Source: BEP 5, BEP 14, BEP 27: private torrents take no part (row B10).
"""

import random
from collections.abc import Callable
from typing import Protocol

import anyio

from torrent_engine.base.config import SharedConfig
from torrent_engine.base.errors import LocalProtocolError
from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.engine.dht_rounds import DhtRounds, PeerSource
from torrent_engine.engine.discovery_member import DiscoveryMember
from torrent_engine.engine.lsd_rounds import LsdRounds
from torrent_engine.net.binding import UNBOUND, Binding
from torrent_engine.net.lsd_service import LsdService
from torrent_engine.policy.candidate import Source


class Rounds(Protocol):
    """One source of peers, and when it is asked for which torrent."""

    def join(self, info_hash: InfoHash, member: DiscoveryMember) -> None:
        """Ask for a torrent from now on."""

    def leave(self, info_hash: InfoHash) -> None:
        """Ask for it no more."""

    def hurry(self, info_hash: InfoHash) -> None:
        """Ask for it again as soon as may be."""

    async def run(self) -> None:
        """Ask when due, until cancelled."""


class NodeSource(PeerSource, Protocol):
    """The DHT, as far as torrents talk to it."""

    def add_node(self, host: str, port: int) -> None:
        """Hear of a node."""

    def begin(self) -> None:
        """Take part in the DHT from now on; before that it is silent."""


class PeerDiscovery:
    """Run :meth:`run` in a task; torrents join and leave at any time, also before it runs."""

    def __init__(self, *sources: Rounds, dht: NodeSource | None = None) -> None:
        self._sources = sources
        self._dht = dht
        self._members: dict[InfoHash, DiscoveryMember] = {}

    async def run(self) -> None:
        """Ask all sources until cancelled."""
        async with anyio.create_task_group() as tasks:
            for source in self._sources:
                tasks.start_soon(source.run)

    def join(
        self,
        info_hash: InfoHash,
        *,
        listen_port: int,
        is_seed: Callable[[], bool],
        on_peers: Callable[[list[PeerAddress], Source], None],
        on_round: Callable[[Source, int], None] = lambda _source, _count: None,
        is_private: bool = False,
    ) -> bool:
        """Look for the peers of a torrent, and announce it, from now on.

        ``on_peers`` gets addresses and who named them, each once a round; ``on_round`` the number
        of them when a round of a source has ended. A private torrent is refused: False then, and
        nothing about it leaves this machine (row B10). Raises LocalProtocolError if it has joined
        already.
        """
        if is_private:
            return False
        if info_hash in self._members:
            raise LocalProtocolError(f"torrent {info_hash.hex()} looks for peers already")
        member = DiscoveryMember(listen_port, is_seed, on_peers, on_round)
        self._members[info_hash] = member
        if self._dht is not None:
            self._dht.begin()
        for source in self._sources:
            source.join(info_hash, member)
        return True

    def leave(self, info_hash: InfoHash) -> None:
        """Stop that at once: nobody is asked or told any more; harmless if it never joined."""
        member = self._members.pop(info_hash, None)
        if member is not None:
            member.has_left = True
            for source in self._sources:
                source.leave(info_hash)

    def hurry(self, info_hash: InfoHash) -> None:
        """Ask again as soon as each source allows: the torrent has too few peers."""
        for source in self._sources:
            source.hurry(info_hash)

    def add_dht_node(self, host: str, port: int) -> None:
        """Tell the DHT, if there is one, of a node that a torrent or a peer names."""
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
    """Return what asks the DHT, if there is one, and the local network, unless told not to.

    ``mapped_port`` is where our gateway lets peers in, if that is not where we listen.
    """
    sources: list[Rounds] = []
    if dht is not None:
        rounds = DhtRounds(dht, config.dht, clock=clock, rng=rng, mapped_port=mapped_port)
        sources.append(rounds)
    if config.lsd.enabled:
        hosts = binding.hosts(config.listen_hosts)
        service = LsdService(
            hosts, config=config.lsd, find_interfaces=binding.interfaces, clock=clock
        )
        sources.append(LsdRounds(service, config.lsd, clock=clock, rng=rng))
    return PeerDiscovery(*sources, dht=dht)
