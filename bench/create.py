"""Creation of .torrent files: ours against mktorrent and torf, alternating, one process each.

python bench/create.py [--size-mib 2048] [--rounds 5] [--folder /dev/shm]
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from torrent_engine.codec.metainfo import Metainfo

PIECE_POWER = 20
OURS = """
import sys
from torrent_engine.disk.create.create import CreateOptions, create_torrent
data = create_torrent([sys.argv[1]], CreateOptions(threads=2, piece_bytes=1 << 20))
open(sys.argv[2], "wb").write(data)
"""
TORF = """
import sys, torf
torrent = torf.Torrent(sys.argv[1], piece_size=1 << 20)
torrent.generate(threads=2)
torrent.write(sys.argv[2])
"""


def commands(payload: Path, out: Path) -> dict[str, list[str]]:
    found = {
        "torrent_engine": [sys.executable, "-c", OURS, str(payload), str(out)],
        "torf": [sys.executable, "-c", TORF, str(payload), str(out)],
    }
    if program := shutil.which("mktorrent"):
        size = str(PIECE_POWER)
        found["mktorrent"] = [program, "-t", "2", "-l", size, "-d", "-o", str(out), str(payload)]
    return found


def run_once(command: list[str], out: Path) -> tuple[float, float, bytes]:
    """Return wall seconds, CPU seconds, and the piece hashes that were made."""
    out.unlink(missing_ok=True)
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    return wall, cpu, Metainfo.read(out).piece_hashes


def make_payload(path: Path, size_mib: int) -> None:
    with path.open("wb") as file:
        for _ in range(size_mib):
            file.write(os.urandom(1 << 20))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size-mib", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", default="/dev/shm")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        payload, out = Path(name, "payload"), Path(name, "out.torrent")
        make_payload(payload, options.size_mib)
        todo = commands(payload, out)
        walls: dict[str, list[float]] = {program: [] for program in todo}
        hashes = set()
        for number in range(options.rounds):
            for program, command in todo.items():
                wall, cpu, made = run_once(command, out)
                walls[program].append(wall)
                hashes.add(made)
                print(f"round {number + 1} {program:15} {wall:6.3f} s wall {cpu:6.3f} s CPU")
    assert len(hashes) == 1, "the programs do not agree on the piece hashes"
    ours = statistics.median(walls["torrent_engine"])
    for program, seconds in walls.items():
        median = statistics.median(seconds)
        rate, ratio = options.size_mib / median, median / ours
        print(f"median {program:15} {median:6.3f} s {rate:7.0f} MiB/s, ours is {ratio:.2f} x")


if __name__ == "__main__":
    main()
