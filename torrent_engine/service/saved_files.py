"""Where the wanted files of a torrent lie; blocking, for there may be hundreds of thousands."""

from collections.abc import Iterator
from pathlib import Path

from torrent_engine.base.config import SessionConfig
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.resume.file_names import found_raw_names
from torrent_engine.engine.runs.file_selection import renames


def wanted_paths(
    folder: Path, metainfo: Metainfo, config: SessionConfig
) -> Iterator[tuple[str, ...]]:
    """Iterate over the paths of the wanted files below the save path ``folder``."""
    files, priorities = metainfo.files, config.file_priorities
    renamed = {**found_raw_names(metainfo, folder), **renames(config)}
    for index in range(len(files)):
        if (priorities is None or priorities[index]) and files.is_stored(index):
            yield renamed.get(index) or files.path(index)


def first_missing(folder: Path, metainfo: Metainfo, config: SessionConfig) -> Path | None:
    """Return a wanted file that is not there; None if all are."""
    paths = (folder.joinpath(*parts) for parts in wanted_paths(folder, metainfo, config))
    return next((path for path in paths if not path.exists()), None)


def common_path(folder: Path, metainfo: Metainfo, config: SessionConfig) -> Path:
    """Return the one wanted file, or the innermost folder that holds all that is wanted."""
    common: tuple[str, ...] | None = None
    for parts in wanted_paths(folder, metainfo, config):
        if common is None:
            common = parts
        elif parts[: len(common)] != common:
            pairs = zip(common, parts, strict=False)
            same = next((at for at, (a, b) in enumerate(pairs) if a != b), len(parts))
            common = parts[:same]
        if not common:
            break
    return folder.joinpath(*common or ())
