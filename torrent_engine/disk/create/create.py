"""Making a .torrent of files and folders; the same input gives the same bytes.

Source: BEP 3, 12 (tiers), 19 (url-list), 27 (private), 38 (similar torrents), 39 (feeds), 47
(attributes), 52 (v2 and hybrids).
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from torrent_engine.base.config import FILE_BENCODE_LIMITS
from torrent_engine.base.errors import ConfigError, SignatureError
from torrent_engine.base.ids import BLOCK_BYTES, SHA1_BYTES, SHA256_BYTES, InfoHash
from torrent_engine.codec._similar import MAX_COLLECTION_BYTES, MAX_HINTS
from torrent_engine.codec.bencode import Encodable, encode
from torrent_engine.codec.certificates import Certificate
from torrent_engine.codec.geometry import Geometry
from torrent_engine.codec.metainfo import MAX_PIECES, Metainfo
from torrent_engine.codec.urls import TRACKER_PREFIXES, WEB_PREFIXES
from torrent_engine.disk.create.hashing import PayloadHashes, ProgressCallback, hash_payload
from torrent_engine.disk.create.scan import Payload, ScanRules, scan_payload
from torrent_engine.disk.create.v2_fields import (
    aligned_geometry,
    has_pads,
    padded_files,
    v2_fields,
)

TorrentFormat = Literal["v1", "v2", "hybrid"]

MIN_PIECE_BYTES: Final = BLOCK_BYTES
MAX_PIECE_BYTES: Final = 128 * 1024 * 1024  # larger ones are not supported by older clients
MAX_AUTO_PIECE_BYTES: Final = 16 * 1024 * 1024
MAX_AUTO_PIECES: Final = 2048
MAX_DEFAULT_THREADS: Final = 4


@dataclass(frozen=True, slots=True)
class CreateOptions:
    """The fields of a new torrent besides its files."""

    tiers: tuple[tuple[str, ...], ...] = ()
    """Trackers, best tier first (BEP 12)."""
    web_seeds: tuple[str, ...] = ()
    """HTTP(S) URLs (BEP 19)."""
    piece_bytes: int | None = None
    """A multiple of 16 KiB up to 128 MiB, in v2 and hybrids a power of two; None chooses one."""
    is_private: bool = False
    """Peers may come from the trackers only (BEP 27)."""
    comment: str | None = None
    created_by: str | None = None
    creation_time_s: int | None = None
    """Seconds since 1970; None leaves the date out, which keeps the result reproducible."""
    name: str | None = None
    """None: the name of the file or folder."""
    source: str | None = None
    """A tag inside the info dictionary, which changes the info-hash."""
    similar: tuple[InfoHash, ...] = ()
    """Torrents that may share files with this one; inside the info dictionary (BEP 38)."""
    collections: tuple[str, ...] = ()
    """Names of collections whose torrents may share files; there as well (BEP 38)."""
    update_url: str | None = None
    """Where newer versions will be found, inside the info dictionary (BEP 39)."""
    originator: bytes | None = None
    """The DER encoding of the certificate by which newer versions will be signed (BEP 39)."""
    threads: int | None = None
    """Hashing threads; None: as many as processors, up to 4."""
    format: TorrentFormat = "hybrid"
    """Versions of BitTorrent that can download it; hybrids are of both (BEP 52).

    Some programs of v1 know no hybrids, whoever makes them: Transmission up to 3.00 refuses their
    files, and aria2 1.36 takes another info-hash for theirs, so that it finds no peers.
    """

    attributes: bool = True
    """Whether files that their owner may execute are marked, for others to be so too (BEP 47)."""

    @property
    def has_v1(self) -> bool:
        """Whether there is a v1 part."""
        return self.format != "v2"

    @property
    def has_v2(self) -> bool:
        """Whether there is a v2 part."""
        return self.format != "v1"


def create_torrent(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    options: CreateOptions | None = None,
    on_progress: ProgressCallback | None = None,
    rules: ScanRules | None = None,
) -> bytes:
    """Return the bytes of a .torrent of one file, one folder, or several of either.

    Blocks until everything is hashed. ``on_progress(done_bytes, total_bytes)`` runs in the
    caller's thread; an exception of it aborts. ``rules`` select the files of folders; without them
    all are included. Raises StorageError if something cannot be read, and ConfigError for invalid
    options or names, before anything is hashed.
    """
    options = options or CreateOptions()
    paths = [paths] if isinstance(paths, str | os.PathLike) else paths
    check_options(options)
    payload = scan_payload(paths, options.name, rules)
    if not options.attributes:
        payload = payload.without_attributes()
    piece_bytes = options.piece_bytes or _chosen_piece_bytes(payload, options)
    geometry = Geometry(payload.total_bytes, piece_bytes)
    if options.has_v2:
        geometry = aligned_geometry(payload, piece_bytes)
    _check_size(payload, geometry, options)
    pads = has_pads(payload) if options.format == "hybrid" else None
    hashes = hash_payload(payload.files, geometry, _threads(options), on_progress, pads=pads)
    made = encode(_torrent(payload, geometry, hashes, options))
    Metainfo.from_bytes(made)  # nothing is made that we would refuse ourselves
    return made


def auto_piece_bytes(total_bytes: int) -> int:
    """Return the power of two from 16 KiB to 16 MiB that gives 1,024 to 2,048 pieces."""
    wanted = -(-total_bytes // MAX_AUTO_PIECES)
    power = 1 << max(wanted - 1, 0).bit_length()
    return min(max(power, MIN_PIECE_BYTES), MAX_AUTO_PIECE_BYTES)


def auto_aligned_piece_bytes(lengths: Iterable[int]) -> int:
    """Return the smallest power of two that gives 2,048 pieces at most, or two a file (BEP 52).

    Pieces of v2 hold no two files: larger ones would leave as many of small files, and only add to
    the pads of a hybrid.
    """
    files = [length for length in lengths if length]
    most, size = max(MAX_AUTO_PIECES, 2 * len(files)), MIN_PIECE_BYTES
    while size < MAX_AUTO_PIECE_BYTES and sum(-(-length // size) for length in files) > most:
        size *= 2
    return size


def _chosen_piece_bytes(payload: Payload, options: CreateOptions) -> int:
    if options.has_v2:
        return auto_aligned_piece_bytes(file.length_bytes for file in payload.files)
    return auto_piece_bytes(payload.total_bytes)


def _threads(options: CreateOptions) -> int:
    return options.threads or min(os.cpu_count() or 1, MAX_DEFAULT_THREADS)


def check_options(options: CreateOptions) -> None:
    """Raise ConfigError for options that are out of range; of URLs it checks the schemes."""
    size = options.piece_bytes
    if size is not None and (size % BLOCK_BYTES or not MIN_PIECE_BYTES <= size <= MAX_PIECE_BYTES):
        raise ConfigError(f"piece size {size}: not a multiple of 16 KiB up to 128 MiB")
    if options.format not in get_args(TorrentFormat):
        raise ConfigError(f"format {options.format!r}: not v1, v2 or hybrid")
    if size is not None and options.has_v2 and size.bit_count() != 1:
        raise ConfigError(
            f"piece size {size}: no power of two, which format v1 alone allows (BEP 52)"
        )
    if options.threads is not None and options.threads < 1:
        raise ConfigError(f"{options.threads} hashing threads")
    if options.creation_time_s is not None and options.creation_time_s < 0:
        raise ConfigError(f"creation date {options.creation_time_s}")
    _check_similar(options)
    for url in (url for tier in options.tiers for url in tier):
        _check_url("tracker", url, TRACKER_PREFIXES)
    for url in options.web_seeds:
        _check_url("web seed", url, WEB_PREFIXES)
    if options.update_url is not None:
        _check_url("update URL", options.update_url, WEB_PREFIXES)
    if options.originator is not None:
        _check_originator(options.originator)


def _check_similar(options: CreateOptions) -> None:
    for info_hash in options.similar:
        if len(info_hash) != SHA1_BYTES:
            raise ConfigError(f"similar torrent: an info-hash of {len(info_hash)} bytes, not 20")
    for name in options.collections:
        if not 1 <= len(name.encode(errors="replace")) <= MAX_COLLECTION_BYTES:
            raise ConfigError(f"collection {name[:40]!r}: not 1 to {MAX_COLLECTION_BYTES} bytes")
        if not name.isprintable():
            raise ConfigError(f"collection {name[:40]!r}: has characters that cannot be printed")
    if max(len(options.similar), len(options.collections)) > MAX_HINTS:
        raise ConfigError(f"more than {MAX_HINTS} similar torrents or collections")


def _check_url(kind: str, url: str, schemes: tuple[str, ...]) -> None:
    if not url.lower().startswith(schemes) or not url.isprintable():
        raise ConfigError(f"{kind} {url!r}: its URL must begin with {' or '.join(schemes)}")


def _check_originator(der: bytes) -> None:
    """Raise ConfigError for a certificate by which nothing could be signed."""
    try:
        fault = Certificate(der).key_fault
    except SignatureError as error:
        raise ConfigError(f"originator: {error}") from error
    if fault:
        raise ConfigError(f"originator: {fault}")


def _check_size(payload: Payload, geometry: Geometry, options: CreateOptions) -> None:
    """Raise ConfigError, before hashing, for a torrent that no client could load."""
    if geometry.piece_count > MAX_PIECES:
        raise ConfigError(
            f"{geometry.piece_count} pieces, more than {MAX_PIECES}: the piece size is too small"
        )
    bare = encode(_torrent(payload, geometry, PayloadHashes(b"", b""), options))
    a_piece = SHA1_BYTES * options.has_v1 + SHA256_BYTES * options.has_v2
    size = len(bare) + a_piece * geometry.piece_count
    if size > FILE_BENCODE_LIMITS.max_bytes:
        limit = FILE_BENCODE_LIMITS.max_bytes
        raise ConfigError(f"the .torrent would have {size} bytes, more than {limit}")


def _torrent(
    payload: Payload, geometry: Geometry, hashes: PayloadHashes, options: CreateOptions
) -> dict[str, Encodable]:
    info = _info(payload, geometry.piece_bytes, hashes, options)
    torrent: dict[str, Encodable] = {"info": info}
    if options.has_v2:
        info["meta version"] = 2
        info["file tree"], torrent["piece layers"] = v2_fields(payload, geometry, hashes.merkle)
    tiers = [tier for tier in options.tiers if tier]
    if tiers:
        torrent["announce"] = tiers[0][0]
    if sum(map(len, tiers)) > 1:
        torrent["announce-list"] = tiers
    if options.web_seeds:
        torrent["url-list"] = options.web_seeds
    if options.comment:
        torrent["comment"] = options.comment
    if options.created_by:
        torrent["created by"] = options.created_by
    if options.creation_time_s is not None:
        torrent["creation date"] = options.creation_time_s
    return torrent


def _info(
    payload: Payload, piece_bytes: int, hashes: PayloadHashes, options: CreateOptions
) -> dict[str, Encodable]:
    info: dict[str, Encodable] = {"name": payload.name, "piece length": piece_bytes}
    if options.has_v1:
        info["pieces"] = hashes.sha1
        info |= _v1_files(payload, piece_bytes, options)
    if options.is_private:
        info["private"] = 1
    if options.source:
        info["source"] = options.source
    if options.similar:
        info["similar"] = list(options.similar)
    if options.collections:
        info["collections"] = list(options.collections)
    if options.update_url:
        info["update-url"] = options.update_url
    if options.originator:
        info["originator"] = options.originator
    return info


def _v1_files(payload: Payload, piece_bytes: int, options: CreateOptions) -> dict[str, Encodable]:
    if not payload.is_multi_file:
        return {**payload.files[0].attributes, "length": payload.total_bytes}
    if options.has_v2:
        return {"files": list(padded_files(payload, piece_bytes))}
    return {
        "files": [
            {**file.attributes, "length": file.length_bytes, "path": file.parts}
            for file in payload.files
        ]
    }
