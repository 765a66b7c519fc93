"""The state folder, in which no torrent has files.

Whoever writes there has torrents of his choice restored at the next start, or a token of his own.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from torrent_engine.base.errors import StorageError
from torrent_engine.codec.paths import COARSEST

OURS: Final = frozenset({"blocklists", "created", "journals", "locks", "stream", "torrents"})
"""Its folders; a save path may be another folder in it, which the user made."""


class StatePaths:
    """Detection of paths in the state folder."""

    def __init__(self, folder: Path | None) -> None:
        """None: there is no such folder."""
        self._folder = folder

    def is_near(self, base: str, tops: Iterable[str]) -> bool:
        """Return whether files below these paths, :func:`folded` ones, may lie in the folder."""
        keys = [f"{top}/" for top in tops]
        return any(
            key.startswith(place) or place.startswith(key)
            for place in self._places(base)
            for key in keys
        )

    def refuse(self, base: str, paths: Iterable[str]) -> None:
        """Raise StorageError for a path in the state folder, of real ones below a real ``base``.

        Blocking. Paths are compared as by the coarsest file system.
        """
        places = list(self._places(base))
        below = f"{folded(base)}/"
        users = {place for place in places if _is_users(below.removeprefix(place))}
        for path in paths if places else ():
            key = f"{folded(path)}/"
            if any(key.startswith(place) for place in places if place not in users):
                raise StorageError(path, "lies in the state folder of the engine")

    def _places(self, base: str) -> Iterator[str]:
        """Yield the folder as it is called, and as it is among the folders above ``base``."""
        if self._folder is None:
            return
        yield f"{folded(os.path.realpath(self._folder))}/"
        for each in (base, *above(base)):  # one of them may be mounted twice
            with suppress(OSError):
                if os.path.samefile(each, self._folder):  # noqa: PTH121 - no Path of each
                    yield f"{folded(each)}/"


def _is_users(rest: str) -> bool:
    """Return whether the rest of a save path below the state folder is a folder of the user's."""
    return not rest.startswith("/") and rest.partition("/")[0] not in {"", *OURS}


def folded(path: str) -> str:
    """Return what is equal for paths that some file system takes for one."""
    return "/".join(COARSEST.key(Path(path).parts))


def above(path: str) -> Iterator[str]:
    """Yield the folders that a path is in, the innermost first."""
    parent = os.path.dirname(path)  # noqa: PTH120 - a Path each is a kilobyte
    while parent != path:
        yield parent
        path, parent = parent, os.path.dirname(parent)  # noqa: PTH120
