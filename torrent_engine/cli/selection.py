"""Which files of a torrent are wanted, and under which names: --select-file and -o.

Files are numbered from 1, in the order of the torrent, as ``show --files`` prints them.
"""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

from torrent_engine.base.errors import ConfigError
from torrent_engine.codec.metainfo import FileEntry, Metainfo

WANTED_PRIORITY: Final = 4
_RANGE: Final = re.compile(r"(\d{1,9})(?:(-)(\d{1,9})?)?", re.ASCII)
_INDEXED: Final = re.compile(r"(\d{1,9})=(.*)", re.DOTALL | re.ASCII)


def file_priorities(metainfo: Metainfo, selections: Sequence[str]) -> tuple[int, ...] | None:
    """Return a priority for each file: 4 where selected, 0 elsewhere; None without a selection.

    A selection is a comma-separated list of numbers (``7``), ranges (``1-3``, ``5-``) and
    patterns (``*.mkv``, ``Season 1/*``). Raises ConfigError where one of them meets no file.
    """
    parts = [part.strip() for text in selections for part in text.split(",") if part.strip()]
    if not parts:
        if selections:
            raise ConfigError("--select-file: nothing is selected")
        return None
    wanted: set[int] = set()
    for part in parts:
        wanted |= _indices_of(part, metainfo.files)
    return tuple(WANTED_PRIORITY if index in wanted else 0 for index in range(len(metainfo.files)))


def renamed_files(metainfo: Metainfo, outputs: Sequence[str]) -> tuple[tuple[int, str], ...]:
    """Return (file index from 0, path below the save path) for each ``-o``.

    ``NAME`` names the file of a single-file torrent, ``INDEX=PATH`` one of several.
    Raises ConfigError for a path that leaves the folder, or one that is used twice.
    """
    renames: dict[int, str] = {}
    for text in outputs:
        index, path = _rename_of(text, metainfo)
        if index in renames:
            raise ConfigError(f"-o: file {index + 1} is named twice")
        renames[index] = path
    paths = _paths_after(metainfo, renames)
    if clash := next((path for path in paths if paths.count(path) > 1), None) if renames else None:
        raise ConfigError(f"-o: two files would be {clash!r}")
    return tuple(sorted(renames.items()))


def _paths_after(metainfo: Metainfo, renames: dict[int, str]) -> list[str]:
    touched = set(renames.values())
    others = ("/".join(e.path) for i, e in enumerate(metainfo.files) if i not in renames)
    return [*renames.values(), *(path for path in others if path in touched)]


def _rename_of(text: str, metainfo: Metainfo) -> tuple[int, str]:
    count = len(metainfo.files)
    if match := _INDEXED.fullmatch(text):
        index, path = int(match[1]) - 1, match[2]
    elif count == 1:
        index, path = 0, text
    else:
        raise ConfigError(f"-o: the torrent has {count} files; say which one: -o INDEX=PATH")
    if not 0 <= index < count:
        raise ConfigError(f"-o: no file {index + 1}; the torrent has {_files(count)}")
    return index, _checked_path(path)


def _checked_path(path: str) -> str:
    parts = path.split("/")
    if path.startswith("/") or "\0" in path or any(part in {"", ".", ".."} for part in parts):
        raise ConfigError(f"-o: {path!r} is no path below the download folder")
    return path


def _indices_of(part: str, files: Sequence[FileEntry]) -> set[int]:
    if match := _RANGE.fullmatch(part):
        first = int(match[1])
        last = first if match[2] is None else int(match[3]) if match[3] else len(files)
        if not 1 <= first <= last <= len(files):
            raise ConfigError(
                f"--select-file: no file {part}; the torrent has {_files(len(files))}"
            )
        return set(range(first - 1, last))
    found = {i for i, entry in enumerate(files) if not entry.is_pad and _matches(entry, part)}
    if not found:
        raise ConfigError(f"--select-file: no file matches {part!r}")
    return found


def _matches(entry: FileEntry, pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in _names_of(entry.path))


def _names_of(path: Sequence[str]) -> Iterable[str]:
    """Yield the names a pattern may meet: whole, without the torrent's folder, and the last."""
    yield "/".join(path)
    yield "/".join(path[1:])
    yield path[-1]


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
