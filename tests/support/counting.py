"""Requests, pieces and turns of the loop that count what is done, for tests of what grows."""

from collections.abc import KeysView
from typing import Any

import anyio.lowlevel

from torrent_engine.policy.pieces.piece_table import Block, PieceTable


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


class CountingTable(PieceTable):
    """Counts how often pieces are begun and abandoned: each time is a pass over all of them."""

    passes = 0

    def begun(self, *pieces: int) -> int:
        self.passes += 1
        return super().begun(*pieces)

    def abandoned(self, *pieces: int) -> int:
        self.passes += 1
        return super().abandoned(*pieces)


class ShortTurn:
    """A turn of the loop that is over after each look at it; counts how often it was passed on."""

    is_over = True

    def __init__(self) -> None:
        self.passed_on = 0

    async def pass_on(self) -> None:
        self.passed_on += 1
        await anyio.lowlevel.checkpoint()
