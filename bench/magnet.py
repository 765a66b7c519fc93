"""Time from a magnet link to its metadata, first and last piece, ours beside libtorrent.

Of a torrent of v2 the hashes of pieces come besides: ours has them with the metadata, and the leech
``libtorrent_layers`` says when libtorrent has them.

One libtorrent seed on loopback, found in three ways: the link names it ("peer"); through a small
DHT that the leech enters while the clock runs ("dht"), or has entered before ("warm").
"""

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
    save,
    workspace,
)
from torrent_engine import Metainfo

PARTIES = HERE / "parties"
FIGURES = ("metadata_s", "layers_s", "first_piece_s", "complete_s", "cpu_s", "peak_rss_mib")
COMPARED = ("metadata_s", "layers_s", "first_piece_s", "complete_s")


def main() -> None:
    options = parse()
    about = machine()
    rows: list[dict[str, object]] = []
    with workspace(options.dir) as folder:
        torrent = make_torrent(folder, options.size_mib, options.piece_kib, options.format)
        with running_seed(options, torrent) as (port, router_port):
            for number in range(options.rounds):
                for way in options.ways.split(","):
                    for leech in turned(options.leeches.split(","), number):
                        target = folder / "saved"
                        link = link_of(torrent, port if way == "peer" else None)
                        figures = run_leech(leech, link, target, way, router_port, torrent)
                        rows.append({"round": number, "way": way, "leech": leech, **figures})
                        print(json.dumps(rows[-1]), flush=True)
    document = {
        "what": "magnet",
        "machine": about,
        "options": vars(options),
        "medians": medians(rows),
        "ratios": ratios(rows),
        "rows": rows,
    }
    print_table(document)
    print("written:", save(options.name, document))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size-mib", type=int, default=64)
    parser.add_argument("--piece-kib", type=int, default=64)
    parser.add_argument("--format", choices=("v1", "v2", "hybrid"), default="v1")
    parser.add_argument("--nodes", type=int, default=16, help="of the DHT, besides seed and leech")
    parser.add_argument("--ways", default="peer,dht,warm")
    parser.add_argument("--leeches", default="our,libtorrent,libtorrent_defaults")
    parser.add_argument("--dir", default="/dev/shm", help="where the data lies")
    parser.add_argument("--name", default="magnet", help="of the file in results/")
    return parser.parse_args()


@contextmanager
def running_seed(options: argparse.Namespace, torrent: Torrent) -> Iterator[tuple[int, int]]:
    """Run the DHT and the seed; give the seed's port and that of the DHT's router."""
    port, router_port = free_port(), free_port()
    nodes = [str(PARTIES / "dht_nodes.py"), str(router_port), str(options.nodes)]
    seed = [
        str(PARTIES / "libtorrent_dht_seed.py"),
        *(str(port), str(torrent.path), str(torrent.payload.parent), str(router_port)),
    ]
    with Party(nodes) as swarm:
        swarm.wait_ready()
        with Party(seed) as party:
            party.wait_ready()
            yield port, router_port


def turned(names: list[str], number: int) -> list[str]:
    shift = number % len(names)
    return names[shift:] + names[:shift]


def link_of(torrent: Torrent, port: int | None) -> str:
    metainfo = Metainfo.read(torrent.path)
    link = f"magnet:?xt=urn:btih:{metainfo.info_hash.hex()}"
    if metainfo.info_hash_v1 is None:
        link = f"magnet:?xt=urn:btmh:1220{metainfo.info_hash_v2}"
    return link if port is None else f"{link}&x.pe=127.0.0.1:{port}"


def run_leech(
    leech: str, link: str, target: Path, way: str, router_port: int, torrent: Torrent
) -> dict[str, float]:
    """Download once, into a folder of its own."""
    target.mkdir()
    script = str(PARTIES / f"{leech}_magnet.py")
    try:
        with Party([script, link, str(target), way, str(router_port)]) as party:
            figures: dict[str, float] = {"layers_s": float("nan"), **json.loads(party.line())}
        if (target / torrent.payload.name).stat().st_size != torrent.total_bytes:
            raise RuntimeError(f"{leech} says complete, but the file is short")
    finally:
        shutil.rmtree(target)
    return figures


def medians(rows: list[dict[str, object]]) -> dict[str, dict[str, float]]:
    return medians_of(rows, "{leech} by {way}", FIGURES, digits=4)


def ratios(rows: list[dict[str, object]]) -> dict[str, float]:
    """Compare our times with libtorrent's: below 1 we were sooner."""
    figures = medians(rows)
    ways = dict.fromkeys(str(row["way"]) for row in rows)
    others = dict.fromkeys(str(row["leech"]) for row in rows if row["leech"] != "our")
    return {
        f"our {figure} / {other} by {way}": round(
            figures[f"our by {way}"][figure] / figures[f"{other} by {way}"][figure], 3
        )
        for way in ways
        for other in others
        for figure in COMPARED
        if f"our by {way}" in figures and f"{other} by {way}" in figures
    }


def print_table(document: dict) -> None:
    print()
    for pair, figures in document["medians"].items():
        print(
            f"{pair:32} metadata {figures['metadata_s']:7.3f} s  layers "
            f"{figures['layers_s']:7.3f} s  first piece "
            f"{figures['first_piece_s']:7.3f} s  complete {figures['complete_s']:7.3f} s  "
            f"{figures['cpu_s']:5.2f} CPU s {figures['peak_rss_mib']:5.0f} MiB"
        )
    for name, value in document["ratios"].items():
        print(f"{value:6.2f} x  {name}")


if __name__ == "__main__":
    main()
