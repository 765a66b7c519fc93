"""Creation of .torrent files: ours beside libtorrent, mktorrent and torf, alternating.

    bench/run create [--format v1|v2|hybrid] [--size-mib 2048] [--rounds 5] [--folder /dev/shm]

Every run is a process of its own. mktorrent and torf make v1 torrents only. libtorrent hashes with
one thread: its Python binding has no setting for more.
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
options = CreateOptions(threads=2, piece_bytes=1 << 20, format=sys.argv[3])
open(sys.argv[2], "wb").write(create_torrent([sys.argv[1]], options))
"""
LIBTORRENT = """
import os, sys
import libtorrent as lt
path, out, version = sys.argv[1:]
files = lt.file_storage()
files.add_file(os.path.basename(path), os.path.getsize(path))
made = lt.create_torrent
flags = {"v1": made.v1_only, "v2": made.v2_only, "hybrid": 0}[version]
torrent = lt.create_torrent(files, 1 << 20, flags)
lt.set_piece_hashes(torrent, os.path.dirname(path))
open(out, "wb").write(lt.bencode(torrent.generate()))
"""
TORF = """
import sys, torf
torrent = torf.Torrent(sys.argv[1], piece_size=1 << 20)
torrent.generate(threads=2)
torrent.write(sys.argv[2])
"""


def commands(payload: Path, out: Path, version: str) -> dict[str, list[str]]:
    """Return the command of each program that makes such torrents."""
    places = [str(payload), str(out)]
    found = {
        "torrent_engine": [sys.executable, "-c", OURS, *places, version],
        "libtorrent": [sys.executable, "-W", "ignore", "-c", LIBTORRENT, *places, version],
    }
    if version != "v1":
        return found
    found["torf"] = [sys.executable, "-c", TORF, *places]
    if program := shutil.which("mktorrent"):
        size = str(PIECE_POWER)
        found["mktorrent"] = [program, "-t", "2", "-l", size, "-d", "-o", str(out), str(payload)]
    return found


def run_once(command: list[str], out: Path) -> tuple[float, float, object]:
    """Return wall seconds, CPU seconds, and the hashes that were made."""
    out.unlink(missing_ok=True)
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    made = Metainfo.read(out)
    return wall, cpu, (made.piece_hashes, made.info_hash_v2)


def make_payload(path: Path, size_mib: int) -> None:
    with path.open("wb") as file:
        for _ in range(size_mib):
            file.write(os.urandom(1 << 20))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--format", choices=("v1", "v2", "hybrid"), default="v1")
    parser.add_argument("--size-mib", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", default="/dev/shm")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        payload, out = Path(name, "payload"), Path(name, "out.torrent")
        make_payload(payload, options.size_mib)
        todo = commands(payload, out, options.format)
        walls: dict[str, list[float]] = {program: [] for program in todo}
        used: dict[str, list[float]] = {program: [] for program in todo}
        hashes = set()
        for number in range(options.rounds):
            for program, command in todo.items():
                wall, cpu, made = run_once(command, out)
                walls[program].append(wall)
                used[program].append(cpu)
                hashes.add(made)
                print(f"round {number + 1} {program:15} {wall:6.3f} s wall {cpu:6.3f} s CPU")
    assert len(hashes) == 1, "the programs do not agree on the hashes"
    ours = statistics.median(walls["torrent_engine"])
    for program, seconds in walls.items():
        median = statistics.median(seconds)
        rate, ratio = options.size_mib / median, median / ours
        cpu = statistics.median(used[program])
        print(
            f"median {program:15} {median:6.3f} s {cpu:6.3f} CPU s {rate:7.0f} MiB/s {ratio:.2f} x"
        )


if __name__ == "__main__":
    main()
