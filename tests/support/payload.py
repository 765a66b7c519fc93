"""Files to share and the torrents that describe them, made without the package under test."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import bencodepy

EMPTY_DIGEST = hashlib.sha256().digest()


@dataclass(frozen=True)
class Payload:
    """A torrent, and the folder that holds its files."""

    name: str
    torrent: Path
    source_dir: Path
    """What a seed takes as its save path."""
    files: dict[str, bytes]
    """Path below a save path -> SHA-256 of the content."""
    info: dict[bytes, object]
    piece_bytes: int
    total_bytes: int

    @property
    def info_hash(self) -> bytes:
        return hashlib.sha1(bencodepy.encode(self.info)).digest()

    def is_complete_in(self, save_dir: Path, *, with_empty: bool = True) -> bool:
        """Say if every file lies below ``save_dir`` with the right content.

        Some programs never make files of zero length: ``with_empty=False`` lets them.
        """
        return all(
            _matches(save_dir / path, digest)
            for path, digest in self.files.items()
            if with_empty or digest != EMPTY_DIGEST
        )

    def announced_to(self, *urls: str) -> "Payload":
        """Return the same content with a .torrent that names these trackers, a tier each."""
        torrent = self._named_for(urls)
        _write_torrent(torrent, self.info, urls)
        return replace(self, torrent=torrent)

    def with_web_seeds(self, *urls: str) -> "Payload":
        """Return the same content with a .torrent that names these web seeds and no tracker."""
        torrent = self._named_for(urls)
        _write_torrent(torrent, self.info, (), web_seeds=urls)
        return replace(self, torrent=torrent)

    def _named_for(self, urls: Sequence[str]) -> Path:
        label = hashlib.sha256("".join(urls).encode()).hexdigest()[:8]
        return self.torrent.with_name(f"{self.name}.{label}.torrent")


def make_payload(
    folder: Path,
    name: str,
    files: Mapping[str, int],
    *,
    piece_bytes: int = 64 * 1024,
    is_private: bool = False,
) -> Payload:
    """Write random files below ``folder`` and a torrent of them.

    ``files`` maps paths to lengths; one path that equals ``name`` makes a single-file torrent,
    anything else is put into a folder ``name``.
    """
    single = list(files) == [name]
    source_dir = folder / "source"
    generator = random.Random(name)
    digests: dict[str, bytes] = {}
    content = bytearray()
    for path, length in files.items():
        data = generator.randbytes(length)
        relative = path if single else f"{name}/{path}"
        target = source_dir / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        digests[relative] = hashlib.sha256(data).digest()
        content += data
    info = _info(name, files, bytes(content), piece_bytes, single=single)
    if is_private:
        info[b"private"] = 1
    torrent = folder / f"{name}.torrent"
    _write_torrent(torrent, info, ())
    return Payload(name, torrent, source_dir, digests, info, piece_bytes, len(content))


def _info(
    name: str, files: Mapping[str, int], content: bytes, piece_bytes: int, *, single: bool
) -> dict[bytes, object]:
    pieces = b"".join(
        hashlib.sha1(content[start : start + piece_bytes]).digest()
        for start in range(0, len(content), piece_bytes)
    )
    info: dict[bytes, object] = {
        b"name": name.encode(),
        b"piece length": piece_bytes,
        b"pieces": pieces,
    }
    if single:
        info[b"length"] = len(content)
    else:
        info[b"files"] = [
            {b"length": length, b"path": path.encode().split(b"/")}
            for path, length in files.items()
        ]
    return info


def _write_torrent(
    path: Path, info: dict[bytes, object], urls: Sequence[str], *, web_seeds: Sequence[str] = ()
) -> None:
    document: dict[bytes, object] = {b"info": info}
    if urls:
        document[b"announce"] = urls[0].encode()
        document[b"announce-list"] = [[url.encode()] for url in urls]
    if web_seeds:
        document[b"url-list"] = [url.encode() for url in web_seeds]
    path.write_bytes(bencodepy.encode(document))


def _matches(path: Path, digest: bytes) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).digest() == digest
