"""Newer versions of torrents: each takes the place of the one before, in the same folder.

A newer version is added beside the older one, which still runs, until its metadata is there. Then
the older one is removed from the list, not from the disk, and the newer one begins with a check:
what is equal stays, and files that only the older one had stay, too.
"""

import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import anyio
import anyio.to_thread

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.paths import PathParts
from torrent_engine.engine.manager.followed_feed import FollowedFeed
from torrent_engine.engine.manager.followed_key import FollowedKey
from torrent_engine.engine.manager.torrent_list import TorrentList
from torrent_engine.engine.session.admin import SessionAdmin
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.engine.stats import FileStats

if TYPE_CHECKING:
    from torrent_engine.engine.manager.adding import Added

logger = logging.getLogger(__name__)

IDLE: Final = frozenset({State.STOPPED, State.PAUSED, State.ERROR})
"""No newer version is looked for in these states."""

VersionRecord: TypeAlias = FollowedKey | FollowedFeed
"""What a torrent says of the older version that it is to replace."""
_KINDS: Final = (FollowedKey, FollowedFeed)


class AddNewer(Protocol):
    """How a manager adds a torrent; see :meth:`TorrentManager.add`."""

    async def __call__(
        self,
        source: Magnet | Metainfo,
        *,
        save_path: Path,
        config: SessionConfig,
        priority: int,
        position: int,
        user_data: dict[str, str],
    ) -> "Added":
        """Add a torrent. Raises TorrentEngineError."""


@dataclass(frozen=True, slots=True)
class ReplacingHost:
    """What is needed of a TorrentManager."""

    torrents: TorrentList
    add: AddNewer
    remove: Callable[[InfoHash], Awaitable[None]]
    """Removes a torrent, not its files."""
    is_closing: Callable[[], bool]


class Replacing:
    """Adds newer versions, and removes each older one when the newer one can begin."""

    def __init__(self, host: ReplacingHost) -> None:
        self._host = host
        self.torrents = host.torrents
        """All torrents of the manager."""
        self._is_time = anyio.Event()
        self._resting: set[InfoHash] = set()
        """Torrents that their users paused or stopped, and that newer versions wait for."""
        self._advancing = anyio.Lock()

    async def run(self) -> None:
        """Let newer versions begin until cancelled."""
        await self.advance()
        while True:
            await self._is_time.wait()
            self._is_time = anyio.Event()
            await self.advance()

    def state_changed(self, session: SessionAdmin, old: State, new: State) -> None:
        """Note that a torrent has stopped, perhaps since its metadata is there, or goes on."""
        if new is State.STOPPED is not old or session.info_hash in self._resting:
            self._is_time.set()

    def waiting(self, older: InfoHash) -> Iterator[tuple[Session, VersionRecord]]:
        """Yield the newer versions that wait for their metadata to replace a torrent."""
        for session, record in self._waiting():
            if record.replaces == older:
                yield session, record

    def _waiting(self) -> Iterator[tuple[Session, VersionRecord]]:
        for session in self.torrents.ordered:
            for record in _records(session.user_data):
                if record.replaces is not None:
                    yield session, record

    def is_replaced_or_waits(self, session: Session) -> bool:
        """Return whether a newer version waits for this one, or this one is such a version."""
        own = session.info_hash
        return any(
            record.replaces == own or waiting is session for waiting, record in self._waiting()
        )

    def is_wanted(self, session: Session) -> bool:
        """Return whether a torrent may be replaced: it is in the list, and runs.

        To be asked after each wait: its user may have removed, stopped or paused it meanwhile.
        """
        return self.torrents.get(session.info_hash) is session and session.state not in IDLE

    async def drop(self, session: Session) -> None:
        """Remove a version that is replaced before it began."""
        await self._host.remove(session.info_hash)

    async def begin(self, old: Session, newer: Magnet | Metainfo, record: VersionRecord) -> None:
        """Add a newer version beside the present one; ``record`` says what it replaces."""
        added = await self._host.add(
            newer,
            save_path=old.final_path,
            config=_metadata_config(old.config),
            priority=self.torrents.priority(old.info_hash),
            position=self.torrents.position(old.info_hash) + 1,
            user_data=record.kept(old.user_data),
        )
        if not added.is_new:  # the user has it already
            keep(added.session, replace(record, replaces=None))
            if added.session is not old:  # a hybrid has two info-hashes
                await self._host.remove(old.info_hash)

    async def advance(self) -> None:
        """Let each newer version begin whose metadata is there; one that cannot is logged.

        It waits for as long as the older one is paused or stopped.
        """
        async with self._advancing:
            self._resting.clear()
            for session, record in list(self._waiting()):
                is_ready = session.facts is not None and not self._host.is_closing()
                if record.replaces is None or not is_ready:
                    continue
                old = self.torrents.get(record.replaces)
                if old is not None and (old.is_paused_by_user or old.state is State.STOPPED):
                    self._resting.add(old.info_hash)
                else:
                    await guarded(partial(self._replace, session, record, record.replaces))

    async def _replace(self, new: Session, record: VersionRecord, old_hash: InfoHash) -> None:
        old = self.torrents.get(old_hash)
        overwrite = False
        if old is not None:
            overwrite = await _is_covered(new, old)
            await _skip_as_before(new, old)
            await self._host.remove(old_hash)
        if new.state is not State.STOPPED:  # it was not a link, or a restart was in between
            await new.stop()
        await new.start_download(overwrite=overwrite)
        keep(new, replace(record, replaces=None))


def keep(session: Session, record: VersionRecord) -> None:
    """Write a record to those of a torrent."""
    session.set_user_data(record.kept(session.user_data))


async def guarded(work: Callable[[], Awaitable[None]]) -> None:
    """Do something; a fault of it ends nothing else."""
    try:
        await work()
    except TorrentEngineError as error:
        logger.warning("a torrent was not updated: %s", error)
    except Exception:
        logger.exception("internal error in the update of a torrent")


def _records(user_data: Mapping[str, str]) -> Iterator[VersionRecord]:
    for kind in _KINDS:
        if (record := kind.read(user_data)) is not None:
            yield record


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


async def _is_covered(new: Session, old: Session) -> bool:
    """Return whether each file of the newer version is the older one's, or not there yet.

    Then all that is in its way was downloaded by the older one, and may be overwritten: not what
    merely lies where the older one would have put a file. Where that cannot be seen nothing is.
    """

    def is_covered(own: set[Path]) -> bool:
        wanted = (new.save_path / file.path for file in new.files())
        return all(path in own or not os.path.lexists(path) for path in wanted)

    try:
        own = await old.own_files()
        return await anyio.to_thread.run_sync(is_covered, own)
    except (OSError, RuntimeError, MemoryError, TorrentEngineError) as error:  # or no thread
        logger.warning("%s: what is there cannot be seen: %s", new.name, error)
        return False


async def _skip_as_before(new: Session, old: Session) -> None:
    """Let each file have the priority that one of its path had in the older version."""
    chosen = {path: file.priority for file, path in _with_paths(old)}
    changed: dict[int, int] = {
        file.index: chosen[path]
        for file, path in _with_paths(new)
        if chosen.get(path, file.priority) != file.priority
    }
    if changed:
        await new.set_file_priorities(changed)


def _with_paths(session: Session) -> Iterator[tuple[FileStats, PathParts]]:
    """Iterate over the files of a torrent, each with its path in the torrent."""
    if (metainfo := session.metainfo) is not None:
        yield from ((file, metainfo.files.path(file.index)) for file in session.files())
