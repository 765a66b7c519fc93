"""A program in memory that takes connections over uTP, and breaks the rules it is told to."""

import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import anyio
import anyio.abc

from tests.conformance.scripted_extensions import Quirks
from tests.conformance.scripted_node import MemoryDatagrams
from tests.conformance.scripted_seed import ScriptedSeed, ScriptedSubject, memory_pair
from torrent_engine.conformance.dht.krpc import NodeAddress
from torrent_engine.conformance.utp.packets import (
    SEQUENCES,
    KitUtpPacket,
    UtpKind,
    distance,
    parse_utp,
    selective_ack,
)

ADDRESS = ("127.0.0.1", 9_000)
PAYLOAD = 1_000
IN_FLIGHT = 16
AHEAD = 50
FIRST_TIMEOUT_S = 1.0
TICK_S = 0.1
GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)
Key = tuple[NodeAddress, int]


def clock_us() -> int:
    return int(anyio.current_time() * 1_000_000) % 2**32


@dataclass
class InFlight:
    packet: KitUtpPacket
    sent_at: float
    timeout: float
    skipped: int = 0
    is_acked: bool = False


class ScriptedUtp:
    """The program: its connections by address and id."""

    def __init__(self, tasks: anyio.abc.TaskGroup, network: MemoryDatagrams, *quirks: str) -> None:
        self.quirks = Quirks(frozenset(quirks))
        self.tasks = tasks
        self.subject = ScriptedSubject(tasks, *quirks)
        self._network = network
        self._links: dict[Key, ScriptedUtpLink] = {}
        self._syns = 0
        network.takers[ADDRESS] = self._take

    def send(self, packet: KitUtpPacket, to: NodeAddress) -> None:
        self._network.deliver(packet.encode(), ADDRESS, to)

    def _take(self, data: bytes, sender: NodeAddress) -> None:
        packet = parse_utp(data)
        if packet is None or "deaf" in self.quirks:
            return
        if packet.version != 1 and "any version" not in self.quirks:
            return
        if packet.kind == UtpKind.SYN:
            self._take_syn(packet, sender)
        elif packet.kind == UtpKind.RESET:
            self._take_reset(packet, sender)
        elif (link := self._links.get((sender, packet.connection_id))) is not None:
            link.take(packet)
        elif packet.kind in set(UtpKind):
            kind = UtpKind.STATE if "knows all" in self.quirks else UtpKind.RESET
            self.send(replace(packet, kind=kind, payload=b"", extensions=()), sender)

    def _take_syn(self, packet: KitUtpPacket, sender: NodeAddress) -> None:
        self._syns += 1
        key = sender, (packet.connection_id + 1) % SEQUENCES
        if key not in self._links or "another for each SYN" in self.quirks:
            self._links[key] = ScriptedUtpLink(self, packet, sender)
        times = 10 if "amplifies" in self.quirks and self._syns > 10 else 1
        for _ in range(times):
            self._links[key].answer()

    def _take_reset(self, packet: KitUtpPacket, sender: NodeAddress) -> None:
        for key in list(self._links):
            is_it = key == (sender, packet.connection_id)
            is_it = is_it or ("any reset" in self.quirks and key[0] == sender)
            if is_it and "ignores resets" not in self.quirks:
                self._links.pop(key).end()


class ScriptedUtpLink:
    """One connection, with the seed behind it."""

    def __init__(self, program: ScriptedUtp, syn: KitUtpPacket, sender: NodeAddress) -> None:
        self._program = program
        self._quirks = program.quirks
        self._sender = sender
        self._send_id = syn.connection_id
        self._seq = 7 if "constant numbers" in self._quirks else random.randrange(SEQUENCES)
        self._state_seq = self._seq
        self._seq += 5 if "skips numbers" in self._quirks else 0
        self._ack = syn.seq
        self._early: dict[int, bytes] = {}
        self._waiting = b""
        self._flight: dict[int, InFlight] = {}
        self._window = syn.window
        self._difference = 0
        self._note_clock(syn)
        self._ends = False
        self._stream, theirs = memory_pair()
        seed = ScriptedSeed(program.subject, theirs, sender[0])
        program.tasks.start_soon(seed.serve)
        program.tasks.start_soon(self._run)

    def answer(self) -> None:
        ack = 0 if "acks nothing" in self._quirks else self._ack
        self._send(self._packet(UtpKind.STATE, seq=self._state_seq, ack=ack))

    def end(self) -> None:
        self._ends = True

    def _packet(self, kind: UtpKind, payload: bytes = b"", **changes) -> KitUtpPacket:
        packet = KitUtpPacket(kind, self._send_id, self._seq % SEQUENCES, self._ack, payload)
        return replace(packet, **changes)

    def _send(self, packet: KitUtpPacket) -> None:
        ack = 1 if "never acks" in self._quirks else packet.ack
        stamped = replace(packet, timestamp=clock_us(), difference=self._difference, ack=ack)
        self._program.send(stamped, self._sender)

    def _note_clock(self, packet: KitUtpPacket) -> None:
        if "no clock" not in self._quirks:
            self._difference = (clock_us() - packet.timestamp) % 2**32

    # -- what comes

    def take(self, packet: KitUtpPacket) -> None:
        quirks = self._quirks
        self._note_clock(packet)
        if packet.kind not in set(UtpKind):
            return
        if any(kind > 1 for kind, _ in packet.extensions) and "knows its extensions" in quirks:
            return
        self._window = packet.window
        self._take_acks(packet)
        if packet.kind == UtpKind.FIN and "ignores FIN" not in quirks:
            self._ack = packet.seq
            self._send(self._packet(UtpKind.STATE))
        if packet.kind == UtpKind.DATA:
            self._take_data(packet)

    def _take_data(self, packet: KitUtpPacket) -> None:
        quirks = self._quirks
        ahead = distance(self._ack, packet.seq)
        if ahead <= 0 and "delivers twice" in quirks:
            self._deliver(packet.payload)
        if ahead > AHEAD and "closes far ahead" in quirks:
            self._send(self._packet(UtpKind.RESET))
            self._ends = True
        if 0 < ahead <= AHEAD:
            self._early[packet.seq] = packet.payload
        if "in any order" in quirks and packet.seq in self._early:
            self._deliver(self._early[packet.seq])
        while (following := (self._ack + 1) % SEQUENCES) in self._early:
            payload = self._early.pop(following)
            self._ack = following
            if "in any order" not in quirks:
                self._deliver(payload)
        self._send(self._packet(UtpKind.STATE, extensions=tuple(self._gaps())))

    def _gaps(self) -> Iterator[tuple[int, bytes]]:
        if self._early and "no selective acks" not in self._quirks:
            shift = 1 if "shifted bits" in self._quirks else 0
            yield selective_ack(self._ack - shift, self._early)

    def _deliver(self, payload: bytes) -> None:
        with suppress(*GONE):
            self._stream._outgoing.send_nowait(payload)

    def _take_acks(self, packet: KitUtpPacket) -> None:
        bits = int.from_bytes(packet.bits or b"", "little")
        for seq, flight in list(self._flight.items()):
            place = distance(packet.ack, seq) - 2
            if distance(seq, packet.ack) >= 0:
                del self._flight[seq]
            elif place >= 0 and bits >> place & 1:
                flight.is_acked = True
        self._resend_lost()

    def _resend_lost(self) -> None:
        seqs = list(self._flight)
        for number, seq in enumerate(seqs):
            flight = self._flight[seq]
            behind = sum(self._flight[each].is_acked for each in seqs[number + 1 :])
            if not flight.is_acked and behind >= 3 and not flight.skipped:
                flight.skipped = behind
                if "waits for time-outs" not in self._quirks:
                    self._send(flight.packet)

    # -- what goes

    async def _run(self) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._read)
                while not self._ends:
                    self._resend_late()
                    self._pump()
                    await anyio.sleep(TICK_S)
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()

    async def _read(self) -> None:
        with suppress(*GONE):
            while True:
                self._waiting += await self._stream.receive()
                self._pump()
        self._send(self._packet(UtpKind.FIN))
        self._ends = True

    def _pump(self) -> None:
        while self._waiting and self._may_send():
            size = 4_000 if "large packets" in self._quirks else PAYLOAD
            payload, self._waiting = self._waiting[:size], self._waiting[size:]
            packet = self._packet(UtpKind.DATA, payload)
            self._flight[packet.seq] = InFlight(packet, anyio.current_time(), FIRST_TIMEOUT_S)
            self._seq = (self._seq + 1) % SEQUENCES
            self._send(packet)

    def _may_send(self) -> bool:
        if "ignores windows" in self._quirks:
            return True
        in_flight = sum(len(each.packet.payload) for each in self._flight.values())
        return len(self._flight) < IN_FLIGHT and in_flight + PAYLOAD <= self._window

    def _resend_late(self) -> None:
        quirks, now = self._quirks, anyio.current_time()
        for each in self._flight.values():
            limit = 0.1 if "impatient" in quirks else each.timeout
            if each.is_acked or now - each.sent_at < limit or "never resends" in quirks:
                continue
            each.sent_at = now
            each.timeout *= 1 if "does not double" in quirks else 2
            self._send(replace(each.packet, ack=self._ack))
