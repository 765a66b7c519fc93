"""Where the wanted files of a torrent lie; blocking, for there may be hundreds of thousands."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from torrent_engine.base.config import SessionConfig
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.files.file_paths import path_in_use
from torrent_engine.disk.resume.file_names import found_raw_names
from torrent_engine.disk.system import WINDOWS_NAMES
from torrent_engine.engine.runs.file_selection import renames

Names = Mapping[int, tuple[str, ...]]


def wanted_paths(
    folder: Path,
    metainfo: Metainfo,
    config: SessionConfig,
    names: Names | None = None,
    *,
    windows: bool = WINDOWS_NAMES,
) -> Iterator[tuple[str, ...]]:
    """Iterate over the paths of the wanted files below the save path ``folder``.

    ``names`` are those that its Session has in use; None: those of the configuration.
    """
    files, priorities = metainfo.files, config.file_priorities
    chosen = renames(config, windows=windows) if names is None else names
    used = {**found_raw_names(metainfo, folder, windows=windows), **chosen}
    for index in range(len(files)):
        if (priorities is None or priorities[index]) and files.is_stored(index):
            yield path_in_use(metainfo, index, used, windows=windows)


def first_missing(
    folder: Path, metainfo: Metainfo, config: SessionConfig, *, windows: bool = WINDOWS_NAMES
) -> Path | None:
    """Return a wanted file that is not there; None if all are."""
    wanted = wanted_paths(folder, metainfo, config, windows=windows)
    paths = (folder.joinpath(*parts) for parts in wanted)
    return next((path for path in paths if not path.exists()), None)


def common_path(
    folder: Path,
    metainfo: Metainfo,
    config: SessionConfig,
    names: Names | None = None,
    *,
    windows: bool = WINDOWS_NAMES,
) -> Path:
    """Return the one wanted file, or the innermost folder that holds all that is wanted."""
    common: tuple[str, ...] | None = None
    for parts in wanted_paths(folder, metainfo, config, names, windows=windows):
        if common is None:
            common = parts
        elif parts[: len(common)] != common:
            pairs = zip(common, parts, strict=False)
            same = next((at for at, (a, b) in enumerate(pairs) if a != b), len(parts))
            common = parts[:same]
        if not common:
            break
    return folder.joinpath(*common or ())
