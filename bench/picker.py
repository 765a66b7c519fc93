"""Cost of piece picking in microseconds: a pick, a HAVE, a disconnect, with 200 peers.

Run: python bench/picker.py
"""

import random
import statistics
import time
from collections.abc import Callable

from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.geometry import Geometry
from torrent_engine.policy.pieces.picker import Picker
from torrent_engine.policy.pieces.piece_table import PieceTable

PEERS = 200
SEEDS = 20
ROUNDS = 200
SIZES = (1_000, 10_000, 100_000)
BLOCKS_PER_PIECE = 64  # 1 MiB pieces


def make(pieces: int, rng: random.Random) -> tuple[Picker, list[int]]:
    """A download that is one third done, in a swarm of seeds and of leeches that have a half."""
    geometry = Geometry(pieces * BLOCKS_PER_PIECE * BLOCK_BYTES, BLOCKS_PER_PIECE * BLOCK_BYTES)
    table = PieceTable(geometry)
    picker = Picker(geometry, table, rng)
    for piece in rng.sample(range(pieces), pieces // 3):
        table.found(piece)
    peers = [rng.getrandbits(pieces) for _ in range(PEERS - SEEDS)]
    for bits in peers:
        picker.availability.add(bits)
    picker.availability.seeds = SEEDS
    return picker, peers


def median_us(action: Callable[[], object], undo: Callable[[], object] = lambda: None) -> float:
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
        undo()
    return statistics.median(times) * 1e6


def measure(pieces: int) -> dict[str, float]:
    rng = random.Random(5)
    picker, peers = make(pieces, rng)
    everything = (1 << pieces) - 1
    bits = peers[0]
    have = rng.randrange(pieces)
    availability = picker.availability

    def forget() -> None:
        for piece in list(picker.partials):
            picker._table.abandoned(piece)
            picker.finished(piece)

    results = {
        "pick 64 (new piece)": median_us(lambda: picker.pick(bits, 64), forget),
        "pick 64 (seed)": median_us(lambda: picker.pick(everything, 64), forget),
        "HAVE": median_us(
            lambda: availability.add_piece(have), lambda: availability.remove_piece(have)
        ),
        "disconnect": median_us(lambda: availability.remove(bits), lambda: availability.add(bits)),
    }
    for piece in rng.sample(list(picker._lowest(picker._table.missing, pieces)), PEERS):
        picker.begin(piece).take(BLOCKS_PER_PIECE // 2)
    results["pick 1 of 200 begun"] = median_us(lambda: picker.pick(bits, 1))
    results["interesting_piece"] = median_us(lambda: picker.interesting_piece(bits))
    return results


def main() -> None:
    rows = {pieces: measure(pieces) for pieces in SIZES}
    print(f"microseconds, median of {ROUNDS}, {PEERS} peers")
    print(f"{'':22}" + "".join(f"{pieces:>10,}" for pieces in SIZES) + "  pieces")
    for name in rows[SIZES[0]]:
        print(f"{name:22}" + "".join(f"{rows[pieces][name]:10.1f}" for pieces in SIZES))


if __name__ == "__main__":
    main()
