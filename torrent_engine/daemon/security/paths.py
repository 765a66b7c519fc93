"""Folders that requests may name."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from torrent_engine.daemon.problems import Problem, ProblemError

MAX_BYTES: Final = 4_096
_CONTROLS: Final = frozenset(map(chr, (*range(32), 127)))


class PathRule:
    """Confines paths to some folders, after links are followed.

    What is refused says the same whether something is there or not.
    """

    def __init__(self, roots: Callable[[], Iterable[str | os.PathLike[str]]]) -> None:
        """``roots`` returns the present folders: downloads, incomplete ones, categories, ..."""
        self._roots = roots

    @property
    def roots(self) -> Sequence[Path]:
        """The folders as they really are; those that cannot be resolved are left out."""
        found = []
        for root in self._roots():
            if str(root):
                resolved = _resolved(Path(root).expanduser().absolute())
                found += [] if resolved is None else [resolved]
        return found

    def checked(self, path: str) -> Path:
        """Return where a path really leads. Raises ProblemError ``path_not_allowed``."""
        found = self._inside(path)
        if found is None:
            raise ProblemError(Problem("path_not_allowed", "not below an allowed folder"))
        return found

    def allows(self, path: str) -> bool:
        """Return whether a path leads below an allowed folder."""
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
        return resolved if any(resolved.is_relative_to(root) for root in self.roots) else None


def _resolved(path: Path) -> Path | None:
    """Return a path with all links followed; None for one that leads in a circle."""
    try:
        return path.resolve(strict=False)
    except (OSError, RuntimeError, ValueError):
        return None
