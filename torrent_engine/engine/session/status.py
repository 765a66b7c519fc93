"""What can be asked of a torrent at any time, whether it runs or not."""

from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from torrent_engine.base.errors import (
    ClosedError,
    MissingFilesError,
    StateDatabaseError,
    StorageError,
    TorrentEngineError,
)
from torrent_engine.codec.paths import PathParts
from torrent_engine.codec.urls import host_of
from torrent_engine.disk.resume.file_names import recorded_names, with_chosen
from torrent_engine.engine.discovery.tracker_coordinator import idle_tracker
from torrent_engine.engine.dormancy.snapshot import (
    TorrentSnapshot,
    dormant_brief,
    dormant_stats,
    snapshot_of_run,
)
from torrent_engine.engine.file_stats import file_stats
from torrent_engine.engine.jobs.session_jobs import WorkDone
from torrent_engine.engine.runs.availability import swarm_availability
from torrent_engine.engine.runs.file_selection import renames
from torrent_engine.engine.runs.run_stats import (
    fetch_brief,
    fetch_stats,
    idle_brief,
    idle_stats,
    rates,
    run_brief,
    run_stats,
)
from torrent_engine.engine.session.core import SessionCore
from torrent_engine.engine.states import State
from torrent_engine.engine.stats import (
    FileStats,
    PeerStats,
    ProblemKind,
    SessionBrief,
    SessionStats,
    SessionTimes,
    SwarmAvailability,
    TorrentProblem,
    TrackerStatus,
    WebSeedStats,
)
from torrent_engine.engine.swarm.peer import peer_stats
from torrent_engine.engine.transfer.web_seed import idle_stats_of
from torrent_engine.protocol.tracker.urls import redact_url

QUEUED = frozenset({State.CHECKING, State.FETCHING_METADATA, State.DOWNLOADING, State.SEEDING})
"""States in which a torrent has a place in the queue."""


ANNOUNCED = frozenset({State.FETCHING_METADATA, State.DOWNLOADING, State.SEEDING})
"""States in which trackers are asked."""


class QueueFacts(NamedTuple):
    """What the queue of a manager has to know of a torrent."""

    state: State
    """One of :data:`QUEUED`, also while it is paused; else the queue leaves it alone."""
    rate_bytes_per_s: float = 0.0
    """Payload that a download receives, that a seed sends."""
    ratio: float = 0.0
    """Uploaded over downloaded, over all runs; over the size if nothing was downloaded."""


class FileNames:
    """The names that the files of one torrent have on the disk."""

    __slots__ = ("_core",)

    def __init__(self, core: SessionCore) -> None:
        self._core = core

    def in_use(self) -> dict[int, PathParts]:
        """Return the files that have other names below the save path than in the torrent.

        By their indices. They were renamed, or the file system cannot have their names, or takes
        them for those of other files. Names of the configuration come before those of the last run,
        or else those that the database has of this save path. Blocking.
        """
        core = self._core
        windows = core.shared.name_foldings.is_windows
        chosen = renames(core.config, windows=windows, skips_invalid=True)
        if core.config.storage is not None:
            return chosen
        return with_chosen(self._of_last_run(), chosen)

    def _of_last_run(self) -> dict[int, PathParts]:
        core = self._core
        if core.run is not None:
            storage = core.run.torrent.storage
            return dict(storage.renames) if storage.save_path == core.save_path else {}
        with suppress(ClosedError):
            return recorded_names(core.shared.store, core.info_hash, core.save_path)
        return {}


class Status:
    """The numbers of one torrent: its peers, trackers, web seeds, progress and rates."""

    __slots__ = ("_core", "_names")

    def __init__(self, core: SessionCore, names: FileNames) -> None:
        self._core = core
        self._names = names

    def peers(self) -> list[PeerStats]:
        """Return the numbers of each connected peer."""
        active, run, now = self._core.active, self._core.live_run, self._core.shared.clock()
        if active is None:
            return []
        trials = frozenset() if run is None else run.parts.transfer.uploads.optimistic
        return [peer_stats(peer, now, is_optimistic=peer in trials) for peer in active.swarm.peers]

    def availability(self) -> SwarmAvailability:
        """Return which pieces the connected peers have; see :meth:`Session.availability`."""
        core = self._core
        if core.live_run is not None:
            return swarm_availability(core.live_run.parts)
        if core.snapshot is not None:
            return SwarmAvailability(bytes(core.snapshot.piece_count), 0.0, 0)
        return SwarmAvailability(bytes(self._stats().pieces_total), 0.0, 0)

    @property
    def problem(self) -> TorrentProblem | None:
        """What is wrong; see :attr:`Session.problem`."""
        core = self._core
        if core.error is not None:
            return problem_of(core.error)
        urls = [url for tier in core.edits.tiers_of(core.named_tiers) for url in tier]
        return core.tracker_log.problem(urls)

    def files(self) -> list[FileStats]:
        """Return the files and how much of each is here; none before the metadata is there."""
        core = self._core
        if (metainfo := core.metainfo) is None:
            return []
        return file_stats(
            metainfo,
            self._stats().have,
            core.config.file_priorities,
            self._names.in_use(),
            windows=core.shared.name_foldings.is_windows,
        )

    def trackers(self, *, secrets: bool = False) -> list[TrackerStatus]:
        """Return how each tracker answers; those of a torrent that does not run are idle."""
        core = self._core
        live = {} if core.sources is None else core.sources.trackers.status()
        found: list[TrackerStatus] = []
        for tier, urls in enumerate(core.edits.tiers_of(core.named_tiers)):
            for url in urls:
                known = live.get(url) or idle_tracker(url, tier, core.tracker_log)
                shown = replace(known, tier=tier, url=url if secrets else known.url)
                found.append(shown if core.state in ANNOUNCED else _at_rest(shown))
        return found

    def tracker_hosts(self) -> tuple[str, ...]:
        """Return the hosts of its trackers, each once, as far as that needs no metainfo."""
        core = self._core
        named = core.named_tiers if core.facts is not None or core.magnet is not None else ()
        urls = (redact_url(url) for tier in core.edits.tiers_of(named) for url in tier)
        hosts = map(host_of, urls)
        return tuple(dict.fromkeys(host for host in hosts if host))

    @property
    def is_complete(self) -> bool:
        """Whether all that is wanted is here and verified."""
        core = self._core
        state = core.machine.paused_state or core.state
        if state in {State.SEEDING, State.CHECKING}:
            return state is State.SEEDING
        stats = self._stats()
        return 0 < stats.wanted_bytes == stats.completed_bytes

    def web_seeds(self, *, secrets: bool) -> list[WebSeedStats]:
        """Return the numbers of each web seed."""
        core = self._core
        if core.run is not None:
            return core.run.web_seeds(secrets=secrets)
        known = core.edits.web_seeds_of(core.read_facts())
        return [idle_stats_of(url, bep, secrets=secrets) for url, bep in known.items()]

    @property
    def snapshot(self) -> TorrentSnapshot | None:
        """The numbers of this moment, as far as they can be had without its files."""
        core = self._core
        is_known = State.CHECKING not in {core.state, core.machine.paused_state}
        if core.run is not None and is_known:
            return snapshot_of_run(core.run.parts)
        return core.snapshot

    def queue_facts(self, now: float) -> QueueFacts:
        """Return what the queue has to know; cheap for very many torrents."""
        core = self._core
        state, run = core.machine.paused_state or core.state, core.run
        if run is None or state not in QUEUED:
            return QueueFacts(state, ratio=0.0 if core.snapshot is None else core.snapshot.ratio)
        ratio, torrent = run.ratio, run.parts.torrent
        if not torrent.peers and state is not State.DOWNLOADING:
            return QueueFacts(state, ratio=ratio)
        down, up = rates(run.parts, now)
        return QueueFacts(state, up if state is State.SEEDING else down, ratio)

    def work_done(self) -> WorkDone:
        """Return the progress of the present or last run; cheap."""
        core = self._core
        if core.run is not None:
            return core.run.work_done()
        snapshot = core.snapshot
        if snapshot is None:
            return WorkDone()
        return WorkDone(
            snapshot.total_bytes,
            snapshot.wanted_bytes,
            snapshot.completed_bytes,
            snapshot.all_uploaded_bytes,
        )

    def stats(self) -> SessionStats:
        """Return the numbers of this moment; after the end those of the last run."""
        return replace(self._stats(), loop_lag=self._core.shared.loop_watch.lag())

    def times(self) -> SessionTimes:
        """Return when things happened to it."""
        core, now = self._core, self._core.shared.clock()
        times = core.times
        return SessionTimes(
            times.added_s,
            times.started_s,
            times.completed_s or None,
            times.activity_s,
            times.edited_s,
            times.downloading_s(now),
            core.seeding.seeding_s(now),
        )

    def brief(self) -> SessionBrief:
        """Return those of them that lists show; cheap for very many torrents."""
        core = self._core
        if core.fetch is not None:
            return fetch_brief(core.fetch, core.state, core.name)
        if core.run is not None:
            return run_brief(core.run.parts, core.state, core.shared.clock())
        if core.snapshot is not None:
            return dormant_brief(core.snapshot, core.state)
        return idle_brief(core.state, core.name, core.facts)

    def _stats(self) -> SessionStats:
        core, now = self._core, self._core.shared.clock()
        elapsed_s = now - core.started_s
        if core.fetch is not None:
            return fetch_stats(core.fetch, core.state, core.name, elapsed_s)
        if core.run is not None:
            return run_stats(core.run.parts, core.state, now, elapsed_s)
        if core.snapshot is not None:
            return dormant_stats(core.snapshot, core.state, core.totals, elapsed_s)
        return idle_stats(core.state, core.name, core.facts)


def problem_of(error: TorrentEngineError) -> TorrentProblem:
    """Return what a fault that ended a run is to its user."""
    kind = ProblemKind.OTHER
    if isinstance(error, MissingFilesError):
        kind = ProblemKind.MISSING_FILES
    elif isinstance(error, StorageError | StateDatabaseError):
        kind = ProblemKind.DISK
    return TorrentProblem(kind, str(error))


def _at_rest(tracker: TrackerStatus) -> TrackerStatus:
    """Return the status of a tracker that is not asked at present."""
    return replace(tracker, next_announce_in_s=None, next_announce_at=None)
