"""Torrents that follow a public key: each newer version takes the place of the one before.

Source: BEP 46. How that is done: :class:`Replacing`.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

import anyio

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.mutable_link import MutableKey
from torrent_engine.engine.manager.followed_key import FollowedKey
from torrent_engine.engine.manager.replacing import Replacing, guarded, keep
from torrent_engine.engine.session.session import Session
from torrent_engine.net.dht.mutable_torrents import ENOUGH_COPIES, FoundTorrent, Publication
from torrent_engine.protocol.dht.mutable_torrent import MutableTorrent

logger = logging.getLogger(__name__)

FIRST_LOOKUP_S: Final = 30.0  # ours: after the start, when the DHT has been entered


class PublishedTorrents(Protocol):
    """What keys publish; see :class:`MutableTorrents`."""

    async def find(self, key: MutableKey) -> FoundTorrent | None:
        """Return the newest version. Raises TorrentEngineError."""

    async def store(self, torrent: MutableTorrent) -> Publication:
        """Give a version to nodes again. Raises TorrentEngineError."""


@dataclass(frozen=True, slots=True)
class _Followed:
    """A torrent of the list, and the key that it follows."""

    session: Session
    record: FollowedKey


class MutableTorrentFollower:
    """Looks for newer versions at intervals, and replaces the torrents that have one."""

    def __init__(
        self,
        replacing: Replacing,
        published: Callable[[], PublishedTorrents | None],
        *,
        interval_s: float,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        """Prepare; ``published`` returns what keys publish, None while there is no DHT."""
        self._replacing = replacing
        self._published = published
        self._interval_s = interval_s
        self._sleep = sleep
        self._last: dict[MutableKey, MutableTorrent] = {}
        """What was found last: it is given to nodes again if they have lost it."""

    async def run(self) -> None:
        """Look for newer versions at intervals, until cancelled."""
        await self._sleep(min(FIRST_LOOKUP_S, self._interval_s))
        while True:
            await self._replacing.advance()
            await guarded(self.look_up)
            await self._sleep(self._interval_s)

    async def look_up(self) -> None:
        """Look up each key that a running torrent follows, one after the other."""
        published = self._published()
        if published is None:
            return
        for key, current in self._current().items():
            if self._replacing.is_wanted(current.session):
                await guarded(partial(self._look_up, published, key, current))

    async def _look_up(
        self, published: PublishedTorrents, key: MutableKey, current: _Followed
    ) -> None:
        try:
            found = await self._find(published, key)
            if found is not None and self._replacing.is_wanted(current.session):
                await self._take(current, found)
        except TorrentEngineError as error:
            logger.info("%s: %s", key, error)

    def _current(self) -> dict[MutableKey, _Followed]:
        """Return the torrent of each key that is in use, whatever waits to replace it."""
        current: dict[MutableKey, _Followed] = {}
        for each in self._followed():
            if each.record.replaces is None:
                known = current.get(each.record.key)
                if known is None or known.record.sequence < each.record.sequence:
                    current[each.record.key] = each
        return current

    def _followed(self) -> list[_Followed]:
        return [
            _Followed(session, record)
            for session in self._replacing.torrents.ordered
            if (record := FollowedKey.read(session.user_data)) is not None
        ]

    async def _find(self, published: PublishedTorrents, key: MutableKey) -> MutableTorrent | None:
        """Return the newest version, and keep it in the DHT if few nodes have it (BEP 44)."""
        found, last = await published.find(key), self._last.get(key)
        newest = None if found is None else found.torrent
        if newest is None or (last is not None and last.sequence > newest.sequence):
            newest = last
        if newest is not None:
            self._last[key] = newest
            if found is None or found.torrent != newest or found.copies <= ENOUGH_COPIES:
                await published.store(newest)
        return newest

    async def _take(self, current: _Followed, found: MutableTorrent) -> None:
        """Begin with a version if it is newer than those that are here."""
        session, record = current.session, current.record
        is_same = self._replacing.torrents.named(found.info_hash) is session
        if found.sequence <= record.sequence and not is_same:
            return
        if is_same:
            if found.sequence > record.sequence:
                keep(session, replace(record, sequence=found.sequence))
            return
        for newer, waiting in list(self._replacing.waiting(session.info_hash)):
            if not isinstance(waiting, FollowedKey) or waiting.key != record.key:
                continue
            if waiting.sequence >= found.sequence:
                return
            await self._replacing.drop(newer)
        if self._replacing.is_wanted(session):
            await self._begin(current, found)

    async def _begin(self, current: _Followed, found: MutableTorrent) -> None:
        """Fetch the metadata of a newer version, beside the present one."""
        old = current.session
        trackers = tuple(url for tier in old.tracker_tiers() for url in tier)
        magnet = Magnet(found.info_hash, name=old.name, trackers=trackers)
        record = FollowedKey(current.record.key, found.sequence, old.info_hash)
        logger.info("%s: version %d is %s", old.name, found.sequence, found.info_hash.hex())
        await self._replacing.begin(old, magnet, record)
