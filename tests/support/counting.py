"""Requests and pieces that count what is looked at, for tests of what grows with a swarm."""

from collections.abc import KeysView
from typing import Any

from torrent_engine.policy.pieces.piece_table import Block


class CountingRequests(dict[Block, None]):
    """Outstanding requests that count how many of them are looked at."""

    looks = 0

    def __contains__(self, block: object) -> bool:
        CountingRequests.looks += 1
        return super().__contains__(block)

    def __iter__(self) -> Any:
        CountingRequests.looks += len(self)
        return super().__iter__()

    def keys(self) -> KeysView[Block]:  # type: ignore[override]
        CountingRequests.looks += len(self)
        return super().keys()


class CountingBits(int):
    """Pieces as bits, which count how often all of them are copied."""

    copies = 0

    def __rshift__(self, places: int) -> int:
        CountingBits.copies += 1
        return int(self) >> places
