"""What a v2 or hybrid torrent says of its files: the file tree, the layers, the pad files.

Source: BEP 52, BEP 47 (pad files, attributes).
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from torrent_engine.base.ids import SHA256_BYTES
from torrent_engine.codec.bencode import Encodable
from torrent_engine.codec.geometry import FileLayout, Geometry
from torrent_engine.codec.merkle import piece_levels, root_of
from torrent_engine.disk.create.scan import Payload

Tree = dict[bytes, Encodable]


class V2Fields(NamedTuple):
    """The value of "file tree" and that of "piece layers"."""

    tree: Tree
    layers: dict[bytes, bytes]


def aligned_geometry(payload: Payload, piece_bytes: int) -> Geometry:
    """Return the pieces of files each of which begins with a piece."""
    layout = FileLayout([file.length_bytes for file in payload.files], alignment=piece_bytes)
    return Geometry(layout.end_bytes, piece_bytes, layout)


def v2_fields(payload: Payload, geometry: Geometry, merkle: bytes) -> V2Fields:
    """Return the tree and the layers of a payload from the hashes of its pieces, 32 bytes each."""
    fields = V2Fields({}, {})
    hashes = _hashes_of_files(geometry, merkle)
    for file, layer in zip(payload.files, hashes, strict=True):
        facts: dict[bytes, Encodable] = {b"length": file.length_bytes}
        facts |= {key.encode(): value for key, value in file.attributes.items()}
        if layer:
            root = root_of(layer, pad_height=piece_levels(geometry.piece_bytes))
            facts[b"pieces root"] = root
            if len(layer) > SHA256_BYTES:
                fields.layers[root] = layer
        _put(fields.tree, file.parts or (payload.name,), {b"": facts})
    return fields


def _hashes_of_files(geometry: Geometry, merkle: bytes) -> Iterator[bytes]:
    start = 0
    layout = geometry.aligned
    for length in () if layout is None else layout.lengths:
        end = start + -(-length // geometry.piece_bytes) * SHA256_BYTES
        yield merkle[start:end]
        start = end


def _put(tree: Tree, parts: Iterable[bytes], leaf: Tree) -> None:
    *folders, name = parts
    for folder in folders:
        below = tree.setdefault(folder, Tree())
        assert isinstance(below, dict)  # noqa: S101 - a file is not a folder, too
        tree = below
    tree[name] = leaf


def has_pads(payload: Payload) -> bool:
    """Return whether a hybrid torrent of the payload has pad files; as libtorrent: not for one."""
    return payload.is_multi_file and len(payload.files) > 1


def padded_files(payload: Payload, piece_bytes: int) -> Iterator[dict[str, Encodable]]:
    """Iterate over the list of files of a hybrid torrent: what ends inside a piece has a pad."""
    for file in payload.files:
        yield {**file.attributes, "length": file.length_bytes, "path": file.parts}
        gap = -file.length_bytes % piece_bytes
        if gap and has_pads(payload):
            yield {"attr": "p", "length": gap, "path": (b".pad", b"%d" % gap)}
