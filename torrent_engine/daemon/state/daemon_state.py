"""The state of the daemon that all interfaces read, in one object."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import anyio

from torrent_engine.base.errors import (
    ClosedError,
    StateDatabaseError,
    StorageError,
    TorrentEngineError,
)
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.daemon.engine_port.facts import (
    AddedNotice,
    AddedTorrent,
    JobNotice,
    JobsGoneNotice,
    Moment,
    MomentNotice,
    Notice,
    TotalFacts,
)
from torrent_engine.daemon.engine_port.port import EnginePort
from torrent_engine.daemon.state.announcements import Announcements
from torrent_engine.daemon.state.bans import BanBook
from torrent_engine.daemon.state.counters import ServiceCounters
from torrent_engine.daemon.state.feed import TICK_S, Feed
from torrent_engine.daemon.state.history import RateHistory
from torrent_engine.daemon.state.ids import TorrentIds
from torrent_engine.daemon.state.job_records import JobDelta, JobRecords
from torrent_engine.daemon.state.labels import Labelling
from torrent_engine.daemon.state.owners import OwnerBook
from torrent_engine.daemon.state.previews import Preview, PreviewStore
from torrent_engine.daemon.state.removed_torrents import RemovedTorrents
from torrent_engine.daemon.state.revisions import RevisionCounter
from torrent_engine.daemon.state.shapes import Shapes
from torrent_engine.daemon.state.store import DaemonStore
from torrent_engine.daemon.state.torrent_table import Delta, TorrentTable
from torrent_engine.daemon.state.totals import TotalsKeeper
from torrent_engine.service.add_options import AddOptions

_ALERTS: Final = {Moment.COMPLETED: "completed", Moment.FAILED: "error"}
RECENT_S: Final = 60.0
"""What "recently active" means in the Transmission protocol."""


@dataclass(frozen=True, slots=True)
class StateDelta:
    """What is to be told to a client that has the state of a revision."""

    revision: str
    """What the client has after this delta."""
    is_full: bool
    """The client forgets what it has."""
    torrents: Delta
    jobs: JobDelta
    topics: frozenset[str]
    """What else changed, such as "categories", "labels", "settings"; all if it is full."""


class Topics:
    """When things changed that are told as a whole: categories, labels, settings."""

    def __init__(self, revisions: RevisionCounter) -> None:
        self._revisions = revisions
        self._changed: dict[str, int] = {}

    def changed(self, topic: str) -> None:
        """Record that something is to be told anew."""
        self._changed[topic] = self._revisions.next()

    def revision(self, topic: str) -> int:
        """Return when something changed last; 0: never in this process."""
        return self._changed.get(topic, 0)

    def changed_since(self, since: int) -> frozenset[str]:
        """Return what changed after a revision."""
        return frozenset(topic for topic, number in self._changed.items() if number > since)


class DaemonState:
    """Rows, jobs, labels, totals and history; :meth:`run` keeps them up to date.

    Interfaces read :attr:`torrents`, change things through the engine port, then call
    :meth:`look` so that their own reply and the next delta have the change.
    """

    def __init__(
        self,
        port: EnginePort,
        store: DaemonStore,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        epoch: str | None = None,
    ) -> None:
        self.port = port
        self.store = store
        self._clock = clock
        self._wall_clock = wall_clock
        self.revisions = RevisionCounter(epoch)
        self.ids = TorrentIds(clock)
        """Whole numbers of the Transmission protocol."""
        self.torrents = TorrentTable(self.revisions, self.ids)
        self.jobs = JobRecords(self.revisions)
        self.topics = Topics(self.revisions)
        self.shapes = Shapes()
        """Rows as JSON, encoded once."""
        self.history = RateHistory(store.table("history"))
        self.totals = TotalsKeeper(store.table("totals"), clock())
        self.total_facts = TotalFacts()
        """The numbers of all torrents together at the last tick."""
        self.counters = ServiceCounters()
        """What is counted since the start of the process."""
        self.labels = Labelling(
            self.torrents,
            port.settings,
            (store.table("categories"), store.table("labels")),
            look=self.look,
            changed=self.topics.changed,
        )
        self.announcements = Announcements(self.revisions, wall_clock)
        store.on_problem = self._store_problem
        self.previews = PreviewStore(self._tell_preview)
        self.owners = OwnerBook(
            port.engine, self.torrents, self.previews, store.table("owners"), clock
        )
        self._unsaved: dict[InfoHash, anyio.Event] = {}
        """What is set when a torrent that was just added is saved, or removed again."""
        self.bans = BanBook(port.engine, store.table("bans"), wall_clock)
        self.removed = RemovedTorrents(self.torrents, store.table("removed_torrents"))
        self._feed = Feed(
            port,
            self.torrents,
            clock=clock,
            wall_clock=wall_clock,
            is_hidden=self.previews.take,
            on_removed=self._forget,
        )

    def _forget(self, info_hash: InfoHash) -> None:
        self.shapes.forget(info_hash)
        self.previews.drop(info_hash)

    def _tell_preview(self, preview: Preview, status: str) -> None:
        self.announcements.add(
            "preview", id=preview.info_hash.hex(), name=preview.name, status=status
        )

    # -- reading --------------------------------------------------------------------------------

    def delta(self, since: str | None) -> StateDelta:
        """Return what changed since a revision; everything if it is unknown or too old."""
        number = self.revisions.parse(since)
        torrents, jobs = self.torrents.delta(number), self.jobs.delta(number)
        if torrents.is_full is not jobs.is_full:
            torrents, jobs = self.torrents.delta(None), self.jobs.delta(None)
        topics = self.topics.changed_since(0 if torrents.is_full else torrents.since)
        return StateDelta(self.revisions.text(), torrents.is_full, torrents, jobs, topics)

    async def wait(self, since: str | None, timeout_s: float) -> bool:
        """Wait until something is newer than a revision; False if nothing is within the time."""
        number = self.revisions.parse(since)
        return number is None or await self.revisions.wait(number, timeout_s)

    def recently_active(self) -> tuple[list[InfoHash], list[int]]:
        """Return the torrents that changed in the last minute, and the ids that went."""
        rows = self.torrents.changed_within(RECENT_S, self._clock())
        return [row.info_hash for row in rows], self.ids.removed_within(RECENT_S)

    # -- keeping up to date ---------------------------------------------------------------------

    def look(self, info_hash: InfoHash) -> None:
        """Bring the row of a torrent up to date now, after a change or an addition."""
        self._feed.look(info_hash)

    async def add(self, torrent: Metainfo | Magnet, options: AddOptions) -> AddedTorrent:
        """Add a torrent, which is in the database and has a row when this returns.

        Raises what the engine raises. One that cannot be saved is removed again: whoever was told
        that it is there would lose it with the process (row F1).
        """
        while True:
            added = await self.port.engine.add(torrent, options)
            key = added.info_hash
            if added.is_new:
                await self._save_new(key)
            elif (saved := self._unsaved.get(key)) is not None:
                await saved.wait()
                if not self.port.torrents.has(key):
                    continue  # it could not be saved
            self.look(key)
            return added

    async def _save_new(self, key: InfoHash) -> None:
        self._unsaved[key] = saved = anyio.Event()
        try:
            await self.port.engine.flush()
        except (StateDatabaseError, StorageError):
            with suppress(TorrentEngineError):
                await self.port.control.remove(key)
            raise
        finally:
            self._unsaved.pop(key, None)
            saved.set()

    async def queue_changed(self) -> None:
        """Bring the places in the queue up to date now, after a change of its order."""
        await self._feed.place()

    async def saved(self) -> None:
        """Wait until the databases have what was changed until now.

        What cannot be written is reported, and tried again by the stores themselves: the change
        counts meanwhile. Only additions are refused then, see :meth:`add`.
        """
        with suppress(TorrentEngineError):
            await self.port.engine.flush()
        await self.store.flush()

    async def reload(self) -> None:
        """Compare everything with the engine; after each time that it was opened."""
        await self._feed.reload()
        await self.jobs.reload(self.port.jobs)
        await self._forget_sources()
        self.owners.reload()
        self.bans.reload()

    async def _forget_sources(self) -> None:
        """Drop what failed additions came from, of jobs that ended while no daemon ran."""
        sources = self.store.table("job_sources")
        for job_id, _ in list(sources.items()):
            if job_id not in self.jobs and await self.port.jobs.get(job_id) is None:
                sources.drop(job_id)

    async def run(self) -> None:
        """Keep everything up to date until cancelled; the engine may be open or not."""
        unsubscribe = self.port.events.subscribe(self._take)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._feed.run)
                await self._tick_forever()
        finally:
            unsubscribe()
            self.totals.save()

    def _take(self, notice: Notice) -> None:
        self.counters.take(notice)
        match notice:
            case JobNotice(job):
                self.jobs.put(job)
            case JobsGoneNotice(ids):
                for job_id in ids:
                    self.jobs.remove(job_id)
                    self.store.table("job_sources").drop(job_id)
            case _:
                self._announce(notice)
                self.removed.take(notice)
                if isinstance(notice, AddedNotice) and not notice.is_restored:
                    self.totals.added()
                self._feed.take(notice)

    def _announce(self, notice: Notice) -> None:
        """Publish what users would want to be told."""
        if not isinstance(notice, MomentNotice) or notice.moment not in _ALERTS:
            return
        if (row := self.torrents.get(notice.info_hash)) is not None:
            kind = _ALERTS[notice.moment]
            text = notice.text if notice.moment is Moment.FAILED else ""
            self.announcements.alert(kind, text, torrent={"hash": row.hash, "name": row.name})

    def list_failed(self, url: str, text: str) -> None:
        """Announce that a list of addresses could not be fetched or loaded."""
        self.announcements.alert("blocklist", text, about=url)

    def _store_problem(self, problem: str | None) -> None:
        if problem is not None:
            self.announcements.alert("database", problem)

    async def _tick_forever(self) -> None:
        while True:
            await anyio.sleep(TICK_S)
            await self.tick()

    async def tick(self) -> None:
        """Look at what changes by itself; once a second."""
        try:
            self.total_facts = totals = self.port.engine.totals()
        except ClosedError:
            return
        self.totals.tick(totals, self._clock())
        self.owners.tick()
        self.history.add(self._wall_clock(), totals.download_bytes_per_s, totals.upload_bytes_per_s)
        await self._feed.tick()
