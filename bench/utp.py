"""uTP: our pair beside libtorrent's pair, in turn: full speed, lossy links, beside TCP.

A pair is a seed and a leech of one kind, TCP switched off. ``fast``: over loopback and over a veth
pair. ``bad``: over lines of 20 Mbit/s that lose packets. ``tcp``: on such a line, alone and beside
a flow of TCP (cubic): its share of the line, and how long packets wait in the queue. The lines are
TUN devices in two network namespaces with a relay between them: that takes root.
"""

import argparse
import json
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.harness import (
    HERE,
    MIB,
    Party,
    Torrent,
    free_port,
    machine,
    make_torrent,
    medians_of,
    save,
    workspace,
)
from tests.support.netns import LOOPBACK, Host, namespaces
from tests.support.shaper import LinkShape

RATE = 20_000_000 / 8  # bytes a second
LINES = {
    "1 %, 50 ms": LinkShape(delay_s=0.025, loss=0.01, rate_bytes_per_s=RATE),
    "5 %, 100 ms": LinkShape(delay_s=0.05, loss=0.05, rate_bytes_per_s=RATE),
    "20 %, 300 ms, 5 % reordered": LinkShape(
        delay_s=0.15, loss=0.2, reorders=0.05, rate_bytes_per_s=RATE
    ),
}
TCP_LEAD_S = 3.0
WARM_UP_S = 5.0
NAMES = {"utp": "udp", "tcp": "tcp"}
FAST = ("mib_per_s", "leech_cpu_s_per_gib", "seed_cpu_s_per_gib")
BAD = ("mib_per_s", "share_of_rate", "seconds", "is_complete")
BESIDE = ("utp_share", "tcp_share", "queue_ms_mean", "queue_ms_p95", "queue_ms_max")


@dataclass(frozen=True)
class Place:
    """Where a seed and a leech are."""

    seed: Host
    leech: Host
    seed_address: str = "127.0.0.1"
    leech_address: str = "127.0.0.1"


def main() -> None:
    options = parse()
    about, rows = machine(), []
    with workspace("/dev/shm") as source, workspace("/dev/shm") as target:
        what = {"fast": fast, "bad": bad, "tcp": beside_tcp}[options.what]
        size_mib = options.size_mib or {"fast": 256, "bad": 16, "tcp": 256}[options.what]
        torrent = make_torrent(source, size_mib, 256)
        for number in range(options.rounds):
            for row in what(options, torrent, target, turned(options.pairs.split(","), number)):
                print(json.dumps(row), flush=True)
                rows.append(row)
    figures = {"fast": FAST, "bad": BAD, "tcp": BESIDE}[options.what]
    document: dict[str, Any] = {
        "what": f"utp-{options.what}",
        "machine": about,
        "options": vars(options),
        "medians": medians_of(rows, "{pair}, {where}", figures, digits=3),
        "rows": rows,
    }
    for name, medians in document["medians"].items():
        print(f"{name:45}", "  ".join(f"{key} {value:g}" for key, value in medians.items()))
    if options.name:
        print("written:", save(options.name, document))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--what", choices=["fast", "bad", "tcp"], default="fast")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size-mib", type=int, help="default: 256, for bad lines 16")
    parser.add_argument("--pairs", default="ours,libtorrent")
    parser.add_argument("--places", default="loopback,veth", help="of what is fast")
    parser.add_argument("--lines", default="0,1,2", help="which of the bad lines")
    parser.add_argument("--queue-kib", type=int, default=256, help="of the line beside TCP")
    parser.add_argument("--seconds", type=float, default=30.0, help="measured beside TCP")
    parser.add_argument("--timeout", type=float, default=300.0, help="of one transfer")
    parser.add_argument("--name", help="of the file in results/; without it nothing is written")
    return parser.parse_args()


def turned(names: Sequence[str], number: int) -> Sequence[str]:
    shift = number % len(names)
    return (*names[shift:], *names[:shift])


# -- as fast as it goes -----------------------------------------------------------------------


def fast(
    options: argparse.Namespace, torrent: Torrent, target: Path, pairs: Sequence[str]
) -> Iterator[dict[str, Any]]:
    for where in options.places.split(","):
        with place(where) as there:
            for pair in pairs:
                figures = transfer(pair, there, torrent, target, options.timeout)
                yield {"pair": pair, "where": where, **figures}


@contextmanager
def place(where: str) -> Iterator[Place]:
    if where == "loopback":
        yield Place(LOOPBACK, LOOPBACK)
        return
    with namespaces() as (left, right):
        yield Place(left, right, left.address(1), right.address(1))


@contextmanager
def running(pair: str, role: str, there: Place, *arguments: str) -> Iterator[Party]:
    """Run the seed or the leech of a pair, over uTP alone."""
    host = there.seed if role == "seed" else there.leech
    ours = there.seed_address if role == "seed" else there.leech_address
    env = {"BENCH_TRANSPORT": "utp", "BENCH_HOST": ours, "BENCH_SEED_HOST": there.seed_address}
    label = {"ours": "our"}.get(pair, pair)
    script = str(HERE / "parties" / f"{label}_{role}.py")
    with Party([script, *arguments], env, host.command([])) as party:
        yield party


@contextmanager
def seeding(pair: str, there: Place, torrent: Torrent) -> Iterator[tuple[Party, int]]:
    port = free_port()
    folder = str(torrent.payload.parent)
    with running(pair, "seed", there, str(port), str(torrent.path), folder) as seed:
        seed.wait_ready()
        yield seed, port


@contextmanager
def leeching(pair: str, there: Place, torrent: Torrent, port: int, target: Path) -> Iterator[Party]:
    folder = target / "saved"
    folder.mkdir()
    try:
        with running(pair, "leech", there, str(port), str(torrent.path), str(folder)) as leech:
            yield leech
    finally:
        shutil.rmtree(folder)


def transfer(
    pair: str, there: Place, torrent: Torrent, target: Path, timeout_s: float
) -> dict[str, Any]:
    """Download once, or for so long; return the speed, and what both used for each GiB."""
    with seeding(pair, there, torrent) as (seed, port):
        before_s, began_s = seed.cpu_s(), time.perf_counter()
        with leeching(pair, there, torrent, port, target) as leech:
            given_up = threading.Timer(timeout_s, leech.process.kill)
            given_up.start()
            try:
                figures = json.loads(leech.line())
            except RuntimeError:
                seconds = time.perf_counter() - began_s
                return {**dict.fromkeys(FAST, 0.0), "seconds": seconds, "is_complete": False}
            finally:
                given_up.cancel()
        gib = torrent.total_bytes / (1024 * MIB)
        return {
            "seconds": figures["seconds"],
            "mib_per_s": torrent.total_bytes / figures["seconds"] / MIB,
            "is_complete": True,
            "leech_cpu_s_per_gib": figures["cpu_s"] / gib,
            "seed_cpu_s_per_gib": (seed.cpu_s() - before_s) / gib,
        }


# -- bad lines --------------------------------------------------------------------------------


@contextmanager
def line(shape: LinkShape) -> Iterator[tuple[Place, Party]]:
    """Two namespaces with a bad line between them."""
    with namespaces() as (left, right):
        names = [host.namespace or "" for host in (left, right)]
        argv = [str(HERE / "parties" / "tun_line.py"), *names, json.dumps(asdict(shape))]
        with Party(argv) as relay:
            relay.wait_ready()
            yield Place(left, right, "10.79.0.1", "10.79.0.2"), relay


def bad(
    options: argparse.Namespace, torrent: Torrent, target: Path, pairs: Sequence[str]
) -> Iterator[dict[str, Any]]:
    for number in map(int, options.lines.split(",")):
        name, shape = list(LINES.items())[number]
        for pair in pairs:
            with line(shape) as (there, relay):
                figures = transfer(pair, there, torrent, target, options.timeout)
                if not figures["is_complete"]:  # what passed, with headers and what came twice
                    moved_bytes = relay_figures(relay)["udp_bytes"]
                    figures["mib_per_s"] = moved_bytes / figures["seconds"] / MIB
            share = figures["mib_per_s"] * MIB / RATE
            yield {"pair": pair, "where": name, "share_of_rate": share, **figures}


# -- beside TCP -------------------------------------------------------------------------------


def beside_tcp(
    options: argparse.Namespace, torrent: Torrent, target: Path, pairs: Sequence[str]
) -> Iterator[dict[str, Any]]:
    shape = LinkShape(delay_s=0.025, rate_bytes_per_s=RATE, queue_bytes=options.queue_kib * 1024)
    for pair in pairs:
        for with_tcp in (False, True):
            where = "beside TCP" if with_tcp else "alone"
            with line(shape) as (there, relay), ExitStack() as parties:
                if with_tcp:
                    tcp_flow(parties, there)
                    time.sleep(TCP_LEAD_S)
                _, port = parties.enter_context(seeding(pair, there, torrent))
                parties.enter_context(leeching(pair, there, torrent, port, target))
                time.sleep(WARM_UP_S)
                relay_figures(relay)
                time.sleep(options.seconds)
                figures = relay_figures(relay)
            yield {"pair": pair, "where": where, **figures, **shares(figures)}


def shares(figures: dict[str, float]) -> dict[str, float]:
    """Return which part of the line each had."""
    capacity = RATE * figures["seconds"]
    return {f"{kind}_share": figures[f"{of}_bytes"] / capacity for kind, of in NAMES.items()}


def tcp_flow(parties: ExitStack, there: Place) -> None:
    """Begin a flow of TCP from the seed's place to the leech's."""
    script, port = str(HERE / "parties" / "tcp_flow.py"), str(free_port())
    for role, host in (("receive", there.leech), ("send", there.seed)):
        argv = [script, role, there.leech_address, port]
        parties.enter_context(Party(argv, prefix=host.command([]))).wait_ready()


def relay_figures(relay: Party) -> dict[str, float]:
    relay.process.send_signal(signal.SIGUSR1)
    figures: dict[str, float] = json.loads(relay.line())
    return figures


if __name__ == "__main__":
    main()
