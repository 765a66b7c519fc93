"""Rate limits: their accuracy and bursts, and the throughput without limits.

One node of ours has a limit, up or down; 1, 10 or 100 nodes without one are at the other side,
libtorrent's or ours. Both sides are sampled 50 times a second.
"""

import argparse
import itertools
import json
import signal
import socket
import statistics
import time
import timeit
from pathlib import Path
from typing import Any

import anyio

from bench.harness import HERE, MIB, Party, Torrent, machine, make_torrent, save, workspace
from torrent_engine.base.config import BandwidthConfig, WireLimits
from torrent_engine.base.ids import BLOCK_BYTES, InfoHash, PeerAddress, PeerId
from torrent_engine.codec.geometry import Geometry
from torrent_engine.engine.resources.bandwidth_manager import BandwidthManager, RateLimits
from torrent_engine.net.peers.link_budget import LinkBudget
from torrent_engine.net.peers.peer_link import PeerLink
from torrent_engine.net.peers.transport import TcpTransport
from torrent_engine.protocol.wire.connection import PeerConnection

KIB = 1024
SETTLE_S = 1.0


def main() -> None:
    options = parse()
    about, rows = machine(), []
    with workspace(options.source_dir) as folder:
        torrent = make_torrent(folder, options.size_mib, 256)
        for number, case in enumerate(cases(options)):
            case_folder = folder / f"case-{number}"
            row = {**case, **run(options, case, torrent, case_folder)}
            print(json.dumps(row), flush=True)
            rows.append(row)
    costs = anyio.run(unlimited_costs, backend_options={"use_uvloop": True})
    print(json.dumps(costs))
    document = {
        "what": "limits",
        "machine": about,
        "options": vars(options),
        "unlimited": costs,
        "rows": rows,
    }
    print("written:", save(options.name, document))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates-kib", default="10240", help="limits, in KiB/s")
    parser.add_argument("--counts", default="1,10,100")
    parser.add_argument("--others", default="libtorrent,ours")
    parser.add_argument("--directions", default="up,down")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--size-mib", type=int, default=192)
    parser.add_argument("--source-dir", default="/dev/shm")
    parser.add_argument("--name", default="limits")
    return parser.parse_args()


def cases(options: argparse.Namespace) -> list[dict[str, Any]]:
    products = itertools.product(
        options.others.split(","),
        options.directions.split(","),
        map(int, options.rates_kib.split(",")),
        map(int, options.counts.split(",")),
    )
    names = ("other", "direction", "rate_kib", "count")
    return [dict(zip(names, product, strict=True)) for product in products]


def run(
    options: argparse.Namespace, case: dict[str, Any], torrent: Torrent, folder: Path
) -> dict[str, Any]:
    """Let one limited node of ours move payload for a while; return how well its limit held."""
    rate, is_up = case["rate_kib"] * KIB, case["direction"] == "up"
    limits = ("0", str(rate)) if is_up else (str(rate), "0")
    ours = [script("ours"), "seed" if is_up else "leech", "1", *limits]
    theirs = [script(case["other"]), "leech" if is_up else "seed", str(case["count"]), "0", "0"]
    seed, leech = (ours, theirs) if is_up else (theirs, ours)
    where = [str(torrent.path), str(folder)]
    with Party([*seed, *where]) as seeds:
        ports = ready(seeds)
        with Party([*leech, *where, *ports]) as leeches:
            ready(leeches)
            time.sleep(SETTLE_S + options.seconds + 1.5)
            reports = [report(party) for party in (seeds, leeches)]
    ours_moved, theirs_moved = reports if is_up else reversed(reports)
    return {
        **judged(ours_moved["samples"], rate, options.seconds, "ours"),
        **judged(theirs_moved["samples"], rate, options.seconds, "theirs"),
        "least_share": least_share(theirs_moved["marks"], options.seconds),
    }


def script(name: str) -> str:
    return str(HERE / "parties" / f"limits_{name}.py")


def ready(party: Party) -> list[str]:
    words = party.line().split()
    assert words[0] == "ready"
    return words[1:]


def report(party: Party) -> dict[str, Any]:
    party.process.send_signal(signal.SIGTERM)
    found: dict[str, Any] = json.loads(party.line())
    return found


def judged(
    samples: list[tuple[float, int]], rate: int, seconds: float, side: str
) -> dict[str, float]:
    """Return by how much a side missed the rate in its ten seconds, and its largest burst."""
    begun = next(number for number, (_, count) in enumerate(samples) if count)
    moves = [
        (when, count - before)
        for (_, before), (when, count) in itertools.pairwise(samples[max(begun - 1, 0) :])
    ]
    start_s = moves[0][0] + SETTLE_S
    window = [(when, count) for when, count in samples if start_s <= when <= start_s + seconds]
    (first_s, first), (last_s, last) = window[0], window[-1]
    speed = (last - first) / (last_s - first_s)
    return {
        f"{side}_error_percent": round((speed / rate - 1) * 100, 2),
        f"{side}_burst_s": round(largest_burst(moves, rate) / rate, 3),
    }


def least_share(marks: list[tuple[float, list[int]]], seconds: float) -> float:
    """Return what the node that moved least in the last seconds did, as a part of the average."""
    last_s, last = marks[-1]
    first = next(each for when, each in marks if when >= last_s - seconds)
    moved = [after - before for before, after in zip(first, last, strict=True)]
    return round(min(moved) / max(statistics.mean(moved), 1), 3)


def largest_burst(moves: list[tuple[float, int]], rate: int) -> float:
    """Return the most that moved in any stretch of time beyond what the rate gives it."""
    level, worst, last_s = 0.0, 0.0, moves[0][0]
    for when, count in moves:
        level = max(level - (when - last_s) * rate, 0.0) + count
        worst, last_s = max(worst, level), when
    return worst


# -- what a limit costs that is not there -------------------------------------------------------


async def unlimited_costs() -> dict[str, float]:
    """Return the time of the one check, and of blocks through a link without and with a limit."""
    link, _ = make_link()
    loops = 2_000_000
    bare = min(timeit.repeat("link", globals={"link": link}, number=loops, repeat=5))
    check = "link.download_throttle is None"
    checked = min(timeit.repeat(check, globals={"link": link}, number=loops, repeat=5))
    manager = BandwidthManager(BandwidthConfig(), time.monotonic)
    torrent = manager.of_torrent(RateLimits())
    torrent.join()
    times: dict[str, list[float]] = {"unlimited": [], "limited": []}
    for _ in range(7):
        for name, limit in (("unlimited", 0), ("limited", 100_000 * MIB)):
            torrent.set_limits(RateLimits(download=limit))
            times[name].append(await received(torrent))
    return {
        "check_ns": round((checked - bare) / loops * 1e9, 2),
        "block_unlimited_us": round(statistics.median(times["unlimited"]) * 1e6, 2),
        "block_under_a_limit_never_reached_us": round(statistics.median(times["limited"]) * 1e6, 2),
    }


class OpenGate:
    full = False

    async def wait_for_room(self) -> None:
        return


def make_link() -> tuple[PeerLink, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.settimeout(0.0)
    connection = PeerConnection(
        geometry=Geometry(1024 * BLOCK_BYTES, 1024 * BLOCK_BYTES),
        info_hash=InfoHash(bytes(20)),
        peer_id=PeerId(bytes(20)),
    )
    address = PeerAddress("127.0.0.1", 1)
    link = PeerLink(
        TcpTransport(ours),
        address,
        connection,
        gate=OpenGate(),
        budget=LinkBudget(WireLimits(), time.monotonic),
        clock=time.monotonic,
    )
    return link, theirs


async def received(torrent: Any) -> float:
    """Return the seconds a block takes through a link, from socket to event."""
    link, theirs = make_link()
    torrent.add_link(link, "192.0.32.1")
    handshake = b"\x13BitTorrent protocol" + bytes(8) + bytes(20) + b"-XX0001-" + bytes(12)
    blocks, number = 1024, 0
    data = bytearray(handshake + b"\x00\x00\x00\x01\x01")
    for number in range(blocks):
        data += (BLOCK_BYTES + 9).to_bytes(4, "big") + b"\x07" + bytes(4)
        data += (number * BLOCK_BYTES).to_bytes(4, "big") + bytes(BLOCK_BYTES)
    link.connection.sender.send_handshake()
    left, shaken = len(data), anyio.Event()

    def take(_events: object, count: int) -> None:
        nonlocal left
        if left == len(data):
            shaken.set()
            asked = [(0, each * BLOCK_BYTES, BLOCK_BYTES) for each in range(blocks)]
            link.connection.sender.request_blocks(asked)
        left -= count
        if not left:
            link.end("all is there")

    theirs.settimeout(20)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(link.run, take)
        await anyio.to_thread.run_sync(theirs.sendall, bytes(data[:73]))
        await shaken.wait()
        begun_s = time.perf_counter()
        await anyio.to_thread.run_sync(theirs.sendall, bytes(data[73:]))
    lasted_s = time.perf_counter() - begun_s
    torrent.remove_link(link)
    theirs.close()
    return lasted_s / blocks


if __name__ == "__main__":
    main()
