"""What counts for a torrent that is added by a foreign protocol, where the call says nothing."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from torrent_engine.daemon.jobs.port_torrents import category_options
from torrent_engine.daemon.settings.engine_config import download_folder
from torrent_engine.daemon.settings.model import DaemonSettings
from torrent_engine.daemon.settings.tables import TableSettings
from torrent_engine.daemon.state.labels import Labelling
from torrent_engine.service.add_options import AddOptions


class SettingsAccess(Protocol):
    """What is needed of the daemon's settings."""

    @property
    def now(self) -> DaemonSettings:
        """The present values."""

    @property
    def tables(self) -> TableSettings:
        """The lists of tables."""

    def change(self, values: Mapping[str, Any], by: str) -> object:
        """Change settings, all or none. Raises ConfigError."""


class AddDefaults:
    """The settings of the daemon, as options of torrents that are added."""

    def __init__(self, settings: SettingsAccess, labels: Labelling) -> None:
        self._settings = settings
        self._labels = labels

    def fetches_private(self) -> bool:
        """Return whether URLs may lead to addresses that are not of the public internet."""
        now = self._settings.now
        return now.network.loopback_only or now.adding.from_private_networks

    def options(self, category: str, *, is_private: bool) -> AddOptions:
        """Return the options of a category, "" for none, or of all torrents."""
        adding = self._settings.now.adding
        found = self._labels.category(category) if category else None
        said = AddOptions() if found is None else category_options(found, Path())
        return replace(
            said,
            save_path=self.save_path(category),
            paused=adding.paused,
            sequential=adding.sequential,
            trackers=None if is_private else tuple(adding.trackers) or None,
        )

    def save_path(self, category: str) -> str:
        """Return where torrents of a category go; "": those without one."""
        path = self._category_path(category) if category else ""
        return str(download_folder(self._settings.now) / Path(path).expanduser())

    def _category_path(self, name: str) -> str:
        found = self._labels.category(name)
        path = "" if found is None else found.save_path
        for each in self._settings.tables.category:
            if each.name == name:
                path = path or each.save_path
        return path
