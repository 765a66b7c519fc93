"""Recheck: check_pieces against a bare preadv and SHA-1 loop in two threads and libtorrent.

    python bench/recheck.py [--mib 2048] [--runs 5] [--piece-kib 1024] [--dir /dev/shm]

One file of random bytes on tmpfs. Every run is a process of its own; the parties alternate;
medians. Only the check is timed, not the start of the process.
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
from hashlib import sha1
from pathlib import Path

MIB = 1024 * 1024
THREADS = 2
PARTIES = ("bare", "ours", "libtorrent")


def make_payload(folder: Path, mib: int, piece_bytes: int) -> None:
    """Write the file and its .torrent, hashing on the way."""
    from torrent_engine.codec.bencode import encode

    hashes = []
    chunk = os.urandom(max(16 * MIB, piece_bytes))
    with (folder / "payload.bin").open("wb") as file:
        for number in range(-(-mib * MIB // len(chunk))):
            data = memoryview(bytearray(chunk))[: min(len(chunk), mib * MIB - number * len(chunk))]
            data[:8] = number.to_bytes(8, "big")
            file.write(data)
            hashes += [
                sha1(data[at : at + piece_bytes]).digest()
                for at in range(0, len(data), piece_bytes)
            ]
    info = {"length": mib * MIB, "name": "payload.bin", "piece length": piece_bytes}
    info["pieces"] = b"".join(hashes)
    (folder / "payload.torrent").write_bytes(encode({"info": info}))


def check_bare(folder: Path) -> float:
    """Two threads, each a half of the file, piece by piece."""
    from torrent_engine.codec.metainfo import Metainfo

    metainfo = Metainfo.read(folder / "payload.torrent")
    size, count = metainfo.geometry.piece_bytes, metainfo.geometry.piece_count
    hashes, wrong = metainfo.piece_hashes, []
    descriptor = os.open(folder / "payload.bin", os.O_RDONLY)

    def work(pieces: range) -> None:
        buffer = memoryview(bytearray(size))
        for piece in pieces:
            got = os.preadv(descriptor, [buffer], piece * size)
            if sha1(buffer[:got]).digest() != hashes[piece * 20 : piece * 20 + 20]:
                wrong.append(piece)

    start = time.perf_counter()
    threads = [
        threading.Thread(target=work, args=(range(n, count, THREADS),)) for n in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - start
    assert not wrong
    return taken


def check_ours(folder: Path) -> float:
    import anyio

    from torrent_engine.base.config import DiskConfig
    from torrent_engine.codec.metainfo import Metainfo
    from torrent_engine.disk.files.storage_manager import StorageManager
    from torrent_engine.disk.pieces.hasher import check_pieces

    async def check() -> float:
        metainfo = Metainfo.read(folder / "payload.torrent")
        limiter = anyio.CapacityLimiter(THREADS)
        storage = StorageManager(metainfo, folder, disk_limiter=limiter, config=DiskConfig())
        await storage.open(create=False)
        results: list[bool] = []
        start = time.perf_counter()
        await check_pieces(
            storage,
            metainfo,
            range(metainfo.geometry.piece_count),
            limiter=limiter,
            threads=THREADS,
            on_result=lambda _, is_right: results.append(is_right),
        )
        taken = time.perf_counter() - start
        assert len(results) == metainfo.geometry.piece_count
        assert all(results)
        await storage.close()
        return taken

    return anyio.run(check, backend_options={"use_uvloop": True})


def check_libtorrent(folder: Path) -> float:
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
    params.save_path = str(folder)
    start = time.perf_counter()
    handle = session.add_torrent(params)
    while not (handle.status().is_seeding or handle.status().errc.value()):
        time.sleep(0.002)
    taken = time.perf_counter() - start
    assert handle.status().is_seeding
    return taken


def run_party(party: str, folder: Path) -> dict[str, float]:
    """Run one check in a process of its own."""
    command = [sys.executable, __file__, "--party", party, "--dir", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def report(results: dict[str, list[dict[str, float]]], mib: int) -> None:
    median = {p: statistics.median(r["s"] for r in runs) for p, runs in results.items()}
    print(f"{'party':<12}{'s':>8}{'MiB/s':>9}{'CPU s':>8}{'RSS MiB':>9}{'of bare':>9}")
    for party, runs in results.items():
        cpu = statistics.median(run["cpu_s"] for run in runs)
        rss = max(run["rss_mib"] for run in runs)
        share = median["bare"] / median[party]
        speed = mib / median[party]
        print(f"{party:<12}{median[party]:8.3f}{speed:9.0f}{cpu:8.2f}{rss:9.0f}{share:9.2f}")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--mib", type=int, default=2048)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--piece-kib", type=int, default=1024)
    options.add_argument("--dir", default="/dev/shm")
    options.add_argument("--party", choices=PARTIES)
    chosen = options.parse_args()
    if chosen.party:
        taken = globals()[f"check_{chosen.party}"](Path(chosen.dir))
        usage = resource.getrusage(resource.RUSAGE_SELF)
        status = Path("/proc/self/status").read_text()  # ru_maxrss would be the parent's
        peak_kib = int(status.partition("VmHWM:")[2].split()[0])
        cpu_s = usage.ru_utime + usage.ru_stime
        result = {"s": taken, "cpu_s": cpu_s, "rss_mib": peak_kib / 1024}
        print(json.dumps(result))
        return
    with tempfile.TemporaryDirectory(dir=chosen.dir) as name:
        folder = Path(name)
        make_payload(folder, chosen.mib, chosen.piece_kib * 1024)
        results: dict[str, list[dict[str, float]]] = {party: [] for party in PARTIES}
        for _ in range(chosen.runs):
            for party in PARTIES:
                results[party].append(run_party(party, folder))
    report(results, chosen.mib)


if __name__ == "__main__":
    main()
