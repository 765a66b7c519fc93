"""Decides how many requests are kept outstanding at one peer.

The pipe must hold bandwidth x delay, and some peers answer only twice a second: so the depth
grows by what arrives while that still raises the rate, then holds a few seconds of the rate.
"""

from typing import Final

from torrent_engine.base.config import TransferConfig
from torrent_engine.base.ids import BLOCK_BYTES

PEER_DEFAULT_REQQ: Final = 250  # libtorrent's own default, for peers that do not say
HELD_QUEUE_S: Final = 0.3  # ours: under a rate limit more would wait in the system's buffers
MIN_HELD_REQUESTS: Final = 1
GROWTH_TO_GO_ON: Final = 1.1  # a second that brought less than 10 % more ends the slow start


class RequestPipeline:
    """Owns one number, :attr:`depth`: the blocks to keep requested at one peer."""

    __slots__ = (
        "_config",
        "_is_held",
        "_is_slow_start",
        "_last_rate",
        "_reqq",
        "depth",
        "is_snubbed",
    )

    def __init__(self, config: TransferConfig) -> None:
        self._config = config
        self._reqq = PEER_DEFAULT_REQQ
        self._is_slow_start = True
        self._is_held = False
        self._last_rate = 0.0
        self.depth = config.min_outstanding_requests
        self.is_snubbed = False

    def peer_reqq(self, reqq: int) -> None:
        """Take the request queue that the peer names in its extension handshake (BEP 10)."""
        self._reqq = max(1, reqq)
        if self.is_snubbed or self._is_held:
            self.depth = min(self.depth, self._reqq)
        else:
            self.depth = self._clamp(self.depth)

    def blocks_received(self, count: int) -> None:
        """Take ``count`` blocks into account; cheap, called once a read. 0 changes nothing."""
        if not count:
            return
        if self._is_slow_start:
            self.depth = self._clamp(self.depth + count)
        self.is_snubbed = False

    def tick(self, bytes_per_s: float) -> None:
        """Take the peer's present rate into account; called once a second."""
        if self.is_snubbed:
            return
        if self._is_held:
            self._is_held = False
        elif not bytes_per_s:
            self._start_slowly()  # an idle pipe, after a choke say: what it held is stale
        elif self._is_slow_start:
            grows = bytes_per_s > self._last_rate * GROWTH_TO_GO_ON
            self._is_slow_start = grows or not self._last_rate
        else:
            steady = int(bytes_per_s * self._config.request_queue_s / BLOCK_BYTES)
            self.depth = self._clamp(steady)
        self._last_rate = bytes_per_s

    def hold_back(self, bytes_per_s: float) -> None:
        """Hear that a rate limit, not the peer, is what is waited for; what comes then is enough.

        Holds until the second tick after it.
        """
        if not self.is_snubbed:
            self._is_held, self._is_slow_start = True, False
            steady = int(bytes_per_s * HELD_QUEUE_S / BLOCK_BYTES)
            most = min(self._config.max_outstanding_requests, self._reqq)
            self.depth = min(max(steady, MIN_HELD_REQUESTS), most)

    def snubbed(self) -> None:
        """Record that the peer owes us blocks and sends none: one request is enough to try it."""
        self.is_snubbed = True
        self._start_slowly()
        self.depth = 1

    def _start_slowly(self) -> None:
        self._is_slow_start = True
        self._last_rate = 0.0
        self.depth = self._clamp(0)

    def _clamp(self, depth: int) -> int:
        config = self._config
        low, high = config.min_outstanding_requests, config.max_outstanding_requests
        return max(min(depth, high, self._reqq), min(low, self._reqq))
