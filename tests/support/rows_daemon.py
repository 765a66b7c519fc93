"""A daemon over an engine of facts, with very many torrents that change: a process.

Run: python -m tests.support.rows_daemon TORRENTS CHANGES

It prints its port, and serves until its input ends. Its token is that of the tests' daemons. Each
second CHANGES of the torrents have other rates.
"""

import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from tests.daemon.contexts import make_context
from tests.daemon.fake_port import FakeEngine
from tests.support.http_server import served
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.app import create_app
from torrent_engine.daemon.engine_port.facts import EngineState

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

STATES = (EngineState.SEEDING, EngineState.SEEDING, EngineState.PAUSED, EngineState.STOPPED)


def fill(engine: FakeEngine, count: int, changing: int) -> list[InfoHash]:
    """Add torrents, of which some download; return those."""
    generator = Random(1)
    moving = []
    for number in range(count):
        is_moving = number < changing
        total = generator.randrange(10**8, 10**11)
        moving.append(
            engine.put(
                name=f"Torrent {number:05} {'fedora' if number % 50 == 7 else 'debian'} image",
                total_bytes=total,
                completed_bytes=total // 3 if is_moving else total,
                state=EngineState.DOWNLOADING if is_moving else STATES[number % len(STATES)],
                is_resting=not is_moving,
                trackers=((f"https://tracker-{number % 7}.example/announce",),),
                user_data=(("category", f"category {number % 5}"),),
                added_at=engine.now_at + number,
            )
        )
    return moving[:changing]


async def change_each_second(engine: FakeEngine, hashes: list[InfoHash]) -> None:
    """Give torrents other rates and progress, which an engine does not report."""
    generator = Random(2)
    while True:
        for one in hashes:
            torrent = engine.torrents[one]
            facts = torrent.facts
            rate = generator.randrange(1, 10**7)
            done = facts.progress.completed_bytes + 16_384
            torrent.facts = replace(
                facts,
                rates=replace(facts.rates, download_bytes_per_s=rate, peers=rate % 50),
                progress=replace(facts.progress, completed_bytes=done),
            )
        await anyio.sleep(1)


async def serve(count: int, changing: int) -> None:
    """Serve until the input ends."""
    engine = FakeEngine()
    moving = fill(engine, count, changing)
    context: DaemonContext = make_context(engine)
    await context.state.reload()
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(anyio.create_task_group())
        tasks.start_soon(context.errands.run)
        tasks.start_soon(context.state.run)
        tasks.start_soon(change_each_second, engine, moving)
        server = await stack.enter_async_context(served(create_app(context)))
        print(server.port, flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(serve, int(sys.argv[1]), int(sys.argv[2]))
