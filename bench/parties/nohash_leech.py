"""nohash_leech.py PORT TORRENT CONNECTIONS MIB_EACH: many downloads that use little CPU.

Every connection asks for a share of its own of the torrent. Payload is thrown away by the kernel
(MSG_TRUNC copies nothing), and blocks are counted by their bytes, so that the seed is what is
measured. Prints one JSON line: from the first request to the last byte.
"""

import hashlib
import os
import select
import socket
import struct
import sys
import time

import bencodepy

from bench.harness import MIB, report

BLOCK_BYTES = 16 * 1024
FRAME_BYTES = BLOCK_BYTES + 13
DEPTH = 64  # requests outstanding on each connection: 1 MiB
BATCH = 16
CHUNK_BYTES = 4 * MIB
INTERESTED, UNCHOKE = b"\x00\x00\x00\x01\x02", b"\x00\x00\x00\x01\x01"
REQUEST = struct.Struct(">IBIII")
SINK = bytearray(CHUNK_BYTES)


class Connection:
    """One leech of a seed: it has nothing, keeps nothing, and asks again."""

    def __init__(self, port: int, handshake: bytes, blocks: range, torrent: dict) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(handshake)
        self.blocks = iter(blocks)
        self.asked = 0
        self.total = len(blocks)
        self.received_bytes = 0
        self.per_piece = torrent[b"piece length"] // BLOCK_BYTES
        self.all_blocks = torrent[b"length"] // BLOCK_BYTES

    def wait_unchoked(self) -> None:
        """Read the handshake, then messages up to the unchoke."""
        self._exactly(68)
        self.socket.sendall(INTERESTED)
        while True:
            length = int.from_bytes(self._exactly(4), "big")
            if length and self._exactly(length)[0] == 1:
                return

    def ask(self) -> None:
        """Keep DEPTH requests outstanding, in batches."""
        answered = self.received_bytes // FRAME_BYTES
        room = min(DEPTH - (self.asked - answered), self.total - self.asked)
        if room < min(BATCH, self.total - self.asked) or room <= 0:
            return
        batch = bytearray()
        for _ in range(room):
            block = next(self.blocks) % self.all_blocks
            piece, index = divmod(block, self.per_piece)
            batch += REQUEST.pack(13, 6, piece, index * BLOCK_BYTES, BLOCK_BYTES)
        self.asked += room
        self.socket.sendall(batch)

    def read(self) -> bool:
        """Throw away what is there and ask for more; say if that was all."""
        try:
            count = self.socket.recv_into(SINK, CHUNK_BYTES, socket.MSG_TRUNC)
        except BlockingIOError:
            return False
        if not count:
            raise ConnectionError(f"the seed left after {self.received_bytes} bytes")
        self.received_bytes += count
        if self.received_bytes >= self.total * FRAME_BYTES:
            return True
        self.ask()
        return False

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            chunk = self.socket.recv(count - len(data))
            if not chunk:
                raise ConnectionError("the seed left before it unchoked us")
            data += chunk
        return data


def main() -> None:
    port, torrent, count, each_mib = int(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:5])
    info = bencodepy.bread(torrent)[b"info"]
    info_hash = hashlib.sha1(bencodepy.encode(info)).digest()
    blocks_each = each_mib * MIB // BLOCK_BYTES
    step = info[b"length"] // BLOCK_BYTES // count
    connections = []
    for index in range(count):
        peer_id = b"-NH0001-" + os.urandom(12)
        handshake = b"\x13BitTorrent protocol" + bytes(8) + info_hash + peer_id
        blocks = range(index * step, index * step + blocks_each)
        connections.append(Connection(port, handshake, blocks, info))
    for connection in connections:
        connection.wait_unchoked()
    poll = select.epoll()
    by_fd = {connection.socket.fileno(): connection for connection in connections}
    started = time.perf_counter()
    for connection in connections:
        connection.ask()
        connection.socket.setblocking(False)  # noqa: FBT003 - its only spelling
        poll.register(connection.socket.fileno(), select.EPOLLIN)
    while by_fd:
        for fd, _ in poll.poll():
            if by_fd[fd].read():
                poll.unregister(fd)
                by_fd.pop(fd).socket.close()
    report(time.perf_counter() - started, count * blocks_each * BLOCK_BYTES)


main()
