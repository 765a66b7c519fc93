"""One torrent over loopback, encrypted with RC4: our pair and libtorrent's pair, in turn.

Each leech has a seed of its own kind, for both ends pay. With --plain the same pairs also run
without encryption.
"""

import argparse
import json
import os
from pathlib import Path

from bench.harness import Torrent, machine, make_torrent, medians_of, print_pairs, save, workspace
from bench.throughput import FIGURES, run_leech, running_seed, script, turned

PAIRS = ["ours", "libtorrent"]


def main() -> None:
    options = parse()
    rows: list[dict[str, object]] = []
    about = machine()
    kinds = ["rc4", "plain"] if options.plain else ["rc4"]
    with workspace("/dev/shm") as source, workspace("/dev/shm") as target:
        torrent = make_torrent(source, options.size_mib, options.piece_kib)
        for number in range(options.rounds):
            for name in turned(PAIRS, number):
                rows += [run_pair(name, kind, torrent, target) for kind in kinds]
    document = {
        "what": "mse",
        "machine": about,
        "options": vars(options),
        "medians": medians_of(rows, "{pair} {kind}", FIGURES, digits=2),
        "ratios": ratios(rows, kinds),
        "rows": rows,
    }
    print_pairs(document)
    print("written:", save("mse", document))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size-mib", type=int, default=1024)
    parser.add_argument("--piece-kib", type=int, default=1024)
    parser.add_argument("--plain", action="store_true", help="without encryption as well")
    return parser.parse_args()


def run_pair(name: str, kind: str, torrent: Torrent, target: Path) -> dict[str, object]:
    """Run a seed and a leech of one kind; the parties read the environment."""
    os.environ["BENCH_MSE"] = str(int(kind == "rc4"))
    options = argparse.Namespace(extra=[])
    with running_seed(script(options, name, "seed"), torrent) as (seed, port):
        figures = run_leech(script(options, name, "leech"), seed, port, torrent, target)
    row = {"pair": name, "kind": kind, **figures}
    print(json.dumps(row), flush=True)
    return row


def ratios(rows: list[dict[str, object]], kinds: list[str]) -> dict[str, float]:
    speed = {
        name: figures["mib_per_s"]
        for name, figures in medians_of(rows, "{pair} {kind}", FIGURES, digits=2).items()
    }
    return {
        f"our pair / libtorrent's pair, {kind}": round(
            speed[f"ours {kind}"] / speed[f"libtorrent {kind}"], 3
        )
        for kind in kinds
    }


if __name__ == "__main__":
    main()
