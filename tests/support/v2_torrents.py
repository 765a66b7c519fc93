"""v2 and hybrid torrents made by hand, with known payload."""

from collections.abc import Mapping
from hashlib import sha1
from typing import Any, Final

import pytest

from torrent_engine.codec.bencode import encode
from torrent_engine.codec.merkle import layers_of as root_and_layer
from torrent_engine.codec.merkle import leaves_of
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.engine.transfer.download_manager import DownloadManager

PIECE_BYTES: Final = 16_384
SMALL: Final[dict[str, dict[str, Any]]] = {"": {"length": 5, "pieces root": bytes(range(32))}}
"""A file of five bytes in a file tree."""


def file_of(data: bytes, piece_bytes: int = PIECE_BYTES) -> tuple[dict[str, Any], bytes]:
    """Return the properties of a file in a file tree, and the layer of its pieces."""
    if not data:
        return {"": {"length": 0}}, b""
    root, layer = root_and_layer(leaves_of(data), piece_bytes)
    return {"": {"length": len(data), "pieces root": root}}, layer


def v2_info(
    files: Mapping[str, bytes], *, piece_bytes: int = PIECE_BYTES, name: str = "payload"
) -> tuple[dict[str, Any], dict[bytes, bytes]]:
    """Return an info dictionary of v2 alone, and the layers; paths are written with slashes."""
    tree: dict[str, Any] = {}
    layers: dict[bytes, bytes] = {}
    for path, data in files.items():
        *folders, last = path.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last], layer = file_of(data, piece_bytes)
        if layer:
            layers[place[last][""]["pieces root"]] = layer
    info = {"name": name, "piece length": piece_bytes, "meta version": 2, "file tree": tree}
    return info, layers


def hybrid_info(
    files: Mapping[str, bytes], *, piece_bytes: int = PIECE_BYTES, name: str = "payload"
) -> tuple[dict[str, Any], dict[bytes, bytes]]:
    """Return an info dictionary of both versions, with pads, and the layers.

    The order of the files is that of the mapping, which has to be that of the tree.
    """
    info, layers = v2_info(files, piece_bytes=piece_bytes, name=name)
    listed: list[dict[str, Any]] = []
    payload = b""
    for path, data in files.items():
        listed.append({"length": len(data), "path": path.split("/")})
        payload += data
        if gap := -len(data) % piece_bytes:
            listed.append({"length": gap, "path": [".pad", str(gap)], "attr": "p"})
            payload += bytes(gap)
    parts = (payload[at : at + piece_bytes] for at in range(0, len(payload), piece_bytes))
    pieces = b"".join(sha1(part).digest() for part in parts)
    return {**info, "files": listed, "pieces": pieces}, layers


def torrent_around(info: Mapping[str, Any], layers: Any = None) -> bytes:
    """Return a .torrent around an info dictionary, without layers if there are none."""
    around: dict[str, Any] = {} if layers is None else {"piece layers": layers}
    return encode({"info": info, **around})


def layers_of(session: Session) -> Mapping[bytes, bytes]:
    """Return the hashes of pieces that a torrent has at present, by the roots of their files."""
    metainfo = session.metainfo
    return {} if metainfo is None or metainfo.v2 is None else metainfo.v2.layers


def ask_for_layers_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have downloads ask for no block while hashes of pieces are missing."""
    refill = DownloadManager.refill

    def refill_later(downloads: DownloadManager, peer: Peer) -> None:
        part = downloads._torrent.metainfo.v2
        if part is None or not any(True for _ in part.missing_layers()):
            refill(downloads, peer)

    monkeypatch.setattr(DownloadManager, "refill", refill_later)


def laid_out(metainfo: Metainfo, files: Mapping[str, bytes]) -> bytes:
    """Return the payload of a torrent of these files, with zeros between them."""
    payload = bytearray(metainfo.piece_count * metainfo.geometry.piece_bytes)
    stored = (index for index in range(len(metainfo.files)) if not metainfo.files.is_pad(index))
    for index, data in zip(stored, files.values(), strict=True):
        offset = metainfo.layout.offsets[index]
        payload[offset : offset + len(data)] = data
    return bytes(payload)
