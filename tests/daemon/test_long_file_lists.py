"""Torrents of very many files: their lists are made in a thread, and are those of the others."""

import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.daemon.contexts import client_of, make_context
from tests.daemon.fake_port import FakeEngine
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.common import replies
from torrent_engine.daemon.engine_port.facts import FileFacts
from torrent_engine.daemon.transmission import torrent_get

pytestmark = pytest.mark.anyio
COUNT = 2_503
SESSION = "X-Transmission-Session-Id"


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def one(engine: FakeEngine) -> InfoHash:
    key = engine.put(name="many", total_bytes=COUNT * 10, piece_count=COUNT, piece_bytes=10)
    engine.torrents[key].files = [
        FileFacts(number, f"many/{number}.txt", 10, number % 11, 4, number, number + 1)
        for number in range(COUNT)
    ]
    return key


@pytest.fixture
async def client(engine: FakeEngine, one: InfoHash) -> AsyncIterator[httpx2.AsyncClient]:
    assert one in engine.torrents
    context = make_context(engine)
    context.settings_store.change({"qbittorrent.enabled": True}, by="test")
    async with client_of(context) as made:
        yield made


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> set[threading.Thread]:
    """Return where long values are encoded."""
    found: set[threading.Thread] = set()

    def noted(encode: Any) -> Any:
        def encoded(value: Any) -> bytes:
            if len(value) > 10:
                found.add(threading.current_thread())
            return bytes(encode(value))

        return encoded

    monkeypatch.setattr(replies, "json_bytes", noted(replies.json_bytes))
    monkeypatch.setattr(torrent_get, "_dump", noted(torrent_get._dump))
    return found


async def rpc(client: httpx2.AsyncClient, body: dict[str, Any]) -> Any:
    refused = await client.post("/transmission/rpc", json=body)
    headers = {SESSION: refused.headers[SESSION]}
    return (await client.post("/transmission/rpc", json=body, headers=headers)).json()


async def test_the_api_makes_a_long_list_in_a_thread(
    client: httpx2.AsyncClient, one: InfoHash, threads: set[threading.Thread]
) -> None:
    answer = await client.get(f"/api/v1/torrents/{one}/files")
    assert [each["index"] for each in answer.json()["items"]] == list(range(COUNT))
    assert threads
    assert threading.current_thread() not in threads


@pytest.mark.parametrize("form", ["objects", "table"])
async def test_transmission_gets_a_long_list_from_a_thread(
    client: httpx2.AsyncClient, one: InfoHash, threads: set[threading.Thread], form: str
) -> None:
    fields = ["name", "files", "fileStats", "wanted"]
    arguments = {"fields": fields, "format": form, "ids": [one.hex()]}
    answer = await rpc(client, {"method": "torrent-get", "arguments": arguments})
    told = answer["arguments"]["torrents"][-1]
    if form == "table":
        assert answer["arguments"]["torrents"][0] == fields
        told = dict(zip(fields, told, strict=True))
    assert list(told) == fields
    assert [each["name"] for each in told["files"]] == [f"many/{n}.txt" for n in range(COUNT)]
    assert [each["bytesCompleted"] for each in told["fileStats"]] == [
        number % 11 for number in range(COUNT)
    ]
    assert threads
    assert threading.current_thread() not in threads


async def test_qbittorrent_gets_a_long_list_from_a_thread(
    client: httpx2.AsyncClient, one: InfoHash, threads: set[threading.Thread]
) -> None:
    answer = await client.get(f"/api/v2/torrents/files?hash={one}")
    told = answer.json()
    assert [each["index"] for each in told] == list(range(COUNT))
    assert [each["index"] for each in told if "is_seed" in each] == [0]
    assert threads
    assert threading.current_thread() not in threads
