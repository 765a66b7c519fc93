"""Parsed and validated .torrent files: a Metainfo that exists is safe to download.

What is only badly written is read all the same (``codec/tolerant.py``); the info-hash is always
over the bytes as received.
Source: BEP 3, 5, 12, 17, 19, 27, 35, 39, 47, 52.
Fault model: rows A4 to A7.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha1, sha256
from os import PathLike
from typing import Any, Final

from torrent_engine.base.config import (
    FILE_BENCODE_LIMITS,
    METADATA_BENCODE_LIMITS,
    STORED_BENCODE_LIMITS,
    BencodeLimits,
)
from torrent_engine.base.errors import BencodeError, MetainfoError
from torrent_engine.base.ids import SHA1_BYTES, InfoHash, InfoHashV2, PeerAddress
from torrent_engine.codec._fields import (
    BencodeDict,
    optional_int,
    optional_text,
    required_bytes,
    required_int,
)
from torrent_engine.codec._file_list import (
    FileEntry,
    FileList,
    FileTable,
    parse_files,
    read_file_list,
)
from torrent_engine.codec._file_tree import parse_info_strictly
from torrent_engine.codec._hybrid import check_hybrid
from torrent_engine.codec._similar import SimilarTorrents, parse_similar
from torrent_engine.codec._sources import (
    Tiers,
    optional_web_url,
    parse_nodes,
    parse_tiers,
    parse_web_urls,
)
from torrent_engine.codec._v2_part import (
    V2,
    V2Part,
    check_v2_piece_length,
    checked_layers,
    is_in_folder,
    make_part,
    meta_version,
    parse_tree,
)
from torrent_engine.codec._wrapping import LAYERS, Wrapping, minimal, split
from torrent_engine.codec.bencode import (
    BencodeValue,
    Cursor,
    read_dictionary,
    read_value,
    skip_value,
)
from torrent_engine.codec.geometry import FileLayout, Geometry, PadFiles
from torrent_engine.codec.metainfo_edit import (
    EDITABLE,
    NO_INFO,
    edited,
    with_signatures,
    write_whole,
)
from torrent_engine.codec.piece_hashes import (
    BothHashes,
    MerkleHashes,
    PaddedSha1Hashes,
    PieceHashes,
    Sha1Hashes,
)
from torrent_engine.codec.raw_file import mistaken_for, unpacked
from torrent_engine.codec.tolerant import INFO, TORRENT, decode_tolerantly

__all__ = [
    "MAX_PIECES",
    "MAX_PIECE_BYTES",
    "MIN_PIECE_BYTES",
    "FileEntry",
    "FileList",
    "Metainfo",
    "V2Part",
]

MIN_PIECE_BYTES: Final = 1
MAX_PIECE_BYTES: Final = 512 * 1024 * 1024
MAX_ORIGINATOR_BYTES: Final = 16 * 1024  # ours: certificates of public authorities have 4 KiB
MAX_PIECES: Final = 0x200000  # as libtorrent; what bounds the memory of tiny pieces


@dataclass(frozen=True, slots=True, repr=False)
class Metainfo:
    """One torrent, as its .torrent file or its metadata describes it."""

    info_hash: InfoHash
    """SHA-1 of :attr:`info_bytes`; the first 20 bytes of its SHA-256 if there is a v2 part only.

    The latter also of a hybrid that is known by them (:meth:`known_by`).
    """
    info_bytes: bytes = field(repr=False)
    """The info dictionary as received."""
    name: str
    """Cleaned; the name of the file, or of the folder that holds the files."""
    geometry: Geometry
    layout: FileLayout
    piece_hashes: bytes = field(repr=False)
    """SHA-1, 20 bytes a piece; empty if there is a v2 part only. :attr:`hashes` is for checks."""
    files: FileList = field(repr=False)
    """A sequence of :class:`FileEntry`, in the order of the payload."""
    is_private: bool
    """Peers may come from the trackers only (BEP 27)."""
    tiers: Tiers
    """Trackers, best tier first (BEP 12)."""
    web_seeds: tuple[str, ...]
    """BEP 19."""
    http_seeds: tuple[str, ...]
    """BEP 17."""
    nodes: tuple[PeerAddress, ...]
    """DHT nodes to begin with (BEP 5)."""
    comment: str | None
    created_by: str | None
    creation_time_s: int | None
    """Seconds since 1970."""
    source_tag: str | None
    """"source" of the info dictionary: which site it is of, as private trackers have it."""
    similar: SimilarTorrents
    """Which torrents may have some of the files, as hints (BEP 38)."""
    update_url: str | None
    """Where newer versions are found (BEP 39); an untrusted URL of HTTP."""
    originator: bytes | None = field(repr=False)
    """The DER encoding of the certificate by which newer versions are signed (BEP 39)."""
    is_hybrid: bool
    """There are a v1 and a v2 part, of the same payload (BEP 52)."""
    v2: V2Part | None
    """What a v2 or hybrid torrent has besides; None: the torrent is v1."""
    is_multi_file: bool
    v1_swarm: InfoHash | None
    """SHA-1 of a hybrid that is known by its v2 info-hash; None of other torrents."""
    _padded: PaddedSha1Hashes | None = field(repr=False, compare=False)
    """The SHA-1 of the pieces of such a hybrid."""
    _around: Wrapping = field(repr=False)
    """What stands around the info dictionary in the .torrent, but for the layers of v2."""

    @classmethod
    def read(
        cls,
        path: str | PathLike[str],
        *,
        limits: BencodeLimits = FILE_BENCODE_LIMITS,
    ) -> "Metainfo":
        """Load a .torrent file, gzipped or not.

        Raises OSError, or what :meth:`from_bytes` raises. No more than the limit is read.
        """
        with open(path, "rb") as file:  # noqa: PTH123 - the core has no pathlib
            data = file.read(limits.max_bytes + 1)
        return cls.from_bytes(data, limits=limits)

    @classmethod
    def from_bytes(
        cls,
        data: bytes,
        *,
        limits: BencodeLimits = FILE_BENCODE_LIMITS,
    ) -> "Metainfo":
        """Load the bytes of a .torrent file, gzipped or not; what stands behind it is left out.

        Raises BencodeError if they are no bencoding within ``limits``, and MetainfoError if they
        say something that cannot be downloaded: for a web page it says that.
        """
        data = unpacked(bytes(data), limits.max_bytes)
        try:
            torrent, spans, tail = decode_tolerantly(
                data, limits=limits, readers={b"info": _read_info}, place=TORRENT
            )
        except BencodeError:
            if what := mistaken_for(data):
                raise MetainfoError(f"no torrent but {what}") from None
            if not data.startswith(b"d"):
                raise BencodeError("no torrent: not a dictionary", offset_bytes=0) from None
            raise
        info = torrent.get(b"info")
        if not isinstance(info, dict):
            raise MetainfoError('no torrent: "info" is missing or no dictionary')
        start, end = spans[b"info"]
        return _build(torrent, info, data[start:end], partial(split, data, spans, tail))

    @classmethod
    def from_info_bytes(
        cls,
        info_bytes: bytes,
        *,
        tiers: Tiers = (),
        web_seeds: Iterable[str] = (),
    ) -> "Metainfo":
        """Load an info dictionary that came by other ways than a .torrent file (BEP 9).

        It has no layers of pieces (BEP 52). Raises as :meth:`from_bytes` does.
        """
        info_bytes = bytes(info_bytes)
        info, _, end = decode_tolerantly(
            info_bytes, limits=METADATA_BENCODE_LIMITS, readers=_INFO_READERS, place=INFO
        )
        if end != len(info_bytes):
            raise BencodeError("trailing bytes", offset_bytes=end)
        bare = minimal((), ())
        return _build({}, info, info_bytes, lambda _: bare).with_sources(tiers, web_seeds)

    def known_by(self, info_hash: InfoHash) -> "Metainfo":
        """Return the torrent with this info-hash, if it is one of its own.

        A hybrid that is known by that of its v2 part, as from a link with no other, is a v2
        torrent, pads left out, whose pieces peers of the v1 swarm have too. They are checked by
        both hashes all the same.
        """
        if self.v2_swarm is None or info_hash != self.v2_swarm:
            return self
        info, _, _ = decode_tolerantly(
            self.info_bytes, limits=STORED_BENCODE_LIMITS, readers=_INFO_READERS, place=INFO
        )
        return _v2_of(self, info)

    def with_layers(self, layers: Mapping[bytes, bytes]) -> "Metainfo":
        """Return the torrent with the hashes of pieces that it lacked (BEP 52).

        They are by the root of their file. Raises MetainfoError for hashes that are not those of
        its files.
        """
        if self.v2 is None:
            raise MetainfoError("a v1 torrent has no layers of pieces")
        added = checked_layers(self.v2, dict(layers), self.files)
        v2 = replace(self.v2, layers={**self.v2.layers, **added})
        found = replace(self, v2=v2)
        return found.with_sources(self.tiers, self.web_seeds) if self._around.is_fixed else found

    def with_sources(self, tiers: Tiers, web_seeds: Iterable[str]) -> "Metainfo":
        """Return the torrent with exactly these trackers and web seeds."""
        checked = parse_tiers({b"announce-list": _encoded(tiers)})
        urls = parse_web_urls([url.encode() for url in web_seeds])
        return replace(
            self,
            tiers=checked,
            web_seeds=urls,
            http_seeds=(),
            nodes=(),
            comment=None,
            created_by=None,
            creation_time_s=None,
            _around=minimal(checked, urls),
        )

    def edited(self, **changes: Any) -> "Metainfo":  # noqa: ANN401 - values of the fields below
        """Return the same torrent with some of what stands around its info dictionary changed.

        ``trackers`` are URLs, each a tier of its own, or lists of URLs, each a tier; ``web_seeds``
        and ``http_seeds`` are URLs, ``nodes`` are (host, port) pairs; ``comment``, ``created_by``
        and ``creation_time_s`` are as the fields. None removes one. The info dictionary, so the
        info-hash too, and keys that are not known here stay byte for byte. Raises TypeError or
        ConfigError, naming the field, for a value that cannot be written.
        """
        if unknown := changes.keys() - EDITABLE:
            raise TypeError(
                f"{', '.join(sorted(unknown))}: not among {', '.join(sorted(EDITABLE))}"
            )
        return Metainfo.from_bytes(
            edited(self, self._source_with(NO_INFO), changes), limits=STORED_BENCODE_LIMITS
        )

    def with_signatures(self, signatures: Mapping[bytes, bytes]) -> "Metainfo":
        """Return the same torrent with exactly these :attr:`signatures` (BEP 35).

        ``codec/signatures.py`` makes them. Raises BencodeError for what is no bencoding.
        """
        return Metainfo.from_bytes(
            with_signatures(self, self._source_with(NO_INFO), signatures),
            limits=STORED_BENCODE_LIMITS,
        )

    def write(self, path: str | PathLike[str]) -> None:
        """Write the .torrent; a file that is there is replaced once this one is whole. OSError."""
        write_whole(path, self.source)

    def __repr__(self) -> str:
        """Return name, info-hash and size; no trackers, which may have a passkey in them."""
        count = len(self.files)
        size = f"{count} file{'s' * (count != 1)}, {self.total_bytes} bytes"
        return f"<Metainfo {self.name!r:.100} {self.info_hash.hex()} {size}>"

    @property
    def source(self) -> bytes:
        """The .torrent as read; assembled on each access."""
        return self._source_with(self.info_bytes)

    def _source_with(self, info_bytes: bytes) -> bytes:
        return self._around.around(info_bytes, self.v2.layers if self.v2 else {})

    @property
    def signatures(self) -> Mapping[bytes, bytes]:
        """Bencoded signatures by the name of the signer; not checked (BEP 35).

        Read on each access; ``check_signatures`` says what they are worth.
        """
        if not any(b"signatures" in part for part in self._around[:3]):
            return {}
        values, _, _ = decode_tolerantly(
            self._source_with(NO_INFO),
            limits=STORED_BENCODE_LIMITS,
            readers=_SIGNATURE_READERS,
            place=TORRENT,
        )
        found: Mapping[bytes, bytes] = values.get(b"signatures", {})
        return found

    @property
    def piece_count(self) -> int:
        """Return the number of pieces."""
        return self.geometry.piece_count

    @property
    def total_bytes(self) -> int:
        """Return the length of the payload, pad files included."""
        return self.layout.total_bytes

    @property
    def content_bytes(self) -> int:
        """Return the length of all files but pads."""
        files = enumerate(self.layout.lengths)
        return sum(length for index, length in files if not self.files.is_pad(index))

    @property
    def info_hash_v1(self) -> InfoHash | None:
        """Return the SHA-1 of the info dictionary; None if there is a v2 part only."""
        return self.info_hash if self.piece_hashes else None

    @property
    def info_hash_v2(self) -> InfoHashV2 | None:
        """Return the SHA-256 of the info dictionary; None for a v1 torrent."""
        return self.v2.info_hash if self.v2 else None

    @property
    def v2_swarm(self) -> InfoHash | None:
        """Return the second info-hash of a hybrid, cut to 20 bytes; None of other torrents."""
        return self.v2.info_hash.truncated if self.v2 is not None and self.is_hybrid else None

    @property
    def hashes(self) -> PieceHashes:
        """Return what pieces are checked with, of v1, v2 or both; made on each access."""
        if self.v2 is None:
            return Sha1Hashes(self.piece_hashes, self.geometry)
        v2 = MerkleHashes(self.v2, self.layout)
        if self._padded is not None:
            return BothHashes(self._padded, v2)
        if not self.is_hybrid:
            return v2
        return BothHashes(Sha1Hashes(self.piece_hashes, self.geometry), v2)

    def piece_hash(self, piece: int) -> bytes:
        """Return the SHA-1 of a piece."""
        start = piece * SHA1_BYTES
        return self.piece_hashes[start : start + SHA1_BYTES]

    def to_bytes(self) -> bytes:
        """Return an equivalent .torrent file, its info dictionary byte for byte."""
        return self.source


def _encoded(tiers: Tiers) -> list[BencodeValue]:
    return [[url.encode() for url in tier] for tier in tiers]


def _skip_tree(cursor: Cursor) -> tuple[object, Cursor]:
    """Skip a file tree: it is read later, from the bytes as received, if this is a v2 torrent."""
    _, behind = skip_value(cursor)
    return ({} if cursor.data.startswith(b"d", cursor.position) else None), behind


def _read_files(cursor: Cursor) -> tuple[object, Cursor]:
    """Read the files of v1; return what is wrong with them, as another version may have its own.

    Which version it is must be looked at first (BEP 52).
    """
    try:
        return read_file_list(cursor)
    except MetainfoError as error:
        return error, skip_value(cursor)[1]


_INFO_READERS: Final = {b"files": _read_files, b"file tree": _skip_tree}


def _read_signatures(cursor: Cursor) -> tuple[object, Cursor]:
    """Return the encoded values of a dictionary by their keys; {} for what is none."""
    if not cursor.data.startswith(b"d", cursor.position):
        return {}, skip_value(cursor)[1]
    _, spans, behind = read_dictionary(cursor, {})
    return {key: cursor.data[start:end] for key, (start, end) in spans.items()}, behind


_SIGNATURE_READERS: Final = {LAYERS: skip_value, b"signatures": _read_signatures}


def _read_info(cursor: Cursor) -> tuple[object, Cursor]:
    """Decode the value of "info", its list of files in columns."""
    if not cursor.data.startswith(b"d", cursor.position):
        return read_value(cursor)
    info, _, behind = read_dictionary(cursor, _INFO_READERS)
    return info, behind


def _has_v1(info: BencodeDict) -> bool:
    """Return whether there is a v1 part: its list of files, or the length of its only one."""
    return meta_version(info) != V2 or b"files" in info or b"length" in info


def _build(
    torrent: BencodeDict,
    info: dict[bytes, Any],
    info_bytes: bytes,
    wrapped: Callable[[Mapping[bytes, bytes]], Wrapping],
) -> Metainfo:
    is_v2, has_v1 = meta_version(info) == V2, _has_v1(info)
    tree = parse_info_strictly(info_bytes) if is_v2 else None
    digest = (sha1 if has_v1 else sha256)(info_bytes, usedforsecurity=False).digest()
    info_hash = InfoHash(digest[:SHA1_BYTES])
    piece_bytes = _piece_bytes(info)
    hashes = _piece_hashes(info) if has_v1 else b""
    if tree is None or has_v1:
        files = parse_files(info, info.get(b"files"), info_hash.hex())
    else:
        files = parse_tree(info, tree, piece_bytes, info_hash.hex())
    layout, is_multi_file = files.layout, isinstance(info.get(b"files"), FileTable)
    geometry = _checked_geometry(files, piece_bytes, hashes, has_v1=has_v1)
    v2 = None
    if tree is not None:
        if has_v1:
            check_v2_piece_length(piece_bytes)
            check_hybrid(files, is_multi_file, tree, piece_bytes)
        else:
            is_multi_file = is_in_folder(info, tree)
        v2 = make_part(info_bytes, tree, files, piece_bytes, torrent.get(b"piece layers"))
    return Metainfo(
        info_hash=info_hash,
        info_bytes=info_bytes,
        name=files.path(0)[0],
        geometry=geometry,
        layout=layout,
        piece_hashes=hashes,
        files=files,
        is_private=_is_private(info),
        tiers=parse_tiers(torrent),
        web_seeds=parse_web_urls(torrent.get(b"url-list")),
        http_seeds=parse_web_urls(torrent.get(b"httpseeds")),
        nodes=parse_nodes(torrent.get(b"nodes")),
        comment=optional_text(torrent, b"comment"),
        created_by=optional_text(torrent, b"created by"),
        creation_time_s=optional_int(torrent, b"creation date"),
        source_tag=optional_text(info, b"source"),
        similar=parse_similar(torrent, info),
        update_url=optional_web_url(info, b"update-url"),
        originator=_originator(info),
        is_hybrid=has_v1 and v2 is not None,
        v2=v2,
        is_multi_file=is_multi_file,
        v1_swarm=None,
        _padded=None,
        _around=wrapped(v2.layers if v2 else {}),
    )


def _v2_of(hybrid: Metainfo, info: BencodeDict) -> Metainfo:
    """Return a hybrid as a torrent of v2."""
    v2, piece_bytes = hybrid.v2, hybrid.geometry.piece_bytes
    if v2 is None:
        return hybrid
    tree = parse_info_strictly(hybrid.info_bytes)
    files = parse_tree(info, tree, piece_bytes, v2.info_hash.truncated.hex())
    return replace(
        hybrid,
        info_hash=v2.info_hash.truncated,
        name=files.path(0)[0],
        geometry=_checked_geometry(files, piece_bytes, b"", has_v1=False),
        layout=files.layout,
        piece_hashes=b"",
        files=files,
        is_hybrid=False,
        v2=replace(v2, lengths=files.layout.lengths, roots=tree.roots),
        v1_swarm=hybrid.info_hash,
        _padded=PaddedSha1Hashes(hybrid.piece_hashes, hybrid.geometry),
    )


def _originator(info: BencodeDict) -> bytes | None:
    """Return the certificate of the originator, whether it can be read or not."""
    value = info.get(b"originator")
    return value if isinstance(value, bytes) and 0 < len(value) <= MAX_ORIGINATOR_BYTES else None


def _is_private(info: BencodeDict) -> bool:
    """Return whether "private" is an integer other than 0; other types are ignored."""
    flag = info.get(b"private")
    return isinstance(flag, int) and flag != 0


def _piece_bytes(info: BencodeDict) -> int:
    piece_bytes = required_int(info, b"piece length", "the torrent")
    if not MIN_PIECE_BYTES <= piece_bytes <= MAX_PIECE_BYTES:
        raise MetainfoError(
            f"piece length {piece_bytes} is not within {MIN_PIECE_BYTES} to {MAX_PIECE_BYTES}"
        )
    return piece_bytes


def _piece_hashes(info: BencodeDict) -> bytes:
    hashes = required_bytes(info, b"pieces", "the torrent")
    if len(hashes) % SHA1_BYTES:
        raise MetainfoError(f'"pieces" has {len(hashes)} bytes, not a multiple of {SHA1_BYTES}')
    if len(hashes) > MAX_PIECES * SHA1_BYTES:
        raise MetainfoError(f"more than {MAX_PIECES} pieces")
    return hashes


def _checked_geometry(
    files: FileList, piece_bytes: int, hashes: bytes, *, has_v1: bool
) -> Geometry:
    layout = files.layout
    if not has_v1:
        geometry = Geometry(layout.end_bytes, piece_bytes, layout)
        if geometry.piece_count > MAX_PIECES:
            raise MetainfoError(f"more than {MAX_PIECES} pieces")
        return geometry
    pads = PadFiles(layout, files.is_pad) if files.has_pads else None
    geometry = Geometry(layout.total_bytes, piece_bytes, pads=pads)
    count = len(hashes) // SHA1_BYTES
    if geometry.piece_count != count:
        raise MetainfoError(
            f"{layout.total_bytes} bytes are {geometry.piece_count} pieces, not {count}"
        )
    return geometry
