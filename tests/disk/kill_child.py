"""A process that writes pieces until it is killed: python -m tests.disk.kill_child FOLDER SEED.

Prints each piece when the writer has reported it, which is when a session would announce it.
"""

import sys
from pathlib import Path
from random import Random

import anyio

from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import DiskConfig
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.pieces.hasher import check_pieces
from torrent_engine.disk.pieces.writer import PieceWriter, WriteJob
from torrent_engine.disk.resume.keeper import ResumeKeeper
from torrent_engine.disk.state.store import StateStore

CONFIG = DiskConfig(state_reserve_bytes=4096, sync_interval_s=0.1)
FILES = {f"{number}": 70_001 * (number + 1) for number in range(8)}


def make() -> tuple[Metainfo, bytes]:
    return make_torrent({name: payload_of(size) for name, size in FILES.items()})


def report(*words: object) -> None:
    print(*words, flush=True)


async def main(folder: Path, seed: int) -> None:
    metainfo, payload = make()
    view, geometry = memoryview(payload), metainfo.geometry
    limiter = anyio.CapacityLimiter(4)
    have: set[int] = set()

    def on_written(jobs: list[WriteJob]) -> None:
        for job in jobs:
            assert isinstance(job.tag, int)
            keeper.piece_written(job.tag)
            report("written", job.tag)

    def on_failed(error: Exception, _: list[WriteJob]) -> None:
        raise error

    def on_result(piece: int, is_right: bool) -> None:
        keeper.piece_checked(piece, is_right)
        if is_right:
            have.add(piece)

    storage = StorageManager(metainfo, folder / "save", disk_limiter=limiter, config=CONFIG)
    await storage.open()
    async with await StateStore.open(folder / "state", config=CONFIG) as store:
        keeper = ResumeKeeper(store, storage, metainfo, CONFIG)
        plan = await keeper.plan()
        have.update(plan.verified.present())
        await check_pieces(
            storage, metainfo, plan.to_check, limiter=limiter, threads=2, on_result=on_result
        )
        report("have", *sorted(have))
        missing = [piece for piece in range(metainfo.piece_count) if piece not in have]
        Random(seed).shuffle(missing)
        writer = PieceWriter(
            storage, config=CONFIG, limiter=limiter, on_written=on_written, on_failed=on_failed
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.run)
            tasks.start_soon(keeper.run)
            for number, piece in enumerate(missing):
                start = geometry.piece_offset(piece)
                data = view[start : start + geometry.piece_length(piece)]
                writer.submit(WriteJob(start, [data], piece))
                if number % 3 == 0:
                    await anyio.sleep(0.005)
            await writer.drain()
            await keeper.close()
            tasks.cancel_scope.cancel()
        report("done")
    await storage.close()


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
