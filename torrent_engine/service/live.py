"""Control of torrents through the manager of this process."""

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio.lowlevel
import anyio.to_thread

from torrent_engine.base.errors import (
    ConfigError,
    StateDatabaseError,
    StateTransitionError,
    StorageError,
    TorrentEngineError,
    UnknownTorrentError,
)
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.states import State
from torrent_engine.service import sources
from torrent_engine.service.add_options import AddOptions
from torrent_engine.service.adding import Adder
from torrent_engine.service.detail_values import file_value, peer_value, tracker_value
from torrent_engine.service.new_torrent import AdditionReport, NewTorrent
from torrent_engine.service.torrents import (
    Change,
    Failure,
    QueuePlace,
    TorrentAction,
    TorrentDetail,
    TorrentRow,
    change_each,
    file_priorities,
)

if TYPE_CHECKING:
    from torrent_engine.engine.manager.torrent_manager import TorrentManager
    from torrent_engine.engine.session.session import Session

NO_LABELS: Final = "labels and categories are kept by `torrent-engine daemon`, not by `run`"


class LiveTorrents:
    """A :class:`TorrentControl` over a running manager."""

    def __init__(self, manager: "TorrentManager", adder: Adder) -> None:
        self._manager = manager
        self._adder = adder

    async def rows(self) -> list[TorrentRow]:
        """Return all torrents, in the order of the queue."""
        rows: list[TorrentRow] = []
        for session in self._manager.sessions:
            rows.append(self._row(session))
            if len(rows) % 500 == 0:
                await anyio.lowlevel.checkpoint()
        return rows

    async def change(self, change: Change) -> "list[Failure]":
        """Apply a change and save it; return the torrents for which it failed."""
        failed = await change_each(change, partial(self._change, change))
        await self._manager.flush()
        return failed

    async def add(self, torrent: NewTorrent) -> AdditionReport:
        """Add a torrent, and save that. Raises TorrentEngineError.

        A new one that cannot be saved is removed again, as a kill would lose it (row F1).
        """
        if torrent.labels or torrent.category:
            raise ConfigError(NO_LABELS)
        options = AddOptions(
            save_path=torrent.save_path,
            paused=torrent.paused,
            sequential=torrent.sequential,
            priority=torrent.priority,
            position=torrent.position,
            max_download_bytes_per_s=torrent.download_bytes_per_s,
            max_upload_bytes_per_s=torrent.upload_bytes_per_s,
        )
        if isinstance(torrent.source, bytes):
            metainfo = await anyio.to_thread.run_sync(Metainfo.from_bytes, torrent.source)
            added = await self._adder.add(metainfo, metainfo.name, options)
        else:
            added = await self._adder.add_source(_remote(torrent.source), options)
        try:
            await self._manager.flush()
        except (StateDatabaseError, StorageError):
            if added.is_new:
                with suppress(TorrentEngineError):
                    await self._manager.remove_torrent(added.session.info_hash)
            raise
        return AdditionReport(added.session.info_hash.hex(), added.session.name, added.is_new)

    async def details(self, info_hash: InfoHash, detail: TorrentDetail) -> list[dict[str, Any]]:
        """Return the files, peers or trackers of a torrent."""
        session = self._session(info_hash)
        match detail:
            case TorrentDetail.FILES:
                return await anyio.to_thread.run_sync(
                    lambda: list(map(file_value, session.files()))
                )
            case TorrentDetail.PEERS:
                return list(map(peer_value, session.peers()))
            case TorrentDetail.TRACKERS:
                return list(map(tracker_value, session.trackers()))

    async def stats(self) -> dict[str, Any]:
        """Return numbers of all torrents together."""
        rows = await self.rows()
        return {
            "torrents": len(rows),
            "peers": sum(row.peers for row in rows),
            "download_bytes_per_s": round(sum(row.download_bytes_per_s for row in rows)),
            "upload_bytes_per_s": round(sum(row.upload_bytes_per_s for row in rows)),
            "ever": {
                "downloaded_bytes": sum(row.downloaded_bytes for row in rows),
                "uploaded_bytes": sum(row.uploaded_bytes for row in rows),
            },
        }

    def _session(self, info_hash: InfoHash) -> "Session":
        session = self._manager.get_session(info_hash)
        if session is None:
            raise UnknownTorrentError(info_hash)
        return session

    async def _change(self, change: Change, info_hash: InfoHash) -> None:
        session = self._session(info_hash)
        match change.action:
            case TorrentAction.PAUSE:
                if not session.is_paused_by_user:
                    await session.pause()
            case TorrentAction.RESUME:
                await _resume(session)
            case TorrentAction.REMOVE:
                await self._manager.remove_torrent(info_hash, delete_files=change.delete_files)
            case TorrentAction.MOVE:
                await session.move_storage(change.path)
            case TorrentAction.RECHECK:
                await _recheck(session)
            case _:
                await self._set(session, change)

    async def _set(self, session: "Session", change: Change) -> None:
        """Apply a change that moves no file and no state."""
        match change.action:
            case TorrentAction.PRIORITY:
                await self._prioritise(session, change)
            case TorrentAction.REANNOUNCE:
                session.reannounce()
            case TorrentAction.LIMIT:
                _limit(session, change)
            case TorrentAction.QUEUE:
                self._place(session, change.place)
            case _:
                raise StateTransitionError(NO_LABELS)

    def _place(self, session: "Session", place: QueuePlace | None) -> None:
        order = [each.info_hash for each in self._manager.sessions]
        now = order.index(session.info_hash)
        steps = {QueuePlace.TOP: 0, QueuePlace.UP: now - 1, QueuePlace.DOWN: now + 1}
        last = len(order) - 1
        position = last if place is None else steps.get(place, last)
        self._manager.move_to(session.info_hash, min(max(position, 0), last))

    async def _prioritise(self, session: "Session", change: Change) -> None:
        if not change.files:
            self._manager.set_priority(session.info_hash, change.priority)
            return
        metainfo = await anyio.to_thread.run_sync(lambda: session.metainfo)
        if metainfo is None:
            raise StateTransitionError("which files there are is not known before the metadata")
        await session.set_file_priorities(file_priorities(metainfo.files, change))

    def _row(self, session: "Session") -> TorrentRow:
        stats, error = session.stats(), session.error
        return TorrentRow(
            info_hash=session.info_hash.hex(),
            name=session.name,
            state=str(stats.state),
            priority=self._manager.priority(session.info_hash),
            save_path=str(session.save_path),
            total_bytes=stats.total_bytes,
            wanted_bytes=stats.wanted_bytes,
            completed_bytes=stats.completed_bytes,
            download_bytes_per_s=stats.download_bytes_per_s,
            upload_bytes_per_s=stats.upload_bytes_per_s,
            peers=stats.peers,
            error=None if error is None else str(error),
            downloaded_bytes=stats.all_downloaded_bytes,
            uploaded_bytes=stats.all_uploaded_bytes,
            eta_s=stats.eta_s,
        )


def _limit(session: "Session", change: Change) -> None:
    session.set_rate_limits(
        download_bytes_per_s=change.download_bytes_per_s,
        upload_bytes_per_s=change.upload_bytes_per_s,
    )
    if change.max_peers is not None:
        session.set_max_connections(change.max_peers)


def _remote(source: str) -> str:
    """Return a link or URL; paths are read by whoever names them. Raises ConfigError."""
    if sources.has_scheme(source) or sources.is_url(source) or Magnet.is_link(source):
        return source
    raise ConfigError("source: a magnet link or a URL is needed")


async def _resume(session: "Session") -> None:
    if session.state is State.STOPPED:
        await session.start()
    elif session.is_paused_by_user or session.state is State.ERROR:
        await session.resume()


async def _recheck(session: "Session") -> None:
    """Check all data and return when that has ended; a paused or queued torrent stays so."""
    await session.recheck(while_paused=True)
    await session.wait(*set(State) - {State.CHECKING})
    if session.paused_state is State.CHECKING:
        raise StateTransitionError("it was paused before the check had ended")
    if session.state is State.ERROR and session.error is not None:
        raise session.error
