"""Paths of a torrent's files below its save path, after renaming."""

from collections.abc import Mapping
from pathlib import Path

from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.paths import PathParts
from torrent_engine.disk.safe_open import check_parts


class FilePaths:
    """The path of each file of a torrent."""

    def __init__(
        self, metainfo: Metainfo, save_path: Path, renames: Mapping[int, PathParts]
    ) -> None:
        """Raise StorageError if one of ``renames`` leads out of the save path."""
        self.save_path = save_path
        self._entries = metainfo.files
        self.rename(renames)

    def rename(self, renames: Mapping[int, PathParts]) -> None:
        """Set the files whose path is not the one in the torrent."""
        self._renames = {index: check_parts(path) for index, path in renames.items()}

    def parts(self, index: int) -> PathParts:
        """Return a file's path below the save path."""
        return self._renames.get(index) or self._entries.path(index)

    def path(self, index: int) -> Path:
        """Return the full path of a file, for messages and for the user."""
        return self.save_path.joinpath(*self.parts(index))

    def folders(self) -> list[PathParts]:
        """Return the folders that hold files, the deepest first, without the save path."""
        every = map(self.parts, range(len(self._entries)))
        found = {parts[:depth] for parts in every for depth in range(1, len(parts))}
        return sorted(found, key=len, reverse=True)
