"""our_hostile.py ORDER: our engine among hostile peers, with its default settings.

ORDER is JSON: ``role`` ("leech" or "seed"), ``torrent``, ``save_dir``, ``state_dir``, ``honest``
([host, port] pairs that a leech dials), ``honest_hosts``, ``upload_bytes_per_s``, ``limit_s``.
Prints "ready PORT", waits for a line, then works until it has everything (a leech), until a further
line (a seed), or for ``limit_s``; then prints one JSON object.
"""

import json
import logging
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import anyio

from bench.harness import MIB
from bench.parties.our_fair import Lags
from torrent_engine import Metainfo, Session, SharedResources, State
from torrent_engine.base.config import DhtConfig, LsdConfig, SharedConfig
from torrent_engine.engine.events import PeerBanned, PeerDisconnected

SAMPLE_S = 0.05


class Complaints(logging.Handler):
    """Counts what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


class Watcher:
    """Bans and ended links of one run."""

    def __init__(self, honest_hosts: list[str]) -> None:
        self.honest_hosts = honest_hosts
        self.bans: list[str] = []
        self.honest_ended: list[str] = []
        self.reasons: Counter[str] = Counter()

    def banned(self, event: PeerBanned) -> None:
        self.bans.append(event.address.host)

    def ended(self, event: PeerDisconnected) -> None:
        self.reasons[event.reason.partition(":")[0]] += 1
        if event.address.host in self.honest_hosts:
            self.honest_ended.append(event.reason)

    def figures(self) -> dict[str, Any]:
        return {
            "bans": len(self.bans),
            "honest_bans": sum(each in self.honest_hosts for each in self.bans),
            "honest_ended": self.honest_ended[:5],
            "ended": dict(self.reasons.most_common(8)),
        }


class Memory:
    """The most anonymous memory that was resident; mapped files of the payload are not counted."""

    def __init__(self) -> None:
        self.before_mib = self.most_mib = self.now_mib()

    @staticmethod
    def now_mib() -> float:
        text = Path("/proc/self/status").read_text()
        return int(text.partition("RssAnon:")[2].split()[0]) / 1024

    async def run(self) -> None:
        while True:
            self.most_mib = max(self.most_mib, self.now_mib())
            await anyio.sleep(SAMPLE_S)

    @property
    def growth_mib(self) -> float:
        return self.most_mib - self.before_mib


async def main(order: dict[str, Any]) -> None:
    is_leech = order["role"] == "leech"
    config = SharedConfig(
        listen_port=0,
        listen_hosts=("127.0.0.1",),
        state_dir=order["state_dir"],
        dht=DhtConfig(enabled=False),
        lsd=LsdConfig(enabled=False),
        max_upload_bytes_per_s=order["upload_bytes_per_s"],
    )
    complaints = Complaints()
    logging.getLogger().addHandler(complaints)
    metainfo = Metainfo.read(order["torrent"])
    async with SharedResources(config) as shared:
        session = await Session.create(metainfo, shared, save_path=order["save_dir"])
        watcher = Watcher(order["honest_hosts"])
        session.events.subscribe("peer.banned", watcher.banned)
        session.events.subscribe("peer.disconnected", watcher.ended)
        async with session:
            await session.wait(State.DOWNLOADING if is_leech else State.SEEDING)
            print("ready", shared.listen_port, flush=True)
            await anyio.to_thread.run_sync(sys.stdin.readline)
            figures = await measure(session, order)
            figures |= {**watcher.figures(), "errors_logged": complaints.count}
            print(json.dumps(figures), flush=True)
            os._exit(0)


async def measure(session: Session, order: dict[str, Any]) -> dict[str, Any]:
    lags, memory, began_s, used = Lags(), Memory(), anyio.current_time(), os.times()
    most_peers, is_done = 0, False
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lags.run)
        tasks.start_soon(memory.run)
        for host, port in order["honest"]:
            await session.add_peer(host, port)
        with anyio.move_on_after(order["limit_s"]):
            if order["role"] == "leech":
                await session.wait(State.SEEDING)
            else:
                await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
            is_done = True
        most_peers = session.stats().peers
        tasks.cancel_scope.cancel()
    seconds, now, stats = anyio.current_time() - began_s, os.times(), session.stats()
    return {
        "is_done": is_done,
        "seconds": round(seconds, 2),
        "goodput_mib_per_s": round(stats.completed_bytes / seconds / MIB, 2),
        "sent_mib_per_s": round(stats.uploaded_bytes / seconds / MIB, 2),
        "wasted_mib": round(stats.wasted_bytes / MIB, 1),
        "peers_at_end": most_peers,
        "cpu_s": round(now.user + now.system - used.user - used.system, 2),
        "rss_growth_mib": round(memory.growth_mib, 1),
        **lags.figures(),
    }


if __name__ == "__main__":
    anyio.run(main, json.loads(sys.argv[1]), backend_options={"use_uvloop": True})
