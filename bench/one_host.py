"""Many small torrents from one host: the time for all of them, by program.

A tracker names one seed for every torrent: libtorrent's, Transmission's or ours. The leeches are
programs as people start them: ``torrent-engine download``, libtorrent with its defaults, aria2c.
Two network namespaces are joined by a line with a delay: that takes root.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import bencodepy

from bench.harness import HERE, Party, free_port, machine, medians_of, save, workspace
from tests.support.netns import Host, namespaces
from tests.support.payload import Payload
from tests.support.shaper import LinkShape
from tests.support.transmission_client import TransmissionClient

KIB = 1024
PIECE_BYTES = 64 * KIB
SEED_ADDRESS, LEECH_ADDRESS = "10.79.0.1", "10.79.0.2"
PARTY = str(HERE / "parties" / "one_host_libtorrent.py")
OURS = [sys.executable, "-m", "torrent_engine"]
ALONE = ["--no-dht", "--no-lsd", "--no-port-mapping", "--no-color", "-q"]
READY_S = 60.0
FIGURES = ("seconds", "complete", "cpu_s")


@dataclass(frozen=True)
class Swarm:
    """The torrents of one run, their tracker and where its two hosts are."""

    folder: Path
    torrents: Sequence[Path]
    infos: Sequence[dict[bytes, object]]
    tracker_port: int
    seed: Host
    leech: Host

    @property
    def info_hashes(self) -> list[bytes]:
        return [hashlib.sha1(bencodepy.encode(info)).digest() for info in self.infos]

    @property
    def source(self) -> Path:
        return self.folder / "source"


def main() -> None:
    options = parse()
    about, rows = machine(), []
    for number in range(options.rounds):
        for count in map(int, options.counts.split(",")):
            for seed in options.seeds.split(","):
                with swarm(options, count) as there, SEEDS[seed](there):
                    wait_announced(there)
                    for leech in turned(options.leeches.split(","), number):
                        row = {"torrents": count, "seed": seed, "leech": leech}
                        row |= download(there, LEECHES[leech], options.timeout)
                        print(json.dumps(row), flush=True)
                        rows.append(row)
    medians = medians_of(rows, "{torrents} from {seed}, {leech}", FIGURES, digits=2)
    document = {
        "what": "one_host",
        "machine": about,
        "options": vars(options),
        "medians": medians,
        "rows": rows,
    }
    for name, figures in medians.items():
        print(f"{name:40}", "  ".join(f"{key} {value:g}" for key, value in figures.items()))
    if options.name:
        print("written:", save(options.name, document))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--counts", default="30,200", help="of torrents")
    parser.add_argument("--seeds", default="libtorrent,transmission,ours")
    parser.add_argument("--leeches", default="ours,libtorrent,aria2")
    parser.add_argument("--size-kib", type=int, default=256, help="of each torrent")
    parser.add_argument("--delay-ms", type=float, default=20.0, help="of the line, one way")
    parser.add_argument("--timeout", type=float, default=180.0)
    parser.add_argument("--name", help="of the file in results/; without it nothing is written")
    return parser.parse_args()


def turned(names: Sequence[str], number: int) -> Sequence[str]:
    shift = number % len(names)
    return (*names[shift:], *names[:shift])


# -- the hosts ----------------------------------------------------------------------------------


@contextmanager
def swarm(options: argparse.Namespace, count: int) -> Iterator[Swarm]:
    """Two hosts with a line between them, a tracker on the first, and the torrents."""
    shape = LinkShape(delay_s=options.delay_ms / 1000)
    with ExitStack() as stack:
        folder = stack.enter_context(workspace("/dev/shm"))
        seed, leech = stack.enter_context(namespaces())
        argv = [str(HERE / "parties" / "tun_line.py"), seed.namespace or "", leech.namespace or ""]
        stack.enter_context(Party([*argv, json.dumps(asdict(shape))])).wait_ready()
        port = free_port()
        address = ["--host", SEED_ADDRESS, "--port", str(port), "-q"]
        stack.enter_context(process([*OURS, "tracker", *address], seed, folder / "tracker.log"))
        torrents, infos = make_torrents(folder, count, options.size_kib * KIB, port)
        yield Swarm(folder, torrents, infos, port, seed, leech)


def make_torrents(
    folder: Path, count: int, size: int, tracker_port: int
) -> tuple[list[Path], list[dict[bytes, object]]]:
    source, torrents, infos = folder / "source", [], []
    source.mkdir()
    for number in range(count):
        payload = random.Random(number).randbytes(size)
        (source / f"file-{number}.bin").write_bytes(payload)
        pieces = [payload[at : at + PIECE_BYTES] for at in range(0, size, PIECE_BYTES)]
        info = {
            b"name": b"file-%d.bin" % number,
            b"piece length": PIECE_BYTES,
            b"pieces": b"".join(hashlib.sha1(piece).digest() for piece in pieces),
            b"length": size,
        }
        announce = f"http://{SEED_ADDRESS}:{tracker_port}/announce".encode()
        torrents.append(folder / f"{number}.torrent")
        torrents[-1].write_bytes(bencodepy.encode({b"announce": announce, b"info": info}))
        infos.append(info)
    return torrents, infos


@contextmanager
def process(argv: Sequence[str], host: Host, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        program = subprocess.Popen(
            host.command(argv), stdout=output, stderr=output, cwd=HERE.parent, env=environment()
        )
        try:
            yield program
        finally:
            program.send_signal(signal.SIGTERM)
            try:
                program.wait(10)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()


def environment() -> dict[str, str]:
    """Return ours, in which Python keeps its compiled modules, as it does for users."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def wait_announced(there: Swarm) -> None:
    """Wait until the tracker knows a seed of each torrent."""
    given_up_s = time.monotonic() + READY_S
    while not there.seed.call(lambda: all(is_seeded(there, each) for each in there.info_hashes)):
        if time.monotonic() > given_up_s:
            raise TimeoutError("the seed does not announce all torrents")
        time.sleep(0.3)


def is_seeded(there: Swarm, info_hash: bytes) -> bool:
    query = urllib.parse.quote_from_bytes(info_hash)
    url = f"http://{SEED_ADDRESS}:{there.tracker_port}/scrape?info_hash={query}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            files = bencodepy.decode(answer.read())[b"files"]
    except OSError:
        return False
    return bool(files.get(info_hash, {}).get(b"complete"))


# -- seeds --------------------------------------------------------------------------------------


@contextmanager
def libtorrent_seed(there: Swarm) -> Iterator[None]:
    argv = [sys.executable, PARTY, "seed", SEED_ADDRESS, str(there.source)]
    argv += map(str, there.torrents)
    with process(argv, there.seed, there.folder / "seed.log"):
        yield


@contextmanager
def our_seed(there: Swarm) -> Iterator[None]:
    argv = [*OURS, "seed", *ALONE, "--listen", SEED_ADDRESS, "--port", "0", "-d", str(there.source)]
    argv += ["--state-dir", str(there.folder / "seed-state"), *map(str, there.torrents)]
    with process(argv, there.seed, there.folder / "seed.log"):
        yield


@contextmanager
def transmission_seed(there: Swarm) -> Iterator[None]:
    folder = there.folder / "transmission"
    with TransmissionClient(
        there.seed, folder, port=free_port(), address=SEED_ADDRESS
    ) as transmission:
        for path, info in zip(there.torrents, there.infos, strict=True):
            payload = Payload(
                name=f"file-{path.stem}.bin",
                torrent=path,
                source_dir=there.source,
                files={},
                info=info,
                piece_bytes=PIECE_BYTES,
                total_bytes=0,
            )
            transmission.add(payload, there.source)
        yield


# -- leeches ------------------------------------------------------------------------------------


def our_leech(there: Swarm, target: Path) -> list[str]:
    where = ["--state-dir", str(target / "state"), "--port", "0", "--seed-time", "0"]
    return [*OURS, "download", *ALONE, *where, "-d", str(target), *map(str, there.torrents)]


def libtorrent_leech(there: Swarm, target: Path) -> list[str]:
    return [sys.executable, PARTY, "leech", LEECH_ADDRESS, str(target), *map(str, there.torrents)]


def aria2_leech(there: Swarm, target: Path) -> list[str]:
    options = ["--seed-time=0", "--enable-dht=false", "--bt-enable-lpd=false", "--quiet=true"]
    many = [f"--max-concurrent-downloads={len(there.torrents)}", f"--dir={target}", "--no-conf"]
    return ["aria2c", *options, *many, *map(str, there.torrents)]


def download(
    there: Swarm, command: Callable[[Swarm, Path], list[str]], timeout_s: float
) -> dict[str, Any]:
    """Download all; return the seconds, and how many are complete."""
    target = there.folder / "target"
    target.mkdir()
    try:
        began_s = time.monotonic()
        with process(command(there, target), there.leech, there.folder / "leech.log") as leech:
            cpu_s = 0.0
            while leech.poll() is None and time.monotonic() - began_s < timeout_s:
                time.sleep(0.02)
                cpu_s = cpu_seconds(leech.pid) or cpu_s
            seconds = time.monotonic() - began_s
        names = [path.name for path in there.source.iterdir()]
        complete = sum(is_same(there.source / name, target / name) for name in names)
        return {"seconds": round(seconds, 2), "complete": complete, "cpu_s": cpu_s}
    finally:
        shutil.rmtree(target)


def cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / 100


def is_same(one: Path, other: Path) -> bool:
    return other.exists() and one.read_bytes() == other.read_bytes()


SEEDS = {"libtorrent": libtorrent_seed, "transmission": transmission_seed, "ours": our_seed}
LEECHES = {"ours": our_leech, "libtorrent": libtorrent_leech, "aria2": aria2_leech}

if __name__ == "__main__":
    main()
