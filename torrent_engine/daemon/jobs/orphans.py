"""Partial files that belong to no torrent: what a crash or a removal left in the incomplete folder.

Only the folder ``paths.incomplete`` is looked at, which is the daemon's own; where it is a folder
of downloads too, nothing is called an orphan.
"""

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from stat import S_ISDIR
from typing import Final

from anyio.to_thread import run_sync

from torrent_engine.base.errors import UnknownTorrentError
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.service.folder_looks import FolderLooks

MAX_LISTED: Final = 1_000  # ours: of one answer
MAX_COUNTED: Final = 10_000  # ours: files of one entry whose sizes are added up


@dataclass(frozen=True, slots=True)
class Orphan:
    """A file or folder that no torrent has."""

    name: str
    path: Path
    size_bytes: int
    changed_at: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class OrphanPlaces:
    """Where is looked, and what is spared."""

    incomplete: Path
    spared: Collection[Path]
    """Folders that the settings name; neither they nor what holds them is an orphan."""


class OrphanFiles:
    """Finds partial files without a torrent, and removes them on command."""

    def __init__(self, state: DaemonState, places: Callable[[], OrphanPlaces | None]) -> None:
        """``places`` returns None where there is no folder of incomplete downloads."""
        self._state = state
        self._places = places
        self._looks = FolderLooks()

    async def find(self) -> list[Orphan]:
        """Return what no torrent has, by name. Raises OSError if a disk does not answer."""
        places = self._places()
        if places is None:
            return []
        candidates = await self._looks.look("", _candidates, places)
        rows = self._state.torrents.rows()
        names = {row.about.root for row in rows}
        left = [each for each in candidates if each not in names]
        if left:
            paths = {row.settings.current_path for row in rows}
            inside = await self._looks.look("", _below, places.incomplete, paths)
            used = {name for names in inside.values() for name in names}
            for row in rows:
                if inside.get(row.settings.current_path) == ():
                    used |= await self._roots(row.info_hash)
            left = [each for each in left if each not in used]
        return await self._looks.look("", _measured, places.incomplete, left[:MAX_LISTED])

    async def _roots(self, info_hash: InfoHash) -> set[str]:
        """Return the first parts of the paths of a torrent's files, as they are called now."""
        try:
            files = await self._state.port.torrents.files(info_hash)
        except UnknownTorrentError:
            return set()
        return {each.path.partition("/")[0] for each in files}

    async def remove(self, names: Iterable[str]) -> list[str]:
        """Remove orphans of some names; return those that were there. Raises OSError."""
        wanted = set(names)
        found = [each for each in await self.find() if each.name in wanted]
        for each in found:
            await run_sync(_remove, each.path)
        return [each.name for each in found]


def _candidates(places: OrphanPlaces) -> list[str]:
    """Return the names in the folder that could be orphans; hidden ones are not ours."""
    folder = places.incomplete.resolve()
    spared = [each.resolve() for each in places.spared]
    if folder in spared:
        return []
    try:
        names = sorted(each.name for each in folder.iterdir())
    except OSError:
        return []
    return [
        name
        for name in names
        if not name.startswith(".")
        and not any(each.is_relative_to(folder / name) for each in spared)
    ]


def _below(folder: Path, paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return which paths are in a folder: () for itself, the first part for one below it."""
    real, found = folder.resolve(), {}
    for path in paths:
        resolved = Path(path).resolve()
        if path and resolved.is_relative_to(real):
            found[path] = resolved.relative_to(real).parts[:1]
    return found


def _measured(folder: Path, names: Sequence[str]) -> list[Orphan]:
    found = []
    for name in names:
        path = folder / name
        try:
            facts = path.lstat()
        except OSError:
            continue  # gone meanwhile
        size = _tree_bytes(path) if S_ISDIR(facts.st_mode) else facts.st_size
        found.append(Orphan(name, path, size, facts.st_mtime))
    return found


def _tree_bytes(folder: Path) -> int:
    files = (Path(top) / name for top, _, names in os.walk(folder) for name in names)
    return sum(_size(each) for each in islice(files, MAX_COUNTED))


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _remove(path: Path) -> None:
    if not path.is_symlink() and path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
