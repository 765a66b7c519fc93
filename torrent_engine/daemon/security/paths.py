"""Folders that requests may name."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from torrent_engine.daemon.problems import Problem, ProblemError
from torrent_engine.service.folder_looks import FolderLooks, FolderTimeoutError

_T = TypeVar("_T")
MAX_BYTES: Final = 4_096
_CONTROLS: Final = frozenset(map(chr, (*range(32), 127)))


class PathRule:
    """Confines paths to some folders, after links are followed.

    What is refused says the same whether something is there or not. Disks are asked in threads;
    one that does not answer delays neither other requests nor paths below other folders.
    """

    def __init__(
        self,
        roots: Callable[[], Iterable[str | os.PathLike[str]]],
        folders: FolderLooks | None = None,
    ) -> None:
        """``roots`` returns the present folders: downloads, incomplete ones, categories, ..."""
        self._roots = roots
        self._folders = FolderLooks() if folders is None else folders

    def roots(self) -> Sequence[Path]:
        """Return the folders as they are named, absolute."""
        named = (Path(root).expanduser().absolute() for root in self._roots() if str(root))
        return list(dict.fromkeys(named))

    async def checked(self, path: str) -> Path:
        """Return where a path really leads.

        Raises ProblemError: ``path_not_allowed``, or ``disk_timeout`` if its disk does not answer.
        """
        found = await self._look(path, self._inside, path)
        if found is None:
            raise ProblemError(
                Problem("path_not_allowed", "not below an allowed folder, see paths.allowed")
            )
        return found

    async def allows(self, path: str) -> bool:
        """Return whether a path leads below an allowed folder. Raises ProblemError."""
        return await self._look(path, self._inside, path) is not None

    async def look(self, path: str | Path, work: Callable[..., _T], *arguments: object) -> _T:
        """Return what a blocking call about a path returns, or raise what it raises.

        Raises ProblemError ``disk_timeout`` if the disk does not answer.
        """
        return await self._look(str(path), work, *arguments)

    async def _look(self, path: str, work: Callable[..., _T], *arguments: object) -> _T:
        try:
            return await self._folders.look(self._place(path), work, *arguments)
        except FolderTimeoutError as error:
            raise ProblemError(Problem("disk_timeout", str(error))) from None

    def _place(self, path: str) -> Path | None:
        """Return the folder that a path is below by its name; None if it is below none."""
        return next((root for root in self.roots() if Path(path).is_relative_to(root)), None)

    def allows_now(self, path: str) -> bool:
        """Do the same as :meth:`allows` in a thread that may block."""
        return self._inside(path) is not None

    def _inside(self, path: str) -> Path | None:
        if not path or _CONTROLS & set(path):
            return None
        try:
            is_long = len(os.fsencode(path)) > MAX_BYTES
            expanded = Path(path).expanduser()
        except (RuntimeError, ValueError):  # ~somebody without a home; half a character
            return None
        if is_long:
            return None
        resolved = _resolved(expanded) if expanded.is_absolute() else None
        if resolved is None:
            return None
        return resolved if self._is_below_a_root(expanded, resolved) else None

    def _is_below_a_root(self, named: Path, resolved: Path) -> bool:
        """Ask the folder first that a path is below by its name, and others only if need be."""
        roots = sorted(self.roots(), key=lambda root: not named.is_relative_to(root))
        found = (_resolved(root) for root in roots)
        return any(root is not None and resolved.is_relative_to(root) for root in found)


def _resolved(path: Path) -> Path | None:
    """Return a path with all links followed; None for one that leads in a circle."""
    try:
        return path.resolve(strict=False)
    except (OSError, RuntimeError, ValueError):
        return None
