"""Soak of the daemon: torrents come, are downloaded and go, while front ends look on.

One daemon; a libtorrent seed of all torrents; 20 event streams, 5 RPC pollers of a second, and 3
players that read a complete file over and over. Memory is looked at with the torrents there; how
long the loop was held is what a small request waited beyond its own time, and what the daemon says.

bench/run daemon_soak                                   # 500 torrents, 30 minutes
bench/run daemon_soak --torrents 50 --minutes 2         # a quick look
"""

import argparse
import base64
import json
import multiprocessing
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from bench.daemon_lists import RPC, RPC_FIELDS
from bench.daemon_polls import Clients, event_stream, recently_active
from bench.daemon_programs import Daemon, OurDaemon, Web, rpc
from bench.harness import HERE, MIB, machine, save, workspace
from bench.soak import make_torrents
from tests.support.torrents import make_torrent
from torrent_engine.codec.metainfo import Metainfo

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

STREAMS, POLLERS, PLAYERS = 20, 5, 3
FILM_MIB = 64
PLAYER_BYTES_PER_S = 4 * MIB
CHUNK = 256 * 1024
PROBE_S = 0.1
MAX_GROWTH = 0.05
MAX_LAG_MS = 50.0


def main() -> None:
    options = parse()
    about = machine()
    with workspace(options.dir) as folder, ExitStack() as stack:
        torrents = make_torrents(folder, options)
        port = stack.enter_context(seed_of(folder, options))
        daemon = stack.enter_context(CountedDaemon(folder / "ours", options.nice))
        film = add_film(folder, daemon)
        clients, watch = Clients(), Watch(daemon)
        stack.enter_context(clients.running(daemon, event_stream, STREAMS))
        stack.enter_context(clients.running(daemon, recently_active, POLLERS))
        play = Player(film)
        stack.enter_context(clients.running(daemon, play, PLAYERS))
        churn = Churn(daemon, torrents, {"host": "127.0.0.2", "port": port}, Random(options.seed))
        churn.fill()
        with watch.running():
            rests = list(soaked(churn, options))
    print("written:", save(options.name, judged(rests, churn, watch, about, options)))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--torrents", type=int, default=500)
    parser.add_argument("--kib", type=int, default=128, help="size of a torrent, on average")
    parser.add_argument("--mib-per-s", type=float, default=0.1, help="of the seed, a torrent")
    parser.add_argument("--changes-per-s", type=float, default=2)
    parser.add_argument("--look-s", type=float, default=20, help="between two looks at memory")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nice", type=int, default=0, help="of the daemon; below 0 as root")
    parser.add_argument("--dir", default="/dev/shm")
    parser.add_argument("--name", default="daemon_soak", help="of the file in results/")
    return parser.parse_args()


@contextmanager
def seed_of(folder: Path, options: argparse.Namespace) -> Iterator[int]:
    """Run a seed of all torrents; gives its port."""
    argv = ["-m", "bench.parties.soak_seed", str(folder), str(int(options.mib_per_s * MIB))]
    with subprocess.Popen(
        [sys.executable, *argv], stdout=subprocess.PIPE, text=True, cwd=HERE.parent
    ) as seed:
        try:
            assert seed.stdout is not None
            yield int(seed.stdout.readline().split()[1])
        finally:
            seed.terminate()
            seed.wait()


def add_film(folder: Path, daemon: Daemon) -> str:
    """Add a complete torrent; return the path under which it is streamed."""
    content = Random(0).randbytes(FILM_MIB * MIB)
    metainfo, _ = make_torrent(content, piece_bytes=MIB, name="film.mkv")
    (folder / "film").mkdir()
    (folder / "film" / "film.mkv").write_bytes(content)
    torrent = folder / "film" / "film.torrent"
    torrent.write_bytes(metainfo.source)
    daemon.add([torrent], folder / "film")
    daemon.wait_seeding(1)
    return f"/stream/{metainfo.info_hash.hex()}/0/film.mkv"


class CountedDaemon(OurDaemon):
    """Ours, with its count of tasks in a file."""

    def argv(self) -> list[str]:
        python, _, _, *rest = super().argv()
        return [python, "-m", "bench.parties.counted_daemon", str(self._counted), *rest]

    def inner_counts(self) -> dict[str, int]:
        """Return how many tasks and threads there are, and how many exceptions were logged."""
        threads = len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))
        exceptions = (self.folder / "log").read_bytes().count(b"Traceback (most recent")
        tasks = int(self._counted.read_text()) if self._counted.exists() else 0
        return {"tasks": tasks, "threads": threads, "exceptions": exceptions}

    @property
    def _counted(self) -> Path:
        return self.folder / "tasks"


class Player:
    """Reads a file at the rate of a film, over and over."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __call__(self, clients: Clients, daemon: Daemon) -> None:
        web = daemon.connect()
        while not clients.ended.is_set():
            answer = web.stream("GET", self._path)
            while data := answer.read(CHUNK):
                if clients.ended.wait(len(data) / PLAYER_BYTES_PER_S):
                    break
            answer.close()
        web.close()


class Churn:
    """Adds torrents, and removes others with their files."""

    def __init__(
        self, daemon: CountedDaemon, torrents: list[Metainfo], peer: dict[str, Any], random: Random
    ) -> None:
        self.added = self.removed = self.completed = 0
        self.daemon, self._peer, self._random = daemon, peer, random
        self._out = list(torrents)
        self._there: list[Metainfo] = []

    def fill(self) -> None:
        """Add all torrents but some."""
        while len(self._out) > len(self._there) // 10:
            self.add()

    def change(self) -> None:
        """Remove one torrent and add another."""
        one = self._there.pop(self._random.randrange(len(self._there)))
        path = f"/api/v1/torrents/{one.info_hash.hex()}"
        told = json.loads(self.daemon.web.ask("GET", path))
        self.completed += told["left_bytes"] == 0
        self.daemon.web.ask("DELETE", f"{path}?delete_files=true")
        self._out.append(one)
        self.removed += 1
        self.add()

    def add(self) -> None:
        one = self._out.pop(self._random.randrange(len(self._out)))
        source = {"torrent": base64.b64encode(one.source).decode()}
        body = json.dumps({"source": source, "peers": [self._peer]}).encode()
        self.daemon.web.ask("POST", "/api/v1/torrents", body)
        self._there.append(one)
        self.added += 1


def probe(port: int, fields: dict[str, str], ended: Event, waits_s: "Queue[list[float]]") -> None:
    """Ask for something small ten times a second, in a process of its own; note the waits."""
    web, found = Web(port, fields), list[float]()
    while not ended.wait(PROBE_S):
        begun = time.perf_counter()
        web.ask("GET", "/healthz")
        found.append(time.perf_counter() - begun)
    web.close()
    waits_s.put(found)


class Watch:
    """Knows how long small requests waited while it was running."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._waits_s: list[float] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        context = multiprocessing.get_context("spawn")
        ended, waits_s = context.Event(), context.Queue()
        arguments = (self._daemon.port, self._daemon.fields(), ended, waits_s)
        process = context.Process(target=probe, args=arguments)
        process.start()
        try:
            yield
        finally:
            ended.set()
            self._waits_s = sorted(waits_s.get())
            process.join()

    def percentile_ms(self, share: float) -> float:
        """Return how long that share of the requests waited at most."""
        place = min(int(len(self._waits_s) * share), len(self._waits_s) - 1)
        return self._waits_s[place] * 1e3


def soaked(churn: Churn, options: argparse.Namespace) -> Iterator[dict[str, float]]:
    """Change torrents for a while; yield what is seen of the daemon now and then."""
    begun_s = looked_s = time.monotonic()
    while time.monotonic() - begun_s < options.minutes * 60:
        churn.change()
        time.sleep(1 / options.changes_per_s)
        if time.monotonic() - looked_s >= options.look_s:
            looked_s = time.monotonic()
            yield look(churn, looked_s - begun_s)


def look(churn: Churn, seconds: float) -> dict[str, float]:
    daemon = churn.daemon
    call = rpc("torrent-get", fields=RPC_FIELDS)
    count = len(json.loads(daemon.web.ask("POST", RPC, call))["arguments"]["torrents"])
    found = {
        "seconds": round(seconds, 1),
        "mib": round(daemon.memory_mib(), 1),
        "cpu_s": round(daemon.cpu_s(), 1),
        "torrents": count,
        "changes": churn.removed,
        "descriptors": len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir())),
        **daemon.inner_counts(),
    }
    print(json.dumps(found), flush=True)
    return found


def judged(
    rests: list[dict[str, float]],
    churn: Churn,
    watch: Watch,
    about: dict[str, object],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Return the results: memory of the last quarter beside that of the second."""
    quarter = max(len(rests) // 4, 1)
    early = statistics.median(each["mib"] for each in rests[quarter : 2 * quarter] or rests)
    late = statistics.median(each["mib"] for each in rests[-quarter:])
    growth, lag_ms = late / early - 1, watch.percentile_ms(0.99)
    cpu = (rests[-1]["cpu_s"] - rests[0]["cpu_s"]) / (rests[-1]["seconds"] - rests[0]["seconds"])
    print(f"memory, second quarter to last: {early:.0f} to {late:.0f} MiB, {growth:+.1%}", end=" ")
    print("held" if abs(growth) <= MAX_GROWTH else "NOT held")
    print(f"a small request waited {watch.percentile_ms(0.5):.1f} ms, p99 {lag_ms:.1f} ms", end=" ")
    print("held" if lag_ms <= MAX_LAG_MS else "NOT held")
    print(f"{churn.removed} removed, {churn.completed} of them complete; {cpu:.0%} of a core")
    return {
        "what": "daemon_soak",
        "machine": about,
        "options": vars(options),
        "growth": round(growth, 4),
        "wait_ms": {str(each): round(watch.percentile_ms(each), 2) for each in (0.5, 0.9, 0.99, 1)},
        "cpu_share": round(cpu, 3),
        "removed": churn.removed,
        "completed": churn.completed,
        "looks": rests,
    }


if __name__ == "__main__":
    main()
