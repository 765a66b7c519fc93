"""Paths of a torrent's files below its save path, as they are on this system."""

from collections.abc import Mapping
from pathlib import Path

from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.paths import PathParts
from torrent_engine.disk.filesystem import usable_path
from torrent_engine.disk.safe_open import check_parts
from torrent_engine.disk.system import WINDOWS_NAMES


def path_in_use(
    metainfo: Metainfo,
    index: int,
    names: Mapping[int, PathParts],
    *,
    windows: bool = WINDOWS_NAMES,
) -> PathParts:
    """Return the path that a file has, or is to have, below the save path.

    ``names`` are the files that have other names than in the torrent. If ``windows``, names that
    Windows would read otherwise are replaced: no path leads out of the save path.
    """
    return usable_path(names.get(index) or metainfo.files.path(index), windows=windows)


class FilePaths:
    """The path of each file of a torrent."""

    def __init__(
        self,
        metainfo: Metainfo,
        save_path: Path,
        renames: Mapping[int, PathParts],
        *,
        windows: bool = WINDOWS_NAMES,
    ) -> None:
        """Raise StorageError if one of ``renames`` leads out of the save path."""
        self.save_path = save_path
        self._metainfo = metainfo
        self._is_windows = windows
        self.rename(renames)

    def rename(self, renames: Mapping[int, PathParts]) -> None:
        """Set the files whose path is not the one in the torrent."""
        self._renames = {
            index: check_parts(path, windows=self._is_windows) for index, path in renames.items()
        }

    def parts(self, index: int) -> PathParts:
        """Return a file's path below the save path."""
        return path_in_use(self._metainfo, index, self._renames, windows=self._is_windows)

    def path(self, index: int) -> Path:
        """Return the full path of a file, for messages and for the user."""
        return self.save_path.joinpath(*self.parts(index))

    def folders(self) -> list[PathParts]:
        """Return the folders that hold files, the deepest first, without the save path."""
        every = map(self.parts, range(len(self._metainfo.files)))
        found = {parts[:depth] for parts in every for depth in range(1, len(parts))}
        return sorted(found, key=len, reverse=True)
