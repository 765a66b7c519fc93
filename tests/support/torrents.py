"""Small torrents with known payload, the same on every run."""

from collections.abc import Mapping, Sequence
from hashlib import sha1
from pathlib import Path
from random import Random
from typing import Any

from torrent_engine.codec.bencode import encode
from torrent_engine.codec.metainfo import Metainfo

PIECE_BYTES = 16 * 1024


def payload_of(length_bytes: int, seed: int = 0) -> bytes:
    """Return bytes that look random and are the same for the same arguments."""
    return Random(f"{seed}-{length_bytes}").randbytes(length_bytes)


def piece_hashes(payload: bytes, piece_bytes: int = PIECE_BYTES) -> bytes:
    return b"".join(
        sha1(payload[start : start + piece_bytes]).digest()
        for start in range(0, len(payload), piece_bytes)
    )


def info_dict(
    files: Mapping[str, bytes] | bytes,
    *,
    piece_bytes: int = PIECE_BYTES,
    name: str | bytes = "payload",
    **extra: Any,
) -> tuple[dict[str, Any], bytes]:
    """Return an info dictionary and the payload; ``extra`` is put into the dictionary as it is."""
    if isinstance(files, bytes):
        payload = files
        shape: dict[str, Any] = {"length": len(files)}
    else:
        payload = b"".join(files.values())
        shape = {
            "files": [
                {"length": len(data), "path": path.split("/")} for path, data in files.items()
            ]
        }
    hashes = piece_hashes(payload, piece_bytes)
    return {"name": name, "piece length": piece_bytes, "pieces": hashes, **shape, **extra}, payload


def make_torrent(
    files: Mapping[str, bytes] | bytes,
    *,
    piece_bytes: int = PIECE_BYTES,
    name: str | bytes = "payload",
    tiers: Sequence[Sequence[str]] = (),
    web_seeds: Sequence[str] = (),
    is_private: bool = False,
    **info_extra: Any,
) -> tuple[Metainfo, bytes]:
    """Return a loaded torrent and its payload; paths in ``files`` are written with slashes."""
    if is_private:
        info_extra["private"] = 1
    info, payload = info_dict(files, piece_bytes=piece_bytes, name=name, **info_extra)
    torrent: dict[str, Any] = {"info": info}
    if tiers:
        torrent |= {"announce": tiers[0][0], "announce-list": [list(tier) for tier in tiers]}
    if web_seeds:
        torrent["url-list"] = list(web_seeds)
    return Metainfo.from_bytes(encode(torrent)), payload


def write_files(metainfo: Metainfo, payload: bytes, save_path: Path) -> None:
    """Put the payload where a finished download would have put it."""
    for entry in metainfo.files:
        if entry.is_pad or entry.symlink_target is not None:
            continue
        path = save_path.joinpath(*entry.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(payload[entry.offset_bytes : entry.offset_bytes + entry.length_bytes])
