"""One torrent of a program: everything that a user of the library may ask of it."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio

from torrent_engine.base.checks import check_path
from torrent_engine.base.config import SeedingConfig, SessionConfig
from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.event_bus import EventBus
from torrent_engine.engine.reading.file_reader import FileReader
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.runs.file_selection import path_below
from torrent_engine.engine.runs.torrent_run import TorrentRun
from torrent_engine.engine.session.admin import SessionAdmin
from torrent_engine.engine.session.core import SessionCore
from torrent_engine.engine.session.dormancy import Dormancy
from torrent_engine.engine.session.lifecycle import Lifecycle
from torrent_engine.engine.session.membership import Membership
from torrent_engine.engine.session.metadata import Metadata
from torrent_engine.engine.session.relocation import Relocation
from torrent_engine.engine.session.removal import Removal
from torrent_engine.engine.session.run_loop import RunLoop
from torrent_engine.engine.session.settings import SessionSettings
from torrent_engine.engine.session.status import FileNames, Status
from torrent_engine.engine.session.streaming import Streaming
from torrent_engine.engine.session.torrent_loader import (
    TorrentSource,
    downloadable,
    is_info_hash,
    load_torrent,
)
from torrent_engine.engine.states import State
from torrent_engine.engine.stats import (
    FileStats,
    PeerStats,
    SessionBrief,
    SessionStats,
    SessionTimes,
    SwarmAvailability,
    TorrentFacts,
    TorrentProblem,
    TrackerScrape,
    TrackerStatus,
    WebSeedStats,
)
from torrent_engine.engine.transfer.web_seed_fetch import BEP_OF_FILES

if TYPE_CHECKING:
    from torrent_engine.engine.swarm.context import Totals


class Session:
    """One torrent: downloads it, then seeds it; borrows from SharedResources.

    Of a magnet link it asks peers for the metadata first (BEP 9). Make it with :meth:`create`;
    ``async with`` starts it, and closes it at the end.
    """

    __slots__ = (
        "__weakref__",
        "_core",
        "_dormancy",
        "_lifecycle",
        "_relocation",
        "_settings",
        "_status",
        "_streaming",
        "admin",
        "events",
        "totals",
    )

    @classmethod
    async def create(
        cls,
        source: TorrentSource | InfoHash,
        shared: SharedResources,
        *,
        save_path: str | os.PathLike[str],
        config: SessionConfig | None = None,
        membership: Membership | None = None,
    ) -> Self:
        """Make a Session that keeps its files below ``save_path``; nothing runs yet.

        ``source`` is a Metainfo or a Magnet, or what one is read from: a path, an http(s) URL, a
        magnet link, the bytes of a .torrent. An info-hash alone, 20 bytes, is that of a torrent
        whose metainfo the database has. ``membership`` is given by a TorrentManager. Raises
        TypeError for arguments of another type, OSError, BencodeError, MetainfoError, MagnetError
        or HttpError if the torrent cannot be read, and OwnerChangedError if the configuration ties
        it to an owner that has moved on.
        """
        _check_arguments(shared, save_path, config)
        if not isinstance(source, Metainfo | Magnet) and not is_info_hash(source):
            source = await load_torrent(
                source, lambda: shared.http, shared.torrent_limits, dht=lambda: shared.dht
            )
        if isinstance(source, Metainfo | Magnet):
            source = downloadable(source)
        if config is not None:
            shared.owners.check(config.owner)
        folder = save_path if isinstance(save_path, Path) else Path(save_path)
        return cls(source, shared, folder, config or SessionConfig(), membership)

    def __init__(
        self,
        source: Metainfo | Magnet | InfoHash,
        shared: SharedResources,
        save_path: Path,
        config: SessionConfig,
        membership: Membership | None = None,
    ) -> None:
        self.events = EventBus(
            on_listening=self._listen, parent=None if membership is None else membership.events
        )
        """What happens to the torrent."""
        self._core = core = SessionCore(
            source, shared, save_path, config, self.events, self._state_changed, membership
        )
        metadata = Metadata(core)
        file_names = FileNames(core)
        self._relocation = Relocation(core, metadata, file_names)
        self._status = Status(core, file_names)
        runs = RunLoop(core, metadata, self._relocation, self._enter_dormancy, self._status.stats)
        removal = Removal(core, metadata, self._relocation, runs)
        self._dormancy = Dormancy(core, runs)
        on_owner_gone = None
        if membership is not None and membership.on_owner_gone is not None:
            on_owner_gone = partial(membership.on_owner_gone, self)
        self._lifecycle = Lifecycle(core, metadata, removal, runs, self._dormancy, on_owner_gone)
        self._settings = SessionSettings(core, self._lifecycle)
        self._streaming = Streaming(core, self._lifecycle)
        self.totals: Totals = core.totals
        """Payload that was moved since it was made."""
        self.admin = SessionAdmin(core, self._lifecycle, self._relocation, self._status, file_names)
        """What managers, jobs and programs do with it."""

    def __repr__(self) -> str:
        """Return the torrent's name, info-hash and state."""
        state = "closed" if self._core.is_closed else self.state.value
        return f"<Session {self.name!r:.100} {self.info_hash.hex()} {state}>"

    # -- ports for the parts --------------------------------------------------------------------

    def _listen(self) -> None:
        self._lifecycle.listen()

    def _enter_dormancy(self, run: TorrentRun, *, has_work: bool) -> bool:
        return self._dormancy.after(run, has_work=has_work)

    def _state_changed(self, old: State, new: State) -> None:
        """Report a change of the state, or of a setting: then both states are the same."""
        if new is State.SEEDING and old is not new:
            self._relocation.completed()
        self._core.shared.session_jobs.moved(self.admin, old, new)
        for listener in self._core.shared.state_listeners:
            listener(self.admin, old, new)
        if old is State.CHECKING:
            self._lifecycle.checked()

    # -- facts ----------------------------------------------------------------------------------

    @property
    def info_hash(self) -> InfoHash:
        """The SHA-1 of the info dictionary; of a v2 torrent the first 20 bytes of its SHA-256."""
        return self._core.info_hash

    @property
    def other_hash(self) -> InfoHash | None:
        """The second info-hash of a hybrid; None if there is none, or it is not known now."""
        return self._core.other_hash

    @property
    def is_private(self) -> bool | None:
        """Whether peers come from its trackers only (BEP 27); None without the metadata."""
        return self._core.is_private

    @property
    def facts(self) -> TorrentFacts | None:
        """What the .torrent says, without its pieces and files; always at hand, also at rest.

        None until the metadata of a magnet link is there, and a moment longer for a torrent that
        an earlier version has saved; ``torrent.changed`` with the group "about" follows.
        """
        return self._core.facts

    @property
    def tracker_hosts(self) -> tuple[str, ...]:
        """The hosts of its trackers, each once; always at hand, also at rest."""
        return self._status.tracker_hosts()

    @property
    def metainfo(self) -> Metainfo | None:
        """What the .torrent says; None until the metadata of a magnet link is there.

        A dormant torrent reads it from the database each time, which takes a second where there
        are very many files; None if it is not there whole.
        """
        return self._core.metainfo

    @property
    def magnet(self) -> Magnet | None:
        """The link that it came from, if it did."""
        return self._core.magnet

    @property
    def name(self) -> str:
        """The torrent's name, cleaned for the file system; before the metadata the link's."""
        return self._core.name

    @property
    def config(self) -> SessionConfig:
        """The present configuration; the methods of the Session change it."""
        return self._core.config

    @property
    def save_path(self) -> Path:
        """Where the files are; :meth:`move_storage` changes it."""
        return self._core.save_path

    @property
    def final_path(self) -> Path:
        """The save path once the torrent is complete; now the files may be in another folder."""
        return self._relocation.final_path

    @property
    def state(self) -> State:
        """What the Session does now."""
        return self._core.state

    @property
    def paused_state(self) -> State | None:
        """The state before the pause; None unless the state is PAUSED."""
        return self._core.machine.paused_state

    @property
    def error(self) -> TorrentEngineError | None:
        """Why the state is ERROR; None in every other state."""
        return self._core.error

    @property
    def stop_reason(self) -> str:
        """Why the run ended; "stopped" before it does."""
        return self._core.stop_reason

    @property
    def is_resting(self) -> bool:
        """Whether it is started but has no task, no open file and no metainfo in memory."""
        return self._core.dormant is not None

    @property
    def is_held(self) -> bool:
        """Whether it waits for its turn in the queue of a TorrentManager."""
        return self._core.is_held

    @property
    def is_forced(self) -> bool:
        """Whether it runs outside of the queue of a TorrentManager: see :meth:`start_now`."""
        return self._core.is_forced

    @property
    def is_paused_by_user(self) -> bool:
        """Whether :meth:`pause` was called, or it was added paused."""
        return self._core.is_paused_by_user

    @property
    def can_pause(self) -> bool:
        """Whether :meth:`pause` would pause it: it is neither paused nor at an end."""
        return self._lifecycle.can_pause

    @property
    def is_moving(self) -> bool:
        """Whether its files are being moved or renamed."""
        return self._relocation.is_moving

    async def own_files(self) -> set[Path]:
        """Return the files on disk that the database or a matching piece proves to be its own.

        None of a storage of one's own. Raises StorageError if that cannot be seen.
        """
        return await self._relocation.own_files()

    def stats(self) -> SessionStats:
        """Return the numbers of this moment; after the end those of the last run."""
        return self._status.stats()

    def brief(self) -> SessionBrief:
        """Return the numbers that a list shows; cheap for thousands of torrents, also at rest."""
        return self._status.brief()

    def times(self) -> SessionTimes:
        """Return when it was added, started, completed, active and edited; cheap, also at rest."""
        return self._status.times()

    def peers(self) -> list[PeerStats]:
        """Return the numbers of each connected peer."""
        return self._status.peers()

    def trackers(self, *, secrets: bool = False) -> list[TrackerStatus]:
        """Return how each tracker answers, in the order of the tiers; at any time.

        With ``secrets`` the URLs are whole, with passkeys; messages never have them.
        """
        return self._status.trackers(secrets=secrets)

    def tracker_tiers(self) -> list[list[str]]:
        """Return the URLs of all trackers, tier by tier, with passkeys."""
        return self._settings.tracker_tiers()

    @property
    def problem(self) -> TorrentProblem | None:
        """What is wrong: why the state is ERROR, else what a tracker says; None: nothing.

        Trackers that cannot be reached are no problem of the torrent; :meth:`trackers` has them.
        """
        return self._status.problem

    def availability(self) -> SwarmAvailability:
        """Return which pieces the connected peers have; all zeros while none is connected.

        Before the metadata of a magnet link is there, there are no pieces.
        """
        return self._status.availability()

    def files(self) -> list[FileStats]:
        """Return the files, how much of each is here, and its priority.

        Their paths are those below the save path, as they are called there. Pad files are left out.
        At any time, also while the torrent is dormant or stopped; none until the metadata of a
        magnet link is there. A dormant torrent reads the metainfo from the database each time, as
        :attr:`metainfo` does.
        """
        return self._status.files()

    def web_seeds(self, *, secrets: bool = False) -> list[WebSeedStats]:
        """Return the numbers of each web seed; with ``secrets`` their URLs are whole."""
        return self._status.web_seeds(secrets=secrets)

    # -- life -----------------------------------------------------------------------------------

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
        Raises StateTransitionError if it runs already, ClosedError if it is closed, BusyError if
        another Session of the same torrent runs with the same SharedResources, OwnerChangedError if
        it is tied to an owner that has moved on.
        """
        await self._lifecycle.start()

    async def start_download(self, *, overwrite: bool = False) -> None:
        """Start for the data where :attr:`SessionConfig.metadata_only` has stopped it.

        With ``overwrite`` as :attr:`SessionConfig.overwrite` says. Raises as :meth:`start` does.
        """
        core = self._core
        core.change_config(metadata_only=False, overwrite=overwrite or core.config.overwrite)
        await self.start()

    async def start_now(self) -> None:
        """Start, or continue after a pause or fault, without waiting for a turn in the queue.

        From then on the torrent is outside of the queue, which neither holds it nor counts it, also
        after a restart of the manager, until :meth:`pause` or :meth:`set_forced`. One that runs
        already leaves the queue. Raises as :meth:`start` does.
        """
        await self._lifecycle.start_now()

    def set_forced(self, is_forced: bool) -> None:  # noqa: FBT001 - named by the method
        """Leave the queue, as by :meth:`start_now` but without a start, or come back to it."""
        self._lifecycle.set_forced(is_forced=is_forced)

    async def pause(self) -> None:
        """Let no payload move until :meth:`resume`; peers are disconnected.

        That is possible while it waits for room on a full disk, too. Raises StateTransitionError
        if it is stopped, or in state ERROR for another reason.
        """
        await self._lifecycle.pause()

    async def resume(self) -> None:
        """Continue where :meth:`pause` or a fault ended it, when the queue of a manager permits.

        While the disk is full this tries again at once; else that is done at intervals. After a
        MissingFilesError the files that are gone are downloaded again.
        """
        await self._lifecycle.resume()

    async def recheck(self, *, while_paused: bool = False) -> None:
        """Hash all the data that is there again; does not trust the resume data.

        A Session that does not run is started by this, one that is being stopped when it has
        ended. One that is paused, or queued, is checked when it is resumed; with ``while_paused``
        it is checked now, and then paused again.
        """
        await self._lifecycle.recheck(while_paused=while_paused)

    async def stop(self) -> None:
        """End the run in order: data written, state saved, trackers notified (5 s at most)."""
        await self._lifecycle.stop()

    async def cancel(self, *, delete_files: bool = False) -> None:
        """End the run for good: the torrent is removed, with its files if asked for.

        Other files in the same folders stay. Raises StorageError if a file cannot be
        removed.
        """
        await self._lifecycle.cancel(delete_files=delete_files)

    async def close(self) -> None:
        """Stop, then end the events; the Session cannot be started after that."""
        await self._lifecycle.close()

    async def wait(self, *states: State) -> State:
        """Wait until the Session is in one of these states, or passes through one; return it.

        Unless those were waited for: if it is or comes to ERROR, its error is raised (a
        TorrentEngineError, such as StorageError), and SessionError once it is stopped or closed.
        A Session that was never started is waited for.
        """
        return await self._lifecycle.wait(*states)

    async def wait_complete(self) -> None:
        """Wait until all that is wanted is here and verified.

        Raises what :meth:`wait` raises if the torrent fails, or is stopped before.
        """
        if not self._status.is_complete:
            await self._lifecycle.wait(State.SEEDING)

    async def wait_stopped(self) -> str:
        """Wait for the end of the run; return why it ended, as :class:`SessionStopped` says it.

        Raises SessionError, whose cause is the fault, if it ended in ERROR, and at once when the
        disk is full: the Session tries again until it is stopped, which may be never.
        """
        return await self._lifecycle.wait_stopped()

    # -- settings -------------------------------------------------------------------------------

    async def add_peer(self, host: str, port: int) -> None:
        """Try a peer at once, or when the Session starts; NetworkError if its name is unknown.

        Raises TypeError or ConfigError for what is no host or no port.
        """
        await self._settings.add_peer(host, port)

    def add_tracker(self, url: str, tier: int | None = None) -> bool:
        """Announce to one more tracker from now on; return whether it is new.

        Raises TrackerError if it is no http, https or udp URL, TypeError if it is no text.
        """
        return self._settings.add_tracker(url, tier)

    def remove_tracker(self, url: str) -> bool:
        """Announce to a tracker no more, but for "stopped"; False if the torrent has none such.

        It stays removed when the torrent starts anew, until it is added again.
        """
        return self._settings.remove_tracker(url)

    def set_trackers(self, tiers: Sequence[Sequence[str]]) -> bool:
        """Announce to these trackers from now on and to no others; False if they are the same.

        ``tiers`` are lists of URLs (BEP 12); what stands in them twice counts once. Trackers that
        go are sent "stopped". Raises TrackerError, and changes nothing, if one is no http, https or
        udp URL and not among the present ones; TypeError for another type.
        """
        return self._settings.set_trackers(tiers)

    def reannounce(self) -> float | None:
        """Ask trackers, the DHT and the local network for peers as soon as each allows.

        Trackers have a minimum interval; one that failed is asked again after at least a minute,
        unless it refused until later (BEP 31). Returns in how many seconds the first tracker is
        asked; None if no announce is made: the torrent has no tracker, is paused, or does not run.
        """
        return self._settings.reannounce()

    async def scrape(self) -> list[TrackerScrape]:
        """Ask the trackers for the size of the swarm; :meth:`trackers` has the answers too.

        At any time, also while the torrent is stopped; one after the other. Of a private torrent
        those behind the first that answers are not asked. A tracker that fails is no error.
        """
        return await self._settings.scrape()

    def add_web_seed(self, url: str, bep: int = BEP_OF_FILES) -> bool:
        """Download from one more web server; return whether it is new.

        With ``bep`` 19 it has the files by their paths, with 17 it is asked for pieces. Raises
        ConfigError if it is no http or https URL, or of another BEP. Whether its address is
        permitted is checked when it is used.
        """
        return self._settings.add_web_seed(url, bep)

    def remove_web_seed(self, url: str) -> bool:
        """Download from a web server no more; False if the torrent has none such.

        It stays removed when the torrent starts anew, until it is added again.
        """
        return self._settings.remove_web_seed(url)

    async def set_file_priorities(self, priorities: Sequence[int] | Mapping[int, int]) -> None:
        """Take one number a file, 0 (skip) to 7; ConfigError if they do not fit.

        With numbers by file index all other files stay as they are, whoever changes them meanwhile.
        Raises StateTransitionError while it is not known which files there are, and
        FileExistsStorageError, with the priorities as they were, if a file that is wanted now has
        something in its place that is not the torrent's.
        """
        await self._settings.set_file_priorities(priorities)

    def set_seeding_rules(self, rules: SeedingConfig) -> None:
        """Change when seeding of this torrent ends, as in :class:`SessionConfig`.

        A rule that is None is as for all torrents; infinity is no rule. A torrent that a rule has
        stopped stays stopped.
        """
        self._settings.set_seeding_rules(rules)

    def set_bandwidth(
        self, *, group: str | None = None, honors_session_limits: bool | None = None
    ) -> None:
        """Change which limits of rates the torrent shares with others; None leaves as it is.

        ``group`` is a name, "" for none: see :meth:`TorrentManager.set_bandwidth_group`. One that
        does not honor the limits of the session has its own ones only.
        """
        self._settings.set_bandwidth(group=group, honors_session_limits=honors_session_limits)

    def set_max_connections(self, limit: int) -> None:
        """Change how many peers the torrent may have; 0 is as for all torrents.

        Connections that are too many are closed soon, the least useful first. Raises TypeError or
        ConfigError for what is no limit.
        """
        self._settings.set_max_connections(limit)

    @property
    def user_data(self) -> dict[str, str]:
        """The texts that :meth:`set_user_data` keeps with the torrent, by name."""
        return dict(self._core.user_data)

    def set_user_data(self, data: Mapping[str, str]) -> None:
        """Keep texts with the torrent, over restarts of a TorrentManager too, in place of others.

        They mean nothing to the engine: labels, a category. Raises TypeError for what are no
        texts, ConfigError if names and texts have more than 4 KiB as UTF-8.
        """
        self._settings.set_user_data(data)

    def set_rate_limits(
        self,
        *,
        download_bytes_per_s: int | None = None,
        upload_bytes_per_s: int | None = None,
        peer_download_bytes_per_s: int | None = None,
        peer_upload_bytes_per_s: int | None = None,
    ) -> None:
        """Change the limits of this torrent, or of each of its peers.

        0 is unlimited, None leaves as it is. Raises TypeError or ConfigError for a rate that is
        none.
        """
        self._settings.set_rate_limits(
            {
                "max_download_bytes_per_s": download_bytes_per_s,
                "max_upload_bytes_per_s": upload_bytes_per_s,
                "max_peer_download_bytes_per_s": peer_download_bytes_per_s,
                "max_peer_upload_bytes_per_s": peer_upload_bytes_per_s,
            }
        )

    # -- streaming ------------------------------------------------------------------------------

    def open(self, file: int | str | PurePath) -> FileReader:
        """Return a reader of one file, by its index or its path in the torrent.

        Use it with ``async with``. The torrent continues as before: what the reader comes to is
        downloaded first; of a stopped one what is here can be read. Of a magnet link ``async with``
        waits for the metadata. Raises UnknownFileError if there is no such file, as soon as that
        is known: of a torrent at rest, whose metainfo is not in memory, and of a path among very
        many, ``async with`` does.
        """
        return self._streaming.open(file)

    def set_sequential(
        self,
        is_sequential: bool,  # noqa: FBT001 - named by the method
        *,
        from_piece: int | None = None,
    ) -> None:
        """Download pieces in their order from now on, or the rarest first.

        The order begins at ``from_piece``, and those before it come last; None leaves that as it
        is. Raises TypeError or ConfigError for what is no index of a piece.
        """
        self._streaming.set_sequential(is_sequential=is_sequential, from_piece=from_piece)

    async def set_first_last_first(self, is_first: bool) -> None:  # noqa: FBT001 - as above
        """Download the first and last pieces of each file before others, or no longer.

        That is what players need for a preview: 1 % at each end, or one piece.
        """
        await self._streaming.set_first_last_first(is_first=is_first)

    @property
    def is_super_seeding(self) -> bool:
        """Whether pieces are shown one by one now (BEP 16)."""
        return self._streaming.is_super_seeding

    def set_super_seeding(self, is_super_seeding: bool) -> None:  # noqa: FBT001 - as above
        """Show the pieces of a complete torrent one by one from now on (BEP 16), or all of them.

        Each peer is shown a few pieces, and the next ones when others have these, so that little
        more than one copy is sent before there is another seed; then it ends by itself. Peers
        that know already what we have are disconnected; they may come back. It has no effect while
        pieces are missing: a download that becomes complete seeds as usual until the next start.
        """
        self._streaming.set_super_seeding(is_super_seeding=is_super_seeding)

    def set_piece_deadline(self, piece: int, seconds: float | None) -> None:
        """Download one piece before others, so that it is here in so many seconds; None: no more.

        Earlier deadlines come first, as what readers need does. It has no effect on a piece that is
        here or of skipped files, and is forgotten when the run ends. Raises ConfigError if there
        is no such piece, StateTransitionError if the Session does not run.
        """
        self._streaming.set_piece_deadline(piece, seconds)

    # -- files ----------------------------------------------------------------------------------

    async def move_storage(self, path: str | os.PathLike[str]) -> None:
        """Move the files to another save path, on any file system, and continue there.

        No payload moves meanwhile. Returns when all files are there and none is left behind but
        those of others. A process that dies, or a Session that is stopped, leaves each file whole
        at one of the places; the next start continues the move, and so does a running Session
        if this call is cancelled. Raises FileExistsStorageError, before anything is moved, if
        something is in the way; DiskFullError and other StorageErrors with all files where
        they were; SessionError if the Session is stopped or the move cancelled; ConfigError for a
        path that is not UTF-8, or has a NUL.
        """
        check_path("path", path)
        target = Path(path)
        await self._lifecycle.between_runs(lambda: self._relocation.relocate(target, {}))

    async def rename_file(self, file_index: int, path: str) -> None:
        """Give a file another path below the save path, and remember it.

        The path is cleaned as those of a .torrent are. Raises UnknownFileError for another
        file, ConfigError if the path leads out, FileExistsStorageError if it is taken,
        StateTransitionError before the metadata is there, else what :meth:`move_storage` does.
        """
        names = {file_index: path_below(path, "path")}
        await self._lifecycle.between_runs(lambda: self._relocation.relocate(None, names))

    async def rename_folder(self, old: str, new: str) -> None:
        """Give a folder of the torrent another path below the save path, with all that is in it.

        ``old`` is its present path; the root of the torrent, and a file, may be given too. Else as
        :meth:`rename_file`: UnknownFileError if the torrent has nothing there.
        """
        before, after = path_below(old, "old"), path_below(new, "new")
        await self._lifecycle.between_runs(lambda: self._relocation.rename_folder(before, after))

    async def set_save_path(self, path: str | os.PathLike[str]) -> None:
        """Look for the files in another folder, where something else has put them; nothing moves.

        What is there is hashed, at once if the Session runs, and the rest downloaded again. Where
        the files were, they stay, but are the torrent's no more. A torrent with a folder or suffix
        for incomplete files uses the folder as its final one. Raises StateTransitionError for a
        torrent with a storage of its own.
        """
        check_path("path", path)
        target = Path(path)
        await self._lifecycle.between_runs(lambda: self._relocation.set_save_path(target))

    async def set_incomplete_dir(self, path: str | os.PathLike[str] | None) -> None:
        """Keep the files in another folder until the torrent is complete; None: where they belong.

        Files of a torrent that is not complete are moved there now, as by :meth:`move_storage`,
        with the same errors; those of a complete one stay. ``save_path`` is where they are,
        ``final_path`` where they go in the end: a process that dies on the way finishes that at
        its next start. Raises ConfigError for a torrent with a storage of its own.
        """
        if path is not None:
            check_path("path", path)
        target = None if path is None else Path(path)
        await self._lifecycle.between_runs(lambda: self._relocation.set_incomplete_dir(target))

    def cancel_move(self) -> bool:
        """Undo the move that is under way, if it is not all but done; False if there is none."""
        return self._relocation.cancel()


def _check_arguments(shared: object, save_path: object, config: object) -> None:
    if not isinstance(shared, SharedResources):
        raise TypeError(f"shared: must be a SharedResources, not {shared!r:.80}")
    if config is not None and not isinstance(config, SessionConfig):
        raise TypeError(f"config: must be a SessionConfig, not {config!r:.80}")
    check_path("save_path", save_path)
