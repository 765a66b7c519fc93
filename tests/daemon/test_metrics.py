"""The numbers for Prometheus."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.daemon.contexts import client_of, make_context
from tests.daemon.fake_port import FakeEngine
from torrent_engine.daemon.engine_port.facts import EngineState
from torrent_engine.daemon.metrics import exposition
from torrent_engine.daemon.metrics.exposition import PREFIX
from torrent_engine.daemon.metrics.routes import router
from torrent_engine.daemon.settings.model import DaemonSettings, MetricsSettings
from torrent_engine.daemon.state.labels import Category

pytestmark = pytest.mark.anyio
EACH = DaemonSettings(metrics=MetricsSettings(torrents=True))
NAMED = DaemonSettings(metrics=MetricsSettings(torrents=True, names=True))
OFF = DaemonSettings(metrics=MetricsSettings(enabled=False, torrents=True))
EVIL = 'a"b\\c\n# HELP evil'


def engine_with_torrents() -> FakeEngine:
    engine = FakeEngine()
    engine.put(
        name=EVIL, state=EngineState.DOWNLOADING, wanted_bytes=80, completed_bytes=20, piece_count=4
    )
    engine.put(name="b", state=EngineState.SEEDING, wasted_bytes=5)
    engine.put(name="c", state=EngineState.SEEDING, wasted_bytes=7)
    return engine


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (each.name.removeprefix(PREFIX), tuple(sorted(each.labels.items()))): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


async def test_all_torrents_together_are_counted() -> None:
    context = make_context(engine_with_torrents())
    async with client_of(context, [router]) as client:
        context.state.labels.put_category(Category("films"))
        for row in context.state.torrents.rows()[:2]:
            context.state.labels.set_category(row.info_hash, "films")
        answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = samples(answer.text)
    assert found["torrents", (("status", "seeding"),)] == 2
    assert found["torrents", (("status", "downloading"),)] == 1
    assert found["torrents", (("status", "error"),)] == 0
    assert found["torrents_by_category", (("category", "films"),)] == 2
    assert found["wasted_bytes_ever", ()] == 12
    assert found["rate_limit_bytes", (("direction", "download"), ("mode", "alt"))] == 50_000
    assert found["payload_downloaded_bytes_total", ()] == 0
    assert found["up_since_seconds", ()] > 1_700_000_000
    assert EVIL not in answer.text
    assert "evil" not in answer.text


async def test_openmetrics_is_sent_to_who_takes_it() -> None:
    async with client_of(make_context(FakeEngine()), [router]) as client:
        accepted = {"Accept": "application/openmetrics-text; version=1.0.0"}
        answer = await client.get("/metrics", headers=accepted)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


async def test_categories_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "MAX_CATEGORIES", 1)
    context = make_context(engine_with_torrents())
    async with client_of(context, [router]) as client:
        context.state.labels.put_category(Category("films"))
        context.state.labels.set_category(context.state.torrents.rows()[0].info_hash, "films")
        found = samples((await client.get("/metrics")).text)
    assert found["torrents_by_category", (("category", ""),)] == 2
    assert found["torrents_by_category", (("category", "other"),)] == 1


async def test_each_torrent_has_numbers_if_that_is_wanted() -> None:
    engine = engine_with_torrents()
    async with client_of(make_context(engine, EACH), [router]) as client:
        answer = await client.get("/metrics/torrents")
        found = samples(answer.text)
        first = engine.order[0].hex()
        assert found["torrent_progress", (("category", ""), ("hash", first))] == 0.25
        assert "evil" not in answer.text
    async with client_of(make_context(engine, NAMED), [router]) as client:
        named = samples((await client.get("/metrics/torrents")).text)
    key = (("category", ""), ("hash", first), ("name", EVIL))
    assert named["torrent_progress", key] == 0.25


async def test_what_is_switched_off_is_not_there() -> None:
    async with client_of(make_context(FakeEngine(), OFF), [router]) as client:
        assert (await client.get("/metrics")).status_code == 404
        assert (await client.get("/metrics/torrents")).status_code == 404
    async with client_of(make_context(FakeEngine()), [router]) as client:
        assert (await client.get("/metrics/torrents")).status_code == 404


async def test_numbers_are_kept_for_a_second_and_need_a_credential() -> None:
    engine = FakeEngine()
    context = make_context(engine)
    async with client_of(context, [router]) as client:
        before = (await client.get("/metrics")).text
        context.state.look(engine.put(name="a", state=EngineState.SEEDING))
        assert (await client.get("/metrics")).text == before
    async with client_of(context, [router], token=None) as stranger:
        answer = await stranger.get("/metrics")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic")
