"""Which files are read, where the state is, and all errors at once."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torrent_engine.base.errors import ConfigError
from torrent_engine.daemon.settings.merge import Merged, merge
from torrent_engine.daemon.settings.sources import (
    SettingSource,
    read_environment,
    read_file,
    read_options,
)

FILE_NAME: Final = "daemon.toml"
SYSTEM_FILE: Final = Path("/etc/torrent-engine") / FILE_NAME
STATE_VARIABLE: Final = "TORRENT_ENGINE_STATE_DIR"
CONFIG_VARIABLE: Final = "TORRENT_ENGINE_DAEMON_CONFIG"


class SettingsError(ConfigError):
    """Settings of files, environment or options are wrong; ``errors`` has a line for each."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = tuple(errors)


@dataclass(frozen=True, slots=True)
class Places:
    """Where settings are looked for."""

    environment: Mapping[str, str]
    options: Sequence[str] = ()
    """Of the form ``section.key=value``."""
    config: Path | None = None
    """The file that an option names."""
    system_file: Path = SYSTEM_FILE


def user_file(environment: Mapping[str, str]) -> Path:
    """Return where the user's file is looked for; it need not be there."""
    home = environment.get("XDG_CONFIG_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path("~/.config").expanduser()
    return base / "torrent_engine" / FILE_NAME


def state_folder(environment: Mapping[str, str], option: Path | None, default: Path) -> Path:
    """Return the state folder: of an option, a variable, systemd, or the default."""
    if option is not None:
        return option.absolute()
    named = environment.get(STATE_VARIABLE) or environment.get("STATE_DIRECTORY", "")
    first = named.partition(":")[0]  # systemd separates several by colons
    return Path(first).absolute() if first else default


def read_sources(places: Places) -> list[SettingSource]:
    """Return all sources, the highest first. Raises SettingsError."""
    sources = all_sources(places)
    wrong = [error for source in sources for error in source.errors]
    if wrong:
        raise SettingsError(wrong)
    return sources


def all_sources(places: Places) -> list[SettingSource]:
    """Return all sources, the highest first, with what is wrong in them."""
    sources = [read_options(places.options), read_environment(places.environment)]
    return [*sources, *(read_file(path) for path in config_files(places))]


def config_files(places: Places) -> list[Path]:
    """Return the files to read, the higher first; one that was named must be there."""
    variable = places.environment.get(CONFIG_VARIABLE, "")
    named = places.config or (Path(variable) if variable else None)
    if named is not None:
        return [named]
    return [p for p in (user_file(places.environment), places.system_file) if os.path.lexists(p)]


def load(places: Places, overlay: Mapping[str, Any] | None = None) -> Merged:
    """Return the present settings. Raises SettingsError."""
    return merge(read_sources(places), overlay)
