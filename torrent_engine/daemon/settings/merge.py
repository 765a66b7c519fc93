"""The present value of every setting, and where it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from torrent_engine.daemon.settings.model import SECTIONS, SPECS, DaemonSettings
from torrent_engine.daemon.settings.sources import SettingSource
from torrent_engine.daemon.settings.tables import TableSettings

DEFAULT: Final = "default"
OVERLAY: Final = "changed at run time"


@dataclass(frozen=True, slots=True)
class Merged:
    """All values with their origins."""

    settings: DaemonSettings
    tables: TableSettings
    values: Mapping[str, Any]
    origins: Mapping[str, str]
    pinned: frozenset[str]
    """Keys that no interface can change: options and the environment come first."""


def merge(sources: Sequence[SettingSource], overlay: Mapping[str, Any] | None = None) -> Merged:
    """Merge sources, the highest first; the overlay stands below those that pin.

    Of the lists of tables, those of the first source that has any of a kind count.
    """
    values = {key: spec.default for key, spec in SPECS.items()}
    origins = dict.fromkeys(SPECS, DEFAULT)
    pinned: set[str] = set()
    changed = SettingSource(OVERLAY, dict(overlay or {}))
    files = [source for source in sources if not source.is_pinned]
    pins = [source for source in sources if source.is_pinned]
    for source in reversed([*pins, changed, *files]):
        values |= source.values
        origins |= dict.fromkeys(source.values, source.origin)
        if source.is_pinned:
            pinned |= source.values.keys()
    return Merged(_settings(values), _tables(sources), values, origins, frozenset(pinned))


def _settings(values: Mapping[str, Any]) -> DaemonSettings:
    made = {}
    for name, kind in SECTIONS.items():
        prefix = f"{name}."
        own = {key.removeprefix(prefix): values[key] for key in SPECS if key.startswith(prefix)}
        made[name] = kind(**own)
    return DaemonSettings(**made)


def _tables(sources: Sequence[SettingSource]) -> TableSettings:
    found: dict[str, Any] = {}
    for source in sources:
        for name in TableSettings.__slots__:
            rows = getattr(source.tables, name)
            if rows and name not in found:
                found[name] = rows
    return TableSettings(**found)
