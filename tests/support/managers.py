"""A TorrentManager on loopback, with torrents that rest soon."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.swarm import shared_config
from torrent_engine.base.config import ManagerConfig, RestConfig
from torrent_engine.engine.torrent_manager import TorrentManager

REST_AFTER_S = 0.5


def manager_config(
    folder: Path, *, rest: RestConfig | None = None, **changes: Any
) -> ManagerConfig:
    """Return a configuration; torrents rest after half a second unless ``rest`` says otherwise."""
    rest = RestConfig(after_s=REST_AFTER_S, max_announces_per_s=1_000.0) if rest is None else rest
    shared = replace(shared_config(folder), rest=rest)
    return ManagerConfig(shared=shared, save_path=str(folder / "files"), **changes)


def manager(folder: Path, **changes: Any) -> TorrentManager:
    """Return a manager, to be entered."""
    return TorrentManager(manager_config(folder, **changes))
