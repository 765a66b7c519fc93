"""The answers to peers that ask for hashes of the trees of a v2 torrent.

Source: BEP 52 ("hash request"): a range of hashes of one layer, and the uncles that prove them.
"""

from typing import Final, NamedTuple

from torrent_engine.codec._v2_part import V2Part
from torrent_engine.codec.merkle import HASH_BYTES, fold, levels_above, pad_hash, piece_levels

MAX_HASHES: Final = 4096  # ours: of one answer; BEP 52 recommends to ask for 512 at most
MAX_TREE_HASHES: Final = 65_536  # ours: folding a layer of more takes longer than 40 ms
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
        tree = self._tree(wanted.root, layer, levels)
        return self._slice(tree[level], wanted, level) + self._uncles(tree, wanted, level)

    def _slice(self, layer: bytes, wanted: HashRange, level: int) -> bytes:
        start, stop = wanted.start * HASH_BYTES, (wanted.start + wanted.length) * HASH_BYTES
        found = layer[start:stop]
        missing = wanted.length - len(found) // HASH_BYTES
        return found + pad_hash(self._base + level) * missing

    def _uncles(self, tree: list[bytes], wanted: HashRange, level: int) -> bytes:
        if not wanted.proof_layers:
            return b""
        first = levels_above(wanted.length)
        count = max(wanted.proof_layers + 1 - first, 0)
        uncles: list[bytes] = []
        for height in range(first, first + count):
            place = ((wanted.start >> height) ^ 1) * HASH_BYTES
            layer = tree[level + height]
            pad = pad_hash(self._base + level + height)
            uncles.append(layer[place : place + HASH_BYTES] or pad)
        return b"".join(uncles)

    def _tree(self, root: bytes, layer: bytes, levels: int) -> list[bytes]:
        tree = self._trees.pop(root, None)
        if tree is None:
            tree = [layer]
            for height in range(self._base, self._base + levels):
                row = tree[-1]
                if len(row) // HASH_BYTES % 2:
                    row += pad_hash(height)
                tree.append(fold(row))
        if len(self._trees) >= KEPT_TREES:
            del self._trees[next(iter(self._trees))]
        self._trees[root] = tree
        return tree


def _is_provable(wanted: HashRange, levels: int) -> bool:
    """Return whether there is a proof that begins with the fold of all of the hashes."""
    if not wanted.proof_layers:
        return True
    is_power = wanted.length.bit_count() == 1 and wanted.length > 1
    return is_power and not wanted.start % wanted.length and wanted.proof_layers < levels
