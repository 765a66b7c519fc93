"""The files of all open torrents of a process, and which of them each may write to.

Paths are compared as the file system does, with symbolic links resolved. Several torrents may share
a file; a torrent that writes to it has it exclusively.
"""

import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from threading import RLock

from torrent_engine.base.errors import FileInUseError
from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.filesystem import NameFoldings
from torrent_engine.disk.state_paths import StatePaths, above, folded


class Listing:
    """The files of one open storage."""

    def __init__(self, storage: StorageManager, save: Callable[[], Awaitable[None]]) -> None:
        self.storage = storage
        self.save = save
        """Saves its new files in the database."""
        self.base = os.path.realpath(storage.save_path)
        self.writes: frozenset[int] = frozenset()
        """Files that it may write to while pieces of them are missing."""
        self.lacks: Callable[[int], bool] = lambda _: True
        """Whether it lacks pieces of a file."""
        self.is_claimed = False
        self._has_links = bool(storage.links)
        tops = {storage.paths.parts(index)[:1] for index in storage.listed(frozenset())}
        self.tops = frozenset(folded(self._real(top)) for top in tops | storage.links)

    @property
    def info_hash(self) -> InfoHash:
        """Info-hash of the torrent."""
        return self.storage.metainfo.info_hash

    def path(self, index: int) -> str:
        """Return the real path of a file."""
        return self._real(self.storage.paths.parts(index))

    def _real(self, parts: tuple[str, ...]) -> str:
        path = os.path.join(self.base, *parts)  # noqa: PTH118 - a Path each takes longer
        return os.path.realpath(path) if self._has_links else path


class FileRegistry:
    """Thread-safe registry of open storages; calls may block on the file system."""

    def __init__(self, foldings: NameFoldings, state_folder: Path | None = None) -> None:
        """Create an empty one; no torrent gets files in the state folder."""
        self._state = StatePaths(state_folder)
        self.sessions: set[InfoHash] = set()
        """Torrents of this process, open or not."""
        self._foldings = foldings
        self._lock = RLock()
        self._by_top: dict[str, set[Listing]] = {}
        self._by_ancestor: dict[str, set[Listing]] = {}
        """Keyed by each folder above a top-level path."""

    def enter(self, storage: StorageManager, save: Callable[[], Awaitable[None]]) -> Listing:
        """Register an open storage until :meth:`leave`; ``save`` saves its new files."""
        listing = Listing(storage, save)
        with self._lock:
            for index, key in self._keys(listing):
                index.setdefault(key, set()).add(listing)
        return listing

    def leave(self, listing: Listing) -> None:
        """Unregister a storage; may be called twice."""
        with self._lock:
            for index, key in self._keys(listing):
                listings = index.get(key, set())
                listings.discard(listing)
                if not listings:
                    index.pop(key, None)

    def claim(
        self, listing: Listing, writes: AbstractSet[int], lacks: Callable[[int], bool]
    ) -> None:
        """Record which files a torrent may write to from now on.

        Raises FileInUseError, and records nothing, if another torrent that has claimed its files
        lists one of them, or writes to one that this torrent has whole. StorageError if one of
        ``writes`` lies in the state folder.
        """
        if self._state.is_near(listing.base, listing.tops):
            self._state.refuse(listing.base, map(listing.path, writes))
        with self._lock:
            for other in self._overlapping(listing):
                if other.is_claimed:
                    self._check(listing, writes, other)
            listing.writes, listing.lacks, listing.is_claimed = frozenset(writes), lacks, True

    def _check(self, listing: Listing, writes: AbstractSet[int], other: Listing) -> None:
        for mine, theirs in self._common(listing, listing.storage.listed(), other):
            is_written = theirs in other.writes and other.lacks(theirs)
            if mine in writes or is_written:
                raise FileInUseError(listing.path(mine), other.info_hash)

    def unsaved(
        self, listing: Listing, writes: AbstractSet[int]
    ) -> list[Callable[[], Awaitable[None]]]:
        """Return the ``save`` functions of torrents that may share files with this one.

        Those with the same paths, and those that have one of the files ``writes`` by another path:
        a folder may be mounted twice.
        """
        with self._lock:
            others = dict.fromkeys(self._overlapping(listing))
            mine = _inodes(listing, writes)
            for other in self._others(listing) if mine else ():
                if not mine.isdisjoint(_inodes(other, other.storage.owned.unstamped())):
                    others[other] = None
            return _saves(others)

    def unsaved_at(
        self, info_hash: InfoHash | None, paths: Iterable[Path]
    ) -> list[Callable[[], Awaitable[None]]]:
        """Return the ``save`` functions of torrents that may have one of these paths.

        That of ``info_hash`` is left out.
        """
        wanted = {folded(os.path.realpath(path)) for path in paths}
        with self._lock:
            found = self._listings_above(wanted)
        return _saves(other for other in found if other.info_hash != info_hash)

    def listed_by_others(self, listing: Listing, indices: Iterable[int]) -> set[int]:
        """Return the files of a torrent that another open torrent shares."""
        mine = list(indices)
        with self._lock:
            return {
                index
                for other in self._overlapping(listing)
                for index, _ in self._common(listing, mine, other)
            }

    def check_places(self, info_hash: InfoHash, base: Path, paths: Iterable[Path]) -> None:
        """Raise FileInUseError if another open torrent has one of these paths, below ``base``.

        StorageError if one lies in the state folder.
        """
        real = {os.path.realpath(path): path for path in paths}
        self._state.refuse(os.path.realpath(base), real)
        wanted = {folded(key): path for key, path in real.items()}
        with self._lock:
            for other in self._listings_above(wanted):
                if other.info_hash != info_hash:
                    self._check_paths(wanted, other)

    def _check_paths(self, wanted: Mapping[str, Path], other: Listing) -> None:
        for index in other.storage.listed():
            path = wanted.get(folded(other.path(index)))
            if path is not None and self._is_one(os.path.realpath(path), other.path(index)):
                raise FileInUseError(path, other.info_hash)

    def _listings_above(self, keys: Iterable[str]) -> list[Listing]:
        """Return the torrents with a top-level path that is one of these, or above one."""
        found: dict[Listing, None] = {}
        for path in keys:
            for folder in (path, *above(path)):
                found.update(dict.fromkeys(self._by_top.get(folder, ())))
        return list(found)

    def _others(self, listing: Listing) -> set[Listing]:
        return set().union(*self._by_top.values()) - {listing}

    def _keys(self, listing: Listing) -> Iterator[tuple[dict[str, set[Listing]], str]]:
        for top in listing.tops:
            yield self._by_top, top
            for folder in above(top):
                yield self._by_ancestor, folder

    def _overlapping(self, listing: Listing) -> list[Listing]:
        """Return other torrents that may share files."""
        found = dict.fromkeys(self._listings_above(listing.tops))
        for top in listing.tops:
            found.update(dict.fromkeys(self._by_ancestor.get(top, ())))
        found.pop(listing, None)
        return list(found)

    def _common(
        self, listing: Listing, indices: Iterable[int], other: Listing
    ) -> Iterator[tuple[int, int]]:
        """Yield the index pairs of shared files."""
        mine = {folded(listing.path(index)): index for index in indices}
        for theirs in other.storage.listed():
            path = other.path(theirs)
            index = mine.get(folded(path))
            if index is not None and self._is_one(listing.path(index), path):
                yield index, theirs

    def _is_one(self, path: str, other: str) -> bool:
        """Return whether two paths that differ only in case or composition are the same file."""
        if path == other:
            return True
        folding = self._foldings.of(Path(path).parent)
        return folding.key(Path(path).parts) == folding.key(Path(other).parts)


def _saves(listings: Iterable[Listing]) -> list[Callable[[], Awaitable[None]]]:
    return [each.save for each in listings if each.storage.owned.has_unsaved]


def _inodes(listing: Listing, indices: AbstractSet[int]) -> set[tuple[int, int]]:
    """Return the device and inode of those files that are there."""
    if not listing.storage.is_on_disk or not indices:
        return set()
    found = listing.storage.stamps.present(indices)
    return {(stamp.device, stamp.inode) for stamp in found.values()}
