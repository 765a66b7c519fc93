"""Newer versions of a torrent from its feed (BEP 39).

The URL is that of a stranger: private addresses are refused unless they are allowed.
"""

from dataclasses import dataclass
from functools import partial
from typing import Final

from torrent_engine.base.config import torrent_limits
from torrent_engine.base.errors import HttpError
from torrent_engine.codec.feed import check_update, feed_request
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.net.http.client import HttpClient, HttpResponse
from torrent_engine.net.http.library import in_thread
from torrent_engine.net.http.torrent_fetch import (
    FetchOptions,
    fetch_response,
    is_sendable,
    torrent_of,
)

HTTP_NOT_MODIFIED: Final = 304
MAX_VALIDATOR_CHARS: Final = 1_024  # ours: they are remembered for each torrent


@dataclass(frozen=True, slots=True)
class FeedValidators:
    """What a feed said of its answer, and is told in the next request (RFC 9110, section 8.8)."""

    etag: str = ""
    modified: str = ""


NO_VALIDATORS: Final = FeedValidators()


@dataclass(frozen=True, slots=True)
class FeedAnswer:
    """The answer of a feed."""

    newer: Metainfo | None
    """The newer version; None if there is none."""
    validators: FeedValidators = NO_VALIDATORS


async def fetch_update(
    metainfo: Metainfo,
    http: HttpClient,
    *,
    now_s: float,
    max_bytes: int,
    allow_private: bool = False,
) -> Metainfo | None:
    """Return the newer version that a torrent's feed has; None if there is no feed, or none newer.

    ``now_s`` is the time in seconds since 1970, at which the originator's certificate must be
    valid. Nothing is asked for unless the torrent names an originator. Raises HttpError if the
    feed does not answer with a torrent, BencodeError or MetainfoError if that cannot be read, and
    SignatureError if it is not signed by the originator.
    """
    answer = await ask_feed(
        metainfo, http, now_s=now_s, max_bytes=max_bytes, allow_private=allow_private
    )
    return answer.newer


async def ask_feed(
    metainfo: Metainfo,
    http: HttpClient,
    validators: FeedValidators = NO_VALIDATORS,
    *,
    now_s: float,
    max_bytes: int,
    allow_private: bool = False,
) -> FeedAnswer:
    """Return what a torrent's feed has now, as :func:`fetch_update`.

    ``validators`` are those of the last answer: the feed need not send again what it sent then.
    """
    url = await in_thread(partial(feed_request, metainfo, now_s=now_s))
    if url is None or metainfo.originator is None:
        return FeedAnswer(None)
    options = FetchOptions(
        allow_private=allow_private, etag=validators.etag, modified=validators.modified
    )
    response = await fetch_response(url, http, max_bytes, options)
    if response.status == HTTP_NOT_MODIFIED and validators != NO_VALIDATORS:
        return FeedAnswer(None, validators)
    found = torrent_of(response)
    if isinstance(found, Magnet):
        raise HttpError("the feed has a magnet link, which cannot be signed")
    newer = await in_thread(_read, metainfo, found, max_bytes, now_s)
    return FeedAnswer(newer, _validators(response))


def _validators(response: HttpResponse) -> FeedValidators:
    """Return what can be sent back of a response."""
    texts = (response.headers.get(name, "") for name in ("etag", "last-modified"))
    usable = (t if len(t) <= MAX_VALIDATOR_CHARS and is_sendable(t) else "" for t in texts)
    return FeedValidators(*usable)


def _read(older: Metainfo, data: bytes, max_bytes: int, now_s: float) -> Metainfo | None:
    newer = Metainfo.from_bytes(data, limits=torrent_limits(max_bytes))
    if newer.info_bytes == older.info_bytes:
        return None
    check_update(older, newer, now_s=now_s)
    return newer
