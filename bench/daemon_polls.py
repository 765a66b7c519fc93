"""CPU of a daemon whose clients keep up with it: event streams and pollers, as front ends do.

Each daemon has the same small torrents, complete and started. ``at rest`` nothing happens to them;
with ``downloads`` a libtorrent seed feeds ours with some at 100 kB/s each, so that their numbers
change every second (Transmission takes no peers of 127/8). The clients are threads here.

bench/run daemon_polls                                  # 1,000 torrents, 3 rounds of 15 s
bench/run daemon_polls --torrents 100 --rounds 1 --seconds 5 --before-s 65     # a quick look
"""

import argparse
import base64
import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.daemon_lists import RPC, RPC_FIELDS
from bench.daemon_programs import PROGRAMS, Daemon, OurDaemon, Web, rpc, write_torrents
from bench.harness import HERE, MIB, machine, medians_of, save, workspace
from tests.support.torrents import make_torrent

ACTIVE = 5
ACTIVE_MIB = 64
BYTES_PER_S = 100_000
FIGURES = ("cpu_percent", "kib_per_s", "longest_ms")
Client = Callable[["Clients", Daemon], None]


class Clients:
    """Threads that ask a daemon until told to stop."""

    def __init__(self) -> None:
        self.read_bytes = 0
        self.longest_s = 0.0
        self.ended = threading.Event()

    @contextmanager
    def running(self, daemon: Daemon, client: Client, count: int) -> Iterator[None]:
        """Run some clients of one kind."""
        threads = [threading.Thread(target=client, args=(self, daemon)) for _ in range(count)]
        for thread in threads:
            thread.start()
            time.sleep(0.03)
        try:
            yield
        finally:
            self.ended.set()
            for thread in threads:
                thread.join()

    def poll(self, daemon: Daemon, ask: Callable[[Web], bytes], every_s: float) -> None:
        """Ask again and again."""
        web = daemon.connect()
        while not self.ended.wait(every_s):
            begun = time.perf_counter()
            self.read_bytes += len(ask(web))
            self.longest_s = max(self.longest_s, time.perf_counter() - begun)
        web.close()


def event_stream(clients: Clients, daemon: Daemon) -> None:
    """Read server-sent events."""
    lines = ["GET /api/v1/events HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in daemon.fields().items()]
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=0.5) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        while not clients.ended.is_set():
            with suppress(TimeoutError):
                clients.read_bytes += len(connection.recv(65_536))


def recently_active(clients: Clients, daemon: Daemon) -> None:
    """Ask once a second for what has changed, as Transmission's remotes do."""
    call = rpc("torrent-get", fields=RPC_FIELDS, ids="recently-active")
    clients.poll(daemon, lambda web: web.ask("POST", RPC, call), 1.0)


def whole_list(clients: Clients, daemon: Daemon) -> None:
    """Ask for all torrents every five seconds."""
    call = rpc("torrent-get", fields=RPC_FIELDS)
    clients.poll(daemon, lambda web: web.ask("POST", RPC, call), 5.0)


def maindata(clients: Clients, daemon: Daemon) -> None:
    """Ask every 1.5 seconds for what has changed, as qBittorrent's page does."""
    rid = 0

    def ask(web: Web) -> bytes:
        nonlocal rid
        data = web.ask("GET", f"/api/v2/sync/maindata?rid={rid}")
        rid = json.loads(data)["rid"]
        return data

    clients.poll(daemon, ask, 1.5)


KINDS: Mapping[str, tuple[Client, int, tuple[str, ...]]] = {
    "nobody": (recently_active, 0, ("ours", "transmission", "qbittorrent")),
    "20 event streams": (event_stream, 20, ("ours",)),
    "5 of recently-active, 1 s": (recently_active, 5, ("ours", "transmission")),
    "5 of the whole list by RPC, 5 s": (whole_list, 5, ("ours", "transmission")),
    "5 of maindata, 1.5 s": (maindata, 5, ("ours", "qbittorrent")),
}


def main() -> None:
    options = parse()
    about = machine()
    rows: list[dict[str, Any]] = []
    with workspace(options.dir) as folder, ExitStack() as stack:
        torrents = write_torrents(folder, options.torrents)
        daemons = [PROGRAMS[each](folder / each, options.nice) for each in PROGRAMS]
        for daemon in daemons:
            stack.enter_context(daemon)
            daemon.add(torrents, folder / "data")
            daemon.wait_seeding(len(torrents))
        time.sleep(options.before_s)
        for number in range(options.rounds):
            for daemon in daemons[number % 3 :] + daemons[: number % 3]:
                rows += measured(daemon, "at rest", number, options)
        ours = next(each for each in daemons if isinstance(each, OurDaemon))
        with downloads(folder, ours):
            for number in range(options.rounds):
                rows += measured(ours, f"{ACTIVE} downloads", number, options)
    medians = medians_of(rows, "{scene}; {clients}; {party}", FIGURES, digits=2)
    for name, row in sorted(medians.items()):
        print(
            f"{name:60} {row['cpu_percent']:6.2f} %  {row['kib_per_s']:8.1f} KiB/s  "
            f"{row['longest_ms']:7.1f} ms at most"
        )
    document = {"what": "daemon_polls", "machine": about, "options": vars(options)}
    print("written:", save(options.name, {**document, "medians": medians, "rows": rows}))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torrents", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each kind of clients")
    parser.add_argument("--before-s", type=float, default=80.0, help="until all torrents rest")
    parser.add_argument("--nice", type=int, default=0, help="of the daemons; below 0 as root")
    parser.add_argument("--dir", default="/dev/shm")
    parser.add_argument("--name", default="daemon_polls", help="of the file in results/")
    return parser.parse_args()


def measured(
    daemon: Daemon, scene: str, number: int, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Return the figures of all kinds of clients of a daemon."""
    rows = []
    for name, (client, count, labels) in KINDS.items():
        if daemon.label not in labels:
            continue
        daemon.drop_connection()
        clients = Clients()
        with clients.running(daemon, client, count):
            time.sleep(2.5)  # they have all that is there
            clients.read_bytes, clients.longest_s = 0, 0.0
            cpu_s, begun = daemon.cpu_s(), time.monotonic()
            time.sleep(options.seconds)
            took, cpu = time.monotonic() - begun, daemon.cpu_s() - cpu_s
            read = clients.read_bytes
        figures = {
            "cpu_percent": 100 * cpu / took,
            "kib_per_s": read / 1024 / took,
            "longest_ms": clients.longest_s * 1e3,
        }
        label = {"round": number, "scene": scene, "clients": name, "party": daemon.label}
        rows.append({**label, **figures})
        print(json.dumps(rows[-1]), flush=True)
    return rows


@contextmanager
def downloads(folder: Path, ours: Daemon) -> Iterator[None]:
    """Let some torrents be downloaded slowly."""
    payload, made = folder / "active" / "payload", []
    payload.mkdir(parents=True)
    for number in range(ACTIVE):
        content = random.Random(number).randbytes(ACTIVE_MIB * MIB)
        metainfo, _ = make_torrent(
            {f"{number}.bin": content}, piece_bytes=256 * 1024, name=f"active {number}"
        )
        for entry in metainfo.files:
            path = payload.joinpath(*entry.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        (folder / "active" / f"{number}.torrent").write_bytes(metainfo.source)
        made.append(metainfo)
    argv = ["-m", "bench.parties.soak_seed", str(folder / "active"), str(BYTES_PER_S)]
    with subprocess.Popen(
        [sys.executable, *argv], stdout=subprocess.PIPE, text=True, cwd=HERE.parent
    ) as seed:
        try:
            assert seed.stdout is not None
            peer = {"host": "127.0.0.2", "port": int(seed.stdout.readline().split()[1])}
            for each in made:
                source = {"torrent": base64.b64encode(each.source).decode()}
                body = json.dumps({"source": source, "peers": [peer]}).encode()
                ours.web.ask("POST", "/api/v1/torrents", body)
            time.sleep(5.0)
            yield
        finally:
            seed.terminate()
            seed.wait()


if __name__ == "__main__":
    main()
