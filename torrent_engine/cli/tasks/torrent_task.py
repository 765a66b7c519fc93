"""One torrent of a command, from its source to its exit code."""

import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, TypeVarTuple

import anyio
import anyio.lowlevel
from anyio import to_thread

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import (
    ForeignFileError,
    NetworkError,
    OwnerChangedError,
)
from torrent_engine.cli.output import records
from torrent_engine.cli.output.diagnosis import dht_state, problem_of
from torrent_engine.cli.output.exit_codes import (
    CliError,
    ExitCode,
    exit_code_of,
    first_leaf,
    is_expected,
    message_of,
)
from torrent_engine.cli.output.overview import (
    DONE,
    FAILED,
    LOADING,
    QUEUED,
    OverviewEntry,
    entry_of,
)
from torrent_engine.cli.output.peers import peer_lines
from torrent_engine.cli.output.render import OUTPUT_WAIT_S, OutputError, Reporter, print_traceback
from torrent_engine.cli.output.text import safe
from torrent_engine.cli.output.tracker_notices import EVENT_TYPES, TrackerNotices
from torrent_engine.cli.output.views import (
    Row,
    done_line,
    incomplete_line,
    metadata_line,
    seeded_line,
    session_row,
)
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.event_bus import EventStream
from torrent_engine.engine.events import Event, TrackerFailed, TrackerSucceeded
from torrent_engine.engine.resources.owners import OWNER_CHANGED
from torrent_engine.engine.session.merging import merge_trackers
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.engine.transfer.progress import MANY_FILES
from torrent_engine.service import sources
from torrent_engine.service.saved_files import common_path, first_missing

if TYPE_CHECKING:
    from torrent_engine.cli.tasks.process_owner import ProcessOwner
    from torrent_engine.engine.resources.shared_resources import SharedResources
    from torrent_engine.engine.stats import SessionStats
    from torrent_engine.net.dht.service import DhtService
    from torrent_engine.service.completion_hook import CompletionHook
    from torrent_engine.service.deduplication import TorrentAdmission

PROGRESS_CHECK_S: Final = 0.5
_Arguments = TypeVarTuple("_Arguments")
_T = TypeVar("_T")
_WAITING_FOR_PEERS: Final = frozenset({State.DOWNLOADING, State.FETCHING_METADATA})


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """Settings of all torrents of a command."""

    folder: Path
    session_config: Callable[[Metainfo | Magnet], SessionConfig]
    """May raise ConfigError, which fails that torrent only."""
    must_be_complete: bool = False
    """True for ``seed``: missing data is an error."""
    stop_timeout_s: float | None = None
    """Time without progress after which it ends."""
    timeout_s: float | None = None
    """Time limit for the metadata."""
    save_metadata: Callable[[Metainfo], str] | None = None
    """Given for ``metadata``: writes a .torrent and returns its path."""
    is_overview: bool | None = None
    """A line per torrent on a terminal; None: where there are several."""
    shows_peers: bool = False
    """A line per peer below each torrent."""
    max_active: int = 0
    """Torrents that download at a time; 0: all."""
    owner: "ProcessOwner | None" = None
    """The process that owns the torrents."""
    hook: "CompletionHook | None" = None
    """Runs a program for each finished download."""
    trackers: tuple[str, ...] = ()
    """Additional trackers."""
    stdin: bytes = b""
    max_torrent_bytes: int = sources.MAX_TORRENT_BYTES
    debug: bool = False


class TorrentTask:
    """One torrent of a command; its errors become its exit code."""

    def __init__(self, source: str, options: TaskOptions, reporter: Reporter) -> None:
        self.source = source
        self.code: ExitCode | None = None  # None while it runs
        self.session: Session | None = None
        self._label = self._shown = safe(sources.shown(source))
        self._options = options
        self._reporter = reporter
        self.is_first = True  # until another source is found to name the same torrent
        self._has_reported_completion = False
        self._failure = ""  # why it ended, safe for a terminal
        self._loading: anyio.CancelScope | None = None
        self._is_stopping = False
        self._shared_dht: Callable[[], DhtService | None] = lambda: None

    @property
    def row(self) -> Row:
        """Its row in the display."""
        if self.session is None:
            return session_row(self.source, self.label, None)
        stats = self.session.stats()
        return session_row(
            self.source,
            self.label,
            stats,
            peers=peer_lines(self.session.peers()) if self._options.shows_peers else (),
            problem=problem_of(self.session, stats),
            dht="" if self._is_private else dht_state(self._shared_dht()),
        )

    @property
    def _is_private(self) -> bool:
        return self._metainfo is not None and self._metainfo.is_private

    @property
    def entry(self) -> OverviewEntry:
        """Its line in the overview of several torrents."""
        if self.code is not None:
            stats = None if self.session is None else self.session.stats
            word = DONE if self.code is ExitCode.OK else FAILED
            return OverviewEntry(self.label, word, stats, problem=lambda: self._failure)
        if self.session is None:
            return OverviewEntry(self.label, LOADING)
        if self.session.state is State.STOPPED:
            return OverviewEntry(self.label, QUEUED, self.session.stats)
        return entry_of(self.session, self.label, shows_peers=self._options.shows_peers)

    @property
    def label(self) -> str:
        """Its name, safe to print; for a link the source until the metadata has arrived."""
        return self._label if self._metainfo is None else safe(self._metainfo.name)

    @property
    def _metainfo(self) -> Metainfo | None:
        """The metainfo; None until the metadata of a link has arrived."""
        return None if self.session is None else self.session.metainfo

    async def run(
        self, shared: "SharedResources", admission: "TorrentAdmission[TorrentTask]"
    ) -> None:
        """Run to the end, once ``admission`` allows it."""
        try:
            with anyio.CancelScope() as self._loading:
                if self._is_stopping:  # before it began
                    self._loading.cancel()
                await self._load(shared, admission)
                await anyio.lowlevel.checkpoint_if_cancelled()  # threads are waited for
            if self.session is not None and self._loading.cancelled_caught:
                self._end_unbegun()
            elif self.session is not None:
                await self._run_session(self.session, shared, admission)
        except Exception as error:
            if isinstance(first_leaf(error), OutputError | BrokenPipeError):
                raise  # not an error of the torrent: ends the whole run
            self._fail(error)
        finally:
            admission.read(self)
            admission.release_slot(self)

    async def _load(
        self, shared: "SharedResources", admission: "TorrentAdmission[TorrentTask]"
    ) -> None:
        self._shared_dht = lambda: shared.dht
        torrent = await sources.load(
            self.source,
            self._options.stdin,
            shared.http,
            self._options.max_torrent_bytes,
            dht=lambda: shared.dht,
        )
        if (first := await admission.enter(torrent, self)) is not self:
            await self._give_way(torrent, first)
            return
        await self._open(torrent, shared)
        await admission.acquire_slot(self)

    def _end_unbegun(self) -> None:
        """End a torrent that was still queued when the command was stopped."""
        self.code = ExitCode.UNFINISHED
        self._reporter.note("not begun; run it again for that", about=self.label)
        self._record_result("unfinished")

    async def _give_way(self, torrent: Metainfo | Magnet, first: "TorrentTask") -> None:
        """End a duplicate; its trackers are added to the first torrent."""
        self.is_first = False
        added = await first.merge(torrent)
        trackers = f"; {added} more trackers" if added > 1 else "; 1 more tracker" if added else ""
        same = f"is the same torrent as {safe(sources.shown(first.source))}"
        self._reporter.note(f"{same}{trackers}", about=self._shown)
        info_hash = torrent.info_hash.hex()
        self._record("torrent.duplicate", info_hash=info_hash, trackers_added=added)
        self.code = ExitCode.OK

    async def merge(self, torrent: Metainfo | Magnet) -> int:
        """Add the peers and trackers of a duplicate; return the number of new trackers."""
        session = self.session
        if session is None:
            return 0
        for host, port in torrent.peers if isinstance(torrent, Magnet) else ():
            with suppress(NetworkError):  # its name is not known
                await session.add_peer(host, port)
        return merge_trackers(session, torrent)

    async def stop(self) -> None:
        """Stop the session, or cancel loading the source; it does not begin then."""
        self._is_stopping = True
        if self._loading is not None:
            self._loading.cancel()
        if self.session is not None and self.code is None:
            await self.session.stop()

    @property
    def _opened(self) -> Session:
        if self.session is None:
            raise CliError("is not open", ExitCode.UNKNOWN)
        return self.session

    async def _open(self, torrent: Metainfo | Magnet, shared: "SharedResources") -> None:
        options = self._options
        name = torrent.display_name if isinstance(torrent, Magnet) else torrent.name
        self._label = safe(name)
        config = await _for_files(torrent, options.session_config, torrent)
        if options.owner is not None:
            config = replace(config, owner=options.owner.tie)
        if options.must_be_complete:
            if isinstance(torrent, Magnet):
                raise CliError("seed takes a .torrent; `torrent-engine metadata` fetches it")
            await self._check_files(torrent, config)
        if (hint := sources.hint_about(self.source)) is not None:
            self._reporter.note(hint, about=self._label)
        self.session = await Session.create(
            torrent, shared, save_path=options.folder, config=config
        )
        for url in options.trackers:
            self.session.add_tracker(url)
        self._record("torrent.added", name=name)

    async def _check_files(self, metainfo: Metainfo, config: SessionConfig) -> None:
        folder = self._options.folder
        missing = await _for_files(metainfo, first_missing, folder, metainfo, config)
        if missing is not None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(missing))

    async def _run_session(
        self,
        session: Session,
        shared: "SharedResources",
        admission: "TorrentAdmission[TorrentTask]",
    ) -> None:
        """Run a session to its end and print all its events."""
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            if self._reporter.wants_events:
                tasks.start_soon(self._forward_events, session.events.stream())
            else:
                tasks.start_soon(self._print_tracker_notices, session.events.stream(*EVENT_TYPES))
            if self._options.hook is not None:
                self._options.hook.follow(session.events, lambda _: session, shared.state_dir)
            try:
                async with session:
                    self._record("torrent.started", listen_port=shared.listen_port)
                    await self._follow(admission)
            except Exception as error:
                failure = error
            finally:
                session.events.close()
        if failure is not None:
            raise failure
        self._record_result("done" if self.code is ExitCode.OK else "unfinished")

    def _record(self, type_: str, **fields: object) -> None:
        """Write a JSON record about this torrent."""
        info_hash = None if self.session is None else self.session.info_hash.hex()
        source = {"source": self._shown, "info_hash": info_hash}
        self._reporter.record({"type": type_, **source, **fields})

    async def _follow(self, admission: "TorrentAdmission[TorrentTask]") -> None:
        """Watch a started session until it ends."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_completion, admission)
            if self._options.stop_timeout_s is not None:
                tasks.start_soon(self._watch_progress, self._options.stop_timeout_s)
            if self._options.timeout_s is not None:
                tasks.start_soon(self._watch_time, self._options.timeout_s)
            reason = await self._opened.wait_stopped()
            tasks.cancel_scope.cancel()
        await self._finish(self._opened.stats(), reason)

    async def _forward_events(self, events: EventStream[Event]) -> None:
        """Print events as fast as the output accepts them; the stream counts dropped ones."""
        async for event in events:
            while not self._reporter.is_ready:  # noqa: ASYNC110 - a pipe tells nobody
                await anyio.sleep(OUTPUT_WAIT_S)
            self._reporter.record(records.event_record(event, time_s=time.time()))

    async def _print_tracker_notices(self, events: EventStream[Event]) -> None:
        """Print changes in what trackers answer."""
        notices = TrackerNotices()
        async for event in events:
            while not self._reporter.is_ready:  # noqa: ASYNC110 - a pipe tells nobody
                await anyio.sleep(OUTPUT_WAIT_S)
            if isinstance(event, TrackerFailed | TrackerSucceeded) and (
                text := notices.notice(event, self._opened.trackers())
            ):
                self._reporter.note(text, about=self.label)

    async def _watch_completion(self, admission: "TorrentAdmission[TorrentTask]") -> None:
        """Report a completed download; raise CliError if ``seed`` finds data missing."""
        if self._options.must_be_complete:
            await self._opened.wait(State.SEEDING, State.DOWNLOADING, State.STOPPED)
            stats = self._opened.stats()
            if stats.state is State.DOWNLOADING:
                raise CliError(incomplete_line(stats), ExitCode.CHECK_FAILED)
        if await self._opened.wait(State.SEEDING, State.STOPPED) is State.SEEDING:
            admission.release_slot(self)
            await self._report_completion(self._opened.stats())

    async def _watch_progress(self, timeout_s: float) -> None:
        """Raise CliError after ``timeout_s`` without progress."""
        before, since = (State.STOPPED, -1), anyio.current_time()
        while True:
            stats, now = self._opened.stats(), anyio.current_time()
            seen = (stats.state, stats.downloaded_bytes)
            if seen != before or stats.state not in _WAITING_FOR_PEERS:
                before, since = seen, now
            elif now - since >= timeout_s:
                raise CliError(f"no progress for {timeout_s:g} s", ExitCode.TIMED_OUT)
            await anyio.sleep(min(PROGRESS_CHECK_S, timeout_s))

    async def _watch_time(self, timeout_s: float) -> None:
        """Raise CliError if the metadata has not arrived after ``timeout_s``."""
        await anyio.sleep(timeout_s)
        if self._metainfo is not None:
            return  # it arrived; the Session still waits for slow trackers
        count = self._opened.stats().peers
        peers = "1 peer is" if count == 1 else f"{count or 'no'} peers are"
        raise CliError(f"no metadata after {timeout_s:g} s; {peers} connected", ExitCode.TIMED_OUT)

    async def _report_completion(self, stats: "SessionStats") -> None:
        if not self._has_reported_completion:
            path = str(await self._saved_as())  # who is cancelled here leaves it to the end
            self._has_reported_completion = True
            verb = "seeding" if self._options.must_be_complete else "complete"
            self._reporter.note(done_line(verb, stats, safe(path)), about=self.label)
            self._record("torrent.complete", path=path)

    async def _finish(self, stats: "SessionStats", reason: str) -> None:
        if reason == OWNER_CHANGED:
            raise OwnerChangedError("cancelled: the process that it was for has ended")
        if self._options.save_metadata is not None or self._metainfo is None:
            await self._finish_metadata()
            return
        complete = stats.completed_bytes >= stats.wanted_bytes
        if reason == "checked" and not complete:
            raise CliError(incomplete_line(stats), ExitCode.CHECK_FAILED)
        if complete:
            await self._report_completion(stats)
        else:
            text = f"{incomplete_line(stats)}; run it again to go on"
            self._reporter.note(text, about=self.label)
        if stats.uploaded_bytes:
            self._reporter.note(seeded_line(stats), about=self.label)
        self.code = ExitCode.OK if complete else ExitCode.UNFINISHED

    async def _finish_metadata(self) -> None:
        """Finish ``metadata``, or a download that has no metadata yet."""
        metainfo, save = self._metainfo, self._options.save_metadata
        if metainfo is None or save is None:
            self._reporter.note("its metadata was not found yet", about=self.label)
            self.code = ExitCode.UNFINISHED
            return
        path = await to_thread.run_sync(save, metainfo)
        self._reporter.note(metadata_line(metainfo, safe(path)), about=self.label)
        self._record("metadata.saved", path=path)
        self.code = ExitCode.OK

    def _fail(self, error: Exception) -> None:
        is_foreign = isinstance(first_leaf(error).__cause__, ForeignFileError)
        if is_foreign and self._options.must_be_complete:  # nothing was to be written
            error = CliError(incomplete_line(self._opened.stats()), ExitCode.CHECK_FAILED)
        self.code = exit_code_of(error)
        if self._options.debug:
            print_traceback(error)
        self._reporter.error(error, about=self._shown)
        self._failure = safe(message_of(error).removeprefix(f"{self._shown}: "))
        self._record_result(message_of(error) if is_expected(error) else type(error).__name__)

    def _record_result(self, reason: str) -> None:
        counts = {} if self.session is None else self.session.stats().sources
        sources_ = records.plain(counts)
        self._record("torrent.result", exit_code=self.code, reason=reason, sources=sources_)

    async def _saved_as(self) -> Path:
        """Return the file, or the innermost folder of all wanted files."""
        metainfo, folder = self._metainfo, self._options.folder
        if metainfo is None:
            return folder
        session = self._opened
        names = session.admin.file_names.in_use()
        return await _for_files(metainfo, common_path, folder, metainfo, session.config, names)


async def _for_files(
    torrent: Metainfo | Magnet,
    work: Callable[[*_Arguments], _T],
    *arguments: *_Arguments,
) -> _T:
    """Return the result of ``work`` on the files of a torrent; for very many files in a thread.

    Few files are processed without a thread, which keeps torrents in their order.
    """
    if isinstance(torrent, Magnet) or len(torrent.files) < MANY_FILES:
        return work(*arguments)
    return await to_thread.run_sync(work, *arguments)
