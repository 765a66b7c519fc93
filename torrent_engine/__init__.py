"""A BitTorrent engine in pure Python.

    async with SharedResources() as shared:
        session = await Session.create(Metainfo.read("a.torrent"), shared, save_path="downloads")
        async with session:
            await session.wait(State.SEEDING)

of many torrents, with a queue, and restored after a restart:

    async with TorrentManager() as manager:
        session = await manager.add_torrent("a.torrent", save_path="downloads")

or, for scripts, :func:`download`. Names are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torrent_engine.base.config import ManagerConfig, SessionConfig, SharedConfig
    from torrent_engine.base.errors import (
        BencodeError,
        ConfigError,
        DiskFullError,
        FileExistsStorageError,
        FileInUseError,
        ForeignFileError,
        HiddenNameError,
        HttpError,
        LocalProtocolError,
        MagnetError,
        MetainfoError,
        NetworkError,
        OwnerChangedError,
        RemoteProtocolError,
        SessionError,
        StateDatabaseError,
        StateTransitionError,
        StorageError,
        TorrentEngineError,
        TrackerError,
    )
    from torrent_engine.base.ids import InfoHash, OwnerTie, PeerAddress, PeerId, PieceIndex
    from torrent_engine.codec.magnet import Magnet
    from torrent_engine.codec.metainfo import FileEntry, Metainfo
    from torrent_engine.disk.create import CreateOptions, create_torrent
    from torrent_engine.engine.download import download
    from torrent_engine.engine.event_bus import EventBus
    from torrent_engine.engine.events import Event
    from torrent_engine.engine.job_log import Job, JobFilter
    from torrent_engine.engine.manager_stats import ManagerStats
    from torrent_engine.engine.peer import PeerStats
    from torrent_engine.engine.reader import FileReader
    from torrent_engine.engine.session import Session
    from torrent_engine.engine.session_stats import SessionStats
    from torrent_engine.engine.shared_resources import SharedResources
    from torrent_engine.engine.states import State
    from torrent_engine.engine.torrent_manager import TorrentManager

__version__ = "0.1.0"

_HOMES = {
    "SessionConfig": "base.config",
    "SharedConfig": "base.config",
    "ManagerConfig": "base.config",
    "BencodeError": "base.errors",
    "ConfigError": "base.errors",
    "DiskFullError": "base.errors",
    "FileExistsStorageError": "base.errors",
    "FileInUseError": "base.errors",
    "ForeignFileError": "base.errors",
    "HiddenNameError": "base.errors",
    "HttpError": "base.errors",
    "LocalProtocolError": "base.errors",
    "MagnetError": "base.errors",
    "MetainfoError": "base.errors",
    "NetworkError": "base.errors",
    "OwnerChangedError": "base.errors",
    "RemoteProtocolError": "base.errors",
    "SessionError": "base.errors",
    "StateTransitionError": "base.errors",
    "StorageError": "base.errors",
    "TorrentEngineError": "base.errors",
    "TrackerError": "base.errors",
    "StateDatabaseError": "base.errors",
    "InfoHash": "base.ids",
    "OwnerTie": "base.ids",
    "PeerAddress": "base.ids",
    "PeerId": "base.ids",
    "PieceIndex": "base.ids",
    "Magnet": "codec.magnet",
    "FileEntry": "codec.metainfo",
    "Metainfo": "codec.metainfo",
    "CreateOptions": "disk.create",
    "create_torrent": "disk.create",
    "download": "engine.download",
    "EventBus": "engine.event_bus",
    "Event": "engine.events",
    "PeerStats": "engine.peer",
    "Session": "engine.session",
    "SessionStats": "engine.session_stats",
    "SharedResources": "engine.shared_resources",
    "State": "engine.states",
    "FileReader": "engine.reader",
    "Job": "engine.job_log",
    "JobFilter": "engine.job_log",
    "ManagerStats": "engine.manager_stats",
    "TorrentManager": "engine.torrent_manager",
}

__all__ = [
    "BencodeError",
    "ConfigError",
    "CreateOptions",
    "DiskFullError",
    "Event",
    "EventBus",
    "FileEntry",
    "FileExistsStorageError",
    "FileInUseError",
    "FileReader",
    "ForeignFileError",
    "HiddenNameError",
    "HttpError",
    "InfoHash",
    "Job",
    "JobFilter",
    "LocalProtocolError",
    "Magnet",
    "MagnetError",
    "ManagerConfig",
    "ManagerStats",
    "Metainfo",
    "MetainfoError",
    "NetworkError",
    "OwnerChangedError",
    "OwnerTie",
    "PeerAddress",
    "PeerId",
    "PeerStats",
    "PieceIndex",
    "RemoteProtocolError",
    "Session",
    "SessionConfig",
    "SessionError",
    "SessionStats",
    "SharedConfig",
    "SharedResources",
    "State",
    "StateDatabaseError",
    "StateTransitionError",
    "StorageError",
    "TorrentEngineError",
    "TorrentManager",
    "TrackerError",
    "__version__",
    "create_torrent",
    "download",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """Import a public name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*globals(), *__all__])
