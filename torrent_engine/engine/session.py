"""Owns the life of one torrent: its state, and what may be asked of it when.

The work is done by its parts: a SessionRun (one run, from the claim on the files to their release)
with a StorageManager, a ResumeKeeper and a Transfer; the EventBus tells who listens.
"""

import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import StateTransitionError, TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.events import (
    SessionPaused,
    SessionResumed,
    SessionStarted,
    SessionStopped,
)
from torrent_engine.engine.owners import OWNER_CHANGED, OwnerWatch
from torrent_engine.engine.resting import RestFacts
from torrent_engine.engine.session_life import RECHECK
from torrent_engine.engine.session_rest import SessionRest
from torrent_engine.engine.session_run import SessionRun
from torrent_engine.engine.shared_resources import SharedResources
from torrent_engine.engine.states import Signal, State

logger = logging.getLogger(__name__)


class Session(SessionRest):
    """One torrent: downloads it, then seeds it; borrows from SharedResources.

    Of a magnet link it asks peers for the metadata first (BEP 9). Make it with :meth:`create`;
    ``async with`` starts it, and closes it at the end.
    """

    @classmethod
    async def create(
        cls,
        source: Metainfo | Magnet | InfoHash,
        shared: SharedResources,
        *,
        save_path: str | os.PathLike[str],
        config: SessionConfig | None = None,
    ) -> Self:
        """Make a Session that keeps its files below ``save_path``; nothing runs yet.

        An info-hash alone is that of a torrent whose metainfo the database has. Raises
        OwnerChangedError if the configuration ties it to an owner that has moved on.
        """
        if config is not None:
            shared.owners.check(config.owner)
        folder = save_path if isinstance(save_path, Path) else Path(save_path)
        return cls(source, shared, folder, config or SessionConfig())

    _owner_watch: OwnerWatch | None = None
    _removed: anyio.Event | None = None
    """Set when all is removed, after the owner moved on."""
    on_owner_gone: Callable[[InfoHash], Awaitable[None]] | None = None
    """Called after that; a KeyError of it is no news."""

    # -- life -------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        with anyio.CancelScope(shield=True):
            await self.close()

    async def start(self) -> None:
        """Begin to check, then to download or seed; returns at once.

        In state ERROR because of a full disk this is :meth:`resume`.
        Raises StateTransitionError if it runs already or is closed, LocalProtocolError if another
        Session of the same torrent runs with the same SharedResources, OwnerChangedError if it is
        tied to an owner that has moved on.
        """
        if self._is_disk_full:
            await self.resume()
        else:
            await self._begin(Signal.START, trust=self.config.use_resume)

    async def _begin(self, signal: Signal, *, trust: bool) -> None:
        """Start a run by a signal; with ``trust`` false all the data is hashed."""
        self._check_start(signal)
        await self._open(trust=trust)
        has_metainfo = self._metainfo is not None or self._is_stored
        self._machine.fire(signal if has_metainfo else Signal.METADATA_NEEDED)
        self.is_paused_by_user = self.config.paused
        if self.config.paused or self.is_held:
            self._machine.fire(Signal.PAUSE)
        self.events.publish(SessionStarted(self.info_hash, self.state.value))
        self._launch()

    async def begin_at_rest(
        self, facts: RestFacts, state: State, paused_state: State | None, *, is_paused_by_user: bool
    ) -> None:
        """Start at rest, in the state that another process left. Raises as :meth:`start`."""
        self._check_start(Signal.START)
        await self._open(trust=True)
        self._machine.place(state, paused_state)
        self.is_paused_by_user = is_paused_by_user
        self._begin_rest(facts)
        self._moved(State.STOPPED, state)
        self.events.publish(SessionStarted(self.info_hash, state.value))

    async def _open(self, *, trust: bool) -> None:
        """Take what a started Session holds of the shared resources."""
        self._run = None
        self._ended = anyio.Event()  # from now on who stops it waits for the end
        self._is_ending = False
        self._stop_wanted = None
        self._trusts_resume = trust
        self._started_s = self._shared.clock()
        try:
            await self._claim()
        except BaseException:
            self._ended.set()
            raise
        self._has_run = True
        self.error = None
        self._shared.file_registry.sessions.add(self.info_hash)

    def _check_start(self, signal: Signal) -> None:
        if self._is_closed:
            raise StateTransitionError(f"{signal.name} is not possible: the Session is closed")
        if not self._ended.is_set() or not self._machine.can(signal):
            raise StateTransitionError(f"{signal.name} is not possible while {self.state.value}")

    async def _claim(self) -> None:
        """Take a reference to the shared resources and the torrent's place in them."""
        self._watch_owner()
        await self._shared.acquire()
        self._run_bus()
        try:
            self._shared.register(self.info_hash, self.close)
        except BaseException:
            await self._shared.release()
            raise
        try:
            await self._recall_metadata()
        except BaseException:
            self._shared.unregister(self.info_hash)
            with anyio.CancelScope(shield=True):
                await self._shared.release()
            raise

    async def pause(self) -> None:
        """Let no payload move until :meth:`resume`; peers are disconnected."""
        if not (self.is_held and self.state is State.PAUSED):
            self._pause()
        self.is_paused_by_user = True
        self._settings_changed()

    def _pause(self) -> None:
        self._machine.fire(Signal.PAUSE)
        self._interrupt()
        self._hush()
        self.events.publish(SessionPaused(self.info_hash))

    async def resume(self) -> None:
        """Go on where :meth:`pause`, or a fault, ended it; when the queue lets it, if there is one.

        While the disk is full this tries again at once; else it is done now and then.
        """
        self.config = replace(self.config, paused=False)  # was said of the first start
        if self.state is State.ERROR:
            if self._is_disk_full:
                self._disk_full.retry()
            else:
                await self.start()
            return
        if not (self.is_held and self.state is State.PAUSED):
            self._resume()
        self.is_paused_by_user = False
        self._settings_changed()

    def _resume(self) -> None:
        self._machine.fire(Signal.RESUME)
        self._disk_full.retry()
        self._interrupt()
        self._speak_again()
        self.events.publish(SessionResumed(self.info_hash, self.state.value))

    def hold(self) -> None:
        """Let it wait for its turn in a queue: it is paused until :meth:`unhold`."""
        self.is_held = True
        if self.state is not State.PAUSED and self._machine.can(Signal.PAUSE):
            self._pause()

    def unhold(self) -> None:
        """Let it go on, unless the user paused it."""
        self.is_held = False
        if self.state is State.PAUSED and not self.is_paused_by_user:
            self._resume()

    async def recheck(self) -> None:
        """Hash all the data that is there again; does not trust the resume data.

        A Session that does not run is started by this.
        """
        if self._ended.is_set():
            await self._begin(Signal.RECHECK, trust=False)
            return
        self._machine.fire(Signal.RECHECK)
        self.error = None
        self._trusts_resume = False
        if self._run is not None:
            self._run.stop(RECHECK)
        self._wake()
        self._disk_full.drop()

    async def stop(self) -> None:
        """End the run in order: data written, state saved, trackers told (5 s at most)."""
        await self._stop("stopped")

    async def cancel(self, *, delete_files: bool = False) -> None:
        """End the run for good: the torrent is forgotten, its files removed if asked for.

        Files of somebody else in the same folders stay. Raises StorageError if a file cannot be
        removed.
        """
        end = partial(_cancel, deletes_files=delete_files)
        self._ask_to_stop("cancelled", end)
        await self._ended.wait()
        self._shared.session_jobs.removed(self.info_hash, reason="cancelled")
        await self._forget(end if delete_files else None)

    async def _forget(self, end: Callable[[SessionRun], None] | None) -> None:
        """Forget a torrent that does not run; ``end`` says to a run which files are to go."""
        if (metainfo := await self._present_metainfo()) is None:
            await self._while_open(self._recall_metadata)
            metainfo = self._metainfo
        self._shared.file_registry.sessions.discard(self.info_hash)
        run = self._run
        if metainfo is None:
            return
        await self._while_open(self._undo_move)
        if end is None:
            await self._while_open(lambda: self._shared.store.remove(self.info_hash))
        elif run is None or not run.has_deleted_files:
            run = self._make_run(metainfo, trust=True)
            end(run)
            await self._while_open(run.run)

    async def close(self) -> None:
        """Stop, then end the events; the Session cannot be started after that."""
        self._is_closed = True
        self._shared.file_registry.sessions.discard(self.info_hash)
        if self._owner_watch is not None:
            self._owner_watch.cancel()
        await self.stop()
        if self._removed is not None:
            await self._removed.wait()
        self._waiters.moved(self.state, self.state)  # who waits for a start waits in vain
        self.events.close()

    async def _stop(self, reason: str) -> None:
        self._ask_to_stop(reason, lambda run: run.stop(reason))
        await self._ended.wait()

    def _ask_to_stop(self, reason: str, end: Callable[[SessionRun], None]) -> None:
        """Begin to end whatever goes on, a run by ``end``; it is over when ``_ended`` is set."""
        if not self._ended.is_set():
            self._stop_wanted = self._stop_wanted or reason
            if self._run is not None:
                end(self._run)
            if self._fetch is not None:
                self._fetch.stop(reason)
            self._disk_full.drop()
            self._end_rest()

    def _watch_owner(self) -> None:
        """Hear when the owner moves on. Raises OwnerChangedError if that has been."""
        tie = self.config.owner
        if tie is not None and self._owner_watch is None:
            self._owner_watch = self._shared.owners.watch(tie, self._owner_changed)

    def _owner_changed(self) -> None:
        """End at once: it was for somebody who has moved on."""
        logger.info("torrent %s: cancelled, its owner has moved on", self.info_hash.hex())
        self._owner_watch = None
        is_over = self._ended.is_set()
        self._ask_to_stop(OWNER_CHANGED, SessionRun.abandon)
        self._removed = removed = anyio.Event()
        self._shared.start_task(partial(self._end_for_owner, removed, tells=is_over))

    async def _end_for_owner(self, removed: anyio.Event, *, tells: bool) -> None:
        """Remove what is left once nothing runs; ``tells``: nothing did."""
        try:
            await self._ended.wait()
            await self._forget(SessionRun.abandon)
        except TorrentEngineError as error:
            logger.warning("torrent %s: not all was removed: %s", self.info_hash.hex(), error)
        finally:
            removed.set()
        if tells:
            self._stop_reason = OWNER_CHANGED
            self.events.publish(SessionStopped(self.info_hash, OWNER_CHANGED))
        if self.on_owner_gone is not None:
            with suppress(KeyError):
                await self.on_owner_gone(self.info_hash)


def _cancel(run: SessionRun, *, deletes_files: bool) -> None:
    """End a run for good, for the user."""
    run.deletes_files = run.deletes_files or deletes_files
    run.stop("cancelled")
