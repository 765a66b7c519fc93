"""Strict bencode decoding: ours against bencode.py, alternating.

    python bench/codec.py [--rounds 7]

A .torrent of 10 MB with 60,000 files, and the small messages that come by the thousand.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from functools import partial
from random import Random

import bencodepy

from torrent_engine.base.config import EXTENSION_BENCODE_LIMITS, TRACKER_BENCODE_LIMITS
from torrent_engine.codec.bencode import decode, encode
from torrent_engine.codec.metainfo import Metainfo

FILES = 60_000
TORRENT_BYTES = 10_000_000
PIECE_BYTES = 2**20


def big_torrent() -> bytes:
    """Return a .torrent of about 10 MB that loads: 60,000 files, and pieces to fill it up."""
    rng = Random(1)
    lengths = [rng.randrange(1, 10 ** rng.randrange(3, 8)) for _ in range(FILES)]
    files = [
        {"length": length, "path": [f"folder {number // 100}", f"some name {number:06}.dat"]}
        for number, length in enumerate(lengths)
    ]
    room = TORRENT_BYTES - len(encode(files)) - 300
    files[-1]["length"] += (room // 20) * PIECE_BYTES - sum(lengths)
    info = {
        "files": files,
        "name": "many",
        "piece length": PIECE_BYTES,
        "pieces": rng.randbytes(room // 20 * 20),
    }
    return encode({"announce": "http://tracker.example/announce", "info": info})


def small_messages() -> dict[str, bytes]:
    rng = Random(2)
    peers = [{"ip": f"10.0.0.{n}", "peer id": rng.randbytes(20), "port": 6881} for n in range(50)]
    counts = {"complete": 12, "incomplete": 3, "interval": 1800, "min interval": 900}
    names = {"lt_donthave": 7, "upload_only": 2, "ut_metadata": 3, "ut_pex": 1}
    return {
        "tracker, compact": encode({**counts, "peers": rng.randbytes(300)}),
        "tracker, dictionaries": encode({**counts, "peers": peers}),
        "extension handshake": encode(
            {"m": names, "metadata_size": 31235, "p": 6881, "reqq": 500, "v": "client 1.0"}
        ),
        "peer exchange": encode({"added": rng.randbytes(300), "added.f": bytes(50), "dropped": ""}),
        "DHT query": encode(
            {
                "a": {"id": rng.randbytes(20), "info_hash": rng.randbytes(20)},
                "q": "get_peers",
                "t": "aa",
                "y": "q",
            }
        ),
    }


def seconds(work: Callable[[], object], repeat: int) -> float:
    gc.collect()
    start = time.perf_counter()
    for _ in range(repeat):
        work()
    return (time.perf_counter() - start) / repeat


def compare(
    name: str, ours: Callable[[], object], theirs: Callable[[], object], rounds: int
) -> None:
    assert ours() == theirs()
    repeat = max(1, int(0.02 / seconds(theirs, 1)))
    times: list[tuple[float, float]] = []
    for number in range(rounds):
        times.append((seconds(ours, repeat), seconds(theirs, repeat)))
        print(f"{name}, run {number + 1}: {times[-1][0] * 1e6:.1f} and {times[-1][1] * 1e6:.1f} us")
    mine, other = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{name}: median {mine * 1e6:.1f} us, bencode.py {other * 1e6:.1f} us")
    print(f"{name}: {other / mine:.2f} x as fast\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    big = big_torrent()
    title = f".torrent of {len(big) / 1e6:.1f} MB with {FILES:,} files"
    compare(title, partial(decode, big), partial(bencodepy.decode, big), rounds)
    for name, data in small_messages().items():
        limits = TRACKER_BENCODE_LIMITS if "tracker" in name else EXTENSION_BENCODE_LIMITS
        ours = partial(decode, data, limits=limits)
        compare(name, ours, partial(bencodepy.decode, data), rounds)
    loads = [seconds(partial(Metainfo.from_bytes, big), 1) for _ in range(rounds)]
    print(f"Metainfo of the same .torrent: median {statistics.median(loads) * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
