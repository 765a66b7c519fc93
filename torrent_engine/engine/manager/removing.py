"""Removing torrents from a manager: each once, whoever asks for it."""

from functools import partial

import anyio
import anyio.abc

from torrent_engine.base.errors import SessionError, UnknownTorrentError
from torrent_engine.engine.manager.registry import Registry
from torrent_engine.engine.manager.torrent_list import TorrentList
from torrent_engine.engine.session.session import Session


class _Removal:
    """One removal under way; who asks for it meanwhile shares its outcome."""

    def __init__(self, *, deletes_files: bool) -> None:
        self.deletes_files = deletes_files
        self.tasks: anyio.abc.TaskGroup | None = None
        """Cancels the Session; None before and after that."""
        self.ended = anyio.Event()
        self._error: Exception | None = None

    def fail(self, error: Exception) -> None:
        """Raise this to all who asked, unless there was an error before."""
        self._error = self._error or error

    async def outcome(self) -> None:
        """Wait for the end; raises what the removal raised."""
        await self.ended.wait()
        if self._error is not None:
            raise self._error


class Removing:
    """Ends Sessions and removes their torrents.

    A torrent leaves the list when its Session is closed, so that nothing that works for the old one
    meets a new one.
    """

    def __init__(self, torrents: TorrentList, registry: Registry) -> None:
        self._torrents = torrents
        self._registry = registry
        self._under_way: dict[Session, _Removal] = {}

    async def wait(self) -> None:
        """Wait until no removal is under way."""
        while self._under_way:
            await next(iter(self._under_way.values())).ended.wait()

    async def remove(self, session: Session, *, delete_files: bool) -> None:
        """Remove a torrent, or wait until it is removed; see :meth:`TorrentManager.remove_torrent`.

        Files stay if the Session was cancelled already when this was called.
        """
        removal = self._under_way.get(session)
        if removal is None:
            self._under_way[session] = removal = _Removal(deletes_files=delete_files)
            with anyio.CancelScope(shield=True):
                await self._remove(session, removal)
        elif delete_files and not removal.deletes_files and removal.tasks is not None:
            removal.deletes_files = True
            removal.tasks.start_soon(partial(_cancel, session, removal, delete_files=True))
        await removal.outcome()
        if delete_files and not removal.deletes_files:
            raise UnknownTorrentError(session.info_hash)

    async def _remove(self, session: Session, removal: _Removal) -> None:
        self._registry.leaving(session.info_hash)
        try:
            await self._end(session, removal)
        except Exception as error:  # raised to all who asked
            removal.fail(error)
        except BaseException:
            removal.fail(SessionError(f"{session.name}: the removal was not finished"))
            raise
        finally:
            del self._under_way[session]
            removal.ended.set()

    async def _end(self, session: Session, removal: _Removal) -> None:
        try:
            async with anyio.create_task_group() as removal.tasks:
                await _cancel(session, removal, delete_files=removal.deletes_files)
        finally:
            removal.tasks = None
            await session.close()
            if self._torrents.get(session.info_hash) is session:
                self._registry.remove(session.info_hash)
                await self._registry.store.remove(session.info_hash)


async def _cancel(session: Session, removal: _Removal, *, delete_files: bool) -> None:
    try:
        await session.cancel(delete_files=delete_files)
    except Exception as error:  # raised to all who asked
        removal.fail(error)
