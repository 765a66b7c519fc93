"""Program of the processes that hash whole pieces of v2, each with an interpreter lock of its own.

It reads orders from the socket that is its standard input, each with the descriptor of a file, and
answers with the digests of the pieces, which it reads itself. It ends when the other end is gone,
and at the first order that it cannot carry out.
"""

import os
import socket
from hashlib import sha1
from struct import Struct
from typing import Final, NamedTuple

from torrent_engine.base.ids import SHA1_BYTES, SHA256_BYTES
from torrent_engine.codec.merkle import MerkleDigest, piece_levels
from torrent_engine.disk.pieces.huge_page import make_buffer

_CHUNK_BYTES: Final = 1024 * 1024  # as in the hasher
_ORDER: Final = Struct("=QIIB")


class HashOrder(NamedTuple):
    """Some whole pieces that follow each other in a file."""

    offset_bytes: int
    """In the file."""
    piece_bytes: int
    piece_count: int
    is_hybrid: bool
    """Whether SHA-1 is asked for too; the digest is SHA-1 and root then."""

    @property
    def digest_bytes(self) -> int:
        """The length of one digest."""
        return SHA256_BYTES + SHA1_BYTES * self.is_hybrid


def send_order(connection: socket.socket, order: HashOrder, descriptor: int) -> None:
    """Send an order with a file that is open for reading. Raises OSError."""
    socket.send_fds(connection, [_ORDER.pack(*order)], [descriptor])


def serve(connection: socket.socket) -> None:
    """Carry out orders to the end of the connection, or up to one that fails."""
    buffer = make_buffer(_CHUNK_BYTES)
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, _ORDER.size, 1)
        if len(message) < _ORDER.size or not descriptors:
            return
        offset, piece_bytes, piece_count, is_hybrid = _ORDER.unpack(message)
        order = HashOrder(offset, piece_bytes, piece_count, bool(is_hybrid))
        try:
            answer = _carry_out(order, descriptors[0], buffer)
        finally:
            os.close(descriptors[0])
        connection.sendall(answer)


def _carry_out(order: HashOrder, descriptor: int, buffer: memoryview) -> bytes:
    """Return the digests one behind the other. Raises OSError and EOFError."""
    levels, size = piece_levels(order.piece_bytes), order.piece_bytes
    starts = range(order.offset_bytes, order.offset_bytes + order.piece_count * size, size)
    digests: list[bytes] = []
    for start in starts:
        tree, plain = MerkleDigest(levels, size), sha1(usedforsecurity=False)
        for done in range(0, size, _CHUNK_BYTES):
            view = buffer[: min(size - done, _CHUNK_BYTES)]
            if os.preadv(descriptor, [view], start + done) < len(view):
                raise EOFError
            tree.update(view)
            if order.is_hybrid:
                plain.update(view)
        digests.append((plain.digest() if order.is_hybrid else b"") + tree.digest())
    return b"".join(digests)


def main() -> None:
    """Serve whoever started this process; what fails ends it without a word."""
    try:
        with socket.socket(fileno=0) as connection:
            serve(connection)
    except (OSError, EOFError, MemoryError):
        pass
