"""Small torrents on disk, made with the engine's own encoder."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from torrent_engine.codec.bencode import BencodeValue, encode

PIECE_BYTES = 16 * 1024
FILES = {
    "a.bin": b"a" * 20_000,
    "sub/b.txt": b"b" * 5_000,
    "sub/empty": b"",
    "c.mkv": bytes(range(256)) * 200,
}


def info_of(name: str, files: Mapping[str, bytes], *, single: bool = False) -> dict[bytes, object]:
    data = b"".join(files.values())
    starts = range(0, len(data), PIECE_BYTES)
    info: dict[bytes, object] = {
        b"name": name.encode(),
        b"piece length": PIECE_BYTES,
        b"pieces": b"".join(hashlib.sha1(data[at : at + PIECE_BYTES]).digest() for at in starts),
    }
    if single:
        return {**info, b"length": len(data)}
    entries = [
        {b"length": len(content), b"path": [part.encode() for part in path.split("/")]}
        for path, content in files.items()
    ]
    return {**info, b"files": entries}


def write_torrent(path: Path, info: Mapping[bytes, object], **fields: object) -> Path:
    """Write a .torrent; underscores of the field names are blanks or hyphens as needed."""
    names = {"announce_list": b"announce-list", "url_list": b"url-list"}
    outer = {names.get(key, key.replace("_", " ").encode()): value for key, value in fields.items()}
    torrent: BencodeValue = {**outer, b"info": info}  # type: ignore[dict-item]
    path.write_bytes(encode(torrent))
    return path


def multi(folder: Path, name: str = "stuff", **fields: object) -> Path:
    """Write the torrent of :data:`FILES`."""
    return write_torrent(folder / f"{name}.torrent", info_of(name, FILES), **fields)


def single(folder: Path, name: str = "one.bin", content: bytes = b"x" * 40_000) -> Path:
    """Write the torrent of one file."""
    info = info_of(name, {name: content}, single=True)
    return write_torrent(folder / f"{name}.torrent", info)


def write_payload(folder: Path, name: str = "stuff") -> Path:
    """Write the files of :data:`FILES` below ``folder/name``."""
    for path, content in FILES.items():
        target = folder / name / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return folder / name
