"""Merkle trees of BEP 52, against a reference that fills every tree and hashes it by recursion."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.torrents import payload_of
from torrent_engine.codec.merkle import (
    HASH_BYTES,
    MerkleDigest,
    is_layer_of,
    is_proven,
    layers_of,
    leaves_of,
    levels_above,
    pad_hash,
    piece_levels,
    proof_of,
    root_of,
    tree_levels,
)

BLOCK = 16_384
LENGTHS = sorted(
    {
        length
        for edge in (0, BLOCK, 2 * BLOCK, 32_768, 40_000)
        for length in (edge - 1, edge, edge + 1)
        if 0 <= length <= 40_000
    }
)
LAYERS = (1, 2, 3, 4, 5, 511, 512, 513, 1_024, 1_025)


def filled(hashes: list[bytes], count: int, pad: bytes) -> bytes:
    """Return the root of a tree, its leaves filled up, by recursion."""
    hashes = hashes + [pad] * (count - len(hashes))
    if len(hashes) == 1:
        return hashes[0]
    half = len(hashes) // 2
    left, right = (filled(part, half, pad) for part in (hashes[:half], hashes[half:]))
    return sha256(left + right).digest()


def power(count: int) -> int:
    """Return the next power of two."""
    found = 1
    while found < count:
        found *= 2
    return found


def reference(data: bytes, piece_bytes: int) -> tuple[bytes, bytes]:
    """Return root and piece layer of a file as the text of BEP 52 has it."""
    leaves = [sha256(data[at : at + BLOCK]).digest() for at in range(0, len(data), BLOCK)]
    zero = bytes(32)
    if len(data) <= piece_bytes:
        return filled(leaves, power(len(leaves)), zero), b""
    width = piece_bytes // BLOCK
    pieces = [filled(leaves[at : at + width], width, zero) for at in range(0, len(leaves), width)]
    pad = filled([zero] * width, width, zero)
    return filled(pieces, power(len(pieces)), pad), b"".join(pieces)


@pytest.mark.parametrize("piece_bytes", [BLOCK, 2 * BLOCK, 4 * BLOCK])
@pytest.mark.parametrize("length", [length for length in LENGTHS if length])
def test_bep52_tree_of_a_short_file_is_that_of_the_reference(length: int, piece_bytes: int) -> None:
    data = payload_of(length)
    assert layers_of(leaves_of(data), piece_bytes) == reference(data, piece_bytes)


@given(st.integers(1, 40_000), st.sampled_from([BLOCK, 2 * BLOCK]))
def test_bep52_tree_of_any_file_is_that_of_the_reference(length: int, piece_bytes: int) -> None:
    data = payload_of(length)
    root, layer = layers_of(leaves_of(data), piece_bytes)
    assert (root, layer) == reference(data, piece_bytes)
    if layer:
        assert is_layer_of(layer, root, piece_bytes)
    digest = MerkleDigest(tree_levels(length), length)
    for start in range(0, length, BLOCK):
        digest.update(memoryview(data)[start : start + BLOCK])
    digest.update(b"behind the end")
    assert digest.digest() == root
    digest = MerkleDigest(tree_levels(length), length)
    for start in range(0, length, 7_001):
        digest.update(memoryview(data)[start : start + 7_001])
    assert digest.digest() == root


@given(st.integers(1, 5 * BLOCK), st.lists(st.sampled_from([1, 13, BLOCK - 13, BLOCK, 2 * BLOCK])))
def test_bep52_tree_is_the_same_whatever_the_parts(length: int, sizes: list[int]) -> None:
    rest = memoryview(payload_of(length) + bytes(2 * BLOCK))  # pads behind the end are left out
    parts = []
    for size in sizes:
        parts.append(rest[:size])
        rest = rest[size:]
    parts += [rest[start : start + BLOCK] for start in range(0, len(rest), BLOCK)]
    digest = MerkleDigest(tree_levels(length), length)
    digest.update_parts(parts)
    assert digest.digest() == root_of(leaves_of(payload_of(length)))


def test_a_file_of_no_bytes_has_no_leaves() -> None:
    assert leaves_of(b"") == b""
    assert not is_layer_of(b"", bytes(32), BLOCK)


def test_bep52_a_block_is_hashed_at_its_real_length() -> None:
    assert root_of(leaves_of(b"x")) == sha256(b"x").digest()


@pytest.mark.parametrize("height", range(12))
def test_bep52_pads_are_trees_of_missing_leaves(height: int) -> None:
    assert pad_hash(height) == filled([], 1 << height, bytes(32))


@pytest.mark.parametrize("count", LAYERS)
@pytest.mark.parametrize("piece_bytes", [BLOCK, 8 * BLOCK])
def test_bep52_a_layer_has_the_root_of_the_reference(count: int, piece_bytes: int) -> None:
    layer = payload_of(HASH_BYTES * count)
    hashes = [layer[at : at + HASH_BYTES] for at in range(0, len(layer), HASH_BYTES)]
    pad = filled([], piece_bytes // BLOCK, bytes(32))
    root = filled(hashes, power(count), pad)
    assert is_layer_of(layer, root, piece_bytes)
    assert root_of(layer, pad_height=piece_levels(piece_bytes)) == root


@pytest.mark.parametrize("count", [1, 2, 3, 5, 33])
def test_every_flipped_bit_of_a_layer_fails(count: int) -> None:
    layer = bytearray(payload_of(HASH_BYTES * count))
    root = root_of(bytes(layer), pad_height=2)
    for bit in range(8 * len(layer)):
        layer[bit // 8] ^= 1 << bit % 8
        assert not is_layer_of(bytes(layer), root, 4 * BLOCK)
        layer[bit // 8] ^= 1 << bit % 8
    assert is_layer_of(bytes(layer), root, 4 * BLOCK)


@pytest.mark.parametrize("count", LAYERS)
def test_every_flipped_bit_of_some_hashes_of_a_long_layer_fails(count: int) -> None:
    layer = bytearray(payload_of(HASH_BYTES * count))
    root = root_of(bytes(layer), pad_height=2)
    for place in {0, count // 2, count - 1}:
        for bit in range(8 * HASH_BYTES):
            layer[place * HASH_BYTES + bit // 8] ^= 1 << bit % 8
            assert not is_layer_of(bytes(layer), root, 4 * BLOCK)
            layer[place * HASH_BYTES + bit // 8] ^= 1 << bit % 8
    assert is_layer_of(bytes(layer), root, 4 * BLOCK)


@pytest.mark.parametrize("count", LAYERS)
@pytest.mark.parametrize("length", [1, 2, 8, 512])
def test_bep52_every_chunk_of_a_layer_is_proven(count: int, length: int) -> None:
    layer = payload_of(HASH_BYTES * count)
    levels, full = levels_above(count), power(count)
    root = root_of(layer, pad_height=1)
    padded = layer + pad_hash(1) * (full - count)
    length = min(length, full)
    for index in {*range(0, full, max(length, full // 8)), full - length}:
        hashes = padded[index * HASH_BYTES : (index + length) * HASH_BYTES]
        uncles = proof_of(layer, index=index, length=length, pad_height=1)
        assert len(uncles) == HASH_BYTES * (levels - levels_above(length))
        assert is_proven(hashes, uncles, index=index, levels=levels, root=root)
        other = (index + length) % full
        if padded[other * HASH_BYTES :][: len(hashes)] != hashes:
            assert not is_proven(hashes, uncles, index=other, levels=levels, root=root)


def test_every_flipped_bit_of_a_proof_fails() -> None:
    layer = payload_of(HASH_BYTES * 11)
    root = root_of(layer)
    proof = bytearray(layer[:64] + proof_of(layer, index=0, length=2))

    def holds() -> bool:
        return is_proven(bytes(proof[:64]), bytes(proof[64:]), index=0, levels=4, root=root)

    assert holds()
    for bit in range(8 * len(proof)):
        proof[bit // 8] ^= 1 << bit % 8
        assert not holds()
        proof[bit // 8] ^= 1 << bit % 8


def test_every_flipped_bit_of_uncles_and_some_hashes_of_a_chunk_fails() -> None:
    layer = payload_of(HASH_BYTES * 1_025)
    root = root_of(layer)
    chunk = layer[512 * HASH_BYTES : 1_024 * HASH_BYTES]
    proof = bytearray(chunk + proof_of(layer, index=512, length=512))
    size = len(chunk)
    assert len(proof) == size + 2 * HASH_BYTES
    for place in (0, 511, 512, 513):
        for bit in range(8 * HASH_BYTES):
            proof[place * HASH_BYTES + bit // 8] ^= 1 << bit % 8
            hashes, uncles = bytes(proof[:size]), bytes(proof[size:])
            assert not is_proven(hashes, uncles, index=512, levels=11, root=root)
            proof[place * HASH_BYTES + bit // 8] ^= 1 << bit % 8
    assert is_proven(chunk, bytes(proof[size:]), index=512, levels=11, root=root)


MALFORMED_PROOFS = {
    "no_hashes": (0, 3, 0),
    "three_hashes": (96, 3, 0),
    "half_a_hash": (48, 3, 0),
    "unaligned": (64, 3, 1),
    "behind_the_end": (64, 3, 16),
    "an_uncle_too_few": (64, 2, 0),
    "an_uncle_too_many": (64, 4, 0),
    "more_hashes_than_the_layer": (32 * 32, 0, 0),
}


@pytest.mark.parametrize(
    ("size", "uncles", "index"), MALFORMED_PROOFS.values(), ids=MALFORMED_PROOFS
)
def test_a_malformed_proof_proves_nothing(size: int, uncles: int, index: int) -> None:
    layer = payload_of(HASH_BYTES * 16)
    proof = proof_of(layer, index=0, length=2) + bytes(32)
    hashes = (layer * 2)[:size]
    root = root_of(layer)
    assert not is_proven(hashes, proof[: 32 * uncles], index=index, levels=4, root=root)


@given(st.binary(max_size=200), st.binary(max_size=200), st.integers(0, 100), st.integers(0, 8))
def test_any_bytes_are_no_proof(hashes: bytes, uncles: bytes, index: int, levels: int) -> None:
    assert not is_proven(hashes, uncles, index=index, levels=levels, root=b"?" * 32)
