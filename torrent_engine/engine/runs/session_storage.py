"""The storage that the user chose for a Session, made once."""

from pathlib import Path

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import StorageError
from torrent_engine.base.storage import Storage
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.files.custom_files import storage_files
from torrent_engine.disk.files.file_paths import FilePaths
from torrent_engine.engine.runs.file_selection import renames


class SessionStorage:
    """Calls the factory of a configuration at most once; the object outlives each run."""

    __slots__ = ("_storage",)

    def __init__(self) -> None:
        self._storage: Storage | None = None

    def get(self, metainfo: Metainfo, save_path: Path, config: SessionConfig) -> Storage | None:
        """Return the storage; None if the torrent is kept in files.

        Raises StorageError if the factory fails.
        """
        if self._storage is None and config.storage is not None:
            paths = FilePaths(metainfo, save_path, renames(config))
            try:
                self._storage = config.storage(storage_files(metainfo, paths))
            except Exception as error:
                reason = f"the storage cannot be made: {type(error).__name__}: {error}"
                raise StorageError(save_path, reason) from error
        return self._storage
