"""Any request that the description allows, and many that it does not: answered, and no bug."""

import base64
import logging
from random import Random
from typing import Any

import pytest

from tests.daemon.api.openapi_cases import Case, CaseMaker, Operation, operations_of
from tests.daemon.fake_port import FakeEngine
from tests.support.daemon_app import AppAnswer, AppClient, make_client
from tests.support.torrents import make_torrent
from torrent_engine.daemon.api.openapi import document_of
from torrent_engine.daemon.engine_port.facts import EngineState, JobFacts
from torrent_engine.daemon.problems import STATUSES
from torrent_engine.daemon.settings.model import SPECS

pytestmark = pytest.mark.anyio
CASES = 2_000
SEEDS = range(8)
METAINFO, _ = make_torrent({"a.mkv": b"1" * 50, "b/c.txt": b"2" * 60}, name="show")
OUTSIDE = {502, 504, 507}
"""Not our fault: another server does not answer, or a disk is full."""
PERMANENT_REDIRECT = 308
ENDLESS = ("/api/v1/events",)


async def scene() -> tuple[AppClient, FakeEngine]:
    """Return a client of a daemon that has something of everything."""
    client = make_client()
    engine = engine_of(client)
    one = engine.put(metainfo=METAINFO, state=EngineState.DOWNLOADING, trackers=(("http://a/",),))
    engine.put(name="magnet", state=EngineState.FETCHING_METADATA)
    engine.put(name="b", total_bytes=10, state=EngineState.SEEDING)
    for number, status in enumerate(("running", "failed", "completed", "paused")):
        engine.put_job(JobFacts(f"{number:08}-job", "download", status, info_hash=one, name="show"))
    await client.context.state.reload()
    return client.bearer(), engine


def engine_of(client: AppClient) -> FakeEngine:
    """Return the engine behind an application."""
    engine: FakeEngine = client.context.port.engine._engine  # type: ignore[attr-defined]
    return engine


def known_values(engine: FakeEngine) -> dict[str, list[str]]:
    hashes = [key.hex() for key in engine.order]
    return {
        "info_hash": [*hashes, hashes[0][:39], "0" * 40],
        "job_id": [*engine.job_list, "00000000"],
        "torrent": hashes,
        "torrents": ["list", "none", *hashes],
        "fields": ["name,status", "hash", "files"],
        "sort": ["-added_at,name", "ratio"],
        "owner_id": ["tab-1"],
        "name": ["films", "a b"],
        "key": sorted(SPECS),
        "tracker_id": ["0", "1"],
        "wait": ["0"],  # a poll would wait
        "source": [f"magnet:?xt=urn:btih:{hashes[1]}", METAINFO.info_hash.hex()],
        "data": [base64.b64encode(b"d4:info").decode()],
    }


def is_endless(case: Case, answer_path: str) -> bool:
    return answer_path in ENDLESS or "wait=" in case.path


def check(operation: Operation, case: Case, answer: AppAnswer) -> None:
    """An answer is no bug, and is what it and the description say."""
    assert answer.status < 500 or answer.status in OUTSIDE, (case, answer.body)
    assert mismatch(operation, answer) is None, (case, answer.body[:500])
    kind = (answer.header("content-type") or "").partition(";")[0]
    if answer.status >= 400:
        assert answer.code in STATUSES, case
    elif kind == "application/json":
        assert answer.json is not None or answer.body == b"null", case


def mismatch(operation: Operation, answer: AppAnswer) -> str | None:
    """Return what the description does not say of an answer."""
    if answer.status == PERMANENT_REDIRECT:
        return None  # of the same path without the slash at its end
    responses: dict[str, Any] = operation.description["responses"]
    told = responses.get(str(answer.status), responses["default"] if answer.status >= 400 else None)
    if told is None:
        return f"{operation.method} {operation.path}: status {answer.status}"
    kind = (answer.header("content-type") or "").partition(";")[0]
    if kind not in (told.get("content") or {"": {}}):
        return f"{operation.method} {operation.path}: {answer.status} with {kind!r}"
    return None


@pytest.mark.parametrize("seed", SEEDS)
async def test_requests_made_from_the_description_are_answered(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    chance, statuses = Random(seed), set[int]()
    client, engine = await scene()
    document: dict[str, Any] = document_of(client.app.routes.routes)
    operations = list(operations_of(document))
    for number in range(CASES // len(SEEDS)):
        operation = operations[(number * len(SEEDS) + seed) % len(operations)]
        case = CaseMaker(document, chance, known_values(engine)).case(operation)
        if is_endless(case, operation.path):
            continue
        answer = await client.ask(case.method, case.path, case.body, headers=case.headers)
        check(operation, case, answer)
        statuses.add(answer.status)
        if operation.path.endswith(("/shutdown", "/password")) or len(engine.order) < 2:
            client, engine = await scene()
    assert statuses >= {200, 204, 404, 422}
    assert "Traceback" not in caplog.text
    assert [each for each in caplog.records if "incident" in each.message] == []
