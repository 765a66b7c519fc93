"""An engine of facts: it has no sockets, files or tasks, and does at once what it is told.

It answers as the port over a TorrentManager does; the two pass the same contract test.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha1
from ipaddress import ip_address
from itertools import count
from typing import Any, Self

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import (
    ClosedError,
    ConfigError,
    HttpError,
    NetworkError,
    OwnerChangedError,
    StateTransitionError,
    TorrentEngineError,
    UnknownFileError,
    UnknownTorrentError,
)
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.mutable_link import MutableLink
from torrent_engine.daemon.engine_port.durations import Durations
from torrent_engine.daemon.engine_port.facts import (
    AboutFacts,
    AddedNotice,
    AddedTorrent,
    BanFacts,
    ChangedNotice,
    EngineState,
    FactGroup,
    FactSheet,
    FileFacts,
    GroupFacts,
    JobFacts,
    JobNotice,
    JobQuery,
    JobsGoneNotice,
    Limits,
    NetworkFacts,
    Notice,
    PeerFacts,
    PeerLimits,
    ProgressFacts,
    QueueLimits,
    QueueNotice,
    RateFacts,
    RemovedNotice,
    SeedRules,
    SettingFacts,
    SwarmFacts,
    TotalFacts,
    TrackerFacts,
    TrackerSummary,
    WebSeedFacts,
)
from torrent_engine.daemon.engine_port.port import ByteReader, EnginePort, Listener, RawListener
from torrent_engine.daemon.engine_port.user_data import UserData
from torrent_engine.engine.transfer.progress import changed_priorities
from torrent_engine.net.http.client import HttpResponse
from torrent_engine.net.http.torrent_fetch import FetchOptions, is_url
from torrent_engine.service.add_options import AddOptions

QUIET = {EngineState.STOPPED, EngineState.PAUSED, EngineState.ERROR}


@dataclass
class FakeTorrent:
    """Everything that is told of one torrent; tests change it by :meth:`FakeEngine.change`."""

    facts: FactSheet
    metainfo: Metainfo | None = None
    files: list[FileFacts] = field(default_factory=list)
    peers: list[PeerFacts] = field(default_factory=list)
    trackers: list[TrackerFacts] = field(default_factory=list)
    web_seeds: list[WebSeedFacts] = field(default_factory=list)
    pieces: bytes = b""
    availability: Sequence[int] = ()
    swarm: SwarmFacts = field(default_factory=SwarmFacts)
    contents: dict[int, bytes] = field(default_factory=dict)
    """Of files, by their index."""
    is_deleted: bool = False
    """It was removed with its files."""


def info_hash_of(number: int) -> InfoHash:
    """Return an info-hash that is the same on every run."""
    return InfoHash(sha1(f"torrent {number}".encode()).digest())


class FakeEngine:
    """The facts and what was asked; :attr:`port` is what code under test gets.

    ::

        engine = FakeEngine()
        one = engine.put(name="a", total_bytes=1_000_000, state=EngineState.DOWNLOADING)
        engine.change(one, download_bytes_per_s=5_000)   # fields of any group by their names
    """

    def __init__(self, *, save_path: str = "/downloads") -> None:
        self.save_path = save_path
        self.order: list[InfoHash] = []
        """The queue."""
        self.torrents: dict[InfoHash, FakeTorrent] = {}
        self.removed: dict[InfoHash, FakeTorrent] = {}
        self.listeners: list[Listener] = []
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.flushes = 0
        """What was asked, by the name of the method, such as ("move", (info_hash, path))."""
        self.is_open = True
        self.now_at = 1_700_000_000.0
        """The time of the wall clock."""
        self.sources: dict[str, Metainfo | Magnet] = {}
        """What URLs lead to."""
        self.failures: dict[str, Exception] = {}
        """What a method raises, by its name."""
        self.job_list: dict[str, JobFacts] = {}
        self.engine = FakeControl(self)
        self.events = FakeEvents(self)
        self.port = EnginePort(
            torrents=FakeReading(self),
            control=FakeActions(self),
            settings=FakeSettings(self),
            engine=self.engine,
            jobs=FakeJobs(self),
            events=self.events,
        )
        self._numbers = count()
        self._places: dict[InfoHash, int] = {}

    # -- for tests ------------------------------------------------------------------------------

    def put(
        self, info_hash: InfoHash | None = None, *, metainfo: Metainfo | None = None, **facts: Any
    ) -> InfoHash:
        """Add a torrent; ``facts`` are fields of any group. Returns its info-hash."""
        if metainfo is not None:
            info_hash = metainfo.info_hash
        key = info_hash_of(next(self._numbers)) if info_hash is None else info_hash
        facts = {"save_path": self.save_path, "added_at": self.now_at, **facts}
        facts.setdefault("current_path", facts["save_path"])
        if metainfo is None:
            facts = _described(facts)
        torrent = FakeTorrent(FactSheet(key))
        if metainfo is not None:
            facts = _known(torrent, metainfo, facts)
        self.torrents[key] = torrent
        self.order.append(key)
        self._set(key, facts)
        self.report(AddedNotice(key))
        return key

    def change(self, info_hash: InfoHash, **facts: Any) -> None:
        """Change fields of any group by their names, and report the groups that differ."""
        before = self.torrents[info_hash].facts
        self._set(info_hash, facts)
        after = self.torrents[info_hash].facts
        for group in (FactGroup.ABOUT, FactGroup.SETTINGS, FactGroup.PROGRESS):
            if getattr(before, group.value) != getattr(after, group.value):
                self.report(ChangedNotice(info_hash, group))

    def _set(self, info_hash: InfoHash, facts: dict[str, Any]) -> None:
        torrent = self.torrents[info_hash]
        changed = {}
        for name, kind in GROUPS.items():
            own = {key: value for key, value in facts.items() if key in kind.__slots__}
            changed[name] = replace(getattr(torrent.facts, name), **own)
        unknown = set(facts) - {key for kind in GROUPS.values() for key in kind.__slots__}
        if unknown:
            raise TypeError(f"no group has a field {sorted(unknown)}")
        torrent.facts = replace(torrent.facts, **changed)

    def take(self, info_hash: InfoHash) -> None:
        """Remove a torrent, as if its owner were gone."""
        self.removed[info_hash] = self.torrents.pop(info_hash)
        self.order.remove(info_hash)
        self.report(RemovedNotice(info_hash))

    def put_job(self, job: JobFacts) -> None:
        """Add or replace a job."""
        self.job_list[job.id] = job
        self.report(JobNotice(job))

    def report(self, event: Notice) -> None:
        for listener in tuple(self.listeners):
            listener(event)

    # -- for the parts --------------------------------------------------------------------------

    def called(self, name: str, *arguments: Any) -> None:
        """Note a call. Raises what a test wants, and ClosedError while it is closed."""
        if not self.is_open:
            raise ClosedError("TorrentManager", "is not open now")
        self.calls.append((name, arguments))
        if name in self.failures:
            raise self.failures[name]

    def flushed(self) -> None:
        """Count a flush. Raises what a test wants."""
        self.flushes += 1
        if "flush" in self.failures:
            raise self.failures["flush"]

    def find(self, info_hash: InfoHash) -> FakeTorrent:
        if not self.is_open:
            raise ClosedError("TorrentManager", "is not open now")
        if info_hash not in self.torrents:
            raise UnknownTorrentError(info_hash)
        return self.torrents[info_hash]

    def position(self, info_hash: InfoHash) -> int:
        place = self._places.get(info_hash, 0)
        if self.order[place : place + 1] == [info_hash]:
            return place
        self._places = {each: number for number, each in enumerate(self.order)}
        return self._places[info_hash]


GROUPS: dict[str, Any] = {
    "about": AboutFacts,
    "settings": SettingFacts,
    "progress": ProgressFacts,
    "rates": RateFacts,
}


def _described(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts with sizes that fit one another."""
    total = facts.setdefault("total_bytes", 0)
    if total:
        piece_bytes = facts.setdefault("piece_bytes", 16_384)
        facts.setdefault("piece_count", -(-total // piece_bytes))
        facts.setdefault("file_count", 1)
        facts.setdefault("wanted_bytes", total)
        facts.setdefault("metadata_fraction", 1.0)
    return facts


def _known(torrent: FakeTorrent, metainfo: Metainfo, facts: dict[str, Any]) -> dict[str, Any]:
    """Take what a .torrent says."""
    size = metainfo.geometry.piece_bytes
    torrent.metainfo = metainfo
    torrent.pieces = bytes(-(-metainfo.piece_count // 8))
    torrent.files = [
        FileFacts(
            index,
            "/".join(entry.path),
            entry.length_bytes,
            first_piece=entry.offset_bytes // size,
            end_piece=-(-(entry.offset_bytes + entry.length_bytes) // size),
        )
        for index, entry in enumerate(metainfo.files)
        if not entry.is_pad
    ]
    return {
        "name": metainfo.name,
        "total_bytes": metainfo.total_bytes,
        "piece_bytes": size,
        "piece_count": metainfo.piece_count,
        "file_count": len(torrent.files),
        "is_private": metainfo.is_private,
        "info_hash_v1": metainfo.info_hash_v1,
        "info_hash_v2": metainfo.info_hash_v2,
        "wanted_bytes": metainfo.total_bytes,
        "metadata_fraction": 1.0,
        "trackers": metainfo.tiers,
        "web_seeds": metainfo.web_seeds,
        **facts,
    }


class FakeReading:
    """A TorrentReading."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine

    def hashes(self) -> Sequence[InfoHash]:
        self._check()
        return list(self._engine.order)

    def _check(self) -> None:
        if not self._engine.is_open:
            raise ClosedError("TorrentManager", "is not open now")

    def has(self, info_hash: InfoHash) -> bool:
        return self._engine.is_open and info_hash in self._engine.torrents

    def active(self) -> Iterable[InfoHash]:
        self._check()
        for key, torrent in self._engine.torrents.items():
            progress = torrent.facts.progress
            if progress.state not in QUIET and not progress.is_resting:
                yield key

    def facts(self, info_hash: InfoHash) -> FactSheet:
        facts = self._engine.find(info_hash).facts
        place = self._engine.position(info_hash)
        return replace(facts, settings=replace(facts.settings, queue_position=place))

    def live(self, info_hash: InfoHash) -> tuple[ProgressFacts, RateFacts]:
        facts = self._engine.find(info_hash).facts
        return facts.progress, facts.rates

    def failure(self, info_hash: InfoHash) -> TorrentEngineError | None:
        error = self._engine.find(info_hash).facts.progress.error
        return TorrentEngineError(error) if error else None

    async def metainfo(self, info_hash: InfoHash) -> Metainfo | None:
        return self._engine.find(info_hash).metainfo

    async def files(self, info_hash: InfoHash) -> Sequence[FileFacts]:
        return list(self._engine.find(info_hash).files)

    def peers(self, info_hash: InfoHash) -> Sequence[PeerFacts]:
        return list(self._engine.find(info_hash).peers)

    def trackers(self, info_hash: InfoHash) -> Sequence[TrackerFacts]:
        torrent = self._engine.find(info_hash)
        if torrent.trackers:
            return list(torrent.trackers)
        tiers = torrent.facts.settings.trackers
        urls = [(url, tier) for tier, urls in enumerate(tiers) for url in urls]
        return [TrackerFacts(number, url, tier) for number, (url, tier) in enumerate(urls)]

    def web_seeds(self, info_hash: InfoHash) -> Sequence[WebSeedFacts]:
        torrent = self._engine.find(info_hash)
        return torrent.web_seeds or list(map(WebSeedFacts, torrent.facts.settings.web_seeds))

    def pieces(self, info_hash: InfoHash) -> bytes:
        return self._engine.find(info_hash).pieces

    def availability(self, info_hash: InfoHash) -> Sequence[int]:
        return self._engine.find(info_hash).availability

    def swarm(self, info_hash: InfoHash) -> SwarmFacts:
        return self._engine.find(info_hash).swarm

    def open(self, info_hash: InfoHash, file: int | str) -> ByteReader:
        torrent = self._engine.find(info_hash)
        for each in torrent.files:
            if file in {each.index, each.path}:
                return FakeReader(torrent.contents.get(each.index, bytes(each.size_bytes)))
        raise UnknownFileError(f"there is no file {file!r}", file)


class FakeReader:
    """A ByteReader of bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0
        self.is_closed = False

    @property
    def size(self) -> int:
        return len(self._data)

    def seek(self, offset: int) -> int:
        self._position = offset
        return offset

    async def read(self, size: int = -1) -> bytes:
        end = len(self._data) if size < 0 else self._position + size
        data = self._data[self._position : end]
        self._position += len(data)
        return data

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_closed = True


class FakeActions:
    """A TorrentActions."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine

    def _torrent(self, name: str, info_hash: InfoHash, *arguments: Any) -> FakeTorrent:
        torrent = self._engine.find(info_hash)
        self._engine.called(name, info_hash, *arguments)
        return torrent

    async def start(self, info_hash: InfoHash) -> None:
        torrent = self._torrent("start", info_hash)
        self._run(info_hash, torrent)

    async def start_now(self, info_hash: InfoHash) -> None:
        torrent = self._torrent("start_now", info_hash)
        self._run(info_hash, torrent)
        self._engine.change(info_hash, is_forced=True, is_held=False)

    def set_forced(self, info_hash: InfoHash, *, is_forced: bool) -> None:
        self._torrent("set_forced", info_hash, is_forced)
        self._engine.change(info_hash, is_forced=is_forced)

    def _run(self, info_hash: InfoHash, torrent: FakeTorrent) -> None:
        if torrent.facts.progress.state in QUIET:
            self._engine.change(
                info_hash,
                state=_running_state(torrent.facts),
                paused_state=None,
                is_paused_by_user=False,
                stop_reason="",
                error="",
                error_kind=ProgressFacts().error_kind,
            )

    async def pause(self, info_hash: InfoHash) -> None:
        progress = self._torrent("pause", info_hash).facts.progress
        if progress.state in {EngineState.STOPPED, EngineState.ERROR}:
            return
        self._engine.change(
            info_hash,
            state=EngineState.PAUSED,
            paused_state=progress.paused_state or progress.state,
            is_paused_by_user=True,
            is_forced=False,
        )
        self._engine.torrents[info_hash].facts = replace(
            self._engine.torrents[info_hash].facts, rates=RateFacts()
        )

    async def stop(self, info_hash: InfoHash) -> None:
        self._torrent("stop", info_hash)
        self._engine.change(
            info_hash,
            state=EngineState.STOPPED,
            paused_state=None,
            stop_reason="stopped",
        )

    async def recheck(self, info_hash: InfoHash) -> None:
        self._torrent("recheck", info_hash)

    def reannounce(self, info_hash: InfoHash) -> float | None:
        progress = self._torrent("reannounce", info_hash).facts.progress
        return None if progress.state in QUIET else 0.0

    async def scrape(self, info_hash: InfoHash) -> None:
        self._torrent("scrape", info_hash)

    async def remove(self, info_hash: InfoHash, *, delete_files: bool = False) -> None:
        self._torrent("remove", info_hash, delete_files).is_deleted = delete_files
        self._engine.take(info_hash)

    async def move(self, info_hash: InfoHash, path: str) -> None:
        self._torrent("move", info_hash, path)
        self._engine.change(info_hash, save_path=path, current_path=path)

    async def set_save_path(self, info_hash: InfoHash, path: str) -> None:
        self._torrent("set_save_path", info_hash, path)
        self._engine.change(info_hash, save_path=path, current_path=path)

    async def rename_file(self, info_hash: InfoHash, index: int, path: str) -> None:
        torrent = self._torrent("rename_file", info_hash, index, path)
        self._need_metadata(torrent)
        if index not in {each.index for each in torrent.files}:
            raise UnknownFileError(f"there is no file {index}", index)
        torrent.files = [
            replace(each, path=path) if each.index == index else each for each in torrent.files
        ]
        self._engine.report(ChangedNotice(info_hash, FactGroup.ABOUT))

    async def rename_folder(self, info_hash: InfoHash, old: str, new: str) -> None:
        torrent = self._torrent("rename_folder", info_hash, old, new)
        self._need_metadata(torrent)
        is_inside = [each.path == old or each.path.startswith(f"{old}/") for each in torrent.files]
        if not any(is_inside):
            raise UnknownFileError(f"there is nothing at {old!r}", old)
        torrent.files = [
            replace(each, path=new + each.path[len(old) :]) if inside else each
            for each, inside in zip(torrent.files, is_inside, strict=True)
        ]
        self._engine.report(ChangedNotice(info_hash, FactGroup.ABOUT))

    def _need_metadata(self, torrent: FakeTorrent) -> None:
        if not torrent.facts.about.has_metadata:
            raise StateTransitionError("which files there are is not known before the metadata")

    def cancel_move(self, info_hash: InfoHash) -> bool:
        return self._torrent("cancel_move", info_hash).facts.progress.is_moving

    def set_priority(self, info_hash: InfoHash, priority: int) -> None:
        self._torrent("set_priority", info_hash, priority)
        self._engine.change(info_hash, priority=priority)

    def move_to(self, info_hash: InfoHash, position: int) -> None:
        self._torrent("move_to", info_hash, position)
        self._engine.order.remove(info_hash)
        self._engine.order.insert(position, info_hash)
        self._engine.report(QueueNotice())


def _running_state(facts: FactSheet) -> EngineState:
    if not facts.about.has_metadata:
        return EngineState.FETCHING_METADATA
    if facts.progress.completed_bytes >= facts.progress.wanted_bytes:
        return EngineState.SEEDING
    return EngineState.DOWNLOADING


class FakeSettings:
    """A TorrentSettings."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine

    def _torrent(self, name: str, info_hash: InfoHash, *arguments: Any) -> FakeTorrent:
        torrent = self._engine.find(info_hash)
        self._engine.called(name, info_hash, *arguments)
        return torrent

    def set_limits(self, info_hash: InfoHash, limits: Limits) -> None:
        self._torrent("set_limits", info_hash, limits)
        self._engine.change(info_hash, limits=limits)

    def set_seed_rules(self, info_hash: InfoHash, rules: SeedRules) -> None:
        self._torrent("set_seed_rules", info_hash, rules)
        self._engine.change(info_hash, seed_rules=rules)

    def set_sequential(
        self, info_hash: InfoHash, *, is_sequential: bool, from_piece: int | None = None
    ) -> None:
        facts = self._torrent("set_sequential", info_hash, is_sequential, from_piece).facts
        begin = facts.settings.sequential_from if from_piece is None else from_piece
        self._engine.change(info_hash, is_sequential=is_sequential, sequential_from=begin)

    async def set_first_last_first(self, info_hash: InfoHash, *, is_first: bool) -> None:
        self._torrent("set_first_last_first", info_hash, is_first)
        self._engine.change(info_hash, is_first_last_first=is_first)

    def set_group(self, info_hash: InfoHash, name: str, *, honors_session_limits: bool) -> None:
        self._torrent("set_group", info_hash, name, honors_session_limits)
        self._engine.change(info_hash, group=name, honors_session_limits=honors_session_limits)

    def set_super_seeding(self, info_hash: InfoHash, *, is_super_seeding: bool) -> None:
        self._torrent("set_super_seeding", info_hash, is_super_seeding)
        self._engine.change(info_hash, is_super_seeding=is_super_seeding)

    async def set_file_priorities(self, info_hash: InfoHash, priorities: Mapping[int, int]) -> None:
        torrent = self._torrent("set_file_priorities", info_hash, dict(priorities))
        if not torrent.facts.about.has_metadata:
            raise StateTransitionError("priorities are not possible before the metadata came")
        _set_priorities(self._engine, info_hash, priorities)

    def set_user_data(self, info_hash: InfoHash, values: dict[str, str]) -> None:
        self._torrent("set_user_data", info_hash, dict(values))
        self._engine.change(info_hash, user_data=tuple(sorted(values.items())))

    def set_trackers(self, info_hash: InfoHash, tiers: Sequence[Sequence[str]]) -> None:
        self._torrent("set_trackers", info_hash, tiers)
        self._engine.change(info_hash, trackers=tuple(tuple(tier) for tier in tiers if tier))

    def add_tracker(self, info_hash: InfoHash, url: str, tier: int | None = None) -> bool:
        tiers = list(self._torrent("add_tracker", info_hash, url, tier).facts.settings.trackers)
        if any(url in urls for urls in tiers):
            return False
        if tier is None or tier >= len(tiers):
            tiers.append((url,))
        else:
            tiers[tier] = (*tiers[tier], url)
        self._engine.change(info_hash, trackers=tuple(tiers))
        return True

    def remove_tracker(self, info_hash: InfoHash, url: str) -> bool:
        tiers = self._torrent("remove_tracker", info_hash, url).facts.settings.trackers
        left = [tuple(each for each in tier if each != url) for tier in tiers]
        self._engine.change(info_hash, trackers=tuple(tier for tier in left if tier))
        return self._engine.torrents[info_hash].facts.settings.trackers != tiers

    def add_web_seed(self, info_hash: InfoHash, url: str) -> bool:
        urls = self._torrent("add_web_seed", info_hash, url).facts.settings.web_seeds
        self._engine.change(info_hash, web_seeds=tuple(dict.fromkeys((*urls, url))))
        return url not in urls

    def remove_web_seed(self, info_hash: InfoHash, url: str) -> bool:
        urls = self._torrent("remove_web_seed", info_hash, url).facts.settings.web_seeds
        self._engine.change(info_hash, web_seeds=tuple(each for each in urls if each != url))
        return url in urls

    async def add_peer(self, info_hash: InfoHash, host: str, port: int) -> None:
        self._torrent("add_peer", info_hash, host, port)


def user_data_of(options: AddOptions) -> dict[str, str]:
    """Return what is kept with a torrent that is added so."""
    return UserData(
        category=options.category or "",
        labels=options.labels or (),
        name=options.rename,
        ephemeral=options.ephemeral or "",
    ).values()


def _set_priorities(engine: FakeEngine, key: InfoHash, changes: Mapping[int, int]) -> None:
    torrent = engine.torrents[key]
    present = torrent.facts
    count = present.about.file_count if torrent.metainfo is None else len(torrent.metainfo.files)
    priorities = changed_priorities(present.settings.file_priorities, changes, count)
    torrent.files = [replace(each, priority=priorities[each.index]) for each in torrent.files]
    wanted = sum(each.size_bytes for each in torrent.files if each.priority)
    engine.change(key, wanted_bytes=wanted, file_priorities=tuple(priorities))


class FakeControl:
    """An EngineControl."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self.total_facts = TotalFacts()
        self.network_facts = NetworkFacts(listen_port=6881, announced_port=6881)
        self.limits = (0, 0)
        self.lists: dict[str, bytes] = {}
        """What :meth:`fetch_list` returns, by URL."""
        self.queue = QueueLimits()
        self.peers = PeerLimits()
        self.rules = SeedRules()
        self.group_facts: dict[str, GroupFacts] = {}
        self.generations: dict[str, int] = {}
        self.banned: dict[str, float | None] = {}

    async def add(self, torrent: Metainfo | Magnet, options: AddOptions) -> AddedTorrent:
        engine, key = self._engine, torrent.info_hash
        engine.called("add", torrent, options)
        self._check_owner(options)
        if key in engine.torrents and self._is_to_stay(key, options):
            known = engine.torrents[key].metainfo
            torrent = known or torrent
            engine.take(key)
        if key in engine.torrents:
            return AddedTorrent(key, engine.torrents[key].facts.about.name, is_new=False)
        config = options.session_config(torrent, SessionConfig())
        facts = self._facts(options, config)
        if isinstance(torrent, Magnet):
            facts |= {
                "name": torrent.name or key.hex(),
                "magnet": str(torrent),
                "trackers": tuple((url,) for url in torrent.trackers),
            }
        engine.put(key, metainfo=torrent if isinstance(torrent, Metainfo) else None, **facts)
        self._begin(key, options, config)
        return AddedTorrent(key, engine.torrents[key].facts.about.name, is_new=True)

    def _is_to_stay(self, key: InfoHash, options: AddOptions) -> bool:
        values = dict(self._engine.torrents[key].facts.settings.user_data)
        return options.ephemeral is None and bool(UserData.read(values).ephemeral)

    def _begin(self, key: InfoHash, options: AddOptions, config: SessionConfig) -> None:
        engine = self._engine
        running = _running_state(engine.torrents[key].facts)
        if config.paused:
            engine.change(key, state=EngineState.PAUSED, paused_state=running)
        else:
            engine.change(key, state=running, started_at=engine.now_at)
        if config.file_priorities:
            _set_priorities(engine, key, dict(enumerate(config.file_priorities)))
        for url in options.trackers or ():
            engine.port.settings.add_tracker(key, url)
        if options.position is not None:
            engine.order.remove(key)
            engine.order.insert(options.position, key)

    def _check_owner(self, options: AddOptions) -> None:
        owner = options.owner
        if owner and owner.generation < self.generations.get(owner.owner_id, 0):
            raise OwnerChangedError(f"owner {owner.owner_id!r} has moved on")

    def _facts(self, options: AddOptions, config: SessionConfig) -> dict[str, Any]:
        save_path = options.save_path or self._engine.save_path
        return {
            "save_path": save_path,
            "current_path": save_path,
            "priority": options.priority or 0,
            "is_paused_by_user": config.paused,
            "limits": Limits(
                config.max_download_bytes_per_s,
                config.max_upload_bytes_per_s,
                max_peers=config.max_connections,
            ),
            "seed_rules": SeedRules(config.seed_ratio, config.seed_time_s, config.seed_idle_s),
            "is_sequential": config.sequential,
            "owner": options.owner,
            "user_data": tuple(sorted(user_data_of(options).items())),
        }

    async def read_torrent(self, data: bytes) -> Metainfo:
        return Metainfo.from_bytes(data)

    async def fetch_torrent(self, url: str, options: FetchOptions) -> Metainfo | Magnet:
        self._engine.called("fetch_torrent", url, options)
        if not (is_url(url) or MutableLink.is_link(url)):
            raise ConfigError(f"url: {url!r:.80} is no http or https URL")
        if url not in self._engine.sources and MutableLink.is_link(url):
            raise NetworkError("no node of the DHT has a torrent of this key (BEP 46)")
        if url not in self._engine.sources:
            raise HttpError(f"{url}: 404", status=404)
        return self._engine.sources[url]

    def totals(self) -> TotalFacts:
        rates = [each.facts.rates for each in self._engine.torrents.values()]
        return replace(
            self.total_facts,
            torrents=len(rates),
            peers=sum(each.peers for each in rates),
            download_bytes_per_s=float(sum(each.download_bytes_per_s for each in rates)),
            upload_bytes_per_s=float(sum(each.upload_bytes_per_s for each in rates)),
        )

    def network(self) -> NetworkFacts:
        return self.network_facts

    def bans(self) -> list[BanFacts]:
        return [BanFacts(host, None, ends_in_s) for host, ends_in_s in self.banned.items()]

    def ban(self, host: str, seconds: int | None = None) -> None:
        try:
            ip_address(host)
        except ValueError:
            raise ConfigError(f"host: {host!r} is no literal address") from None
        self._engine.called("ban", host, seconds)
        self.banned[host] = seconds

    def unban(self, host: str) -> bool:
        return self.banned.pop(host, 0) != 0

    def rate_limits(self) -> tuple[int, int]:
        return self.limits

    def set_rate_limits(self, download_bytes_per_s: int, upload_bytes_per_s: int) -> None:
        self._engine.called("set_rate_limits", download_bytes_per_s, upload_bytes_per_s)
        self.limits = (download_bytes_per_s, upload_bytes_per_s)

    def peer_limits(self) -> PeerLimits:
        return self.peers

    def set_peer_limits(self, limits: PeerLimits) -> None:
        self._engine.called("set_peer_limits", limits)
        self.peers = limits

    def set_encryption(self, policy: str) -> None:
        self._engine.called("set_encryption", policy)

    def groups(self) -> list[GroupFacts]:
        return list(self.group_facts.values())

    def set_group(self, group: GroupFacts) -> None:
        self._engine.called("set_group_limits", group)
        self.group_facts[group.name] = group

    def queue_limits(self) -> QueueLimits:
        return self.queue

    def set_queue_limits(self, limits: QueueLimits) -> None:
        self._engine.called("set_queue_limits", limits)
        self.queue = limits

    async def fetch_list(
        self, url: str, *, max_bytes: int, headers: Mapping[str, str] | None = None
    ) -> HttpResponse:
        self._engine.called("fetch_list", url)
        if url not in self.lists:
            raise HttpError("HTTP status 404", status=404)
        return HttpResponse(200, {}, self.lists[url], url, "192.0.2.1")

    async def reload_ip_filter(self, paths: Sequence[str] | None = None) -> None:
        self._engine.called("reload_ip_filter", *(() if paths is None else (tuple(paths),)))

    def bar_downloads(self, info_hashes: Iterable[InfoHash]) -> None:
        self._engine.called("bar_downloads", frozenset(info_hashes))

    def seed_rules(self) -> SeedRules:
        return self.rules

    def set_seed_rules(self, rules: SeedRules) -> None:
        self._engine.called("set_seed_rules_of_all", rules)
        self.rules = rules

    def owner_generation(self, owner_id: str) -> int | None:
        return self.generations.get(owner_id)

    def advance_owner(self, owner_id: str, generation: int) -> int:
        if generation < self.generations.get(owner_id, generation):
            raise OwnerChangedError(f"owner {owner_id!r} has moved on")
        self.generations[owner_id] = generation
        old = [
            key
            for key, torrent in self._engine.torrents.items()
            if (owner := torrent.facts.settings.owner) is not None
            and owner.owner_id == owner_id
            and owner.generation < generation
        ]
        for key in old:
            self._engine.take(key)
        return len(old)

    async def flush(self) -> None:
        self._engine.flushed()


class FakeJobs:
    """A JobKeeping."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self._numbers = count(1)

    def begin(self, kind: str, name: str) -> str:
        job_id = f"own-job-{next(self._numbers)}"
        self._engine.put_job(JobFacts(job_id, kind, "running", name=name))
        return job_id

    def identify(self, job_id: str, info_hash: InfoHash, name: str) -> None:
        self._change(job_id, info_hash=info_hash, name=name)

    def update(self, job_id: str, *, done_bytes: int, total_bytes: int) -> None:
        progress = done_bytes / max(total_bytes, 1)
        self._change(job_id, done_bytes=done_bytes, total_bytes=total_bytes, progress=progress)

    def finish(
        self, job_id: str, status: str, *, error: str | None = None, reason: str | None = None
    ) -> None:
        at = self._engine.now_at
        self._change(job_id, status=status, error=error, reason=reason, completed_at=at)

    def _change(self, job_id: str, **changes: Any) -> None:
        if (job := self._engine.job_list.get(job_id)) is not None:
            self._engine.put_job(replace(job, **changes))

    async def list(self, query: JobQuery) -> list[JobFacts]:
        found = [
            job
            for job in reversed(self._engine.job_list.values())
            if (not query.statuses or job.status in query.statuses)
            and (not query.kinds or job.kind in query.kinds)
            and query.info_hash in {None, job.info_hash}
            and job.id.startswith(query.id_prefix)
        ]
        return found[: query.limit or None]

    async def get(self, job_id: str) -> JobFacts | None:
        return self._engine.job_list.get(job_id)

    async def clear(self, ids: Sequence[str] | None = None) -> int:
        gone = [
            job.id
            for job in self._engine.job_list.values()
            if job.is_finished and (ids is None or job.id in ids)
        ]
        for each in gone:
            del self._engine.job_list[each]
        self._engine.report(JobsGoneNotice(tuple(gone)))
        return len(gone)


class FakeEvents:
    """A PortEvents."""

    def __init__(self, engine: FakeEngine) -> None:
        self._listeners = engine.listeners
        self.counts: Counter[str] = Counter()
        self.announce_times: defaultdict[str, Durations] = defaultdict(Durations)
        self.raw: list[RawListener] = []

    def subscribe_raw(self, listener: RawListener) -> Callable[[], None]:
        self.raw.append(listener)
        return lambda: self.raw.remove(listener)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)


__all__ = ["FakeEngine", "FakeTorrent", "TrackerSummary", "info_hash_of"]
