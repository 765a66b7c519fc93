"""The IP filter: a list of a million ranges, in each format.

    bench/run ip_filter [--ranges 1000000] [--rounds 3]

Shows the CPU seconds of loading in this process, the most memory that it takes meanwhile and the
memory that stays, the microseconds of a look-up, and how late a loop's timer of a millisecond is
while the list loads beside it.
"""

import argparse
import gzip
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import anyio

from torrent_engine.base.config import IpFilterConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.disk.ip_filter_files import load_filter
from torrent_engine.engine.resources.live_ip_filter import LiveIpFilter

LOOK_UPS = 200_000
TICK_S = 0.001


def dotted(number: int) -> str:
    return ".".join(str(octet) for octet in number.to_bytes(4, "big"))


def padded(number: int) -> str:
    return ".".join(f"{octet:03}" for octet in number.to_bytes(4, "big"))


def ranges(count: int, *, shuffled: bool) -> list[tuple[int, int]]:
    """Return ranges that do not touch, spread over all addresses."""
    rng, gap = Random(1), (1 << 32) // count
    found = []
    for number in range(count):
        first = number * gap + rng.randrange(gap // 2)
        found.append((first, first + rng.randrange(gap // 2 - 1)))
    if shuffled:
        rng.shuffle(found)
    return found


def lines(kind: str, count: int) -> Iterator[str]:
    for number, (first, last) in enumerate(ranges(count, shuffled="shuffled" in kind)):
        name = f"Some Organisation {number % 977} Ltd"
        if kind.startswith("P2P"):
            yield f"{name}:{dotted(first)}-{dotted(last)}\n"
        elif kind.startswith("DAT"):
            yield f"{padded(first)} - {padded(last)} , 000 , {name}\r\n"
        elif kind.startswith("IPv6"):
            yield f"{first >> 16:x}:{first & 0xFFFF:x}:{number % 9}::/{48 + number % 16}\n"
        else:
            yield f"{dotted(first)}/{24 + number % 8}\n"


def write(path: Path, kind: str, count: int) -> None:
    text = "".join(lines(kind, count)).encode()
    path.write_bytes(gzip.compress(text, 6) if kind.endswith("gzip") else text)


@dataclass
class Figures:
    cpu_s: float
    peak_mib: float
    held_mib: float
    ranges: int
    look_up_us: float
    lag_p99_ms: float
    lag_max_ms: float


def memory_mib(field: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / 1024


def look_up_us(loaded) -> float:
    rng = Random(2)
    addresses = [PeerAddress(dotted(rng.getrandbits(32)), 6881) for _ in range(LOOK_UPS)]
    allows = loaded.ip_filter.allows
    start = time.process_time()
    for address in addresses:
        allows(address)
    return (time.process_time() - start) / LOOK_UPS * 1e6


async def lags(config: IpFilterConfig) -> list[float]:
    """Return by how many milliseconds a timer was late, while the list was loaded."""
    live, found = LiveIpFilter(config), []
    async with anyio.create_task_group() as tasks:

        async def load() -> None:
            await live.reload()
            tasks.cancel_scope.cancel()

        tasks.start_soon(load)
        while True:
            before = time.perf_counter()
            await anyio.sleep(TICK_S)
            found.append((time.perf_counter() - before - TICK_S) * 1e3)
    return found


def measure(path: str, results) -> None:
    """Run in a process of its own: memory is that of one load."""
    config = IpFilterConfig(paths=(path,))
    before_mib, cpu_s = memory_mib("VmRSS"), time.process_time()
    loaded = load_filter(config)
    cpu_s = time.process_time() - cpu_s
    peak, held = memory_mib("VmHWM") - before_mib, memory_mib("VmRSS") - before_mib
    us = look_up_us(loaded)
    found = sorted(anyio.run(lags, config, backend_options={"use_uvloop": True}))
    p99 = found[int(len(found) * 0.99)]
    count = loaded.files[0].facts.ranges
    results.put(Figures(cpu_s, peak, held, count, us, p99, found[-1]))


def measured(path: Path) -> Figures:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=measure, args=(str(path), results))
    process.start()
    figures = results.get(timeout=120)
    process.join()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ranges", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    head = ("list", "MiB", "CPU s", "most MiB", "held MiB", "us a look-up", "lag p99", "lag max ms")
    print("{:16}{:>8}{:>10}{:>10}{:>10}{:>14}{:>10}{:>12}".format(*head))
    kinds = ("P2P", "P2P shuffled", "P2P gzip", "DAT", "CIDR", "IPv6 CIDR")
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            path = Path(folder) / "list"
            write(path, kind, options.ranges)
            rounds = [measured(path) for _ in range(options.rounds)]
            median = partial(middle, rounds)
            print(
                f"{kind:16}{path.stat().st_size / 2**20:8.1f}{median('cpu_s'):10.2f}"
                f"{median('peak_mib'):10.1f}{median('held_mib'):10.1f}"
                f"{median('look_up_us'):14.1f}{median('lag_p99_ms'):10.1f}"
                f"{median('lag_max_ms'):12.1f}"
            )


def middle(rounds: list[Figures], field: str) -> float:
    return statistics.median(getattr(each, field) for each in rounds)


if __name__ == "__main__":
    main()
