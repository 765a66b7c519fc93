"""The number of requests kept outstanding at one peer.

The pipeline must cover the bandwidth-delay product, and some peers serve requests only twice a
second. As in libtorrent, the depth grows with every received block while the rate still rises (slow
start); after that it is a few seconds' worth of the rate.
"""

from typing import Final

from torrent_engine.base.config import TransferConfig
from torrent_engine.base.ids import BLOCK_BYTES

PEER_DEFAULT_REQQ: Final = 250  # libtorrent's default, for peers that send no reqq
HELD_QUEUE_S: Final = 0.3  # ours: under a rate limit more would only fill the socket buffers
MIN_HELD_REQUESTS: Final = 1
SLOW_START_GROWTH: Final = 1.1  # slow start ends with a second that is less than 10 % faster


class RequestPipeline:
    """The number of blocks to keep requested from one peer, :attr:`depth`."""

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
        """Set the queue size that the peer sent in its extension handshake (BEP 10)."""
        self._reqq = max(1, reqq)
        if self.is_snubbed or self._is_held:
            self.depth = min(self.depth, self._reqq)
        else:
            self.depth = self._clamp(self.depth)

    def blocks_received(self, count: int) -> None:
        """Count received blocks; cheap, called once for each read."""
        if not count:
            return
        if self._is_slow_start:
            self.depth = self._clamp(self.depth + count)
        self.is_snubbed = False

    def tick(self, bytes_per_s: float) -> None:
        """Adapt the depth to the peer's present rate; called once a second."""
        if self.is_snubbed:
            return
        if self._is_held:
            self._is_held = False
        elif not bytes_per_s:
            self._start_slowly()  # idle, for example after a choke: the last rate is stale
        elif self._is_slow_start:
            grows = bytes_per_s > self._last_rate * SLOW_START_GROWTH
            self._is_slow_start = grows or not self._last_rate
        else:
            steady = int(bytes_per_s * self._config.request_queue_s / BLOCK_BYTES)
            self.depth = self._clamp(steady)
        self._last_rate = bytes_per_s

    def hold_back(self, bytes_per_s: float) -> None:
        """Record that our rate limit, not the peer, is the bottleneck.

        In effect until the second :meth:`tick` after the call.
        """
        if not self.is_snubbed:
            self._is_held, self._is_slow_start = True, False
            steady = int(bytes_per_s * HELD_QUEUE_S / BLOCK_BYTES)
            most = min(self._config.max_outstanding_requests, self._reqq)
            self.depth = min(max(steady, MIN_HELD_REQUESTS), most)

    def snubbed(self) -> None:
        """Record that the peer stopped sending requested blocks: one request remains as a probe."""
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
