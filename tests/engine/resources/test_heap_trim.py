"""Freed memory goes back to the system when it is worth it, and stops nothing."""

import anyio
import pytest

from torrent_engine.engine.resources import heap_trim
from torrent_engine.engine.resources.heap_trim import (
    BUSY_INTERVAL_S,
    LOOK_INTERVAL_S,
    MAX_FREED_BYTES,
    MIN_FREED_BYTES,
    Allocator,
    HeapTrim,
    system_allocator,
)

LOOKS = int(BUSY_INTERVAL_S / LOOK_INTERVAL_S)


class Heap:
    """An allocator that counts."""

    def __init__(self) -> None:
        self.freed_bytes = 0
        self.count = 0

    def allocator(self) -> Allocator:
        return Allocator(lambda: self.freed_bytes, self.trim)

    def trim(self) -> None:
        self.count += 1


class Peers:
    is_connected = True

    def __call__(self) -> bool:
        return self.is_connected


def test_the_last_peer_that_leaves_is_the_moment() -> None:
    peers = Peers()
    trim = HeapTrim(peers, Heap().allocator())
    assert not trim.is_due()
    peers.is_connected = False
    assert [trim.is_due() for _ in range(3 * LOOKS)] == [True] + [False] * (3 * LOOKS - 1)
    peers.is_connected = True
    assert not trim.is_due()
    peers.is_connected = False
    assert trim.is_due()


@pytest.mark.parametrize(
    ("freed_bytes", "times"),
    [
        (MIN_FREED_BYTES - 1, 0),
        (MIN_FREED_BYTES, 1),
        (MAX_FREED_BYTES, 1),
        (MAX_FREED_BYTES + 1, 0),
    ],
)
def test_while_there_are_peers_it_is_much_and_not_too_much_and_once_a_minute(
    freed_bytes: int, times: int
) -> None:
    heap = Heap()
    heap.freed_bytes = freed_bytes
    trim = HeapTrim(lambda: True, heap.allocator())
    assert sum(trim.is_due() for _ in range(LOOKS)) == times


async def run_for(looks: int, trim: HeapTrim, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it look so often, a minute apart."""
    left, done = looks, anyio.Event()

    async def sleep(_: float) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            done.set()
            await anyio.sleep_forever()

    monkeypatch.setattr(heap_trim, "LOOK_INTERVAL_S", BUSY_INTERVAL_S)
    monkeypatch.setattr(anyio, "sleep", sleep)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(trim.run)
        await done.wait()
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_what_stays_free_is_not_trimmed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    heap = Heap()
    heap.freed_bytes = MIN_FREED_BYTES
    await run_for(5, HeapTrim(lambda: True, heap.allocator()), monkeypatch)
    assert heap.count == 1


@pytest.mark.anyio
async def test_f10_without_a_thread_for_it_it_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = 0

    def trim() -> None:
        nonlocal tried
        tried += 1
        raise RuntimeError("can't start new thread")

    allocator = Allocator(lambda: MIN_FREED_BYTES, trim)
    await run_for(3, HeapTrim(lambda: True, allocator), monkeypatch)
    assert tried == 3


@pytest.mark.anyio
async def test_without_such_an_allocator_nothing_runs() -> None:
    trim = HeapTrim(lambda: False, None)
    await trim.run()
    assert trim.is_due() is True  # asked, it would; nobody asks


def test_the_allocator_of_this_system_says_what_was_freed() -> None:
    allocator = system_allocator()
    if allocator is None:
        pytest.skip("no glibc of 2.33 or later")
    blocks = [bytearray(8_000) for _ in range(2_000)]
    kept = blocks[::2]
    before = allocator.freed_bytes()
    del blocks
    freed = allocator.freed_bytes()
    assert freed - before > 6_000_000
    allocator.trim()
    assert len(kept) == 1_000
