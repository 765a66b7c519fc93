"""One poisoner among four peers of a torrent: wasted bytes and bans of ours and of libtorrent.

Three honest seeds of libtorrent and one that spoils all or some of its blocks
(parties/poisoner.py), 10 MiB/s each; the leeches take turns. Aimed at: the poisoner is the only one
that is banned, and what is thrown away is at most twice what it sent.

bench/run one_poisoner
bench/run one_poisoner --lies 1.0 --format v1 --rounds 1
"""

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.harness import MIB, Torrent, machine, make_torrent, medians_of, save, workspace
from bench.hostile import HONEST_SEEDS, party

POISONER = "127.0.0.9"
LEECHES = {"ours": "our_hostile", "libtorrent": "libtorrent_poisoned"}
FIGURES = (
    "goodput_mib_per_s",
    "wasted_mib",
    "sent_mib",
    "bad_mib",
    "wasted_of_sent",
    "bans",
    "honest_bans",
)


def main() -> None:
    options = parse()
    about, rows = machine(), list[dict[str, Any]]()
    with workspace(options.dir) as folder, ExitStack() as stack:
        torrent = make_torrent(folder, options.size_mib, options.piece_kib, options.format)
        arguments = (torrent.path, torrent.payload.parent, int(options.mib_per_s * MIB))
        seeds = stack.enter_context(party("honest_seeds", *arguments, *HONEST_SEEDS))
        honest = list(zip(HONEST_SEEDS, map(int, seeds.ready()), strict=True))
        for number in range(options.rounds):
            for lies in options.lies.split(","):
                for leech in LEECHES:
                    figures = run(leech, float(lies), honest, torrent, folder, options)
                    rows.append({"round": number, "leech": leech, "lies": lies, **figures})
                    print(json.dumps(rows[-1]), flush=True)
    medians = medians_of(rows, "{leech}, lies {lies}", FIGURES, digits=2)
    for name, figures in medians.items():
        print(name, figures)
    document = {
        "what": "one poisoner",
        "machine": about,
        "options": vars(options),
        "medians": medians,
        "rows": rows,
    }
    print("written:", save(options.name, document))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lies", default="1.0,0.02", help="shares of its blocks that are spoiled")
    parser.add_argument("--size-mib", type=int, default=128)
    parser.add_argument("--piece-kib", type=int, default=4096)
    parser.add_argument("--format", choices=("v1", "v2", "hybrid"), default="v2")
    parser.add_argument("--mib-per-s", type=float, default=10.0, help="of each seed")
    parser.add_argument("--limit-s", type=float, default=120.0)
    parser.add_argument("--dir", default="/dev/shm", help="where the data lies")
    parser.add_argument("--name", default="one_poisoner", help="of the file in results/")
    return parser.parse_args()


def run(
    leech: str,
    lies: float,
    honest: list[tuple[str, int]],
    torrent: Torrent,
    folder: Path,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Download once, and return the figures of the leech and of the poisoner."""
    with workspace(str(folder)) as place, ExitStack() as stack:
        rate = int(options.mib_per_s * MIB)
        arguments = (torrent.path, torrent.payload, POISONER, rate, lies)
        poisoner = stack.enter_context(party("poisoner", *arguments))
        peers = [(POISONER, int(poisoner.ready()[0])), *honest]
        (place / "saved").mkdir()
        order = {
            "role": "leech",
            "torrent": str(torrent.path),
            "save_dir": str(place / "saved"),
            "state_dir": str(place / "state"),
            "honest": peers,
            "honest_hosts": list(HONEST_SEEDS),
            "upload_bytes_per_s": 0,
            "limit_s": options.limit_s,
        }
        process = stack.enter_context(party(LEECHES[leech], json.dumps(order)))
        process.ready()
        process.go()
        figures: dict[str, Any] = json.loads(process.line())
        poisoner.go()
        figures |= json.loads(poisoner.line())
    figures["wasted_of_sent"] = round(figures["wasted_mib"] / max(figures["sent_mib"], 0.01), 2)
    return figures


if __name__ == "__main__":
    main()
