"""A connection of uTP that the kit makes: packet by packet, or as a stream of bytes.

Source: BEP 29.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import anyio
from anyio.abc import ByteStream

from torrent_engine.conformance.dht.krpc import NodeAddress
from torrent_engine.conformance.dht.network import DatagramPort
from torrent_engine.conformance.utp.packets import (
    SEQUENCES,
    WINDOW_BYTES,
    KitUtpPacket,
    UtpKind,
    distance,
    parse_utp,
)

PAYLOAD_BYTES: Final = 1_200
RESEND_S: Final = 1.0
PacketNote = Callable[[str, str], None]
"""Takes the direction and the text of a line for the log."""


class KitUtpLink:
    """One connection; nothing is sent but what it is told to send.

    What came is kept: ``packets`` in its order, and the payloads by number for the stream.
    """

    def __init__(self, socket: DatagramPort, target: NodeAddress, note: PacketNote) -> None:
        self._socket = socket
        self._target = target
        self._note = note
        self.own_id = random.randrange(SEQUENCES)  # noqa: S311 - not a secret
        """What the other side sends with; we send with the next one."""
        self.seq = 1
        """Of the next packet that counts."""
        self.ack = 0
        """Of the last packet of the other side that came in order."""
        self.window = WINDOW_BYTES
        self.clock_shift_us = 0
        """By which our clock is wrong."""
        self.packets: list[KitUtpPacket] = []
        self.largest = 0
        """Length of the largest datagram that came."""
        self.bytes_in = 0
        self.their_ack = 0
        self.is_reset = False
        self.end: int | None = None
        """Number of their FIN."""
        self.payloads: dict[int, bytes] = {}
        """By number: what came, and was not taken in order yet."""
        self.unacked: dict[int, KitUtpPacket] = {}
        self._first: int | None = None
        self._has_data = False
        self._difference = 0

    def packet(self, kind: int, payload: bytes = b"", **changes: Any) -> KitUtpPacket:  # noqa: ANN401
        """Return a packet with the numbers that are due."""
        connection_id = self.own_id + (kind != UtpKind.SYN)
        packet = KitUtpPacket(kind, connection_id % SEQUENCES, self.seq, self.ack, payload)
        return replace(packet, window=self.window, **changes)

    async def send(self, packet: KitUtpPacket) -> None:
        """Send a packet, with the time."""
        now = int(anyio.current_time() * 1_000_000) + self.clock_shift_us
        stamped = replace(packet, timestamp=now % 2**32, difference=self._difference)
        self._note(">", packet.describe())
        await self._socket.send(stamped.encode(), self._target)

    async def open(self, within_s: float) -> KitUtpPacket | None:
        """Send SYN, and again until something comes; return that, or None after the time."""
        syn = self.packet(UtpKind.SYN)
        self.seq += 1
        answer: KitUtpPacket | None = None
        with anyio.move_on_after(within_s):
            while answer is None:
                await self.send(syn)
                answer = await self.receive(RESEND_S)
        if answer is not None and answer.kind == UtpKind.STATE:
            self._first = answer.seq
            self.ack = (answer.seq - 1) % SEQUENCES
        return answer

    async def send_data(self, payload: bytes, **changes: Any) -> KitUtpPacket:  # noqa: ANN401
        """Send a DATA packet with the next number."""
        packet = self.packet(UtpKind.DATA, payload, **changes)
        self.seq = (self.seq + 1) % SEQUENCES
        self.unacked[packet.seq] = packet
        await self.send(packet)
        return packet

    async def send_ack(self, **changes: Any) -> None:  # noqa: ANN401
        """Acknowledge what came in order."""
        await self.send(self.packet(UtpKind.STATE, **changes))

    async def receive(self, within_s: float) -> KitUtpPacket | None:
        """Return the next packet; None after the time. Nothing is acknowledged."""
        with anyio.move_on_after(within_s):
            while True:
                data, _ = await self._socket.receive()
                if (packet := parse_utp(data)) is not None:
                    self._take(packet, len(data))
                    return packet
        return None

    async def wait_for(
        self, condition: Callable[[KitUtpPacket], bool], within_s: float
    ) -> KitUtpPacket | None:
        """Return the next packet that fits; None after the time. Nothing is acknowledged."""
        with anyio.move_on_after(within_s):
            while True:
                packet = await self.receive(within_s)
                if packet is not None and condition(packet):
                    return packet
        return None

    async def watch(self, for_s: float) -> list[KitUtpPacket]:
        """Return what comes in that time. Nothing is acknowledged."""
        before = len(self.packets)
        await self.wait_for(lambda _: False, for_s)
        return self.packets[before:]

    async def wait_acked(self, seq: int, within_s: float) -> KitUtpPacket | None:
        """Return the packet that acknowledges a number of ours; None after the time."""
        return await self.wait_for(lambda each: distance(seq, each.ack) >= 0, within_s)

    def _take(self, packet: KitUtpPacket, length: int) -> None:
        self._note("<", packet.describe())
        self.packets.append(packet)
        self.largest = max(self.largest, length)
        self.bytes_in += length
        now = int(anyio.current_time() * 1_000_000)
        self._difference = (now - packet.timestamp) % 2**32
        self.is_reset = self.is_reset or packet.kind == UtpKind.RESET
        if packet.kind in {UtpKind.STATE, UtpKind.DATA, UtpKind.FIN}:
            self.their_ack = packet.ack
            self.unacked = {
                seq: each for seq, each in self.unacked.items() if distance(seq, packet.ack) < 0
            }
        if packet.kind == UtpKind.FIN:
            self.end = packet.seq
        if packet.kind == UtpKind.DATA:
            self._keep(packet)

    def _keep(self, packet: KitUtpPacket) -> None:
        """Keep a payload; the first one shows whether their STATE had a number of its own."""
        if not self._has_data and self._first is not None:
            self._has_data = True
            if packet.seq == (self._first + 1) % SEQUENCES:
                self.ack = self._first
        if distance(self.ack, packet.seq) > 0:
            self.payloads[packet.seq] = packet.payload

    async def close(self) -> None:
        """End the connection at once, and close the socket."""
        await self.send(self.packet(UtpKind.RESET))
        await self._socket.aclose()


class KitUtpStream(ByteStream):
    """The bytes of a connection: what comes is acknowledged, and what is lost is sent again."""

    def __init__(self, link: KitUtpLink) -> None:
        self._link = link
        self._rest = b""

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """Return bytes in their order. Raises EndOfStream."""
        while not self._rest:
            await self._receive_packet()
        data, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
        return data

    async def _receive_packet(self) -> None:
        link = self._link
        if self._take_payloads():
            await link.send_ack()
            return
        if link.is_reset or link.end == (link.ack + 1) % SEQUENCES:
            raise anyio.EndOfStream
        packet = await link.receive(RESEND_S)
        if packet is None:
            for each in list(link.unacked.values()):
                await link.send(replace(each, ack=link.ack))
        elif packet.kind == UtpKind.DATA and distance(link.ack, packet.seq) <= 0:
            await link.send_ack()  # our acknowledgment was lost

    def _take_payloads(self) -> bool:
        link, before = self._link, len(self._rest)
        while (following := (link.ack + 1) % SEQUENCES) in link.payloads:
            self._rest += link.payloads.pop(following)
            link.ack = following
        return len(self._rest) > before

    async def send(self, item: bytes) -> None:
        """Send bytes in packets. Raises BrokenResourceError."""
        if self._link.is_reset:
            raise anyio.BrokenResourceError
        for start in range(0, len(item), PAYLOAD_BYTES):
            await self._link.send_data(item[start : start + PAYLOAD_BYTES])

    async def send_eof(self) -> None:
        """Send FIN."""
        await self._link.send(self._link.packet(UtpKind.FIN))

    async def aclose(self) -> None:
        """End the connection."""
        await self._link.close()
