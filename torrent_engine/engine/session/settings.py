"""What may be changed of a torrent at any time: peers, trackers, web seeds, files, limits."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import anyio

from torrent_engine.base.checks import check_number, check_port, check_text
from torrent_engine.base.config import SeedingConfig
from torrent_engine.base.errors import StateTransitionError, TorrentEngineError
from torrent_engine.engine.discovery.scraping import scrape_all
from torrent_engine.engine.resources.privacy import look_up
from torrent_engine.engine.runs.source_edits import check_tiers, check_web_seed
from torrent_engine.engine.runs.user_data import checked_user_data
from torrent_engine.engine.session.core import SessionCore
from torrent_engine.engine.session.lifecycle import Lifecycle
from torrent_engine.engine.session.status import ANNOUNCED
from torrent_engine.engine.stats import TrackerScrape
from torrent_engine.engine.transfer.progress import changed_priorities, check_priorities
from torrent_engine.policy.peers.candidates import Source
from torrent_engine.protocol.tracker.urls import parse_tracker_url


class SessionSettings:
    """Changes the configuration of one torrent, and of its run if there is one."""

    __slots__ = ("_core", "_lifecycle")

    def __init__(self, core: SessionCore, lifecycle: Lifecycle) -> None:
        self._core = core
        self._lifecycle = lifecycle

    # -- peers, trackers, web seeds -------------------------------------------------------------

    async def add_peer(self, host: str, port: int) -> None:
        """Connect to a peer at once, or when the Session starts."""
        core, shared = self._core, self._core.shared
        check_text("host", host)
        check_port("port", port)
        found = await look_up(shared.config, shared.resolver, host, port)
        active, known = core.active, core.config.peers
        if active is not None:
            active.add_peers(found, Source.MANUAL)
        elif (host, port) not in known:
            core.config = replace(core.config, peers=(*known, (host, port)))
            core.settings_changed()
        self._lifecycle.need_run()

    def add_tracker(self, url: str, tier: int | None = None) -> bool:
        """Announce to one more tracker from now on; return whether it is new."""
        core = self._core
        check_text("url", url)
        if tier is not None:
            check_number("tier", tier)
        parse_tracker_url(url)
        if url in self.known_trackers():
            return False
        core.edits = core.edits.with_tracker(url, tier)
        self._sources_changed()
        if core.sources is not None:
            core.sources.trackers.add_tracker(url, tier)
        return True

    def remove_tracker(self, url: str) -> bool:
        """Announce to a tracker no more, but for "stopped"; return whether there was one."""
        core = self._core
        if url not in self.known_trackers():
            return False
        core.edits = core.edits.without_tracker(url)
        self._sources_changed()
        if core.sources is not None:
            core.sources.trackers.remove_tracker(url)
        return True

    def set_trackers(self, tiers: Sequence[Sequence[str]]) -> bool:
        """Announce to these trackers and no others; return whether anything has changed."""
        core = self._core
        checked = check_tiers(tiers, self.known_trackers())
        if [list(tier) for tier in checked] == self.tracker_tiers():
            return False
        core.edits = core.edits.with_tiers(checked)
        self._sources_changed()
        if core.sources is not None:
            core.sources.trackers.set_tiers(checked)
        return True

    def tracker_tiers(self) -> list[list[str]]:
        """Return all trackers of the torrent, tier by tier."""
        core = self._core
        return core.edits.tiers_of(core.named_tiers)

    def reannounce(self) -> float | None:
        """Ask for peers as soon as is allowed; return when trackers are asked, None for never."""
        core = self._core
        if core.sources is None or core.state not in ANNOUNCED:
            return None
        return core.sources.reannounce()

    async def scrape(self) -> list[TrackerScrape]:
        """Scrape the trackers one after the other; see :meth:`Session.scrape`."""
        core = self._core
        urls = [url for tier in self.tracker_tiers() for url in tier]
        await core.shared.acquire()
        try:
            return await scrape_all(
                urls,
                core.info_hash,
                core.shared.trackers,
                core.tracker_log,
                is_private=core.is_private is True,
            )
        finally:
            with anyio.CancelScope(shield=True):
                await core.shared.release()

    def known_trackers(self) -> set[str]:
        """Return the URLs of all trackers of the torrent, without those that were removed."""
        return {url for tier in self.tracker_tiers() for url in tier}

    def add_web_seed(self, url: str, bep: int) -> bool:
        """Download from one more web server; return whether it is new."""
        core = self._core
        check_text("url", url)
        check_web_seed(url, bep)
        if url in core.edits.web_seeds_of(core.read_facts()):
            return False
        core.edits = core.edits.with_web_seed(url, bep)
        self._sources_changed()
        if core.run is not None:
            core.run.add_web_seed(url, bep)
        return True

    def remove_web_seed(self, url: str) -> bool:
        """Download from a web server no more; return whether there was one."""
        core = self._core
        if url not in core.edits.web_seeds_of(core.read_facts()):
            return False
        core.edits = core.edits.without_web_seed(url)
        self._sources_changed()
        if core.run is not None:
            core.run.remove_web_seed(url)
        return True

    def _sources_changed(self) -> None:
        """Start a run of a dormant torrent: it has other trackers or web seeds now."""
        self._core.times.edited_s = self._core.shared.wall_clock()
        self._core.settings_changed()
        self._lifecycle.need_run()

    # -- files and limits -----------------------------------------------------------------------

    async def set_file_priorities(self, priorities: Sequence[int] | Mapping[int, int]) -> None:
        """Take one priority for each file; see :meth:`Session.set_file_priorities`."""
        core = self._core
        if (metainfo := await core.load_metainfo()) is None:
            raise StateTransitionError("priorities are not possible before the metadata came")
        before = core.config.file_priorities
        if isinstance(priorities, Mapping):
            priorities = changed_priorities(before, priorities, len(metainfo.files))
        chosen = tuple(priorities)
        changed = replace(core.config, file_priorities=chosen)
        check_priorities(metainfo, chosen)
        core.config = changed
        self._lifecycle.need_run()
        if (run := core.live_run) is not None:
            try:
                await run.set_file_priorities(self._with_read_files(chosen))
            except TorrentEngineError:
                if core.config.file_priorities is chosen:  # else another call changed them since
                    core.config = replace(core.config, file_priorities=before)
                raise
        core.settings_changed()

    def _with_read_files(self, priorities: tuple[int, ...]) -> tuple[int, ...]:
        """Return the priorities for a run: files that are being read are not skipped."""
        readers = self._core.readers
        if readers is None:
            return priorities
        return readers.with_read_files(priorities) or priorities

    def set_seeding_rules(self, rules: SeedingConfig) -> None:
        """Change when seeding ends; see :meth:`Session.set_seeding_rules`."""
        core = self._core
        core.config = replace(
            core.config,
            seed_ratio=rules.seed_ratio,
            seed_time_s=rules.seed_time_s,
            seed_idle_s=rules.seed_idle_s,
        )
        core.settings_changed()
        self._lifecycle.seeding_rules_changed()

    def set_max_connections(self, limit: int) -> None:
        """Change how many peers the torrent may have; see :meth:`Session.set_max_connections`."""
        self._core.change_config(max_connections=limit)

    def set_user_data(self, data: Mapping[str, str]) -> None:
        """Keep these texts with the torrent; see :meth:`Session.set_user_data`."""
        self._core.user_data = checked_user_data(data)
        self._core.settings_changed()

    def set_bandwidth(self, *, group: str | None, honors_session_limits: bool | None) -> None:
        """Change which limits the torrent shares; see :meth:`Session.set_bandwidth`."""
        given = {"bandwidth_group": group, "honors_session_limits": honors_session_limits}
        changes = {name: value for name, value in given.items() if value is not None}
        self._core.change_config(**changes)

    def set_rate_limits(self, limits: dict[str, int | None]) -> None:
        """Change those limits of the configuration that are not None."""
        given = {name: rate for name, rate in limits.items() if rate is not None}
        self._core.change_config(**given)
