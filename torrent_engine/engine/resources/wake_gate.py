"""Rate limit on waking dormant torrents: over all, and for each address."""

from collections.abc import Callable

import anyio

from torrent_engine.base.config import DormancyConfig
from torrent_engine.policy.limits.operator_rates import OperatorRates
from torrent_engine.policy.rate import TokenBucket

LONGEST_WAIT_S = 1.0  # ours: then it is tried again, others may have been faster


class WakeGate:
    """Admits requests to wake a torrent one after the other; serves all torrents."""

    def __init__(self, config: DormancyConfig, clock: Callable[[], float]) -> None:
        self._all = TokenBucket(config.max_wakes_per_s, config.wake_burst)
        self._all.give_back(config.wake_burst)
        self._of_operator = OperatorRates(config.max_wakes_per_ip_per_s, config.wake_burst_per_ip)
        self._clock = clock

    async def turn(self, host: str) -> None:
        """Wait until a peer at this address may wake a torrent."""
        while not self._take(host):
            now = self._clock()
            delay_s = max(self._all.delay_s(1, now), self._of_operator.delay_s(host, now))
            await anyio.sleep(min(max(delay_s, 0.01), LONGEST_WAIT_S))

    def _take(self, host: str) -> bool:
        now = self._clock()
        if self._all.delay_s(1, now) > 0 or not self._of_operator.take(host, now):
            return False
        self._all.take(1, now)
        return True
