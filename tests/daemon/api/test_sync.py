"""Deltas by ``/sync`` and by server-sent events: a client's state is the server's."""

import json
import random
from collections import Counter
from contextlib import aclosing
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest

from tests.daemon.contexts import client_of
from tests.daemon.fake_port import FakeEngine
from torrent_engine.daemon.api import events
from torrent_engine.daemon.api.events import SseResponse, SseSource
from torrent_engine.daemon.api.sync import choice_of
from torrent_engine.daemon.context import DaemonContext
from torrent_engine.daemon.engine_port.facts import EngineState
from torrent_engine.daemon.security.cookie_sessions import OWN
from torrent_engine.daemon.security.principals import Scope

pytestmark = pytest.mark.anyio
URL = "/api/v1/sync"


class Mirror:
    """What a client knows after the deltas that it took."""

    def __init__(self) -> None:
        self.torrents: dict[str, dict[str, Any]] = {}
        self.rev: str | None = None

    def take(self, told: dict[str, Any]) -> None:
        if told["full"]:
            self.torrents = {}
        for info_hash, changes in told["torrents"].items():
            self.torrents.setdefault(info_hash, {}).update(changes)
        for info_hash in told["removed"]:
            self.torrents.pop(info_hash, None)
        self.rev = told["rev"]


def shown(context: DaemonContext) -> set[tuple[str, str, int]]:
    rows = context.state.torrents.rows()
    return {(row.hash, row.name, row.rates.download_bytes_per_s) for row in rows}


def mirrored(mirror: Mirror) -> set[tuple[str, str, int]]:
    rows = mirror.torrents.values()
    return {(row["hash"], row["name"], row["download_bytes_per_s"]) for row in rows}


async def change_something(
    engine: FakeEngine, context: DaemonContext, source: random.Random
) -> None:
    there = list(engine.torrents)
    kind = source.choice(["put", "name", "rate", "rate", "remove"])
    if kind == "put" or not there:
        context.state.look(engine.put(name=f"t{source.random()}", state=EngineState.DOWNLOADING))
    elif kind == "remove":
        gone = source.choice(there)
        await engine.port.control.remove(gone)
        context.state.look(gone)
    else:
        one = source.choice(there)
        fact = (
            {"name": f"n{source.random()}"}
            if kind == "name"
            else {"download_bytes_per_s": source.randrange(9)}
        )
        engine.change(one, **fact)
        context.state.look(one)


@pytest.mark.parametrize("means", ["logout", "revocation"])
async def test_a_stream_ends_with_what_let_it_in(context: DaemonContext, means: str) -> None:
    authenticator = context.authenticator
    record, secret = authenticator.tokens.make("t", [Scope.READ])
    cookie = authenticator.sessions.begin(OWN)
    principal = (
        authenticator.sessions.principal(cookie, OWN)
        if means == "logout"
        else authenticator.tokens.principal(secret)
    )
    assert principal is not None
    assert authenticator.is_current(principal)
    stream = source_of(context, is_allowed=partial(authenticator.is_current, principal)).events()
    async with aclosing(stream):
        assert read(await anext(stream)) == ("", None, None)
        assert read(await anext(stream))[0] == "sync"
        if means == "logout":
            authenticator.sessions.end(cookie)
        else:
            assert authenticator.tokens.revoke(record.id)
        context.state.topics.changed("settings")
        with anyio.fail_after(60):
            assert [each async for each in stream] == []


async def test_a_wait_for_changes_ends_with_the_token_that_let_it_in(
    context: DaemonContext,
) -> None:
    record, secret = context.authenticator.tokens.make("t", [Scope.READ])
    async with client_of(context, token=secret) as client, anyio.create_task_group() as tasks:
        since = (await client.get(URL)).json()["rev"]
        answers: list[httpx2.Response] = []

        async def wait() -> None:
            answers.append(await client.get(URL, params={"since": since, "wait": 30}))

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert context.authenticator.tokens.revoke(record.id)
        context.state.topics.changed("settings")
    assert (answers[0].status_code, answers[0].json()["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize("seed", range(5))
async def test_deltas_add_up_to_the_state(
    engine: FakeEngine, context: DaemonContext, client: httpx2.AsyncClient, seed: int
) -> None:
    source, mirror = random.Random(seed), Mirror()
    for _ in range(60):
        await change_something(engine, context, source)
        if source.random() < 0.3:
            query = {} if mirror.rev is None else {"since": mirror.rev}
            mirror.take((await client.get(URL, params=query)).json())
            assert mirrored(mirror) == shown(context)


async def test_only_groups_that_changed_are_told(
    engine: FakeEngine, context: DaemonContext, client: httpx2.AsyncClient
) -> None:
    one = engine.put(name="a", state=EngineState.DOWNLOADING)
    await context.state.reload()
    whole = (await client.get(URL)).json()
    assert whole["full"] is True
    engine.change(one, download_bytes_per_s=7)
    context.state.look(one)
    told = (await client.get(URL, params={"since": whole["rev"]})).json()
    assert told["full"] is False
    assert told["torrents"][one.hex()]["download_bytes_per_s"] == 7
    assert "name" not in told["torrents"][one.hex()]
    none = (await client.get(URL, params={"since": whole["rev"], "torrents": "none"})).json()
    assert none["torrents"] == {}


async def test_a_full_answer_has_pages(
    engine: FakeEngine, context: DaemonContext, client: httpx2.AsyncClient
) -> None:
    for number in range(7):
        engine.put(name=f"t{number}")
    await context.state.reload()
    found: dict[str, Any] = {}
    query: dict[str, Any] = {"limit": 3}
    pages = 0
    while True:
        told = (await client.get(URL, params=query)).json()
        found |= told["torrents"]
        pages += 1
        if told["next"] is None:
            break
        query["cursor"] = told["next"]
    assert (pages, len(found)) == (3, 7)


async def test_what_came_and_went_after_the_first_page_is_told_to_be_gone(
    engine: FakeEngine, context: DaemonContext, client: httpx2.AsyncClient
) -> None:
    for number in range(3):
        engine.put(name=f"t{number}")
    await context.state.reload()
    first = (await client.get(URL, params={"limit": 2})).json()
    new = engine.put(name="new")
    context.state.look(new)
    page = (await client.get(URL, params={"limit": 2, "cursor": first["next"]})).json()
    assert new.hex() in page["torrents"]
    engine.take(new)
    context.state.look(new)
    told = (await client.get(URL, params={"since": first["rev"]})).json()
    assert (told["full"], told["removed"]) == (False, [new.hex()])


async def test_an_unknown_revision_gets_everything(
    engine: FakeEngine, context: DaemonContext, client: httpx2.AsyncClient
) -> None:
    engine.put(name="a")
    await context.state.reload()
    for since in ("", "nonsense", "00000000.1", f"{context.state.revisions.epoch}.999999"):
        assert (await client.get(URL, params={"since": since})).json()["full"] is True


@pytest.mark.parametrize(
    "torrents", ["x", "0" * 39, f"{'0' * 40},", ",".join(["0" * 40, "g" * 40])]
)
async def test_torrents_that_are_no_hashes_are_a_problem(
    client: httpx2.AsyncClient, torrents: str
) -> None:
    assert (await client.get(URL, params={"torrents": torrents})).status_code == 422


@pytest.mark.parametrize(("query", "is_told"), [("", True), ("?jobs=1", True), ("?jobs=0", False)])
async def test_jobs_are_told_unless_they_are_not_wanted(
    client: httpx2.AsyncClient, query: str, is_told: bool
) -> None:
    assert ("jobs" in (await client.get(f"{URL}{query}")).json()) is is_told


async def test_a_poll_waits_for_a_change(
    engine: FakeEngine, context: DaemonContext, client: httpx2.AsyncClient
) -> None:
    rev = (await client.get(URL)).json()["rev"]
    told: list[dict[str, Any]] = []

    async def poll() -> None:
        told.append((await client.get(URL, params={"since": rev, "wait": 30})).json())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(poll)
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        assert told == []
        context.state.look(engine.put(name="a"))
    assert len(told[0]["torrents"]) == 1


# -- server-sent events -----------------------------------------------------------------------


def source_of(context: DaemonContext, since: str | None = None, **settings: Any) -> SseSource:
    return SseSource(
        context.state,
        context.life,
        choice_of("list", None, has_jobs=False, limit=1000),
        settings.pop("kinds", frozenset({"torrents"})),
        since=since,
        interval_s=settings.pop("interval_s", 0.0),
        **settings,
    )


def read(event: bytes) -> tuple[str, str | None, Any]:
    """Return the name, id and data of an event."""
    fields = dict(line.split(": ", 1) for line in event.decode().splitlines() if ": " in line)
    data = json.loads(fields["data"]) if "data" in fields else None
    return fields.get("event", ""), fields.get("id"), data


@pytest.mark.parametrize("seed", range(5))
async def test_a_stream_that_is_cut_resumes_without_loss_or_repetition(
    engine: FakeEngine, context: DaemonContext, seed: int
) -> None:
    chance, mirror, last_id = random.Random(seed), Mirror(), None
    for _ in range(15):
        for _ in range(chance.randrange(1, 6)):
            await change_something(engine, context, chance)
        stream = source_of(context, last_id).events()
        for _ in range(chance.randrange(2, 4)):  # then the line is cut
            with anyio.move_on_after(0.05):
                name, event_id, data = read(await anext(stream))
                if name == "sync":
                    assert mirror.rev is None or not data["full"]
                    mirror.take(data)
                    assert event_id == data["rev"]
                    last_id = event_id
        await stream.aclose()
        assert mirrored(mirror) == shown(context)


async def test_another_start_of_the_process_resets_clients(context: DaemonContext) -> None:
    stream = source_of(context, "00000000.5").events()
    assert read(await anext(stream))[0] == ""  # the time to wait before a retry
    assert read(await anext(stream))[0] == "reset"
    name, _, data = read(await anext(stream))
    assert (name, data["full"]) == ("sync", True)
    await stream.aclose()


async def test_a_stream_ends_with_a_word_when_the_daemon_stops(context: DaemonContext) -> None:
    names: list[str] = []

    async def follow() -> None:
        async for each in source_of(context).events():
            names.append(read(each)[0])  # noqa: PERF401 - others look at it meanwhile

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            while "sync" not in names:
                await anyio.lowlevel.checkpoint()
            context.life.stop()
    assert names[-1] == "bye"


async def test_a_silent_stream_has_heartbeats(
    context: DaemonContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.01)
    stream = source_of(context).events()
    found = [await anext(stream) for _ in range(4)]
    assert found[-1] == b":\n\n"
    await stream.aclose()


async def test_streams_are_counted_and_bounded(
    context: DaemonContext, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_STREAMS_OF_ONE", 0)
    assert (await client.get("/api/v1/events")).status_code == 429
    monkeypatch.setattr(events, "MAX_STREAMS_OF_ONE", 8)
    assert (await client.get("/api/v1/events", params={"types": "x"})).status_code == 422
    assert (await client.get("/api/v1/events", params={"interval": "0.1"})).status_code == 422


async def test_a_client_that_leaves_ends_its_stream(context: DaemonContext) -> None:
    counts: Counter[str] = Counter()
    gone, sent = anyio.Event(), anyio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        assert counts["there"] == 1
        sent.set()
        await anyio.lowlevel.checkpoint()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            stream = SseResponse(source_of(context), counts, "there")
            tasks.start_soon(stream, {"type": "http", "path": "/"}, receive, send)
            await sent.wait()
            gone.set()
    assert counts == {}


async def test_a_client_that_takes_nothing_is_closed(
    context: DaemonContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "SEND_TIMEOUT_S", 0.01)
    started = []

    async def receive() -> dict[str, Any]:
        await anyio.sleep_forever()
        return {}

    async def send(message: Any) -> None:
        started.append(message["type"])
        if message["type"] != "http.response.start":
            await anyio.sleep_forever()

    with anyio.fail_after(30):
        stream = SseResponse(source_of(context), Counter(), "there")
        await stream({"type": "http", "path": "/"}, receive, send)
    assert started == ["http.response.start", "http.response.body"]
