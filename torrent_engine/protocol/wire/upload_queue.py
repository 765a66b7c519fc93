"""The peer's requests that wait for an answer: each at most once, oldest first.

Source: BEP 3, BEP 6 (a request has exactly one response). Every operation costs the same however
long the queue is, so that a flood of cancels costs no more than its own bytes.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.protocol.wire.messages import BlockRequest


class UploadQueue:
    """A queue of block requests that can also drop one from its middle."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[BlockRequest, None] = {}

    def append(self, request: BlockRequest) -> None:
        """Add a request at the end; one that waits already keeps its place."""
        self._waiting[request] = None

    def extend(self, requests: Iterable[BlockRequest]) -> Sequence[BlockRequest]:
        """Add requests at the end; return those that did not wait already."""
        new = dict.fromkeys(requests)
        waiting = self._waiting
        if not waiting.keys().isdisjoint(new):
            new = {request: None for request in new if request not in waiting}
        waiting.update(new)
        return list(new)

    def popleft(self) -> BlockRequest:
        """Remove and return the oldest request; raise KeyError if there is none."""
        request = self.first()
        if request is None:
            raise KeyError("no request waits")
        del self._waiting[request]
        return request

    def take(self, budget_bytes: int) -> list[BlockRequest]:
        """Remove and return the oldest requests; as many as fit if each is a whole block."""
        waiting = self._waiting
        taken = list(islice(waiting, budget_bytes // BLOCK_BYTES))
        if len(taken) == len(waiting):
            waiting.clear()
        else:
            for request in taken:
                del waiting[request]
        return taken

    def first(self) -> BlockRequest | None:
        """Return the oldest request and leave it there; None if there is none."""
        return next(iter(self._waiting), None)

    def discard(self, request: BlockRequest) -> bool:
        """Remove one request; return whether it was queued."""
        if request not in self._waiting:
            return False
        del self._waiting[request]
        return True

    def clear(self) -> None:
        """Remove all requests."""
        self._waiting.clear()

    def __iter__(self) -> Iterator[BlockRequest]:
        """Iterate over the requests, oldest first; the queue must not change meanwhile."""
        return iter(self._waiting)

    def __len__(self) -> int:
        """Return how many requests wait."""
        return len(self._waiting)

    def __contains__(self, request: object) -> bool:
        """Return whether a request waits."""
        return request in self._waiting
