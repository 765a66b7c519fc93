"""Owns what may be changed of a Session at any time, whether it runs or not."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import anyio

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import StateTransitionError, TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.bandwidth_manager import RateLimits
from torrent_engine.engine.confinement import look_up
from torrent_engine.engine.progress import check_priorities
from torrent_engine.engine.session_facts import SessionFacts
from torrent_engine.engine.shared_resources import SharedResources
from torrent_engine.engine.source_edits import NO_EDITS, check_web_seed
from torrent_engine.engine.states import StateMachine
from torrent_engine.engine.web_seed import WebSeedStats, idle_stats_of
from torrent_engine.engine.web_seed_fetch import BEP_OF_FILES
from torrent_engine.policy.candidates import Source
from torrent_engine.protocol.tracker.urls import parse_tracker_url


class SessionControls(SessionFacts):
    """Peers, trackers, priorities and limits of one torrent."""

    def __init__(
        self,
        source: Metainfo | Magnet | InfoHash,
        shared: SharedResources,
        machine: StateMachine,
        config: SessionConfig,
    ) -> None:
        super().__init__(source, shared, machine)
        self.config = config
        if self._magnet is not None:
            peers = (*config.peers, *self._magnet.peers)  # after a restart it may know them
            self.config = replace(config, peers=tuple(dict.fromkeys(peers)))
        self._ended = anyio.Event()
        self._ended.set()
        self._has_run = False
        """It was started at least once."""
        self._edits = NO_EDITS
        self._run_users = 0
        """Who needs the run although no payload moves."""

    def _wake(self) -> None:
        """Let the torrent run if it rests."""

    @contextmanager
    def _needing_run(self) -> Iterator[None]:
        """Keep the torrent from resting; wake it if it does."""
        self._run_users += 1
        self._wake()
        try:
            yield
        finally:
            self._run_users -= 1

    async def add_peer(self, host: str, port: int) -> None:
        """Try a peer at once, or when the Session starts; NetworkError if its name is unknown."""
        found = await look_up(self._shared.config, self._shared.resolver, host, port)
        if self._pool is None or self._ended.is_set():
            self.config = replace(self.config, peers=(*self.config.peers, (host, port)))
            self._settings_changed()
            self._wake()
        else:
            self._pool.add(found, Source.MANUAL)
            self._wake()

    def add_tracker(self, url: str, tier: int | None = None) -> bool:
        """Announce to one more tracker from now on; return whether it is new.

        Raises TrackerError if it is no http, https or udp URL.
        """
        parse_tracker_url(url)
        if url in self._known_trackers():
            return False
        self._edits = self._edits.with_tracker(url, tier)
        self._sources_changed()
        if self._sources is not None:
            self._sources.trackers.add_tracker(url, tier)
        return True

    def remove_tracker(self, url: str) -> bool:
        """Announce to a tracker no more, but for "stopped"; False if the torrent has none such.

        It stays removed when the torrent starts anew, until it is added again.
        """
        if url not in self._known_trackers():
            return False
        self._edits = self._edits.without_tracker(url)
        self._sources_changed()
        if self._sources is not None:
            self._sources.trackers.remove_tracker(url)
        return True

    def _known_trackers(self) -> set[str]:
        known: set[str] = set()
        if (own := self.own_sources) is not None:
            known.update(url for tier in own.tiers for url in tier)
        elif self._magnet is not None:
            known.update(self._magnet.trackers)
        return known.union(url for url, _ in self._edits.trackers) - self._edits.no_trackers

    def add_web_seed(self, url: str, bep: int = BEP_OF_FILES) -> bool:
        """Download from one more web server; return whether it is new.

        With ``bep`` 19 it has the files by their paths, with 17 it is asked for pieces. Raises
        ConfigError if it is no http or https URL, or of another BEP. Whether its address may be
        asked is seen when it is.
        """
        check_web_seed(url, bep)
        if url in self._edits.web_seeds_of(self.own_sources):
            return False
        self._edits = self._edits.with_web_seed(url, bep)
        self._sources_changed()
        if self._run is not None:
            self._run.transfer.add_web_seed(url, bep)
        return True

    def remove_web_seed(self, url: str) -> bool:
        """Download from a web server no more; False if the torrent has none such.

        It stays removed when the torrent starts anew, until it is added again.
        """
        if url not in self._edits.web_seeds_of(self.own_sources):
            return False
        self._edits = self._edits.without_web_seed(url)
        self._sources_changed()
        if self._run is not None:
            self._run.transfer.web_seeds.remove(url)
        return True

    def web_seeds(self) -> list[WebSeedStats]:
        """Return what can be told of each web seed."""
        if self._run is not None:
            return self._run.transfer.web_seeds.stats(self._shared.clock())
        return [idle_stats_of(*each) for each in self._edits.web_seeds_of(self.own_sources).items()]

    def _sources_changed(self) -> None:
        """Let a torrent that rests hear of its trackers and web seeds: it runs for that."""
        self._settings_changed()
        self._wake()

    def _settings_changed(self) -> None:
        """Let a manager hear that something has changed that is to be the same after a restart."""
        for hear in self._shared.session_hearers:
            hear(self, self.state, self.state)

    async def set_file_priorities(self, priorities: Sequence[int]) -> None:
        """Take one number a file, 0 (skip) to 7; ConfigError if they do not fit.

        Raises StateTransitionError while it is not known which files there are, and
        FileExistsStorageError, with the priorities as they were, if a file that is wanted now has
        something in its place that is not the torrent's.
        """
        if (metainfo := await self._present_metainfo()) is None:
            raise StateTransitionError("priorities are not possible before the metadata came")
        check_priorities(metainfo, priorities)
        before = self.config.file_priorities
        self.config = replace(self.config, file_priorities=tuple(priorities))
        self._wake()
        if self._run is not None and not self._ended.is_set():
            try:
                await self._run.set_file_priorities(self._priorities_of_run(tuple(priorities)))
            except TorrentEngineError:
                self.config = replace(self.config, file_priorities=before)
                raise
        self._settings_changed()

    def _priorities_of_run(self, priorities: tuple[int, ...]) -> tuple[int, ...]:
        """Return what a run is told: files that are read are not skipped."""
        return priorities

    def set_rate_limits(
        self,
        *,
        download_bytes_per_s: int | None = None,
        upload_bytes_per_s: int | None = None,
        peer_download_bytes_per_s: int | None = None,
        peer_upload_bytes_per_s: int | None = None,
    ) -> None:
        """Change the limits of this torrent, or of each of its peers.

        0 is unlimited, None leaves as it is.
        """
        limits = {
            "max_download_bytes_per_s": download_bytes_per_s,
            "max_upload_bytes_per_s": upload_bytes_per_s,
            "max_peer_download_bytes_per_s": peer_download_bytes_per_s,
            "max_peer_upload_bytes_per_s": peer_upload_bytes_per_s,
        }
        changed: dict[str, Any] = {name: rate for name, rate in limits.items() if rate is not None}
        self.config = replace(self.config, **changed)
        self._settings_changed()
        if self._run is not None:
            self._run.transfer.bandwidth.set_limits(RateLimits.of(self.config))
