"""Files of other torrents of the state folder that one may have, too.

They are of torrents that it names as similar, or of one of its collections (BEP 38), whether they
run or not; or of torrents that do not run, with the same root (BEP 52).
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import anyio.to_thread

from torrent_engine.base.config import STORED_BENCODE_LIMITS
from torrent_engine.base.errors import StateDatabaseError, TorrentEngineError
from torrent_engine.base.ids import SHA1_BYTES, InfoHash
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.files.file_paths import FilePaths, path_in_use
from torrent_engine.disk.local_files import LocalFile, common_end, found_file
from torrent_engine.disk.resume.known_roots import KnownRoots
from torrent_engine.disk.state.files import TorrentCopies
from torrent_engine.disk.state.records import TorrentRecord
from torrent_engine.disk.state.store import StateStore

MAX_TORRENTS: Final = 1000  # ours: similar ones whose files are looked at
MAX_FILES: Final = 200_000  # ours: of all of them
MAX_ALIKE: Final = 8  # ours: that are tried for one file
_log = logging.getLogger(__name__)


class KnownFile(NamedTuple):
    """One file of a torrent, complete as far as is known."""

    path: str
    length_bytes: int
    root: bytes | None
    """Of its hash tree (BEP 52)."""
    piece_bytes: int
    pieces: bytes
    """The SHA-1 of those pieces that are wholly inside; empty unless it begins with a piece."""


async def similar_files(store: StateStore, metainfo: Metainfo) -> Mapping[int, list[str]]:
    """Return where each file of a torrent may be, by its number, the best first.

    A file of the same size counts, unless its hashes say that it is another one: those first whose
    hashes are the same, then those whose path ends in the most of the same names. Nothing is
    known of what the files hold now.
    """
    keys = await anyio.to_thread.run_sync(_similar, store.copies, metainfo)
    records = [
        # It may be complete before that is saved.
        replace(record, progress=None) if store.is_in_use(record.info_hash) else record
        for record in await _load_all(store, keys)
    ]
    if not records:
        return {}
    return await anyio.to_thread.run_sync(lambda: _matches(metainfo, records))


async def equal_torrents(
    store: StateStore, known: KnownRoots, metainfo: Metainfo
) -> list[InfoHash]:
    """Return the other torrents of the manager with files of the same roots (BEP 52)."""
    roots = roots_of(metainfo)
    find = partial(known.torrents_with, roots, store.copies)
    keys = await anyio.to_thread.run_sync(find) if roots else []
    own = {metainfo.info_hash, *_hashes(metainfo)}
    return [key for key in keys if key not in own]


async def equal_files(
    store: StateStore, keys: Iterable[InfoHash], metainfo: Metainfo
) -> Mapping[int, list[str]]:
    """Return where else each file of a v2 or hybrid torrent is, by its number.

    Those are complete files with the same root, of those torrents that do not run. Nothing is known
    of what they hold now.
    """
    resting = (key for key in keys if not store.is_in_use(key))
    records = await _load_all(store, islice(resting, MAX_TORRENTS))
    if not records:
        return {}
    return await anyio.to_thread.run_sync(lambda: _matches(metainfo, records, only_same=True))


def roots_of(metainfo: Metainfo) -> list[bytes]:
    """Return the roots of the files of a torrent; none of a v1 torrent."""
    if metainfo.v2 is None:
        return []
    roots = map(metainfo.v2.root, range(len(metainfo.v2.lengths)))
    return [root for root in roots if root is not None]


async def _load_all(store: StateStore, keys: Iterable[InfoHash]) -> list[TorrentRecord]:
    """Return what is known of some torrents; nothing if the database cannot be read."""
    records: list[TorrentRecord] = []
    for key in keys:
        try:
            record = await store.load(key)
        except StateDatabaseError as error:
            _log.warning("files of other torrents are not looked for: %s", error)
            return []
        if record is not None:
            records.append(record)
    return records


def found_files(paths: Iterable[str], length_bytes: int) -> Iterator[LocalFile]:
    """Iterate over those paths at which there is a regular file of a length; blocking."""
    for path in paths:
        file = found_file(path)
        if file is not None and file.size_bytes == length_bytes:
            yield file


def _similar(copies: TorrentCopies, metainfo: Metainfo) -> list[InfoHash]:
    """Return which torrents of the state folder are similar to one; blocking."""
    named = {each[:SHA1_BYTES] for each in metainfo.similar.info_hashes}
    collections = frozenset(metainfo.similar.collections)
    if not named and not collections:
        return []
    own = {metainfo.info_hash, *_hashes(metainfo)}
    others = (key for key in copies.info_hashes() if key not in own)
    found = (key for key in others if key in named or _is_similar(copies, key, named, collections))
    return list(islice(found, MAX_TORRENTS))


def _is_similar(
    copies: TorrentCopies, key: InfoHash, named: set[bytes], collections: frozenset[str]
) -> bool:
    """Return whether a torrent is of a collection, or its other info-hash is named."""
    data = copies.metainfo_bytes(key)
    may_be_named = bool(named) and b"meta version" in data
    if not may_be_named and not (collections and b"collections" in data):
        return False
    other = _parsed(data)
    if other is None:
        return False
    return not (
        collections.isdisjoint(other.similar.collections) and named.isdisjoint(_hashes(other))
    )


def _hashes(metainfo: Metainfo) -> Iterator[bytes]:
    """Iterate over the info-hashes of a torrent, that of v2 cut to 20 bytes."""
    yield metainfo.info_hash
    if metainfo.v2 is not None:
        yield metainfo.v2.info_hash.truncated


def _parsed(data: bytes) -> Metainfo | None:
    with suppress(TorrentEngineError):
        return Metainfo.from_bytes(data, limits=STORED_BENCODE_LIMITS)
    return None


def _matches(
    metainfo: Metainfo, records: Sequence[TorrentRecord], *, only_same: bool = False
) -> dict[int, list[str]]:
    """Return the files of these torrents that may be those of another one; blocking."""
    by_size: dict[int, list[KnownFile]] = {}
    for file in islice(_known_files(records), MAX_FILES):
        by_size.setdefault(file.length_bytes, []).append(file)
    found: dict[int, list[str]] = {}
    for index in islice(range(len(metainfo.files)), MAX_FILES):
        alike = by_size.get(metainfo.layout.lengths[index])
        if alike and metainfo.files.is_stored(index):
            own, names = _known(metainfo, index, ""), path_in_use(metainfo, index, {})
            ranked = [(_is_same(own, each), each.path) for each in alike]
            best = sorted(
                (not same, -common_end(Path(path).parts, names), path)
                for same, path in ranked
                if same or (same is None and not only_same)
            )
            if best:
                found[index] = [path for _, _, path in best[:MAX_ALIKE]]
    return found


def _known_files(records: Iterable[TorrentRecord]) -> Iterator[KnownFile]:
    for record in records:
        metainfo = _parsed(record.metainfo_bytes)
        if metainfo is None:
            continue
        metainfo = metainfo.known_by(record.info_hash)
        have = _pieces_of(record, metainfo)
        with suppress(TorrentEngineError):
            paths = FilePaths(metainfo, Path(record.save_path), record.renames)
            for index, length in enumerate(metainfo.layout.lengths):
                pieces = metainfo.layout.pieces_of(index, metainfo.geometry)
                is_whole = have is None or all(map(have.has, pieces))
                if length and is_whole and metainfo.files.is_stored(index):
                    yield _known(metainfo, index, str(paths.path(index)))


def _pieces_of(record: TorrentRecord, metainfo: Metainfo) -> Bitfield | None:
    """Return the pieces that a torrent had at last; None if that is not known."""
    progress = record.progress
    if progress is None or progress.piece_count != metainfo.piece_count:
        return None
    with suppress(TorrentEngineError):
        return Bitfield.from_bytes(progress.have, progress.piece_count)
    return None


def _known(metainfo: Metainfo, index: int, path: str) -> KnownFile:
    start, length = metainfo.layout.offsets[index], metainfo.layout.lengths[index]
    piece_bytes = metainfo.geometry.piece_bytes
    first, hashes = start // piece_bytes * SHA1_BYTES, b""
    if start % piece_bytes == 0:
        hashes = metainfo.piece_hashes[first : first + length // piece_bytes * SHA1_BYTES]
    root = None if metainfo.v2 is None else metainfo.v2.root(index)
    return KnownFile(path, length, root, piece_bytes, hashes)


def _is_same(one: KnownFile, other: KnownFile) -> bool | None:
    """Return whether hashes say that two files of one length are the same; None: they do not."""
    if one.root is not None and other.root is not None:
        return one.root == other.root
    if one.piece_bytes == other.piece_bytes and one.pieces and other.pieces:
        return one.pieces == other.pieces
    return None
