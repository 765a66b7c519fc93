"""Which files of a torrent are wanted, how much, and under which names.

The options are --select-file, --file-priority and -o.

Files are numbered from 1, in the order of the torrent, as ``show --files`` prints them.
"""

import re
from collections.abc import Collection, Sequence
from typing import Final

from torrent_engine.base.errors import ConfigError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.transfer.progress import MAX_PRIORITY
from torrent_engine.service.file_selection import selected_files

WANTED_PRIORITY: Final = 4
PRIORITIES: Final = {"skip": 0, "low": 1, "normal": WANTED_PRIORITY, "high": MAX_PRIORITY}
_PRIORITY: Final = re.compile(f"[0-{MAX_PRIORITY}]")
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
    wanted = selected_files(metainfo.files, parts, "--select-file")
    return tuple(WANTED_PRIORITY if index in wanted else 0 for index in range(len(metainfo.files)))


def parse_file_priority(text: str) -> tuple[str, int]:
    """Read ``LIST=PRIORITY`` of --file-priority. Raises ValueError."""
    files, _, name = text.rpartition("=")
    priority = PRIORITIES.get(name.strip().lower())
    if priority is None and _PRIORITY.fullmatch(name.strip()):
        priority = int(name)
    if priority is None or not files.strip(" ,"):
        names = ", ".join(PRIORITIES)
        raise ValueError(f"is not LIST=PRIORITY, such as 1-3=high: {names}, or 0 to {MAX_PRIORITY}")
    return files, priority


def with_priorities(
    metainfo: Metainfo,
    selections: Sequence[str],
    priorities: Sequence[tuple[str, int]],
    linked: Collection[int] | None = None,
) -> tuple[int, ...] | None:
    """Return a priority for each file: what is selected, then each --file-priority in its order.

    ``linked`` are the indices that a magnet link selects; they hold without --select-file. None
    without any option. Raises ConfigError where a list meets no file.
    """
    chosen = file_priorities(metainfo, selections)
    if not priorities:
        return chosen
    everything = range(len(metainfo.files))
    wanted = set(linked or ()).intersection(everything) or everything
    changed = list(chosen or (WANTED_PRIORITY if index in wanted else 0 for index in everything))
    for files, priority in priorities:
        for index in selected_files(metainfo.files, [files], "--file-priority"):
            changed[index] = priority
    return tuple(changed)


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
    if not renames:
        return ()
    paths = _paths_after(metainfo, renames)
    if clash := next((path for path in paths if paths.count(path) > 1), None):
        raise ConfigError(f"-o: two files would be {clash!r}")
    return tuple(sorted(renames.items()))


def _paths_after(metainfo: Metainfo, renames: dict[int, str]) -> list[str]:
    touched = set(renames.values())
    joined = map("/".join, metainfo.files.paths())
    others = (path for index, path in enumerate(joined) if index not in renames)
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


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
