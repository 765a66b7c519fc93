"""Adding torrents to a manager, new ones and those that are there already."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from torrent_engine.base.config import ManagerConfig, SessionConfig, torrent_limits
from torrent_engine.base.errors import SessionError, TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.manager.followed_key import FollowedKey
from torrent_engine.engine.manager.queue import QueueController
from torrent_engine.engine.manager.registry import Registry
from torrent_engine.engine.manager.torrent_list import TorrentList
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.membership import Membership
from torrent_engine.engine.session.merging import merge_trackers
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.session.torrent_loader import TorrentSource, load_torrent


@dataclass(frozen=True, slots=True)
class Added:
    """The torrent that was asked for, whether it is new or was there already."""

    session: Session
    is_new: bool


class SessionMaker:
    """Makes the Sessions of one manager; the queue holds them until it is their turn."""

    def __init__(
        self, shared: SharedResources, queue: QueueController, membership: Membership
    ) -> None:
        self._shared = shared
        self._queue = queue
        self._membership = membership
        self._folders: dict[str, Path] = {}
        """Most torrents share one; a Path is a kilobyte."""

    async def make(
        self, source: Metainfo | Magnet | InfoHash, save_path: str, config: SessionConfig
    ) -> Session:
        """Return a Session that is not started yet."""
        session = await Session.create(
            source,
            self._shared,
            save_path=self._folders.setdefault(save_path, Path(save_path)),
            config=config,
            membership=self._membership,
        )
        if self._queue.has_limits:
            session.admin.hold()
        return session


class Adding:
    """Reads torrents, and starts those that are not there yet."""

    def __init__(
        self,
        config: ManagerConfig,
        shared: SharedResources,
        torrents: TorrentList,
        registry: Registry,
        maker: SessionMaker,
    ) -> None:
        self._config = config
        self._shared = shared
        self._torrents = torrents
        self._registry = registry
        self._maker = maker
        self._starting: dict[InfoHash, anyio.Event] = {}
        """What is set when a torrent that was just added has started, or could not."""

    async def add(
        self,
        source: TorrentSource,
        save_path: str | os.PathLike[str] | None,
        config: SessionConfig,
        *,
        priority: int,
        position: int | None,
        user_data: Mapping[str, str],
    ) -> Added:
        """Add a torrent and start it; one that is there already gets the trackers of both."""
        limits = torrent_limits(self._config.shared.max_torrent_bytes)
        torrent = await load_torrent(
            source, lambda: self._shared.http, limits, dht=lambda: self._shared.dht
        )
        if (known := await self._find(torrent)) is not None:
            merge_trackers(known, torrent)
            if (record := _followed(torrent)) and FollowedKey.read(known.user_data) is None:
                known.set_user_data(record.kept(known.user_data))
            return Added(known, is_new=False)
        self._check_room()
        self._shared.owners.check(config.owner)
        folder = os.fspath(self._config.save_path if save_path is None else save_path)
        session = await self._maker.make(torrent, folder, config)
        self._starting[session.info_hash] = started = anyio.Event()
        try:
            self._registry.add(session, priority, position)
            if (record := _followed(torrent)) is not None:
                user_data = record.kept(user_data)
            if user_data:
                session.set_user_data(user_data)
            await session.start()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._take_back(session)
            raise
        finally:
            if self._starting.get(session.info_hash) is started:
                del self._starting[session.info_hash]
            started.set()
        self._shared.session_jobs.added(torrent)
        self._registry.store.changed(torrent.info_hash)
        return Added(session, is_new=True)

    async def _take_back(self, session: Session) -> None:
        """Remove a torrent that could not be started, from the database as well."""
        await session.close()
        if self._torrents.get(session.info_hash) is session:
            self._registry.remove(session.info_hash)
            with suppress(TorrentEngineError):  # tried again soon
                await self._registry.store.remove(session.info_hash)

    async def _find(self, torrent: Metainfo | Magnet) -> Session | None:
        """Return the Session of a torrent that is there, has started, and does not leave."""
        while (known := self._torrents.find(torrent)) is not None:
            key = known.info_hash
            settled = self._registry.left(key) or self._starting.get(key)
            if settled is None:
                return known
            await settled.wait()
        return None

    def _check_room(self) -> None:
        """Raise SessionError if there are as many torrents as there may be."""
        self._registry.check_open()
        limit = self._config.max_torrents
        if limit and len(self._torrents) >= limit:
            raise SessionError(f"there are {limit} torrents already, and no more may be")


def _followed(torrent: Metainfo | Magnet) -> FollowedKey | None:
    """Return the public key that a link says the torrent follows (BEP 46)."""
    if isinstance(torrent, Metainfo) or torrent.updates is None:
        return None
    return FollowedKey(torrent.updates, torrent.sequence)


def chosen_config(config: SessionConfig, **changes: object) -> SessionConfig:
    """Return the configuration with those changes that are given."""
    given = {name: value for name, value in changes.items() if value}
    return replace(config, **given) if given else config  # type: ignore[arg-type]
