"""Which of a torrent's files have another name than it says, and since when.

They were renamed, Windows cannot have their names (row A9), or their file system takes two names
for one. Names stay as the torrent has them wherever they can be had and told apart (row A10).
"""

from pathlib import Path as FilePath

from torrent_engine.base.errors import StateDatabaseError
from torrent_engine.codec.paths import COARSEST, EXACT, Path, colliding, resolve_collisions
from torrent_engine.disk.filesystem import NameFoldings
from torrent_engine.disk.state import StateStore
from torrent_engine.disk.state_records import read_torrent_row
from torrent_engine.disk.storage import StorageManager


async def settle_names(storage: StorageManager, store: StateStore, foldings: NameFoldings) -> None:
    """Give every file a place of its own below the save path.

    A torrent that was kept there before keeps the names that it has there, whatever a look at
    the file system says now. To be called before the storage is opened. Raises MetainfoError if
    more than 500 names collide.
    """
    used = await _used_names(storage, store)
    if used is not None:
        storage.rename({**used, **storage.renames})
    else:
        await storage.in_thread(lambda: _tell_apart(storage, foldings))


def _tell_apart(storage: StorageManager, foldings: NameFoldings) -> None:
    storage.rename(renames_at(storage.save_path, stored_paths(storage), foldings))


async def _used_names(storage: StorageManager, store: StateStore) -> dict[int, Path] | None:
    """Return the files that have another name where they are kept; None if they are not there."""
    info_hash = storage.metainfo.info_hash
    query = "SELECT * FROM torrents WHERE info_hash = ?"
    row = await store.run(lambda db: db.execute(query, (info_hash,)).fetchone())
    try:
        record = read_torrent_row(row) if row is not None else None
    except StateDatabaseError:
        record = await store.load(info_hash)  # that sets a damaged row aside
    if record is None or record.save_path != str(storage.save_path.absolute()):
        return None
    return dict(record.renames)


def stored_paths(storage: StorageManager) -> dict[int, Path]:
    """Return the path of each file that is kept as one, as it is called so far."""
    files, renames = storage.metainfo.files, storage.renames
    return {
        index: renames.get(index) or files.path(index)
        for index in range(len(files))
        if files.is_stored(index)
    }


def renames_at(folder: FilePath, paths: dict[int, Path], foldings: NameFoldings) -> dict[int, Path]:
    """Return the files that need another name below a folder, and that name; blocking."""
    usable = [foldings.usable(path) for path in paths.values()]
    is_doubtful = colliding(usable, COARSEST)
    folding = foldings.of(folder.absolute()) if is_doubtful else EXACT
    resolved = resolve_collisions(usable, folding)
    renamed = zip(paths.items(), resolved, strict=True)
    return {index: new for (index, old), new in renamed if new != old}
