"""Files to share, and a v2 or hybrid torrent of them, made by the package under test."""

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import bencodepy

from tests.support.payload import Payload
from torrent_engine.disk.create.create import CreateOptions, TorrentFormat, create_torrent


@dataclass(frozen=True)
class V2Payload(Payload):
    """A torrent that libtorrent knows by the start of its SHA-256."""

    @property
    def info_hash(self) -> bytes:
        return hashlib.sha256(bencodepy.encode(self.info)).digest()[:20]


def make_v2_payload(
    folder: Path,
    name: str,
    files: Mapping[str, int],
    *,
    kind: TorrentFormat = "v2",
    piece_bytes: int = 64 * 1024,
) -> V2Payload:
    """Write random files into a folder ``name`` below ``folder``, and a torrent of them."""
    source_dir, generator = folder / "source", random.Random(name)
    digests: dict[str, bytes] = {}
    for path, length in files.items():
        data = generator.randbytes(length)
        target = source_dir / name / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        digests[f"{name}/{path}"] = hashlib.sha256(data).digest()
    options = CreateOptions(format=kind, piece_bytes=piece_bytes, threads=1)
    made = create_torrent([source_dir / name], options)
    torrent = folder / f"{name}.torrent"
    torrent.write_bytes(made)
    info = bencodepy.decode(made)[b"info"]
    total = sum(files.values())
    return V2Payload(name, torrent, source_dir, digests, info, piece_bytes, total)
