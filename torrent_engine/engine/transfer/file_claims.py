"""What one run may write to: no file that another torrent lists, in this process or another."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from torrent_engine.base.errors import FileInUseError, TorrentEngineError
from torrent_engine.disk.files.file_registry import FileRegistry, Listing
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.resume.keeper import ResumeKeeper
from torrent_engine.disk.resume.shared_files import SharedFile, shared_files
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.transfer.progress import DownloadProgress

if TYPE_CHECKING:
    from torrent_engine.disk.file_stamps import FileStamp

logger = logging.getLogger(__name__)


class FileClaims:
    """The place of one open storage among all torrents."""

    def __init__(
        self,
        registry: FileRegistry,
        store: StateStore,
        storage: StorageManager,
        progress: DownloadProgress,
        keeper: ResumeKeeper,
        *,
        overwrite: bool,
    ) -> None:
        self.is_claimed = False
        """Whether the run may write."""
        self.changes = anyio.Lock()
        """Held while what is to be written changes, so that a claim is of all of it."""
        self._registry = registry
        self._store = store
        self._storage = storage
        self._progress = progress
        self._keeper = keeper
        self._overwrite = overwrite
        self._listing: Listing | None = None

    async def enter(self) -> None:
        """List the files of the storage, which is open; to be left with :meth:`leave`."""

        def enter() -> None:
            self._listing = self._registry.enter(self._storage, self._keeper.commit)

        await self._storage.in_thread(enter)

    def leave(self) -> None:
        """Release the files for other torrents."""
        if self._listing is not None:
            self._registry.leave(self._listing)
            self._listing = None

    async def claim(self) -> None:
        """Claim the files before the first write; does nothing the second time.

        Raises FileInUseError if another torrent has one that is to be written to, and what
        ``StorageManager.claim_files`` does.
        """
        if self.is_claimed:
            return  # without a wait: seeding counts from the change of the state
        async with self.changes:
            if not self.is_claimed:
                await self._claim()

    async def _claim(self) -> None:
        await self.check(self._storage.skipped)
        until_saved = self._storage.write_hooks.until_saved
        if until_saved is not None and self._lacks_empty_files():
            await until_saved()  # or a kill would leave files of which nobody knows whose
        await self._storage.in_thread(self._storage.claim_files)
        self.is_claimed = True

    def _lacks_empty_files(self) -> bool:
        """Return whether the claim may make files."""
        storage, lengths = self._storage, self._storage.metainfo.layout.lengths
        if 0 not in lengths:
            return False
        kept = storage.owned.present | storage.skipped
        return any(not length and index not in kept for index, length in enumerate(lengths))

    async def check(self, skipped: AbstractSet[int]) -> None:
        """Raise FileInUseError if files are to be written to that another torrent has."""
        listing, writes = self._listing, set[int]()
        if listing is None:
            return
        unsaved: list[Callable[[], Awaitable[None]]] = []

        def claim() -> None:
            writes.update(i for i in self._storage.listed(skipped) if self._progress.lacks(i))
            self._registry.claim(listing, writes, self._progress.lacks)
            unsaved.extend(self._registry.unsaved(listing, writes))

        await self._storage.in_thread(claim)
        for save in unsaved:
            with suppress(TorrentEngineError):  # its owner reports the error itself
                await save()
        for file in await self._shared(writes):
            is_kept = file.is_managed or file.info_hash in self._registry.sessions
            if is_kept or not self._overwrite:
                path = self._storage.path_of(file.file_index)
                raise FileInUseError(path, file.info_hash, may_overwrite=not is_kept)

    async def shared(self) -> set[int]:
        """Return the torrent's files that others list, too: they stay when it is removed."""
        own = self._storage.owned.own()
        found = {file.file_index for file in await self._shared(own)}
        listing = self._listing
        if listing is not None:
            await self._storage.in_thread(
                lambda: found.update(self._registry.listed_by_others(listing, own))
            )
        for index in sorted(found):
            logger.info("%s stays: another torrent lists it", self._storage.path_of(index))
        return found

    async def _shared(self, indices: Iterable[int]) -> list[SharedFile]:
        """Return which of the files other torrents have, by the database."""
        stamps: list[Mapping[int, FileStamp]] = []
        await self._storage.in_thread(lambda: stamps.append(self._storage.stamps.present(indices)))
        return await shared_files(self._store, self._storage.metainfo.info_hash, stamps[0])
