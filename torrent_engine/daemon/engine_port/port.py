"""The calls of the engine that the daemon uses, as protocols; nothing here imports the engine.

Torrents are named by their info-hash. Every call that takes one raises UnknownTorrentError if the
torrent is not there, and ClosedError while the engine is not open. What a call raises beside that
are the TorrentEngineErrors of the engine, unchanged.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.daemon.engine_port.durations import Durations
from torrent_engine.daemon.engine_port.facts import (
    AddedTorrent,
    BanFacts,
    FactSheet,
    FileFacts,
    GroupFacts,
    JobFacts,
    JobQuery,
    Limits,
    NetworkFacts,
    Notice,
    PeerFacts,
    PeerLimits,
    ProgressFacts,
    QueueLimits,
    RateFacts,
    SeedRules,
    SwarmFacts,
    TotalFacts,
    TrackerFacts,
    WebSeedFacts,
)
from torrent_engine.net.http.client import HttpResponse
from torrent_engine.net.http.torrent_fetch import FetchOptions
from torrent_engine.service.add_options import AddOptions


class ByteReader(Protocol):
    """Reads one file of a torrent; missing pieces are downloaded first, and waited for."""

    @property
    def size(self) -> int:
        """The length of the file in bytes; inside ``async with``."""

    def seek(self, offset: int) -> int:
        """Set the position, in bytes from the start of the file; return it."""

    async def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes from the position; b"" at the end."""

    async def __aenter__(self) -> Self:
        """Wait for the metadata if need be."""

    async def __aexit__(self, *exc: object) -> None:
        """Close."""


class TorrentReading(Protocol):
    """What there is, and what can be told of each torrent."""

    def hashes(self) -> Sequence[InfoHash]:
        """Return all torrents, in the order of the queue."""

    def has(self, info_hash: InfoHash) -> bool:
        """Return whether a torrent is there; False while the engine is not open."""

    def active(self) -> Iterable[InfoHash]:
        """Return the torrents whose numbers may change by themselves."""

    def facts(self, info_hash: InfoHash) -> FactSheet:
        """Return everything that costs little; the metainfo of a torrent at rest is not read."""

    def live(self, info_hash: InfoHash) -> tuple[ProgressFacts, RateFacts]:
        """Return two groups of :meth:`facts` for less.

        What trackers said is as :meth:`facts` found it last; a notice follows when it changes.
        """

    def failure(self, info_hash: InfoHash) -> TorrentEngineError | None:
        """Return the error that ended the torrent; None while its state is another."""

    async def metainfo(self, info_hash: InfoHash) -> Metainfo | None:
        """Return what the .torrent says, read in a thread; None before the metadata."""

    async def files(self, info_hash: InfoHash) -> Sequence[FileFacts]:
        """Return the files without pad files; none before the metadata."""

    def peers(self, info_hash: InfoHash) -> Sequence[PeerFacts]:
        """Return the connected peers."""

    def trackers(self, info_hash: InfoHash) -> Sequence[TrackerFacts]:
        """Return all trackers, of stopped torrents too."""

    def web_seeds(self, info_hash: InfoHash) -> Sequence[WebSeedFacts]:
        """Return all web seeds."""

    def pieces(self, info_hash: InfoHash) -> bytes:
        """Return the verified pieces as a BEP 3 bitfield; b"" before the metadata."""

    def availability(self, info_hash: InfoHash) -> Sequence[int]:
        """Return how many connected peers have each piece, up to 255; empty before the metadata."""

    def swarm(self, info_hash: InfoHash) -> SwarmFacts:
        """Return what the connected peers have."""

    def open(self, info_hash: InfoHash, file: int | str) -> ByteReader:
        """Return a reader of a file, by its index or path.

        Raises UnknownFileError, which ``async with`` does if the metainfo is not in memory.
        """


class TorrentActions(Protocol):
    """The life of one torrent, its place in the queue, and its files."""

    async def start(self, info_hash: InfoHash) -> None:
        """Let a stopped, paused or failed torrent go on, when the queue permits."""

    async def start_now(self, info_hash: InfoHash) -> None:
        """Let a torrent run whatever the queue says, until it is paused."""

    def set_forced(self, info_hash: InfoHash, *, is_forced: bool) -> None:
        """Take a torrent out of the queue, or back into it, without starting it."""

    async def pause(self, info_hash: InfoHash) -> None:
        """Let no payload move until :meth:`start`; what Transmission calls "stop"."""

    async def stop(self, info_hash: InfoHash) -> None:
        """End the run: trackers told, files closed."""

    async def recheck(self, info_hash: InfoHash) -> None:
        """Begin to hash all data that is there; a stopped or paused torrent stays so afterwards."""

    def reannounce(self, info_hash: InfoHash) -> float | None:
        """Ask the trackers for peers as soon as their minimum interval permits.

        Returns in how many seconds the first is asked; None: no announce is made, because the
        torrent is paused, does not run or has no tracker.
        """

    async def scrape(self, info_hash: InfoHash) -> None:
        """Ask the trackers for the size of the swarm; :meth:`TorrentReading.trackers` has it."""

    async def remove(self, info_hash: InfoHash, *, delete_files: bool = False) -> None:
        """Remove a torrent, with its files if asked for."""

    async def move(self, info_hash: InfoHash, path: str) -> None:
        """Move the files to another save path; returns when they are there."""

    async def set_save_path(self, info_hash: InfoHash, path: str) -> None:
        """Look for the files in another folder, without moving any, and check what is there."""

    async def rename_file(self, info_hash: InfoHash, index: int, path: str) -> None:
        """Give a file another path below the save path."""

    async def rename_folder(self, info_hash: InfoHash, old: str, new: str) -> None:
        """Give a folder of the torrent, or its root, another path below the save path."""

    def cancel_move(self, info_hash: InfoHash) -> bool:
        """Undo the move that is under way; False if there is none."""

    def set_priority(self, info_hash: InfoHash, priority: int) -> None:
        """Set the priority in the queue."""

    def move_to(self, info_hash: InfoHash, position: int) -> None:
        """Put a torrent at a place in the queue, from 0."""


class TorrentSettings(Protocol):
    """What may be changed of one torrent at any time."""

    def set_limits(self, info_hash: InfoHash, limits: Limits) -> None:
        """Set all limits of a torrent."""

    def set_seed_rules(self, info_hash: InfoHash, rules: SeedRules) -> None:
        """Set when seeding ends."""

    def set_sequential(
        self, info_hash: InfoHash, *, is_sequential: bool, from_piece: int | None = None
    ) -> None:
        """Download pieces in their order, beginning at one, or the rarest first."""

    async def set_first_last_first(self, info_hash: InfoHash, *, is_first: bool) -> None:
        """Download the first and last pieces of files before others, or not."""

    def set_group(self, info_hash: InfoHash, name: str, *, honors_session_limits: bool) -> None:
        """Share the limits of a group, "" for none, and those over all torrents or not."""

    def set_super_seeding(self, info_hash: InfoHash, *, is_super_seeding: bool) -> None:
        """Show pieces one by one (BEP 16), or all of them."""

    async def set_file_priorities(self, info_hash: InfoHash, priorities: Mapping[int, int]) -> None:
        """Set numbers, 0 (skip) to 7, by the files' indices in the metainfo, pad files counted.

        All other files stay as they are.
        """

    def set_user_data(self, info_hash: InfoHash, values: dict[str, str]) -> None:
        """Replace what the daemon keeps with a torrent; at most 4 KiB."""

    def set_trackers(self, info_hash: InfoHash, tiers: Sequence[Sequence[str]]) -> None:
        """Replace all trackers. Raises TrackerError, and changes nothing, for an unusable URL."""

    def add_tracker(self, info_hash: InfoHash, url: str, tier: int | None = None) -> bool:
        """Announce to one more tracker; return whether it is new."""

    def remove_tracker(self, info_hash: InfoHash, url: str) -> bool:
        """Announce to a tracker no more; False if there is none such."""

    def add_web_seed(self, info_hash: InfoHash, url: str) -> bool:
        """Download from one more web server; return whether it is new."""

    def remove_web_seed(self, info_hash: InfoHash, url: str) -> bool:
        """Download from a web server no more; False if there is none such."""

    async def add_peer(self, info_hash: InfoHash, host: str, port: int) -> None:
        """Try a peer at once, or when the torrent starts."""


class EngineControl(Protocol):
    """What concerns all torrents."""

    async def add(self, torrent: Metainfo | Magnet, options: AddOptions) -> AddedTorrent:
        """Add a torrent and start it; one that is there already gets the trackers of both.

        Category, labels and the name that is displayed become :attr:`SettingFacts.user_data`.
        Raises ConfigError, SessionError if there are as many torrents as there may be, and
        OwnerChangedError.
        """

    async def read_torrent(self, data: bytes) -> Metainfo:
        """Return what a .torrent says. Raises BencodeError or MetainfoError."""

    async def fetch_torrent(self, url: str, options: FetchOptions) -> Metainfo | Magnet:
        """Return the torrent of a URL, or the magnet link that it leads to.

        A link to a public key (BEP 46) leads to the torrent that the key publishes now. Raises
        HttpError, BencodeError, MetainfoError or MagnetError; ConfigError without a DHT, and
        NetworkError or RemoteProtocolError for what is not found there.
        """

    def totals(self) -> TotalFacts:
        """Return the numbers of all torrents together."""

    def network(self) -> NetworkFacts:
        """Return how the engine is reached."""

    def bans(self) -> list[BanFacts]:
        """Return the bans that hold, those of users first."""

    def ban(self, host: str, seconds: int | None = None) -> None:
        """Have no connections with a literal address; None: until :meth:`unban`. ConfigError."""

    def unban(self, host: str) -> bool:
        """End all bans of an address; False if there are none."""

    def rate_limits(self) -> tuple[int, int]:
        """Return the download and upload limit of all torrents together; 0 is unlimited."""

    def set_rate_limits(self, download_bytes_per_s: int, upload_bytes_per_s: int) -> None:
        """Set the limits of all torrents together; 0 is unlimited."""

    def peer_limits(self) -> PeerLimits:
        """Return how many peers there may be."""

    def set_peer_limits(self, limits: PeerLimits) -> None:
        """Set how many peers there may be; connections that are too many are closed."""

    def set_encryption(self, policy: str) -> None:
        """Set the encryption of new connections: "disabled", "allowed", "preferred", "required"."""

    def groups(self) -> Sequence[GroupFacts]:
        """Return the groups whose limits were set; others that torrents name have none."""

    def set_group(self, group: GroupFacts) -> None:
        """Set the limits of a group, which is made if need be; forgotten at the close."""

    def queue_limits(self) -> QueueLimits:
        """Return how many torrents are active at once."""

    def set_queue_limits(self, limits: QueueLimits) -> None:
        """Set how many torrents are active at once."""

    async def fetch_list(
        self, url: str, *, max_bytes: int, headers: Mapping[str, str] | None = None
    ) -> HttpResponse:
        """Fetch a long file, through the proxy if there is one. Raises HttpError."""

    async def reload_ip_filter(self, paths: Sequence[str] | None = None) -> None:
        """Let the files of the filter hold as they are now, or these files in their place.

        Links that are forbidden end soon. Raises StorageError, IpFilterError or ConfigError; what
        held goes on to hold then.
        """

    def bar_downloads(self, info_hashes: Iterable[InfoHash]) -> None:
        """Let these torrents not download, and all others again."""

    def seed_rules(self) -> SeedRules:
        """Return when seeding ends of torrents without a rule of their own."""

    def set_seed_rules(self, rules: SeedRules) -> None:
        """Set when seeding ends of torrents without a rule of their own."""

    def owner_generation(self, owner_id: str) -> int | None:
        """Return an owner's generation; None if it never announced one."""

    def advance_owner(self, owner_id: str, generation: int) -> int:
        """Set an owner's generation; return how many downloads of older ones were cancelled."""

    async def flush(self) -> None:
        """Wait until the engine's database has all that was added and changed."""


class JobKeeping(Protocol):
    """The records of work; those of the engine itself are written by the engine."""

    def begin(self, kind: str, name: str) -> str:
        """Begin a job that runs, and return its id."""

    def identify(self, job_id: str, info_hash: InfoHash, name: str) -> None:
        """Set the torrent of a job, where it was not known at the start."""

    def update(self, job_id: str, *, done_bytes: int, total_bytes: int) -> None:
        """Record the progress of a job."""

    def finish(
        self, job_id: str, status: str, *, error: str | None = None, reason: str | None = None
    ) -> None:
        """End a job: completed, failed or cancelled."""

    async def list(self, query: JobQuery) -> list[JobFacts]:
        """Return jobs, the newest first."""

    async def get(self, job_id: str) -> JobFacts | None:
        """Return one job; None if there is none of this id."""

    async def clear(self, ids: Sequence[str] | None = None) -> int:
        """Delete finished jobs, of these ids only if given; return how many."""


Listener = Callable[[Notice], None]
RawListener = Callable[[Mapping[str, Any]], None]


class PortEvents(Protocol):
    """What the engine reports by itself."""

    @property
    def counts(self) -> Mapping[str, int]:
        """How often what is only counted has happened since the start of the process.

        "announce_ok", "announce_failed", "hash_failed", "peer_banned", "web_seed_banned",
        "incoming" and "outgoing" (peers that connected).
        """

    @property
    def announce_times(self) -> Mapping[str, Durations]:
        """How long announces took, also failed ones, by scheme of the tracker."""

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` on each event, in the event loop; the result ends that.

        The listener must be quick and must not raise. Changes of rates are not reported.
        """

    def subscribe_raw(self, listener: RawListener) -> Callable[[], None]:
        """Call ``listener`` on every event of the engine, as values of JSON; see subscribe()."""


@dataclass(frozen=True, slots=True)
class EnginePort:
    """The engine, as the daemon sees it; ``manager_port`` builds it, tests have a fake."""

    torrents: TorrentReading
    control: TorrentActions
    settings: TorrentSettings
    engine: EngineControl
    jobs: JobKeeping
    events: PortEvents
