"""The answers to peers that ask for hashes of the trees of a v2 torrent.

Source: BEP 52 ("hash request"): a range of hashes of one layer, and the uncles that prove them.
"""

from typing import Final, NamedTuple

from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec._v2_part import V2Part
from torrent_engine.codec.merkle import (
    HASH_BYTES,
    fold,
    levels_above,
    pad_hash,
    piece_levels,
    tree_levels,
)

MAX_HASHES: Final = 4096  # ours: of one answer; BEP 52 recommends to ask for 512 at most
MAX_TREE_HASHES: Final = 65_536  # ours: folding a layer of more takes longer than 40 ms
MAX_READ_BYTES: Final = 32 * 1024 * 1024  # ours: of pieces, for the hashes of their blocks
KEPT_TREES: Final = 4
MAX_UNCLES: Final = 32  # ours: of one proof, more than the highest tree has
MAX_ASKED: Final = 512  # BEP 52: what to ask for at once


class HashRange(NamedTuple):
    """What a peer asks for, in the order of the wire."""

    root: bytes
    """Which file: the root of its tree."""
    base_layer: int
    """How far above the leaves the hashes are."""
    start: int
    length: int
    proof_layers: int
    """How many layers above the base the proof goes up; the first ones need no uncles."""


class HashTrees:
    """The layers of a torrent's files from the hashes of their pieces upwards."""

    def __init__(self, part: V2Part) -> None:
        self._layers = part.layers
        self._base = piece_levels(part.piece_bytes)
        self._trees: dict[bytes, list[bytes]] = {}
        """Of the files that were asked for last, by root: all layers, filled to powers of two."""

    def hashes(self, wanted: HashRange) -> bytes | None:
        """Return the hashes and behind them the uncles, bottom up; None if they are not to be had.

        What is below the hashes of pieces is not kept.
        """
        layer = self._layers.get(wanted.root)
        level = wanted.base_layer - self._base
        if layer is None or level < 0 or not 1 <= wanted.length <= MAX_HASHES:
            return None
        levels = levels_above(len(layer) // HASH_BYTES)
        if level >= levels or wanted.start + wanted.length > 1 << (levels - level):
            return None
        if not level and not wanted.proof_layers:
            return self._slice(layer, wanted, level)
        if len(layer) > MAX_TREE_HASHES * HASH_BYTES or not _is_provable(wanted, levels - level):
            return None
        tree = self._tree(wanted.root, layer)
        return self._slice(tree[level], wanted, level) + self._uncles(tree, wanted)

    # -- below the hashes of pieces ---------------------------------------------------------------

    def is_below(self, wanted: HashRange) -> bool:
        """Return whether hashes are below those of whole pieces, so that blocks are needed."""
        return wanted.base_layer < self._base

    def span(self, wanted: HashRange, length_bytes: int) -> range | None:
        """Return which bytes of a file give hashes that are below those of its pieces.

        They are whole pieces. None: the file, of so many bytes, has no such hashes, or too many
        bytes would have to be read.
        """
        base, top = self._top(wanted.root, length_bytes)
        if not top or wanted.base_layer >= base or not 1 <= wanted.length <= MAX_HASHES:
            return None
        levels = base + levels_above(len(top) // HASH_BYTES) - wanted.base_layer
        is_inside = wanted.start + wanted.length <= 1 << levels
        if not is_inside or not _is_provable(wanted, levels):
            return None
        if len(top) > MAX_TREE_HASHES * HASH_BYTES and self._leaves_pieces(wanted, base):
            return None
        first, last = _pieces(wanted, base)
        piece_bytes = BLOCK_BYTES << base
        found = range(first * piece_bytes, min((last + 1) * piece_bytes, length_bytes))
        return found if 0 < len(found) <= MAX_READ_BYTES else None

    def hashes_below(self, wanted: HashRange, length_bytes: int, leaves: bytes) -> bytes:
        """Return hashes and uncles as :meth:`hashes`, from the leaves of :meth:`span`."""
        base, top = self._top(wanted.root, length_bytes)
        first, last = _pieces(wanted, base)
        rows, row = list[bytes](), leaves
        for height in range(base + 1):
            missing = ((last + 1 - first) << (base - height)) - len(row) // HASH_BYTES
            rows.append(row + pad_hash(height) * missing)
            row = fold(rows[-1]) if height < base else b""
        start = wanted.start - (first << (base - wanted.base_layer))
        found = rows[wanted.base_layer][start * HASH_BYTES :][: wanted.length * HASH_BYTES]
        uncles = list[bytes]()
        for height in _uncle_heights(wanted):
            level = wanted.base_layer + height
            if level >= base:
                break
            place = ((wanted.start >> height) ^ 1) - (first << (base - level))
            uncles.append(rows[level][place * HASH_BYTES :][:HASH_BYTES])
        if self._leaves_pieces(wanted, base):
            uncles.append(self._uncles(self._tree(wanted.root, top), wanted))
        return found + b"".join(uncles)

    def _top(self, root: bytes, length_bytes: int) -> tuple[int, bytes]:
        """Return the lowest layer of a file that is kept, and how far above its leaves it is."""
        levels = tree_levels(length_bytes)
        return (levels, root) if levels <= self._base else (self._base, self._layers.get(root, b""))

    @staticmethod
    def _leaves_pieces(wanted: HashRange, base: int) -> bool:
        """Return whether a proof of hashes below those of pieces goes beyond them."""
        heights = _uncle_heights(wanted)
        return bool(heights) and wanted.base_layer + heights[-1] >= base

    # -- the hashes of pieces, and above ----------------------------------------------------------

    def _slice(self, layer: bytes, wanted: HashRange, level: int) -> bytes:
        start, stop = wanted.start * HASH_BYTES, (wanted.start + wanted.length) * HASH_BYTES
        found = layer[start:stop]
        missing = wanted.length - len(found) // HASH_BYTES
        return found + pad_hash(self._base + level) * missing

    def _uncles(self, tree: list[bytes], wanted: HashRange) -> bytes:
        """Return the uncles that are hashes of pieces, or above those."""
        uncles: list[bytes] = []
        for height in _uncle_heights(wanted):
            level = wanted.base_layer + height
            if level >= self._base:
                place = ((wanted.start >> height) ^ 1) * HASH_BYTES
                layer = tree[level - self._base]
                uncles.append(layer[place : place + HASH_BYTES] or pad_hash(level))
        return b"".join(uncles)

    def _tree(self, root: bytes, layer: bytes) -> list[bytes]:
        tree = self._trees.pop(root, None)
        if tree is None:
            tree, levels = [layer], levels_above(len(layer) // HASH_BYTES)
            for height in range(self._base, self._base + levels):
                row = tree[-1]
                if len(row) // HASH_BYTES % 2:
                    row += pad_hash(height)
                tree.append(fold(row))
        if len(self._trees) >= KEPT_TREES:
            del self._trees[next(iter(self._trees))]
        self._trees[root] = tree
        return tree


def _pieces(wanted: HashRange, base: int) -> tuple[int, int]:
    """Return the first and the last piece of a file that hashes below its pieces are of."""
    depth = base - wanted.base_layer
    return wanted.start >> depth, (wanted.start + wanted.length - 1) >> depth


def _uncle_heights(wanted: HashRange) -> range:
    """Return how far above the hashes each uncle of their proof is."""
    first = levels_above(wanted.length)
    return range(first, max(wanted.proof_layers + 1, first)) if wanted.proof_layers else range(0)


def _is_provable(wanted: HashRange, levels: int) -> bool:
    """Return whether there is a proof that begins with the fold of all of the hashes."""
    if not wanted.proof_layers:
        return True
    is_power = wanted.length.bit_count() == 1 and wanted.length > 1
    return is_power and not wanted.start % wanted.length and wanted.proof_layers < levels
