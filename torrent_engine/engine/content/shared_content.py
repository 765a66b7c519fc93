"""Files of the same content in all torrents of a process, by the roots of their hash trees.

Source: BEP 52; the same ``pieces root`` is the same content, whatever the length of the pieces.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import Final, NamedTuple, Protocol

import anyio.to_thread

from torrent_engine.base.ids import SHA256_BYTES, InfoHash
from torrent_engine.codec.metainfo import V2Part
from torrent_engine.engine.content.piece_sharing import OpenSource
from torrent_engine.net.sockets.fairness import LOOP_TURN

MAX_LEFT: Final = 256  # ours: torrents that left and are remembered for a while

ContentKey = tuple[bytes, int]
"""The root of a file and its length."""
Keys = Mapping[ContentKey, None]
"""An ordered set of them."""


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

    def arrived(self, files: Sequence[int], span: range, source: "Twin") -> None:
        """Use these bytes of some equal files, which are at another place now."""

    def look_at(self, keys: Keys) -> None:
        """Look for sources of what is missing of some groups of files."""


class Twin(NamedTuple):
    """One of several files of the same content."""

    holder: ContentHolder
    file: int


EqualFiles = dict[ContentHolder, Sequence[int]]
"""Files of the same content, by their torrents."""


class SharedContent:
    """Which files of the torrents that run have the same content."""

    def __init__(self, note: Callable[[Iterable[bytes]], None] = lambda _: None) -> None:
        """``note`` gets the roots of each torrent that joins, in a worker thread."""
        self._note = note
        self._holders: dict[ContentHolder, dict[ContentKey, None]] = {}
        """The groups that each torrent has files in."""
        self._groups: dict[ContentKey, EqualFiles] = {}
        self._left: deque[InfoHash] = deque(maxlen=MAX_LEFT)

    async def join(self, holder: ContentHolder) -> None:
        """Add a torrent; it and those with files of the same content look for sources then."""
        others = tuple(self._holders)
        self._holders[holder] = {}
        with suppress(ValueError):
            self._left.remove(holder.info_hash)
        found = await anyio.to_thread.run_sync(partial(self._look, holder, others))
        met: dict[ContentHolder, dict[ContentKey, None]] = {}
        for key, group in found.items():
            for each in self._add(key, group):
                met.setdefault(each, {})[key] = None
            if LOOP_TURN.is_over:
                await LOOP_TURN.pass_on()
        for each, keys in met.items():
            if each in self._holders:
                each.look_at(keys)

    def _add(self, key: ContentKey, group: EqualFiles) -> EqualFiles:
        """Add files to their group; return those of torrents that did not leave meanwhile."""
        if not group.keys() <= self._holders.keys():
            group = {each: files for each, files in group.items() if each in self._holders}
        known = self._groups.setdefault(key, group)
        if known is not group:
            known.update(group)
        for each in group:
            self._holders[each][key] = None
        return group

    def _look(
        self, holder: ContentHolder, others: Iterable[ContentHolder]
    ) -> dict[ContentKey, EqualFiles]:
        self._note(root for (root, _), _ in _files(holder))
        return _common(holder, others)

    async def leave(self, holder: ContentHolder) -> None:
        """Remove a torrent; harmless for one that never joined. Not to be cancelled."""
        keys = self._holders.pop(holder, None)
        if keys is None:
            return
        self._left.append(holder.info_hash)
        for key in keys:
            group = self._groups[key]
            del group[holder]
            if not group:
                del self._groups[key]
            if LOOP_TURN.is_over:
                await LOOP_TURN.pass_on()

    def has_left(self, info_hash: InfoHash) -> bool:
        """Return whether a torrent was here lately: its run may not have ended yet."""
        return info_hash in self._left

    def keys(self, holder: ContentHolder) -> Keys:
        """Return the groups that files of a torrent are in."""
        return self._holders.get(holder, {})

    def key(self, holder: ContentHolder, file: int) -> ContentKey | None:
        """Return the group that a file of a torrent is in; None if it has no equal."""
        part = holder.part
        if part is None:
            return None
        key = _content_key(part, file)
        return key if key in self._holders.get(holder, {}) else None

    def group(self, key: ContentKey | None) -> Mapping[ContentHolder, Sequence[int]]:
        """Return the files of a group, by their torrents; none for None."""
        return {} if key is None else self._groups.get(key, {})


def _common(holder: ContentHolder, others: Iterable[ContentHolder]) -> dict[ContentKey, EqualFiles]:
    """Return the files of a torrent that have equals in it or in others, and those."""
    mine: dict[ContentKey, dict[ContentHolder, list[int]]] = {}
    for key, file in _files(holder):
        mine.setdefault(key, {holder: []})[holder].append(file)
    shared: set[ContentKey] = set()
    if not holder.is_complete:
        shared = {key for key, group in mine.items() if len(group[holder]) > 1}
    for other in others:
        if holder.is_complete and other.is_complete:
            continue
        for key, file in _files(other):
            if key in mine:
                mine[key].setdefault(other, []).append(file)
                shared.add(key)
    return {
        key: {each: tuple(files) for each, files in group.items()}
        for key, group in mine.items()
        if key in shared
    }


def _files(holder: ContentHolder) -> Iterator[tuple[ContentKey, int]]:
    """Iterate over the files of a torrent that have roots."""
    part = holder.part
    if part is None:
        return
    none = bytes(SHA256_BYTES)
    for file in range(len(part.lengths)):
        key = _content_key(part, file)
        if key[0] != none:
            yield key, file


def _content_key(part: V2Part, file: int) -> ContentKey:
    return part.roots[file * SHA256_BYTES : (file + 1) * SHA256_BYTES], part.lengths[file]
