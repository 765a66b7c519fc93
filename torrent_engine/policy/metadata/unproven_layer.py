"""A layer that one peer sends in ranges without proofs; all of it together has the root.

Some programs answer no request for proofs (BEP 52). The hashes are of one peer alone, so that who
sent a wrong one is known when the last is here.
"""

from typing import Final

from torrent_engine.codec.hash_trees import MAX_ASKED, HashRange
from torrent_engine.codec.merkle import HASH_BYTES, levels_above, root_of

_LEVELS: Final = levels_above(MAX_ASKED)


class UnprovenLayer:
    """The hashes of the pieces of one file, more than fit into one answer, as they come."""

    def __init__(self, root: bytes, count: int, base_layer: int) -> None:
        self._root = root
        self._base = base_layer
        self._count = count
        self._hashes = bytearray(count * HASH_BYTES)
        self._nodes: dict[int, bytes] = {}
        """By the first hash of a range: the root above it."""
        self._to_ask = iter(range(0, count, MAX_ASKED))
        self._ranges = -(-count // MAX_ASKED)

    def next_range(self) -> HashRange | None:
        """Return what to ask for next; None if everything is asked for."""
        start = next(self._to_ask, None)
        return None if start is None else HashRange(self._root, self._base, start, MAX_ASKED, 0)

    def take(self, start: int, data: bytes) -> bool:
        """Add the answer for one range; return False if it is too short.

        What stands for pieces behind the last is not looked at.
        """
        size = min(MAX_ASKED, self._count - start) * HASH_BYTES
        if len(data) < size:
            return False
        hashes, first = data[:size], start * HASH_BYTES
        self._hashes[first : first + size] = hashes
        self._nodes[start] = root_of(hashes, levels=_LEVELS, pad_height=self._base)
        return True

    @property
    def is_complete(self) -> bool:
        """Whether all ranges are here."""
        return len(self._nodes) == self._ranges

    def proven(self) -> bytes | None:
        """Return the layer once it is complete; None if it does not have the root."""
        nodes = b"".join(self._nodes[start] for start in sorted(self._nodes))
        is_right = root_of(nodes, pad_height=self._base + _LEVELS) == self._root
        return bytes(self._hashes) if is_right else None
