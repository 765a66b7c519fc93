"""Control of torrents through the manager of this process."""

from functools import partial
from typing import TYPE_CHECKING

import anyio.lowlevel
import anyio.to_thread

from torrent_engine.base.errors import StateTransitionError, UnknownTorrentError
from torrent_engine.base.ids import InfoHash
from torrent_engine.engine.states import State
from torrent_engine.service.torrents import (
    Change,
    Failure,
    TorrentAction,
    TorrentRow,
    change_each,
    changed_priorities,
)

if TYPE_CHECKING:
    from torrent_engine.engine.manager.torrent_manager import TorrentManager
    from torrent_engine.engine.session.session import Session


class LiveTorrents:
    """A :class:`TorrentControl` over a running manager."""

    def __init__(self, manager: "TorrentManager") -> None:
        self._manager = manager

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

    async def _change(self, change: Change, info_hash: InfoHash) -> None:
        session = self._manager.get_session(info_hash)
        if session is None:
            raise UnknownTorrentError(info_hash)
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
            case TorrentAction.PRIORITY:
                await self._prioritise(session, change)
            case TorrentAction.RECHECK:
                await _recheck(session)

    async def _prioritise(self, session: "Session", change: Change) -> None:
        if not change.files:
            self._manager.set_priority(session.info_hash, change.priority)
            return
        metainfo = await anyio.to_thread.run_sync(lambda: session.metainfo)
        if metainfo is None:
            raise StateTransitionError("which files there are is not known before the metadata")
        before = session.config.file_priorities
        await session.set_file_priorities(changed_priorities(metainfo.files, before, change))

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
        )


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
