"""The feed of a torrent: where newer versions are found, and which of them are accepted.

A newer version counts only if the originator, whose certificate is in the info dictionary of the
older one, has signed it.
Source: BEP 39; BEP 35 (signatures).
"""

from typing import Final
from urllib.parse import urlsplit, urlunsplit

from torrent_engine.base.errors import MetainfoError, SignatureError
from torrent_engine.codec.certificates import Certificate
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.signatures import CheckedSignature, check_signatures

_PARAMETER: Final = "info_hash"


def has_feed(metainfo: Metainfo) -> bool:
    """Return whether a torrent may have a feed whose answers count."""
    return metainfo.originator is not None and bool(metainfo.update_url or metainfo.signatures)


def feed_request(metainfo: Metainfo, *, now_s: float) -> str | None:
    """Return the URL to ask for a newer version of a torrent; None if it has no feed.

    That of the originator's signature counts more than that of the torrent. The info-hash is added
    as a parameter, in hexadecimal: that of v1 if there is one. ``now_s`` is the time in seconds
    since 1970. Raises MetainfoError for a malformed URL.
    """
    url = metainfo.update_url
    if metainfo.originator is not None and metainfo.signatures:
        try:
            signature = _signature_of_originator(metainfo, metainfo.originator, now_s)
        except SignatureError:
            signature = None
        if signature is not None and signature.is_trusted:
            url = signature.update_url or url
    if url is None:
        return None
    info_hash = metainfo.info_hash_v1 or metainfo.info_hash_v2 or metainfo.info_hash
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise MetainfoError(f"the URL of the feed is malformed: {error}") from error
    query = f"{parts.query}&" if parts.query else ""
    return urlunsplit(parts._replace(query=f"{query}{_PARAMETER}={info_hash.hex()}", fragment=""))


def check_update(older: Metainfo, newer: Metainfo, *, now_s: float) -> CheckedSignature:
    """Return the signature by which ``newer`` is a version of ``older``.

    Raises SignatureError unless the originator of ``older`` has signed ``newer``, and its
    certificate is valid at ``now_s``, in seconds since 1970.
    """
    if older.originator is None:
        raise SignatureError("the torrent names no originator: nothing that its feed has counts")
    found = _signature_of_originator(newer, older.originator, now_s)
    if found is None:
        raise SignatureError("the newer version is not signed by the originator")
    if not found.is_trusted:
        raise SignatureError(f"the signature of the newer version: {found.reason}")
    return found


def _signature_of_originator(
    metainfo: Metainfo, originator: bytes, now_s: float
) -> CheckedSignature | None:
    """Return the signature by exactly this certificate, preferably a right one.

    Raises SignatureError for a certificate that cannot be read.
    """
    certificate = Certificate(originator)
    checked = check_signatures(metainfo, (certificate,), now_s=now_s)
    by_it = [each for each in checked if each.certificate == certificate]
    return max(by_it, key=lambda each: each.is_trusted, default=None)
