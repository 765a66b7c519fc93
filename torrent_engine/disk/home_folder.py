"""Hidden names in the home folder, which a torrent must not create.

Shells and other programs execute or read configuration files with such names.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path
from typing import Final

from torrent_engine.codec.paths import PathParts
from torrent_engine.disk.system import PROGRAM_FOLDERS

HIDDEN: Final = "has a hidden name in the home folder; not created without allow_hidden"
"""Why such a file is refused."""


class HomeNames:
    """Detection of paths below one save path that are hidden names in a home folder."""

    def __init__(
        self,
        save_path: Path,
        program_folders: AbstractSet[str] = PROGRAM_FOLDERS,
        homes: Iterable[str] | None = None,
    ) -> None:
        """Locate the home folders relative to ``save_path``; blocking.

        ``program_folders`` are folded names that count as hidden ones. ``homes`` are what
        :func:`home_folders` returned, if it was called before.
        """
        self._program_folders = program_folders
        found = home_folders() if homes is None else homes
        self._prefixes = {prefix for home in found if (prefix := _below(save_path, home))}

    def is_hidden(self, parts: Sequence[str]) -> bool:
        """Return whether a path below the save path is such a name, or is below one."""
        return any(
            len(parts) >= len(prefix)
            and self._is_programs(parts[len(prefix) - 1])
            and [part.casefold() for part in parts[: len(prefix) - 1]] == list(prefix[:-1])
            for prefix in self._prefixes
        )

    def _is_programs(self, name: str) -> bool:
        return name.startswith(".") or name.casefold() in self._program_folders


class LinkedHomeNames:
    """Detection of such names below one save path, through symbolic links in it as well.

    What must be looked up is so once for the save path and once for each link; blocking.
    """

    def __init__(self, save_path: Path, links: AbstractSet[PathParts]) -> None:
        """``links`` are the symbolic links that are followed, below the save path."""
        self._save_path = save_path
        self._links = links
        self._homes: frozenset[str] | None = None
        self._names: dict[PathParts, HomeNames] = {}

    def is_hidden(self, parts: PathParts) -> bool:
        """Return whether a path below the save path is such a name, or is below one."""
        links = self._links
        depth = next((n for n in range(len(parts) - 1, 0, -1) if parts[:n] in links), 0)
        if depth and self._names_below(parts[:depth]).is_hidden(parts[depth:]):
            return True
        return self._names_below(()).is_hidden(parts)

    def _names_below(self, folder: PathParts) -> HomeNames:
        names = self._names.get(folder)
        if names is None:
            if self._homes is None:
                self._homes = home_folders()
            linked = self._save_path.joinpath(*folder)
            names = self._names[folder] = HomeNames(linked, homes=self._homes)
        return names


def home_folders() -> frozenset[str]:
    """Return the real paths of the user's home folders, for root of all users; blocking."""
    return frozenset(_homes())


def _homes() -> Iterator[str]:
    """Yield the home folder as the environment and as the system has it; for root, all of them."""
    with suppress(RuntimeError):
        yield os.path.realpath(Path.home())
    with suppress(ImportError, KeyError):
        import pwd

        yield os.path.realpath(pwd.getpwuid(os.getuid()).pw_dir)
        if os.geteuid() == 0:
            yield from {os.path.realpath(each.pw_dir) for each in pwd.getpwall()}


def _below(save_path: Path, home: str) -> tuple[str, ...]:
    """Return the folded path from the save path to the home folder and one name more; or ()."""
    folder = Path(os.path.realpath(save_path))
    with suppress(OSError):
        if folder.samefile(home):
            return ("",)
    with suppress(ValueError):
        return (*(part.casefold() for part in Path(home).relative_to(folder).parts), "")
    return ()
