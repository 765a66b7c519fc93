"""The files of a torrent that are wanted, and their names, once the metadata is there.

Source: BEP 53 (the files that a magnet link selects).
"""

from collections.abc import Iterable
from dataclasses import replace

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import ConfigError
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.paths import PathParts, text_path
from torrent_engine.disk.filesystem import usable_path
from torrent_engine.disk.system import WINDOWS_NAMES
from torrent_engine.policy.pieces.picker import DEFAULT_PRIORITY


def choose_files(config: SessionConfig, magnet: Magnet, metainfo: Metainfo) -> SessionConfig:
    """Return the configuration with the options that depend on the metadata.

    The caller's choice overrides that of the link; a link that selects no existing file selects
    all. Raises what the caller's functions raise, such as ConfigError.
    """
    priorities = config.file_priorities
    if priorities is None and config.file_priorities_of is not None:
        priorities = config.file_priorities_of(metainfo)
    if priorities is None and config.magnet_priorities:
        priorities = _ruled(config.magnet_priorities, len(metainfo.files))
    if priorities is None:
        priorities = _selected(magnet, len(metainfo.files))
    names = config.renamed_files
    if config.renamed_files_of is not None:
        names = names or config.renamed_files_of(metainfo)
    return replace(config, file_priorities=priorities, renamed_files=names)


def _ruled(rules: Iterable[tuple[int | None, int]], file_count: int) -> tuple[int, ...]:
    chosen = dict(rules)
    other = chosen.get(None, DEFAULT_PRIORITY)
    return tuple(chosen.get(index, other) for index in range(file_count))


def _selected(magnet: Magnet, file_count: int) -> tuple[int, ...] | None:
    chosen = {index for index in magnet.selected_files or () if index < file_count}
    if not chosen:
        return None
    return tuple(DEFAULT_PRIORITY if index in chosen else 0 for index in range(file_count))


def renames(
    config: SessionConfig, *, windows: bool = WINDOWS_NAMES, skips_invalid: bool = False
) -> dict[int, PathParts]:
    """Return the renamed files, with names that are valid on this system.

    Raises ConfigError if one leads out of the save path, or leaves it out if ``skips_invalid``.
    """
    found: dict[int, PathParts] = {}
    for index, path in config.renamed_files:
        try:
            found[index] = usable_path(path_below(path, "renamed_files"), windows=windows)
        except ConfigError:
            if not skips_invalid:
                raise
    return found


def path_below(path: str, option: str) -> PathParts:
    """Return a cleaned path below the save path; ConfigError, naming the option, if it is none."""
    parts = {part for part in path.replace("\\", "/").split("/") if part not in {"", "."}}
    if not parts or ".." in parts or path.startswith("/"):
        raise ConfigError(f"{option}: {path!r} is not a path below the save path")
    return text_path(path)
