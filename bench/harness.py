"""Common parts of the benchmarks: torrents, programs as processes, the machine, medians, results.

A party is a script in ``parties/``. A seed prints ``ready`` and runs until ended; a leech prints
one JSON object. What a party used is read from /proc by its pid, in the same way for everybody.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bencodepy

from torrent_engine.disk.create.create import CreateOptions, TorrentFormat, create_torrent

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
MIB = 1024 * 1024
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
CHUNK_BYTES = 16 * MIB


@dataclass(frozen=True)
class Torrent:
    """A file of random bytes and the .torrent that describes it."""

    path: Path
    payload: Path
    total_bytes: int


@contextmanager
def workspace(parent: str) -> Iterator[Path]:
    """Make a folder below ``parent`` and remove it at the end, also on SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    folder = Path(tempfile.mkdtemp(prefix="torrent-engine-bench-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_torrent(
    folder: Path, size_mib: int, piece_kib: int, version: TorrentFormat = "v1"
) -> Torrent:
    """Write ``size_mib`` of random bytes, and a one-file torrent of them."""
    generator, piece_bytes = random.Random(size_mib), piece_kib * 1024
    payload = folder / "source" / "payload.bin"
    payload.parent.mkdir()
    with payload.open("wb") as file:
        for _ in range(size_mib):
            file.write(generator.randbytes(MIB))
    path = folder / "payload.torrent"
    if version != "v1":
        made = create_torrent([payload], CreateOptions(format=version, piece_bytes=piece_bytes))
        path.write_bytes(made)
        return Torrent(path, payload, size_mib * MIB)
    pieces = bytearray()
    with payload.open("rb") as file:
        while piece := file.read(piece_bytes):
            pieces += hashlib.sha1(piece).digest()
    info = {
        b"name": payload.name.encode(),
        b"piece length": piece_bytes,
        b"pieces": bytes(pieces),
        b"length": size_mib * MIB,
    }
    path.write_bytes(bencodepy.encode({b"info": info}))
    return Torrent(path, payload, size_mib * MIB)


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Party:
    """One process that takes part; its output is read line by line."""

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, *argv],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(HERE.parent), **(env or {})},
        )

    def line(self) -> str:
        """Return its next line; RuntimeError if it ended without one."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        return line.strip()

    def wait_ready(self) -> None:
        """Wait for the line ``ready``."""
        while self.line() != "ready":
            pass

    def cpu_s(self) -> float:
        """Return the CPU seconds used so far, user and system, all threads."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def reset_peak_rss(self) -> None:
        """Let the peak start again from what is resident now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def peak_rss_mib(self) -> float:
        """Return the most that was resident."""
        return peak_rss_mib(self.process.pid)

    def end(self) -> None:
        """End it by its pid."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def __enter__(self) -> "Party":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def peak_rss_mib(pid: int | str = "self") -> float:
    """Return VmHWM: unlike ru_maxrss it is not inherited from the process that forked."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def report(seconds: float, total_bytes: int) -> None:
    """Print a leech's one line: speed, and what this process used."""
    used = os.times()
    print(
        json.dumps(
            {
                "seconds": round(seconds, 4),
                "mib_per_s": round(total_bytes / seconds / MIB, 1),
                "cpu_s": round(used.user + used.system, 2),
                "peak_rss_mib": round(peak_rss_mib(), 1),
            }
        ),
        flush=True,
    )


def median(rows: Sequence[Mapping[str, float]], key: str) -> float:
    """Return the median of one figure over the rounds."""
    return statistics.median(row[key] for row in rows)


def machine() -> dict[str, object]:
    """Describe where the figures are from."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "libtorrent": importlib.metadata.version("libtorrent"),
        "uvloop": importlib.metadata.version("uvloop"),
        "load_before": os.getloadavg()[0],
    }


def save(name: str, document: Mapping[str, object]) -> Path:
    """Write results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    when = time.strftime("%Y-%m-%d", time.gmtime())
    path.write_text(json.dumps({"date": when, **document}, indent=1) + "\n")
    return path


def medians_of(
    rows: Sequence[Mapping[str, Any]], label: str, figures: Iterable[str], *, digits: int
) -> dict[str, dict[str, float]]:
    """Return the medians over rounds; rows of the same ``label.format(**row)`` belong together."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(label.format(**row), []).append(row)
    return {
        name: {
            each: round(statistics.median(row[each] for row in group), digits) for each in figures
        }
        for name, group in groups.items()
    }


def print_pairs(document: dict) -> None:
    """Print speed, CPU time and memory of each leech and its seed, and the ratios."""
    print()
    for pair, figures in document["medians"].items():
        print(
            f"{pair:40} {figures['mib_per_s']:7.0f} MiB/s  leech {figures['cpu_s']:5.2f} CPU s "
            f"{figures['peak_rss_mib']:5.0f} MiB  seed {figures['seed_cpu_s']:5.2f} CPU s "
            f"{figures['seed_peak_rss_mib']:5.0f} MiB"
        )
    for name, value in document["ratios"].items():
        print(f"{value:6.2f} x  {name}")
