"""Passkeys in links and URLs are told to who may control torrents, and to nobody else."""

import base64
from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.daemon.contexts import client_of
from tests.daemon.fake_port import FakeEngine
from tests.support.torrents import make_torrent
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.daemon.context import DaemonContext
from torrent_engine.daemon.security.principals import Scope

pytestmark = pytest.mark.anyio
URL = "/api/v1/torrents"
PASSKEY = "0123456789abcdef0123456789abcdef"
TRACKERS = [
    [f"https://t.example/{PASSKEY}/announce", "udp://open.example:1337/announce"],
    [f"udp://t.example:1/{PASSKEY}"],
]
SEEDS = [f"https://w.example/files?key={PASSKEY}", "https://open.example/files"]


@pytest.fixture
def one(engine: FakeEngine) -> InfoHash:
    torrent, _ = make_torrent(b"1" * 40_000, name="one")
    return engine.put(
        metainfo=torrent,
        trackers=tuple(map(tuple, TRACKERS)),
        web_seeds=tuple(SEEDS),
    )


@pytest.fixture
async def reader(context: DaemonContext, one: InfoHash) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that may read and add."""
    _, secret = context.authenticator.tokens.make("reader", [Scope.READ, Scope.ADD])
    async with client_of(context, token=secret) as made:
        yield made


async def test_a_magnet_link_is_whole_for_who_may_control(
    context: DaemonContext, one: InfoHash
) -> None:
    async with client_of(context) as client:
        told = (await client.get(f"{URL}/{one}")).json()["magnet"]
        listed = (await client.get(URL, params={"fields": "magnet"})).json()["items"]
        synced = (await client.get("/api/v1/sync", params={"fields": "magnet"})).json()
    link = Magnet.parse(told)
    assert (link.info_hash, link.name, link.total_bytes) == (one, "one", 40_000)
    assert list(link.trackers) == [url for tier in TRACKERS for url in tier]
    assert list(link.web_seeds) == SEEDS
    assert listed[0]["magnet"] == synced["torrents"][str(one)]["magnet"] == told


async def test_a_reader_gets_a_link_without_the_urls_that_have_secrets(
    reader: httpx2.AsyncClient, context: DaemonContext, one: InfoHash
) -> None:
    async with client_of(context) as owner:  # what it is told is kept apart
        await owner.get(URL, params={"fields": "magnet"})
    told = (await reader.get(f"{URL}/{one}")).json()["magnet"]
    link = Magnet.parse(told)
    assert link.trackers == ("udp://open.example:1337/announce",)
    assert link.web_seeds == ("https://open.example/files",)


async def test_no_page_tells_a_reader_a_passkey(
    reader: httpx2.AsyncClient, engine: FakeEngine, context: DaemonContext, one: InfoHash
) -> None:
    since = context.state.revisions.text()
    engine.change(one, priority=7)
    context.state.look(one)
    pages = [f"{URL}/{one}{each}" for each in ("", "/trackers", "/web_seeds", "/files", "/peers")]
    pages += [f"{URL}?fields=magnet,save_path", "/api/v1/sync", "/api/v1/sync?fields=magnet"]
    pages += [f"/api/v1/sync?fields=magnet&since={since}", f"{URL}/{one}/torrent_file"]
    for page in pages:
        answer = await reader.get(page)
        assert answer.status_code == 200, page
        assert PASSKEY not in answer.text, page


async def test_what_is_only_looked_at_tells_no_passkey_either(reader: httpx2.AsyncClient) -> None:
    torrent, _ = make_torrent(b"2" * 10, tiers=TRACKERS)
    source = {"torrent": base64.b64encode(torrent.to_bytes()).decode()}
    for each in (source, str(Magnet.of(torrent))):
        answer = await reader.post(f"{URL}/inspect", json={"source": each})
        assert answer.status_code == 200
        assert PASSKEY not in answer.text
        assert "udp://open.example:1337/announce" in answer.text
