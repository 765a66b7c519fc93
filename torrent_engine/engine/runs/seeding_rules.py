"""The rules that end the seeding of one torrent, and the numbers that they compare."""

from torrent_engine.base.config import SeedingConfig, SessionConfig
from torrent_engine.engine.runs.saved_totals import SavedTotals
from torrent_engine.engine.transfer.progress import DownloadProgress
from torrent_engine.policy.queue.seeding_clock import SeedingClock
from torrent_engine.policy.queue.stop_rules import Seeded, StopRules


def rules_of(config: SessionConfig, general: SeedingConfig) -> StopRules:
    """Return the rules of one torrent; those that it does not set are the general ones."""
    own = StopRules(config.seed_ratio, config.seed_time_s, config.seed_idle_s)
    return own.over(StopRules(general.seed_ratio, general.seed_time_s, general.seed_idle_s))


def rest_due_s(rules: StopRules, clock: SeedingClock, now: float) -> float:
    """Return in how many seconds a rule can first apply to a seed without peers.

    Infinity: never, whatever its totals are, for they stay as they are.
    """
    return _by_time(rules).next_due_s(_at_rest(clock, now))


def rest_reason(rules: StopRules, clock: SeedingClock, now: float) -> str | None:
    """Return the reason of the rule that applies now, if one does."""
    return _by_time(rules).reason(_at_rest(clock, now))


def _by_time(rules: StopRules) -> StopRules:
    return StopRules(None, rules.seed_time_s, rules.seed_idle_s)


def _at_rest(clock: SeedingClock, now: float) -> Seeded:
    return Seeded(seeding_s=clock.seeding_s(now), idle_s=clock.idle_s(now))


class SeedingRules:
    """The rules of one run, and the numbers that they are about."""

    def __init__(
        self, rules: StopRules, clock: SeedingClock, totals: SavedTotals, progress: DownloadProgress
    ) -> None:
        self.rules = rules
        self.clock = clock
        self._totals = totals
        self._progress = progress

    def change(self, config: SessionConfig, general: SeedingConfig) -> None:
        """Apply other rules from now on."""
        self.rules = rules_of(config, general)

    def reason(self, now: float) -> str | None:
        """Return why seeding is to end now, if it is."""
        self.clock.sent(self._totals.uploaded_bytes, now)
        return self.rules.reason(self.seeded(now))

    def seeded(self, now: float) -> Seeded:
        """Return what the rules are about."""
        return Seeded(
            self._totals.uploaded_bytes,
            self._totals.downloaded_bytes,
            self._progress.wanted_bytes,
            self.clock.seeding_s(now),
            self.clock.idle_s(now),
        )
