"""Daemons at rest: CPU and memory with no client, and how long a start and a stop take.

Ours, transmission-daemon and qbittorrent-nox with the same small torrents, complete and started,
without peers, for longer than ours takes to let them rest. Each round starts a daemon with its
torrents, waits, watches it, and stops it;
``run`` is ``torrent-engine run``, the same engine without HTTP.

bench/run daemon_idle                                   # 0 and 1,000 torrents, 3 rounds
bench/run daemon_idle --counts 100 --rounds 1 --before-s 65 --rest-s 5      # a quick look
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.daemon_programs import PROGRAMS, Daemon, OurDaemon, Web, write_torrents
from bench.harness import machine, medians_of, save, workspace

FIGURES = ("start_s", "cpu_percent", "mib", "stop_s")


class OurRun(OurDaemon):
    """``torrent-engine run`` with the state of a daemon; it has a socket and no HTTP."""

    label = "run"

    def __init__(self, daemon: OurDaemon, nice: int) -> None:
        super().__init__(daemon.folder.with_name("run"), nice)
        self._state = daemon.folder / "state"
        self._downloads = daemon.folder / "d"

    def argv(self) -> list[str]:
        return [
            *(sys.executable, "-m", "torrent_engine", "run", f"--state-dir={self._state}"),
            *("-d", str(self._downloads), "--port", "0", "--no-dht", "--no-lsd"),
            *("--no-port-mapping", "-q"),
        ]

    def is_ready(self, web: Web) -> bool:
        return (self._state / "control.sock").exists()

    def seeding(self) -> int:
        return sys.maxsize  # nobody tells


def main() -> None:
    options = parse()
    about = machine()
    rows: list[dict[str, Any]] = []
    for count in map(int, options.counts.split(",")):
        with workspace(options.dir) as folder:
            daemons = filled(folder, count, options)
            for number in range(options.rounds):
                shift = number % len(daemons)
                for daemon in daemons[shift:] + daemons[:shift]:
                    row = {"round": number, "party": daemon.label, "torrents": count}
                    rows.append({**row, **watched(daemon, count, options)})
                    print(json.dumps(rows[-1]), flush=True)
    medians = medians_of(rows, "{torrents} torrents; {party}", FIGURES, digits=3)
    print_table(medians)
    document = {"what": "daemon_idle", "machine": about, "options": vars(options)}
    print("written:", save(options.name, {**document, "medians": medians, "rows": rows}))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", default="0,1000", help="of torrents")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parties", default=",".join(PROGRAMS))
    parser.add_argument("--before-s", type=float, default=80.0, help="to rest, before all rounds")
    parser.add_argument("--settle-s", type=float, default=15.0, help="after each start")
    parser.add_argument("--rest-s", type=float, default=20.0, help="watched at rest")
    parser.add_argument("--nice", type=int, default=0, help="of the daemons; below 0 as root")
    parser.add_argument("--dir", default="/dev/shm")
    parser.add_argument("--name", default="daemon_idle", help="of the file in results/")
    return parser.parse_args()


def filled(folder: Path, count: int, options: argparse.Namespace) -> list[Daemon]:
    """Return daemons that have the torrents and are stopped."""
    torrents = write_torrents(folder, count)
    daemons = [PROGRAMS[name](folder / name, options.nice) for name in options.parties.split(",")]
    with ExitStack() as stack:
        for daemon in daemons:
            stack.enter_context(daemon)
            daemon.add(torrents, folder / "data")
        for daemon in daemons:
            daemon.wait_seeding(count)
            daemon.drop_connection()
        time.sleep(options.before_s if count else 0.0)
    ours = [each for each in daemons if isinstance(each, OurDaemon)]
    return [*daemons, *(OurRun(each, options.nice) for each in ours)]


def watched(daemon: Daemon, count: int, options: argparse.Namespace) -> dict[str, float]:
    """Start a daemon, watch it at rest, and stop it."""
    start_s = daemon.start()
    try:
        daemon.wait_seeding(count)
        daemon.drop_connection()
        time.sleep(options.settle_s)
        cpu_s, begun = daemon.cpu_s(), time.monotonic()
        time.sleep(options.rest_s)
        percent = 100 * (daemon.cpu_s() - cpu_s) / (time.monotonic() - begun)
        mib = daemon.memory_mib()
    finally:
        stop_s = daemon.stop()
    return {"start_s": start_s, "cpu_percent": percent, "mib": mib, "stop_s": stop_s}


def print_table(medians: Mapping[str, Mapping[str, float]]) -> None:
    for name, row in medians.items():
        print(
            f"{name:32} start {row['start_s']:7.2f} s  rest {row['cpu_percent']:6.2f} %  "
            f"{row['mib']:7.1f} MiB  stop {row['stop_s']:6.2f} s"
        )


if __name__ == "__main__":
    main()
