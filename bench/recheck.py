"""Recheck: check_pieces against a bare preadv and hash loop in two threads and libtorrent.

    bench/run recheck [--format v1|v2|hybrid] [--mib 2048] [--runs 5] [--piece-kib 1024]

One file of random bytes on tmpfs. Every run is a process of its own; the parties alternate;
medians. Only the check is timed, not the start of the process. CPU seconds are what to compare on
a busy machine.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from hashlib import sha1, sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
THREADS = 2
PARTIES = ("bare", "ours", "libtorrent")


class Stopwatch:
    """Wall and CPU seconds since its making, of all threads, and of the processes that ended."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), _cpu_s()

    def figures(self) -> dict[str, float]:
        wall, cpu = self._began
        return {"s": time.perf_counter() - wall, "cpu_s": _cpu_s() - cpu}


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def check_bare(folder: Path) -> dict[str, float]:
    """Two threads, each a half of the pieces, with one update of each digest a piece.

    In v2 that is SHA-256 without a tree.
    """
    from torrent_engine.codec.metainfo import Metainfo

    metainfo = Metainfo.read(folder / "payload.torrent")
    size, count = metainfo.geometry.piece_bytes, metainfo.geometry.piece_count
    digests = [sha1] * (metainfo.info_hash_v1 is not None)
    digests += [sha256] * (metainfo.info_hash_v2 is not None)
    hashes, wrong = metainfo.piece_hashes, []
    descriptor = os.open(folder / "source" / "payload.bin", os.O_RDONLY)

    def work(pieces: range) -> None:
        buffer = memoryview(bytearray(size))
        for piece in pieces:
            got = os.preadv(descriptor, [buffer], piece * size)
            found = [digest(buffer[:got]).digest() for digest in digests]
            if hashes and found[0] != hashes[piece * 20 : piece * 20 + 20]:
                wrong.append(piece)

    watch = Stopwatch()
    threads = [
        threading.Thread(target=work, args=(range(n, count, THREADS),)) for n in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    figures = watch.figures()
    assert not wrong
    return figures


def check_ours(folder: Path) -> dict[str, float]:
    import anyio

    from torrent_engine.base.config import DiskConfig
    from torrent_engine.codec.metainfo import Metainfo
    from torrent_engine.disk.files.storage_manager import StorageManager
    from torrent_engine.disk.pieces.hasher import check_pieces

    async def check() -> dict[str, float]:
        metainfo = Metainfo.read(folder / "payload.torrent")
        limiter = anyio.CapacityLimiter(THREADS)
        storage = StorageManager(
            metainfo, folder / "source", disk_limiter=limiter, config=DiskConfig()
        )
        await storage.open(create=False)
        results: list[bool] = []
        watch = Stopwatch()
        await check_pieces(
            storage,
            metainfo,
            range(metainfo.geometry.piece_count),
            limiter=limiter,
            threads=THREADS,
            on_result=lambda _, is_right: results.append(is_right),
        )
        figures = watch.figures()
        assert len(results) == metainfo.geometry.piece_count
        assert all(results)
        await storage.close()
        return figures

    return anyio.run(check, backend_options={"use_uvloop": True})


def check_libtorrent(folder: Path) -> dict[str, float]:
    import libtorrent as lt

    settings = {
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
    }
    settings |= {"hashing_threads": THREADS, "listen_interfaces": "127.0.0.1:0"}
    session = lt.session(settings)
    params = lt.add_torrent_params()
    params.ti = lt.torrent_info(str(folder / "payload.torrent"))
    params.save_path = str(folder / "source")
    watch = Stopwatch()
    handle = session.add_torrent(params)
    while not (handle.status().is_seeding or handle.status().errc.value()):
        time.sleep(0.002)
    figures = watch.figures()
    assert handle.status().is_seeding
    return figures


def run_party(party: str, folder: Path) -> dict[str, float]:
    """Run one check in a process of its own."""
    command = [sys.executable, "-m", "bench.recheck", "--party", party, "--dir", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return json.loads(done.stdout)


def report(results: dict[str, list[dict[str, float]]], mib: int) -> None:
    median = {p: statistics.median(r["s"] for r in runs) for p, runs in results.items()}
    print(f"{'party':<12}{'s':>8}{'MiB/s':>9}{'CPU s':>8}{'RSS MiB':>9}{'of bare':>9}{'in CPU':>8}")
    used = {p: statistics.median(r["cpu_s"] for r in runs) for p, runs in results.items()}
    for party, runs in results.items():
        rss = max(run["rss_mib"] for run in runs)
        wall, cpu = median[party], used[party]
        shares = f"{median['bare'] / wall:9.2f}{used['bare'] / cpu:8.2f}"
        print(f"{party:<12}{wall:8.3f}{mib / wall:9.0f}{cpu:8.2f}{rss:9.0f}{shares}")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--format", choices=("v1", "v2", "hybrid"), default="v1")
    options.add_argument("--mib", type=int, default=2048)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--piece-kib", type=int, default=1024)
    options.add_argument("--dir", default="/dev/shm")
    options.add_argument("--party", choices=PARTIES)
    chosen = options.parse_args()
    if chosen.party:
        figures = globals()[f"check_{chosen.party}"](Path(chosen.dir))
        status = Path("/proc/self/status").read_text()  # ru_maxrss would be the parent's
        peak_kib = int(status.partition("VmHWM:")[2].split()[0])
        print(json.dumps({**figures, "rss_mib": peak_kib / 1024}))
        return
    from bench.harness import make_torrent  # not in the parties, whose memory counts

    with tempfile.TemporaryDirectory(dir=chosen.dir) as name:
        folder = Path(name)
        make_torrent(folder, chosen.mib, chosen.piece_kib, chosen.format)
        results: dict[str, list[dict[str, float]]] = {party: [] for party in PARTIES}
        for _ in range(chosen.runs):
            for party in PARTIES:
                results[party].append(run_party(party, folder))
    report(results, chosen.mib)


if __name__ == "__main__":
    main()
