"""One torrent over loopback: every leech with every seed, in turn, one process each."""

import argparse
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.harness import (
    HERE,
    Party,
    Torrent,
    free_port,
    machine,
    make_torrent,
    medians_of,
    print_pairs,
    save,
    workspace,
)

BASES = ("libtorrent", "libtorrent_defaults")
FIGURES = ("mib_per_s", "seconds", "cpu_s", "peak_rss_mib", "seed_cpu_s", "seed_peak_rss_mib")


def main() -> None:
    options = parse()
    rows: list[dict[str, object]] = []
    about = machine()
    with workspace(options.source_dir) as source, workspace(options.dir) as target:
        torrent = make_torrent(source, options.size_mib, options.piece_kib, options.format)
        for number in range(options.rounds):
            rows += run_round(number, options, torrent, target)
    document = {
        "what": "throughput",
        "machine": about,
        "options": {key: value for key, value in vars(options).items() if key != "extra"},
        "medians": medians(rows),
        "ratios": ratios(rows),
        "rows": rows,
    }
    print_pairs(document)
    print("written:", save(options.name or name_of(options), document))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size-mib", type=int, default=2048)
    parser.add_argument("--piece-kib", type=int, default=1024)
    parser.add_argument("--format", choices=("v1", "v2", "hybrid"), default="v1")
    parser.add_argument("--source-dir", default="/dev/shm", help="where the seeds' data lies")
    parser.add_argument("--dir", default="/dev/shm", help="where the leeches write")
    parser.add_argument("--seeds", default="ours,libtorrent")
    parser.add_argument("--leeches", default="ours,libtorrent")
    parser.add_argument(
        "--extra",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="a further party: a folder with NAME_seed.py and NAME_leech.py as in parties/",
    )
    parser.add_argument("--name", help="of the file in results/")
    return parser.parse_args()


def name_of(options: argparse.Namespace) -> str:
    disk = "" if options.dir == "/dev/shm" else "-disk"
    version = "" if options.format == "v1" else f"-{options.format}"
    return f"throughput-{options.size_mib}m-pieces-{options.piece_kib}k{version}{disk}"


def script(options: argparse.Namespace, party: str, role: str) -> str:
    folders = dict(text.split("=", 1) for text in options.extra)
    folder = Path(folders.get(party, HERE / "parties"))
    label = {"ours": "our"}.get(party, party)
    return str(folder / f"{label}_{role}.py")


def run_round(
    number: int, options: argparse.Namespace, torrent: Torrent, target: Path
) -> list[dict[str, object]]:
    """Run each pair once; who goes first changes from round to round."""
    rows = []
    for seed_name in turned(options.seeds.split(","), number):
        with running_seed(script(options, seed_name, "seed"), torrent) as (seed, port):
            for leech_name in turned(options.leeches.split(","), number):
                path = script(options, leech_name, "leech")
                figures = run_leech(path, seed, port, torrent, target)
                row = {"round": number, "seed": seed_name, "leech": leech_name, **figures}
                print(json.dumps(row), flush=True)
                rows.append(row)
    return rows


def turned(names: list[str], number: int) -> list[str]:
    shift = number % len(names)
    return names[shift:] + names[:shift]


@contextmanager
def running_seed(path: str, torrent: Torrent) -> Iterator[tuple[Party, int]]:
    port = free_port()
    with Party([path, str(port), str(torrent.path), str(torrent.payload.parent)]) as seed:
        seed.wait_ready()
        yield seed, port


def run_leech(
    path: str, seed: Party, port: int, torrent: Torrent, target: Path
) -> dict[str, float]:
    """Download once; return the leech's figures and what the seed used meanwhile."""
    save_dir = target / "saved"
    save_dir.mkdir()
    seed.reset_peak_rss()
    cpu_before = seed.cpu_s()
    try:
        with Party([path, str(port), str(torrent.path), str(save_dir)]) as leech:
            figures: dict[str, float] = json.loads(leech.line())
        figures["seed_cpu_s"] = round(seed.cpu_s() - cpu_before, 2)
        figures["seed_peak_rss_mib"] = round(seed.peak_rss_mib(), 1)
        saved = save_dir / torrent.payload.name
        if saved.stat().st_size != torrent.total_bytes:
            raise RuntimeError(f"{path} says complete, but the file is short")
    finally:
        shutil.rmtree(save_dir)
    return figures


def medians(rows: list[dict[str, object]]) -> dict[str, dict[str, float]]:
    return medians_of(rows, "{leech} leech from {seed} seed", FIGURES, digits=2)


def ratios(rows: list[dict[str, object]]) -> dict[str, float]:
    """Compare with libtorrent, tuned and as it comes: leeches from one seed, seeds by one leech."""
    speed = {
        tuple(pair.removesuffix(" seed").split(" leech from ")): figures["mib_per_s"]
        for pair, figures in medians(rows).items()
    }
    compared: dict[str, float] = {}
    for (leech, seed), value in speed.items():
        for base in BASES:
            if leech not in BASES and (base, seed) in speed:
                name = f"{leech} leech / {base} leech, from {seed} seed"
                compared[name] = round(value / speed[base, seed], 3)
            if seed not in BASES and leech in BASES and (leech, base) in speed:
                name = f"{leech} leech, from {seed} seed / {base} seed"
                compared[name] = round(value / speed[leech, base], 3)
    return compared


if __name__ == "__main__":
    main()
