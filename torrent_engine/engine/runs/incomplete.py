"""The folder and the names of a torrent's files until it is complete."""

import os
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import StorageError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.paths import PathParts
from torrent_engine.disk.files.file_paths import path_in_use
from torrent_engine.disk.resume.file_names import found_raw_names
from torrent_engine.disk.state.records import TorrentRecord
from torrent_engine.disk.system import WINDOWS_NAMES
from torrent_engine.disk.threads import run_in_thread
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.runs.file_selection import renames

MAX_SUFFIXED_FILES: Final = (
    10_000  # ours: each is a name in the database and in the move at the end
)
MAX_NAME_BYTES: Final = 255


class FilesLocation(NamedTuple):
    """Where the files are now, and where they go when complete."""

    save_path: Path
    config: SessionConfig
    """With the present names of the files."""
    home: Path | None
    """Where the files go when they are complete; None: they are there, with their final names."""


async def find_location(
    shared: SharedResources, metainfo: Metainfo, config: SessionConfig, home: Path
) -> FilesLocation:
    """Return where the files of a torrent are, or are to be made.

    That is where an earlier run had them; else where they belong if any of them is there; else
    the folder for incomplete files. Raises StorageError.
    """
    elsewhere = home if config.incomplete_dir is None else Path(config.incomplete_dir)
    record = await shared.store.load(metainfo.info_hash, with_metainfo=False)
    if record is not None and record.progress is not None:
        found = _as_recorded(record, config, home, elsewhere)
        if found is not None:
            return found
    windows = shared.name_foldings.is_windows
    look = partial(_is_begun, home, metainfo, config, windows=windows)
    failure = partial(StorageError, home)
    is_begun: list[bool] = []
    await run_in_thread(
        lambda: is_begun.append(look()), limiter=shared.disk_limiter, failure=failure
    )
    names = None if is_begun[0] else _suffixed(metainfo, config, windows=windows)
    if is_begun[0] or (elsewhere == home and names is None):
        return FilesLocation(home, config, None)
    return FilesLocation(elsewhere, config if names is None else _named(config, names), home)


def finished_names(metainfo: Metainfo, config: SessionConfig) -> dict[int, PathParts]:
    """Return the names that files get when the torrent is complete; none where they have them."""
    suffix = config.incomplete_suffix
    if not suffix or not _has_suffixes(metainfo, renames(config), suffix):
        return {}
    return {
        index: (*path[:-1], path[-1].removesuffix(suffix))
        for index, path in renames(config).items()
    }


def _as_recorded(
    record: TorrentRecord, config: SessionConfig, home: Path, elsewhere: Path
) -> FilesLocation | None:
    """Return the place of an earlier run; None if it was somewhere else."""
    at_home = record.save_path == str(home.absolute())
    if not at_home and record.save_path != str(elsewhere.absolute()):
        return None
    suffix = config.incomplete_suffix
    is_suffixed = bool(suffix) and any(
        path[-1].endswith(suffix) for path in record.renames.values()
    )
    if is_suffixed:
        config = _named(config, record.renames.items())
    return FilesLocation(
        home if at_home else elsewhere, config, home if is_suffixed or not at_home else None
    )


def _is_begun(
    folder: Path, metainfo: Metainfo, config: SessionConfig, *, windows: bool = WINDOWS_NAMES
) -> bool:
    """Return whether a file of the torrent is in a folder under its own name."""
    found = found_raw_names(metainfo, folder, windows=windows)
    names = {**found, **renames(config, windows=windows)}
    return any(
        os.path.lexists(folder.joinpath(*path_in_use(metainfo, index, names, windows=windows)))
        for index in stored_files(metainfo)
    )


def _suffixed(
    metainfo: Metainfo, config: SessionConfig, *, windows: bool = WINDOWS_NAMES
) -> Iterable[tuple[int, PathParts]] | None:
    """Return the names of incomplete files; None if they have no others, or it cannot be.

    That is where a name would be too long, or is that of another file of the torrent.
    """
    suffix, renamed = config.incomplete_suffix, renames(config, windows=windows)
    if not suffix or len(metainfo.files) > MAX_SUFFIXED_FILES:
        return None
    names: list[tuple[int, PathParts]] = []
    for index in stored_files(metainfo):
        *folders, name = path_in_use(metainfo, index, renamed, windows=windows)
        if len(os.fsencode(name + suffix)) > MAX_NAME_BYTES:
            return None
        names.append((index, (*folders, name + suffix)))
    suffixed = {tuple(map(str.casefold, path)) for _, path in names}
    finished = {(*path[:-1], path[-1].removesuffix(suffix.casefold())) for path in suffixed}
    if windows and len(suffixed) < len(names):
        return None
    return names if suffixed.isdisjoint(finished) else None


def _has_suffixes(metainfo: Metainfo, names: dict[int, PathParts], suffix: str) -> bool:
    return bool(names) and all(
        index in names and names[index][-1].endswith(suffix) for index in stored_files(metainfo)
    )


def stored_files(metainfo: Metainfo) -> Iterable[int]:
    """Return the indices of the files that lie on the disk: no pad files, no links."""
    left_out = set(metainfo.files.unstored())
    return (index for index in range(len(metainfo.files)) if index not in left_out)


def _named(config: SessionConfig, names: Iterable[tuple[int, PathParts]]) -> SessionConfig:
    return replace(
        config, renamed_files=tuple((index, "/".join(path)) for index, path in sorted(names))
    )
