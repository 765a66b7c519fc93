"""Hidden names in the home folder, which a torrent must not create.

Shells and other programs execute or read configuration files with such names.
"""

import os
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path
from typing import Final

from torrent_engine.disk.system import PROGRAM_FOLDERS

HIDDEN: Final = "has a hidden name in the home folder; not created without allow_hidden"
"""Why such a file is refused."""


class HomeNames:
    """Detection of paths below one save path that are hidden names in a home folder."""

    def __init__(
        self, save_path: Path, program_folders: AbstractSet[str] = PROGRAM_FOLDERS
    ) -> None:
        """Locate the home folders relative to ``save_path``; blocking.

        ``program_folders`` are folded names that count as hidden ones.
        """
        self._program_folders = program_folders
        self._prefixes = {prefix for home in _homes() if (prefix := _below(save_path, home))}

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
