"""Datagrams that are processed in turns with other tasks."""

from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.sockets import datagram_queue
from torrent_engine.net.sockets.datagram_queue import MAX_WAITING, DatagramQueue

pytestmark = pytest.mark.anyio
ADDRESS = PeerAddress("192.0.2.1", 6881)


class Turns:
    """A budget of three datagrams a turn."""

    def __init__(self) -> None:
        self.left = self.passed = 0

    @property
    def is_over(self) -> bool:
        return self.left <= 0

    async def pass_on(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.left = 3
        self.passed += 1


class Handler:
    """Takes its time for each datagram."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.told: list[bytes | None] = []

    def receive_datagram(self, data: bytes, address: PeerAddress) -> None:
        assert address == ADDRESS
        self.turns.left -= 1
        self.told.append(data)

    def batch_ended(self) -> None:
        self.told.append(None)


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    """The budget of the queue."""
    made = Turns()
    monkeypatch.setattr(datagram_queue, "LOOP_TURN", made)
    return made


async def running(run: Callable[[], Coroutine[Any, Any, None]], until: Callable[[], bool]) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        with anyio.fail_after(60):
            while not until():
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()


async def test_they_come_in_order_and_others_have_their_turns(turns: Turns) -> None:
    handler = Handler(turns)
    queue = DatagramQueue(handler)
    for number in range(7):
        queue.receive_datagram(b"%d" % number, ADDRESS)
        queue.batch_ended()
    assert not handler.told
    await running(queue.run, lambda: len(handler.told) == 10)
    assert handler.told == [b"0", b"1", b"2", None, b"3", b"4", b"5", None, b"6", None]
    assert turns.passed == 3


async def test_those_that_come_later_are_handed_on_too(turns: Turns) -> None:
    handler = Handler(turns)
    queue = DatagramQueue(handler)

    async def send() -> None:
        for number in range(3):
            queue.receive_datagram(b"%d" % number, ADDRESS)
            while len(handler.told) < 2 * (number + 1):
                await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.run)
        with anyio.fail_after(60):
            await send()
        tasks.cancel_scope.cancel()
    assert handler.told == [b"0", None, b"1", None, b"2", None]


async def test_one_that_is_not_stood_costs_the_others_nothing(
    turns: Turns, caplog: pytest.LogCaptureFixture
) -> None:
    class Fragile(Handler):
        def receive_datagram(self, data: bytes, address: PeerAddress) -> None:
            super().receive_datagram(data, address)
            if data == b"bad":
                raise ZeroDivisionError

    handler = Fragile(turns)
    queue = DatagramQueue(handler)
    for data in (b"1", b"bad", b"2", b"bad", b"3"):
        queue.receive_datagram(data, ADDRESS)
    await running(queue.run, lambda: b"3" in handler.told)
    assert [data for data in handler.told if data] == [b"1", b"bad", b"2", b"bad", b"3"]
    assert queue.failed_count == 2
    assert len(caplog.records) == 1


async def test_those_that_are_too_many_are_lost(turns: Turns) -> None:
    handler = Handler(turns)
    queue = DatagramQueue(handler)
    for _ in range(MAX_WAITING + 5):
        queue.receive_datagram(b"a", ADDRESS)
    assert queue.dropped_count == 5
    await running(queue.run, lambda: handler.told.count(b"a") == MAX_WAITING)
