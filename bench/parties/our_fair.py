"""our_fair.py ROLE FOLDER PORT SECONDS: one TorrentManager with many connections, its fairness.

ROLE is download or upload. FOLDER/torrents has the torrents, FOLDER/peers.json their peers by name,
FOLDER/order.json what is waited for. Prints one JSON object.
"""

import json
import os
import signal
import statistics
import sys
import time
from pathlib import Path

import anyio

from bench.harness import peak_rss_mib
from torrent_engine import Session, State
from torrent_engine.base.config import (
    DhtConfig,
    LsdConfig,
    ManagerConfig,
    PoolConfig,
    SessionConfig,
    SharedConfig,
)
from torrent_engine.engine.manager.torrent_manager import TorrentManager

PROBE_S = 0.01
CONNECT_S = 30.0


def config_of(folder: Path, port: int) -> ManagerConfig:
    shared = SharedConfig(
        listen_port=port,
        listen_hosts=("127.0.0.1",),
        state_dir=str(folder / "state"),
        pool=PoolConfig(max_dials_per_ip_per_minute=60),
        dht=DhtConfig(enabled=False),
        lsd=LsdConfig(enabled=False),
    )
    return ManagerConfig(shared=shared, save_path=str(folder / "saved"))


class Lags:
    """How much later than asked for the event loop wakes a task, and what it worked meanwhile."""

    def __init__(self) -> None:
        self.lags_s: list[float] = []
        self.turns_s: list[float] = []
        """Processor time of the loop's thread; it says the same on a machine that is busy."""

    async def run(self) -> None:
        while True:
            due_s, used_s = anyio.current_time() + PROBE_S, time.thread_time()
            await anyio.sleep(PROBE_S)
            self.lags_s.append(anyio.current_time() - due_s)
            self.turns_s.append(time.thread_time() - used_s)

    def figures(self) -> dict[str, float]:
        shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        figures = {}
        for name, seconds in (("lag", sorted(self.lags_s)), ("turn_cpu", sorted(self.turns_s))):
            for label, share in shares.items():
                at = min(int(len(seconds) * share), len(seconds) - 1)
                figures[f"{name}_{label}_ms"] = round(1000 * seconds[at], 2)
        return figures


def moved(session: Session, role: str) -> int:
    stats = session.stats()
    return stats.downloaded_bytes if role == "download" else stats.uploaded_bytes


async def add_all(manager: TorrentManager, folder: Path) -> None:
    peers = json.loads((folder / "peers.json").read_text())
    for path in sorted((folder / "torrents").iterdir()):
        config = SessionConfig(peers=tuple((host, port) for host, port in peers.get(path.stem, ())))
        await manager.add_torrent(path, config=config)


async def wait_connected(manager: TorrentManager, wanted: int) -> None:
    """Wait until all connections are there that may be, not for ever."""
    with anyio.move_on_after(CONNECT_S):
        while manager.stats().peers < wanted:  # noqa: ASYNC110 - nothing tells it
            await anyio.sleep(0.05)


async def main() -> None:
    role, folder, port, seconds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    order = json.loads((folder / "order.json").read_text())
    async with TorrentManager(config_of(folder, port)) as manager:
        await add_all(manager, folder)
        sessions = manager.sessions
        for session in sessions:
            await session.wait(State.SEEDING if role == "upload" else State.DOWNLOADING)
        print("ready", flush=True)
        sys.stdin.readline()
        await wait_connected(manager, order["connections"])
        connections = sorted(each.stats().peers for each in sessions)
        if role == "download":
            os.kill(order["peers_pid"], signal.SIGUSR1)
        lags, began_s, used = Lags(), anyio.current_time(), os.times()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lags.run)
            with anyio.move_on_after(float(seconds)):
                while True:
                    if sum(moved(each, role) for each in sessions) >= order["enough_bytes"]:
                        break
                    await anyio.sleep(0.1)
            tasks.cancel_scope.cancel()
        took_s = anyio.current_time() - began_s
        bytes_each = [moved(each, role) for each in sessions]
        median = statistics.median(bytes_each)
        now = os.times()
        figures = {
            "connections": sum(connections),
            "connections_min": connections[0],
            "connections_max": connections[-1],
            "seconds": round(took_s, 2),
            "mib_per_s": round(sum(bytes_each) / took_s / 2**20, 1),
            "cpu_s": round(now.user + now.system - used.user - used.system, 2),
            "min_mib": round(min(bytes_each) / 2**20, 2),
            "median_mib": round(median / 2**20, 2),
            "max_mib": round(max(bytes_each) / 2**20, 2),
            "min_over_median": round(min(bytes_each) / median, 3) if median else 0.0,
            "peak_rss_mib": round(peak_rss_mib(), 1),
            **lags.figures(),
        }
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    anyio.run(main, backend_options={"use_uvloop": True})
