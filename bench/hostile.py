"""Hostile peers: our leech or seed among honest peers only, and with 200 attackers as well.

A clean run and an attacked one take turns. "leech": three honest seeds of libtorrent, 10 MiB/s
each. "seed": one honest leech of libtorrent at our seed with a limit of 30 MiB/s. Every attacker is
a process of its own (parties/attackers.py), of lower priority, so that a machine of few cores is
not what is measured.

bench/run hostile
bench/run hostile --scenarios leech --attacks interested-flood --attackers 1 --rounds 1
bench/run hostile --scenarios seed --attacks readers,churn --one-address
bench/run hostile --list
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import bencodepy

from bench.harness import HERE, MIB, Torrent, machine, make_torrent, medians_of, save, workspace
from bench.parties.attackers import ATTACKS, GROUPS

PARTIES = HERE / "parties"
MIXES = {
    "leech": "silent,garbage,floods,loris,poison,connects,utp",
    "seed": "readers,request-floods,interested-flood,interested-toggle,trickle,churn,connects,utp",
}
HONEST_SEEDS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
HONEST_LEECH = "127.0.0.5"
ONE_ADDRESS = "127.66.6.6"
PATIENCE_S = 30.0
FIGURES = (
    "goodput_mib_per_s",
    "wasted_mib",
    "cpu_s",
    "lag_p50_ms",
    "lag_p99_ms",
    "lag_max_ms",
    "turn_cpu_p99_ms",
    "rss_growth_mib",
    "bans",
    "honest_bans",
)


def main() -> None:
    options = parse()
    if options.list:
        for group, names in GROUPS.items():
            print(f"{group}: {', '.join(names)}")
        return
    about = machine()
    rows: list[dict[str, Any]] = []
    with workspace(options.dir) as folder:
        torrent = make_torrent(folder, options.size_mib, options.piece_kib)
        for number in range(options.rounds):
            for scenario in options.scenarios.split(","):
                for attackers in (0, options.attackers):
                    figures = run(scenario, attackers, torrent, folder, options)
                    label = "attacked" if attackers else "clean"
                    rows.append({"round": number, "scenario": scenario, "run": label, **figures})
                    print(json.dumps(rows[-1]), flush=True)
    document = {
        "what": "hostile",
        "machine": about,
        "options": vars(options),
        "attacks": {each: mix_of(each, options) for each in options.scenarios.split(",")},
        "medians": medians_of(rows, "{scenario} {run}", FIGURES, digits=2),
        "verdicts": verdicts(rows),
        "rows": rows,
    }
    print()
    for line in document["verdicts"]:
        print(line)
    print("written:", save(options.name, document))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenarios", default="leech,seed")
    parser.add_argument("--attackers", type=int, default=200)
    parser.add_argument("--attacks", help="names or groups; the attackers are spread over them")
    parser.add_argument("--list", action="store_true", help="print the attacks by group")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size-mib", type=int, default=512)
    parser.add_argument("--piece-kib", type=int, default=256)
    parser.add_argument("--seed-mib-per-s", type=float, default=10, help="of each honest seed")
    parser.add_argument("--our-mib-per-s", type=float, default=30, help="limit of our seed")
    parser.add_argument("--flood-kib-per-s", type=int, default=64, help="of each that floods")
    parser.add_argument("--limit-s", type=float, default=120, help="a run ends after this")
    parser.add_argument(
        "--lead-s",
        type=float,
        default=1.0,
        help="who is honest is connected so long before the attackers; our seed takes less than"
        " zero as well, and may then be full of them",
    )
    parser.add_argument("--one-address", action="store_true", help="all attackers at one address")
    parser.add_argument("--nice", type=int, default=19, help="of the attackers")
    parser.add_argument("--dir", default="/dev/shm", help="where the data lies")
    parser.add_argument("--name", default="hostile", help="of the file in results/")
    return parser.parse_args()


def mix_of(scenario: str, options: argparse.Namespace) -> list[str]:
    """Return the attack of each attacker: every group has the same part, and so has each in it."""
    groups = [GROUPS.get(each, [each]) for each in (options.attacks or MIXES[scenario]).split(",")]
    if unknown := {name for group in groups for name in group} - ATTACKS.keys():
        sys.exit(f"unknown attacks: {', '.join(sorted(unknown))}; see --list")
    turns = [0] * len(groups)
    names = []
    for number in range(options.attackers):
        which = number % len(groups)
        names.append(groups[which][turns[which] % len(groups[which])])
        turns[which] += 1
    return names


def hosts_of(count: int, options: argparse.Namespace) -> list[str]:
    if options.one_address:
        return [ONE_ADDRESS] * count
    return [
        f"127.{66 + number // 100}.{number % 100}.{1 + number % 250}" for number in range(count)
    ]


class Process:
    """A party that is told to begin, and tells what it found."""

    def __init__(self, script: str, *arguments: object) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-m", f"bench.parties.{script}", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE.parent,
        )

    def ready(self) -> list[str]:
        word, *rest = self.line().split()
        if word != "ready":
            raise RuntimeError(f"unexpected: {word}")
        return rest

    def line(self) -> str:
        assert self._popen.stdout is not None
        if not (line := self._popen.stdout.readline()):
            raise RuntimeError(f"{self._popen.args} ended with {self._popen.wait()}")
        return line

    def go(self) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write("go\n")
        self._popen.stdin.flush()

    def end(self) -> None:
        self._popen.terminate()
        try:
            self._popen.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


@contextmanager
def party(script: str, *arguments: object) -> Iterator[Process]:
    process = Process(script, *arguments)
    try:
        yield process
    finally:
        process.end()


def run(
    scenario: str, attackers: int, torrent: Torrent, folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Run one transfer, and return the figures of our process."""
    with workspace(str(folder)) as place, ExitStack() as stack:
        order: dict[str, Any] = {
            "role": scenario,
            "torrent": str(torrent.path),
            "save_dir": str(torrent.payload.parent if scenario == "seed" else place / "saved"),
            "state_dir": str(place / "state"),
            "honest": [],
            "honest_hosts": [*HONEST_SEEDS, HONEST_LEECH],
            "upload_bytes_per_s": int(options.our_mib_per_s * MIB) if scenario == "seed" else 0,
            "limit_s": options.limit_s,
        }
        (place / "saved").mkdir()
        if scenario == "leech":
            arguments = (torrent.path, torrent.payload.parent, int(options.seed_mib_per_s * MIB))
            seeds = stack.enter_context(party("honest_seeds", *arguments, *HONEST_SEEDS))
            ports = map(int, seeds.ready())
            order["honest"] = list(zip(HONEST_SEEDS, ports, strict=True))
        ours = stack.enter_context(party("our_hostile", json.dumps(order)))
        port = int(ours.ready()[0])
        leech, honest = None, order["honest"]
        if scenario == "seed":
            arguments = (torrent.path, place / "saved", HONEST_LEECH, "127.0.0.1", port)
            leech = stack.enter_context(party("honest_leech", *arguments, options.limit_s))
            honest = [(HONEST_LEECH, int(leech.ready()[0]))]
        crowd = None
        if attackers:
            wanted = attack_order(scenario, attackers, port, torrent, options)
            wanted["honest"] = honest
            crowd = stack.enter_context(party("attackers", json.dumps(wanted)))
            crowd.ready()
        if leech:
            return run_seed(ours, leech, crowd, options.lead_s)
        return run_leech(ours, crowd, options.lead_s)


def attack_order(
    scenario: str, attackers: int, port: int, torrent: Torrent, options: argparse.Namespace
) -> dict[str, Any]:
    info = bencodepy.decode(torrent.path.read_bytes())[b"info"]
    return {
        "attacks": mix_of(scenario, options),
        "hosts": hosts_of(attackers, options),
        "host": "127.0.0.1",
        "port": port,
        "info_hash": info_hash_of(info),
        "pieces": len(info[b"pieces"]) // 20,
        "piece_bytes": info[b"piece length"],
        "payload": str(torrent.payload),
        "flood_kib_per_s": options.flood_kib_per_s,
        "nice": options.nice,
    }


def info_hash_of(info: dict[bytes, Any]) -> str:
    return hashlib.sha1(bencodepy.encode(info)).hexdigest()


def run_leech(ours: Process, crowd: Process | None, lead_s: float) -> dict[str, Any]:
    ours.go()
    if crowd:
        time.sleep(lead_s)
        crowd.go()
    figures: dict[str, Any] = json.loads(ours.line())
    return figures


def run_seed(ours: Process, leech: Process, crowd: Process | None, lead_s: float) -> dict[str, Any]:
    """Let the honest leech be served; its speed is what counts."""
    ours.go()
    if crowd and lead_s < 0:
        crowd.go()
        time.sleep(-lead_s)
    leech.go()
    if crowd and lead_s >= 0:
        time.sleep(lead_s)
        crowd.go()
    theirs = json.loads(leech.line())
    ours.go()
    figures: dict[str, Any] = json.loads(ours.line())
    names = ("is_done", "seconds", "goodput_mib_per_s", "dials")
    return {**figures, **{name: theirs[name] for name in names}}


def verdicts(rows: list[dict[str, Any]]) -> list[str]:
    """Say for each scenario what held."""
    lines = []
    medians = medians_of(rows, "{scenario} {run}", FIGURES, digits=2)
    for scenario in dict.fromkeys(row["scenario"] for row in rows):
        clean, attacked = (medians.get(f"{scenario} {run}") for run in ("clean", "attacked"))
        if clean is None or attacked is None:
            continue
        ratio = attacked["goodput_mib_per_s"] / max(clean["goodput_mib_per_s"], 0.01)
        growth = attacked["rss_growth_mib"] - clean["rss_growth_mib"]
        bans = sum(row["honest_bans"] for row in rows if row["scenario"] == scenario)
        for what, value, held in (
            ("goodput of clean, >= 0.8", ratio, ratio >= 0.8),
            ("RSS more than clean, MiB, <= 64", growth, growth <= 64),
            ("loop lag p99, ms, <= 50", attacked["lag_p99_ms"], attacked["lag_p99_ms"] <= 50),
            ("honest peers banned, all rounds", bans, not bans),
        ):
            lines.append(f"{scenario:6} {what:34} {value:8.2f}  {'held' if held else 'NOT held'}")
    return lines


if __name__ == "__main__":
    main()
