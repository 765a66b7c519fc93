"""Rows of very many torrents in the daemon: whole lists, deltas, ticks; time, loop, memory.

Run: python -m bench.daemon_rows [--torrents 10000]

The rows are those of a fake engine, so that only the daemon's own work is measured. A list has the
31 fields of a torrent in a list. The loop is held for the CPU time that passes between two beats of
a task beside the work; on a busy machine the lag is longer.
"""

import argparse
import gc
import json
import platform
import statistics
import time
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread

from bench.harness import RESULTS
from tests.daemon.fake_port import FakeEngine
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.facts import EngineState
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.state.rows import StateRow
from torrent_engine.daemon.state.shapes import Shape
from torrent_engine.daemon.state.store import DaemonStore

CHANGES = 50
ACTIVE = 500
ROUNDS = 7


def encode(row: StateRow) -> bytes:
    """Return a row with the fields of a list."""
    about, settings, progress, rates = row.about, row.settings, row.progress, row.rates
    fields: dict[str, Any] = {
        "hash": row.hash,
        "id": row.id,
        "name": row.name,
        "status": row.status,
        "is_stalled": row.is_stalled,
        "is_moving": progress.is_moving,
        "is_private": about.is_private,
        "error": {"kind": row.error_kind, "message": row.error},
        "progress": row.fraction,
        "total_bytes": about.total_bytes,
        "wanted_bytes": progress.wanted_bytes,
        "completed_bytes": progress.completed_bytes,
        "left_bytes": row.left_bytes,
        "downloaded_bytes": progress.all_downloaded_bytes,
        "uploaded_bytes": progress.all_uploaded_bytes,
        "ratio": progress.ratio,
        "download_bytes_per_s": rates.download_bytes_per_s,
        "upload_bytes_per_s": rates.upload_bytes_per_s,
        "eta_s": rates.eta_s,
        "peers": rates.peers,
        "seeds": rates.seeds,
        "queue_position": settings.queue_position,
        "priority": settings.priority,
        "category": row.user.category,
        "labels": row.user.labels,
        "save_path": settings.save_path,
        "added_at": about.added_at,
        "completed_at": progress.completed_at,
        "seeding_s": progress.seeding_s,
        "tracker_host": progress.tracker.host,
        "tracker_state": progress.tracker.state,
    }
    return json.dumps(fields, separators=(",", ":")).encode()


class Figures:
    """Times of each kind of work, with the lag of the event loop beside it."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}
        self.held: dict[str, float] = {}

    async def measure(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        """Do some work, and note how long it took and for how long it held the loop."""
        longest = 0.0

        async def beat() -> None:
            nonlocal longest
            while True:
                begun = time.thread_time()
                await anyio.lowlevel.checkpoint()
                longest = max(longest, time.thread_time() - begun)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(beat)
            await anyio.sleep(0.01)
            longest = 0.0
            start = time.perf_counter()
            await work()
            took = time.perf_counter() - start
            await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        self.times.setdefault(name, []).append(took)
        self.held[name] = max(self.held.get(name, 0.0), longest)

    def rows(self) -> dict[str, dict[str, float]]:
        """Return milliseconds: the median time, and how long the loop was held at most."""
        return {
            name: {
                "ms": round(statistics.median(times) * 1e3, 2),
                "held_ms": round(self.held[name] * 1e3, 2),
            }
            for name, times in self.times.items()
        }


def fill(engine: FakeEngine, count: int) -> list[InfoHash]:
    """Add torrents of which some run; return those."""
    generator = Random(1)
    active = []
    for number in range(count):
        is_active = number % max(count // ACTIVE, 1) == 0
        one = engine.put(
            name=f"A torrent with a name of usual length {number}",
            total_bytes=generator.randrange(10**9, 10**11),
            completed_bytes=10**9,
            state=EngineState.DOWNLOADING if is_active else EngineState.SEEDING,
            is_resting=not is_active,
            trackers=((f"https://tracker.example/{number % 7}/announce",),),
            user_data=(("category", f"category {number % 5}"),),
            started_at=engine.now_at,
        )
        active += [one] * is_active
    return active


class Scene:
    """The state of a daemon over a fake engine with many torrents."""

    def __init__(self, count: int) -> None:
        self.engine = FakeEngine()
        self.active = fill(self.engine, count)
        self.state = DaemonState(
            self.engine.port, DaemonStore(), wall_clock=lambda: self.engine.now_at
        )
        self.generator = Random(2)

    def move(self, hashes: list[InfoHash]) -> None:
        """Give torrents other rates and progress, which the engine does not report."""
        for one in hashes:
            torrent = self.engine.torrents[one]
            facts = torrent.facts
            rate, done = self.generator.randrange(10**7), facts.progress.completed_bytes + 16_384
            torrent.facts = replace(
                facts,
                rates=replace(facts.rates, download_bytes_per_s=rate),
                progress=replace(facts.progress, completed_bytes=done),
            )

    @property
    def shape(self) -> Shape:
        return self.state.shapes.get("list", encode)

    async def whole_list(self) -> bytes:
        return b"[" + b",".join(await self.shape.many(self.state.torrents.rows())) + b"]"

    async def delta(self, since: str) -> int:
        delta = self.state.delta(since)
        parts = await self.shape.many(row for row, _ in delta.torrents.changed)
        return len(b",".join(parts))


async def run(count: int) -> dict[str, Any]:
    """Measure everything; return the figures."""
    scene, figures = Scene(count), Figures()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    await scene.state.reload()
    gc.collect()
    row_bytes = (tracemalloc.get_traced_memory()[0] - before) / count
    tracemalloc.stop()
    for number in range(ROUNDS):
        fresh = Scene(count)
        await figures.measure("rows made from facts", fresh.state.reload)
        await figures.measure("list, first time", fresh.whole_list)
        await figures.measure("list, again", fresh.whole_list)
        data = await fresh.whole_list()
        await figures.measure(
            "list, compressed in a thread",
            lambda data=data: anyio.to_thread.run_sync(lambda: zlib.compress(data, 1)),  # type: ignore[misc]
        )
        some = fresh.active[:CHANGES]
        fresh.move(some)
        since = fresh.state.revisions.text()
        await figures.measure(f"tick, {len(fresh.active)} torrents run", fresh.state.tick)
        await figures.measure(f"delta, {CHANGES} changed", lambda: fresh.delta(since))  # noqa: B023
        fresh.move(fresh.active)
        await figures.measure(f"tick, {len(fresh.active)} torrents changed", fresh.state.tick)
        await figures.measure("list after that", fresh.whole_list)
        fresh.engine.port.control.move_to(fresh.engine.order[-1], 0)
        await figures.measure("a move to the top of the queue", fresh.state.queue_changed)
        gc.collect()
        print(f"round {number + 1} of {ROUNDS}", flush=True)
    return {
        "torrents": count,
        "python": platform.python_version(),
        "list_bytes": len(data),
        "row_bytes": round(row_bytes),
        "figures": figures.rows(),
    }


def main() -> None:
    """Print a table, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torrents", type=int, default=10_000)
    count = parser.parse_args().torrents
    found = anyio.run(run, count, backend_options={"use_uvloop": True})
    for name, row in found["figures"].items():
        print(f"{name:40} {row['ms']:9.2f} ms   held {row['held_ms']:7.2f} ms")
    print(f"{found['list_bytes'] / 1e6:.1f} MB a list, {found['row_bytes']} bytes a row")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "daemon_rows.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
