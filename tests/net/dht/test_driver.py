"""The driver of a DHT node: it leaves the event loop to others while much is due."""

import random
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.support.clock import ManualClock
from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.dht.driver import DhtDriver
from torrent_engine.protocol.dht.events import DhtEvent
from torrent_engine.protocol.dht.node import DhtNode
from torrent_engine.protocol.dht.transactions import MAX_TIMEOUTS

pytestmark = pytest.mark.anyio


class Silence:
    """A network in which nobody answers."""

    def send(self, data: bytes, address: PeerAddress) -> bool:
        return True


def silent_driver(clock: ManualClock) -> DhtDriver:
    config = DhtConfig()
    node = DhtNode(config, rng=random.Random(1), secret=bytes(32), is_ipv6=False, now=clock())
    nobody: Any = Silence()
    return DhtDriver(
        node,
        nobody,
        is_ipv6=False,
        clock=clock,
        on_event=lambda event: None,
        on_bootstrapped=lambda: None,
    )


def ping(address: PeerAddress, node: DhtNode, now: float) -> int:
    return node.ping(address, now=now)


async def test_queries_that_are_over_at_the_same_time_do_not_hold_the_loop() -> None:
    clock, turn = ManualClock(), 0
    driver = silent_driver(clock)
    ended_in: list[int] = []

    def on_event(event: DhtEvent) -> None:
        ended_in.append(turn)

    for number in range(100):
        driver.start_lookup(partial(ping, PeerAddress(f"20.1.{number}.1", 6881)), on_event)
    clock.advance(driver.node.config.query_timeout_s)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(driver.run)
        with anyio.fail_after(20):
            while len(ended_in) < 100:
                await anyio.lowlevel.checkpoint()
                turn += 1
        tasks.cancel_scope.cancel()
    # Trio shuffles tasks: a task may have two turns between two of another.
    assert max(ended_in.count(each) for each in set(ended_in)) <= 2 * MAX_TIMEOUTS
