"""Rate limits on uTP packets with little or no payload.

A packet costs the same whether it carries 1 byte or 1,400. Transferred bytes pay for the packets
that carry them. Unpaid packets are limited for each operator, with a shared reserve on top; packets
of an operator over the limit are dropped for a while. ``now`` is monotonic.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from torrent_engine.base.config import UtpConfig
from torrent_engine.base.operators import operator_of
from torrent_engine.policy.rate import TokenBucket

BYTES_PER_PACKET: Final = 256
"""Ours: transferred bytes that pay for one packet; data packets are larger, and an acknowledgement
is sent for at least one of them."""
MAX_EARNED_PACKETS: Final = 16_384  # ours: a quarter of a second at 100 MB/s
MAX_OPERATORS: Final = 1_000  # ours: the least recently charged is forgotten first
MAX_IGNORED: Final = 10_000  # ours: the first of them is forgotten first

SenderKey = TypeVar("SenderKey", bound=Hashable)


class IgnoredSenders(Generic[SenderKey]):
    """Senders over their budget, each until a time."""

    __slots__ = ("_until_s",)

    def __init__(self) -> None:
        self._until_s: dict[SenderKey, float] = {}

    def __len__(self) -> int:
        """Return their number."""
        return len(self._until_s)

    def add(self, key: SenderKey, until_s: float) -> None:
        """Ignore a sender until a time."""
        self._until_s[key] = until_s
        if len(self._until_s) > MAX_IGNORED:
            self.forget(next(iter(self._until_s)))

    def has(self, key: SenderKey, now: float) -> bool:
        """Return whether a sender is ignored now."""
        until_s = self._until_s.get(key)
        if until_s is None:
            return False
        if now < until_s:
            return True
        del self._until_s[key]
        return False

    def forget(self, key: SenderKey) -> None:
        """Ignore a sender no more."""
        self._until_s.pop(key, None)


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
