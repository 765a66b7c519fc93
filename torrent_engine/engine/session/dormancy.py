"""When a torrent becomes dormant, and what makes it run again."""

from typing import Final

from torrent_engine.disk.resume.similar_files import roots_of
from torrent_engine.engine.content.similar_torrents import may_have_local_data
from torrent_engine.engine.dormancy.dormant_torrent import DormantTorrent
from torrent_engine.engine.dormancy.snapshot import (
    TorrentSnapshot,
    snapshot_of_new,
    snapshot_of_run,
)
from torrent_engine.engine.events import ChangedGroup
from torrent_engine.engine.runs.seeding_rules import rest_due_s, rest_reason, rules_of
from torrent_engine.engine.runs.torrent_run import REST, TorrentRun
from torrent_engine.engine.session.core import SessionCore
from torrent_engine.engine.session.run_loop import RunLoop
from torrent_engine.engine.states import Signal, State
from torrent_engine.engine.swarm.context import Swarm
from torrent_engine.engine.swarm.parked_links import ParkedLinks, no_link
from torrent_engine.engine.swarm.peer_sources import PeerSources
from torrent_engine.engine.transfer.handover import Handover
from torrent_engine.engine.transfer.progress import MANY_FILES
from torrent_engine.policy.peers.candidates import CandidateList
from torrent_engine.policy.queue.stop_rules import StopRules

MARGIN_S: Final = 0.01  # ours: a rule holds this long after it is due, however it is rounded


class Dormancy:
    """The time of one torrent without a run: no task, no open file, but announces and a listener.

    Any work, any peer that wants something and the user end it with :meth:`wake`.
    """

    __slots__ = ("_core", "_is_wake_wanted", "_runs")

    def __init__(self, core: SessionCore, runs: RunLoop) -> None:
        self._core = core
        self._runs = runs
        self._is_wake_wanted = False
        """A run is wanted, and the present one is about to end for want of work."""

    # -- to dormancy ----------------------------------------------------------------------------

    def begin_new(self) -> bool:
        """Begin dormant if it is clear, without a look into files, that there is nothing yet."""
        core = self._core
        metainfo = core.held_metainfo
        if metainfo is None or not self._may_begin_new():
            return False
        core.machine.fire(Signal.CHECK_DONE_INCOMPLETE)
        self.begin(snapshot_of_new(metainfo, core.config.file_priorities))
        return True

    def _may_begin_new(self) -> bool:
        core, config = self._core, self._core.config
        metainfo = core.held_metainfo
        if metainfo is None or core.rest_config is None or not metainfo.total_bytes:
            return False
        if core.stop_wanted is not None or self._runs.has_work:  # while it was started
            return False
        if core.edits.web_seeds_of(metainfo) or not core.trusts_resume:
            return False
        is_many = len(config.file_priorities or ()) >= MANY_FILES  # looked at in a thread
        has_names = config.renamed_files or next(metainfo.files.cleaned(), None) is not None
        is_special = config.peers or has_names or config.check_only
        shared = core.shared
        has_data = may_have_local_data(shared.config.disk, shared.known_roots, metainfo)
        if is_many or is_special or has_data or config.metadata_only:
            return False
        try:
            root = shared.name_foldings.usable((metainfo.name,))
            is_there = core.save_path.joinpath(*root).exists()  # all files lie below that
        except OSError:
            return False  # its run reports the fault
        return not is_there and not core.shared.store.has_torrent(core.info_hash)

    def begin(self, snapshot: TorrentSnapshot, sources: PeerSources | None = None) -> None:
        """Become dormant; the announces of ``sources`` go on."""
        core = self._core
        dormant = DormantTorrent(snapshot, self._swarm(snapshot), core.shared, self.wake, sources)
        core.dormant, core.snapshot = dormant, snapshot
        if core.is_stored:
            core.drop_metainfo()
        dormant.begin(core.edits, is_announced=core.state is not State.PAUSED)
        self._count_seeding()

    def after(self, run: TorrentRun, *, has_work: bool) -> bool:
        """Become dormant after a run that ended for want of work; return whether that is so."""
        core = self._core
        wanted, self._is_wake_wanted = self._is_wake_wanted, False
        is_between = run.stop_reason != REST or has_work
        if wanted or is_between or core.stop_wanted is not None or self._has_candidates(run):
            return False
        core.run = None
        if run.parts.torrent.table.have.count:
            core.shared.known_roots.note(roots_of(run.parts.torrent.metainfo))
        self.begin(snapshot_of_run(run.parts), run.sources)
        core.settings_changed(ChangedGroup.PROGRESS)  # after a restart it is dormant at once
        return True

    def _has_candidates(self, run: TorrentRun) -> bool:
        """Return whether a peer was found while the run ended."""
        now = self._core.shared.clock()
        due = run.next_dial_due_s(now)
        return self._core.state is not State.PAUSED and due is not None and due <= now

    def _swarm(self, snapshot: TorrentSnapshot) -> Swarm:
        core, shared = self._core, self._core.shared
        return Swarm(
            info_hash=core.info_hash,
            config=core.config,
            shared_config=shared.config,
            peer_id=core.peer_id,
            bus=core.events,
            peers=set(),
            totals=core.totals,
            buffers=shared.buffers,
            link_budget=shared.link_budget,
            clock=shared.clock,
            rng=shared.rng,
            tracker_log=core.tracker_log,
            v2_hash=snapshot.v2_hash,
            v1_hash=snapshot.v1_hash,
        )

    # -- rules that end seeding -----------------------------------------------------------------

    def _count_seeding(self) -> None:
        """Count the time of a dormant seed, for the rules that end seeding."""
        core, now = self._core, self._core.shared.clock()
        if core.state is State.SEEDING:
            core.seeding.begin(now)
            due_s = rest_due_s(self._rules, core.seeding, now)
            if due_s < float("inf"):
                at_s = now + due_s + MARGIN_S
                core.shared.dormant_timers.set(core.info_hash, at_s, self._seeded_enough)

    def _count_no_seeding(self) -> None:
        core = self._core
        core.seeding.end(core.shared.clock())
        core.shared.dormant_timers.drop(core.info_hash)

    def seeding_rules_changed(self) -> None:
        """Look anew when a rule is due."""
        if self._core.dormant is not None:
            self._core.shared.dormant_timers.drop(self._core.info_hash)
            self._count_seeding()

    @property
    def _rules(self) -> StopRules:
        return rules_of(self._core.config, self._core.shared.seeding_rules)

    def _seeded_enough(self) -> None:
        """End the Session by a seeding rule that is due, unless the rules have changed."""
        core = self._core
        reason = rest_reason(self._rules, core.seeding, core.shared.clock())
        if core.dormant is not None and reason is not None:
            core.stop_wanted = core.stop_wanted or reason
            self.end()
        elif core.dormant is not None:
            self._count_seeding()

    # -- from dormancy --------------------------------------------------------------------------

    def wake(self) -> None:
        """Start a run of a dormant torrent; a run that is about to end is followed by another."""
        core, dormant = self._core, self._core.dormant
        if dormant is None:
            self._is_wake_wanted = core.run is not None and core.run.stop_reason == REST
            return
        core.dormant = None
        self._count_no_seeding()
        self._is_wake_wanted = False
        candidates = self._candidates(dormant)
        slots = core.shared.connection_slots.share(no_link)
        handover = Handover(ParkedLinks(slots), candidates, dormant.end(), None)
        if dormant.links is None:
            self._runs.start(handover)
        else:
            self._runs.start_with_links(handover, dormant.links, slots)

    def _candidates(self, dormant: DormantTorrent) -> CandidateList:
        shared = self._core.shared
        candidates = CandidateList(
            shared.config.pool,
            shared.rng,
            is_private=dormant.snapshot.is_private,
            bans=shared.bans,
            dial_limiter=shared.dial_limiter,
            ip_filter=shared.ip_filter,
        )
        now = shared.clock()
        for addresses, source in dormant.found:
            for address in addresses:
                candidates.add(address, source, now)
        return candidates

    def pause(self) -> None:
        """Stop the announces of a torrent that is paused while it is dormant."""
        core = self._core
        if core.dormant is not None:
            self._count_no_seeding()
            core.shared.start_task(core.dormant.stop_announcing())

    def resume(self) -> None:
        """Announce again, or start a run where there is something to do."""
        dormant = self._core.dormant
        if dormant is None or self._may_know_peers(dormant.snapshot):
            self.wake()  # also out of a run that is about to end for want of work
        else:
            dormant.announce()
            self._count_seeding()

    def _may_know_peers(self, snapshot: TorrentSnapshot) -> bool:
        """Return whether there may be saved peers or web seeds, which cannot find us."""
        core = self._core
        has_begun = snapshot.pieces_have > 0 or bool(core.config.peers) or bool(core.edits.values())
        return has_begun and not snapshot.is_complete

    def end(self) -> None:
        """End the Session of a dormant torrent, in a task; does nothing if it is not dormant."""
        core = self._core
        dormant, core.dormant = core.dormant, None
        if dormant is not None:
            self._count_no_seeding()
            self._runs.end_dormant(dormant.stop_announcing())
