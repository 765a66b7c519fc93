"""Owns how long packets are: what is known to pass the whole way, and what is tried next.

Source: BEP 29 leaves it to the program; this is the search of RFC 8899. A trial is a packet of
ordinary content with an extension without meaning behind its header: where it is lost, it is sent
again without, and nothing else is lost or slower. A size fails after several trials, since one
may be lost by chance, and everything is tried again from time to time.
"""

from typing import Final

from torrent_engine.protocol.utp.packet import HEADER_BYTES

SAFE_BYTES: Final = 548  # what every host must take, in one datagram: 576 with IPv4 and UDP
SIZES: Final = (65_000, 32_000, 16_384, 8_952, 4_096, 1_472, 1_452, 1_432, 1_392, 1_332, 1_232)
"""Of links that there are, without the headers of IP and UDP; and a few between."""
FIRST_TRIAL_BYTES: Final = 1_232  # IPv6 promises 1280
MAX_TRIALS: Final = 3
AGAIN_S: Final = 60.0


class PacketSize:
    """The search of one connection."""

    __slots__ = ("_again_s", "_candidates", "_max_bytes", "_size", "_trials", "trial")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max(max_bytes, SAFE_BYTES)
        self._size = min(SAFE_BYTES, self._max_bytes)
        self.trial: int | None = None
        """Number of the packet that is the trial under way."""
        self._trials = 0
        self._again_s = 0.0
        self._candidates = self._all_candidates()
        if self._max_bytes > FIRST_TRIAL_BYTES:
            self._candidates.append(FIRST_TRIAL_BYTES)

    @property
    def payload_bytes(self) -> int:
        """The most that a packet carries."""
        return self._size - HEADER_BYTES

    def wanted_bytes(self, now: float) -> int:
        """Return the size to try now, with the header, or 0."""
        if self.trial is not None:
            return 0
        if not self._candidates and self._size < self._max_bytes and now >= self._again_s:
            self._candidates = self._all_candidates()
            self._again_s = now + AGAIN_S
        return self._candidates[-1] if self._candidates else 0

    def tried(self, sequence: int, now: float) -> None:
        """Take that the packet of this number is of the wanted size."""
        self.trial = sequence
        self._again_s = now + AGAIN_S

    def arrived(self) -> None:
        """Take that the trial was acknowledged."""
        self._size, self.trial, self._trials = self._candidates[-1], None, 0
        self._candidates = self._all_candidates() if self._size == FIRST_TRIAL_BYTES else []

    def lost(self) -> None:
        """Take that the trial was lost, by chance or for its size."""
        self.trial = None
        self._trials += 1
        if self._trials >= MAX_TRIALS:
            self._candidates.pop()
            self._trials = 0

    def _all_candidates(self) -> list[int]:
        """Return the sizes above the present one, the largest last."""
        sizes = {self._max_bytes, *SIZES}
        return sorted(size for size in sizes if self._size < size <= self._max_bytes)
