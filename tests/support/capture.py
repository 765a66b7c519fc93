"""Every packet that programs in a network namespace send, as a raw socket there sees it."""

import ipaddress
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from tests.support.netns import Host

ETH_P_ALL = 3
ETHERNET_BYTES = 14
MAX_PACKET_BYTES = 256 * 1024
POLL_S = 0.1


@dataclass(frozen=True)
class Packet:
    """One UDP or TCP packet."""

    is_udp: bool
    source: tuple[str, int]
    target: tuple[str, int]
    payload: bytes
    time_s: float = 0.0
    """When it was seen, by the wall clock."""
    device: str = ""
    """The interface that it left by."""

    @property
    def is_multicast(self) -> bool:
        return ipaddress.ip_address(self.target[0]).is_multicast


@dataclass
class Capture:
    """What was seen so far."""

    packets: list[Packet] = field(default_factory=list)


@contextmanager
def capturing(host: Host) -> Iterator[Capture]:
    """Capture in a namespace until the block ends; OSError where raw sockets are not allowed."""
    raw = host.call(_raw_socket)
    capture, stopped = Capture(), threading.Event()
    reader = threading.Thread(target=_read, args=(raw, capture, stopped))
    reader.start()
    try:
        yield capture
    finally:
        stopped.set()
        reader.join()
        raw.close()


def _raw_socket() -> socket.socket:
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 1024 * 1024)
    raw.settimeout(POLL_S)
    return raw


def _read(raw: socket.socket, capture: Capture, stopped: threading.Event) -> None:
    while not stopped.is_set():
        try:
            frame, about = raw.recvfrom(MAX_PACKET_BYTES)
        except TimeoutError:
            continue
        is_sent = about[2] == socket.PACKET_OUTGOING
        if is_sent and (packet := parse_frame(frame)) is not None:
            capture.packets.append(replace(packet, time_s=time.time(), device=about[0]))


def parse_frame(frame: bytes) -> Packet | None:
    """Return the UDP or TCP packet of an Ethernet frame; None if it has none."""
    kind, body = frame[12:ETHERNET_BYTES], frame[ETHERNET_BYTES:]
    if kind == b"\x08\x00":
        protocol, start = body[9], (body[0] & 15) * 4
        end = int.from_bytes(body[2:4], "big") or len(body)  # 0: cut up by the device later
        source, target = body[12:16], body[16:20]
    elif kind == b"\x86\xdd":
        protocol, start, end = body[6], 40, len(body)
        source, target = body[8:24], body[24:40]
    else:
        return None
    if protocol not in {socket.IPPROTO_UDP, socket.IPPROTO_TCP}:
        return None
    ports = struct.unpack_from(">HH", body, start)
    is_udp = protocol == socket.IPPROTO_UDP
    payload_start = start + (8 if is_udp else (body[start + 12] >> 4) * 4)
    return Packet(
        is_udp,
        (str(ipaddress.ip_address(source)), ports[0]),
        (str(ipaddress.ip_address(target)), ports[1]),
        body[payload_start:end],
    )
