"""Thousands of idle torrents in one process: time to add and restore, memory, CPU at rest.

Started, without peers, each announced to one tracker (opentracker, in a process of its own). Ours
beside libtorrent, in turn; each stage is measured inside a process that does nothing else.

bench/run scale                       # 1,000 and 10,000 torrents, 3 rounds, about 25 minutes
bench/run scale --counts 100 --rounds 1 --rest-s 5 --settle-s 30      # a quick look
"""

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bencodepy

from bench.harness import HERE, MIB, Party, free_port, machine, medians_of, save, workspace

PARTIES = HERE / "parties"
SCRIPTS = {"ours": "our_idle.py", "libtorrent": "libtorrent_idle.py"}
PIECE_BYTES = 256 * 1024
FIGURES = (
    "add_s",
    "save_s",
    "restore_s",
    "kib_each_added",
    "kib_each",
    "kib_each_later",
    "kib_each_restored",
    "cpu_at_rest_percent",
    "announces_at_rest",
    "settle_s",
    "settle_cpu_s",
    "close_s",
)
BARS = {"add_s": 15.0, "restore_s": 5.0, "kib_each_later": 24.0, "cpu_at_rest_percent": 5.0}
BAR_COUNT = 10_000


def main() -> None:
    options = parse()
    about = machine()
    rows: list[dict[str, Any]] = []
    with workspace(options.dir) as folder:
        for count in map(int, options.counts.split(",")):
            place = Place(folder / str(count), count, options)
            for number in range(options.rounds):
                for party in turned(options.parties.split(","), number):
                    figures = run_party(party, place, options)
                    rows.append({"round": number, "party": party, "count": count, **figures})
                    print(json.dumps(rows[-1]), flush=True)
            shutil.rmtree(place.folder)
    document = {
        "what": "scale",
        "machine": about,
        "options": vars(options),
        "medians": medians_of(rows, "{party}, {count}", FIGURES, digits=3),
        "rows": rows,
    }
    print_table(document)
    print("written:", save(options.name, document))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", default="1000,10000", help="of torrents")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parties", default="ours,libtorrent")
    parser.add_argument("--pieces", type=int, default=256, help="of each torrent")
    parser.add_argument("--scheme", choices=["http", "udp"], default="http", help="of the tracker")
    parser.add_argument("--rest-s", type=float, default=60.0, help="watched at rest")
    parser.add_argument("--settle-s", type=float, default=600.0, help="at most, to first announces")
    parser.add_argument("--dir", default="/var/tmp", help="where the state lies")
    parser.add_argument("--name", default="scale", help="of the file in results/")
    return parser.parse_args()


def turned(names: list[str], number: int) -> list[str]:
    shift = number % len(names)
    return names[shift:] + names[:shift]


# -- torrents and their tracker -------------------------------------------------------------------


class Place:
    """The folder of one count of torrents, and the port of the tracker that they name."""

    def __init__(self, folder: Path, count: int, options: argparse.Namespace) -> None:
        self.folder, self.count, self.port = folder, count, free_port()
        torrents = folder / "torrents"
        torrents.mkdir(parents=True)
        url = f"{options.scheme}://127.0.0.1:{self.port}/announce"
        self.hashes = [make_torrent(torrents, n, options.pieces, url) for n in range(count)]

    def clear(self) -> None:
        """Remove what the party before left."""
        for name in ("our-state", "libtorrent-state", "saved", "tracker"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / "saved").mkdir()


def make_torrent(folder: Path, number: int, pieces: int, url: str) -> bytes:
    """Write one .torrent of a file that nobody has; return its info-hash."""
    info = {
        b"length": pieces * PIECE_BYTES - 1,
        b"name": b"an idle torrent, number %05d.bin" % number,
        b"piece length": PIECE_BYTES,
        b"pieces": random.Random(number).randbytes(20 * pieces),
    }
    data = bencodepy.encode({b"announce": url.encode(), b"info": info})
    (folder / f"{number:05}.torrent").write_bytes(data)
    return hashlib.sha1(bencodepy.encode(info)).digest()


@contextmanager
def opentracker(folder: Path, hashes: list[bytes], port: int) -> Iterator[None]:
    """Run one that knows no peer yet; Debian's serves only what is on its list."""
    program = shutil.which("opentracker", path="/usr/bin:/usr/sbin:/bin:/sbin")
    if program is None:
        raise SystemExit("opentracker is not installed")
    folder.mkdir()
    for above in (folder, folder.parent, folder.parent.parent):
        above.chmod(0o755)  # it reads its list as nobody
    (folder / "list").write_text("".join(f"{each.hex()}\n" for each in hashes))
    address = ["-i", "127.0.0.1", "-p", str(port), "-P", str(port)]
    process = subprocess.Popen(
        [program, *address, "-d", str(folder), "-w", "list"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(0.5)
        if process.poll() is not None:
            raise SystemExit("opentracker ended; it needs root for its list")
        yield
    finally:
        process.terminate()
        process.wait()


# -- one party ------------------------------------------------------------------------------------


def run_party(party: str, place: Place, options: argparse.Namespace) -> dict[str, float]:
    """Add all in one process, restore all in the next; return the figures of both."""
    place.clear()
    listens_at, count = free_port(), place.count  # one port: the tracker names us to ourselves
    with opentracker(place.folder / "tracker", place.hashes, place.port):
        added = run_stages(party, "add", place.folder, listens_at, options)
        restored = run_stages(party, "restore", place.folder, listens_at, options)
    for stage in (added["added"], restored["restored"]):
        if stage["count"] != count:
            raise RuntimeError(f"{party}: {stage['count']} of {count} torrents")
    empty_kib = added["empty"]["rss_kib"]  # one torrent is there, and was announced

    def kib_each(stage: dict[str, float]) -> float:
        return round((stage["rss_kib"] - empty_kib) / (count - 1), 2)

    rested = added["rested"]
    return {
        "add_s": added["added"]["seconds"],
        "save_s": added["saved"]["seconds"],
        "restore_s": restored["restored"]["seconds"],
        "kib_each_added": kib_each(added["added"]),
        "kib_each": kib_each(added["settled"]),
        "kib_each_later": kib_each(rested),
        "kib_each_restored": kib_each(restored["rested"]),
        "empty_mib": round(empty_kib * 1024 / MIB, 1),
        "cpu_at_rest_percent": round(100 * rested["cpu_s"] / rested["seconds"], 2),
        "cpu_at_rest_restored_percent": round(
            100 * restored["rested"]["cpu_s"] / restored["rested"]["seconds"], 2
        ),
        "announces_at_rest": rested["announces"],
        "announced": added["settled"]["announced"],
        "settle_s": added["settled"]["seconds"],
        "settle_cpu_s": added["settled"]["cpu_s"],
        "close_s": added["end"]["seconds"],
    }


def run_stages(
    party: str, mode: str, folder: Path, port: int, options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Run one process to its end; return the figures of each stage."""
    arguments = [mode, str(folder), str(port), str(options.rest_s), str(options.settle_s)]
    stages: dict[str, dict[str, float]] = {}
    with Party([str(PARTIES / SCRIPTS[party]), *arguments]) as process:
        while "end" not in stages:
            stage = json.loads(process.line())
            stages[stage.pop("stage")] = stage
    return stages


def print_table(document: dict[str, Any]) -> None:
    print()
    for label, each in document["medians"].items():
        print(
            f"{label:20} add {each['add_s']:7.2f} s (saved {each['save_s']:7.2f} s)  restore "
            f"{each['restore_s']:6.2f} s  {each['kib_each_later']:6.1f} KiB each "
            f"({each['kib_each_restored']:.1f} restored)  {each['cpu_at_rest_percent']:5.2f} % CPU"
        )
    ours = document["medians"].get(f"ours, {BAR_COUNT}", {})
    for figure, bar in BARS.items():
        if figure in ours:
            verdict = "held" if ours[figure] <= bar else "NOT held"
            print(f"{figure} <= {bar:g}: {ours[figure]:g}, {verdict}")


if __name__ == "__main__":
    main()
