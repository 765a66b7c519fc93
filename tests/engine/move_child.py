"""A process that moves a seed until it is killed: python -m tests.engine.move_child FOLDER TARGET.

Prints a line for each step of the move, one when the database knows the new place, and one when
all is done and the torrent seeds there; and each piece that is hashed, which none should be. After
each step it goes on when a line comes in.
"""

import sys
from pathlib import Path
from typing import Any

import anyio

from tests.support.swarm import reach, shared_config
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import ManagerConfig
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.moves import relocation
from torrent_engine.engine.events import CheckProgress
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

MIB = 1024 * 1024


def make() -> tuple[Metainfo, bytes]:
    files = {f"{number}/x": payload_of(3 * MIB + number, number) for number in range(4)}
    return make_torrent(files, piece_bytes=MIB // 4)


def report(*words: object) -> None:
    print(*words, flush=True)


def tell_steps() -> None:
    """Have each step of a move, and the moment that it is saved, reported."""
    module: Any = relocation
    some, save = module._some, module.save_placed

    def some_and_tell(steps: Any) -> bool:
        is_over: bool = some(steps)
        report("step")
        sys.stdin.readline()
        return is_over

    async def save_and_tell(*arguments: Any) -> None:
        await save(*arguments)
        report("placed")
        sys.stdin.readline()

    module.STEP_S, module._some, module.save_placed = 0.0, some_and_tell, save_and_tell


async def main(folder: Path, target: Path) -> None:
    metainfo, _ = make()
    tell_steps()
    config = ManagerConfig(shared=shared_config(folder), save_path=str(folder / "old"))
    async with TorrentManager(config) as manager:
        manager.events.subscribe("check.progress", tell_check)
        session = manager.get_session(metainfo.info_hash)
        if session is None:
            session = await manager.add_torrent(metainfo)
        await reach(session, State.SEEDING)
        await manager.flush()
        report("seeding", session.save_path)
        await move(session, target)
        report("moved")


async def move(session: Session, target: Path) -> None:
    if session.save_path != target:
        await session.move_storage(target)
    await reach(session, State.SEEDING)


def tell_check(event: CheckProgress) -> None:
    report("hashed", event.checked_pieces)


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), Path(sys.argv[2]))
