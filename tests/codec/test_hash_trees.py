"""Hashes of trees for those who ask, with proofs."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.torrents import payload_of
from torrent_engine.base.ids import InfoHashV2
from torrent_engine.codec._v2_part import V2Part
from torrent_engine.codec.hash_trees import HashRange, HashTrees
from torrent_engine.codec.merkle import is_proven, layers_of, leaves_of, levels_above, pad_hash

BLOCK = 16_384
COUNTS = (2, 3, 4, 5, 511, 512, 513, 1_025)


def part_of(count: int, piece_bytes: int = BLOCK) -> tuple[V2Part, bytes]:
    """Return a torrent of one file of so many pieces, and the root of the file."""
    blocks = piece_bytes // BLOCK
    leaves = b"".join(sha256(b"%d" % n).digest() for n in range(count * blocks))
    root, layer = layers_of(leaves, piece_bytes)
    lengths = (count * piece_bytes,)
    return V2Part(InfoHashV2(bytes(32)), piece_bytes, lengths, root, {root: layer}), root


@pytest.mark.parametrize("piece_bytes", [BLOCK, 4 * BLOCK])
@pytest.mark.parametrize("count", COUNTS)
def test_bep52_each_chunk_of_a_layer_is_proven(count: int, piece_bytes: int) -> None:
    part, root = part_of(count, piece_bytes)
    trees, base = HashTrees(part), (piece_bytes // BLOCK).bit_length() - 1
    levels = levels_above(count)
    length = min(512, 1 << levels)
    for index in range(0, 1 << levels, length):
        found = trees.hashes(HashRange(root, base, index, length, max(levels - 1, 0)))
        assert found is not None
        hashes, uncles = found[: 32 * length], found[32 * length :]
        assert is_proven(hashes, uncles, index=index, levels=levels, root=root)
        bad = bytes((hashes[0] ^ 1,)) + hashes[1:]
        assert not is_proven(bad, uncles, index=index, levels=levels, root=root)


def test_bep52_a_whole_layer_is_filled_to_a_power_of_two() -> None:
    part, root = part_of(5, 4 * BLOCK)
    found = HashTrees(part).hashes(HashRange(root, 2, 0, 8, 0))
    assert found == part.layers[root] + 3 * pad_hash(2)
    assert HashTrees(part).hashes(HashRange(root, 2, 0, 8, 2)) == found


def test_bep52_layers_above_that_of_the_pieces_are_there_too() -> None:
    part, root = part_of(5, 4 * BLOCK)
    pair = HashTrees(part).hashes(HashRange(root, 4, 0, 2, 0))
    assert pair is not None
    assert sha256(pair).digest() == root


PART, ROOT = part_of(5, 4 * BLOCK)
REFUSED = {
    "another file": HashRange(bytes(32), 2, 0, 8, 0),
    "blocks, which are not kept": HashRange(ROOT, 0, 0, 4, 0),
    "the root itself": HashRange(ROOT, 5, 0, 1, 0),
    "above the root": HashRange(ROOT, 2**32 - 1, 0, 1, 0),
    "none": HashRange(ROOT, 2, 0, 0, 0),
    "too many": HashRange(ROOT, 2, 0, 2**32 - 1, 0),
    "behind the end": HashRange(ROOT, 2, 8, 1, 0),
    "far behind the end": HashRange(ROOT, 2, 2**32 - 1, 2, 0),
    "across the end": HashRange(ROOT, 2, 6, 4, 0),
    "a proof above the root": HashRange(ROOT, 2, 0, 2, 3),
    "a proof of three": HashRange(ROOT, 2, 0, 3, 2),
    "a proof of one": HashRange(ROOT, 2, 0, 1, 1),
    "a proof of what is not aligned": HashRange(ROOT, 2, 1, 2, 2),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bep52_what_is_not_to_be_had_is_refused(name: str) -> None:
    assert HashTrees(PART).hashes(REFUSED[name]) is None


NUMBER = st.integers(0, 12) | st.integers(0, 2**32 - 1)


@given(st.sampled_from([ROOT, bytes(32)]), NUMBER, NUMBER, NUMBER, NUMBER)
def test_bep52_any_request_gets_as_many_hashes_as_it_says_or_none(
    root: bytes, base: int, index: int, length: int, proof: int
) -> None:
    found = HashTrees(PART).hashes(HashRange(root, base, index, length, proof))
    skipped = length.bit_length() - 2
    uncles = max(proof - skipped, 0) if proof else 0
    assert found is None or len(found) == 32 * (length + uncles)


def test_a_real_file_is_proven() -> None:
    data = payload_of(20 * BLOCK + 1)
    root, layer = layers_of(leaves_of(data), 2 * BLOCK)
    part = V2Part(InfoHashV2(bytes(32)), 2 * BLOCK, (len(data),), root, {root: layer})
    found = HashTrees(part).hashes(HashRange(root, 1, 8, 4, 3))
    assert found is not None
    assert is_proven(found[:128], found[128:], index=8, levels=4, root=root)
