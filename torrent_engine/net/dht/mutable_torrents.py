"""Torrents that keys publish in the DHT: looked up, published, and kept there.

Source: BEP 46. Nodes forget an item after two hours (BEP 44).
"""

from dataclasses import dataclass
from typing import Final

import anyio

from torrent_engine.base.errors import ConfigError, NetworkError
from torrent_engine.base.ids import InfoHash, NodeId
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.mutable_link import MutableKey, MutableLink
from torrent_engine.net.dht.service import DhtService
from torrent_engine.protocol.dht.events import DhtEvent, ItemFound, LookupEnded
from torrent_engine.protocol.dht.items import MutableItem, mutable_target
from torrent_engine.protocol.dht.mutable_torrent import MutableTorrent

LOOKUP_TIMEOUT_S: Final = 60.0  # ours: to enter the DHT, and for a lookup in it
ENOUGH_COPIES: Final = 8  # BEP 44: with more of the newest version nobody else need store it
MAX_REFUSALS: Final = 8  # ours: those that are shown


@dataclass(frozen=True, slots=True)
class FoundTorrent:
    """The newest version that nodes have."""

    torrent: MutableTorrent
    copies: int
    """How many nodes have it; at most, since older versions count too."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A version that was given to nodes."""

    torrent: MutableTorrent
    stored_at: tuple[str, ...]
    """The nodes that took it, as ``host:port``."""
    refusals: tuple[str, ...] = ()
    """The nodes that did not, and why."""


class MutableTorrents:
    """Lookups and stores of published torrents through one DHT service."""

    def __init__(self, dht: DhtService, *, timeout_s: float = LOOKUP_TIMEOUT_S) -> None:
        self._dht = dht
        self._timeout_s = timeout_s

    async def find(self, key: MutableKey) -> FoundTorrent | None:
        """Return the newest version of a torrent; None if no node has one.

        Raises NetworkError if the DHT cannot be entered in time, RemoteProtocolError if what the
        key has signed names no torrent.
        """
        item, copies = await self.newest_item(key)
        return None if item is None else FoundTorrent(MutableTorrent.of(item), copies)

    async def newest_item(self, key: MutableKey) -> tuple[MutableItem | None, int]:
        """Return the newest item of a key, and how many nodes have one; it may be no torrent's.

        Raises NetworkError if the DHT cannot be entered in time.
        """
        newest: list[MutableItem] = []

        def on_event(event: DhtEvent) -> None:
            item = event.item if isinstance(event, ItemFound) else None
            if item is not None and (not newest or item.sequence > newest[-1].sequence):
                newest.append(item)

        await self._enter()
        target, ends = NodeId(mutable_target(key.public_key, key.salt)), list[DhtEvent]()
        with anyio.move_on_after(self._timeout_s):
            ends = await self._dht.look_up(
                lambda node, now: node.get(target, salt=key.salt, now=now), on_event
            )
        copies = sum(end.found for end in ends if isinstance(end, LookupEnded))
        return (newest[-1] if newest else None), copies

    async def store(self, torrent: MutableTorrent, *, cas: int | None = None) -> Publication:
        """Give a version to the closest nodes; with ``cas`` only in place of that version.

        Raises NetworkError if the DHT cannot be entered in time.
        """
        await self._enter()
        ends: list[DhtEvent] = []
        with anyio.move_on_after(self._timeout_s):
            ends = await self._dht.look_up(
                lambda node, now: node.put_mutable(torrent.item, cas=cas, now=now)
            )
        lookups = [end for end in ends if isinstance(end, LookupEnded)]
        refusals = [f"{each.node}: {each.message}" for end in lookups for each in end.refusals]
        stored_at = tuple(str(node.address) for end in lookups for node in end.stored_at)
        return Publication(torrent, stored_at, tuple(refusals[:MAX_REFUSALS]))

    async def _enter(self) -> None:
        with anyio.move_on_after(self._timeout_s):
            await self._dht.wait_ready()
            return
        raise NetworkError("no node of the DHT answered in time")


class MutableTorrentPublisher:
    """Publishes torrents with one private key: each version replaces the one before."""

    def __init__(self, torrents: MutableTorrents, seed: bytes, *, salt: bytes = b"") -> None:
        """``seed`` is the Ed25519 seed, 32 bytes; ValueError for another length."""
        self._torrents = torrents
        self._seed = seed
        self.key = MutableKey(MutableTorrent.sign(seed, InfoHash(bytes(20)), 0).item.key, salt)
        """What readers need; ``str(key)`` is their link."""

    async def publish(
        self, info_hash: InfoHash, *, sequence: int | None = None, cas: int | None = None
    ) -> Publication:
        """Publish a version of the torrent.

        ``sequence`` is by default one more than that of the newest version that nodes have; the
        same torrent again keeps its number. ``cas`` is the version that it must replace, by default
        the newest. Raises ConfigError if a newer version is there than these allow, and as
        :class:`MutableTorrents` does.
        """
        newest, _ = await self._torrents.newest_item(self.key)
        torrent = self._next(newest, info_hash, sequence)
        found = None if newest is None else newest.sequence
        if cas is not None and found not in {None, cas, torrent.sequence}:
            raise ConfigError(f"cas: the newest version is {found}, not {cas}")
        return await self._torrents.store(torrent, cas=found if cas is None else cas)

    def _next(
        self, newest: MutableItem | None, info_hash: InfoHash, sequence: int | None
    ) -> MutableTorrent:
        salt = self.key.salt
        if newest is None:
            return MutableTorrent.sign(self._seed, info_hash, sequence or 0, salt=salt)
        same = MutableTorrent.sign(self._seed, info_hash, newest.sequence, salt=salt)
        if same.item.value == newest.value and sequence in {None, newest.sequence}:
            return same
        if sequence is not None and sequence <= newest.sequence:
            raise ConfigError(
                f"sequence: version {sequence} cannot replace version {newest.sequence}"
            )
        chosen = newest.sequence + 1 if sequence is None else sequence
        return MutableTorrent.sign(self._seed, info_hash, chosen, salt=salt)


async def resolve_link(text: str, dht: DhtService | None) -> Magnet:
    """Return the magnet link of the torrent that a link to a public key leads to now.

    Raises MagnetError if it is no such link, ConfigError without a DHT, NetworkError if nobody
    there knows the torrent, RemoteProtocolError if what is published names none.
    """
    link = MutableLink.parse(text)
    if dht is None:
        raise ConfigError("the DHT is switched off, and a link to a public key (BEP 46) needs it")
    found = await MutableTorrents(dht).find(link.key)
    if found is None:
        raise NetworkError("no node of the DHT has a torrent of this key (BEP 46)")
    return Magnet.published(link, found.torrent.info_hash, found.torrent.sequence)
