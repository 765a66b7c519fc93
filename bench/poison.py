"""Effect of peers that send bad data, on virtual time: wasted bytes, wrong bans, goodput.

The engine's managers with simulated peers (tests/support/poison_swarm.py), so that a hundred runs
take a minute and repeat exactly. With real processes and sockets:
bench/run hostile --scenarios leech --attacks poison

bench/run poison
bench/run poison --runs 10
"""

import argparse
import random
import statistics
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bench.harness import MIB, machine, save
from tests.support.poison_swarm import Behaviour, PoisonSwarm

KIB = 1024
HONEST = Behaviour(10.0 * MIB)
LIAR = Behaviour(50.0 * MIB, lies=1.0)
WITHIN_S = 120.0


def crowd(liars: int, piece_kib: int, size_mib: int) -> Callable[[int], PoisonSwarm]:
    """25 peers of 0.2 to 4 MiB/s, of whom some spoil one block in fifty."""

    def make(seed: int) -> PoisonSwarm:
        rng = random.Random(seed)
        behaviours = [
            Behaviour(rng.uniform(0.2, 4) * MIB, lies=0.02 if number < liars else 0.0)
            for number in range(25)
        ]
        pieces = size_mib * KIB // piece_kib
        return PoisonSwarm(behaviours, pieces=pieces, piece_bytes=piece_kib * KIB, seed=seed)

    return make


def attacked(count: int, attack: Behaviour = LIAR) -> Callable[[int], PoisonSwarm]:
    """Three honest seeds of 10 MiB/s, and attackers of 50 MiB/s; our line has 200 MiB/s."""

    def make(seed: int) -> PoisonSwarm:
        behaviours = [replace(HONEST) for _ in range(3)] + [replace(attack) for _ in range(count)]
        return PoisonSwarm(behaviours, pieces=256, piece_bytes=MIB, seed=seed)

    return make


SCENES = {
    "25 peers, none lies, 256 KiB pieces, 64 MiB": crowd(0, 256, 64),
    "25 peers, 5 spoil 2 %, 256 KiB pieces, 64 MiB": crowd(5, 256, 64),
    "25 peers, 5 spoil 2 %, 1 MiB pieces, 256 MiB": crowd(5, 1024, 256),
    "3 seeds": attacked(0),
    "3 seeds, 50 liars": attacked(50),
    "3 seeds, 200 liars": attacked(200),
    "3 seeds, 50 liars that return": attacked(50, replace(LIAR, returns_after_s=0.5)),
    "3 seeds, 50 that spoil 2 %": attacked(50, replace(LIAR, lies=0.02)),
    "3 seeds, 200 silent": attacked(200, Behaviour(0.0, lies=1.0)),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100, help="of each crowd; of the rest a tenth")
    parser.add_argument("--name", default="poison", help="of the file in results/")
    options = parser.parse_args()
    about = machine()
    scenes = {}
    print(f"{'':46} MiB/s  wasted: median   most  honest bans  held MiB")
    for name, make in SCENES.items():
        runs = options.runs if name.startswith("25") else max(options.runs // 10, 1)
        scenes[name] = figures = measure([run(make(seed)) for seed in range(runs)])
        print(
            f"{name:46} {figures['mib_per_s']:5.1f} {figures['wasted_median']:15.1%} "
            f"{figures['wasted_most']:6.1%} {figures['honest_bans']:8} in {runs:3} "
            f"{figures['held_mib']:8.1f}",
            flush=True,
        )
    document = {"what": "poison", "machine": about, "options": vars(options), "scenes": scenes}
    print("written:", save(options.name, document))


def run(swarm: PoisonSwarm) -> dict[str, Any]:
    seconds = swarm.run(WITHIN_S)
    return {
        "mib_per_s": swarm.geometry.total_bytes / seconds / MIB,
        "wasted": swarm.wasted_share,
        "honest_bans": swarm.honest_bans,
        "held_mib": swarm.most_memory_bytes / MIB,
    }


def measure(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "runs": len(rows),
        "mib_per_s": round(statistics.median(row["mib_per_s"] for row in rows), 1),
        "wasted_median": round(statistics.median(row["wasted"] for row in rows), 4),
        "wasted_most": round(max(row["wasted"] for row in rows), 4),
        "honest_bans": sum(row["honest_bans"] for row in rows),
        "held_mib": round(max(row["held_mib"] for row in rows), 1),
    }


if __name__ == "__main__":
    main()
