"""Rate limits on uTP packets with little or no payload.

A packet costs the same whether it carries 1 byte or 1,400. Transferred bytes pay for the packets
that carry them. Unpaid packets are limited for each operator, with a shared reserve on top; packets
of an operator over the limit are dropped for a while. ``now`` is monotonic.
"""

from collections import OrderedDict
from typing import Final

from torrent_engine.base.config import UtpConfig
from torrent_engine.base.operators import operator_of
from torrent_engine.policy.rate import TokenBucket

BYTES_PER_PACKET: Final = 256
"""Ours: transferred bytes that pay for one packet; data packets are larger, and an acknowledgement
is sent for at least one of them."""
MAX_EARNED_PACKETS: Final = 16_384  # ours: a quarter of a second at 100 MB/s
MAX_OPERATORS: Final = 1_000  # ours: the least recently charged is forgotten first


class PacketCredit:
    """The credit that one connection has earned with transferred bytes."""

    __slots__ = ("_paid_bytes",)

    def __init__(self) -> None:
        self._paid_bytes = 0

    def unpaid(self, packets: int, moved_bytes: int) -> int:
        """Return how many of the packets that arrived now exceed the credit.

        ``moved_bytes`` is the payload of the connection so far, both directions together.
        """
        earned = (moved_bytes - self._paid_bytes) // BYTES_PER_PACKET
        if earned > MAX_EARNED_PACKETS:
            earned = MAX_EARNED_PACKETS
            self._paid_bytes = moved_bytes - earned * BYTES_PER_PACKET
        paid = min(earned, packets)
        self._paid_bytes += paid * BYTES_PER_PACKET
        return packets - paid


class PacketBudget:
    """A token bucket for the unpaid packets of each operator, and a shared reserve."""

    def __init__(self, config: UtpConfig) -> None:
        self._per_s = config.max_unproductive_packets_per_s
        self._burst = config.unproductive_packets_burst
        self._shared = _full_bucket(config.max_shared_unproductive_packets_per_s)
        self._operators: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of operators with a bucket."""
        return len(self._operators)

    def charge(self, host: str, packets: int, now: float) -> float:
        """Charge unpaid packets; return for how many seconds to drop those of the operator."""
        if not self._per_s:
            return 0.0
        own = self._bucket_of(host)
        packets -= own.take(packets, now)
        packets -= self._shared.take(packets, now)
        own.charge(packets, now)
        return own.delay_s(0, now)

    def _bucket_of(self, host: str) -> TokenBucket:
        operator = operator_of(host)
        bucket = self._operators.get(operator)
        if bucket is None:
            bucket = self._operators[operator] = _full_bucket(self._per_s, self._burst)
            if len(self._operators) > MAX_OPERATORS:
                self._operators.popitem(last=False)
        else:
            self._operators.move_to_end(operator)
        return bucket


def _full_bucket(per_s: int, burst: int | None = None) -> TokenBucket:
    burst = per_s if burst is None else burst
    bucket = TokenBucket(per_s, burst)
    bucket.give_back(burst)
    return bucket
