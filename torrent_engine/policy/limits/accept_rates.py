"""Rate limits of incoming connections: one for each operator, and a common one.

When many addresses together exceed the common rate, networks without a recent connection still
share a separate rate, so that a flood does not lock out new peers. ``now`` must not run backwards.
"""

from collections import OrderedDict
from typing import Final

from torrent_engine.base.config import PoolConfig
from torrent_engine.base.operators import network_of
from torrent_engine.policy.limits.operator_rates import OperatorRates
from torrent_engine.policy.rate import TokenBucket

NEW_SHARE: Final = 0.5  # ours: of the common rate, in addition, for new networks
MEMORY_S: Final = 10.0  # ours: a network without a connection for this long is new again
MAX_NETWORKS: Final = 10_000  # ours: about 2 MiB


class AcceptRates:
    """Token buckets of incoming connections; a rate of 0 is unlimited."""

    def __init__(self, config: PoolConfig) -> None:
        self._operators = OperatorRates(
            config.max_incoming_per_ip_per_s, config.incoming_burst_per_ip
        )
        per_s, burst = config.max_incoming_per_s, config.incoming_burst
        self._common = _full_bucket(per_s, burst)
        self._new_networks = _full_bucket(per_s * NEW_SHARE, int(burst * NEW_SHARE))
        self._seen: OrderedDict[str, float] = OrderedDict()
        """Network -> time of its last accepted connection, oldest first."""

    def __len__(self) -> int:
        """Return how many networks are remembered."""
        return len(self._seen)

    def take(self, host: str, now: float) -> bool:
        """Count a connection and return True, or return False if it is over the limit."""
        if not self._operators.take(host, now):
            return False
        if self._common.unlimited:
            return True
        network = network_of(host)
        if not self._common.take(1, now) and not self._take_as_new(network, now):
            return False
        self._seen[network] = now
        self._seen.move_to_end(network)
        if len(self._seen) > MAX_NETWORKS:
            self._seen.popitem(last=False)
        return True

    def _take_as_new(self, network: str, now: float) -> bool:
        last_s = self._seen.get(network)
        is_new = last_s is None or now - last_s >= MEMORY_S
        return is_new and self._new_networks.take(1, now) == 1


def _full_bucket(per_s: float, burst: int) -> TokenBucket:
    bucket = TokenBucket(per_s, max(burst, 1))
    bucket.give_back(burst)
    return bucket
