"""The files that are stored under other names than in the torrent.

They were renamed, have names that are invalid on Windows (row A9), or names that their file system
treats as equal; all others keep their names (row A10). An existing file with the raw name of the
metainfo, which is cleaned for new files, keeps it.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from torrent_engine.base.errors import StateDatabaseError, StorageError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.paths import (
    COARSEST,
    EXACT,
    PathParts,
    colliding,
    raw_names,
    resolve_collisions,
    text_path,
)
from torrent_engine.disk.files.file_paths import path_in_use
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.filesystem import NameFoldings, usable_path
from torrent_engine.disk.resume.history import knows_part_file
from torrent_engine.disk.safe_open import check_parts
from torrent_engine.disk.state.records import TorrentRecord, read_torrent_row
from torrent_engine.disk.state.store import StateStore
from torrent_engine.disk.system import WINDOWS_NAMES


async def settle_names(storage: StorageManager, store: StateStore, foldings: NameFoldings) -> None:
    """Give every file a unique path below the save path.

    A torrent that was stored there before keeps its names, and its part-file. Call it before the
    storage is opened. Raises MetainfoError if more than 500 names collide. User-supplied storages
    are not affected.
    """
    if not storage.is_on_disk:
        return
    record = await _record_of_place(storage, store)
    if storage.owned.knows_part_file is None:
        storage.owned.knows_part_file = knows_part_file(record)
    if record is None:
        await storage.in_thread(lambda: _resolve_collisions(storage, foldings))
        return
    used = dict(record.renames)
    windows = foldings.is_windows
    await storage.in_thread(
        lambda: used.update(_names_of_copy(storage, store, record, windows=windows))
    )
    storage.rename(with_chosen(used, storage.renames))


def with_chosen(
    used: Mapping[int, PathParts], chosen: Mapping[int, PathParts]
) -> dict[int, PathParts]:
    """Return the names in use, with those of a configuration that are other ones.

    Names in use may be raw; a configuration has them as text, which is cleaned when it is read.
    """
    other = {
        index: path
        for index, path in chosen.items()
        if index not in used or path != text_path("/".join(used[index]))
    }
    return {**used, **other}


def recorded_names(store: StateStore, info_hash: InfoHash, folder: Path) -> dict[int, PathParts]:
    """Return the names of the files that have others than in the torrent, as stored last; blocking.

    Empty if the torrent was not stored in this folder.
    """
    record = store.copies.load(info_hash, with_metainfo=False)
    if record is None or record.save_path != str(folder.absolute()):
        return {}
    return dict(record.renames)


def name_files_as_found(
    storage: StorageManager, chosen: Mapping[int, PathParts], *, windows: bool = WINDOWS_NAMES
) -> None:
    """Use the names of existing files, or else ``chosen``; nothing is created.

    For checks; call it before the storage is opened. Blocking.
    """
    named = {index: usable_path(path, windows=windows) for index, path in chosen.items()}
    _name_files(storage, named, NameFoldings(lambda _: EXACT, windows=windows))


def _resolve_collisions(storage: StorageManager, foldings: NameFoldings) -> None:
    _name_files(storage, storage.renames, foldings)


def _name_files(
    storage: StorageManager, chosen: Mapping[int, PathParts], foldings: NameFoldings
) -> None:
    """Use the chosen names, those of existing files, and others where they cannot be.

    What is not the torrent's own name is kept as a rename, so that a later version, with other
    rules for names, finds the files.
    """
    metainfo, folder = storage.metainfo, storage.save_path
    found = found_raw_names(metainfo, folder, windows=foldings.is_windows)
    storage.rename({**found, **chosen})
    files, renames = metainfo.files, storage.renames
    wanted = {
        index: renames.get(index) or files.path(index)
        for index in range(len(files))
        if files.is_stored(index)
    }
    storage.rename(renames_at(folder, wanted, foldings))


async def _record_of_place(storage: StorageManager, store: StateStore) -> TorrentRecord | None:
    """Return what the database has of the torrent; None if it was not stored there."""
    info_hash = storage.metainfo.info_hash
    query = "SELECT * FROM torrents WHERE info_hash = ?"
    row = await store.run(lambda db: db.execute(query, (info_hash,)).fetchone())
    try:
        record = read_torrent_row(row) if row is not None else None
    except StateDatabaseError:
        record = await store.load(info_hash, with_metainfo=False)  # that sets a damaged row aside
    if record is None or record.save_path != str(storage.save_path.absolute()):
        return None
    return record


def _names_of_copy(
    storage: StorageManager, store: StateStore, record: TorrentRecord, *, windows: bool
) -> dict[int, PathParts]:
    """Return the files that have the names of the copy beside the .torrent, not of the database.

    The database may be older, as from a backup, or where its log was damaged. Blocking.
    """
    copy = store.copies.load(record.info_hash, with_metainfo=False)
    if copy is None or copy.renames == record.renames or copy.save_path != record.save_path:
        return {}
    metainfo, files, folder = storage.metainfo, storage.metainfo.files, str(storage.save_path)
    found: dict[int, PathParts] = {}
    for index in copy.renames.keys() | record.renames.keys():
        if not 0 <= index < len(files) or not files.is_stored(index):
            continue
        old, new = (
            path_in_use(metainfo, index, each.renames, windows=windows) for each in (record, copy)
        )
        with suppress(StorageError, TypeError):
            if not _exists(folder, old) and _exists(folder, check_parts(new)):
                found[index] = new
    return found


def stored_paths(storage: StorageManager) -> dict[int, PathParts]:
    """Return the current path of each stored file."""
    files, parts = storage.metainfo.files, storage.paths.parts
    return {index: parts(index) for index in range(len(files)) if files.is_stored(index)}


def renames_at(
    folder: Path, paths: dict[int, PathParts], foldings: NameFoldings
) -> dict[int, PathParts]:
    """Return the files that need other names below a folder, with these names; blocking."""
    usable = [foldings.usable(path) for path in paths.values()]
    is_doubtful = colliding(usable, COARSEST)
    folding = foldings.of(folder.absolute()) if is_doubtful else EXACT
    resolved = resolve_collisions(usable, folding)
    renamed = zip(paths.items(), resolved, strict=True)
    return {index: new for (index, old), new in renamed if new != old}


def found_raw_names(
    metainfo: Metainfo, folder: Path, *, windows: bool = WINDOWS_NAMES
) -> dict[int, PathParts]:
    """Return the existing files with the raw name of the metainfo instead of the cleaned one.

    The same for folders: missing files in such a folder get their cleaned names there. If
    ``windows``, nothing is looked for at a name that Windows would read otherwise. Blocking.
    """
    files = metainfo.files
    cleaned = [index for index in files.cleaned() if files.is_stored(index)]
    if not cleaned:
        return {}
    raw = [raw_names(files.raw_path(index), windows=windows) for index in range(len(files))]
    names = _NamesOnDisk(str(folder), filter(None, raw))
    found: dict[int, PathParts] = {}
    for index in cleaned:
        path, raw_path = path_in_use(metainfo, index, {}, windows=windows), raw[index]
        if raw_path and len(raw_path) == len(path):
            chosen = names.choose(path, raw_path)
            if chosen != path:
                found[index] = chosen
    return found


class _NamesOnDisk:
    """Chooses the existing one of two names, for each element of a path."""

    def __init__(self, folder: str, raw_paths: Iterable[PathParts]) -> None:
        self._folder = folder
        self._raw = {path[:depth] for path in raw_paths for depth in range(1, len(path) + 1)}
        self._is_there: dict[PathParts, bool] = {}

    def choose(self, cleaned: PathParts, raw: PathParts) -> PathParts:
        """Return the path with existing names, and cleaned ones for missing elements.

        A name that another file has in the metainfo is not used.
        """
        chosen: PathParts = ()
        for name, raw_name in zip(cleaned, raw, strict=True):
            path, raw_path = (*chosen, name), (*chosen, raw_name)
            is_raw = name != raw_name and self._has(raw_path)
            chosen = raw_path if is_raw and self._is_free(path) else path
        return chosen

    def _is_free(self, path: PathParts) -> bool:
        return path in self._raw or not self._has(path)

    def _has(self, path: PathParts) -> bool:
        if path not in self._is_there:
            self._is_there[path] = _exists(self._folder, path)
        return self._is_there[path]


def _exists(folder: str, path: PathParts) -> bool:
    try:
        return os.path.lexists(os.path.join(folder, *path))  # noqa: PTH118 - may be very many
    except (OSError, ValueError):  # a name that the file system cannot have
        return False
