"""Event loop lag over the whole life of one torrent with very many files.

Run: python -m bench.many_files [--files 300000] [--dir /tmp] [--steps download,seed] [--show]

The files are sparse. A task beats every 2 ms; the lag is how late a beat is, but no more than the
CPU time that the process took meanwhile: a machine that does other things, too, adds nothing. A
line for each step of the life, and with ``--show`` what ran when a beat was late, as a thread saw
it.
"""

import argparse
import gc
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from hashlib import sha1
from pathlib import Path
from types import FrameType
from typing import Any

import anyio

from tests.support.processes import free_port
from torrent_engine.base.config import (
    DhtConfig,
    LsdConfig,
    ManagerConfig,
    SessionConfig,
    SharedConfig,
)
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.resources.loop_watch import where
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

BEAT_S = 0.002
LATE_S = 0.025
FILE_BYTES = 4_000
PIECE_BYTES = 32 * 1024
IDLE = frozenset({"select", "wait", "get"})


def short(frame: FrameType) -> str:
    """Return the innermost calls of a thread, without its folders."""
    return re.sub(r"/[^ )]*/", "", where(frame, 5))


class Lags:
    """How late the beats of the present step were, and what ran meanwhile."""

    def __init__(self, *, shows: bool) -> None:
        self.late_s: list[float] = []
        self.places: Counter[str] = Counter()
        self._shows = shows
        self._due = 0.0
        self._loop = threading.get_ident()
        self._ends = threading.Event()
        self._gc_start = 0.0

    async def beat(self) -> None:
        """Beat until cancelled."""
        while True:
            self._due = time.perf_counter() + BEAT_S
            cpu_s = time.process_time()
            await anyio.sleep(BEAT_S)
            late_s = time.perf_counter() - self._due
            self.late_s.append(max(0.0, min(late_s, time.process_time() - cpu_s)))

    @contextmanager
    def watched(self):
        """Look at the threads while a beat is late."""
        watcher = threading.Thread(target=self._watch, daemon=True)
        if self._shows:
            watcher.start()
            gc.callbacks.append(self._on_gc)
        yield
        self._ends.set()

    def _on_gc(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._gc_start = time.perf_counter()
        elif (took := time.perf_counter() - self._gc_start) > LATE_S / 2:
            self.places[f"garbage collection {info['generation']}, {took * 1e3:.0f} ms"] += 1

    def _watch(self) -> None:
        while not self._ends.wait(0.005):
            if time.perf_counter() - self._due < LATE_S:
                continue
            frames = sys._current_frames()
            frames.pop(threading.get_ident(), None)
            busy = (frame for frame in frames.values() if frame.f_code.co_name not in IDLE)
            self.places.update(short(frame) for frame in busy)

    def take(self) -> tuple[list[float], Counter[str]]:
        """Return what there is, and begin anew."""
        late_s, self.late_s = sorted(self.late_s) or [0.0], []
        places, self.places = self.places, Counter()
        return late_s, places


class Life:
    """One torrent, and what is done with it."""

    def __init__(self, folder: Path, data: bytes, lags: Lags) -> None:
        self.folder = folder
        self.data = data
        self.lags = lags
        self.info_hash = Metainfo.from_bytes(data).info_hash
        self.more = 100
        """So many pieces are downloaded in a step."""

    async def step(self, name: str, work: Callable[[], Awaitable[object]]) -> Any:
        """Do one thing, and print how late the loop was meanwhile."""
        await anyio.sleep(0.1)
        self.lags.take()
        start = time.perf_counter()
        result = await work()
        took = time.perf_counter() - start
        await anyio.sleep(0.3)
        late_s, places = self.lags.take()
        p99, longest = late_s[len(late_s) * 99 // 100] * 1e3, late_s[-1] * 1e3
        over = sum(each > LATE_S for each in late_s)
        print(
            f"{name:34} {took:8.2f} s   lag p99 {p99:7.2f} ms   longest {longest:7.2f} ms"
            f"   over 25 ms {over:4}",
            flush=True,
        )
        for place, count in places.most_common(14):
            print(f"    {count:3} x {place}", flush=True)
        return result

    @asynccontextmanager
    async def managed(self, name: str, state: str) -> AsyncIterator[TorrentManager]:
        """Run a manager; its start and its end are steps, too."""
        shared = SharedConfig(
            listen_port=0,
            listen_hosts=("127.0.0.1",),
            state_dir=str(self.folder / state),
            dht=DhtConfig(enabled=False),
            lsd=LsdConfig(enabled=False),
        )
        config = ManagerConfig(shared=shared, save_path=str(self.folder / "files"))
        manager = TorrentManager(config)
        await self.step(f"{name}: manager begins", manager.__aenter__)
        try:
            yield manager
        finally:
            await self.step(f"{name}: manager ends", partial(manager.__aexit__, None, None, None))


async def reach(session: Session, *states: State) -> None:
    """Wait for a state."""
    state = await session.wait(*states, State.ERROR)
    if state is State.ERROR:
        raise RuntimeError(str(session.error))


async def seeding(life: Life, files: int) -> None:
    """Add files that are there, and do everything that can be done with them."""
    async with life.managed("seed", "state") as manager:

        async def add() -> Session:
            session = await manager.add_torrent(life.data)
            await reach(session, State.SEEDING)
            return session

        async def both(first: Awaitable[None], *states: State) -> None:
            await first
            await reach(session, *states)

        session = await life.step("add .torrent and check", add)
        assert isinstance(session, Session)

        async def ask() -> None:
            for _ in range(50):
                session.stats()
                manager.stats()
                await anyio.sleep(0.01)

        async def recheck() -> None:
            await session.recheck()
            await reach(session, State.SEEDING)

        await life.step("stats", ask)
        await life.step("pause", session.pause)
        await life.step("resume", session.resume)
        await life.step("recheck", recheck)
        half = [index % 2 * 4 for index in range(files)]
        await life.step("skip every second file", lambda: session.set_file_priorities(half))
        await life.step("want all", lambda: session.set_file_priorities([4] * files))
        await life.step("rename one", lambda: session.rename_file(5, "n/another name"))
        target = life.folder / "moved"
        await life.step("move", lambda: session.move_storage(target))
        await reach(session, State.SEEDING)
    async with life.managed("restore", "state") as manager:
        (session,) = manager.sessions()
        await life.step("seeds again", lambda: reach(session, State.SEEDING))
        await life.step(
            "remove with files",
            lambda: manager.remove_torrent(session.info_hash, delete_files=True),
        )


async def downloading(life: Life, files: int, port: int) -> None:
    """Get the metadata and some pieces of a seed, and remove all."""
    async with life.managed("download", "state-2") as manager:

        async def add() -> Session:
            link = Magnet(life.info_hash)
            config = SessionConfig(peers=(("127.0.0.1", port),))
            session = await manager.add_torrent(link, save_path=life.folder / "got", config=config)
            await reach(session, State.DOWNLOADING)
            return session

        async def some(more: int) -> None:
            wanted = session.stats().pieces_have + more
            while session.stats().pieces_have < wanted:  # noqa: ASYNC110 - as a program would
                await anyio.sleep(0.05)

        session = await life.step("magnet to the first request", add)
        assert isinstance(session, Session)
        await life.step("some pieces", lambda: some(life.more))
        half = [index % 2 * 4 for index in range(files)]
        await life.step("skip every second file", lambda: session.set_file_priorities(half))
        await life.step("some pieces", lambda: some(life.more))
        await life.step("want all", lambda: session.set_file_priorities([4] * files))
        await life.step("pause", session.pause)
        await life.step("resume", session.resume)
        await life.step("some pieces", lambda: some(life.more))
    async with life.managed("go on", "state-2") as manager:
        (session,) = manager.sessions()
        await life.step("downloads again", lambda: reach(session, State.DOWNLOADING))
        await life.step("some pieces", lambda: some(life.more))
        await life.step(
            "remove with files",
            lambda: manager.remove_torrent(session.info_hash, delete_files=True),
        )


def make_files(folder: Path, count: int) -> bytes:
    """Make sparse files; return their .torrent."""
    files = []
    for index in range(count):
        path = [f"folder {index // 100}", f"a file with a longer name {index}.bin"]
        files.append({"length": FILE_BYTES, "path": path})
        if not index % 100:
            (folder / "n" / path[0]).mkdir(parents=True)
        with open(folder.joinpath("n", *path), "wb") as file:
            file.truncate(FILE_BYTES)
    total = FILE_BYTES * count
    pieces, last = divmod(total, PIECE_BYTES)
    hashes = sha1(bytes(PIECE_BYTES)).digest() * pieces
    if last:
        hashes += sha1(bytes(last)).digest()
    info = {"name": "n", "piece length": PIECE_BYTES, "pieces": hashes, "files": files}
    return encode({"info": info})


@asynccontextmanager
async def seed_process(folder: Path, torrent: Path, port: int) -> AsyncIterator[None]:
    """Seed in another process, which has checked its files."""
    words = [sys.executable, "-m", "torrent_engine", "seed", str(torrent), "-d"]
    words += [str(folder / "files"), "--port", str(port), "--listen", "127.0.0.1"]
    words += ["--state-dir", str(folder / "seed-state"), "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:  # noqa: ASYNC220
        try:
            assert child.stdout is not None
            for line in child.stdout:
                if "torrent.complete" in line:
                    break
            yield
        finally:
            child.terminate()
            child.communicate(timeout=60)


async def run(options: argparse.Namespace, folder: Path) -> None:
    """Print a line for each step."""
    (folder / "files").mkdir()
    lags = Lags(shows=options.show)
    data = make_files(folder / "files", options.files)
    print(f"{options.files:,} files, .torrent of {len(data) / 2**20:.1f} MiB", flush=True)
    torrent = folder / "x.torrent"
    torrent.write_bytes(data)
    life = Life(folder, data, lags)
    with lags.watched():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lags.beat)
            if "download" in options.steps:
                port = free_port()
                async with seed_process(folder, torrent, port):
                    await downloading(life, options.files, port)
            if "seed" in options.steps:
                await seeding(life, options.files)
            tasks.cancel_scope.cancel()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=300_000)
    parser.add_argument("--dir", default=None)
    parser.add_argument("--steps", default="download,seed")
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="many-files-", dir=options.dir))
    try:
        anyio.run(run, options, folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
