"""The torrents of version 2, and hybrids, that programs are tried with; Merkle trees of the kit.

The data of a torrent is its pieces one behind the other: what follows a file in its last piece is
zeros. Source: BEP 47, 52.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from torrent_engine.conformance.bencoding import Bencodable, bencode, parse_dictionary
from torrent_engine.conformance.torrent_set import SampleTorrent, piece_hashes, sample_bytes

BLOCK_BYTES: Final = 16_384
PIECE_BYTES: Final = 65_536
HASH_BYTES: Final = 32
ZERO_HASH: Final = bytes(HASH_BYTES)
NAME: Final = "second"
V2_FILES: Final = (
    ("deep/first.bin", 3 * PIECE_BYTES + 20_000),
    ("empty.bin", 0),
    ("exact.bin", PIECE_BYTES),
    ("longer.bin", PIECE_BYTES + 1),
    ("one.bin", 1),
    ("same-a.bin", 30_000),
    ("same-b.bin", 30_000),
)
"""Paths in the order of a file tree, and lengths; the last two are equal."""
SMALL_FILES: Final = (("a.bin", 50_000), ("b.bin", PIECE_BYTES), ("c.bin", 17_000))
"""None is longer than a piece, so that the torrent has no piece layers."""
FileContents = Mapping[str, bytes]


def contents_of(files: Sequence[tuple[str, int]]) -> dict[str, bytes]:
    """Return the bytes of files, by path; those whose names begin with ``same-`` are equal."""
    return {
        path: sample_bytes(length, "same" if path.startswith("same-") else f"v2 {path}")
        for path, length in files
    }


def parent_of(left: bytes, right: bytes) -> bytes:
    """Return the hash above two others."""
    return hashlib.sha256(left + right).digest()


def layer_above(hashes: Sequence[bytes]) -> list[bytes]:
    """Return the next layer up of one with an even number of hashes."""
    return [parent_of(*hashes[place : place + 2]) for place in range(0, len(hashes), 2)]


def root_of(hashes: Sequence[bytes], filler: bytes = ZERO_HASH) -> bytes:
    """Return the root above hashes, filled up to a power of two."""
    layer = [*hashes]
    layer += [filler] * ((1 << max(len(layer) - 1, 0).bit_length()) - len(layer))
    while len(layer) > 1:
        layer = layer_above(layer)
    return layer[0]


def leaves_of(data: bytes) -> list[bytes]:
    """Return the hash of each block of 16 KiB."""
    starts = range(0, len(data), BLOCK_BYTES)
    return [hashlib.sha256(data[start : start + BLOCK_BYTES]).digest() for start in starts]


def piece_layer(data: bytes, piece_bytes: int = PIECE_BYTES) -> list[bytes]:
    """Return the hash of each piece of a file that is longer than one."""
    blocks = piece_bytes // BLOCK_BYTES
    found = []
    for start in range(0, len(data), piece_bytes):
        leaves = leaves_of(data[start : start + piece_bytes])
        found.append(root_of(leaves + [ZERO_HASH] * (blocks - len(leaves))))
    return found


def pieces_root(data: bytes, piece_bytes: int = PIECE_BYTES) -> bytes:
    """Return the root of a file that is not empty."""
    if len(data) <= piece_bytes:
        return root_of(leaves_of(data))
    filler = root_of([ZERO_HASH] * (piece_bytes // BLOCK_BYTES))
    return root_of(piece_layer(data, piece_bytes), filler)


def v2_torrent(
    contents: FileContents | None = None,
    *,
    is_hybrid: bool = False,
    piece_bytes: int = PIECE_BYTES,
) -> SampleTorrent:
    """Return a torrent of version 2, or a hybrid, of files in the order of their tree."""
    files = contents_of(V2_FILES) if contents is None else dict(contents)
    space, stored = _piece_space(files, piece_bytes)
    info: dict[bytes, Bencodable] = {
        b"file tree": _file_tree(files, piece_bytes),
        b"meta version": 2,
        b"name": NAME.encode(),
        b"piece length": piece_bytes,
    }
    if is_hybrid:
        info[b"files"] = _v1_files(stored, files)
        info[b"pieces"] = piece_hashes(space, piece_bytes)
    encoded = bencode(info)
    long = [data for data in files.values() if len(data) > piece_bytes]
    layers: dict[bytes, Bencodable] = {
        pieces_root(data, piece_bytes): b"".join(piece_layer(data, piece_bytes)) for data in long
    }
    torrent = SampleTorrent(NAME, space, piece_bytes, encoded, tuple(stored))
    return replace(
        torrent,
        piece_layers=bencode(layers),
        v2_hash=hashlib.sha256(encoded).digest(),
        is_hybrid=is_hybrid,
    )


def _piece_space(
    files: FileContents, piece_bytes: int = PIECE_BYTES
) -> tuple[bytes, list[tuple[str, int]]]:
    """Return the data of all pieces, and paths and lengths with those of what fills them up."""
    space, stored = b"", []
    last = max((path for path, data in files.items() if data), default="")
    for path, data in files.items():
        stored.append((path, len(data)))
        space += data
        gap = -len(data) % piece_bytes
        if gap and path != last:
            stored.append((f".pad/{gap}", gap))
            space += bytes(gap)
    return space, stored


def _v1_files(stored: Sequence[tuple[str, int]], files: FileContents) -> list[Bencodable]:
    found: list[Bencodable] = []
    for path, length in stored:
        parts: list[Bencodable] = [part.encode() for part in path.split("/")]
        entry: dict[bytes, Bencodable] = {b"length": length, b"path": parts}
        if path not in files:
            entry[b"attr"] = b"p"
        found.append(entry)
    return found


def _file_tree(files: FileContents, piece_bytes: int) -> dict[bytes, Bencodable]:
    tree: dict[bytes, Bencodable] = {}
    for path, data in files.items():
        place = tree
        for part in path.split("/"):
            below = place.setdefault(part.encode(), {})
            if isinstance(below, dict):
                place = below
        entry: dict[bytes, Bencodable] = {b"length": len(data)}
        if data:
            entry[b"pieces root"] = pieces_root(data, piece_bytes)
        place[b""] = entry
    return tree


def with_keys(torrent: SampleTorrent, **keys: Bencodable) -> SampleTorrent:
    """Return a torrent whose info dictionary has other keys, ``_`` in a name for a space."""
    info = parse_dictionary(torrent.info)
    info.update({key.replace("_", " ").encode(): value for key, value in keys.items()})
    encoded = bencode(info)
    return replace(torrent, info=encoded, v2_hash=hashlib.sha256(encoded).digest())


def v2_magnet(torrent: SampleTorrent, *, with_v1: bool = False) -> str:
    """Return the magnet link with the hash of version 2, and with the other one too."""
    old = f"&xt=urn:btih:{torrent.info_hashes[-1].hex()}" if with_v1 else ""
    return f"magnet:?xt=urn:btmh:1220{torrent.v2_hash.hex()}{old}&dn={torrent.name}"


def padded_torrent(*, has_paths: bool = True) -> SampleTorrent:
    """Return a torrent of version 1 whose files begin with pieces, filled up by pads (BEP 47)."""
    files = contents_of([each for each in V2_FILES if each[1]])
    space, stored = _piece_space(files)
    listed = _v1_files(stored, files)
    for each in listed:
        if isinstance(each, dict) and b"attr" in each and not has_paths:
            del each[b"path"]
    info: dict[bytes, Bencodable] = {
        b"files": listed,
        b"name": NAME.encode(),
        b"piece length": PIECE_BYTES,
        b"pieces": piece_hashes(space, PIECE_BYTES),
    }
    return SampleTorrent(NAME, space, PIECE_BYTES, bencode(info), tuple(stored))
