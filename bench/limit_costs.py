"""Effect of a rate limit in one direction on the other one, for whole programs in the same run.

``one seed``: a download from one seed with a limit of uploads, which nobody asks for. ``exchange``:
two peers have a half of the torrent each, so that what we ask for and what we give share a
connection. ``seeding``: a seed with a limit of downloads, of which it has none. Times are from the
start of the program that downloads to its last piece. Two network namespaces: that takes root.
"""

import argparse
import hashlib
import json
import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bencodepy

from bench.harness import HERE, MIB, free_port, machine, medians_of, save, workspace
from bench.one_host import OURS, process
from tests.support.netns import Host, namespaces

PARTY = str(HERE / "parties" / "limit_costs_libtorrent.py")
PIECE_BYTES = 256 * 1024
SCENES = {"one seed": "up", "exchange": "up", "seeding": "down"}
ALONE = ["--no-dht", "--no-lsd", "--no-port-mapping", "--no-color", "-q", "--no-resume"]


@dataclass(frozen=True)
class Scene:
    """The two hosts and the torrent."""

    folder: Path
    here: Host
    there: Host
    payload: bytes
    info: dict[bytes, Any]
    announce: bytes
    torrent: Path

    def rename_torrent(self, run: int) -> None:
        """Write the torrent with another info-hash: the tracker lists nobody of an earlier run."""
        info = {**self.info, b"x-run": run}
        self.torrent.write_bytes(bencodepy.encode({b"announce": self.announce, b"info": info}))


@dataclass(frozen=True)
class Limited:
    """The program under test: its kind, its limits in bytes per second, its port."""

    kind: str
    down: int
    up: int
    port: int


def main() -> None:
    options = parse()
    about, rows = machine(), []
    with scene(options.size_mib) as where:
        for number in range(options.rounds):
            for name in options.scenes.split(","):
                for kind in turned(options.programs.split(","), number):
                    for rate in [0, *map(int, options.rates.split(","))]:
                        row = {"scene": name, "program": kind, "rate": rate}
                        where.rename_torrent(len(rows))
                        row["seconds"] = run(where, name, kind, rate, options.timeout)
                        print(json.dumps(row), flush=True)
                        rows.append(row)
    medians = medians_of(rows, "{scene}, {program}, {rate}", ["seconds"], digits=2)
    document = {
        "what": "limit_costs",
        "machine": about,
        "options": vars(options),
        "medians": medians,
        "rows": rows,
    }
    for name, figures in medians.items():
        free = medians[f"{name.rpartition(',')[0]}, 0"]["seconds"]
        cost = 1 - free / figures["seconds"]
        print(f"{name:40} {figures['seconds']:7.2f} s  costs {cost:.0%}")
    if options.name:
        print("written:", save(options.name, document))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scenes", default=",".join(SCENES))
    parser.add_argument("--programs", default="ours,libtorrent,aria2")
    parser.add_argument("--rates", default="1024,20480", help="limits, in bytes per second")
    parser.add_argument("--size-mib", type=int, default=128)
    parser.add_argument("--timeout", type=float, default=90.0)
    parser.add_argument("--name", help="of the file in results/; without it nothing is written")
    return parser.parse_args()


def turned(names: Sequence[str], number: int) -> Sequence[str]:
    shift = number % len(names)
    return (*names[shift:], *names[:shift])


@contextmanager
def scene(size_mib: int) -> Iterator[Scene]:
    with workspace("/dev/shm") as folder, namespaces() as (here, there):
        payload = random.Random(size_mib).randbytes(size_mib * MIB)
        pieces = (payload[at : at + PIECE_BYTES] for at in range(0, len(payload), PIECE_BYTES))
        port = free_port()
        tracker = [*OURS, "tracker", "--host", there.address(1), "--port", str(port), "-q"]
        info = {
            b"name": b"payload.bin",
            b"piece length": PIECE_BYTES,
            b"pieces": b"".join(hashlib.sha1(piece).digest() for piece in pieces),
            b"length": len(payload),
        }
        announce = f"http://{there.address(1)}:{port}/announce".encode()
        torrent = folder / "payload.torrent"
        with process(tracker, there, folder / "tracker.log"):
            time.sleep(3)  # who announces too early asks again much later
            yield Scene(folder, here, there, payload, info, announce, torrent)


def run(where: Scene, name: str, kind: str, rate: int, timeout_s: float) -> float:
    """Return the seconds until who downloads is complete, or the time that it was given."""
    half = len(where.payload) // 2
    up, down = (rate, 0) if SCENES[name] == "up" else (0, rate)
    limited = Limited(kind, down, up, free_port())
    with ExitStack() as stack:
        if name == "one seed":
            stack.enter_context(other(where, where.payload))
            ours = stack.enter_context(program(where, limited, b""))
            return until_ended(ours, timeout_s)
        if name == "exchange":
            stack.enter_context(other(where, where.payload[:half]))
            ours = stack.enter_context(program(where, limited, bytes(half) + where.payload[half:]))
            return until_ended(ours, timeout_s)
        stack.enter_context(program(where, limited, where.payload))
        time.sleep(4)
        return until_ended(stack.enter_context(other(where, b"", ends=True)), timeout_s)


def until_ended(program: Any, timeout_s: float) -> float:
    began_s = time.monotonic()
    while program.poll() is None and time.monotonic() - began_s < timeout_s:
        time.sleep(0.01)
    return round(time.monotonic() - began_s, 2)


@contextmanager
def folder_with(where: Scene, name: str, content: bytes) -> Iterator[Path]:
    folder = where.folder / name
    folder.mkdir()
    try:
        if content:
            (folder / "payload.bin").write_bytes(content)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def other(where: Scene, content: bytes, *, ends: bool = False) -> Iterator[Any]:
    """Run libtorrent without limits at the other host; it announces itself first."""
    with folder_with(where, "other", content) as folder:
        argv = [sys.executable, PARTY, where.there.address(2), "0", str(folder)]
        argv += [str(where.torrent), "0", "0", "ends" if ends else "stays"]
        with process(argv, where.there, where.folder / "other.log") as running:
            if not ends:
                time.sleep(3)
            yield running


@contextmanager
def program(where: Scene, limited: Limited, content: bytes) -> Iterator[Any]:
    stays = len(content) == len(where.payload) and content == where.payload
    with folder_with(where, "limited", content) as folder:
        argv = COMMANDS[limited.kind](where, limited, folder, stays=stays)
        with process(argv, where.here, where.folder / "limited.log") as running:
            yield running


def our_command(where: Scene, limited: Limited, folder: Path, *, stays: bool) -> list[str]:
    limits = ["--max-download-limit", str(limited.down), "--max-upload-limit", str(limited.up)]
    place = ["-d", str(folder), "--state-dir", str(folder / "state"), "--port", str(limited.port)]
    command = ["seed"] if stays else ["download", "--seed-time", "0", "--overwrite"]
    return [*OURS, *command, *ALONE, *limits, *place, str(where.torrent)]


def libtorrent_command(where: Scene, limited: Limited, folder: Path, *, stays: bool) -> list[str]:
    place = [where.here.address(1), str(limited.port), str(folder), str(where.torrent)]
    limits = [str(limited.down), str(limited.up)]
    return [sys.executable, PARTY, *place, *limits, "stays" if stays else "ends"]


def aria2_command(where: Scene, limited: Limited, folder: Path, *, stays: bool) -> list[str]:
    limits = [f"--max-overall-download-limit={limited.down}"]
    limits += [f"--max-overall-upload-limit={limited.up}"]
    place = [f"--dir={folder}", f"--listen-port={limited.port}", "--no-conf", "--quiet=true"]
    alone = ["--enable-dht=false", "--bt-enable-lpd=false"]
    found = ["--check-integrity=true", "--allow-overwrite=true"]
    seeding = "--seed-time=60" if stays else "--seed-time=0"
    return ["aria2c", *limits, *place, *alone, *found, seeding, str(where.torrent)]


COMMANDS = {"ours": our_command, "libtorrent": libtorrent_command, "aria2": aria2_command}

if __name__ == "__main__":
    main()
