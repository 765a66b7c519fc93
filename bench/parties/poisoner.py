"""poisoner.py TORRENT PAYLOAD HOST BYTES_PER_S LIES: a seed that spoils some of its blocks.

LIES is their share. Prints "ready PORT", serves until it reads a line, then prints one JSON object:
what it has sent. Requests for hashes (BEP 52) it leaves without an answer.
"""

import json
import mmap
import os
import random
import sys
from pathlib import Path

import anyio
import anyio.abc

from bench.harness import MIB
from tests.support.scripted_peer import Wire, listening
from torrent_engine import Metainfo
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.protocol.wire.messages import HandshakeReceived, PeerEvent, PeerInterested


class Poisoner:
    """One peer, and what it has sent over all its connections."""

    def __init__(self, torrent: str, payload: str, bytes_per_s: int, lies: float) -> None:
        self.metainfo = Metainfo.read(torrent)
        self.bytes_per_s, self.lies = bytes_per_s, lies
        with Path(payload).open("rb") as file:
            self.payload = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.rng = random.Random(52)
        self.connections = self.sent_bytes = self.bad_bytes = 0

    async def __call__(self, stream: anyio.abc.SocketStream) -> None:
        """Serve one connection until the other side hangs up."""
        self.connections += 1
        wire = Wire(stream, self.metainfo)
        wire.connection.sender.send_handshake()
        try:
            await wire.flush()
            async for event in wire:
                self.answer(wire, event)
                await self.serve(wire)
        except anyio.BrokenResourceError:
            return

    def answer(self, wire: Wire, event: PeerEvent) -> None:
        if isinstance(event, HandshakeReceived):
            wire.connection.sender.send_bitfield(Bitfield.full(self.metainfo.piece_count))
        elif isinstance(event, PeerInterested):
            wire.connection.sender.unchoke()

    async def serve(self, wire: Wire) -> None:
        await wire.flush()
        requests = wire.connection.upload_requests
        while requests:
            piece, begin, length = requests.popleft()
            start = self.metainfo.geometry.piece_offset(piece) + begin
            data = self.payload[start : start + length]
            if self.rng.random() < self.lies:
                data = bytes(byte ^ 0xFF for byte in data[:64]) + data[64:]
                self.bad_bytes += length
            self.sent_bytes += length
            wire.connection.sender.send_block(piece, begin, memoryview(data))
            await wire.flush()
            await anyio.sleep(length / self.bytes_per_s)

    def figures(self) -> dict[str, float]:
        return {
            "sent_mib": round(self.sent_bytes / MIB, 2),
            "bad_mib": round(self.bad_bytes / MIB, 2),
            "poisoner_connections": self.connections,
        }


async def main(torrent: str, payload: str, host: str, bytes_per_s: str, lies: str) -> None:
    poisoner = Poisoner(torrent, payload, int(bytes_per_s), float(lies))
    async with listening(poisoner, host) as (_, port):
        print("ready", port, flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        print(json.dumps(poisoner.figures()), flush=True)
        os._exit(0)


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:], backend_options={"use_uvloop": True})
