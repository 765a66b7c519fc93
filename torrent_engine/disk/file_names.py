"""Owns which of a torrent's files get another name because their file system takes two for one.

Names stay as the torrent has them wherever they can be told apart (row A10).
"""

from torrent_engine.codec.paths import COARSEST, NameFolding, colliding, resolve_collisions
from torrent_engine.disk.filesystem import NameFoldings
from torrent_engine.disk.state import StateStore
from torrent_engine.disk.storage import StorageManager


async def settle_names(storage: StorageManager, store: StateStore, foldings: NameFoldings) -> None:
    """Give every file a place of its own on the file system of the save path.

    A torrent that was kept there before keeps the names that it has there, whatever a look at
    the file system says now. To be called before the storage is opened. Raises MetainfoError if
    more than 500 names collide.
    """
    paths = stored_paths(storage)
    twins = {list(paths)[at] for at in colliding(list(paths.values()), COARSEST)}
    if not twins:
        return
    record = await store.load(storage.metainfo.info_hash)
    if record is not None and record.save_path == str(storage.save_path.absolute()):
        used = {index: record.renames[index] for index in twins & record.renames.keys()}
        storage.rename({**used, **storage.renames})
    else:
        await storage.in_thread(
            lambda: storage.rename(renames_on(paths, foldings.of(storage.save_path.absolute())))
        )


def stored_paths(storage: StorageManager) -> dict[int, tuple[str, ...]]:
    """Return the path of each file that is kept as one, as it is called so far."""
    return {
        index: storage.renames.get(index, entry.path)
        for index, entry in enumerate(storage.metainfo.files)
        if not entry.is_pad and entry.symlink_target is None
    }


def renames_on(
    paths: dict[int, tuple[str, ...]], folding: NameFolding
) -> dict[int, tuple[str, ...]]:
    """Return the files that need another name, and that name."""
    resolved = resolve_collisions(list(paths.values()), folding)
    renamed = zip(paths.items(), resolved, strict=True)
    return {index: new for (index, old), new in renamed if new != old}
