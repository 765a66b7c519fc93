"""The v2 part of a torrent: its info-hash, the roots of its files, the layers of their pieces.

Source: BEP 52.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from torrent_engine.base.errors import MetainfoError
from torrent_engine.base.ids import BLOCK_BYTES, SHA256_BYTES, InfoHashV2
from torrent_engine.codec._fields import BencodeDict
from torrent_engine.codec._file_list import FileList, checked, root_of_files
from torrent_engine.codec._file_tree import FileTree, shown_path
from torrent_engine.codec.geometry import FileLayout
from torrent_engine.codec.merkle import is_layer_of

V2: Final = 2  # "meta version"
MAX_V2_PIECE_BYTES: Final = 256 * 1024 * 1024  # as libtorrent
_NO_ROOT: Final = bytes(SHA256_BYTES)


@dataclass(frozen=True, slots=True, repr=False)
class V2Part:
    """What a v2 or hybrid torrent says of its files besides names and lengths."""

    info_hash: InfoHashV2
    piece_bytes: int
    lengths: Sequence[int] = field(repr=False)
    """Of the files of the torrent, in their order; so are the roots."""
    roots: bytes = field(repr=False)
    """32 bytes a file; zeros for one without bytes, and for a pad file."""
    layers: Mapping[bytes, bytes] = field(repr=False)
    """By the root of its file: the SHA-256 of each piece, 32 bytes each. Some may be missing."""

    def root(self, index: int) -> bytes | None:
        """Return the root of a file; None for one without bytes, and for a pad file."""
        root = self.roots[index * SHA256_BYTES : (index + 1) * SHA256_BYTES]
        return None if root == _NO_ROOT else root

    def has_layer(self, index: int) -> bool | None:
        """Return whether the hashes of a file's pieces are here; None: its root is enough."""
        root = self.root(index)
        if root is None or self.lengths[index] <= self.piece_bytes:
            return None
        return root in self.layers

    def missing_layers(self) -> Iterator[int]:
        """Iterate over the files whose pieces have no hashes yet."""
        return (index for index in range(len(self.lengths)) if self.has_layer(index) is False)


def meta_version(info: BencodeDict) -> int:
    """Return 2 for v2 and hybrid torrents, else 1; raise MetainfoError for what is neither."""
    version = info.get(b"meta version")
    if isinstance(version, int) and version > V2:
        raise MetainfoError(f"unknown meta version {version}")
    if version == V2:
        return V2
    if isinstance(info.get(b"file tree"), dict):
        raise MetainfoError('a "file tree" (BEP 52) without a "meta version" of 2')
    return 1


def check_v2_piece_length(piece_bytes: int) -> None:
    """Raise MetainfoError for a length of pieces that v2 does not allow."""
    is_power = piece_bytes.bit_count() == 1
    if not is_power or not BLOCK_BYTES <= piece_bytes <= MAX_V2_PIECE_BYTES:
        raise MetainfoError(
            f"piece length {piece_bytes} of a v2 torrent (BEP 52): no power of two from 16 KiB"
            " to 256 MiB"
        )


def parse_tree(info: BencodeDict, tree: FileTree, piece_bytes: int, fallback: str) -> FileList:
    """Return the files of the v2 part of a torrent, without regard to a v1 part."""
    root, raw_name = root_of_files(info, fallback)
    table = checked(tree.table)
    table.resolve_collisions()
    check_v2_piece_length(piece_bytes)
    layout = FileLayout(table.lengths, alignment=piece_bytes)
    if is_in_folder(info, tree):
        return FileList(table, root, (raw_name,), layout)
    return FileList(table, (), (), layout)


def is_in_folder(info: BencodeDict, tree: FileTree) -> bool:
    """Return whether the files are in a folder; a lone one is if a v1 part says so."""
    return not tree.is_single_file or b"files" in info


def make_part(
    info_bytes: bytes, tree: FileTree, files: FileList, piece_bytes: int, layers: object
) -> V2Part:
    """Return the v2 part of a torrent, its layers checked; the files are those of the torrent.

    Raises MetainfoError for a layer that is wrong. Layers may be missing.
    """
    lengths, roots = files.layout.lengths, tree.roots
    if files.layout.lengths != tree.table.lengths:  # there are pad files among them
        roots = _spread(roots, files)
    info_hash = InfoHashV2(sha256(info_bytes).digest())
    part = V2Part(info_hash, piece_bytes, lengths, roots, {})
    _check_same_roots(part, files)
    if not isinstance(layers, dict) or not layers:
        return part
    return V2Part(info_hash, piece_bytes, lengths, roots, checked_layers(part, layers, files))


def _check_same_roots(part: V2Part, files: FileList) -> None:
    """Raise MetainfoError for one root of files of several pieces that differ in length.

    No two contents have one root, but for files of one block that are made of hashes.
    """
    lengths: dict[bytes | None, int] = {}
    for index in part.missing_layers():
        length = part.lengths[index]
        if lengths.setdefault(part.root(index), length) != length:
            path = shown_path(files.raw_path(index))
            raise MetainfoError(f"file tree: {path} has the root of a file of another length")


def _spread(roots: bytes, files: FileList) -> bytes:
    """Return the roots with zeros for the pad files."""
    found, start = bytearray(), 0
    for index in range(len(files)):
        if files.is_pad(index):
            found += _NO_ROOT
        else:
            found += roots[start : start + SHA256_BYTES]
            start += SHA256_BYTES
    return bytes(found)


def checked_layers(part: V2Part, layers: BencodeDict, files: FileList) -> dict[bytes, bytes]:
    """Return the layers if they are those of the files of a torrent that has none yet.

    Raises MetainfoError for one that is not.
    """
    owners = {part.root(index): index for index in part.missing_layers()}
    found: dict[bytes, bytes] = {}
    for root, layer in layers.items():
        index = owners.get(root)
        if index is None:
            raise MetainfoError(
                f"piece layers: {root[:40].hex()} is not the root of a file of several pieces"
            )
        size = -(-part.lengths[index] // part.piece_bytes) * SHA256_BYTES
        if not isinstance(layer, bytes) or len(layer) != size:
            raise _wrong_layer(files, index)
        if not is_layer_of(layer, root, part.piece_bytes):
            raise _wrong_layer(files, index)
        found[root] = layer
    return found


def _wrong_layer(files: FileList, index: int) -> MetainfoError:
    return MetainfoError(f"piece layers: wrong hashes of {shown_path(files.raw_path(index))}")
