"""Streaming as players ask for it, over a fake engine."""

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any, Self

import anyio
import httpx2
import pytest

from tests.daemon.contexts import client_of, make_context
from tests.daemon.fake_port import FakeEngine
from tests.support.torrents import make_torrent
from torrent_engine.base.ids import InfoHash, InfoHashV2
from torrent_engine.daemon.app import create_app
from torrent_engine.daemon.context import DaemonContext
from torrent_engine.daemon.engine_port.facts import EngineState
from torrent_engine.daemon.security.cookie_sessions import OWN
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.daemon.security.signed_urls import ANY_FILE
from torrent_engine.daemon.stream import readers, response, routes

pytestmark = pytest.mark.anyio

FILM = bytes(range(256)) * 40
SUBRIP = b"1\n00:00:01,000 --> 00:00:02,000\nHallo\n"
FILES = {"1/10.mkv": FILM, "1/2.mkv": FILM[:100], "1/2.srt": SUBRIP, "page.html": b"<b>", "x": b""}
METAINFO, _ = make_torrent(FILES, name="show")


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def show(engine: FakeEngine) -> InfoHash:
    """A torrent whose files are here."""
    info_hash = engine.put(metainfo=METAINFO, state=EngineState.SEEDING)
    held = engine.torrents[info_hash]
    held.contents = {file.index: FILES[file.path.removeprefix("show/")] for file in held.files}
    return info_hash


@pytest.fixture
def context(engine: FakeEngine) -> DaemonContext:
    return make_context(engine)


@pytest.fixture
async def client(context: DaemonContext, show: InfoHash) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(context, [routes.router]) as made:
        yield made


def url(engine: FakeEngine, info_hash: InfoHash, path: str) -> str:
    """Return the URL of a file of the show."""
    found = next(f for f in engine.torrents[info_hash].files if f.path == f"show/{path}")
    return routes.stream_path(info_hash, found)


async def test_a_file_is_sent_with_what_players_need(
    engine: FakeEngine, show: InfoHash, client: httpx2.AsyncClient
) -> None:
    answer = await client.get(url(engine, show, "1/10.mkv"))
    assert answer.status_code == 200
    assert answer.content == FILM
    assert answer.headers["content-type"] == "video/x-matroska"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-length"] == str(len(FILM))
    assert answer.headers["content-disposition"].startswith('inline; filename="10.mkv"')
    assert answer.headers["cache-control"] == "private, no-transform"
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("asked", "begin", "end"),
    [("0-1", 0, 2), ("100-199", 100, 200), ("10000-", 10_000, 10_240), ("-5", 10_235, 10_240)],
)
async def test_a_range_is_sent(
    engine: FakeEngine, show: InfoHash, client: httpx2.AsyncClient, asked: str, begin: int, end: int
) -> None:
    answer = await client.get(url(engine, show, "1/10.mkv"), headers={"Range": f"bytes={asked}"})
    assert answer.status_code == 206
    assert answer.content == FILM[begin:end]
    assert answer.headers["content-range"] == f"bytes {begin}-{end - 1}/10240"


async def test_what_is_not_there_is_refused(
    engine: FakeEngine, show: InfoHash, client: httpx2.AsyncClient
) -> None:
    where = url(engine, show, "1/10.mkv")
    behind = await client.get(where, headers={"Range": "bytes=10240-"})
    assert behind.status_code == 416
    assert behind.headers["content-range"] == "bytes */10240"
    assert (await client.get(f"/stream/{show}/99/x")).status_code == 404
    assert (await client.get(f"/stream/{'0' * 40}/0/x")).status_code == 404
    assert (await client.get("/stream/nonsense/0/x")).status_code == 404


async def test_the_head_tells_the_same_without_a_body(
    engine: FakeEngine, show: InfoHash, client: httpx2.AsyncClient
) -> None:
    where = url(engine, show, "1/10.mkv")
    answer = await client.head(where, headers={"Range": "bytes=0-9"})
    assert answer.status_code == 206
    assert answer.headers["content-length"] == "10"
    assert answer.content == b""
    assert not [call for call in engine.calls if call[0] == "open"]
    again = await client.get(where, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""


async def test_active_content_is_to_be_saved(
    engine: FakeEngine, show: InfoHash, client: httpx2.AsyncClient
) -> None:
    where = url(engine, show, "page.html")
    answer = await client.get(where)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment; ")
    shown = await client.get(where, params={"dl": "0"})
    assert shown.headers["content-type"] == "text/html"
    assert shown.headers["content-security-policy"].startswith("sandbox; default-src 'none'")


async def test_an_empty_file_is_sent(
    engine: FakeEngine, show: InfoHash, client: httpx2.AsyncClient
) -> None:
    answer = await client.get(url(engine, show, "x"), headers={"Range": "bytes=0-"})
    assert (answer.status_code, answer.content) == (200, b"")


async def test_renderers_of_dlna_get_their_fields(
    engine: FakeEngine, show: InfoHash, client: httpx2.AsyncClient
) -> None:
    asked = {"getcontentFeatures.dlna.org": "1", "transferMode.dlna.org": "Streaming"}
    answer = await client.head(url(engine, show, "1/10.mkv"), headers=asked)
    assert answer.headers["contentfeatures.dlna.org"] == "DLNA.ORG_OP=01;DLNA.ORG_CI=0"
    assert answer.headers["transfermode.dlna.org"] == "Streaming"


async def test_subtitles_are_converted_for_browsers(
    engine: FakeEngine, show: InfoHash, client: httpx2.AsyncClient
) -> None:
    where = url(engine, show, "1/2.srt")
    answer = await client.get(where.replace(".srt", ".vtt"))
    assert answer.content == b"WEBVTT\n\n1\n00:00:01.000 --> 00:00:02.000\nHallo\n"
    assert answer.headers["content-type"] == "text/vtt; charset=utf-8"
    assert (await client.get(where)).content == SUBRIP


async def test_a_playlist_has_signed_links_in_natural_order(
    context: DaemonContext, show: InfoHash, client: httpx2.AsyncClient
) -> None:
    answer = await client.get(f"/stream/{show}/playlist.m3u8")
    assert answer.headers["content-type"] == "audio/x-mpegurl; charset=utf-8"
    lines = answer.text.splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        "#EXTM3U",
        "#EXTINF:-1,2.mkv",
        "#EXTINF:-1,2.srt",
        "#EXTINF:-1,10.mkv",
    ]
    links = [line for line in lines if line.startswith("http://127.0.0.1:9091/stream/")]
    async with client_of(context, [routes.router], token=None) as stranger:
        assert (await stranger.get(links[-1])).content == FILM
        assert (await stranger.get(links[-1].partition("?")[0])).status_code == 401
        everything = await client.get("/stream/playlist.m3u8")
    assert everything.text.count("#EXTINF") == 2


async def test_bep52_files_of_a_hybrid_are_found_by_either_hash(
    engine: FakeEngine, context: DaemonContext, show: InfoHash
) -> None:
    v2 = InfoHashV2(bytes(range(32)))
    engine.change(show, info_hash_v1=show, info_hash_v2=v2)
    plain = url(engine, show, "1/10.mkv")
    async with client_of(context, [routes.router]) as client:
        for text in (str(v2.truncated), str(v2), str(v2).upper()):
            answer = await client.get(plain.replace(str(show), text))
            assert (answer.status_code, answer.content) == (200, FILM)
            assert answer.headers["etag"] == (await client.head(plain)).headers["etag"]
            links = (await client.get(f"/stream/{text}/playlist.m3u8")).text
            assert f"/stream/{show}/" in links
            assert text not in links
        for unknown in ("0" * 64, "x" * 64, "x"):
            assert (await client.get(plain.replace(str(show), unknown))).status_code == 404


async def test_bep52_a_link_is_for_the_hash_that_it_was_signed_for(
    engine: FakeEngine, context: DaemonContext, show: InfoHash
) -> None:
    v2 = InfoHashV2(bytes(range(32)))
    engine.change(show, info_hash_v1=show, info_hash_v2=v2)
    links, ends_at = context.authenticator.links, int(time.time()) + 600
    signature, path = links.sign(show.hex(), ANY_FILE, ends_at), url(engine, show, "1/10.mkv")
    async with client_of(context, [routes.router], token=None) as stranger:
        for text, status in ((str(show), 200), (str(v2), 401), (str(v2.truncated), 401)):
            where = path.replace(str(show), text)
            assert (await stranger.get(where, params={"t": signature})).status_code == status


async def test_a_playlist_of_one_file_has_a_link_for_that_one_only(
    engine: FakeEngine, context: DaemonContext, show: InfoHash, client: httpx2.AsyncClient
) -> None:
    index = int(url(engine, show, "1/2.srt").split("/")[3])
    answer = await client.get(f"/stream/{show}/playlist.m3u8?file={index}")
    (link,) = [line for line in answer.text.splitlines() if not line.startswith("#")]
    async with client_of(context, [routes.router], token=None) as stranger:
        assert (await stranger.get(link)).content == SUBRIP
        assert (
            await stranger.get(f"{url(engine, show, '1/10.mkv')}?{link.partition('?')[2]}")
        ).status_code == 401
    for wrong, status in (("999", 404), ("-1", 422), ("x", 422)):
        answer = await client.get(f"/stream/{show}/playlist.m3u8?file={wrong}")
        assert answer.status_code == status


async def test_a_link_makes_no_later_one(context: DaemonContext, show: InfoHash) -> None:
    links, ends_at = context.authenticator.links, int(time.time()) + 600
    signature = links.sign(show.hex(), ANY_FILE, ends_at)
    async with client_of(context, [routes.router], token=None) as stranger:
        for query in ({}, {"file": "0"}):
            path = f"/stream/{show}/playlist.m3u8"
            told = (await stranger.get(path, params={"t": signature, **query})).text
            found = {line.partition("?t=")[2] for line in told.splitlines() if "?t=" in line}
            assert found == {signature}


@pytest.mark.parametrize("kind", ["old", "of another torrent", "empty", "nonsense"])
async def test_a_link_ends_with_its_time_and_its_torrent(
    engine: FakeEngine, context: DaemonContext, show: InfoHash, kind: str
) -> None:
    links, now_s = context.authenticator.links, int(time.time())
    signature = {
        "old": links.sign(show.hex(), ANY_FILE, now_s - 1),
        "of another torrent": links.sign("0" * 40, ANY_FILE, now_s + 60),
        "empty": "",
        "nonsense": "a.b.c",
    }[kind]
    async with client_of(context, [routes.router], token=None) as stranger:
        answer = await stranger.get(url(engine, show, "1/10.mkv"), params={"t": signature})
    assert answer.status_code == 401


async def test_players_wait_for_metadata_for_a_while(
    engine: FakeEngine, context: DaemonContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = engine.put(name="link", piece_count=0, file_count=0)
    async with client_of(context, [routes.router]) as client:
        early = await client.get(f"/stream/{bare}/0/x")
        monkeypatch.setattr(readers, "METADATA_WAIT_S", 0.0)
        late = await client.get(f"/stream/{bare}/0/x")
    assert (early.status_code, early.headers["retry-after"]) == (503, "2")
    assert late.status_code == 504


async def test_files_of_a_stopped_torrent_are_sent_if_they_are_complete(
    engine: FakeEngine, show: InfoHash, context: DaemonContext
) -> None:
    held = engine.torrents[show]
    held.files = [
        replace(each, completed_bytes=each.size_bytes - (each.path == "show/1/10.mkv"))
        for each in held.files
    ]
    engine.change(show, state=EngineState.STOPPED)
    await context.state.reload()
    async with client_of(context, [routes.router]) as client:
        part = await client.get(url(engine, show, "1/10.mkv"))
        assert (part.status_code, part.json()["code"]) == (409, "state_conflict")
        assert "stopped" in part.json()["detail"]
        assert (await client.get(url(engine, show, "1/2.mkv"))).content == FILM[:100]
        engine.change(show, state=EngineState.PAUSED)  # of which the rows do not know yet
        assert (await client.get(url(engine, show, "1/10.mkv"))).content == FILM


class Slow:
    """A reader whose pieces do not come."""

    opened = 0

    @property
    def size(self) -> int:
        return len(FILM)

    def seek(self, offset: int) -> int:
        return offset

    async def read(self, size: int = -1) -> bytes:
        await anyio.sleep_forever()
        return b""

    async def __aenter__(self) -> Self:
        Slow.opened += 1
        return self

    async def __aexit__(self, *exc: object) -> None:
        Slow.opened -= 1


async def test_readers_are_bounded_and_closed_when_players_leave(
    engine: FakeEngine, show: InfoHash, context: DaemonContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.port.torrents, "open", lambda *_: Slow(), raising=False)
    where = url(engine, show, "1/10.mkv")
    async with client_of(context, [routes.router]) as client:
        async with anyio.create_task_group() as players:
            for _ in range(readers.MAX_READERS_OF_ONE):
                players.start_soon(client.get, where)
            with anyio.fail_after(30):
                while Slow.opened < readers.MAX_READERS_OF_ONE:
                    await anyio.lowlevel.checkpoint()
            refused = await client.get(where)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
            players.cancel_scope.cancel()
        assert Slow.opened == 0


@pytest.mark.parametrize("means", ["revocation", "logout"])
async def test_a_stream_ends_when_what_was_shown_lets_in_no_more(
    engine: FakeEngine,
    show: InfoHash,
    context: DaemonContext,
    monkeypatch: pytest.MonkeyPatch,
    means: str,
) -> None:
    monkeypatch.setattr(response, "CHUNK_BYTES", 1_000)
    authenticator = context.authenticator
    record, secret = authenticator.tokens.make("player", [Scope.STREAM])
    cookie = authenticator.sessions.begin(OWN)
    shown = (
        (b"authorization", f"Bearer {secret}".encode())
        if means == "revocation"
        else (b"cookie", f"{OWN.name_on('http')}={cookie}".encode())
    )
    path = url(engine, show, "1/10.mkv")
    scope = {
        "type": "http",
        "client": ("127.0.0.1", 1),
        "scheme": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), shown],
    }
    bodies: list[bytes] = []

    async def receive() -> dict[str, str]:
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            bodies.append(message["body"])
            if means == "revocation":
                authenticator.tokens.revoke(record.id)
            else:
                authenticator.sessions.end(cookie)

    await context.state.reload()
    with anyio.fail_after(60):
        await create_app(context, [routes.router])(scope, receive, send)
    assert bodies == [FILM[:1_000]]
