"""The torrents that programs are tried with: the same bytes on every machine.

The bytes come from SHA-256 of a counter, so that no block equals another, and a wrong one shows.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from torrent_engine.conformance.bencoding import Bencodable, bencode, parse_dictionary

PIECE_BYTES: Final = 64 * 1024
PIECES: Final = 21
LAST_PIECE_BYTES: Final = 30_001
INFO_BYTES: Final = 20_503
"""Length of the info dictionary: two pieces of metadata (BEP 9)."""
PADS: Final = ".pad/"
"""Where the files are that fill pieces up (BEP 47)."""
PAD_KEY: Final = b"x_conformance"
BASIC: Final = "basic.bin"
MULTI: Final = "multi"
MULTI_FILES: Final = (
    ("first.bin", 100_000),
    ("one.bin", 1),
    ("empty.bin", 0),
    ("deep/er/second.bin", 200_000),
    ("last.bin", 77_777),
)
"""Paths and lengths: pieces are shared, and the second has three files."""


@dataclass(frozen=True)
class SampleTorrent:
    """A torrent with its data: of one file, or of several."""

    name: str
    data: bytes
    piece_bytes: int
    info: bytes
    """The info dictionary, bencoded."""
    files: tuple[tuple[str, int], ...] = ()
    """Paths and lengths of several files, which are in a folder with the name of the torrent."""
    piece_layers: bytes = b""
    """What has this name in the .torrent file, bencoded (BEP 52)."""
    v2_hash: bytes = b""
    """SHA-256 of the info dictionary of version 2."""
    is_hybrid: bool = False
    """Is of version 1, too."""

    def stored_files(self, *, with_pads: bool = False) -> dict[str, bytes]:
        """Return what has to be in the folder of a download, by path.

        ``with_pads``: also what programs store that know nothing of pads.
        """
        found, start = {}, 0
        for path, length in self.files:
            if with_pads or not path.startswith(PADS):
                found[f"{self.name}/{path}"] = self.data[start : start + length]
            start += length
        return found or {self.name: self.data}

    def file_pieces(self, number: int) -> range:
        """Return the pieces that a file has a part of."""
        start = sum(length for _, length in self.files[:number])
        end = start + self.files[number][1]
        return range(start // self.piece_bytes, -(-end // self.piece_bytes))

    @property
    def info_hash(self) -> bytes:
        """What handshakes and announces have: of a hybrid, that of version 1."""
        return self.info_hashes[-1]

    @property
    def info_hashes(self) -> tuple[bytes, ...]:
        """SHA-1 of the info dictionary, or SHA-256 cut to 20 bytes; of a hybrid this, then that."""
        old = hashlib.sha1(self.info, usedforsecurity=False).digest()
        if not self.v2_hash:
            return (old,)
        new = self.v2_hash[: len(old)]
        return (new, old) if self.is_hybrid else (new,)

    @property
    def piece_count(self) -> int:
        """Number of pieces."""
        return -(-len(self.data) // self.piece_bytes)

    def piece_length(self, index: int) -> int:
        """Return the length of a piece; only the last is short."""
        return min(self.piece_bytes, len(self.data) - index * self.piece_bytes)

    def block(self, index: int, begin: int, length: int) -> bytes:
        """Return bytes of a piece."""
        start = index * self.piece_bytes + begin
        return self.data[start : start + length]

    def torrent_file(
        self,
        announce: str = "",
        tiers: Sequence[Sequence[str]] = (),
        *,
        web_seeds: Sequence[str] = (),
        http_seeds: Sequence[str] = (),
    ) -> bytes:
        """Return the .torrent file.

        ``tiers`` is its announce-list (BEP 12), ``web_seeds`` its url-list (BEP 19).
        """
        tracker = b"8:announce%d:%b" % (len(announce), announce.encode()) if announce else b""
        if tiers:
            listed: list[Bencodable] = [[url.encode() for url in tier] for tier in tiers]
            tracker += b"13:announce-list" + bencode(listed)
        if http_seeds:
            tracker += b"9:httpseeds" + bencode([url.encode() for url in http_seeds])
        tail = b"8:url-list" + bencode([url.encode() for url in web_seeds]) if web_seeds else b""
        layers = b"12:piece layers" + self.piece_layers if self.piece_layers else b""
        return b"d%b4:info%b%b%be" % (tracker, self.info, layers, tail)

    def made_private(self) -> "SampleTorrent":
        """Return a torrent of the same data that is private (BEP 27)."""
        head, key, rest = self.info.rpartition(bencode(PAD_KEY))
        return replace(self, info=head + bencode(b"private") + bencode(1) + key + rest)

    def with_info(self, **keys: Bencodable) -> "SampleTorrent":
        """Return a torrent whose info dictionary has other keys, ``_`` in a name for a space."""
        info = parse_dictionary(self.info)
        info.update({key.replace("_", " ").encode(): value for key, value in keys.items()})
        return replace(self, info=bencode(info))

    def magnet(self, spelling: str = "") -> str:
        """Return the magnet link, with the info-hash as it is or spelled in another way."""
        return f"magnet:?xt=urn:btih:{spelling or self.info_hash.hex()}&dn={self.name}"


def sample_bytes(length: int, seed: str) -> bytes:
    """Return ``length`` bytes that depend on ``seed`` only."""
    return b"".join(_digests(-(-length // 32), seed))[:length]


def _digests(count: int, seed: str) -> Iterator[bytes]:
    for number in range(count):
        yield hashlib.sha256(f"{seed} {number}".encode()).digest()


def basic_torrent() -> SampleTorrent:
    """Return the torrent that most rules use: 21 pieces of 64 KiB, the last one short."""
    data = sample_bytes((PIECES - 1) * PIECE_BYTES + LAST_PIECE_BYTES, "basic")
    hashes = piece_hashes(data, PIECE_BYTES)
    info: dict[bytes, Bencodable] = {
        b"length": len(data),
        b"name": BASIC.encode(),
        b"piece length": PIECE_BYTES,
        b"pieces": hashes,
        PAD_KEY: b"",
    }
    digits = len(str(INFO_BYTES)) - 1
    info[PAD_KEY] = bytes(INFO_BYTES - len(bencode(info)) - digits)
    return SampleTorrent(BASIC, data, PIECE_BYTES, bencode(info))


def multi_torrent() -> SampleTorrent:
    """Return a torrent of several files, of which one is empty."""
    data = sample_bytes(sum(length for _, length in MULTI_FILES), "multi")
    files: list[Bencodable] = [
        {b"length": length, b"path": [part.encode() for part in path.split("/")]}
        for path, length in MULTI_FILES
    ]
    info: dict[bytes, Bencodable] = {
        b"files": files,
        b"name": MULTI.encode(),
        b"piece length": PIECE_BYTES,
        b"pieces": piece_hashes(data, PIECE_BYTES),
    }
    return SampleTorrent(MULTI, data, PIECE_BYTES, bencode(info), MULTI_FILES)


def piece_hashes(data: bytes, piece_bytes: int) -> bytes:
    """Return the SHA-1 of each piece, one behind the other."""
    return b"".join(
        hashlib.sha1(data[start : start + piece_bytes], usedforsecurity=False).digest()
        for start in range(0, len(data), piece_bytes)
    )


def write_sample(torrent: SampleTorrent, folder: Path, announce: str = "") -> Path:
    """Write the .torrent into ``folder``, its data below ``folder/data``; return the former."""
    is_old = torrent.is_hybrid or not torrent.v2_hash
    for name, content in torrent.stored_files(with_pads=is_old).items():
        stored = folder / "data" / name
        stored.parent.mkdir(parents=True, exist_ok=True)
        stored.write_bytes(content)
    path = folder / f"{Path(torrent.name).stem}.torrent"
    path.write_bytes(torrent.torrent_file(announce))
    return path
