"""One torrent of a command, from its source to its exit code."""

import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import (
    ForeignFileError,
    NetworkError,
    OwnerChangedError,
    TrackerError,
)
from torrent_engine.cli import records, sources
from torrent_engine.cli.entrance import Entrance
from torrent_engine.cli.exit_codes import (
    CliError,
    ExitCode,
    exit_code_of,
    first_leaf,
    is_expected,
    message_of,
)
from torrent_engine.cli.overview import DONE, FAILED, LOADING, QUEUED, Entry, entry_of
from torrent_engine.cli.peer_lines import peer_lines
from torrent_engine.cli.render import (
    OUTPUT_WAIT_S,
    OutputError,
    Reporter,
    print_traceback,
    safe,
)
from torrent_engine.cli.views import (
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
from torrent_engine.engine.owners import OWNER_CHANGED
from torrent_engine.engine.session import Session
from torrent_engine.engine.states import State

if TYPE_CHECKING:
    from torrent_engine.cli.process_owner import ProcessOwner
    from torrent_engine.engine.session_stats import SessionStats
    from torrent_engine.engine.shared_resources import SharedResources

PROGRESS_CHECK_S: Final = 0.5
_WAITING_FOR_PEERS: Final = frozenset({State.DOWNLOADING, State.FETCHING_METADATA})


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What holds for all torrents of a run."""

    folder: Path
    session_config: Callable[[Metainfo | Magnet], SessionConfig]
    """May raise ConfigError, which fails that torrent only."""
    must_be_complete: bool = False
    """The command is ``seed``: data that is missing is an error."""
    stop_timeout_s: float | None = None
    """Time without progress after which it ends."""
    timeout_s: float | None = None
    """Time in which the metadata must be there."""
    save_metadata: Callable[[Metainfo], str] | None = None
    """The command is ``metadata``: writes a .torrent and returns where."""
    is_overview: bool | None = None
    """A line per torrent on a terminal; None: where there are several."""
    shows_peers: bool = False
    """A line per peer below each torrent."""
    max_active: int = 0
    """Torrents that download at a time; 0: all."""
    owner: "ProcessOwner | None" = None
    """For whom the torrents are."""
    stdin: bytes = b""
    debug: bool = False


class Job:
    """Owns one torrent's way to an exit code; what goes wrong with it ends here."""

    def __init__(self, source: str, options: JobOptions, reporter: Reporter) -> None:
        self.source = source
        self.code: ExitCode | None = None  # None while it runs
        self.session: Session | None = None
        self._label = self._shown = safe(sources.shown(source))
        self._options = options
        self._reporter = reporter
        self.is_first = True  # until another source is found to name the same torrent
        self._told_completion = False
        self._loading: anyio.CancelScope | None = None

    @property
    def row(self) -> Row:
        """What the display shows of it."""
        if self.session is None:
            return session_row(self.source, self.label, None)
        peers = peer_lines(self.session.peers()) if self._options.shows_peers else ()
        return session_row(self.source, self.label, self.session.stats(), peers)

    @property
    def entry(self) -> Entry:
        """What an overview of many shows of it."""
        if self.code is not None:
            stats = None if self.session is None else self.session.stats
            return Entry(self.label, DONE if self.code is ExitCode.OK else FAILED, stats)
        if self.session is None:
            return Entry(self.label, LOADING)
        if self.session.state is State.STOPPED:
            return Entry(self.label, QUEUED, self.session.stats)
        return entry_of(self.session, self.label)

    @property
    def label(self) -> str:
        """What lines about it begin with; of a link that is better known when its metadata came."""
        return self._label if self._metainfo is None else safe(self._metainfo.name)

    @property
    def _metainfo(self) -> Metainfo | None:
        """What is known of it; None while a link looks for its metadata."""
        return None if self.session is None else self.session.metainfo

    async def run(self, shared: "SharedResources", entrance: Entrance) -> None:
        """Run to the end, as soon as ``entrance`` lets it in."""
        try:
            with anyio.CancelScope() as self._loading:
                await self._load(shared, entrance)
            if self.session is not None and self._loading.cancelled_caught:
                self._end_unbegun()
            elif self.session is not None:
                await self._run_session(self.session, shared, entrance)
        except Exception as error:
            if isinstance(first_leaf(error), OutputError | BrokenPipeError):
                raise  # no fault of the torrent: ends the whole run
            self._fail(error)
        finally:
            entrance.read(self)
            entrance.give_slot(self)

    async def _load(self, shared: "SharedResources", entrance: Entrance) -> None:
        torrent = await sources.load(self.source, self._options.stdin, shared.http)
        if (first := await entrance.enter(torrent, self)) is not self:
            await self._give_way(torrent, first)
            return
        await self._open(torrent, shared)
        await entrance.take_slot(self)

    def _end_unbegun(self) -> None:
        """End: everything was stopped while this one waited for its turn."""
        self.code = ExitCode.UNFINISHED
        self._reporter.note(f"{self.label}: not begun; run it again for that")
        self._record_result("unfinished")

    async def _give_way(self, torrent: Metainfo | Magnet, first: "Job") -> None:
        """End: another source named the torrent before; it gets the trackers of this one."""
        self.is_first = False
        added = await first.merge(torrent)
        trackers = f"; {added} more trackers" if added > 1 else "; 1 more tracker" if added else ""
        same = f"is the same torrent as {safe(sources.shown(first.source))}"
        self._reporter.note(f"{self._shown}: {same}{trackers}")
        info_hash = torrent.info_hash.hex()
        self._record("torrent.duplicate", info_hash=info_hash, trackers_added=added)
        self.code = ExitCode.OK

    async def merge(self, torrent: Metainfo | Magnet) -> int:
        """Take the peers and trackers of another source of this torrent; return how many trackers.

        A private torrent keeps to its own trackers.
        """
        metainfo, session = self._metainfo, self.session
        if session is None:
            return 0
        for host, port in torrent.peers if isinstance(torrent, Magnet) else ():
            with suppress(NetworkError):  # its name is not known
                await session.add_peer(host, port)
        if metainfo is not None and metainfo.is_private:
            return 0
        return sum(_is_added(session, url) for url in _trackers_of(torrent))

    async def stop(self) -> None:
        """Stop in order what runs; drop what is not loaded yet."""
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
        config = options.session_config(torrent)
        if options.owner is not None:
            config = replace(config, owner=options.owner.tie)
        if options.must_be_complete:
            if isinstance(torrent, Magnet):
                raise CliError("seed takes a .torrent; `torrent-engine metadata` fetches it")
            _check_files(self._paths(torrent, config))
        if (hint := sources.hint_about(self.source)) is not None:
            self._reporter.note(f"{self._label}: {hint}")
        self.session = await Session.create(
            torrent, shared, save_path=options.folder, config=config
        )
        self._record("torrent.added", name=name)

    async def _run_session(
        self, session: Session, shared: "SharedResources", entrance: Entrance
    ) -> None:
        """Run a session to its end and print all its events, the last ones too."""
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            if self._reporter.wants_events:
                tasks.start_soon(self._forward_events, session.events.stream())
            try:
                async with session:
                    self._record("torrent.started", listen_port=shared.listen_port)
                    await self._follow(entrance)
            except Exception as error:
                failure = error
            finally:
                session.events.close()
        if failure is not None:
            raise failure
        self._record_result("done" if self.code is ExitCode.OK else "unfinished")

    def _record(self, type_: str, **fields: object) -> None:
        """Tell a program a fact about this torrent."""
        info_hash = None if self.session is None else self.session.info_hash.hex()
        source = {"source": self._shown, "info_hash": info_hash}
        self._reporter.record({"type": type_, **source, **fields})

    async def _follow(self, entrance: Entrance) -> None:
        """Watch a started session until it ends."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_completion, entrance)
            if self._options.stop_timeout_s is not None:
                tasks.start_soon(self._watch_progress, self._options.stop_timeout_s)
            if self._options.timeout_s is not None:
                tasks.start_soon(self._watch_time, self._options.timeout_s)
            reason = await self._opened.wait_stopped()
            tasks.cancel_scope.cancel()
        self._finish(self._opened.stats(), reason)

    async def _forward_events(self, events: EventStream) -> None:
        """Print events as fast as they are read; the stream drops, and counts, those beyond."""
        async for event in events:
            while not self._reporter.is_ready:  # noqa: ASYNC110 - a pipe tells nobody
                await anyio.sleep(OUTPUT_WAIT_S)
            self._reporter.record(records.event_record(event, time_s=time.time()))

    async def _watch_completion(self, entrance: Entrance) -> None:
        """Say so as soon as a download is complete; refuse to seed what is not."""
        if self._options.must_be_complete:
            await self._opened.wait(State.SEEDING, State.DOWNLOADING, State.STOPPED)
            stats = self._opened.stats()
            if stats.state is State.DOWNLOADING:
                raise CliError(incomplete_line(stats), ExitCode.CHECK_FAILED)
        if await self._opened.wait(State.SEEDING, State.STOPPED) is State.SEEDING:
            entrance.give_slot(self)
            self._tell_completion(self._opened.stats())

    async def _watch_progress(self, timeout_s: float) -> None:
        """Raise CliError when the download makes no progress for that long."""
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
        """Raise CliError when the metadata is not there after so long."""
        await anyio.sleep(timeout_s)
        if self._metainfo is not None:
            return  # it is there; the Session takes leave of trackers that are slow
        count = self._opened.stats().peers
        peers = "1 peer is" if count == 1 else f"{count or 'no'} peers are"
        raise CliError(f"no metadata after {timeout_s:g} s; {peers} connected", ExitCode.TIMED_OUT)

    def _tell_completion(self, stats: "SessionStats") -> None:
        if not self._told_completion:
            self._told_completion = True
            path = str(self._saved_as())
            verb = "seeding" if self._options.must_be_complete else "complete"
            self._reporter.note(done_line(self.label, verb, stats, safe(path)))
            self._record("torrent.complete", path=path)

    def _finish(self, stats: "SessionStats", reason: str) -> None:
        if reason == OWNER_CHANGED:
            raise OwnerChangedError("cancelled: the process that it was for has ended")
        if self._options.save_metadata is not None or self._metainfo is None:
            self._finish_metadata()
            return
        complete = stats.completed_bytes >= stats.wanted_bytes
        if reason == "checked" and not complete:
            raise CliError(incomplete_line(stats), ExitCode.CHECK_FAILED)
        if complete:
            self._tell_completion(stats)
        else:
            self._reporter.note(f"{self.label}: {incomplete_line(stats)}; run it again to go on")
        if stats.uploaded_bytes:
            self._reporter.note(seeded_line(self.label, stats))
        self.code = ExitCode.OK if complete else ExitCode.UNFINISHED

    def _finish_metadata(self) -> None:
        """End ``metadata``, or a download that had not come further."""
        metainfo, save = self._metainfo, self._options.save_metadata
        if metainfo is None or save is None:
            self._reporter.note(f"{self.label}: its metadata was not found yet")
            self.code = ExitCode.UNFINISHED
            return
        path = save(metainfo)
        self._reporter.note(metadata_line(self.label, metainfo, safe(path)))
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
        self._record_result(message_of(error) if is_expected(error) else type(error).__name__)

    def _record_result(self, reason: str) -> None:
        counts = {} if self.session is None else self.session.stats().sources
        sources_ = records.plain(counts)
        self._record("torrent.result", exit_code=self.code, reason=reason, sources=sources_)

    def _paths(self, metainfo: Metainfo, config: SessionConfig) -> list[Path]:
        """Return where the wanted files lie."""
        renames = dict(config.renamed_files)
        priorities = config.file_priorities or (1,) * len(metainfo.files)
        return [
            self._options.folder / renames.get(index, "/".join(entry.path))
            for index, entry in enumerate(metainfo.files)
            if priorities[index] and not entry.is_pad and entry.symlink_target is None
        ]

    def _saved_as(self) -> Path:
        """Return the file, or the folder that holds all that is wanted."""
        metainfo = self._metainfo
        paths = [] if metainfo is None else self._paths(metainfo, self._opened.config)
        return Path(os.path.commonpath(paths)) if paths else self._options.folder


def _trackers_of(torrent: Metainfo | Magnet) -> list[str]:
    if isinstance(torrent, Magnet):
        return list(torrent.trackers)
    return [url for tier in torrent.tiers for url in tier]


def _is_added(session: Session, url: str) -> bool:
    try:
        return session.add_tracker(url)
    except TrackerError:
        return False  # of a kind that we do not speak


def _check_files(paths: list[Path]) -> None:
    if missing := next((path for path in paths if not path.exists()), None):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(missing))
