"""What a client is told to be done is in the databases by then."""

import json

import httpx2
import pytest

from tests.daemon.contexts import client_of, make_context
from tests.daemon.fake_port import FakeEngine
from torrent_engine.base.errors import StateDatabaseError
from torrent_engine.daemon.context import DaemonContext

pytestmark = pytest.mark.anyio
RPC = "/transmission/rpc"


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def context(engine: FakeEngine) -> DaemonContext:
    return make_context(engine)


async def call(client: httpx2.AsyncClient, method: str, **arguments: object) -> httpx2.Response:
    """Call a method of Transmission's interface."""
    given = await client.post(RPC, json={})
    name = "X-Transmission-Session-Id"
    content = json.dumps({"method": method, "arguments": arguments})
    return await client.post(RPC, content=content, headers={name: given.headers[name]})


async def test_change_is_confirmed_after_both_databases_have_it(
    engine: FakeEngine, context: DaemonContext
) -> None:
    key = engine.put(name="one").hex()
    async with client_of(context) as client:
        before = engine.flushes
        change = {"action": "pause", "ids": [key]}
        assert (await client.post("/api/v1/torrents/actions", json=change)).is_success
        assert engine.flushes == before + 1
        assert (await client.put("/api/v1/categories/films", json={})).is_success
        assert context.state.store.is_written
        assert engine.flushes == before + 2
        assert (await call(client, "torrent-stop", ids=[key])).is_success
        assert engine.flushes == before + 3


async def test_nothing_is_written_for_a_question(
    engine: FakeEngine, context: DaemonContext
) -> None:
    async with client_of(context) as client:
        before = engine.flushes
        assert (await client.get("/api/v1/torrents")).is_success
        assert (await client.post("/api/v1/session")).status_code < 500
        assert (await call(client, "torrent-get", fields=["id"])).is_success
        assert engine.flushes == before


async def test_database_that_cannot_be_written_refuses_no_change(
    engine: FakeEngine, context: DaemonContext
) -> None:
    key = engine.put(name="one").hex()
    engine.failures["flush"] = StateDatabaseError("disk I/O error")
    async with client_of(context) as client:
        change = {"action": "pause", "ids": [key]}
        assert (await client.post("/api/v1/torrents/actions", json=change)).is_success
        assert (await call(client, "torrent-stop", ids=[key])).json()["result"] == "success"
