"""Files of the same content in all torrents of a process, by the roots of their hash trees.

Source: BEP 52; the same ``pieces root`` is the same content, whatever the length of the pieces.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import Final, NamedTuple, Protocol

import anyio.to_thread

from torrent_engine.base.ids import SHA256_BYTES, InfoHash
from torrent_engine.codec.metainfo import V2Part
from torrent_engine.engine.content.piece_sharing import OpenSource

MAX_LEFT: Final = 256  # ours: torrents that left and are remembered for a while

ContentKey = tuple[bytes, int]
"""The root of a file and its length."""


class ContentHolder(Protocol):
    """A torrent whose files may be sources of those of others."""

    @property
    def info_hash(self) -> InfoHash:
        """Its id."""

    @property
    def part(self) -> V2Part | None:
        """The roots and lengths of its files; None: it has no roots."""

    @property
    def is_complete(self) -> bool:
        """Whether it looks for no source."""

    def has(self, file: int, span: range) -> bool:
        """Return whether these bytes of a file are verified and here."""

    def has_part(self, file: int) -> bool:
        """Return whether a piece of a file is verified and here."""

    async def read(self, file: int, start: int, into: memoryview) -> None:
        """Fill ``into`` from an offset of a file. Raises StorageError or SessionError."""

    def lend(self, file: int) -> AbstractAsyncContextManager[OpenSource]:
        """Allow a file to be opened meanwhile; SessionError if that is not possible."""

    def arrived(self, file: int, span: range, source: "Twin") -> None:
        """Use these bytes of a file, which are at another place now."""

    def look_again(self) -> None:
        """Look for sources of all that is missing."""


class Twin(NamedTuple):
    """One of several files of the same content."""

    holder: ContentHolder
    file: int


class SharedContent:
    """Which files of the torrents that run have the same content."""

    def __init__(self, note: Callable[[Iterable[bytes]], None] = lambda _: None) -> None:
        """``note`` gets the roots of each torrent that joins, in a worker thread."""
        self._note = note
        self._holders: dict[ContentHolder, None] = {}
        self._groups: dict[ContentKey, dict[Twin, None]] = {}
        self._joined: dict[ContentHolder, dict[int, ContentKey]] = {}
        self._left: deque[InfoHash] = deque(maxlen=MAX_LEFT)

    async def join(self, holder: ContentHolder) -> None:
        """Add a torrent; it and those with files of the same content look for sources then."""
        others = tuple(self._holders)
        self._holders[holder] = None
        with suppress(ValueError):
            self._left.remove(holder.info_hash)
        found = await anyio.to_thread.run_sync(partial(self._look, holder, others))
        met = {holder: None}
        for key, twins in found.items():
            group = self._groups.setdefault(key, {})
            for twin in twins:
                if twin.holder in self._holders:  # some may have left meanwhile
                    group[twin] = met[twin.holder] = None
                    self._joined.setdefault(twin.holder, {})[twin.file] = key
        for each in met:
            each.look_again()

    def _look(
        self, holder: ContentHolder, others: Iterable[ContentHolder]
    ) -> dict[ContentKey, list[Twin]]:
        self._note(root for (root, _), _ in _files(holder))
        return _common(holder, others)

    def leave(self, holder: ContentHolder) -> None:
        """Remove a torrent; harmless for one that never joined."""
        if holder in self._holders:
            del self._holders[holder]
            self._left.append(holder.info_hash)
        for file, key in self._joined.pop(holder, {}).items():
            group = self._groups[key]
            group.pop(Twin(holder, file), None)
            if not group:
                del self._groups[key]

    def has_left(self, info_hash: InfoHash) -> bool:
        """Return whether a torrent was here lately: its run may not have ended yet."""
        return info_hash in self._left

    def twins(self, holder: ContentHolder, file: int) -> Iterable[Twin]:
        """Return the files with the content of one, itself among them if there are others."""
        key = self._joined.get(holder, {}).get(file)
        return () if key is None else self._groups[key]

    def groups(self, holder: ContentHolder) -> Iterator[tuple[Twin, ...]]:
        """Iterate over the sets of equal files that files of a torrent are in."""
        for key in set(self._joined.get(holder, {}).values()):
            yield tuple(self._groups[key])


def _common(holder: ContentHolder, others: Iterable[ContentHolder]) -> dict[ContentKey, list[Twin]]:
    """Return the files of a torrent that have equals in it or in others, and those."""
    mine: dict[ContentKey, list[Twin]] = {}
    for key, file in _files(holder):
        mine.setdefault(key, []).append(Twin(holder, file))
    shared: set[ContentKey] = set()
    if not holder.is_complete:
        shared = {key for key, twins in mine.items() if len(twins) > 1}
    for other in others:
        if holder.is_complete and other.is_complete:
            continue
        for key, file in _files(other):
            if key in mine:
                mine[key].append(Twin(other, file))
                shared.add(key)
    return {key: mine[key] for key in shared}


def _files(holder: ContentHolder) -> Iterator[tuple[ContentKey, int]]:
    """Iterate over the files of a torrent that have roots."""
    part = holder.part
    if part is None:
        return
    none, roots = bytes(SHA256_BYTES), part.roots
    for file, length in enumerate(part.lengths):
        root = roots[file * SHA256_BYTES : (file + 1) * SHA256_BYTES]
        if root != none:
            yield (root, length), file
