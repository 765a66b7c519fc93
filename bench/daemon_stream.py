"""Rate of streaming over HTTP: a complete file of our daemon, beside nginx with the same file.

Each client reads the whole file in one request into nothing. With 4 clients they read at once.

bench/run daemon_stream                                 # 1 GiB, 5 rounds
bench/run daemon_stream --size-mib 64 --rounds 1        # a quick look
"""

import argparse
import json
import socket
import threading
import time
from typing import Any

from bench.daemon_programs import OurDaemon
from bench.harness import MIB, machine, make_torrent, medians_of, save, workspace
from bench.web_seed import nginx

CLIENTS = (1, 4)
CHUNK = 1 << 20
FIGURES = ("mib_per_s", "first_byte_ms", "cpu_s_per_gib")
Address = tuple[int, str, dict[str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size-mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nice", type=int, default=0, help="of the daemon; below 0 as root")
    parser.add_argument("--dir", default="/dev/shm")
    parser.add_argument("--name", default="daemon_stream", help="of the file in results/")
    options = parser.parse_args()
    about = machine()
    rows: list[dict[str, Any]] = []
    with workspace(options.dir) as folder:
        torrent = make_torrent(folder, options.size_mib, 1024)
        with (
            nginx(folder, torrent.payload.parent) as url,
            OurDaemon(folder / "ours", options.nice) as daemon,
        ):
            daemon.add([torrent.path], torrent.payload.parent)
            daemon.wait_seeding(1)
            found = json.loads(daemon.web.ask("GET", "/api/v1/torrents?fields=hash"))
            path = f"/stream/{found['items'][0]['hash']}/0/{torrent.payload.name}"
            nginx_port = int(url.rstrip("/").rpartition(":")[2])
            places: dict[str, Address] = {
                "ours": (daemon.port, path, daemon.fields()),
                "nginx": (nginx_port, f"/{torrent.payload.name}", {}),
            }
            for number in range(options.rounds):
                for party in sorted(places, reverse=bool(number % 2)):
                    for clients in CLIENTS:
                        cpu_s = daemon.cpu_s()
                        figures = streamed(places[party], clients, torrent.total_bytes)
                        cpu = (daemon.cpu_s() - cpu_s) / clients / torrent.total_bytes * 1024 * MIB
                        figures["cpu_s_per_gib"] = cpu if party == "ours" else 0.0
                        rows.append({"party": party, "clients": clients, **figures})
                        print(json.dumps(rows[-1]), flush=True)
    medians = medians_of(rows, "{clients} clients; {party}", FIGURES, digits=2)
    for name, row in sorted(medians.items()):
        print(name, row)
    document = {"what": "daemon_stream", "machine": about, "options": vars(options)}
    print("written:", save(options.name, {**document, "medians": medians, "rows": rows}))


def streamed(place: Address, clients: int, total_bytes: int) -> dict[str, float]:
    """Read a file with some clients at once; return their rate together."""
    first_s: list[float] = []
    counts: list[int] = []

    def read() -> None:
        first, count = received(place)
        first_s.append(first)
        counts.append(count)

    threads = [threading.Thread(target=read) for _ in range(clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begun
    if len(counts) != clients or min(counts) < total_bytes:
        raise RuntimeError(f"a client got {counts} of {total_bytes} bytes")
    return {"mib_per_s": sum(counts) / MIB / took, "first_byte_ms": max(first_s) * 1e3}


def received(place: Address) -> tuple[float, int]:
    """Return the seconds to the first byte, and how many there were."""
    port, path, fields = place
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    buffer, count, first = bytearray(CHUNK), 0, 0.0
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        begun = time.perf_counter()
        client.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        while got := client.recv_into(buffer):
            first = first or time.perf_counter() - begun
            if not count and not buffer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(bytes(buffer[:200]))
            count += got
    return first, count


if __name__ == "__main__":
    main()
