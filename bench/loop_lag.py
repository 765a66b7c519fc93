"""Event loop lag beside large torrents: message floods, file lists, file selection.

Run: python -m bench.loop_lag [--files 300000]

A task beats every 2 ms while the work is done as the engine does it: messages in turns of the loop,
lists of files in worker threads. The lag is how late a beat is.
"""

import argparse
import time
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import anyio.lowlevel
import anyio.to_thread

from tests.support.large_swarm import FLOOD_BYTES, FLOODS, PEERS, PIECES, LargeSwarm
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.transfer.progress import DownloadProgress, piece_priorities, skipped_by
from torrent_engine.policy.pieces.picker import Picker

BEAT_S = 0.002


async def lag_of(name: str, work: Callable[[], Awaitable[object]]) -> object:
    """Do some work and print how late the beats beside it were."""
    lags: list[float] = []

    async def beat() -> None:
        while True:
            due = time.perf_counter() + BEAT_S
            await anyio.sleep(BEAT_S)
            lags.append(max(0.0, time.perf_counter() - due))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(beat)
        await anyio.sleep(0.05)
        lags.clear()
        start = time.perf_counter()
        result = await work()
        took = time.perf_counter() - start
        await anyio.sleep(0.05)
        tasks.cancel_scope.cancel()
    lags.sort()
    p99, longest = lags[len(lags) * 99 // 100] * 1e3, lags[-1] * 1e3
    print(
        f"{name:38} {took:8.3f} s   lag p99 {p99:7.2f} ms   longest {longest:7.2f} ms", flush=True
    )
    return result


def many_files(count: int) -> bytes:
    """Return a .torrent of so many files."""
    files = [
        {"length": 40_000, "path": [f"folder {i // 100}", f"a file with a longer name {i}.bin"]}
        for i in range(count)
    ]
    pieces = -(-40_000 * count // (32 * 1024))
    info = {"name": "n", "piece length": 32 * 1024, "pieces": bytes(20 * pieces), "files": files}
    return encode({"info": info})


async def flood(swarm: LargeSwarm, number: int, data: bytes) -> None:
    """Let one peer send 1 MiB of a message."""
    peer = swarm.join(PEERS + number)
    for turn in swarm.turns(peer, data):
        turn()
        await anyio.lowlevel.checkpoint()
    swarm.torrent.peers.discard(peer)
    swarm.downloads.peer_left(peer)
    swarm.uploads.peer_left(peer)


async def choose(metainfo: Metainfo, progress: DownloadProgress, picker: Picker) -> None:
    """Choose every second file, as a Session does while it runs."""
    priorities = tuple(index % 2 for index in range(len(metainfo.files)))
    pieces = await anyio.to_thread.run_sync(piece_priorities, metainfo, priorities)
    await anyio.to_thread.run_sync(skipped_by, priorities)
    progress.take(priorities, pieces)
    picker.set_priorities(pieces)
    progress.recount(Bitfield(metainfo.piece_count))


async def run(files: int) -> None:
    """Print a line for each kind of work."""
    swarm = LargeSwarm()
    print(f"{PEERS} peers, {PIECES:,} pieces, {FLOOD_BYTES >> 20} MiB of each message")
    for number, name in enumerate(FLOODS):
        await lag_of(name, partial(flood, swarm, number, FLOODS[name]()[:FLOOD_BYTES]))
    data = many_files(files)
    print(f"{files:,} files, .torrent of {len(data) / 2**20:.1f} MiB")

    async def parse() -> Metainfo:
        return await anyio.to_thread.run_sync(Metainfo.from_bytes, data)

    metainfo = await lag_of("reading the .torrent", parse)
    assert isinstance(metainfo, Metainfo)
    progress, picker = DownloadProgress(metainfo), swarm_picker(metainfo)
    await lag_of("choosing every second file", lambda: choose(metainfo, progress, picker))


def swarm_picker(metainfo: Metainfo) -> Picker:
    """Return a picker of a torrent."""
    import random

    from torrent_engine.policy.pieces.piece_table import PieceTable

    return Picker(metainfo.geometry, PieceTable(metainfo.geometry), random.Random(1))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=300_000)
    anyio.run(run, parser.parse_args().files)


if __name__ == "__main__":
    main()
