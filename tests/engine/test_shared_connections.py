"""Real pools that share one limit on connections: no torrent starves beside a greedy one."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from tests.support.scripted_peer import Script, listening
from tests.support.swarm import resources, seed, until
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import PoolConfig, SessionConfig
from torrent_engine.base.errors import ConfigError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.events import PeerDisconnected
from torrent_engine.engine.resources.connection_slots import TAKEN
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.session import Session

pytestmark = pytest.mark.anyio

LIMIT, PEERS = 12, 16
TORRENTS = [make_torrent(payload_of(64 * 1024, number)) for number in range(3)]
SLOW = 1_000  # bytes per second: nobody completes


@asynccontextmanager
async def swarm(metainfo: Metainfo, payload: bytes) -> AsyncIterator[list[tuple[str, int]]]:
    """Give the addresses of many seeds of one torrent."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(listening(Script(metainfo, payload)))
            for _ in range(PEERS)
        ]


@asynccontextmanager
async def downloads(folder: Path) -> AsyncIterator[tuple[SharedResources, list[Session]]]:
    """Give a Session of each torrent, not started, with more peers each than all may have."""
    async with AsyncExitStack() as stack:
        shared = await stack.enter_async_context(
            resources(folder, pool=PoolConfig(max_connections=LIMIT))
        )
        sessions = []
        for number, (metainfo, payload) in enumerate(TORRENTS):
            peers = tuple(await stack.enter_async_context(swarm(metainfo, payload)))
            config = SessionConfig(peers=peers, max_download_bytes_per_s=SLOW)
            session = await Session.create(
                metainfo, shared, save_path=folder / str(number), config=config
            )
            stack.push_async_callback(session.close)
            sessions.append(session)
        yield shared, sessions


def linked(session: Session) -> int:
    """Return how many peers a Session has."""
    return len(session.peers())


async def test_a_torrent_alone_has_all_and_gives_to_those_that_come(tmp_path: Path) -> None:
    async with downloads(tmp_path) as (shared, sessions):
        slots, ended = shared.connection_slots, list[PeerDisconnected]()
        first, second, third = sessions
        first.events.subscribe("peer.disconnected", ended.append)
        await first.start()
        await until(lambda: linked(first) == LIMIT)
        await second.start()
        await until(lambda: linked(second) >= LIMIT // 2)
        await third.start()
        await until(lambda: linked(third) >= LIMIT // 3)
        await until(lambda: min(map(linked, sessions)) >= LIMIT // 3)
        assert slots.used <= LIMIT
        assert TAKEN in {each.reason for each in ended}
        await second.stop()
        await third.stop()
        await until(lambda: linked(first) == LIMIT, timeout_s=40.0)  # back-off of those it lost
    assert slots.used == 0


async def test_no_torrent_ever_falls_below_its_share_once_it_has_it(tmp_path: Path) -> None:
    lowest = [LIMIT] * 3
    async with downloads(tmp_path) as (shared, sessions):
        for session in sessions:
            await session.start()
        await until(lambda: min(map(linked, sessions)) >= LIMIT // 3)
        with anyio.move_on_after(2.0):
            while True:
                lowest = [
                    min(low, linked(each)) for low, each in zip(lowest, sessions, strict=True)
                ]
                assert shared.connection_slots.used <= LIMIT
                await anyio.sleep(0.01)
    assert min(lowest) >= LIMIT // 3 - 1  # one that left by itself has its place taken soon


async def test_peers_that_come_to_us_find_room_in_a_torrent_below_its_share(
    tmp_path: Path,
) -> None:
    metainfo, payload = TORRENTS[1]
    async with downloads(tmp_path) as (shared, sessions):
        first, second, _ = sessions
        await first.start()
        await until(lambda: linked(first) == LIMIT)
        second._core.config = replace(second.config, peers=())
        await second.start()
        ours = ("127.0.0.1", shared.listen_port)
        async with seed(tmp_path / "seed", metainfo, payload) as (seeding, _):
            await seeding.add_peer(*ours)
            await until(lambda: linked(second) == 1)
        assert shared.connection_slots.used <= LIMIT


async def test_the_peers_of_one_torrent_are_limited_while_it_runs(tmp_path: Path) -> None:
    async with downloads(tmp_path) as (shared, (session, *_)):
        session.set_max_connections(3)
        await session.start()
        await until(lambda: linked(session) == 3)
        session.set_max_connections(7)
        await until(lambda: linked(session) == 7)
        session.set_max_connections(2)
        await until(lambda: linked(session) == 2)
        shared.set_connection_limits(max_connections_per_torrent=5)
        session.set_max_connections(0)
        await until(lambda: linked(session) == 5)
        assert session.config.max_connections == 0


async def test_the_peers_of_all_torrents_are_limited_while_they_run(tmp_path: Path) -> None:
    async with downloads(tmp_path) as (shared, sessions):
        for session in sessions:
            await session.start()
        await until(lambda: sum(map(linked, sessions)) == LIMIT)
        shared.set_connection_limits(max_connections=3)
        await until(lambda: [linked(session) for session in sessions] == [1, 1, 1])
        shared.set_connection_limits(max_connections=9)
        await until(lambda: sum(map(linked, sessions)) == 9)
        with pytest.raises(ConfigError):
            shared.set_connection_limits(max_connections=-1)
        assert shared.config.pool.max_connections == 9
