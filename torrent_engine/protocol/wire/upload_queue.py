"""The peer's requests that wait for an answer, oldest first.

Source: BEP 3, BEP 6 (every request has exactly one response, also one that equals another). Every
operation costs the same however long the queue is, so that a flood of cancels costs no more than
its own bytes. A request for a whole block at its place, as nearly all are, is kept as one number.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, repeat
from typing import Final

from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.protocol.wire.messages import BlockRequest

MAX_SHARED_REQUESTS: Final = 20_000  # ours: 2 MiB
FAIR_REQUESTS: Final = 256  # ours: what a peer may ask for before it has taken anything

_PIECE_SHIFT: Final = 18  # a begin has 32 bits, and BLOCK_BYTES are 14 of them
_BLOCK_MASK: Final = (1 << _PIECE_SHIFT) - 1
_new_tuple = tuple.__new__  # avoids the frame of NamedTuple.__new__
_Packed = int | BlockRequest


def _packed(request: BlockRequest) -> _Packed:
    """Return how a request is kept: a number takes 32 bytes, its tuple 130."""
    piece, begin, length = request
    if length == BLOCK_BYTES and not begin % BLOCK_BYTES:
        return piece << _PIECE_SHIFT | begin // BLOCK_BYTES
    return request


def _unpacked(packed: _Packed) -> BlockRequest:
    if not isinstance(packed, int):
        return packed
    begin = (packed & _BLOCK_MASK) * BLOCK_BYTES
    return _new_tuple(BlockRequest, (packed >> _PIECE_SHIFT, begin, BLOCK_BYTES))


class RequestBudget:
    """How many requests wait in all queues of a process; each takes about 90 bytes."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting = 0


class UploadQueue:
    """A queue of block requests that can also drop one from its middle."""

    __slots__ = ("_again", "_budget", "_repeated", "_taken", "_waiting")

    def __init__(self, budget: RequestBudget | None = None) -> None:
        self._budget = budget or RequestBudget()
        self._waiting: dict[_Packed, None] = {}
        self._again: dict[_Packed, int] = {}
        """How often more each of these waits; nearly always empty."""
        self._repeated = 0
        """The sum of these."""
        self._taken = 0
        """How many requests were taken to be served."""

    def room(self, most: int) -> int:
        """Return how many more requests may be added, with ``most`` in the queue.

        Once very many wait in all queues, a peer may ask for little more than it has taken so far:
        peers that ask for much and read nothing would take much memory.
        """
        if self._budget.waiting >= MAX_SHARED_REQUESTS:
            most = min(most, FAIR_REQUESTS + self._taken)
        return most - len(self)

    def append(self, request: BlockRequest) -> bool:
        """Add a request at the end; return whether it waited already.

        Then it is served again, after all others.
        """
        return self._append(_packed(request))

    def _append(self, packed: _Packed) -> bool:
        self._budget.waiting += 1
        if packed not in self._waiting:
            self._waiting[packed] = None
            return False
        self._again[packed] = self._again.get(packed, 0) + 1
        self._repeated += 1
        return True

    def extend(self, requests: Sequence[BlockRequest]) -> int:
        """Add requests at the end; return how many of them waited already."""
        new = dict.fromkeys(map(_packed, requests))
        if len(new) == len(requests) and self._waiting.keys().isdisjoint(new):
            self._waiting.update(new)
            self._budget.waiting += len(new)
            return 0
        return sum(map(self._append, map(_packed, requests)))

    def popleft(self) -> BlockRequest:
        """Remove and return the oldest request; raise KeyError if there is none."""
        if not self._waiting:
            raise KeyError("no request waits")
        return self._take(1)[0]

    def take(self, budget_bytes: int) -> list[BlockRequest]:
        """Remove and return the oldest requests; as many as fit if each is a whole block."""
        return self._take(budget_bytes // BLOCK_BYTES)

    def _take(self, count: int) -> list[BlockRequest]:
        waiting = self._waiting
        taken = list(islice(waiting, count))
        self._budget.waiting -= len(taken)
        self._taken += len(taken)
        if len(taken) == len(waiting):
            waiting.clear()
        else:
            for packed in taken:
                del waiting[packed]
        if self._again:
            self._wait_again(taken)
        return list(map(_unpacked, taken))

    def _wait_again(self, taken: Iterable[_Packed]) -> None:
        """Put what was taken once, and waits more often, at the end."""
        for packed in taken:
            if self._is_one_less(packed):
                self._waiting[packed] = None

    def _is_one_less(self, packed: _Packed) -> bool:
        """Forget one repetition of a request; return whether there was one."""
        count = self._again.pop(packed, 0)
        if count > 1:
            self._again[packed] = count - 1
        self._repeated -= count > 0
        return count > 0

    def first(self) -> BlockRequest | None:
        """Return the oldest request and leave it there; None if there is none."""
        return next(iter(self), None)

    def discard(self, request: BlockRequest) -> bool:
        """Remove one request, once; return whether it was queued."""
        packed = _packed(request)
        is_again = bool(self._again) and self._is_one_less(packed)
        if not is_again:
            if packed not in self._waiting:
                return False
            del self._waiting[packed]
        self._budget.waiting -= 1
        return True

    def clear(self) -> None:
        """Remove all requests."""
        self._budget.waiting -= len(self)
        self._waiting.clear()
        self._again.clear()
        self._repeated = 0

    def __iter__(self) -> Iterator[BlockRequest]:
        """Iterate over the requests, oldest first; the queue must not change meanwhile."""
        again = (repeat(packed, count) for packed, count in self._again.items())
        return map(_unpacked, chain(self._waiting, *again))

    def __len__(self) -> int:
        """Return how many requests wait."""
        return len(self._waiting) + self._repeated

    def __contains__(self, request: BlockRequest) -> bool:
        """Return whether a request waits."""
        return _packed(request) in self._waiting
