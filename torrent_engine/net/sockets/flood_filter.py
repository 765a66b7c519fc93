"""A filter in the kernel against operators of addresses that flood a listening socket.

A connection that is accepted and refused takes 20 to 50 us, and meanwhile those of everybody else
do not fit into the backlog. SYN packets of operators with very many refused connections are dropped
by a packet filter (socket(7), SO_ATTACH_FILTER) for some seconds; Linux only, elsewhere nothing is.
"""

import socket
import struct
from array import array
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from math import inf
from typing import Final

from torrent_engine.base.operators import operator_of
from torrent_engine.net.sockets.system import IS_LINUX

REFUSALS: Final = 500  # ours: of one operator in a second
WINDOW_S: Final = 1.0
FIRST_BLOCK_S: Final = 2.0  # ours: doubled for an operator that goes on afterwards
MAX_BLOCK_S: Final = 8.0  # ours: others may be behind the same address
REMEMBERED_S: Final = 60.0
MAX_BLOCKED: Final = 32  # ours: jumps in a filter reach 255 instructions
_ATTACH_FILTER: Final = 26  # asm-generic/socket.h
_DETACH_FILTER: Final = 27
_NETWORK_HEADER: Final = 0xFFF00000  # linux/filter.h: SKF_NET_OFF, the start of the IP header
_SOURCE_V4: Final = 12  # RFC 791, 3.1
_SOURCE_V6: Final = 8  # RFC 8200, 3
_LOAD_WORD: Final = 0x20  # linux/bpf_common.h: BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_ALL_BYTES: Final = 0xFFFFFFFF


class FloodFilter:
    """Counts the refused connections of a listening socket, and blocks who has too many."""

    def __init__(self, listener: socket.socket, clock: Callable[[], float]) -> None:
        self._listener = listener
        self._clock = clock
        self._refused: Counter[str] = Counter()
        self._window_end_s = 0.0
        self._blocked: dict[str, tuple[float, int]] = {}
        """Operator -> until when, and the upper bits of its addresses."""
        self._lengths: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Operator -> length of its last block, and until when the next one is longer."""

    @property
    def next_end_s(self) -> float:
        """Seconds until :meth:`unblock` has something to do; infinite if nobody is blocked."""
        ends = [until_s for until_s, _ in self._blocked.values()]
        return max(min(ends) - self._clock(), 0.0) if ends else inf

    def note_refusal(self, host: str) -> None:
        """Count a refused connection from an address."""
        now = self._clock()
        if now >= self._window_end_s:
            self._refused.clear()
            self._window_end_s = now + WINDOW_S
        operator = operator_of(host)
        self._refused[operator] += 1
        if self._refused[operator] >= REFUSALS and operator not in self._blocked:
            self._block(operator, host, now)

    def unblock(self) -> None:
        """End the blocks that are over."""
        if not self._blocked:
            return
        now = self._clock()
        left = {key: block for key, block in self._blocked.items() if now < block[0]}
        if len(left) < len(self._blocked):
            self._blocked = left
            self._attach()

    def _block(self, operator: str, host: str, now: float) -> None:
        bits = source_bits(host, self._listener.family) if IS_LINUX else None
        if bits is None or len(self._blocked) >= MAX_BLOCKED:
            return
        length_s, known_until_s = self._lengths.pop(operator, (0.0, 0.0))
        length_s = min(2.0 * length_s, MAX_BLOCK_S) if now < known_until_s else FIRST_BLOCK_S
        self._lengths[operator] = length_s, now + length_s + REMEMBERED_S
        if len(self._lengths) > MAX_BLOCKED:
            self._lengths.popitem(last=False)
        self._blocked[operator] = now + length_s, bits
        self._attach()

    def _attach(self) -> None:
        with suppress(OSError):
            if not self._blocked:
                self._listener.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)
                return
            blocked = (bits for _, bits in self._blocked.values())
            program = array("B", drop_program(blocked, self._listener.family))
            address, length = program.buffer_info()
            fields = struct.pack("HP", length // 8, address)  # struct sock_fprog
            self._listener.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, fields)


def source_bits(host: str, family: int) -> int | None:
    """Return an IPv4 address or the /64 of an IPv6 address as a number; None for what is neither.

    It must be of the address family of the socket.
    """
    with suppress(ValueError):
        if family == socket.AF_INET:
            return int(IPv4Address(host))
        if family == socket.AF_INET6:
            return int(IPv6Address(host.partition("%")[0])) >> 64
    return None


def drop_program(blocked: Iterable[int], family: int) -> bytes:
    """Return a classic BPF program that drops packets of these sources, of :func:`source_bits`."""
    steps: list[tuple[int, int, int, int]] = []  # code, jumps if true and false, value
    sources = list(blocked)
    if family == socket.AF_INET:
        steps.append((_LOAD_WORD, 0, 0, _NETWORK_HEADER + _SOURCE_V4))
        for number, source in enumerate(sources):
            steps.append((_JUMP_EQUAL, len(sources) - number, 0, source))
    else:
        for number, source in enumerate(sources):
            rest = 4 * (len(sources) - number - 1)
            steps += [
                (_LOAD_WORD, 0, 0, _NETWORK_HEADER + _SOURCE_V6),
                (_JUMP_EQUAL, 0, 2, source >> 32),
                (_LOAD_WORD, 0, 0, _NETWORK_HEADER + _SOURCE_V6 + 4),
                (_JUMP_EQUAL, rest + 1, 0, source & 0xFFFFFFFF),
            ]
    steps += [(_RETURN, 0, 0, _ALL_BYTES), (_RETURN, 0, 0, 0)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)
