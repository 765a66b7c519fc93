"""Owns how a Session comes to rest, and how it wakes."""

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio

from torrent_engine.base.config import RestConfig
from torrent_engine.engine.connection_slots import SlotShare
from torrent_engine.engine.inheritance import Inheritance
from torrent_engine.engine.kept_links import KeptLinks, no_link
from torrent_engine.engine.progress import MANY_FILES
from torrent_engine.engine.resting import Rest, RestFacts, facts_of_new, facts_of_run
from torrent_engine.engine.resting_links import RestingLinks
from torrent_engine.engine.seeding_rules import rest_due_s, rest_reason, rules_of
from torrent_engine.engine.session_life import SessionLife
from torrent_engine.engine.session_run import REST, SessionRun
from torrent_engine.engine.source_edits import edits_from
from torrent_engine.engine.states import Signal, State
from torrent_engine.engine.torrent import Swarm
from torrent_engine.engine.tracker_coordinator import TrackerStatus
from torrent_engine.policy.candidates import CandidateList
from torrent_engine.policy.seeding_clock import SeedingClock
from torrent_engine.policy.stop_rules import StopRules

if TYPE_CHECKING:
    from torrent_engine.engine.manager_records import SavedSession

MARGIN_S: Final = 0.01  # ours: a rule holds this long after it is due, however it is rounded


class SessionRest(SessionLife):
    """A Session may rest between two runs: nothing of it runs, others still find it."""

    _rest: Rest | None = None
    _is_wanted_awake = False
    """Somebody wants it to run, and its run is about to end."""

    @property
    def is_resting(self) -> bool:
        """Whether it is started but has no task, no open file and no metainfo in memory."""
        return self._rest is not None

    def allow_rest(self, config: RestConfig, *, is_stored: bool) -> None:
        """Let it rest from now on; ``is_stored``: the database has its metainfo."""
        self._rests = config if config.enabled else None
        self._is_stored = is_stored

    def trackers(self) -> list[TrackerStatus]:
        """Return how each tracker answers, at rest too."""
        sources = self._sources if self._rest is None else self._rest.sources
        return [] if sources is None else sources.trackers.status()

    @property
    def rest_facts(self) -> RestFacts | None:
        """The numbers of this moment, as far as they can be had without its files."""
        is_known = State.CHECKING not in {self.state, self.paused_state}
        return facts_of_run(self._run) if self._run is not None and is_known else self._rest_facts

    # -- to rest --------------------------------------------------------------------------------

    def _launch(self) -> None:
        """Begin with a rest if it is clear without a look into files that there is nothing yet."""
        if self._may_begin_with_rest():
            metainfo = self._metainfo
            if metainfo is not None:
                self._machine.fire(Signal.CHECK_DONE_INCOMPLETE)
                self._begin_rest(facts_of_new(metainfo, self.config.file_priorities))
                return
        super()._launch()

    def _may_begin_with_rest(self) -> bool:
        metainfo, config = self._metainfo, self.config
        if metainfo is None or self._rests is None or not metainfo.total_bytes:
            return False
        if self._stop_wanted is not None or self._between is not None:  # while it was started
            return False
        if self._edits.web_seeds_of(metainfo) or not self._trusts_resume:
            return False
        is_many = len(config.file_priorities or ()) >= MANY_FILES  # looked at in a thread
        is_special = config.peers or config.renamed_files or config.check_only
        if is_many or is_special or config.metadata_only:
            return False
        try:
            is_there = (self.save_path / metainfo.name).exists()  # all files lie below that
        except OSError:
            return False  # its run says what is wrong there
        return not is_there and not self._shared.store.has_torrent(self.info_hash)

    @property
    def seeding_s(self) -> float:
        """How long it has seeded, over all runs."""
        return self._seeding.seeding_s(self._shared.clock())

    def extras(self) -> dict[str, Any]:
        """Return what was added since it was made, as JSON has it."""
        return self._edits.values()

    def take_up(self, saved: "SavedSession") -> None:
        """Go on where another process ended; before the start."""
        self._rest_facts = saved.facts
        self.is_paused_by_user = saved.is_paused
        self._seeding = SeedingClock(saved.seeding_s)
        self._edits = edits_from(saved.extras)

    def metainfo_is_stored(self) -> None:
        """Hear that the database has the metainfo now; it is not held while it is not needed."""
        self._is_stored = True
        if self._rest is not None:
            self._drop_metainfo()

    def _begin_rest(self, facts: RestFacts) -> None:
        rest = Rest(facts, self._rest_swarm(), self._shared, self._wake)
        self._settle_into(rest)

    def _lie_down(self, run: SessionRun) -> bool:
        wanted, self._is_wanted_awake = self._is_wanted_awake, False
        is_between = run.stop_reason != REST or self._between is not None
        if wanted or is_between or self._stop_wanted is not None or self._has_somebody(run):
            return super()._lie_down(run)
        facts = facts_of_run(run)
        rest = Rest(facts, self._rest_swarm(), self._shared, self._wake, run.transfer.sources)
        self._run = None
        self._settle_into(rest)
        return True

    def _has_somebody(self, run: SessionRun) -> bool:
        """Return whether a peer was found while the run ended."""
        due, now = run.transfer.pool.candidates.next_due(self._shared.clock()), self._shared.clock()
        return self.state is not State.PAUSED and due is not None and due <= now

    def _settle_into(self, rest: Rest) -> None:
        self._rest, self._rest_facts = rest, rest.facts
        if self._is_stored:
            self._drop_metainfo()
        rest.begin(self._edits, is_announced=self.state is not State.PAUSED)
        self._count_seeding()

    def _count_seeding(self) -> None:
        """Let time pass for the rules that end seeding, while it rests."""
        now = self._shared.clock()
        if self.state is State.SEEDING:
            self._seeding.begin(now)
            due_s = rest_due_s(self._seeding_rules, self._seeding, now)
            if due_s < float("inf"):
                at_s = now + due_s + MARGIN_S
                self._shared.rest_timers.set(self.info_hash, at_s, self._seeded_enough)

    def _count_no_seeding(self) -> None:
        self._seeding.end(self._shared.clock())
        self._shared.rest_timers.drop(self.info_hash)

    @property
    def _seeding_rules(self) -> StopRules:
        return rules_of(self.config, self._shared.config.seeding)

    def _seeded_enough(self) -> None:
        """End it, for it rested for as long as it may; or look again if the rules are others."""
        reason = rest_reason(self._seeding_rules, self._seeding, self._shared.clock())
        if self._rest is not None and reason is not None:
            self._stop_wanted = self._stop_wanted or reason
            self._end_rest()
        elif self._rest is not None:
            self._count_seeding()

    def _rest_swarm(self) -> Swarm:
        shared = self._shared
        return Swarm(
            info_hash=self.info_hash,
            config=self.config,
            shared_config=shared.config,
            peer_id=self._peer_id,
            bus=self.events,
            peers=set(),
            totals=self.totals,
            buffers=shared.buffers,
            link_budget=shared.link_budget,
            clock=shared.clock,
            rng=shared.rng,
        )

    # -- awake ----------------------------------------------------------------------------------

    def _wake(self) -> None:
        rest = self._rest
        if rest is None:
            self._is_wanted_awake = self._run is not None and self._run.stop_reason == REST
            return
        self._rest = None
        self._count_no_seeding()
        self._is_wanted_awake = False
        candidates = CandidateList(
            self._shared.config.pool,
            self._shared.rng,
            is_private=rest.facts.is_private,
            bans=self._shared.bans,
            dial_limiter=self._shared.dial_limiter,
            ip_filter=self._shared.ip_filter,
        )
        now = self._shared.clock()
        for addresses, source in rest.found:
            for address in addresses:
                candidates.add(address, source, now)
        slots = self._shared.connection_slots.share(no_link)
        self._inheritance = Inheritance(KeptLinks(slots), candidates, rest.end(), None)
        if rest.links is None:
            self._shared.start_task(self._live)
        else:
            self._shared.start_task(partial(self._live_with, rest.links, slots))

    async def _live_with(self, visitors: RestingLinks, slots: SlotShare) -> None:
        """Run with the links that there were at rest."""
        with anyio.CancelScope(shield=True):
            kept = await visitors.hand_over(slots)
        if self._inheritance is None:
            kept.close()
        else:
            self._inheritance.links = kept
        await self._live()

    async def _need_run(self) -> None:
        self._wake()

    def _hush(self) -> None:
        """Be found no more: it is paused."""
        if self._rest is not None:
            self._count_no_seeding()
            self._shared.start_task(self._rest.hush())

    def _speak_again(self) -> None:
        """Be found again, or run where there is something to do."""
        rest = self._rest
        if rest is None or self._may_know_somebody(rest.facts):
            self._wake()  # also out of a run that is about to end in a rest
        else:
            rest.announce()
            self._count_seeding()

    def _may_know_somebody(self, facts: RestFacts) -> bool:
        """Return whether it may have saved peers, or web seeds, who cannot find it."""
        has_begun = facts.pieces_have > 0 or bool(self.config.peers) or bool(self._edits.values())
        return has_begun and not facts.is_complete

    def _end_rest(self) -> None:
        """Part from the swarm, for good, in a task of its own; the Session has ended after it."""
        rest, self._rest = self._rest, None
        if rest is not None:
            self._count_no_seeding()
            goodbye = rest.hush()

            async def end() -> None:
                with anyio.CancelScope(shield=True):
                    await goodbye()
                    self._stop_reason = self._stop_wanted or self._stop_reason
                    await self._do_work_between()
                    await self._end()

            self._shared.start_task(end)
