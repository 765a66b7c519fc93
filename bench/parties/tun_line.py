"""tun_line.py NAMESPACE NAMESPACE SHAPE: a lossy link between two network namespaces.

Makes a TUN device "line" in each, 10.79.0.1 and 10.79.0.2, and carries IP packets between them as
SHAPE says (JSON, the fields of ``LinkShape``). Prints ``ready``; at each SIGUSR1 one JSON object
of what passed from the first to the second since the last.
"""

import ctypes
import fcntl
import json
import os
import selectors
import signal
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

from tests.support.shaper import LinkShape, Pipe

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
MTU = 1500
TCP, UDP = 6, 17
PROTOCOL_OFFSET = 9


def open_tun(namespace: str, number: int) -> int:
    """Return the descriptor of a new device in a namespace; this process is in there then."""
    with Path("/var/run/netns", namespace).open("rb") as handle:
        if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", b"line", IFF_TUN | IFF_NO_PI))
    local, remote = f"10.79.0.{number}", f"10.79.0.{3 - number}"
    for words in (
        ("address", "add", local, "peer", remote, "dev", "line"),
        ("link", "set", "line", "up", "mtu", str(MTU), "txqueuelen", "2000"),
    ):
        subprocess.run(["ip", *words], check=True)
    return descriptor


class Line:
    """Two pipes and the descriptors at their ends."""

    def __init__(self, ends: list[int], shape: LinkShape) -> None:
        self.ends = ends
        self.pipes = [Pipe(shape, seed) for seed in (1, 2)]
        self.bytes_of = {TCP: 0, UDP: 0}
        self.since_s = time.monotonic()
        self.lost_before = 0

    def run(self) -> None:
        """Carry packets until ended."""
        selector = selectors.DefaultSelector()
        for number, descriptor in enumerate(self.ends):
            selector.register(descriptor, selectors.EVENT_READ, number)
        while True:
            times = [next_s for pipe in self.pipes if (next_s := pipe.next_s()) is not None]
            timeout = max(min(times) - time.monotonic(), 0) if times else None
            for key, _ in selector.select(timeout):
                self.read(key.data)
            self.write()

    def read(self, number: int) -> None:
        """Take what comes in at one end."""
        now = time.monotonic()
        try:
            while True:
                self.pipes[number].push(os.read(self.ends[number], 2048), now)
        except BlockingIOError:
            return

    def write(self) -> None:
        """Let out what is at the other end by now."""
        now = time.monotonic()
        for number, pipe in enumerate(self.pipes):
            for packet in pipe.pop(now):
                if number == 0 and packet[PROTOCOL_OFFSET] in self.bytes_of:
                    self.bytes_of[packet[PROTOCOL_OFFSET]] += len(packet)
                os.write(self.ends[1 - number], packet)

    def tell(self) -> None:
        """Print what has passed, and begin anew."""
        now, pipe = time.monotonic(), self.pipes[0]
        waits_ms = [1000 * wait_s for wait_s in pipe.waits_s] or [0.0]
        figures = {
            "seconds": now - self.since_s,
            "tcp_bytes": self.bytes_of[TCP],
            "udp_bytes": self.bytes_of[UDP],
            "lost": pipe.lost - self.lost_before,
            "queue_ms_mean": statistics.fmean(waits_ms),
            "queue_ms_p95": sorted(waits_ms)[int(len(waits_ms) * 0.95)],
            "queue_ms_max": max(waits_ms),
        }
        print(json.dumps(figures), flush=True)
        self.since_s, self.lost_before = now, pipe.lost
        self.bytes_of = {TCP: 0, UDP: 0}
        pipe.waits_s.clear()


def main() -> None:
    names, shape = sys.argv[1:3], LinkShape(**json.loads(sys.argv[3]))
    line = Line([open_tun(name, number) for number, name in enumerate(names, start=1)], shape)
    signal.signal(signal.SIGUSR1, lambda *_: line.tell())
    print("ready", flush=True)
    line.run()


main()
