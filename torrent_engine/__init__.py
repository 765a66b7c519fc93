"""A BitTorrent engine in pure Python.

    async with SharedResources() as shared:
        session = await Session.create(Metainfo.read("a.torrent"), shared, save_path="downloads")
        async with session:
            await session.wait(State.SEEDING)

of many torrents, with a queue, and restored after a restart:

    async with TorrentManager() as manager:
        session = await manager.add_torrent("a.torrent", save_path="downloads")

or, in one call, :func:`download` for scripts and :func:`download_async`. ``await x.start()`` and
``await x.close()`` do what ``async with`` does, in different tasks too. Names are imported when
they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

__version__: Final = "0.1.0"

if TYPE_CHECKING:
    from torrent_engine.base.config import ConnectionEncryption as ConnectionEncryption
    from torrent_engine.base.config import ManagerConfig as ManagerConfig
    from torrent_engine.base.config import SessionConfig as SessionConfig
    from torrent_engine.base.config import SharedConfig as SharedConfig
    from torrent_engine.base.config import TransportProtocol as TransportProtocol
    from torrent_engine.base.errors import BencodeError as BencodeError
    from torrent_engine.base.errors import BusyError as BusyError
    from torrent_engine.base.errors import ClosedError as ClosedError
    from torrent_engine.base.errors import ConfigError as ConfigError
    from torrent_engine.base.errors import DiskFullError as DiskFullError
    from torrent_engine.base.errors import EncryptionError as EncryptionError
    from torrent_engine.base.errors import FileExistsStorageError as FileExistsStorageError
    from torrent_engine.base.errors import FileInUseError as FileInUseError
    from torrent_engine.base.errors import ForeignFileError as ForeignFileError
    from torrent_engine.base.errors import GatewayError as GatewayError
    from torrent_engine.base.errors import HiddenNameError as HiddenNameError
    from torrent_engine.base.errors import HttpError as HttpError
    from torrent_engine.base.errors import IpFilterError as IpFilterError
    from torrent_engine.base.errors import KrpcError as KrpcError
    from torrent_engine.base.errors import LocalProtocolError as LocalProtocolError
    from torrent_engine.base.errors import MagnetError as MagnetError
    from torrent_engine.base.errors import MetainfoError as MetainfoError
    from torrent_engine.base.errors import MissingFilesError as MissingFilesError
    from torrent_engine.base.errors import NameResolutionError as NameResolutionError
    from torrent_engine.base.errors import NetworkError as NetworkError
    from torrent_engine.base.errors import OwnerChangedError as OwnerChangedError
    from torrent_engine.base.errors import ProxyError as ProxyError
    from torrent_engine.base.errors import RemoteProtocolError as RemoteProtocolError
    from torrent_engine.base.errors import SessionError as SessionError
    from torrent_engine.base.errors import SignatureError as SignatureError
    from torrent_engine.base.errors import StateDatabaseError as StateDatabaseError
    from torrent_engine.base.errors import StateInUseError as StateInUseError
    from torrent_engine.base.errors import StateTransitionError as StateTransitionError
    from torrent_engine.base.errors import StorageError as StorageError
    from torrent_engine.base.errors import TorrentEngineError as TorrentEngineError
    from torrent_engine.base.errors import TrackerError as TrackerError
    from torrent_engine.base.errors import TrackerRefusedError as TrackerRefusedError
    from torrent_engine.base.errors import TrackerTimeoutError as TrackerTimeoutError
    from torrent_engine.base.errors import UnknownFileError as UnknownFileError
    from torrent_engine.base.errors import UnknownTorrentError as UnknownTorrentError
    from torrent_engine.base.ids import FileIndex as FileIndex
    from torrent_engine.base.ids import InfoHash as InfoHash
    from torrent_engine.base.ids import OwnerTie as OwnerTie
    from torrent_engine.base.ids import PeerAddress as PeerAddress
    from torrent_engine.base.ids import PeerId as PeerId
    from torrent_engine.base.ids import PieceIndex as PieceIndex
    from torrent_engine.base.storage import ImmediateStorage as ImmediateStorage
    from torrent_engine.base.storage import Storage as Storage
    from torrent_engine.base.storage import StorageFiles as StorageFiles
    from torrent_engine.base.storage import StoredFile as StoredFile
    from torrent_engine.codec.certificates import Certificate as Certificate
    from torrent_engine.codec.certificates import SigningKey as SigningKey
    from torrent_engine.codec.certificates import read_certificates as read_certificates
    from torrent_engine.codec.magnet import Magnet as Magnet
    from torrent_engine.codec.metainfo import FileEntry as FileEntry
    from torrent_engine.codec.metainfo import Metainfo as Metainfo
    from torrent_engine.codec.mutable_link import MutableKey as MutableKey
    from torrent_engine.codec.mutable_link import MutableLink as MutableLink
    from torrent_engine.codec.signatures import CheckedSignature as CheckedSignature
    from torrent_engine.codec.signatures import SignatureStatus as SignatureStatus
    from torrent_engine.codec.signatures import check_signatures as check_signatures
    from torrent_engine.codec.signatures import sign_torrent as sign_torrent
    from torrent_engine.disk.create.create import CreateOptions as CreateOptions
    from torrent_engine.disk.create.create import create_torrent as create_torrent
    from torrent_engine.disk.files.memory_storage import MemoryStorage as MemoryStorage
    from torrent_engine.disk.files.storage_contract import STORAGE_RULES as STORAGE_RULES
    from torrent_engine.disk.files.storage_contract import check_storage as check_storage
    from torrent_engine.engine.event_bus import EventBus as EventBus
    from torrent_engine.engine.event_bus import EventStream as EventStream
    from torrent_engine.engine.event_bus import Subscription as Subscription
    from torrent_engine.engine.events import ChangedGroup as ChangedGroup
    from torrent_engine.engine.events import CheckProgress as CheckProgress
    from torrent_engine.engine.events import DhtPeersFound as DhtPeersFound
    from torrent_engine.engine.events import DownloadFinished as DownloadFinished
    from torrent_engine.engine.events import Event as Event
    from torrent_engine.engine.events import EventsDropped as EventsDropped
    from torrent_engine.engine.events import FileCompleted as FileCompleted
    from torrent_engine.engine.events import FileRenamed as FileRenamed
    from torrent_engine.engine.events import JobChanged as JobChanged
    from torrent_engine.engine.events import JobsRemoved as JobsRemoved
    from torrent_engine.engine.events import MetadataReceived as MetadataReceived
    from torrent_engine.engine.events import PeerBanned as PeerBanned
    from torrent_engine.engine.events import PeerConnected as PeerConnected
    from torrent_engine.engine.events import PeerDisconnected as PeerDisconnected
    from torrent_engine.engine.events import PieceCompleted as PieceCompleted
    from torrent_engine.engine.events import PieceHashFailed as PieceHashFailed
    from torrent_engine.engine.events import QueueChanged as QueueChanged
    from torrent_engine.engine.events import SessionCompleted as SessionCompleted
    from torrent_engine.engine.events import SessionErrored as SessionErrored
    from torrent_engine.engine.events import SessionPaused as SessionPaused
    from torrent_engine.engine.events import SessionResumed as SessionResumed
    from torrent_engine.engine.events import SessionStarted as SessionStarted
    from torrent_engine.engine.events import SessionStopped as SessionStopped
    from torrent_engine.engine.events import StatsUpdated as StatsUpdated
    from torrent_engine.engine.events import StorageMoved as StorageMoved
    from torrent_engine.engine.events import StorageMoveFailed as StorageMoveFailed
    from torrent_engine.engine.events import TorrentAdded as TorrentAdded
    from torrent_engine.engine.events import TorrentChanged as TorrentChanged
    from torrent_engine.engine.events import TorrentRemoved as TorrentRemoved
    from torrent_engine.engine.events import TrackerFailed as TrackerFailed
    from torrent_engine.engine.events import TrackerSucceeded as TrackerSucceeded
    from torrent_engine.engine.events import WebSeedBanned as WebSeedBanned
    from torrent_engine.engine.events import WebSeedFailed as WebSeedFailed
    from torrent_engine.engine.jobs.job_log import Job as Job
    from torrent_engine.engine.jobs.job_log import JobFilter as JobFilter
    from torrent_engine.engine.manager.adding import Added as Added
    from torrent_engine.engine.manager.torrent_manager import TorrentManager as TorrentManager
    from torrent_engine.engine.reading.file_reader import FileReader as FileReader
    from torrent_engine.engine.resources.shared_resources import SharedResources as SharedResources
    from torrent_engine.engine.session.download import download as download
    from torrent_engine.engine.session.download import download_async as download_async
    from torrent_engine.engine.session.session import Session as Session
    from torrent_engine.engine.states import State as State
    from torrent_engine.engine.stats import BandwidthGroup as BandwidthGroup
    from torrent_engine.engine.stats import BanRecord as BanRecord
    from torrent_engine.engine.stats import DiskStats as DiskStats
    from torrent_engine.engine.stats import FileStats as FileStats
    from torrent_engine.engine.stats import LoopLag as LoopLag
    from torrent_engine.engine.stats import ManagerStats as ManagerStats
    from torrent_engine.engine.stats import NetworkStatus as NetworkStatus
    from torrent_engine.engine.stats import PeerStats as PeerStats
    from torrent_engine.engine.stats import ProblemKind as ProblemKind
    from torrent_engine.engine.stats import SessionBrief as SessionBrief
    from torrent_engine.engine.stats import SessionStats as SessionStats
    from torrent_engine.engine.stats import SessionTimes as SessionTimes
    from torrent_engine.engine.stats import SourceCounts as SourceCounts
    from torrent_engine.engine.stats import SwarmAvailability as SwarmAvailability
    from torrent_engine.engine.stats import TorrentFacts as TorrentFacts
    from torrent_engine.engine.stats import TorrentProblem as TorrentProblem
    from torrent_engine.engine.stats import TrackerRequest as TrackerRequest
    from torrent_engine.engine.stats import TrackerScrape as TrackerScrape
    from torrent_engine.engine.stats import TrackerStatus as TrackerStatus
    from torrent_engine.engine.stats import WebSeedState as WebSeedState
    from torrent_engine.engine.stats import WebSeedStats as WebSeedStats
    from torrent_engine.net.dht.mutable_torrents import (
        MutableTorrentPublisher as MutableTorrentPublisher,
    )
    from torrent_engine.net.dht.mutable_torrents import MutableTorrents as MutableTorrents
    from torrent_engine.protocol.dht.mutable_torrent import MutableTorrent as MutableTorrent
else:
    _MODULES = {
        "base.config": (
            "ConnectionEncryption",
            "TransportProtocol",
            "ManagerConfig",
            "SessionConfig",
            "SharedConfig",
        ),
        "base.errors": (
            "BencodeError",
            "BusyError",
            "ClosedError",
            "ConfigError",
            "DiskFullError",
            "EncryptionError",
            "FileExistsStorageError",
            "FileInUseError",
            "ForeignFileError",
            "GatewayError",
            "HiddenNameError",
            "HttpError",
            "IpFilterError",
            "KrpcError",
            "LocalProtocolError",
            "MagnetError",
            "MetainfoError",
            "MissingFilesError",
            "NameResolutionError",
            "NetworkError",
            "OwnerChangedError",
            "ProxyError",
            "RemoteProtocolError",
            "SessionError",
            "SignatureError",
            "StateDatabaseError",
            "StateInUseError",
            "StateTransitionError",
            "StorageError",
            "TorrentEngineError",
            "TrackerError",
            "TrackerRefusedError",
            "TrackerTimeoutError",
            "UnknownFileError",
            "UnknownTorrentError",
        ),
        "base.ids": (
            "FileIndex",
            "InfoHash",
            "OwnerTie",
            "PeerAddress",
            "PeerId",
            "PieceIndex",
        ),
        "codec.certificates": ("Certificate", "SigningKey", "read_certificates"),
        "codec.magnet": ("Magnet",),
        "codec.mutable_link": ("MutableKey", "MutableLink"),
        "net.dht.mutable_torrents": (
            "MutableTorrentPublisher",
            "MutableTorrents",
        ),
        "protocol.dht.mutable_torrent": ("MutableTorrent",),
        "codec.metainfo": (
            "FileEntry",
            "Metainfo",
        ),
        "codec.signatures": (
            "CheckedSignature",
            "SignatureStatus",
            "check_signatures",
            "sign_torrent",
        ),
        "base.storage": (
            "ImmediateStorage",
            "Storage",
            "StorageFiles",
            "StoredFile",
        ),
        "disk.files.memory_storage": ("MemoryStorage",),
        "disk.files.storage_contract": ("STORAGE_RULES", "check_storage"),
        "disk.create.create": (
            "CreateOptions",
            "create_torrent",
        ),
        "engine.event_bus": (
            "EventBus",
            "EventStream",
            "Subscription",
        ),
        "engine.events": (
            "ChangedGroup",
            "CheckProgress",
            "DhtPeersFound",
            "DownloadFinished",
            "Event",
            "EventsDropped",
            "FileCompleted",
            "FileRenamed",
            "JobChanged",
            "JobsRemoved",
            "MetadataReceived",
            "PeerBanned",
            "PeerConnected",
            "PeerDisconnected",
            "PieceCompleted",
            "PieceHashFailed",
            "QueueChanged",
            "SessionCompleted",
            "SessionErrored",
            "SessionPaused",
            "SessionResumed",
            "SessionStarted",
            "SessionStopped",
            "StatsUpdated",
            "StorageMoveFailed",
            "StorageMoved",
            "TorrentAdded",
            "TorrentChanged",
            "TorrentRemoved",
            "TrackerFailed",
            "TrackerSucceeded",
            "WebSeedBanned",
            "WebSeedFailed",
        ),
        "engine.jobs.job_log": (
            "Job",
            "JobFilter",
        ),
        "engine.manager.adding": ("Added",),
        "engine.manager.torrent_manager": ("TorrentManager",),
        "engine.resources.shared_resources": ("SharedResources",),
        "engine.session.download": (
            "download",
            "download_async",
        ),
        "engine.reading.file_reader": ("FileReader",),
        "engine.session.session": ("Session",),
        "engine.states": ("State",),
        "engine.stats": (
            "BandwidthGroup",
            "BanRecord",
            "DiskStats",
            "FileStats",
            "LoopLag",
            "ManagerStats",
            "NetworkStatus",
            "PeerStats",
            "TorrentProblem",
            "ProblemKind",
            "SessionBrief",
            "SessionStats",
            "SessionTimes",
            "SourceCounts",
            "SwarmAvailability",
            "TrackerRequest",
            "TrackerScrape",
            "TorrentFacts",
            "TrackerStatus",
            "WebSeedState",
            "WebSeedStats",
        ),
    }
    _HOMES = {name: module for module, names in _MODULES.items() for name in names}
    __all__ = ["__version__", *sorted(_HOMES)]

    def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
        """Import a public name when it is first used (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        """Return the public names."""
        return sorted({*globals(), *__all__})
