"""Path MTU discovery: the confirmed packet size, and the next probe size.

Source: BEP 29 leaves it to the implementation; this is the search of RFC 8899. A probe is a data
packet with a padding extension; if it is lost, it is retransmitted without padding. A size fails
after several lost probes, because one may be lost for other reasons, and the search is repeated
from time to time. When nothing arrives any more, the path may have become narrower (section 4.3:
black hole detection), and the search begins anew.
"""

from typing import Final

from torrent_engine.protocol.utp.packet import HEADER_BYTES

SAFE_BYTES: Final = 548  # every host accepts datagrams of 576 bytes, with IPv4 and UDP headers
SIZES: Final = (65_000, 32_000, 16_384, 8_952, 4_096, 1_472, 1_452, 1_432, 1_392, 1_332, 1_232)
"""UDP payload sizes of common links, and a few between."""
FIRST_TRIAL_BYTES: Final = 1_232  # IPv6 promises 1280
MAX_TRIALS: Final = 3
AGAIN_S: Final = 60.0


class PacketSize:
    """The search of one connection."""

    __slots__ = ("_again_s", "_candidates", "_max_bytes", "_size", "_trials", "trial")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max(max_bytes, SAFE_BYTES)
        self.trial: int | None = None
        """Number of the outstanding probe."""
        self.begin()

    def begin(self) -> None:
        """Begin the search, with the smallest size."""
        self._size = SAFE_BYTES
        self.trial = None
        self._trials = 0
        self._again_s = 0.0
        self._candidates = self._all_candidates()
        if self._max_bytes > FIRST_TRIAL_BYTES:
            self._candidates.append(FIRST_TRIAL_BYTES)

    @property
    def payload_bytes(self) -> int:
        """Maximum payload of a packet."""
        return self._size - HEADER_BYTES

    @property
    def is_grown(self) -> bool:
        """Whether packets are larger than what every path takes."""
        return self._size > SAFE_BYTES

    def wanted_bytes(self, now: float) -> int:
        """Return the size of a probe to send now, with the header, or 0."""
        if self.trial is not None:
            return 0
        if not self._candidates and self._size < self._max_bytes and now >= self._again_s:
            self._candidates = self._all_candidates()
            self._again_s = now + AGAIN_S
        return self._candidates[-1] if self._candidates else 0

    def tried(self, sequence: int, now: float) -> None:
        """Record that this packet is a probe of the wanted size."""
        self.trial = sequence
        self._again_s = now + AGAIN_S

    def arrived(self) -> None:
        """Record that the probe was acknowledged."""
        self._size, self.trial, self._trials = self._candidates[-1], None, 0
        self._candidates = self._all_candidates() if self._size == FIRST_TRIAL_BYTES else []

    def lost(self) -> None:
        """Record that the probe was lost, whatever the cause."""
        self.trial = None
        self._trials += 1
        if self._trials >= MAX_TRIALS:
            self._candidates.pop()
            self._trials = 0

    def _all_candidates(self) -> list[int]:
        """Return the sizes above the confirmed one, the largest last."""
        sizes = {self._max_bytes, *SIZES}
        return sorted(size for size in sizes if self._size < size <= self._max_bytes)
