"""Sources of torrents as users name them: paths, URLs, standard input, magnet links."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from torrent_engine.base.config import FILE_BENCODE_LIMITS, torrent_limits
from torrent_engine.base.errors import MagnetError
from torrent_engine.codec.magnet import LIMITS, SCHEME, Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.mutable_link import MutableLink

if TYPE_CHECKING:
    from torrent_engine.engine.session.torrent_loader import LookUpIn
    from torrent_engine.net.http.client import HttpClient
    from torrent_engine.net.http.torrent_fetch import FetchOptions

STDIN: Final = "-"
MAX_TORRENT_BYTES: Final = FILE_BENCODE_LIMITS.max_bytes
_URL_SCHEMES: Final = ("http://", "https://")
_WITH_SECRETS: Final = (*_URL_SCHEMES, "udp://", "ws://", "wss://")
_QUOTES: Final = "a shell cuts a link at its first & unless it is in quotes"
_SECRET: Final = re.compile(r"[0-9A-Za-z]{20}")  # no word is that long; passkeys are longer


def is_url(source: str) -> bool:
    """Return whether a source is an http(s) URL."""
    return source.lower().startswith(_URL_SCHEMES)


def is_magnet(source: str) -> bool:
    """Return whether a source is a magnet link, or an info-hash and no existing file."""
    return Magnet.is_link(source) and (has_scheme(source) or not Path(source).exists())


def check_link(source: str) -> None:
    """Raise MagnetError for a magnet link that names neither a torrent nor a public key."""
    if MutableLink.is_link(source):
        MutableLink.parse(source)
    else:
        parse_magnet(source)


def has_scheme(source: str) -> bool:
    """Return whether a source begins with ``magnet:``."""
    return source.lstrip()[: len(SCHEME)].lower() == SCHEME


def parse_magnet(source: str) -> Magnet:
    """Parse a magnet link. Raises MagnetError, which mentions missing quotes."""
    try:
        return Magnet.parse(source)
    except MagnetError as error:
        hint = f"; {_QUOTES}" if "&" not in source else ""
        raise MagnetError(f"{error}{hint}") from error


def hint_about(source: str) -> str | None:
    """Return a hint about a link that a shell may have cut at its first ``&``."""
    if has_scheme(source) and "&" not in source:
        return f"the link names neither trackers nor peers; {_QUOTES}"
    return None


async def load(
    source: str,
    stdin: bytes = b"",
    http: "HttpClient | None" = None,
    max_bytes: int = MAX_TORRENT_BYTES,
    fetching: "FetchOptions | None" = None,
    dht: "LookUpIn | None" = None,
) -> Metainfo | Magnet:
    """Read a .torrent or a magnet link; ``stdin`` holds either of them for ``-``.

    URLs are fetched with ``http``, which may use a proxy; links to a public key (BEP 46) are
    looked up with ``dht``. Raises as load_torrent().
    """
    from torrent_engine.base.config import TrackerConfig
    from torrent_engine.engine.session.torrent_loader import load_torrent
    from torrent_engine.net.http.client import HttpClient
    from torrent_engine.net.http.torrent_fetch import ANYWHERE

    limits = torrent_limits(max_bytes)

    def client() -> HttpClient:
        return http or HttpClient(TrackerConfig())

    text = (
        source if source != STDIN else stdin[: LIMITS.max_uri_bytes + 1].decode("utf-8", "replace")
    )
    if dht is not None and MutableLink.is_link(text):
        return await load_torrent(text, client, limits, dht=dht)
    if is_magnet(source):
        return parse_magnet(source)
    if source != STDIN:
        return await load_torrent(source, client, limits, fetching or ANYWHERE)
    return parse_magnet(text) if Magnet.is_link(text) else await load_torrent(stdin, client, limits)


def shown(source: str) -> str:
    """Return a printable form of a source: a URL or link without user, query and passkeys."""
    if has_scheme(source):
        return _shown_magnet(source)
    if not source.lower().startswith(_WITH_SECRETS):
        return source
    try:
        parts = urlsplit(source)
    except ValueError:
        return f"{source.partition('://')[0]}://***"
    path = "/".join("***" if _SECRET.search(part) else part for part in parts.path.split("/"))
    query = "?***" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}{query}"


def _shown_magnet(source: str) -> str:
    """Return the name or info-hash of a link, which may contain passkeys."""
    try:
        if MutableLink.is_link(source):
            return str(MutableLink.parse(source).key)
        return Magnet.parse(source).display_name
    except MagnetError:
        return "magnet:?***"
