"""Newer versions of torrents from their feeds (BEP 39), by HTTP."""

import anyio
import pytest

from tests.support.feeds import signed_version, version
from tests.support.rude_server import answering, response, rude_server
from tests.support.signers import NOW_S
from torrent_engine.base.config import TrackerConfig
from torrent_engine.base.errors import (
    BencodeError,
    HttpError,
    MetainfoError,
    SignatureError,
    TorrentEngineError,
)
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.net.http.address_policy import AddressRefusedError
from torrent_engine.net.http.client import HttpClient
from torrent_engine.net.http.torrent_feed import NO_VALIDATORS, ask_feed, fetch_update

pytestmark = pytest.mark.anyio

MAX_BYTES = 100_000


async def fetch(handler, *, allow_private=True, **options):
    """Return version 1, what its feed gave or raised, and the requests that it got."""
    found: Metainfo | TorrentEngineError | None
    async with rude_server(handler) as server:
        older = version(1, f"{server.base}/feed?x=1", **options)
        try:
            found = await fetch_update(
                older,
                HttpClient(TrackerConfig()),
                now_s=NOW_S,
                max_bytes=MAX_BYTES,
                allow_private=allow_private,
            )
        except TorrentEngineError as error:
            found = error
        return older, found, server.requests


async def test_bep39_a_newer_version_is_fetched_with_the_info_hash():
    newer = signed_version(2)
    older, found, requests = await fetch(answering(response(newer.source)))
    assert isinstance(found, Metainfo)
    assert found.source == newer.source
    assert requests[0].startswith(b"GET /feed?x=1&info_hash=" + older.info_hash.hex().encode())


async def test_bep39_the_same_version_is_nothing_new():
    bodies: list[bytes] = []

    async def handler(stream, _head):
        await stream.send(response(bodies[0]))

    async with rude_server(handler) as server:
        older = version(1, f"{server.base}/feed")
        bodies.append(older.source)
        client = HttpClient(TrackerConfig())
        found = await fetch_update(
            older, client, now_s=NOW_S, max_bytes=MAX_BYTES, allow_private=True
        )
    assert found is None


async def test_bep39_without_an_originator_nobody_is_asked():
    _, found, requests = await fetch(answering(response(b"")), originator=None)
    assert (found, requests) == (None, [])


async def test_bep39_private_addresses_are_refused_before_they_are_asked():
    _, found, requests = await fetch(answering(response(b"")), allow_private=False)
    assert isinstance(found, AddressRefusedError)
    assert requests == []


BAD = {
    "unsigned": (lambda: response(version(2).source), SignatureError),
    "missing": (lambda: response(status=404), HttpError),
    "not_changed": (lambda: response(status=304), HttpError),
    "web_page": (lambda: response(b"<html><body>login</body></html>"), MetainfoError),
    "nothing": (lambda: response(b""), TorrentEngineError),
    "text": (lambda: response(b"hello"), BencodeError),
    "long": (lambda: response(b"d" * (MAX_BYTES + 1)), HttpError),
    "magnet": (
        lambda: response(status=302, Location=f"magnet:?xt=urn:btih:{'1' * 40}"),
        HttpError,
    ),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
async def test_bep39_what_is_no_signed_torrent_is_an_error(case):
    make, kind = case
    _, found, requests = await fetch(answering(make()))
    assert isinstance(found, kind)
    assert len(requests) == 1


async def ask_again(first, second):
    """Return the answers of a feed to two requests, the second with what the first one said."""
    async with rude_server(answering(first, second)) as server:
        older = signed_version(1, server.base)
        answers = []
        validators = NO_VALIDATORS
        for _ in range(2):
            answer = await ask_feed(
                older,
                HttpClient(TrackerConfig()),
                validators,
                now_s=NOW_S,
                max_bytes=MAX_BYTES,
                allow_private=True,
            )
            validators = answer.validators
            answers.append(answer)
        return answers, server.requests


async def test_bep39_a_feed_is_told_what_it_said_and_need_not_send_it_again():
    newer = signed_version(2).source
    date = "Mon, 01 Jan 2029 00:00:00 GMT"
    answers, requests = await ask_again(
        response(newer, ETag='W/"7"', Last_Modified=date), response(status=304)
    )
    assert answers[0].newer.source == newer
    assert answers[1].newer is None
    assert answers[0].validators == answers[1].validators
    head = requests[1].lower()
    assert b'\r\nif-none-match: w/"7"\r\n' in head
    assert b"\r\nif-modified-since: mon, 01 jan 2029 00:00:00 gmt\r\n" in head
    assert b"if-none-match" not in requests[0].lower()


async def test_rfc9110_a_tag_of_any_bytes_is_sent_back_as_it_was():
    newer = signed_version(2).source
    _, requests = await ask_again(response(newer, ETag='"é"'), response(status=304))
    assert '\r\nif-none-match: "é"\r\n'.encode() in requests[1].lower()


@pytest.mark.parametrize("fault", [RuntimeError("can't start new thread"), MemoryError()])
async def test_without_a_thread_a_feed_cannot_be_asked(monkeypatch, fault):
    async def refuse(*_arguments):
        await anyio.lowlevel.checkpoint()
        raise fault

    monkeypatch.setattr("anyio.to_thread.run_sync", refuse)
    _, found, requests = await fetch(answering(response(b"")))
    assert isinstance(found, HttpError)
    assert requests == []


async def test_a_feed_that_says_unchanged_of_nothing_is_an_error():
    _, found, _ = await fetch(answering(response(status=304)))
    assert isinstance(found, HttpError)
    assert found.status == 304


async def test_bep39_tags_of_a_feed_that_are_too_long_are_not_sent_back():
    newer = signed_version(2).source
    answers, requests = await ask_again(
        response(newer, ETag='"' + "x" * 2_000 + '"'), response(newer)
    )
    assert answers[0].validators == NO_VALIDATORS
    assert b"if-none-match" not in requests[1].lower()
