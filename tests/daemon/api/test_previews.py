"""Previews of magnet links, ephemeral torrents, alerts and the log, over a fake engine."""

import json
import logging
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from tests.daemon.contexts import client_of, make_context
from tests.daemon.fake_port import FakeEngine
from tests.support.torrents import make_torrent
from torrent_engine.daemon.api.events import SseSource
from torrent_engine.daemon.api.sync import choice_of
from torrent_engine.daemon.context import DaemonContext
from torrent_engine.daemon.engine_port.facts import EngineState, Moment, MomentNotice
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.service.add_options import AddOptions

pytestmark = pytest.mark.anyio
URL = "/api/v1/previews"
TORRENTS = "/api/v1/torrents"
ONE, _ = make_torrent({"a": b"1" * 40_000, "b": b"2"}, name="one")
LINK = f"magnet:?xt=urn:btih:{ONE.info_hash}&dn=one&tr=http%3A%2F%2Ft.example%2Fa"
OWNER = {"TE-Owner": "tab-1;gen=1"}


@pytest.fixture
def context(engine: FakeEngine, tmp_path: Path) -> DaemonContext:
    made = make_context(engine, roots=[tmp_path])
    made.state.owners.advance("tab-1")
    return made


def ready(engine: FakeEngine, context: DaemonContext) -> None:
    """Let the metadata arrive."""
    torrent = engine.torrents[ONE.info_hash]
    torrent.metainfo = ONE
    engine.change(
        ONE.info_hash, piece_count=ONE.piece_count, file_count=2, state=EngineState.STOPPED
    )
    context.state.look(ONE.info_hash)


async def test_a_preview_is_shown_to_who_asks_and_listed_nowhere(
    engine: FakeEngine, context: DaemonContext, client: httpx2.AsyncClient
) -> None:
    answer = await client.post(URL, json={"source": LINK}, headers=OWNER)
    assert answer.status_code == 201
    told = answer.json()
    assert (told["status"], told["name"]) == ("fetching", "one")
    assert told["owner"] == {"id": "tab-1", "generation": 1}
    ready(engine, context)
    found = (await client.get(answer.headers["location"])).json()
    assert found["status"] == "ready"
    assert [each["path"] for each in found["torrent"]["files"]] == ["one/a", "one/b"]
    assert (await client.get(TORRENTS)).json()["total"] == 0
    assert (await client.get(f"{TORRENTS}/{ONE.info_hash}")).status_code == 404
    assert len((await client.get(URL)).json()["items"]) == 1
    again = await client.post(URL, json={"source": LINK}, headers=OWNER)
    assert (again.status_code, again.json()["status"]) == (200, "ready")


async def test_a_preview_is_added_with_what_is_known_of_it(
    engine: FakeEngine, context: DaemonContext, client: httpx2.AsyncClient
) -> None:
    preview = (await client.post(URL, json={"source": LINK}, headers=OWNER)).json()
    ready(engine, context)
    body = {"labels": ["x"], "files_wanted": [1]}
    assert (await client.post(preview["links"]["add"], json={"source": LINK})).status_code == 422
    answer = await client.post(preview["links"]["add"], json=body)
    assert (answer.status_code, answer.json()["existing"]) == (201, False)
    told = (await client.get(f"{TORRENTS}/{ONE.info_hash}")).json()
    assert (told["labels"], told["owner"], told["file_count"]) == (["x"], None, 2)
    assert (await client.get(f"{URL}/{ONE.info_hash}")).status_code == 404
    known = await client.post(URL, json={"source": LINK}, headers=OWNER)
    assert (known.status_code, known.json()["id"]) == (200, None)
    context.state.owners.advance("tab-1")
    assert engine.order == [ONE.info_hash]


async def test_a_torrent_that_is_added_otherwise_takes_the_place_of_its_preview(
    engine: FakeEngine, context: DaemonContext, client: httpx2.AsyncClient
) -> None:
    await client.post(URL, json={"source": LINK}, headers=OWNER)
    answer = await client.post(TORRENTS, json={"source": LINK})
    assert (answer.status_code, answer.json()["existing"]) == (201, False)
    assert (await client.get(TORRENTS)).json()["total"] == 1


async def test_a_preview_goes_with_its_owner_or_when_it_is_deleted(
    engine: FakeEngine, context: DaemonContext, client: httpx2.AsyncClient
) -> None:
    await client.post(URL, json={"source": LINK}, headers=OWNER)
    assert (await client.get("/api/v1/owners/tab-1")).json()["torrents"] == [str(ONE.info_hash)]
    assert (await client.delete(f"{URL}/{ONE.info_hash}")).status_code == 204
    assert engine.order == []
    await client.post(URL, json={"source": LINK}, headers=OWNER)
    context.state.owners.advance("tab-1")
    assert engine.order == []
    late = await client.post(URL, json={"source": LINK}, headers=OWNER)
    assert (late.status_code, late.json()["code"]) == (409, "owner_changed")


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        ({"source": LINK}, {}, "input_invalid"),
        ({"source": "x"}, OWNER, "magnet_invalid"),
        ({"source": LINK}, {"TE-Owner": "x"}, "bad_request"),
        ({}, OWNER, "input_invalid"),
    ],
)
async def test_what_cannot_be_previewed_is_a_problem(
    client: httpx2.AsyncClient, body: Any, headers: dict[str, str], code: str
) -> None:
    assert (await client.post(URL, json=body, headers=headers)).json()["code"] == code
    assert (await client.get(f"{URL}/zz")).json()["code"] == "not_found"


async def test_the_end_of_a_preview_removes_no_torrent_that_stays_meanwhile(
    engine: FakeEngine, context: DaemonContext, client: httpx2.AsyncClient
) -> None:
    preview = (await client.post(URL, json={"source": LINK}, headers=OWNER)).json()
    await context.port.engine.add(ONE, AddOptions())  # of which the rows do not know yet
    assert (await client.delete(preview["links"]["self"])).status_code == 404
    assert engine.order == [ONE.info_hash]


async def test_an_ephemeral_torrent_needs_an_owner_and_goes_with_it(
    engine: FakeEngine, context: DaemonContext, client: httpx2.AsyncClient
) -> None:
    body = {"source": LINK, "ephemeral": True}
    assert (await client.post(TORRENTS, json=body)).status_code == 422
    assert (await client.post(TORRENTS, json=body, headers=OWNER)).status_code == 201
    told = (await client.get(f"{TORRENTS}/{ONE.info_hash}")).json()
    assert (told["ephemeral"], told["sequential"]) == ("stream", True)
    context.state.owners.advance("tab-1")
    assert engine.order == []


def source_of(context: DaemonContext, kinds: set[str], since: str | None = None) -> SseSource:
    choice = choice_of("none", None, has_jobs=False)
    return SseSource(
        context.state,
        context.life,
        choice,
        frozenset(kinds),
        since=since,
        interval_s=0.0,
        log=context.log,
    )


async def named(source: SseSource, name: str, number: int = 1) -> list[Any]:
    """Return the data of the first events of a name."""
    found: list[Any] = []
    stream = source.events()
    with anyio.fail_after(60):
        async for each in stream:
            fields = dict(
                line.split(": ", 1) for line in each.decode().splitlines() if ": " in line
            )
            if fields.get("event") == name:
                found.append(json.loads(fields["data"]))
                if len(found) == number:
                    break
    await stream.aclose()
    return found


async def test_streams_tell_alerts_and_previews_and_resume_behind_them(
    engine: FakeEngine, context: DaemonContext, client: httpx2.AsyncClient
) -> None:
    since = context.state.revisions.text()
    await client.post(URL, json={"source": LINK}, headers=OWNER)
    ready(engine, context)
    (first, second) = await named(source_of(context, {"previews"}, since), "preview", 2)
    assert (first["status"], second["status"]) == ("fetching", "ready")
    one = engine.put(name="a")
    context.state.look(one)
    context.state._take(MomentNotice(one, Moment.FAILED, "no disk"))
    since = context.state.revisions.text()
    context.state._take(MomentNotice(one, Moment.COMPLETED))
    (alert,) = await named(source_of(context, {"alerts"}, since), "alert")
    assert (alert["kind"], alert["torrent"]) == ("completed", {"hash": str(one), "name": "a"})
    assert alert["at"].endswith("Z")


async def test_an_alert_that_comes_while_another_is_sent_is_told(context: DaemonContext) -> None:
    announcements = context.state.announcements
    source = source_of(context, {"alerts"}, context.state.revisions.text())
    announcements.alert("one", "first")
    told: list[str] = []
    stream = source.events()
    with anyio.fail_after(60):
        async for each in stream:
            if b"event: alert" in each:
                told.append(json.loads(each.partition(b"data: ")[2])["kind"])
                if told == ["one", "two"]:
                    break
                announcements.alert("two", "second")  # the client has not taken the first yet
    await stream.aclose()
    assert told == ["one", "two"]


async def test_administrators_read_the_log_and_follow_it(
    context: DaemonContext, client: httpx2.AsyncClient
) -> None:
    logger = logging.getLogger("torrent_engine.tests")
    with context.log.attached():
        logger.warning("first %s", "line\nbroken")
        told = (await client.get("/api/v1/log", params={"level": "warning"})).json()
        assert [each["text"] for each in told["items"]] == ["first line\\nbroken"]
        assert (await client.get("/api/v1/log", params={"after": told["last"]})).json()[
            "items"
        ] == []
        source = source_of(context, {"log"})
        logger.error("second")
        (entry,) = await named(source, "log")
    assert (entry["level"], entry["text"], entry["number"]) == ("error", "second", told["last"] + 1)
    logger.error("unheard")
    assert context.log.last == entry["number"]


async def test_events_of_the_engine_are_told_raw(
    engine: FakeEngine, context: DaemonContext
) -> None:
    source = source_of(context, {"raw"})
    stream = source.events()
    await anext(stream)
    (listener,) = engine.events.raw
    listener({"type": "piece.completed", "piece": 3})
    with anyio.fail_after(60):
        while True:
            each = await anext(stream)
            if b"event: raw" in each:
                break
    assert b'"piece":3' in each
    await stream.aclose()
    assert engine.events.raw == []


async def test_only_administrators_may_read_the_log_and_raw_events(context: DaemonContext) -> None:
    scopes = [each for each in Scope if each is not Scope.ADMIN]
    _, secret = context.authenticator.tokens.make("others", scopes)
    async with client_of(context, token=secret) as client:
        assert (await client.get("/api/v1/log")).status_code == 403
        for kind in ("log", "raw"):
            answer = await client.get("/api/v1/events", params={"types": kind})
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
