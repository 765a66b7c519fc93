"""Torrents that follow a public key: each newer version takes the place of the one before.

Source: BEP 46. The metadata of a newer version is fetched while the older one still runs. Then the
older one is removed from the list, not from the disk, and the newer one begins in the same folder
with a check: what is equal stays, and files that only the older one had stay, too.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

import anyio
import anyio.to_thread

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.mutable_link import MutableKey
from torrent_engine.engine.manager.followed_key import FollowedKey
from torrent_engine.engine.manager.torrent_list import TorrentList
from torrent_engine.engine.session.admin import SessionAdmin
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.net.dht.mutable_torrents import ENOUGH_COPIES, FoundTorrent, Publication
from torrent_engine.protocol.dht.mutable_torrent import MutableTorrent

if TYPE_CHECKING:
    from pathlib import Path

    from torrent_engine.engine.manager.adding import Added

logger = logging.getLogger(__name__)

FIRST_LOOKUP_S: Final = 30.0  # ours: after the start, when the DHT has been entered
_IDLE: Final = frozenset({State.STOPPED, State.PAUSED, State.ERROR})


class PublishedTorrents(Protocol):
    """What keys publish; see :class:`MutableTorrents`."""

    async def find(self, key: MutableKey) -> FoundTorrent | None:
        """Return the newest version. Raises TorrentEngineError."""

    async def store(self, torrent: MutableTorrent) -> Publication:
        """Give a version to nodes again. Raises TorrentEngineError."""


class AddNewer(Protocol):
    """How a manager adds a torrent; see :meth:`TorrentManager.add`."""

    async def __call__(
        self,
        source: Magnet,
        *,
        save_path: "Path",
        config: SessionConfig,
        priority: int,
        position: int,
        user_data: dict[str, str],
    ) -> "Added":
        """Add a torrent. Raises TorrentEngineError."""


@dataclass(frozen=True, slots=True)
class FollowerHost:
    """What is needed of a TorrentManager."""

    torrents: TorrentList
    add: AddNewer
    remove: Callable[[InfoHash], Awaitable[None]]
    """Removes a torrent, not its files."""
    is_closing: Callable[[], bool]
    published: Callable[[], PublishedTorrents | None]
    """Returns what keys publish; None while there is no DHT."""


@dataclass(frozen=True, slots=True)
class _Followed:
    """A torrent of the list, and the key that it follows."""

    session: Session
    record: FollowedKey


class MutableTorrentFollower:
    """Looks for newer versions at intervals, and replaces the torrents that have one."""

    def __init__(
        self,
        host: FollowerHost,
        *,
        interval_s: float,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._host = host
        self._torrents = host.torrents
        self._interval_s = interval_s
        self._sleep = sleep
        self._has_stopped = anyio.Event()
        self._advancing = anyio.Lock()
        self._last: dict[MutableKey, MutableTorrent] = {}
        """What was found last: it is given to nodes again if they have lost it."""

    async def run(self) -> None:
        """Look for newer versions until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._look_up_periodically)
            while True:
                await self._has_stopped.wait()
                self._has_stopped = anyio.Event()
                await self._guarded(self.advance)

    def state_changed(self, session: SessionAdmin, old: State, new: State) -> None:
        """Note that a torrent has stopped, perhaps since its metadata is there."""
        del session
        if new is State.STOPPED is not old:
            self._has_stopped.set()

    async def _look_up_periodically(self) -> None:
        await self._guarded(self.advance)
        await self._sleep(min(FIRST_LOOKUP_S, self._interval_s))
        while True:
            await self._guarded(self.advance)
            await self._guarded(self.look_up)
            await self._sleep(self._interval_s)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something; a fault of it ends nothing else."""
        try:
            await work()
        except TorrentEngineError as error:
            logger.warning("a torrent was not updated: %s", error)

    # -- newer versions ---------------------------------------------------------------------------

    async def look_up(self) -> None:
        """Look up each key that a running torrent follows, one after the other."""
        published = self._host.published()
        if published is None:
            return
        for key, current in self._current().items():
            if current.session.state in _IDLE:
                continue
            try:
                found = await self._find(published, key)
                if found is not None:
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
            for session in self._torrents.ordered
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
        if found.sequence <= record.sequence and found.info_hash != session.info_hash:
            return
        if found.info_hash == session.info_hash:
            if found.sequence > record.sequence:
                _keep(session, replace(record, sequence=found.sequence))
            return
        for each in self._followed():
            if each.record.replaces != session.info_hash or each.record.key != record.key:
                continue
            if each.record.sequence >= found.sequence:
                return
            await self._host.remove(each.session.info_hash)
        await self._begin(current, found)

    async def _begin(self, current: _Followed, found: MutableTorrent) -> None:
        """Fetch the metadata of a newer version, beside the present one."""
        old = current.session
        trackers = tuple(url for tier in old.tracker_tiers() for url in tier)
        magnet = Magnet(found.info_hash, name=old.name, trackers=trackers)
        record = FollowedKey(current.record.key, found.sequence, old.info_hash)
        logger.info("%s: version %d is %s", old.name, found.sequence, found.info_hash.hex())
        added = await self._host.add(
            magnet,
            save_path=old.final_path,
            config=_metadata_config(old.config),
            priority=self._torrents.priority(old.info_hash),
            position=self._torrents.position(old.info_hash) + 1,
            user_data=record.kept(old.user_data),
        )
        if not added.is_new:  # the user has it already
            _keep(added.session, replace(record, replaces=None))
            await self._host.remove(old.info_hash)

    # -- replacing --------------------------------------------------------------------------------

    async def advance(self) -> None:
        """Let each newer version begin whose metadata is there."""
        async with self._advancing:
            await self._advance()

    async def _advance(self) -> None:
        for each in self._followed():
            is_ready = each.session.facts is not None and not self._host.is_closing()
            if each.record.replaces is not None and is_ready:
                await self._replace(each, each.record.replaces)

    async def _replace(self, new: _Followed, old_hash: InfoHash) -> None:
        old = self._torrents.get(old_hash)
        overwrite = False
        if old is not None:
            overwrite = old.config.overwrite or await _is_covered(new.session, old)
            await self._host.remove(old_hash)
        if new.session.state is not State.STOPPED:  # a restart was in between
            await new.session.stop()
        await new.session.start_download(overwrite=overwrite)
        _keep(new.session, replace(new.record, replaces=None))


def _metadata_config(config: SessionConfig) -> SessionConfig:
    """Return the configuration of a version whose metadata is fetched; its files are others."""
    return replace(
        config,
        metadata_only=True,
        overwrite=False,
        file_priorities=None,
        renamed_files=(),
        magnet_priorities=(),
    )


def _keep(session: Session, record: FollowedKey) -> None:
    session.set_user_data(record.kept(session.user_data))


async def _is_covered(new: Session, old: Session) -> bool:
    """Return whether each file of the newer version is one of the older one, or not there yet.

    Then all that is in its way was downloaded by the older one, and may be overwritten.
    """

    def is_covered() -> bool:
        own = {old.save_path / file.path for file in old.files()}
        wanted = (new.save_path / file.path for file in new.files())
        return all(path in own or not path.exists() for path in wanted)

    return await anyio.to_thread.run_sync(is_covered)
