"""Soak: 200 torrents added, paused, resumed, moved, rechecked, removed at random, for an hour.

One TorrentManager as it comes from the package, and one libtorrent session as the seed of all. At
the end of each round all torrents are removed and what is left is measured.

bench/run soak --minutes 60
bench/run soak --minutes 2 --round-s 15 --torrents 40       # a quick look
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from random import Random

import anyio

from bench.harness import HERE, machine, save
from tests.support.soak import Rest, Soak, Soaked, complaints, slope_mib_per_h
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import DhtConfig, LsdConfig, ManagerConfig, SharedConfig
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.manager.torrent_manager import TorrentManager

MIB = 1024 * 1024
MAX_SLOPE = 1.0
QUIET_S = 5.0
"""Before each measurement: memory is given back some seconds after the last peer is gone."""
FLAT = {"tasks": 0, "threads": 8, "descriptors": 2}
"""Worker threads are kept for ten seconds after their last work: their number goes to and fro."""


def main() -> None:
    options = parse()
    about = machine()
    with tempfile.TemporaryDirectory(dir=options.dir, prefix="torrent-engine-soak-") as folder:
        torrents = make_torrents(Path(folder), options)
        rate = int(options.mib_per_s * MIB)
        seed = subprocess.Popen(
            [sys.executable, "-m", "bench.parties.soak_seed", folder, str(rate)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE.parent,
        )
        try:
            assert seed.stdout is not None
            port = int(seed.stdout.readline().split()[1])
            soaked = anyio.run(
                soak, Path(folder), torrents, port, options, backend_options={"use_uvloop": True}
            )
        finally:
            seed.terminate()
            seed.wait()
    print("written:", save(options.name, judged(soaked, about, options)))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--round-s", type=float, default=60)
    parser.add_argument("--warm-up", type=float, default=0.25, help="part of all rounds")
    parser.add_argument("--operations-per-s", type=float, default=5, help="at most")
    parser.add_argument("--torrents", type=int, default=200)
    parser.add_argument("--kib", type=int, default=512, help="size of a torrent, on average")
    parser.add_argument("--mib-per-s", type=float, default=1, help="of the seed, a torrent")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dir", default="/dev/shm")
    parser.add_argument("--name", default="soak", help="of the file in results/")
    return parser.parse_args()


def make_torrents(folder: Path, options: argparse.Namespace) -> list[Metainfo]:
    random, torrents = Random(options.seed), []
    for number in range(options.torrents):
        files = {
            f"{index}/x": payload_of(random.randrange(1, options.kib * 512), number * 8 + index)
            for index in range(4)
        }
        metainfo, payload = make_torrent(files, piece_bytes=32 * 1024, name=f"torrent {number}")
        (folder / f"{number:03}.torrent").write_bytes(metainfo.source)
        for entry in metainfo.files:
            path = (folder / "payload").joinpath(*entry.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(payload[entry.offset_bytes : entry.offset_bytes + entry.length_bytes])
        torrents.append(metainfo)
    return torrents


async def soak(
    folder: Path, torrents: list[Metainfo], port: int, options: argparse.Namespace
) -> Soaked:
    shared = SharedConfig(
        listen_port=0,
        listen_hosts=("127.0.0.1",),
        state_dir=str(folder / "state"),
        dht=DhtConfig(enabled=False),
        lsd=LsdConfig(enabled=False),
    )
    places = [folder / "one", folder / "two", folder / "three"]
    until_s = time.monotonic() + options.minutes * 60
    async with TorrentManager(ManagerConfig(shared=shared, save_path=str(places[0]))) as manager:
        peer = ("127.0.0.2", port)
        rate = options.operations_per_s
        random = Random(options.seed)
        soak = Soak(manager, torrents, places, peer, random, operations_per_s=rate, quiet_s=QUIET_S)
        with complaints(soak.soaked):
            while time.monotonic() < until_s:
                rest = await soak.round(min(options.round_s, until_s - time.monotonic()))
                print(json.dumps(asdict(rest)), len(soak.soaked.logged), flush=True)
    return soak.soaked


def judged(soaked: Soaked, about: dict, options: argparse.Namespace) -> dict:
    rests = soaked.rests[int(len(soaked.rests) * options.warm_up) :]
    slope = slope_mib_per_h(rests)
    print(f"\n{sum(soaked.done.values())} operations {dict(soaked.done)}")
    print(f"refused {dict(soaked.refused)}")
    print(f"complete when they were removed: {soaked.completed}; most at once: ", end="")
    print(soaked.most_torrents)
    for what, value, held in (
        ("RSS slope, MiB/h, <= 1", slope, slope <= MAX_SLOPE),
        *(
            (f"{name}, most - first, <= {most}", spread(rests, name), spread(rests, name) <= most)
            for name, most in FLAT.items()
        ),
        ("errors in the log", len(soaked.logged), not soaked.logged),
    ):
        print(f"{what:28} {value:8.2f}  {'held' if held else 'NOT held'}")
    return {
        "what": "soak",
        "machine": about,
        "options": vars(options),
        "rss_slope_mib_per_h": round(slope, 2),
        "done": soaked.done,
        "refused": soaked.refused,
        "completed": soaked.completed,
        "most_torrents": soaked.most_torrents,
        "logged": soaked.logged[:50],
        "rests": [asdict(each) for each in soaked.rests],
    }


def spread(rests: list[Rest], name: str) -> int:
    values = [getattr(each, name) for each in rests]
    return max(values) - values[0] if values else 0


if __name__ == "__main__":
    main()
