"""What there is and what can be told of each torrent, from the manager."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

import anyio.to_thread

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.daemon.engine_port.conversion import (
    TrackerView,
    about_of,
    file_of,
    peer_of,
    progress_of,
    rates_of,
    settings_of,
    tracker_of,
    tracker_view,
    web_seed_of,
)
from torrent_engine.daemon.engine_port.facts import (
    FactSheet,
    FileFacts,
    PeerFacts,
    ProgressFacts,
    RateFacts,
    SwarmFacts,
    TrackerFacts,
    WebSeedFacts,
)
from torrent_engine.daemon.engine_port.opened import OpenManager
from torrent_engine.daemon.engine_port.port import ByteReader
from torrent_engine.daemon.engine_port.readers import ReaderOfFile
from torrent_engine.engine.file_stats import file_stats
from torrent_engine.engine.states import State
from torrent_engine.engine.stats import FileStats

_T = TypeVar("_T")
FEW_FILES: Final = 1_000  # ours: more are told by a thread
_QUIET: Final = frozenset({State.STOPPED, State.PAUSED, State.ERROR})


class ManagerReading:
    """A :class:`TorrentReading` of the open manager."""

    def __init__(self, opened: OpenManager) -> None:
        self._opened = opened
        self._trackers: dict[InfoHash, TrackerView] = {}

    def hashes(self) -> Sequence[InfoHash]:
        """Return all torrents, in the order of the queue."""
        return [session.info_hash for session in self._opened.manager.sessions]

    def has(self, info_hash: InfoHash) -> bool:
        """Return whether a torrent is there; False while the engine is not open."""
        opened = self._opened
        return opened.is_open and opened.manager.get_session(info_hash) is not None

    def active(self) -> Iterable[InfoHash]:
        """Return the torrents whose numbers may change by themselves."""
        return [
            session.info_hash
            for session in self._opened.manager.sessions
            if session.state not in _QUIET and not session.is_resting
        ]

    def facts(self, info_hash: InfoHash) -> FactSheet:
        """Return everything that costs little."""
        session, manager = self._opened.session(info_hash), self._opened.manager
        brief, trackers = session.brief(), tracker_view(session)
        self._trackers[info_hash] = trackers
        settings = settings_of(
            session,
            priority=manager.priority(info_hash),
            queue_position=manager.position(session.info_hash),
        )
        return FactSheet(
            session.info_hash,
            about_of(session),
            settings,
            progress_of(session, brief, trackers),
            rates_of(brief, trackers),
        )

    def live(self, info_hash: InfoHash) -> tuple[ProgressFacts, RateFacts]:
        """Return what may change by itself; of trackers what :meth:`facts` found last."""
        session = self._opened.session(info_hash)
        brief, trackers = session.brief(), self._trackers.get(info_hash)
        if trackers is None:
            trackers = self._trackers[info_hash] = tracker_view(session)
        return progress_of(session, brief, trackers), rates_of(brief, trackers)

    def forget(self, info_hash: InfoHash) -> None:
        """Forget what was kept of a torrent that is gone."""
        self._trackers.pop(info_hash, None)

    def failure(self, info_hash: InfoHash) -> TorrentEngineError | None:
        """Return the error that ended the torrent."""
        return self._opened.session(info_hash).error

    async def metainfo(self, info_hash: InfoHash) -> Metainfo | None:
        """Return what the .torrent says, read in a thread; None before the metadata."""
        session = self._opened.session(info_hash)
        return await self._read(info_hash, lambda: session.metainfo)

    async def files(self, info_hash: InfoHash) -> Sequence[FileFacts]:
        """Return the files without pad files; none before the metadata."""
        session = self._opened.session(info_hash)
        if session.is_resting:  # its metainfo is read in the thread, too
            return await self._read(info_hash, lambda: _files_of(session.files))
        if (metainfo := await self.metainfo(info_hash)) is None:
            return []
        have, priorities = session.stats().have, session.config.file_priorities

        def files() -> list[FileStats]:
            return file_stats(metainfo, have, priorities, session.admin.file_names.in_use())

        if len(metainfo.files) <= FEW_FILES:
            return _files_of(files)
        return await self._read(info_hash, lambda: _files_of(files))

    async def _read(self, info_hash: InfoHash, work: Callable[[], _T]) -> _T:
        """Do work in a thread. Raises UnknownTorrentError if the torrent is removed meanwhile."""
        found = await anyio.to_thread.run_sync(work)
        self._opened.session(info_hash)
        return found

    def peers(self, info_hash: InfoHash) -> Sequence[PeerFacts]:
        """Return the connected peers."""
        return list(map(peer_of, self._opened.session(info_hash).peers()))

    def trackers(self, info_hash: InfoHash) -> Sequence[TrackerFacts]:
        """Return all trackers, of stopped torrents too."""
        return list(map(tracker_of, self._opened.session(info_hash).trackers(secrets=True)))

    def web_seeds(self, info_hash: InfoHash) -> Sequence[WebSeedFacts]:
        """Return all web seeds."""
        seeds = self._opened.session(info_hash).web_seeds(secrets=True)
        return list(map(web_seed_of, seeds))

    def pieces(self, info_hash: InfoHash) -> bytes:
        """Return the verified pieces as a BEP 3 bitfield; b"" before the metadata."""
        return self._opened.session(info_hash).stats().have

    def availability(self, info_hash: InfoHash) -> Sequence[int]:
        """Return how many connected peers have each piece, up to 255; empty before the metadata."""
        return self._opened.session(info_hash).availability().counts

    def swarm(self, info_hash: InfoHash) -> SwarmFacts:
        """Return what the connected peers have."""
        found = self._opened.session(info_hash).availability()
        return SwarmFacts(found.distributed_copies, found.desired_bytes)

    def open(self, info_hash: InfoHash, file: int | str) -> ByteReader:
        """Return a reader of a file, by its index or path.

        Raises UnknownFileError, which ``async with`` does if the metainfo is not in memory.
        """
        return ReaderOfFile(self._opened.session(info_hash).open(file))


def _files_of(files: Callable[[], list[FileStats]]) -> list[FileFacts]:
    return list(map(file_of, files()))
