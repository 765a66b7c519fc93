"""Fetching of a .torrent by its URL (fault model, row D1)."""

import gzip

import anyio
import pytest

from tests.support.rude_server import answering, response, rude_server
from torrent_engine.base.config import TrackerConfig
from torrent_engine.base.errors import ConfigError, HttpError, MagnetError, TorrentEngineError
from torrent_engine.codec.magnet import Magnet
from torrent_engine.net.http.address_policy import AddressRefusedError
from torrent_engine.net.http.client import HttpClient
from torrent_engine.net.http.torrent_fetch import ANYWHERE, FetchOptions, fetch_torrent

pytestmark = pytest.mark.anyio

LINK = f"magnet:?xt=urn:btih:{'1' * 40}"


async def fetch(handler, options=ANYWHERE, *, max_bytes=1_000):
    async with rude_server(handler) as server:
        found = await fetch_torrent(server.base, HttpClient(TrackerConfig()), max_bytes, options)
        return found, server.requests[0].decode("latin-1").lower()


async def failure(handler, options=ANYWHERE, *, max_bytes=1_000):
    async with rude_server(handler) as server:
        with pytest.raises(TorrentEngineError) as caught:
            await fetch_torrent(server.base, HttpClient(TrackerConfig()), max_bytes, options)
    return caught.value


async def test_cookies_and_the_user_agent_are_those_of_the_call():
    options = FetchOptions(cookies="uid=7; pass=x", user_agent="me/1")
    found, head = await fetch(answering(response(b"body")), options)
    assert found == b"body"
    assert "cookie: uid=7; pass=x\r\n" in head
    assert head.count("user-agent:") == 1
    assert "user-agent: me/1\r\n" in head


async def test_without_options_no_cookie_is_sent():
    _, head = await fetch(answering(response(b"body")))
    assert "cookie:" not in head
    assert "user-agent: torrent_engine" in head


async def test_cookies_do_not_follow_a_redirect_to_another_origin():
    async with rude_server(answering(response(b"body"))) as other:
        moved = answering(response(status=302, Location=f"{other.base}/x"))
        options = FetchOptions(cookies="secret=1", user_agent="me/1")
        found, head = await fetch(moved, options)
        there = other.requests[0].lower()
    assert (found, "cookie: secret=1" in head) == (b"body", True)
    assert b"secret" not in there
    assert b"user-agent: me/1" in there


async def test_private_addresses_are_refused_if_they_are_not_allowed():
    error = await failure(answering(response(b"body")), FetchOptions(allow_private=False))
    assert isinstance(error, AddressRefusedError)
    assert "not a public address" in str(error)


@pytest.mark.parametrize("is_packed", [False, True])
async def test_a_body_is_no_longer_than_the_smaller_limit(is_packed):
    body = b"x" * 200
    sent = response(gzip.compress(body), Content_Encoding="gzip") if is_packed else response(body)
    options = FetchOptions(max_bytes=100)
    errors = [
        await failure(answering(sent), options),
        await failure(answering(sent), max_bytes=100),
    ]
    assert all(isinstance(error, HttpError) and "100" in str(error) for error in errors)


async def test_the_whole_request_has_a_time_limit():
    async def silent(_stream, _request):
        await anyio.sleep_forever()

    error = await failure(silent, FetchOptions(timeout_s=0.2))
    assert str(error) == "no complete response in 0.2 s"


async def test_a_redirect_to_a_magnet_link_is_that_link():
    found, _ = await fetch(answering(response(status=301, Location=LINK)))
    assert found == Magnet.parse(LINK)


async def test_a_redirect_to_a_broken_magnet_link_is_an_error_of_the_link():
    error = await failure(answering(response(status=301, Location="magnet:?xt=nothing")))
    assert isinstance(error, MagnetError)


async def test_at_most_five_redirects_are_followed():
    async with rude_server(answering(response(status=302, Location="/again"))) as server:
        with pytest.raises(HttpError, match="more than 5 redirects"):
            await fetch_torrent(server.base, HttpClient(TrackerConfig()), 100)
        assert len(server.requests) == 6


@pytest.mark.parametrize(("status", "text"), [(404, "not found"), (500, "HTTP status 500")])
async def test_an_error_status_is_an_error_with_the_status(status, text):
    error = await failure(answering(response(status=status)))
    assert isinstance(error, HttpError)
    assert (error.status, text in str(error)) == (status, True)


@pytest.mark.parametrize("text", ["a\r\nHost: x", "a\0", "\u20ac", "x" * 8_193])
def test_text_that_no_header_can_have_is_refused(text):
    with pytest.raises(ConfigError, match="cookies"):
        FetchOptions(cookies=text)
    with pytest.raises(ConfigError, match="user_agent"):
        FetchOptions(user_agent=text)
