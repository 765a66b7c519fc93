"""Owns the rate limits of one torrent in one direction: its own and the one of all torrents."""

from collections.abc import Callable, Sequence

from torrent_engine.policy.rate import TokenBucket, delay_for_all_s, take_from_all

DELAY_FOR_BYTES = 16 * 1024


class TransferLimits:
    """Several token buckets as one; without a limit :attr:`is_limited` is all that is looked at."""

    def __init__(self, buckets: Sequence[TokenBucket], clock: Callable[[], float]) -> None:
        self._buckets = tuple(buckets)
        self._clock = clock

    @property
    def is_limited(self) -> bool:
        """Whether any of the buckets has a limit."""
        # Measured: 0.24 us, with any() 0.49; asked twice a refill.
        for bucket in self._buckets:  # noqa: SIM110
            if not bucket.unlimited:
                return True
        return False

    def allowance(self, wanted_bytes: int) -> int:
        """Return how many bytes may move now, at most ``wanted_bytes``; they count as moved."""
        return take_from_all(self._buckets, wanted_bytes, self._clock())

    def give_back(self, count_bytes: int) -> None:
        """Return what was allowed and did not move."""
        for bucket in self._buckets:
            if not bucket.unlimited:
                bucket.give_back(count_bytes)

    def delay_s(self) -> float:
        """Return the seconds until a block may move."""
        return delay_for_all_s(self._buckets, DELAY_FOR_BYTES, self._clock())
