"""Hashes of trees for those who ask, with proofs."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.torrents import payload_of
from torrent_engine.base.ids import InfoHashV2
from torrent_engine.codec._v2_part import V2Part
from torrent_engine.codec.hash_trees import MAX_FOLDED, HashRange, HashTrees, folds_of
from torrent_engine.codec.merkle import is_proven, layers_of, leaves_of, levels_above, pad_hash

BLOCK = 16_384
COUNTS = (2, 3, 4, 5, 511, 512, 513, 1_025, 2_051)


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


@pytest.mark.parametrize("piece_bytes", [BLOCK, 4 * BLOCK])
@pytest.mark.parametrize("count", [3, 5, 513, 1_025, 2_051])
def test_bep52_the_last_hashes_of_a_layer_are_proven_without_the_pads_behind_them(
    count: int, piece_bytes: int
) -> None:
    part, root = part_of(count, piece_bytes)
    trees, base = HashTrees(part), (piece_bytes // BLOCK).bit_length() - 1
    levels = levels_above(count)
    for length in {*range(1, min(count, 40)), count % 512, count}:
        start, width = count - length, 1 << max(levels_above(length), 1)
        wanted = HashRange(root, base, start, length, levels - 1)
        found = trees.hashes(wanted)
        if start % width:
            assert found is None
            continue
        assert found is not None
        hashes = found[: 32 * length] + pad_hash(base) * (width - length)
        assert is_proven(hashes, found[32 * length :], index=start, levels=levels, root=root)
        before = wanted._replace(length=length - 1)  # which no pads are behind
        assert length < 4 or length - 1 == width // 2 or trees.hashes(before) is None


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


def test_bep52_every_layer_of_a_large_tree_is_proven_from_below() -> None:
    count = 2_051
    part, root = part_of(count)
    trees, levels = HashTrees(part), levels_above(count)
    assert trees.takes_long(HashRange(root, 0, 0, 2, 1))
    assert not trees.takes_long(HashRange(root, 0, 0, 2, 0))
    for base in range(levels):
        for start in (0, 2, 4, 1 << (levels - base - 1)):
            wanted = HashRange(root, base, start, 2, levels - base - 1)
            found = trees.hashes(wanted)
            if start % 2 or start + 2 > 1 << (levels - base):
                continue
            assert found is not None
            assert is_proven(found[:64], found[64:], index=start, levels=levels - base, root=root)
    assert not trees.takes_long(HashRange(root, 0, 0, 2, 1))


def test_b4_what_would_be_folded_for_long_is_refused() -> None:
    part, root = part_of(2_051)
    trees = HashTrees(part)
    assert trees.hashes(HashRange(root, 5, 0, 64, 0)) is not None
    wanted = HashRange(root, 3, 0, 512, 0)
    assert folds_of(wanted, 0) == 4_096
    assert trees.takes_long(wanted)
    big = HashTrees(
        V2Part(InfoHashV2(bytes(32)), BLOCK, (BLOCK << 21,), root, {root: b"h" * 2**26})
    )
    assert big.hashes(HashRange(root, 8, 0, 4_096, 0)) is None
    assert not big._tops


def test_b4_the_folds_of_an_answer_are_known_from_its_request() -> None:
    assert folds_of(HashRange(ROOT, 8, 0, 32, 0), 0) == 8_192
    assert folds_of(HashRange(ROOT, 8, 0, 33, 0), 0) == 0  # it is refused
    assert folds_of(HashRange(ROOT, 0, 0, 512, 20), 0) == 0  # the top is kept
    assert folds_of(HashRange(ROOT, 0, 0, 2, 2**32 - 1), 0) == 510
    assert folds_of(HashRange(ROOT, 2, 0, 2, 2**32 - 1), 2) == 510
    assert folds_of(HashRange(ROOT, 0, 0, 2, 9), 2) == 0  # blocks are read for it, and charged
    assert folds_of(HashRange(ROOT, 2**32 - 1, 0, 2**32 - 1, 2**32 - 1), 0) == 0


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


def uncles_of(length: int, proof: int) -> int:
    """Return how many uncles an answer has: the first log2(length) - 1 layers are left out."""
    return max(proof - max((length - 1).bit_length() - 1, 0), 0) if proof else 0


NUMBER = st.integers(0, 12) | st.integers(0, 2**32 - 1)


@given(st.sampled_from([ROOT, bytes(32)]), NUMBER, NUMBER, NUMBER, NUMBER)
def test_bep52_any_request_gets_as_many_hashes_as_it_says_or_none(
    root: bytes, base: int, index: int, length: int, proof: int
) -> None:
    wanted = HashRange(root, base, index, length, proof)
    found = HashTrees(PART).hashes(wanted)
    assert 0 <= folds_of(wanted, 2) <= MAX_FOLDED + 512
    uncles = uncles_of(length, proof)
    assert found is None or len(found) == 32 * (length + uncles)


def test_a_real_file_is_proven() -> None:
    data = payload_of(20 * BLOCK + 1)
    root, layer = layers_of(leaves_of(data), 2 * BLOCK)
    part = V2Part(InfoHashV2(bytes(32)), 2 * BLOCK, (len(data),), root, {root: layer})
    found = HashTrees(part).hashes(HashRange(root, 1, 8, 4, 3))
    assert found is not None
    assert is_proven(found[:128], found[128:], index=8, levels=4, root=root)


DATA = payload_of(100 * BLOCK + 1)
SIZES = [BLOCK + 1, 3 * BLOCK, 4 * BLOCK, 4 * BLOCK + 1, 13 * BLOCK, 100 * BLOCK + 1]


def below(data: bytes, piece_bytes: int, wanted: HashRange) -> bytes | None:
    """Return hashes of blocks of a file of these data."""
    root, layer = layers_of(leaves_of(data), piece_bytes)
    layers = {root: layer} if layer else {}
    part = V2Part(InfoHashV2(bytes(32)), piece_bytes, (len(data),), root, layers)
    trees, wanted = HashTrees(part), wanted._replace(root=root)
    assert trees.is_below(wanted)
    span = trees.span(wanted, len(data))
    if span is None:
        return None
    assert span.start % piece_bytes == 0
    return trees.hashes_below(wanted, len(data), leaves_of(data[span.start : span.stop]))


@pytest.mark.parametrize("piece_bytes", [4 * BLOCK, 16 * BLOCK])
@pytest.mark.parametrize("size", SIZES)
def test_bep52_hashes_of_blocks_are_proven_by_the_root_of_the_file(
    size: int, piece_bytes: int
) -> None:
    data = DATA[:size]
    root, _ = layers_of(leaves_of(data), piece_bytes)
    levels = levels_above(-(-size // BLOCK))
    for base in range(min(levels, levels_above(piece_bytes // BLOCK))):
        above = levels - base
        for length in (1 << each for each in range(1, above + 1)):
            for start in range(0, -(-size // (BLOCK << base)), length):
                wanted = HashRange(root, base, start, length, above - 1)
                found = below(data, piece_bytes, wanted)
                assert found is not None
                hashes, uncles = found[: 32 * length], found[32 * length :]
                assert is_proven(hashes, uncles, index=start, levels=above, root=root)


@pytest.mark.parametrize("size", SIZES)
def test_bep52_the_last_hashes_of_blocks_are_proven_without_the_pads_behind_them(
    size: int,
) -> None:
    data, count = DATA[:size], -(-size // BLOCK)
    root, _ = layers_of(leaves_of(data), 4 * BLOCK)
    levels = levels_above(count)
    for length in range(1, count + 1):
        start, width = count - length, 1 << max(levels_above(length), 1)
        found = below(data, 4 * BLOCK, HashRange(root, 0, start, length, max(levels - 1, 1)))
        if levels == 1 or start % width:
            assert found is None
            continue
        assert found is not None
        hashes = found[: 32 * length] + bytes(32 * (width - length))
        uncles = found[32 * length :]
        assert is_proven(hashes, uncles, index=start, levels=levels, root=root)


def test_bep52_the_hashes_of_a_piece_need_no_proof() -> None:
    found = below(DATA, 16 * BLOCK, HashRange(b"", 0, 16, 16, 0))
    assert found == leaves_of(DATA[16 * BLOCK :][: 16 * BLOCK])
    last = below(DATA, 16 * BLOCK, HashRange(b"", 0, 96, 16, 0))
    assert last == leaves_of(DATA[96 * BLOCK :]) + bytes(11 * 32)


def test_bep52_leaves_of_other_data_give_nothing() -> None:
    for size in (3 * BLOCK, 100 * BLOCK + 1):
        data = DATA[:size]
        root, layer = layers_of(leaves_of(data), 4 * BLOCK)
        part = V2Part(
            InfoHashV2(bytes(32)), 4 * BLOCK, (size,), root, {root: layer} if layer else {}
        )
        trees, wanted = HashTrees(part), HashRange(root, 0, 0, 2, 0)
        span = trees.span(wanted, size)
        assert span is not None
        leaves = leaves_of(data[span.start : span.stop])
        assert trees.hashes_below(wanted, size, leaves) == leaves[:64]
        assert trees.hashes_below(wanted, size, leaves[:-1] + bytes((leaves[-1] ^ 1,))) is None


NO_BLOCKS = {
    "of a file of one block": (100, HashRange(b"", 0, 0, 1, 0)),
    "of none": (13 * BLOCK, HashRange(b"", 0, 0, 0, 0)),
    "of too many": (13 * BLOCK, HashRange(b"", 0, 0, 2**32 - 1, 0)),
    "behind the end": (13 * BLOCK, HashRange(b"", 0, 16, 4, 0)),
    "of a pad": (13 * BLOCK, HashRange(b"", 0, 14, 2, 0)),
    "with a proof above the root": (13 * BLOCK, HashRange(b"", 0, 0, 4, 4)),
    "with a proof of what is not aligned": (13 * BLOCK, HashRange(b"", 0, 1, 2, 2)),
}


@pytest.mark.parametrize("name", NO_BLOCKS)
def test_bep52_hashes_that_no_blocks_have_are_refused(name: str) -> None:
    size, wanted = NO_BLOCKS[name]
    assert below(DATA[:size], 2 * BLOCK, wanted) is None


@given(st.sampled_from(SIZES), st.integers(0, 1), NUMBER, NUMBER, NUMBER)
def test_bep52_any_request_for_blocks_gets_what_it_says_or_nothing(
    size: int, base: int, index: int, length: int, proof: int
) -> None:
    found = below(DATA[:size], 4 * BLOCK, HashRange(b"", base, index, length, proof))
    uncles = uncles_of(length, proof)
    assert found is None or len(found) == 32 * (length + uncles)


def test_bep52_no_more_is_read_than_one_piece_of_128_mib() -> None:
    part, root = part_of(3, 8_192 * BLOCK)
    trees, length = HashTrees(part), part.lengths[0]
    wanted = HashRange(root, 0, 8_192, 8_192, 14)
    assert trees.span(wanted, length) == range(8_192 * BLOCK, 2 * 8_192 * BLOCK)
    leaves = b"".join(sha256(b"%d" % n).digest() for n in range(8_192, 2 * 8_192))
    found = trees.hashes_below(wanted, length, leaves)
    assert found is not None
    hashes, uncles = found[: 32 * 8_192], found[32 * 8_192 :]
    assert is_proven(hashes, uncles, index=8_192, levels=15, root=root)
    assert trees.span(wanted._replace(start=4_096, proof_layers=0), length) is None
    assert trees.span(HashRange(root, 0, 0, 8_193, 0), length) is None


def test_bep52_as_many_hashes_of_pieces_are_given_as_libtorrent_asks_for() -> None:
    part, root = part_of(8_193)
    trees = HashTrees(part)
    assert trees.hashes(HashRange(root, 0, 0, 8_192, 0)) == part.layers[root][: 32 * 8_192]
    assert trees.hashes(HashRange(root, 0, 0, 8_193, 0)) is None
