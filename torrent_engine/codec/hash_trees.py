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
    root_of,
    tree_levels,
)

MAX_HASHES: Final = 8192  # of one answer, as libtorrent asks for at most; BEP 52 recommends 512
MAX_FOLDED: Final = 8192  # ours: hashes of pieces folded for one answer, which takes 5 ms
MAX_READ_BYTES: Final = MAX_HASHES * BLOCK_BYTES  # ours: of pieces, for the hashes of their blocks
QUICK_FOLDS: Final = 512  # ours: which take up to 0.7 ms
SMALL_LAYER: Final = 2048  # ours: hashes of pieces; the top of such a tree is made in 2 ms
MAX_UNCLES: Final = 32  # ours: of one proof, more than the highest tree has
MAX_ASKED: Final = 512  # BEP 52: what to ask for at once
_TOP_LEVEL: Final = 9  # how far above the hashes of pieces the kept top of a tree begins


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
        self._tops: dict[bytes, list[bytes]] = {}
        """By root: the layers from 512 pieces a hash upwards, which are a 256th of all hashes."""

    def takes_long(self, wanted: HashRange) -> bool:
        """Return whether an answer takes long: by its folds, or for the top of a large tree.

        That top is made once.
        """
        if folds_of(wanted, self._base) > QUICK_FOLDS:
            return True
        layer = self._layers.get(wanted.root, b"")
        if len(layer) <= SMALL_LAYER * HASH_BYTES or wanted.root in self._tops:
            return False
        return bool(wanted.proof_layers) or wanted.base_layer > self._base

    def hashes(self, wanted: HashRange) -> bytes | None:
        """Return the hashes and behind them the uncles, bottom up; None if they are not to be had.

        What is below the hashes of pieces is not kept.
        """
        layer = self._layers.get(wanted.root)
        level = wanted.base_layer - self._base
        if layer is None or level < 0 or not 1 <= wanted.length <= MAX_HASHES:
            return None
        count = len(layer) // HASH_BYTES
        levels = levels_above(count)
        if level >= levels or wanted.start + wanted.length > 1 << (levels - level):
            return None
        is_long = 0 < level < _TOP_LEVEL and wanted.length << level > MAX_FOLDED
        if is_long or not _is_provable(wanted, levels - level, -(-count >> level)):
            return None
        return self._nodes(wanted.root, level, wanted.start, wanted.length) + self._uncles(wanted)

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
        count = -(-length_bytes // (BLOCK_BYTES << wanted.base_layer))
        if not is_inside or not _is_provable(wanted, levels, count):
            return None
        first, last = _pieces(wanted, base)
        piece_bytes = BLOCK_BYTES << base
        found = range(first * piece_bytes, min((last + 1) * piece_bytes, length_bytes))
        return found if 0 < len(found) <= MAX_READ_BYTES else None

    def hashes_below(self, wanted: HashRange, length_bytes: int, leaves: bytes) -> bytes | None:
        """Return hashes and uncles as :meth:`hashes`, from the leaves of :meth:`span`.

        None: these are not the leaves of the file.
        """
        base, top = self._top(wanted.root, length_bytes)
        first, last = _pieces(wanted, base)
        rows, row = list[bytes](), leaves
        for height in range(base + 1):
            missing = ((last + 1 - first) << (base - height)) - len(row) // HASH_BYTES
            rows.append(row + pad_hash(height) * missing)
            row = fold(rows[-1]) if height < base else b""
        known = top[first * HASH_BYTES : (last + 1) * HASH_BYTES]
        if not _is_filled(rows[-1], known, base):
            return None
        start = wanted.start - (first << (base - wanted.base_layer))
        found = rows[wanted.base_layer][start * HASH_BYTES :][: wanted.length * HASH_BYTES]
        uncles = list[bytes]()
        for height in _heights(wanted):
            level = wanted.base_layer + height
            if level >= base:
                break
            place = ((wanted.start >> height) ^ 1) - (first << (base - level))
            uncles.append(rows[level][place * HASH_BYTES :][:HASH_BYTES])
        if self._leaves_pieces(wanted, base):
            uncles.append(self._uncles(wanted))
        return found + b"".join(uncles)

    def _top(self, root: bytes, length_bytes: int) -> tuple[int, bytes]:
        """Return the lowest layer of a file that is kept, and how far above its leaves it is."""
        levels = tree_levels(length_bytes)
        return (levels, root) if levels <= self._base else (self._base, self._layers.get(root, b""))

    @staticmethod
    def _leaves_pieces(wanted: HashRange, base: int) -> bool:
        """Return whether a proof of hashes below those of pieces goes beyond them."""
        heights = _heights(wanted)
        return bool(heights) and wanted.base_layer + heights[-1] >= base

    # -- the hashes of pieces, and above ----------------------------------------------------------

    def _nodes(self, root: bytes, level: int, start: int, count: int) -> bytes:
        """Return hashes of a layer that is so many levels above the pieces."""
        stop = (start + count) * HASH_BYTES
        if level >= _TOP_LEVEL:
            found = self._top_of(root)[level - _TOP_LEVEL][start * HASH_BYTES : stop]
        else:
            found = self._layers[root][start * HASH_BYTES << level : stop << level]
            found = root_of(found, levels=level, pad_height=self._base)
        return found + pad_hash(self._base + level) * (count - len(found) // HASH_BYTES)

    def _uncles(self, wanted: HashRange) -> bytes:
        """Return the uncles that are hashes of pieces, or above those."""
        levels = ((wanted.base_layer + height - self._base, height) for height in _heights(wanted))
        return b"".join(
            self._nodes(wanted.root, level, (wanted.start >> height) ^ 1, 1)
            for level, height in levels
            if level >= 0
        )

    def _top_of(self, root: bytes) -> list[bytes]:
        top = self._tops.get(root)
        if top is None:
            layer, width = self._layers[root], HASH_BYTES << _TOP_LEVEL
            parts = (layer[start : start + width] for start in range(0, len(layer), width))
            row = b"".join(
                root_of(part, levels=_TOP_LEVEL, pad_height=self._base) for part in parts
            )
            top = [row]
            while len(row) > HASH_BYTES:
                row = root_of(row, levels=1, pad_height=self._base + _TOP_LEVEL + len(top) - 1)
                top.append(row)
            self._tops[root] = top
        return top


def folds_of(wanted: HashRange, base: int) -> int:
    """Return how many pairs are hashed, about, for an answer about hashes of pieces or above.

    ``base`` is the layer of pieces. The range may be any: what is refused needs no folds.
    """
    level = wanted.base_layer - base
    if not 0 <= level < _TOP_LEVEL or not 1 <= wanted.length <= MAX_HASHES:
        return 0
    found = wanted.length << level if level else 0
    if found > MAX_FOLDED:
        return 0
    uncles = range(level + _first_height(wanted), min(level + wanted.proof_layers + 1, _TOP_LEVEL))
    return found + sum(1 << each for each in uncles)


def _pieces(wanted: HashRange, base: int) -> tuple[int, int]:
    """Return the first and the last piece of a file that hashes below its pieces are of."""
    depth = base - wanted.base_layer
    return wanted.start >> depth, (wanted.start + wanted.length - 1) >> depth


def _is_filled(row: bytes, hashes: bytes, height: int) -> bool:
    """Return whether a row is these hashes, and pads behind them."""
    missing = (len(row) - len(hashes)) // HASH_BYTES
    return row == hashes + pad_hash(height) * missing


def _heights(wanted: HashRange) -> range:
    """Return how far above the hashes each uncle of their proof is."""
    first = _first_height(wanted)
    return range(first, max(wanted.proof_layers + 1, first)) if wanted.proof_layers else range(0)


def _first_height(wanted: HashRange) -> int:
    """Return how far above the hashes the fold of all of them is; with a pad, that of one."""
    return max(levels_above(wanted.length), 1)


def _is_provable(wanted: HashRange, levels: int, count: int) -> bool:
    """Return whether there is a proof that begins with the fold of all of the hashes.

    Behind the last of the ``count`` hashes of a layer are pads, which need not be asked for.
    """
    if not wanted.proof_layers:
        return True
    width = 1 << _first_height(wanted)
    is_whole = wanted.length == width or wanted.start + wanted.length == count
    return is_whole and not wanted.start % width and wanted.proof_layers < levels
