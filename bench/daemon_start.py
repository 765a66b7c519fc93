"""Time from the start of the process of a daemon to its first answer and to READY.

Run: python -m bench.daemon_start [--rounds 9] [--against FOLDER ...]

Each round starts a daemon with an empty state folder, and waits until it tells systemd's socket
that it is ready, and answers ``/healthz``. The trees of ``--against`` (checkouts with a .venv of
their own) take turns with this one.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.request import urlopen

from bench.harness import HERE, TICKS_PER_S, free_port, machine, save

READY_S = 60.0
KIB = 1024


def main() -> None:
    """Print a table, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--against", type=Path, action="append", default=[])
    chosen = parser.parse_args()
    about = machine()
    trees = {"this": HERE.parent, **{tree.name: tree.absolute() for tree in chosen.against}}
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    for number in range(chosen.rounds + 1):
        for name, tree in trees.items():
            with tempfile.TemporaryDirectory() as folder:
                row = start_once(tree, Path(folder))
            if number:  # the first round fills caches
                rows[name].append(row)
    medians = {name: medians_of(found) for name, found in rows.items()}
    for name, found in medians.items():
        print(f"{name:12}", *(f"{key} {value:.0f}" for key, value in found.items()), sep="  ")
    document = {"what": "daemon_start", "machine": about, "medians": medians, "rows": rows}
    print("written:", save("daemon_start", document))


def start_once(tree: Path, folder: Path) -> dict[str, float]:
    """Return the times of one start, in milliseconds."""
    port, notify = free_port(), str(folder / "notify")
    python = sys.executable if tree == HERE.parent else str(tree / ".venv/bin/python")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(notify)
        told.settimeout(READY_S)
        begun = time.perf_counter()
        process = subprocess.Popen(
            [python, "-m", "torrent_engine", "daemon", "run", *arguments(folder, port)],
            cwd=tree,
            env={**os.environ, "NOTIFY_SOCKET": notify, "PYTHONPATH": str(tree)},
            stderr=subprocess.DEVNULL,
        )
        try:
            while b"READY=1" not in told.recv(4096):
                pass
            ready_ms = (time.perf_counter() - begun) * 1e3
            with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=READY_S) as answer:
                answer.read()
            answered_ms = (time.perf_counter() - begun) * 1e3
            cpu_ms, rss_mib = used(process.pid)
        finally:
            process.terminate()
            process.wait(READY_S)
    return {
        "ready_ms": ready_ms,
        "answered_ms": answered_ms,
        "cpu_ms": cpu_ms,
        "rss_mib": rss_mib,
    }


def arguments(folder: Path, port: int) -> list[str]:
    """Return the options of a daemon that nothing of this machine's settings changes."""
    settings = ("network.loopback_only=true", "network.port=0", f"paths.download={folder}/d")
    return [
        f"--state-dir={folder}/state",
        f"--listen=127.0.0.1:{port}",
        *(f"--set={each}" for each in settings),
    ]


def used(pid: int) -> tuple[float, float]:
    """Return the milliseconds of CPU and the resident MiB of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    cpu_ms = (int(fields[11]) + int(fields[12])) / TICKS_PER_S * 1e3
    return cpu_ms, pages * os.sysconf("SC_PAGE_SIZE") / KIB / KIB


def medians_of(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure."""
    return {key: round(statistics.median(row[key] for row in rows), 1) for key in rows[0]}


if __name__ == "__main__":
    main()
