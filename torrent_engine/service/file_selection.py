"""Lists of files as users write them: numbers from 1, ranges and patterns."""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

from torrent_engine.base.errors import ConfigError
from torrent_engine.codec.metainfo import FileList

_RANGE: Final = re.compile(r"(\d{1,9})(?:(-)(\d{1,9})?)?", re.ASCII)


def selected_files(files: FileList, selections: Iterable[str], option: str) -> set[int]:
    """Return the indices, from 0, of the files that comma-separated lists name.

    A list has numbers (``7``), ranges (``1-3``, ``5-``) and patterns (``*.mkv``, ``Season 1/*``).
    Raises ConfigError, which names the option, where one of them meets no file.
    """
    parts = (part.strip() for text in selections for part in text.split(","))
    found: set[int] = set()
    for part in parts:
        if part:
            found |= _indices_of(part, files, option)
    return found


def _indices_of(part: str, files: FileList, option: str) -> set[int]:
    if match := _RANGE.fullmatch(part):
        first = int(match[1])
        last = first if match[2] is None else int(match[3]) if match[3] else len(files)
        if not 1 <= first <= last <= len(files):
            count = "1 file" if len(files) == 1 else f"{len(files)} files"
            raise ConfigError(f"{option}: no file {part}; the torrent has {count}")
        return set(range(first - 1, last))
    named = enumerate(files.paths())
    found = {i for i, path in named if not files.is_pad(i) and _matches(path, part)}
    if not found:
        raise ConfigError(f"{option}: no file matches {part!r}")
    return found


def _matches(path: Sequence[str], pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in _names_of(path))


def _names_of(path: Sequence[str]) -> Iterable[str]:
    """Yield the names a pattern may meet: whole, without the torrent's folder, and the last."""
    yield "/".join(path)
    yield "/".join(path[1:])
    yield path[-1]
