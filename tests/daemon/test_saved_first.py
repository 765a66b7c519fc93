"""What a client is told to be done is in the databases by then."""

import json

import anyio
import httpx2
import pytest

from tests.daemon.contexts import TOKEN, client_of, make_context
from tests.daemon.fake_port import FakeEngine
from tests.support.swarm import until
from torrent_engine.base.errors import DiskFullError, StateDatabaseError
from torrent_engine.daemon.context import DaemonContext
from torrent_engine.daemon.security.authentication import Secrets
from torrent_engine.daemon.state.credentials import StoredCredentials
from torrent_engine.daemon.wiring import make_authenticator

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


async def test_f1_torrent_that_cannot_be_saved_is_refused_and_not_there(
    engine: FakeEngine, context: DaemonContext
) -> None:
    there = engine.put(name="there").hex()
    engine.failures["flush"] = DiskFullError("/state/state.db", "the disk is full")
    context.settings_store.change({"qbittorrent.enabled": True}, by="test")
    link = f"magnet:?xt=urn:btih:{'ab' * 20}"
    async with client_of(context) as client:
        answer = await client.post("/api/v1/torrents", json={"source": link})
        assert (answer.status_code, answer.json()["code"]) == (507, "not_enough_space")
        told = (await call(client, "torrent-add", filename=link)).json()["result"]
        assert "the disk is full" in told
        answer = await client.post("/api/v2/torrents/add", data={"urls": link})
        assert answer.text == "Fails."
        rows = (await client.get("/api/v1/torrents")).json()["items"]
        assert [row["hash"] for row in rows] == [there]
        again = await client.post("/api/v1/torrents", json={"source": there})
        assert (again.status_code, again.json()["existing"]) == (200, True)
        del engine.failures["flush"]
        assert (await client.post("/api/v1/torrents", json={"source": link})).status_code == 201


@pytest.mark.parametrize("is_saved", [False, True])
async def test_f1_torrent_is_not_told_to_be_there_while_it_is_being_saved(
    engine: FakeEngine,
    context: DaemonContext,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_saved: bool,
) -> None:
    link, held, told = f"magnet:?xt=urn:btih:{'ab' * 20}", anyio.Event(), list[int]()

    async def flush_late() -> None:
        monkeypatch.undo()
        await held.wait()
        if not is_saved:
            raise DiskFullError("/state/state.db", "the disk is full")

    async def add(client: httpx2.AsyncClient) -> None:
        told.append((await client.post("/api/v1/torrents", json={"source": link})).status_code)

    monkeypatch.setattr(context.port.engine, "flush", flush_late)
    async with client_of(context) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(add, client)
        await until(lambda: engine.order)
        tasks.start_soon(add, client)
        await anyio.wait_all_tasks_blocked()
        assert told == []
        held.set()
        await until(lambda: len(told) == 2)
        assert told == ([201, 200] if is_saved else [507, 201])
        rows = (await client.get("/api/v1/torrents")).json()["items"]
        assert [row["hash"] for row in rows] == ["ab" * 20]


@pytest.mark.parametrize(
    ("log_in", "log_out", "body"),
    [
        (("POST", "/api/v1/session"), ("DELETE", "/api/v1/session"), None),
        (
            ("POST", "/api/v2/auth/login"),
            ("POST", "/api/v2/auth/logout"),
            {"username": "any", "password": TOKEN},
        ),
    ],
    ids=["own", "qbittorrent"],
)
async def test_login_and_logout_are_written_before_their_answers(
    context: DaemonContext,
    log_in: tuple[str, str],
    log_out: tuple[str, str],
    body: dict[str, str] | None,
) -> None:
    store = context.state.store
    known = Secrets(TOKEN, "", "", frozenset())
    context.authenticator = make_authenticator(known, StoredCredentials(store), "key")
    context.settings_store.change({"qbittorrent.enabled": True}, by="test")
    async with client_of(context) as client:
        answer = await client.request(*log_in, data=body)
        assert answer.is_success, answer.text
        assert (len(store.table("sessions")), store.is_written) == (1, True)
        token = answer.json()["csrf_token"] if body is None else ""
        del client.headers["Authorization"]
        answer = await client.request(*log_out, headers={"X-CSRF-Token": token})
        assert answer.is_success, answer.text
        assert (len(store.table("sessions")), store.is_written) == (0, True)
