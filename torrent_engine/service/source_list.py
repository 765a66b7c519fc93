"""Lists of sources: names, folders of .torrent files, and files with a source per line."""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from torrent_engine.base.errors import ConfigError
from torrent_engine.service import sources
from torrent_engine.service.torrent_lists import lines_of

MAX_LIST_BYTES: Final = 16 * 1024 * 1024  # ours: some 100,000 links
TORRENT_SUFFIX: Final = ".torrent"
_COMMENT: Final = "#"
_BENCODED: Final = re.compile(rb"d[0-9]+:")


def expanded(arguments: Sequence[str], list_files: Sequence[str]) -> list[str]:
    """Return each source once: folders as their .torrents, files with a list as its lines.

    A folder without .torrents stays: it fails by itself, beside the others. Raises ConfigError and
    OSError for a list or a folder that cannot be read.
    """
    _check_stdin([*arguments, *list_files])
    lines = [line for path in list_files for line in listed(path)]
    _check_stdin([*arguments, *lines])
    named = [*arguments, *lines]
    return list(dict.fromkeys(each for source in named for each in _of_folder(source)))


def _check_stdin(names: Sequence[str]) -> None:
    if names.count(sources.STDIN) > 1:
        raise ConfigError("standard input (-) is given twice")


def listed(path: str) -> list[str]:
    """Return the sources in a text file, one a line; blank lines and ``#`` lines are none."""
    data = _read(path)
    if len(data) > MAX_LIST_BYTES:
        raise ConfigError(f"{path}: is longer than {MAX_LIST_BYTES >> 20} MiB")
    if b"\0" in data or _BENCODED.match(data):
        raise ConfigError(f"{path}: is no text with a torrent a line")
    return lines_of(data)


def _read(path: str) -> bytes:
    if path == sources.STDIN:
        return sys.stdin.buffer.read(MAX_LIST_BYTES + 1)
    with Path(path).open("rb") as file:
        return file.read(MAX_LIST_BYTES + 1)


def _of_folder(source: str) -> Iterator[str]:
    """Yield the .torrents of a folder, sorted, and any other source as it is."""
    if sources.is_url(source) or sources.is_magnet(source) or not Path(source).is_dir():
        yield source
        return
    found = sorted(path for path in Path(source).iterdir() if _is_torrent(path))
    yield from map(str, found) if found else [source]


def _is_torrent(path: Path) -> bool:
    is_hidden = path.name.startswith(".")
    return not is_hidden and path.suffix.lower() == TORRENT_SUFFIX and path.is_file()
