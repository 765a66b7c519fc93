"""A TorrentManager on loopback, with torrents that rest soon."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.swarm import shared_config
from torrent_engine.base.config import DormancyConfig, ManagerConfig
from torrent_engine.engine.manager.torrent_manager import TorrentManager

REST_AFTER_S = 0.5


def manager_config(
    folder: Path, *, dormancy: DormancyConfig | None = None, **changes: Any
) -> ManagerConfig:
    """Return a configuration; torrents rest after 0.5 s, or as ``dormancy`` says."""
    dormancy = (
        DormancyConfig(after_s=REST_AFTER_S, max_announces_per_s=1_000.0)
        if dormancy is None
        else dormancy
    )
    shared = replace(shared_config(folder), dormancy=dormancy)
    return ManagerConfig(shared=shared, save_path=str(folder / "files"), **changes)


def manager(folder: Path, **changes: Any) -> TorrentManager:
    """Return a manager, to be entered."""
    return TorrentManager(manager_config(folder, **changes))
