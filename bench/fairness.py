"""Fair sharing of 500 connections among 20 torrents in one process, and event loop lag.

Our engine in one process, light peers (parties/light_peers.py) in another. "download": seeds of
zeros, 25 for each torrent, and many more for the first ("crowd"), which must not take the places of
the others. "upload": 25 leeches for each of our torrents.

bench/run fairness
bench/run fairness --rounds 1 --size-mib 8 --seconds 5       # a quick look
"""

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bencodepy

from bench.harness import HERE, MIB, Party, free_port, machine, medians_of, save, workspace

PARTIES = HERE / "parties"
PIECE_BYTES = 256 * 1024
CONNECTIONS = 500
FIGURES = (
    "connections",
    "connections_min",
    "connections_max",
    "mib_per_s",
    "cpu_s",
    "min_mib",
    "median_mib",
    "min_over_median",
    "lag_p50_ms",
    "lag_p99_ms",
    "lag_max_ms",
    "turn_cpu_p99_ms",
    "peak_rss_mib",
)
BARS = {"lag_p99_ms": 50.0}


def main() -> None:
    options = parse()
    about = machine()
    rows: list[dict[str, Any]] = []
    for number in range(options.rounds):
        for role in options.roles.split(","):
            with workspace(options.dir) as folder:
                figures = run(role, folder, options)
            rows.append({"round": number, "role": role, **figures})
            print(json.dumps(rows[-1]), flush=True)
    document = {
        "what": "fairness",
        "machine": about,
        "options": vars(options),
        "medians": medians_of(rows, "{role}", FIGURES, digits=3),
        "rows": rows,
    }
    print_table(document)
    print("written:", save(options.name, document))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--roles", default="download,crowd,upload")
    parser.add_argument("--torrents", type=int, default=20)
    parser.add_argument("--peers", type=int, default=25, help="of each torrent")
    parser.add_argument("--crowd", type=int, default=200, help="of the first one, in that role")
    parser.add_argument("--size-mib", type=int, default=128, help="of each torrent")
    parser.add_argument("--seconds", type=float, default=20.0, help="watched, at most")
    parser.add_argument("--dir", default="/dev/shm", help="where the data lies")
    parser.add_argument("--name", default="fairness", help="of the file in results/")
    return parser.parse_args()


def make_torrents(folder: Path, options: argparse.Namespace) -> list[str]:
    """Write torrents of zeros, and their files, which take no room; return their info-hashes."""
    (folder / "torrents").mkdir()
    (folder / "saved").mkdir()
    total_bytes = options.size_mib * MIB
    digests = hashlib.sha1(bytes(PIECE_BYTES)).digest() * (total_bytes // PIECE_BYTES)
    hashes = []
    for number in range(options.torrents):
        info = {
            b"length": total_bytes,
            b"name": b"%02d.bin" % number,
            b"piece length": PIECE_BYTES,
            b"pieces": digests,
        }
        (folder / "torrents" / f"{number:02}.torrent").write_bytes(
            bencodepy.encode({b"info": info})
        )
        hashes.append(hashlib.sha1(bencodepy.encode(info)).hexdigest())
    return hashes


def run(role: str, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Run one transfer of all torrents; return the figures of our process."""
    hashes = make_torrents(folder, options)
    if role == "upload":
        return run_upload(folder, hashes, options)
    port = free_port()
    counts = [options.peers] * options.torrents
    if role == "crowd":
        counts[0] = options.crowd
    peers = {
        f"{number:02}": [[f"127.1.{number}.{host}", port] for host in range(1, count + 1)]
        for number, count in enumerate(counts)
    }
    with Party(light_peers("seeds", port, options)) as seeds:
        seeds.wait_ready()
        order = {
            "peers_pid": seeds.process.pid,
            "connections": min(sum(counts), CONNECTIONS),
            "enough_bytes": options.torrents * options.size_mib * MIB // 2,
        }
        with ours("download", folder, free_port(), order, peers, options) as process:
            return ask(process)


def run_upload(folder: Path, hashes: list[str], options: argparse.Namespace) -> dict[str, float]:
    for number in range(options.torrents):
        with (folder / "saved" / f"{number:02}.bin").open("wb") as file:
            file.truncate(options.size_mib * MIB)
    port = free_port()
    torrents = [f"{each}:127.1.{number}" for number, each in enumerate(hashes)]
    order = {
        "connections": min(options.torrents * options.peers, CONNECTIONS),
        "enough_bytes": 1 << 50,
    }
    with (
        ours("upload", folder, port, order, {}, options) as process,
        Party(light_peers("leeches", port, options) + torrents) as leeches,
    ):
        leeches.wait_ready()
        return ask(process)


def light_peers(role: str, port: int, options: argparse.Namespace) -> list[str]:
    pieces = options.size_mib * MIB // PIECE_BYTES
    numbers = (options.peers, port, pieces, PIECE_BYTES)
    return [str(PARTIES / "light_peers.py"), role, *map(str, numbers)]


@contextmanager
def ours(
    role: str,
    folder: Path,
    port: int,
    order: dict[str, int],
    peers: dict[str, list[list[str | int]]],
    options: argparse.Namespace,
) -> Iterator[subprocess.Popen[str]]:
    """Start our process, and wait until all torrents run."""
    (folder / "order.json").write_text(json.dumps(order))
    (folder / "peers.json").write_text(json.dumps(peers))
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "bench.parties.our_fair", role),
            *(str(folder), str(port), str(options.seconds)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=HERE.parent,
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"our process ended with {process.wait()}")
        yield process
    finally:
        process.terminate()
        process.wait()


def ask(process: subprocess.Popen[str]) -> dict[str, float]:
    """Let our process begin; return what it says at the end."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    figures: dict[str, float] = json.loads(process.stdout.readline())
    return figures


def print_table(document: dict[str, Any]) -> None:
    print()
    for role, each in document["medians"].items():
        print(
            f"{role:10} {each['connections']:4.0f} connections ({each['connections_min']:.0f} of "
            f"the poorest)  {each['mib_per_s']:6.0f} MiB/s  least/median bytes "
            f"{each['min_over_median']:5.2f}  lag p99 {each['lag_p99_ms']:6.1f} ms"
        )
        for figure, bar in BARS.items():
            verdict = "held" if each[figure] <= bar else "NOT held"
            print(f"{'':10} {figure} <= {bar:g}: {each[figure]:g}, {verdict}")


if __name__ == "__main__":
    main()
