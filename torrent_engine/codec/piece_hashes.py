"""The hashes of pieces, whichever version of the protocol they are of.

A piece is right if what :meth:`PieceHashes.new_digest` makes of it is what
:meth:`PieceHashes.expected` says: SHA-1 in v1, the root of a Merkle tree in v2, both in a hybrid.
Source: BEP 3 (``pieces``), BEP 52.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import Final, NamedTuple, Protocol

from torrent_engine.base.ids import BLOCK_BYTES, SHA1_BYTES, SHA256_BYTES
from torrent_engine.codec._v2_part import V2Part
from torrent_engine.codec.geometry import FileLayout, Geometry
from torrent_engine.codec.merkle import Data, MerkleDigest, piece_levels, tree_levels

_ZEROS: Final = bytes(1024 * 1024)
_JOINED_PARTS: Final = 64  # about 1 MiB, joined and hashed at once
_CACHED_PARTS: Final = 16  # about 256 KiB, which a cache still has when the other hash reads it


class PieceDigest(Protocol):
    """A hash of data that comes in parts."""

    def update(self, data: Data, /) -> None:
        """Add what comes next; multiples of 16 KiB cost least."""

    def digest(self) -> bytes:
        """Return the hash of what was added."""


class PieceTree(NamedTuple):
    """The hashes below that of a piece, as part of the tree of its file (BEP 52)."""

    root: bytes
    """Of the file."""
    expected: bytes
    """The hash of the piece."""
    first_leaf: int
    """Its first block, within the file."""
    levels: int
    """Between its blocks and its hash."""
    length_bytes: int
    """Without pads."""

    @property
    def leaf_count(self) -> int:
        """How many blocks have a hash that is not a pad's."""
        return -(-self.length_bytes // BLOCK_BYTES)


class PieceHashes(Protocol):
    """What the pieces of a torrent must be."""

    def expected(self, piece: int) -> bytes | None:
        """Return the digest of a piece that is right; None if it is not known yet."""

    def new_digest(self, piece: int) -> PieceDigest:
        """Return a digest that takes the bytes of a piece, pads included."""

    def digest_of(self, piece: int, parts: Sequence[Data]) -> bytes:
        """Return the digest of a piece that lies in parts, best of a block each; pads included."""

    def matches(self, piece: int, data: Data) -> bool:
        """Return whether this is the content of a piece."""

    def contradict(self, piece: int, digest: bytes) -> bool:
        """Return whether one hash of a digest of a piece is right, and the other wrong."""

    def is_zeros(self, piece: int) -> bool:
        """Return whether the content of a piece is zeros."""

    def tree(self, piece: int) -> PieceTree | None:
        """Return what is below the hash of a piece of several blocks; None if nothing is."""


class Sha1Hashes:
    """The hashes of a v1 torrent."""

    def __init__(self, hashes: bytes, geometry: Geometry) -> None:
        self._hashes = hashes
        self._geometry = geometry
        self._of_zeros: dict[int, bytes] = {}

    def expected(self, piece: int) -> bytes:
        """Return the SHA-1 of a piece."""
        return self._hashes[SHA1_BYTES * piece : SHA1_BYTES * piece + SHA1_BYTES]

    def new_digest(self, piece: int) -> PieceDigest:
        """Return SHA-1."""
        return sha1(usedforsecurity=False)

    def digest_of(self, piece: int, parts: Sequence[Data]) -> bytes:
        """Return the SHA-1 of a piece."""
        return _digest_of_joined(self.new_digest(piece), parts)

    def matches(self, piece: int, data: Data) -> bool:
        """Return whether this is the content of a piece."""
        digest = sha1(data, usedforsecurity=False).digest()
        return digest == self._hashes[SHA1_BYTES * piece : SHA1_BYTES * piece + SHA1_BYTES]

    def contradict(self, piece: int, digest: bytes) -> bool:
        """Return False: there is one hash."""
        return False

    def is_zeros(self, piece: int) -> bool:
        """Return whether the content of a piece is zeros."""
        length = self._geometry.piece_length(piece)
        known = self._of_zeros.get(length)
        if known is None:
            known = self._of_zeros[length] = _of_zeros(self.new_digest, piece, length)
        return self.expected(piece) == known

    def tree(self, piece: int) -> None:
        """Return None: the blocks of v1 have no hashes."""


class PaddedSha1Hashes:
    """The SHA-1 of the pieces of a hybrid that is known by its v2 part, in which pads are left out.

    ``geometry`` is that of the v1 part, with pads.
    """

    def __init__(self, hashes: bytes, geometry: Geometry) -> None:
        self._plain = Sha1Hashes(hashes, geometry)
        self._geometry = geometry

    def expected(self, piece: int) -> bytes:
        """Return the SHA-1 of a piece and its pad."""
        return self._plain.expected(piece)

    def new_digest(self, piece: int) -> PieceDigest:
        """Return SHA-1 of what comes, and of zeros up to the end of the piece."""
        return _PaddedDigest(self._plain.new_digest(piece), self._geometry.piece_length(piece))

    def is_zeros(self, piece: int) -> bool:
        """Return whether the content of a piece is zeros."""
        return self._plain.is_zeros(piece)


class MerkleHashes:
    """The hashes of the v2 part of a torrent, pads of its v1 part left out."""

    def __init__(self, part: V2Part, layout: FileLayout) -> None:
        self._part = part
        self._layout = layout
        self._of_zeros: dict[tuple[int, int], bytes] = {}

    def _file_of(self, piece: int) -> int:
        return bisect_right(self._layout.offsets, piece * self._part.piece_bytes) - 1

    def _levels(self, index: int) -> int:
        length, piece_bytes = self._layout.lengths[index], self._part.piece_bytes
        return tree_levels(length) if length <= piece_bytes else piece_levels(piece_bytes)

    def expected(self, piece: int) -> bytes | None:
        """Return the root of the tree above a piece; None if the file's layer is missing."""
        index, piece_bytes = self._file_of(piece), self._part.piece_bytes
        root = self._part.root(index)
        if root is None or self._layout.lengths[index] <= piece_bytes:
            return root
        layer = self._part.layers.get(root)
        if layer is None:
            return None
        start = (piece - self._layout.offsets[index] // piece_bytes) * SHA256_BYTES
        return layer[start : start + SHA256_BYTES]

    def new_digest(self, piece: int) -> MerkleDigest:
        """Return a tree that takes the bytes of a piece, and of what it holds only the file's."""
        index = self._file_of(piece)
        return MerkleDigest(self._levels(index), self._real_length(piece))

    def digest_of(self, piece: int, parts: Sequence[Data]) -> bytes:
        """Return the root of the tree above a piece, whose blocks are hashed where they are."""
        digest = self.new_digest(piece)
        digest.update_parts(parts)
        return digest.digest()

    def _real_length(self, piece: int) -> int:
        piece_bytes = self._part.piece_bytes
        return self._layout.run_at(piece * piece_bytes, piece_bytes)

    def matches(self, piece: int, data: Data) -> bool:
        """Return whether this is the content of a piece."""
        digest = self.new_digest(piece)
        digest.update(data)
        return digest.digest() == self.expected(piece)

    def contradict(self, piece: int, digest: bytes) -> bool:
        """Return False: there is one hash."""
        return False

    def is_zeros(self, piece: int) -> bool:
        """Return whether the content of a piece is zeros."""
        length = self._real_length(piece)
        key = length, self._levels(self._file_of(piece))
        known = self._of_zeros.get(key)
        if known is None:
            known = self._of_zeros[key] = _of_zeros(self.new_digest, piece, length)
        return self.expected(piece) == known

    def tree(self, piece: int) -> PieceTree | None:
        """Return what is below the hash of a piece; None for one block, or without the hash."""
        index, expected = self._file_of(piece), self.expected(piece)
        root, levels = self._part.root(index), self._levels(index)
        if root is None or expected is None or not levels:
            return None
        start = piece * self._part.piece_bytes - self._layout.offsets[index]
        return PieceTree(root, expected, start // BLOCK_BYTES, levels, self._real_length(piece))


class BothHashes:
    """The hashes of a hybrid torrent: both must be right, but for layers that are missing."""

    def __init__(self, v1: Sha1Hashes | PaddedSha1Hashes, v2: MerkleHashes) -> None:
        self._v1 = v1
        self._v2 = v2

    def expected(self, piece: int) -> bytes:
        """Return both hashes, one behind the other."""
        return self._v1.expected(piece) + (self._v2.expected(piece) or b"")

    def new_digest(self, piece: int) -> PieceDigest:
        """Return both digests as one."""
        if self._v2.expected(piece) is None:
            return self._v1.new_digest(piece)
        return _TwoDigests(self._v1.new_digest(piece), self._v2.new_digest(piece))

    def digest_of(self, piece: int, parts: Sequence[Data]) -> bytes:
        """Return both hashes, one behind the other."""
        v1 = self._v1.new_digest(piece)
        if self._v2.expected(piece) is None:
            return _digest_of_joined(v1, parts)
        v2 = self._v2.new_digest(piece)
        for start in range(0, len(parts), _CACHED_PARTS):
            some = parts[start : start + _CACHED_PARTS]
            v2.update_parts(some)
            v1.update(_joined(some))
        return v1.digest() + v2.digest()

    def matches(self, piece: int, data: Data) -> bool:
        """Return whether this is the content of a piece."""
        digest = self.new_digest(piece)
        digest.update(data)
        return digest.digest() == self.expected(piece)

    def contradict(self, piece: int, digest: bytes) -> bool:
        """Return whether one hash of a digest of a piece is right, and the other wrong.

        With zeros for its pads, which v2 leaves out, no peer can send such a piece: who made the
        torrent took its hashes from different data.
        """
        v1, v2 = self._v1.expected(piece), self._v2.expected(piece)
        is_right = digest.startswith(v1), v2 is None or digest[len(v1) :] == v2
        return v2 is not None and is_right[0] != is_right[1]

    def is_zeros(self, piece: int) -> bool:
        """Return whether the content of a piece is zeros."""
        return self._v1.is_zeros(piece)

    def tree(self, piece: int) -> PieceTree | None:
        """Return what is below the v2 hash of a piece."""
        return self._v2.tree(piece)


class _TwoDigests:
    """Two digests of the same data."""

    __slots__ = ("_first", "_second")

    def __init__(self, first: PieceDigest, second: PieceDigest) -> None:
        self._first = first
        self._second = second

    def update(self, data: Data) -> None:
        """Add what comes next."""
        self._first.update(data)
        self._second.update(data)

    def digest(self) -> bytes:
        """Return the two, one behind the other."""
        return self._first.digest() + self._second.digest()


class _PaddedDigest:
    """A digest of data and of zeros behind it, up to a length."""

    __slots__ = ("_digest", "_left")

    def __init__(self, digest: PieceDigest, length: int) -> None:
        self._digest = digest
        self._left = length

    def update(self, data: Data) -> None:
        """Add what comes next."""
        self._digest.update(data)
        self._left -= len(data)

    def digest(self) -> bytes:
        """Return the hash with the zeros; nothing can be added any more."""
        while self._left > 0:
            self.update(_ZEROS[: self._left])
        return self._digest.digest()


def _digest_of_joined(digest: PieceDigest, parts: Sequence[Data]) -> bytes:
    # Each update() releases and takes the interpreter lock, which for every block costs three
    # times the hashing. Joining takes 31 us a MiB, with a single release.
    for start in range(0, len(parts), _JOINED_PARTS):
        digest.update(_joined(parts[start : start + _JOINED_PARTS]))
    return digest.digest()


def _joined(parts: Sequence[Data]) -> Data:
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _of_zeros(new_digest: Callable[[int], PieceDigest], piece: int, length: int) -> bytes:
    digest = new_digest(piece)
    for done in range(0, length, len(_ZEROS)):
        digest.update(_ZEROS[: length - done])
    return digest.digest()
