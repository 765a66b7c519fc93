"""Loading of torrents from a path, an http(s) URL, bytes, a magnet link or an info-hash."""

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final, TypeGuard, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

from torrent_engine.base.config import FILE_BENCODE_LIMITS, BencodeLimits
from torrent_engine.base.errors import ConfigError, MagnetError, MetainfoError
from torrent_engine.base.ids import SHA1_BYTES, SHA256_BYTES, InfoHash, InfoHashV2
from torrent_engine.codec.magnet import SCHEME, Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.mutable_link import MutableLink
from torrent_engine.codec.raw_file import is_packed
from torrent_engine.net.dht.mutable_torrents import resolve_link
from torrent_engine.net.dht.service import DhtService
from torrent_engine.net.http.client import HttpClient
from torrent_engine.net.http.torrent_fetch import (
    ANYWHERE,
    FetchOptions,
    fetch_torrent,
    is_url,
)

SMALL_TORRENT_BYTES: Final = 6 * 1024
"""Ours: what is longer is read in a thread; the worst of this length takes some 10 ms."""
_T = TypeVar("_T")

LookUpIn = Callable[[], DhtService | None]
"""Returns the DHT; None if it is switched off."""
TorrentSource = str | os.PathLike[str] | bytes | Metainfo | Magnet


def is_info_hash(source: object) -> TypeGuard[InfoHash]:
    """Return whether this is an info-hash as bytes; no .torrent is as short."""
    return isinstance(source, bytes) and len(source) == SHA1_BYTES


def parse_info_hash(value: object) -> InfoHash:
    """Return the info-hash that is given as bytes or as text; of v2 its first 20 bytes.

    Raises TypeError or ConfigError.
    """
    if isinstance(value, bytes):
        if len(value) == SHA256_BYTES:
            return InfoHashV2(value).truncated
        if len(value) != SHA1_BYTES:
            raise ConfigError(f"info_hash: {value!r:.80} has {len(value)} bytes, not {SHA1_BYTES}")
        return InfoHash(value)
    if not isinstance(value, str):
        raise TypeError(f"info_hash: must be 20 bytes or a string, not {value!r:.80}")
    try:
        if len(value.strip()) == 2 * SHA256_BYTES:
            return InfoHashV2.parse(value).truncated
        return Magnet.parse(value).info_hash
    except (MagnetError, ValueError) as error:
        raise ConfigError(f"info_hash: {value!r:.80}: {error}") from None


async def load_torrent(
    source: TorrentSource,
    http: Callable[[], HttpClient],
    limits: BencodeLimits = FILE_BENCODE_LIMITS,
    fetching: FetchOptions = ANYWHERE,
    dht: LookUpIn | None = None,
) -> Metainfo | Magnet:
    """Read a torrent; ``http`` is called for what fetches one by its URL.

    A link to a public key (BEP 46) is looked up with ``dht``. Raises OSError, BencodeError,
    MetainfoError, MagnetError or HttpError; as :func:`resolve_link` does for a public key;
    TypeError for what cannot name a torrent.
    """
    if not isinstance(source, str | bytes | os.PathLike | Metainfo | Magnet):
        raise TypeError(
            f"source: must be a path, URL, magnet link, info-hash, bytes, Metainfo or Magnet, "
            f"not {source!r:.80}"
        )
    if dht is not None and isinstance(source, str) and await _of_link(MutableLink.is_link, source):
        return await resolve_link(source, dht())
    await anyio.lowlevel.checkpoint()  # other tasks run between thousands that are read in a row
    found = await _load(source, http, limits, fetching)
    downloadable(found)
    return found


async def _load(
    source: TorrentSource,
    http: Callable[[], HttpClient],
    limits: BencodeLimits,
    fetching: FetchOptions,
) -> Metainfo | Magnet:
    if isinstance(source, Metainfo | Magnet):
        return source
    if isinstance(source, bytes):
        return await _parsed(source, limits)
    if isinstance(source, str) and is_url(source):
        found = await fetch_torrent(source, http(), limits.max_bytes, fetching)
        return found if isinstance(found, Magnet) else await _parsed(found, limits)
    if isinstance(source, str) and await _is_link(source):
        return await _of_link(Magnet.parse, source)
    if _is_small(source):
        return await _parsed(_read_small(source, limits), limits)
    return await anyio.to_thread.run_sync(partial(read_torrent, source, limits=limits))


def downloadable(torrent: Metainfo | Magnet) -> Metainfo | Magnet:
    """Return a torrent, as its link if hashes of its pieces are missing (BEP 52).

    Raises MetainfoError if it is private besides: a link is announced to everybody.
    """
    is_v2_only = isinstance(torrent, Metainfo) and torrent.info_hash_v1 is None
    if not isinstance(torrent, Metainfo) or not is_v2_only or torrent.v2 is None:
        return torrent
    missing = sum(1 for _ in torrent.v2.missing_layers())
    if missing and torrent.is_private:
        raise MetainfoError(f'a private torrent without "piece layers" (BEP 52) of {missing} files')
    if not missing:
        return torrent
    return replace(Magnet.of(torrent), info_hash=torrent.info_hash)  # as it was named


def read_torrent(
    path: str | os.PathLike[str],
    limits: BencodeLimits = FILE_BENCODE_LIMITS,
) -> Metainfo:
    """Read a .torrent file, blocking; MetainfoError if it is a folder. Raises as Metainfo.read."""
    try:
        return Metainfo.read(path, limits=limits)
    except IsADirectoryError as error:
        raise MetainfoError(f"{os.fspath(path)}: is a folder, not a .torrent") from error


async def _parsed(data: bytes, limits: BencodeLimits) -> Metainfo:
    """Parse a .torrent, in a thread if it is long or gzipped."""
    if len(data) <= SMALL_TORRENT_BYTES and not is_packed(data):
        return Metainfo.from_bytes(data, limits=limits)
    return await anyio.to_thread.run_sync(partial(Metainfo.from_bytes, data, limits=limits))


def _is_small(path: str | os.PathLike[str]) -> bool:
    """Return whether this is a regular file that is read faster than a thread starts."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a path of any kind
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size <= SMALL_TORRENT_BYTES


def _read_small(path: str | os.PathLike[str], limits: BencodeLimits) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - a path of any kind
        return file.read(limits.max_bytes + 1)


async def _of_link(read: Callable[[str], _T], link: str) -> _T:
    """Return what is read from a link, in a thread if it is long."""
    if len(link) <= SMALL_TORRENT_BYTES:
        return read(link)
    return await anyio.to_thread.run_sync(read, link)


async def _is_link(source: str) -> bool:
    """Return whether this is a magnet link, or an info-hash that is not the name of a file."""
    if source.lstrip()[: len(SCHEME)].lower() == SCHEME:
        return True
    return Magnet.is_link(source) and not await anyio.Path(source).exists()
