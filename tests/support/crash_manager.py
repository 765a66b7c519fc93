"""A process with many torrents until it is killed: python -m tests.support.crash_manager ORDER.

ORDER is JSON: ``folder`` (with ``torrents/*.torrent``), ``peers`` (host and port of the seed),
``moves`` (whether files are moved all the time), ``seed``. It takes up the torrents of the process
before, adds those that are missing, and prints a JSON object a line: each verified piece, each move
that is over, and where all torrents are once they are complete. Then it ends.
"""

import json
import sys
from pathlib import Path
from random import Random
from typing import Any

import anyio

from tests.support.swarm import shared_config
from torrent_engine.base.config import DiskConfig, DormancyConfig, ManagerConfig, PoolConfig
from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.events import PieceCompleted, PieceHashFailed
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

POLL_S = 0.02


def report(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def piece_completed(event: PieceCompleted) -> None:
    report(type="piece", torrent=event.info_hash.hex(), piece=event.piece_index)


def piece_failed(event: PieceHashFailed) -> None:
    report(type="error", text=f"piece {event.piece_index} of {event.info_hash.hex()} is wrong")


async def add_missing(manager: TorrentManager, order: dict[str, Any]) -> None:
    for session in manager.sessions:
        await session.add_peer(*order["peers"])
    paths = sorted((Path(order["folder"]) / "torrents").glob("*.torrent"))
    Random(order["seed"]).shuffle(paths)
    for path in paths:
        metainfo = Metainfo.read(path)
        if manager.get_session(metainfo.info_hash) is None:
            session = await manager.add_torrent(metainfo)
            await session.add_peer(*order["peers"])
            report(type="added", torrent=metainfo.info_hash.hex())


async def move_about(manager: TorrentManager, order: dict[str, Any]) -> None:
    """Move one torrent after the other, for ever, between the two folders."""
    random = Random(order["seed"])
    while True:
        await move(random.choice(manager.sessions), random, order)
        await anyio.sleep(random.uniform(0, 0.1))


async def move(session: Session, random: Random, order: dict[str, Any]) -> None:
    place = random.choice([each for each in order["places"] if each != str(session.save_path)])
    await session.move_storage(place)
    report(type="moved", to=place)


async def wait_complete(sessions: tuple[Session, ...]) -> None:
    while any(session.state is not State.SEEDING for session in sessions):
        for session in sessions:
            if session.state is State.ERROR:
                raise session.error or TorrentEngineError("no reason is given")
        await anyio.sleep(POLL_S)


async def main(order: dict[str, Any]) -> None:
    folder = Path(order["folder"])
    pool = PoolConfig(
        max_dials_per_ip_per_minute=100_000, quick_retry_first_s=0.1, max_half_open=300
    )
    disk = DiskConfig(state_reserve_bytes=64 * 1024, sync_interval_s=0.2)
    rest = DormancyConfig(enabled=False)
    config = ManagerConfig(
        shared=shared_config(folder, pool=pool, disk=disk, dormancy=rest),
        save_path=order["places"][0],
        max_connections=0,
    )
    async with TorrentManager(config) as manager:
        manager.events.subscribe("piece.completed", piece_completed)
        manager.events.subscribe("piece.hash_failed", piece_failed)
        report(type="started", torrents=len(manager.sessions))
        await add_missing(manager, order)
        async with anyio.create_task_group() as tasks:
            if order["moves"]:
                tasks.start_soon(move_about, manager, order)
            await wait_complete(manager.sessions)
            tasks.cancel_scope.cancel()
        if order["moves"]:
            for session in manager.sessions:  # the move that was cancelled goes on until another
                await move(session, Random(order["seed"]), order)
            await wait_complete(manager.sessions)
        places = {each.info_hash.hex(): str(each.save_path) for each in manager.sessions}
        await manager.flush()
    report(type="done", places=places)


if __name__ == "__main__":
    anyio.run(main, json.loads(sys.argv[1]), backend_options={"use_uvloop": True})
