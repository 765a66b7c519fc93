"""light_peers.py ROLE HOSTS PORT PIECES PIECE_BYTES [HASH:HOST ...]: many cheap peers.

As ``seeds`` they listen at PORT on all of 127/8, have every piece, and send zeros; who asks is
unchoked once this process gets SIGUSR1. As ``leeches`` HOSTS of them connect to 127.0.0.1:PORT for
each torrent, from the addresses HOST.1, HOST.2, ..., and drop what they get. One thread for all.
"""

import os
import random
import signal
import struct
import sys

import anyio
import anyio.abc

BLOCK_BYTES = 16 * 1024
READ_BYTES = 256 * 1024
PROTOCOL = b"\x13BitTorrent protocol" + bytes(8)
HANDSHAKE_BYTES = 68
UNCHOKE, INTERESTED, REQUEST, PIECE = 1, 2, 6, 7
OUTSTANDING = 16
RETRY_S = 0.5
PLAIN = struct.Struct(">IB").pack
BLOCK_HEADER = struct.Struct(">IBII").pack
REQUEST_MESSAGE = struct.Struct(">IBIII").pack
ZEROS = bytes(BLOCK_BYTES)


class Buffered:
    """Messages of one stream."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self.stream = stream
        self.buffer = bytearray()

    async def exactly(self, size: int) -> bytes:
        """Return so many bytes."""
        while len(self.buffer) < size:
            self.buffer += await self.stream.receive(READ_BYTES)
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    async def messages(self) -> list[bytes]:
        """Wait for messages and return all that are there, without their lengths."""
        found: list[bytes] = []
        while True:
            at = 0
            while len(self.buffer) - at >= 4:
                end = at + 4 + int.from_bytes(self.buffer[at : at + 4], "big")
                if end > len(self.buffer):
                    break
                found.append(bytes(self.buffer[at + 4 : end]))
                at = end
            del self.buffer[:at]
            if found:  # some may have come with the handshake
                return found
            self.buffer += await self.stream.receive(READ_BYTES)


def handshake(info_hash: bytes) -> bytes:
    return PROTOCOL + info_hash + b"-LP0001-" + os.urandom(12)


def quiet(error: BaseException) -> bool:
    """Say if it only means that the other side hung up."""
    return isinstance(error, anyio.BrokenResourceError | anyio.EndOfStream | OSError)


# -- seeds ----------------------------------------------------------------------------------------


class Seeds:
    """Everybody who asks is given zeros, once all may begin."""

    def __init__(self, pieces: int) -> None:
        bits = ((1 << pieces) - 1) << -pieces % 8
        field = bits.to_bytes((pieces + 7) // 8, "big")
        self.bitfield = PLAIN(1 + len(field), 5) + field
        self.begin = anyio.Event()

    async def wait_signal(self) -> None:
        with anyio.open_signal_receiver(signal.SIGUSR1) as signals:
            async for _ in signals:
                self.begin.set()
                return

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        async with stream:
            try:
                await self._serve(stream)
            except Exception as error:
                if not quiet(error):
                    raise

    async def _serve(self, stream: anyio.abc.SocketStream) -> None:
        link = Buffered(stream)
        theirs = await link.exactly(HANDSHAKE_BYTES)
        await stream.send(handshake(theirs[28:48]) + self.bitfield)
        await self.begin.wait()
        await stream.send(PLAIN(1, UNCHOKE))
        while True:
            answer: list[bytes] = []
            for message in await link.messages():
                if message[:1] == bytes([REQUEST]):
                    piece, begin, length = struct.unpack_from(">III", message, 1)
                    answer += (BLOCK_HEADER(9 + length, PIECE, piece, begin), ZEROS[:length])
            if answer:
                await stream.send(b"".join(answer))


async def run_seeds(port: int, pieces: int) -> None:
    seeds = Seeds(pieces)
    listener = await anyio.create_tcp_listener(local_host="0.0.0.0", local_port=port, backlog=1_000)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(seeds.wait_signal)
        tasks.start_soon(listener.serve, seeds.serve)
        print("ready", flush=True)


# -- leeches --------------------------------------------------------------------------------------


async def leech(port: int, host: str, info_hash: bytes, blocks: list[tuple[int, int]]) -> None:
    """Ask for blocks at random, and for one more for each that comes."""
    stream = await anyio.connect_tcp("127.0.0.1", port, local_host=host)
    rng = random.Random(host)

    def requests(count: int) -> bytes:
        asked = (rng.choice(blocks) for _ in range(count))
        return b"".join(REQUEST_MESSAGE(13, REQUEST, *block, BLOCK_BYTES) for block in asked)

    async with stream:
        link = Buffered(stream)
        await stream.send(handshake(info_hash) + PLAIN(1, INTERESTED))
        await link.exactly(HANDSHAKE_BYTES)
        while True:
            wanted = 0
            for message in await link.messages():
                if message[:1] == bytes([UNCHOKE]):
                    wanted += OUTSTANDING
                elif message[:1] == bytes([PIECE]):
                    wanted += 1
            if wanted:
                await stream.send(requests(wanted))


async def run_leeches(
    hosts: int, port: int, blocks: list[tuple[int, int]], torrents: list[str]
) -> None:
    async def one(host: str, info_hash: bytes) -> None:
        while True:
            try:
                await leech(port, host, info_hash, blocks)
            except Exception as error:
                if not quiet(error):
                    raise
            await anyio.sleep(RETRY_S)

    async with anyio.create_task_group() as tasks:
        for torrent in torrents:
            info_hash, _, prefix = torrent.partition(":")
            for number in range(1, hosts + 1):
                tasks.start_soon(one, f"{prefix}.{number}", bytes.fromhex(info_hash))
        print("ready", flush=True)


def main() -> None:
    role = sys.argv[1]
    hosts, port, pieces, piece_bytes = map(int, sys.argv[2:6])
    if role == "seeds":
        anyio.run(run_seeds, port, pieces, backend_options={"use_uvloop": True})
        return
    blocks = [(p, b) for p in range(pieces - 1) for b in range(0, piece_bytes, BLOCK_BYTES)]
    arguments = (hosts, port, blocks, sys.argv[6:])
    anyio.run(run_leeches, *arguments, backend_options={"use_uvloop": True})


if __name__ == "__main__":
    main()
