"""Merkle trees of files: leaves, folds, checks of layers, proofs made and checked; without I/O.

A leaf is the SHA-256 of a block of 16 KiB, the last block of a file at its real length; a node is
the SHA-256 of its two children. Where a tree is wider than its file, the leaves that are missing
are 32 zero bytes. A layer is one ``bytes`` of hashes, left to right.
Source: BEP 52.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha256
from typing import Final, TypeAlias

from torrent_engine.base.ids import BLOCK_BYTES

HASH_BYTES: Final = 32
NODE_BYTES: Final = 2 * HASH_BYTES
_NO_HASH: Final = bytes(HASH_BYTES)

Data: TypeAlias = bytes | bytearray | memoryview


def leaves_of(data: Data) -> bytes:
    """Return the leaves of some blocks; only the last one may be short."""
    return _leaves_of_blocks(_blocks_of(memoryview(data)))


def _blocks_of(view: memoryview) -> list[memoryview]:
    return [view[start : start + BLOCK_BYTES] for start in range(0, len(view), BLOCK_BYTES)]


def _leaves_of_blocks(blocks: Sequence[Data]) -> bytes:
    # Each block releases the interpreter lock and must win it back: the less is done in between,
    # the less do threads that hash at the same time wait for each other.
    return b"".join([sha256(block).digest() for block in blocks])


def fold(layer: bytes) -> bytes:
    """Return the layer above one of an even number of hashes."""
    return b"".join(
        [
            sha256(layer[start : start + NODE_BYTES]).digest()
            for start in range(0, len(layer), NODE_BYTES)
        ]
    )


@cache
def pad_hash(height: int) -> bytes:
    """Return the root of a tree of ``2 ** height`` missing leaves; heights are below 64."""
    return fold(pad_hash(height - 1) * 2) if height else _NO_HASH


def levels_above(count: int) -> int:
    """Return how many levels a tree has above a layer of so many hashes."""
    return max(count - 1, 0).bit_length()


def root_of(layer: bytes, *, levels: int | None = None, pad_height: int = 0) -> bytes:
    """Return the root above a layer that is not empty.

    It is filled with ``pad_hash(pad_height)`` to ``2 ** levels`` hashes; without ``levels``, to the
    next power of two.
    """
    if levels is None:
        levels = levels_above(len(layer) // HASH_BYTES)
    for height in range(pad_height, pad_height + levels):
        layer = fold(_even(layer, height))
    return layer


def _even(layer: bytes, height: int) -> bytes:
    return layer + pad_hash(height) if len(layer) % NODE_BYTES else layer


class MerkleDigest:
    """The root of data that comes in parts, with the interface of :mod:`hashlib`.

    Parts that are multiples of 16 KiB are not copied. The tree has ``2 ** levels`` leaves, and is
    that of the first ``length_bytes``: what comes behind is a pad.
    """

    __slots__ = ("_leaves", "_left", "_levels", "_rest")

    def __init__(self, levels: int, length_bytes: int) -> None:
        self._levels = levels
        self._left = length_bytes
        self._leaves: list[bytes] = []
        self._rest = b""
        """What is left of the parts so far, less than a block."""

    def update(self, data: Data) -> None:
        """Add what comes next."""
        self.update_parts((data,))

    def update_parts(self, parts: Iterable[Data]) -> None:
        """Add parts in their order; blocks are hashed where they are."""
        blocks: list[Data] = []
        for part in parts:
            if len(part) == BLOCK_BYTES <= self._left and not self._rest:
                blocks.append(part)
                self._left -= BLOCK_BYTES
            else:
                blocks += self._take(part)
        self._leaves.append(_leaves_of_blocks(blocks))

    def _take(self, data: Data) -> list[memoryview]:
        """Return the blocks that are complete with what comes next, and keep the rest of it."""
        part = memoryview(data)[: self._left]
        self._left -= len(part)
        if self._rest:
            part = memoryview(self._rest + part)
        whole = len(part) - len(part) % BLOCK_BYTES
        self._rest = bytes(part[whole:])
        return _blocks_of(part[:whole])

    def digest(self) -> bytes:
        """Return the root of what was added, which is not nothing."""
        return root_of(b"".join(self._leaves) + leaves_of(self._rest), levels=self._levels)


# -- the layers of a file -----------------------------------------------------------------------


def piece_levels(piece_bytes: int) -> int:
    """Return how many levels of a tree are below the hash of a whole piece."""
    return levels_above(piece_bytes // BLOCK_BYTES)


def tree_levels(length_bytes: int) -> int:
    """Return how many levels the tree of so many bytes has above its leaves."""
    return levels_above(-(-length_bytes // BLOCK_BYTES))


def is_layer_of(layer: bytes, root: bytes, piece_bytes: int) -> bool:
    """Return whether these are the hashes of the pieces below the root of a file.

    Their number is the caller's to check.
    """
    return bool(layer) and root_of(layer, pad_height=piece_levels(piece_bytes)) == root


def layers_of(leaves: bytes, piece_bytes: int) -> tuple[bytes, bytes]:
    """Return root and piece layer of a file from its leaves; no layer of a file of one piece."""
    width = piece_bytes // BLOCK_BYTES * HASH_BYTES
    if len(leaves) <= width:
        return root_of(leaves), b""
    levels = piece_levels(piece_bytes)
    parts = (leaves[start : start + width] for start in range(0, len(leaves), width))
    layer = b"".join([root_of(part, levels=levels) for part in parts])
    return root_of(layer, pad_height=levels), layer


# -- proofs -------------------------------------------------------------------------------------


def proof_of(layer: bytes, *, index: int, length: int, pad_height: int = 0) -> bytes:
    """Return the uncles that lead from some hashes of a layer to the root, from the bottom up.

    ``length`` is a power of two, and ``index`` a multiple of it within the filled layer.
    """
    uncles: list[bytes] = []
    levels, skipped = levels_above(len(layer) // HASH_BYTES), levels_above(length)
    for level in range(levels):
        height = pad_height + level
        if level >= skipped:
            start = ((index >> level) ^ 1) * HASH_BYTES
            uncles.append(layer[start : start + HASH_BYTES] or pad_hash(height))
        layer = fold(_even(layer, height))
    return b"".join(uncles)


def is_proven(hashes: bytes, uncles: bytes, *, index: int, levels: int, root: bytes) -> bool:
    """Return whether hashes of a layer, with their uncles, lead to the root ``levels`` above it.

    They are a power of two of them, from a place ``index`` that is a multiple of it.
    """
    count = len(hashes) // HASH_BYTES
    skipped = levels_above(count)
    is_whole = count == 1 << skipped and not len(hashes) % HASH_BYTES
    if not is_whole or index % count or index >> levels:
        return False
    if len(uncles) != (levels - skipped) * HASH_BYTES:
        return False
    node, place = root_of(hashes), index >> skipped
    for start in range(0, len(uncles), HASH_BYTES):
        uncle = uncles[start : start + HASH_BYTES]
        node = fold(uncle + node if place & 1 else node + uncle)
        place >>= 1
    return node == root
