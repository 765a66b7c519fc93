"""A timer wheel for all uTP connections."""

from heapq import heapify, heappop, heappush
from math import ceil
from typing import Final

from torrent_engine.net.utp.transport import UtpTransport

STEP_S: Final = 0.001  # ours: the resolution
MAX_EMPTIED: Final = 1_024  # ours: empty slots, of 300 bytes each


class TimerWheel:
    """Transports by the slot in which they are due; each is in one slot at most."""

    def __init__(self) -> None:
        self._slots: dict[int, dict[UtpTransport, None]] = {}
        self._order: list[int] = []
        self._emptied = 0

    def __len__(self) -> int:
        """Return the number of transports with a timer."""
        return sum(map(len, self._slots.values()))

    def set(self, transport: UtpTransport, due_s: float | None) -> bool:
        """Set the timer of a transport; return whether it is earlier than before.

        A later timer leaves the transport in its slot; :meth:`take` may thus return it too early.
        """
        if due_s is None:
            return False
        slot = ceil(due_s / STEP_S)
        if transport.slot is not None:
            if slot >= transport.slot:
                return False
            self.drop(transport)
        if slot not in self._slots:
            self._slots[slot] = {}
            heappush(self._order, slot)
        self._slots[slot][transport] = None
        transport.slot = slot
        return True

    def drop(self, transport: UtpTransport) -> None:
        """Remove a transport; may be called twice."""
        if transport.slot is not None:
            slot = self._slots[transport.slot]
            slot.pop(transport, None)
            transport.slot = None
            if not slot:
                self._emptied += 1
                if self._emptied > MAX_EMPTIED:
                    self._forget_emptied()

    def _forget_emptied(self) -> None:
        self._slots = {number: slot for number, slot in self._slots.items() if slot}
        self._order = list(self._slots)
        heapify(self._order)
        self._emptied = 0

    def next_s(self) -> float | None:
        """Return the earliest timer."""
        while self._order:
            if self._slots[self._order[0]]:
                return self._order[0] * STEP_S
            del self._slots[heappop(self._order)]
        return None

    def take(self, now: float) -> list[UtpTransport]:
        """Remove and return all transports that may be due."""
        taken: list[UtpTransport] = []
        while (next_s := self.next_s()) is not None and next_s <= now:
            slot = heappop(self._order)
            taken += self._slots.pop(slot)
        for transport in taken:
            transport.slot = None
        return taken
