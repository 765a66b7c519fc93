"""Many connections that download from one seed; the leeches neither hash nor store data."""

import argparse
import json
from typing import Any

from bench.harness import HERE, Party, Torrent, machine, make_torrent, median, save, workspace
from bench.throughput import BASES, running_seed, script, turned

FIGURES = ("mib_per_s", "seconds", "seed_cpu_s", "seed_peak_rss_mib", "cpu_s")


def main() -> None:
    options = parse()
    seeds = options.seeds.split(",")
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in seeds}
    about = machine()
    with workspace(options.source_dir) as folder:
        torrent = make_torrent(folder, options.size_mib, options.piece_kib)
        for number in range(options.rounds):
            for name in turned(seeds, number):
                figures = run(options, name, torrent)
                print(json.dumps({"round": number, "seed": name, **figures}), flush=True)
                rows[name].append(figures)
    medians = {
        name: {figure: round(median(rows[name], figure), 2) for figure in FIGURES} for name in seeds
    }
    document: dict[str, Any] = {
        "what": "many_peers",
        "machine": about,
        "options": {key: value for key, value in vars(options).items() if key != "extra"},
        "medians": medians,
        "ratios": ratios(medians),
        "rows": rows,
    }
    for name, figures in medians.items():
        print(
            f"{name:12} seed {figures['mib_per_s']:7.0f} MiB/s  {figures['seed_cpu_s']:6.2f} CPU s "
            f"{figures['seed_peak_rss_mib']:5.0f} MiB   (the leeches {figures['cpu_s']:.2f} CPU s)"
        )
    for name, value in document["ratios"].items():
        print(f"{value:6.2f} x  {name}")
    print("written:", save(options.name, document))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--each-mib", type=int, default=40)
    parser.add_argument("--size-mib", type=int, default=2048)
    parser.add_argument("--piece-kib", type=int, default=1024)
    parser.add_argument("--source-dir", default="/dev/shm")
    parser.add_argument("--seeds", default="ours,libtorrent")
    parser.add_argument("--extra", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--name", default="many_peers")
    return parser.parse_args()


def run(options: argparse.Namespace, name: str, torrent: Torrent) -> dict[str, float]:
    with running_seed(script(options, name, "seed"), torrent) as (seed, port):
        seed.reset_peak_rss()
        cpu_before = seed.cpu_s()
        arguments = (port, torrent.path, options.connections, options.each_mib)
        with Party([str(HERE / "parties" / "nohash_leech.py"), *map(str, arguments)]) as leeches:
            figures: dict[str, float] = json.loads(leeches.line())
        figures["seed_cpu_s"] = round(seed.cpu_s() - cpu_before, 2)
        figures["seed_peak_rss_mib"] = round(seed.peak_rss_mib(), 1)
    return figures


def ratios(medians: dict[str, dict[str, float]]) -> dict[str, float]:
    """Compare every seed with libtorrent's, tuned and as it comes, in speed and CPU seconds."""
    return {
        f"{name} seed / {base} seed, {figure}": round(figures[figure] / medians[base][figure], 3)
        for name, figures in medians.items()
        for base in BASES
        if name not in BASES and base in medians
        for figure in ("mib_per_s", "seed_cpu_s")
    }


if __name__ == "__main__":
    main()
