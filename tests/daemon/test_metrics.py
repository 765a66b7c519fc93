"""The numbers for Prometheus."""

import base64
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.daemon.contexts import client_of, make_context
from tests.daemon.fake_port import FakeEngine
from tests.daemon.stories import scene
from tests.support import fixed_tracker
from tests.support.netns import LOOPBACK
from tests.support.own_daemon import OwnDaemon
from tests.support.payload import make_payload
from tests.support.processes import wait_until
from tests.support.torrents import make_torrent
from torrent_engine.daemon.engine_port.facts import (
    EngineState,
    Moment,
    MomentNotice,
    RemovedNotice,
    TotalFacts,
)
from torrent_engine.daemon.metrics import exposition
from torrent_engine.daemon.metrics.families import PREFIX
from torrent_engine.daemon.metrics.routes import router
from torrent_engine.daemon.settings.model import DaemonSettings, MetricsSettings
from torrent_engine.daemon.state.labels import Category

pytestmark = pytest.mark.anyio
EACH = DaemonSettings(metrics=MetricsSettings(torrents=True))
NAMED = DaemonSettings(metrics=MetricsSettings(torrents=True, names=True))
OFF = DaemonSettings(metrics=MetricsSettings(enabled=False, torrents=True))
ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "contrib" / "grafana.json"
DOCUMENT = ROOT / "docs" / "metrics.md"
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


async def test_the_daemons_own_work_is_counted() -> None:
    engine = engine_with_torrents()
    context = make_context(engine)
    counters, counts = context.state.counters, context.port.events.counts
    assert isinstance(counts, Counter)
    counts.update({"announce_ok": 3, "hash_failed": 2, "peer_banned": 1, "incoming": 4})
    counters.note_request("api", 404, 0.02)
    counters.note_request("api", 204, 70.0)
    counters.note_hook("torrent_added", 0.3, has_failed=True)
    counters.note_watched(has_failed=False)
    counters.event_streams["192.0.2.1"] += 2
    counters.stream_bytes += 5
    context.lockout.failures["login"] += 1
    context.connections = lambda: 6
    async with client_of(context, [router]) as client:
        counters.take(RemovedNotice(engine.order[0]))
        counters.take(MomentNotice(engine.order[0], Moment.COMPLETED))
        found = samples((await client.get("/metrics")).text)
    api = ("api", "api")
    for key, value in {
        ("http_requests_total", (api, ("class", "4xx"))): 1,
        ("http_request_seconds_bucket", (api, ("le", "0.025"))): 1,
        ("http_request_seconds_bucket", (api, ("le", "60"))): 1,
        ("http_request_seconds_bucket", (api, ("le", "+Inf"))): 2,
        ("http_request_seconds_sum", (api,)): 70.02,
        ("http_connections", ()): 6,
        ("sse_clients", ()): 2,
        ("stream_bytes_total", ()): 5,
        ("auth_failures_total", (("kind", "login"),)): 1,
        ("hooks_total", (("event", "torrent_added"), ("result", "failed"))): 1,
        ("hook_seconds_count", (("event", "torrent_added"),)): 1,
        ("watch_files_total", (("result", "added"),)): 1,
        ("tracker_announces_total", (("result", "ok"),)): 3,
        ("tracker_announces_total", (("result", "failed"),)): 0,
        ("hash_failures_total", ()): 2,
        ("peers_banned_total", (("source", "hash"),)): 1,
        ("peers_connected_total", (("direction", "incoming"),)): 4,
        ("torrents_removed_total", ()): 1,
        ("torrents_completed_total", ()): 1,
        ("restarts_total", ()): 0,
    }.items():
        assert found[key] == value, key


async def test_numbers_of_the_engine_are_told_by_kind() -> None:
    context = make_context(FakeEngine())
    context.port.events.announce_times["udp"].note(0.3)
    context.state.total_facts = TotalFacts(
        links=((("utp", "rc4"), 2),),
        disk_queue_bytes=7,
        checked_bytes=8,
        disk_errors=(("full", 1), ("other", 0)),
        refused=(("filter", 3), ("ban", 0)),
    )
    context.state.totals.tick(TotalFacts(wasted_bytes=9), 0.0)
    async with client_of(context, [router]) as client:
        found = samples((await client.get("/metrics")).text)
    for key, value in {
        ("peers", (("encryption", "rc4"), ("transport", "utp"))): 2,
        ("disk_queue_bytes", ()): 7,
        ("hash_check_bytes_total", ()): 8,
        ("disk_errors_total", (("kind", "full"),)): 1,
        ("disk_errors_total", (("kind", "other"),)): 0,
        ("peers_blocked_total", (("source", "filter"),)): 3,
        ("peers_blocked_total", (("source", "ban"),)): 0,
        ("wasted_bytes_total", ()): 9,
        ("tracker_announce_seconds_count", (("scheme", "udp"),)): 1,
        ("tracker_announce_seconds_bucket", (("le", "0.5"), ("scheme", "udp"))): 1,
    }.items():
        assert found[key] == value, key


def test_peers_trackers_and_disks_of_a_daemon_are_counted(tmp_path: Path) -> None:
    """A download from a seed, with a tracker, a refused peer, a check and a folder in the way."""
    payload = make_payload(tmp_path, "film", {"a.bin": 700_000}, piece_bytes=32 * 1024)
    other, _ = make_torrent(b"1" * 50_000, name="taken")
    (tmp_path / "d" / "taken").mkdir(parents=True)
    with (
        scene.seeded(tmp_path, payload, bytes_per_s=scene.SLOW) as seed,
        fixed_tracker.naming(LOOPBACK, seed.address, address="127.0.0.1") as url,
        OwnDaemon(tmp_path) as daemon,
    ):

        def found() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
            return samples(daemon.text("/metrics"))

        def wait_for(name: str, least: float = 1, **labels: str) -> None:
            key = (name, tuple(sorted(labels.items())))
            wait_until(lambda: found().get(key, 0) >= least, timeout_s=scene.LIMIT_S, what=name)

        announced = payload.announced_to(url)
        scene.add(daemon, announced)
        wait_until(
            lambda: any(name == "peers" and value == 1 for (name, _), value in found().items()),
            timeout_s=scene.LIMIT_S,
            what="a peer is told by its kind",
        )
        wait_for("tracker_announce_seconds_count", scheme="http")
        wait_for("tracker_announces_total", result="ok")
        key = payload.info_hash.hex()
        foe = {"host": "192.0.2.1", "port": 6881}  # not of the loopback network
        daemon.ask("POST", f"/api/v1/torrents/{key}/peers", foe)
        wait_for("peers_blocked_total", source="filter")
        seed.limit_uploads(0)
        scene.wait_for(daemon, payload, "seeding")
        assert found()["hash_check_bytes_total", ()] == 0
        daemon.ask("POST", f"/api/v1/torrents/{key}/recheck")
        wait_for("hash_check_bytes_total", payload.total_bytes)
        source = {"torrent": base64.b64encode(other.source).decode()}
        daemon.ask("POST", "/api/v1/torrents", {"source": source})
        wait_for("disk_errors_total", kind="in_the_way")
        last = found()
    assert last["disk_queue_bytes", ()] == 0
    assert last["disk_errors_total", (("kind", "full"),)] == 0
    assert last["tracker_announce_seconds_sum", (("scheme", "http"),)] < scene.LIMIT_S


def test_numbers_of_the_dashboard_are_told(tmp_path: Path) -> None:
    """A real daemon, asked twice, has each number that contrib/grafana.json shows."""
    program = tmp_path / "hook"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "watched").mkdir()
    (tmp_path / "watched" / "a.torrent").write_bytes(make_torrent(b"1" * 50, name="a")[0].source)
    config = tmp_path / "daemon.toml"
    config.write_text(
        f'[[hook]]\nevent = "torrent_added"\ncommand = ["{program}"]\n'
        f'[[watch]]\nfolder = "{tmp_path}/watched"\n'
    )
    with OwnDaemon(tmp_path, options=[f"--config={config}"]) as daemon:
        wait_until(
            lambda: "hooks_total{" in daemon.text("/metrics"), timeout_s=60, what="the hook ran"
        )
        text = daemon.text("/metrics")
    found = samples(text)
    names = {name for name, _ in found}
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    shown = [t["expr"] for panel in dashboard["panels"] for t in panel["targets"]]
    asked = {name for expr in shown for name in re.findall(r"torrent_engine_(\w+)", expr)}
    assert len(asked) > 15
    assert asked - names == set()
    assert found["watch_files_total", (("result", "added"),)] == 1
    assert found["hooks_total", (("event", "torrent_added"), ("result", "done"))] == 1
    assert found["http_requests_total", (("api", "metrics"), ("class", "2xx"))] >= 1
    assert [value for (name, _), value in found.items() if name == "disk_free_bytes"]
    documented = set(re.findall(r"^\| `(\w+)`", DOCUMENT.read_text("utf-8"), re.MULTILINE))
    families = {
        each.name.removeprefix(PREFIX)
        for each in text_string_to_metric_families(text)
        if each.name.startswith(PREFIX)
    }
    assert families - {name.removesuffix("_total") for name in documented} == set()
