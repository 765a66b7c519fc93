"""The settings of a running daemon: read, changed, reset, and read again from their files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from torrent_engine.base.errors import ConfigError
from torrent_engine.daemon.settings.fields import Applies, check_text
from torrent_engine.daemon.settings.loading import Places, read_sources
from torrent_engine.daemon.settings.merge import OVERLAY, Merged, merge
from torrent_engine.daemon.settings.model import SPECS, DaemonSettings
from torrent_engine.daemon.settings.overlay import MemoryOverlay, Overlay, OverlayTable
from torrent_engine.daemon.settings.sources import SettingSource, nearest
from torrent_engine.daemon.settings.tables import TableSettings

_TABLES: Final = {
    "watch": Applies.LIVE,
    "category": Applies.LIVE,
    "blocklist": Applies.RESTART,
    "hook": Applies.RESTART,
    "listeners": Applies.PROCESS,
}
"""When changed tables of the configuration file take effect."""
SECRET = "********"  # noqa: S105 - what is shown in the place of one


class PinnedError(ConfigError):
    """A setting is given by an option or the environment, and cannot be changed at run time."""


class UnknownSettingError(ConfigError):
    """There is no setting with that key."""


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """Which settings have other values now, by when they take effect."""

    live: frozenset[str] = frozenset()
    restart: frozenset[str] = frozenset()
    process: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        """Whether anything is different."""
        return bool(self.live or self.restart or self.process)


@dataclass(frozen=True, slots=True)
class SettingView:
    """One setting as people and interfaces see it."""

    key: str
    value: Any
    origin: str
    is_pinned: bool
    applies: Applies
    is_file_only: bool
    default: Any
    changed_by: str | None = None
    changed_at: float | None = None


class SettingsStore:
    """Holds the merged settings; listeners are told what changed after it did."""

    def __init__(
        self,
        places: Places,
        table: OverlayTable | None = None,
        *,
        now: Callable[[], float],
        check: Callable[[Merged], object] = lambda _: None,
    ) -> None:
        """Read all sources. Raises ConfigError with everything that is wrong.

        ``check`` raises ConfigError for settings that do not go together.
        """
        self._places = places
        self._check = check
        self._overlay = Overlay(MemoryOverlay() if table is None else table, now)
        self._sources: Sequence[SettingSource] = read_sources(places)
        self._merged = self._checked_merge(self._sources, self._overlay.values)
        self._listeners: list[Callable[[SettingsChange], None]] = []
        self.revision = 1
        """Another one after every change."""

    @property
    def now(self) -> DaemonSettings:
        """The present values."""
        return self._merged.settings

    @property
    def configured(self) -> DaemonSettings:
        """The values without those that interfaces changed."""
        return merge(self._sources).settings

    @property
    def merged(self) -> Merged:
        """All values with their origins."""
        return self._merged

    @property
    def tables(self) -> TableSettings:
        """The lists of tables."""
        return self._merged.tables

    def listen(self, listener: Callable[[SettingsChange], None]) -> None:
        """Call a function after each change."""
        self._listeners.append(listener)

    def view(self, key: str) -> SettingView:
        """Return a setting with its origin; a secret is not shown. Raises UnknownSettingError."""
        spec = SPECS.get(key)
        if spec is None:
            raise UnknownSettingError(f"there is no setting {key!r}{nearest(key, SPECS)}")
        merged, entry = self._merged, self._overlay.get(key)
        is_changed = entry is not None and merged.origins[key] == OVERLAY
        value = merged.values[key]
        return SettingView(
            key,
            SECRET if spec.meaning.is_secret and value else value,
            merged.origins[key],
            key in merged.pinned,
            spec.meaning.applies,
            spec.meaning.is_file_only,
            spec.default,
            entry.by if entry is not None and is_changed else None,
            entry.changed_at if entry is not None and is_changed else None,
        )

    def views(self) -> list[SettingView]:
        """Return all settings."""
        return [self.view(key) for key in SPECS]

    def change(
        self, values: Mapping[str, Any], by: str, *, is_local: bool = False
    ) -> SettingsChange:
        """Change settings, all or none; None resets one that is not optional.

        ``is_local`` allows those of files too. Raises UnknownSettingError, PinnedError or
        ConfigError.
        """
        checked = {
            key: self._checked(key, value, is_local=is_local) for key, value in values.items()
        }
        reset = {key for key, value in checked.items() if self._is_reset(key, value)}
        kept = {key: value for key, value in checked.items() if key not in reset}
        overlay = {k: v for k, v in self._overlay.values.items() if k not in reset} | kept
        merged = self._checked_merge(self._sources, overlay)
        for key in reset:
            self._overlay.drop(key)
        for key, value in kept.items():
            self._overlay.put(key, value, by)
        return self._take(self._sources, merged)

    @staticmethod
    def _is_reset(key: str, value: object) -> bool:
        return value is None and not SPECS[key].is_optional

    def reset(self, key: str) -> SettingsChange:
        """Return to what files and defaults say. Raises UnknownSettingError or ConfigError."""
        self.view(key)
        overlay = {k: v for k, v in self._overlay.values.items() if k != key}
        merged = self._checked_merge(self._sources, overlay)
        self._overlay.drop(key)
        return self._take(self._sources, merged)

    def reload(self) -> SettingsChange:
        """Read all sources again. Raises ConfigError, and changes nothing, if one is wrong."""
        sources = read_sources(self._places)
        return self._take(sources, self._checked_merge(sources, self._overlay.values))

    def _checked(self, key: str, value: Any, *, is_local: bool) -> Any:  # noqa: ANN401
        view = self.view(key)
        if view.is_pinned:
            raise PinnedError(f"{key}: is given by the {view.origin}")
        if view.is_file_only and not is_local:
            raise ConfigError(f"{key}: can be changed in the configuration file only")
        spec = SPECS[key]
        if value is None and not spec.is_optional:
            return None
        try:
            check_text(value)
            return spec.read(value)
        except ValueError as error:
            shown = "" if spec.meaning.is_secret else f"{value!r:.80}: "
            raise ConfigError(f"{key}: {shown}{error}") from None

    def _checked_merge(
        self, sources: Sequence[SettingSource], overlay: Mapping[str, Any]
    ) -> Merged:
        merged = merge(sources, overlay)
        self._check(merged)
        return merged

    def _take(self, sources: Sequence[SettingSource], after: Merged) -> SettingsChange:
        before, self._sources, self._merged = self._merged, sources, after
        changed = {key for key in SPECS if before.values[key] != after.values[key]}
        by_time = {
            when: frozenset(key for key in changed if SPECS[key].meaning.applies is when)
            for when in Applies
        }
        for name, when in _TABLES.items():
            if getattr(before.tables, name) != getattr(after.tables, name):
                by_time[when] |= {name}
        change = SettingsChange(*(by_time[when] for when in Applies))
        if change or before.tables != after.tables:
            self.revision += 1
            for listener in self._listeners:
                listener(change)
        return change
