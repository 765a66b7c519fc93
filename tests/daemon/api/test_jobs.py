"""Records of work, in both of their places, over a fake engine."""

import json
from datetime import UTC, datetime

import httpx2
import pytest

from tests.daemon.contexts import make_context
from tests.daemon.fake_port import FakeEngine
from torrent_engine.base.ids import InfoHash, InfoHashV2
from torrent_engine.daemon.api.jobs import table_of
from torrent_engine.daemon.context import DaemonContext
from torrent_engine.daemon.engine_port.facts import EngineState, JobFacts

pytestmark = pytest.mark.anyio
URL = "/api/v1/jobs"
ALIAS = "/api/sessions"


@pytest.fixture
def one(engine: FakeEngine) -> InfoHash:
    key = engine.put(name="a", total_bytes=10, state=EngineState.DOWNLOADING)
    engine.put_job(JobFacts("aaaaaaaa-1", "add", "completed", key, "a", completed_at=1_000.0))
    engine.put_job(JobFacts("aaaaaaaa-2", "download", "running", key, "=a", progress=0.5))
    engine.put_job(JobFacts("bbbbbbbb-3", "seed", "failed", None, error="x", completed_at=2_000.0))
    return key


@pytest.fixture
def context(engine: FakeEngine, one: InfoHash) -> DaemonContext:
    return make_context(engine)


async def ids(client: httpx2.AsyncClient, url: str = URL, **query: str | int) -> list[str]:
    answer = await client.get(url, params=query)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    return [each["id"] for each in (told if isinstance(told, list) else told["items"])]


async def test_jobs_are_listed_and_chosen(client: httpx2.AsyncClient, one: InfoHash) -> None:
    assert await ids(client) == ["bbbbbbbb-3", "aaaaaaaa-2", "aaaaaaaa-1"]
    assert await ids(client, ALIAS) == await ids(client)
    assert await ids(client, status="failed,running") == ["bbbbbbbb-3", "aaaaaaaa-2"]
    assert await ids(client, kind="add") == ["aaaaaaaa-1"]
    assert await ids(client, torrent=str(one)) == ["aaaaaaaa-2", "aaaaaaaa-1"]
    assert await ids(client, id_prefix="aaaa") == ["aaaaaaaa-2", "aaaaaaaa-1"]
    assert await ids(client, f"{URL}/active") == ["aaaaaaaa-2"]
    assert isinstance((await client.get(f"{ALIAS}/active")).json(), list)


async def test_bep52_jobs_of_a_hybrid_are_found_by_either_hash(
    client: httpx2.AsyncClient, engine: FakeEngine, context: DaemonContext, one: InfoHash
) -> None:
    engine.change(one, info_hash_v1=one, info_hash_v2=InfoHashV2(bytes(range(32))))
    context.state.look(one)
    for text in (bytes(range(20)).hex(), bytes(range(32)).hex()):
        assert await ids(client, torrent=text) == ["aaaaaaaa-2", "aaaaaaaa-1"]
    assert await ids(client, torrent="00" * 20) == []


async def test_pages_follow_one_another(client: httpx2.AsyncClient) -> None:
    page = (await client.get(URL, params={"limit": 2})).json()
    assert (len(page["items"]), page["total"], page["next"]) == (2, 3, "aaaaaaaa-2")
    rest = (await client.get(URL, params={"limit": 2, "cursor": page["next"]})).json()
    assert ([each["id"] for each in rest["items"]], rest["next"]) == (["aaaaaaaa-1"], None)


async def test_one_job_is_found_by_the_beginning_of_its_id(client: httpx2.AsyncClient) -> None:
    assert (await client.get(f"{URL}/aaaaaaaa-2")).json()["progress"] == 0.5
    assert (await client.get(f"{ALIAS}/bbbbbbbb")).json()["id"] == "bbbbbbbb-3"
    for missing in ("aaaaaaaa", "bbbb", "cccccccc"):
        answer = await client.get(f"{URL}/{missing}")
        assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


@pytest.mark.parametrize("query", ["status=flying", "kind=x", "torrent=zz", "limit=0"])
async def test_a_query_that_cannot_be_is_a_problem(client: httpx2.AsyncClient, query: str) -> None:
    assert (await client.get(f"{URL}?{query}")).json()["code"] == "input_invalid"


async def test_finished_jobs_are_cleared(engine: FakeEngine, client: httpx2.AsyncClient) -> None:
    before = datetime.fromtimestamp(1_500, UTC).isoformat()
    answer = await client.delete(URL, params={"before": before})
    assert answer.json() == {"removed": 1}
    assert set(engine.job_list) == {"aaaaaaaa-2", "bbbbbbbb-3"}
    assert (await client.delete(URL, params={"kind": "move"})).json() == {"removed": 0}
    assert (await client.delete(ALIAS)).json() == {"removed": 1}
    assert set(engine.job_list) == {"aaaaaaaa-2"}


async def test_actions_reach_the_torrent(
    engine: FakeEngine, client: httpx2.AsyncClient, one: InfoHash
) -> None:
    assert (await client.post(f"{URL}/aaaaaaaa-2/pause")).status_code == 204
    assert engine.torrents[one].facts.progress.state is EngineState.PAUSED
    assert (await client.post(f"{URL}/aaaaaaaa-2/resume")).status_code == 204
    assert engine.torrents[one].facts.progress.state is EngineState.DOWNLOADING
    assert (await client.post(f"{URL}/aaaaaaaa-2/retry")).status_code == 409
    assert (await client.post(f"{URL}/bbbbbbbb-3/retry")).status_code == 409
    assert (await client.post(f"{URL}/aaaaaaaa-1/retry")).status_code == 204
    assert (await client.post(f"{URL}/aaaaaaaa-2/fly")).status_code == 422


async def test_a_download_is_cancelled_with_its_torrent(
    engine: FakeEngine, client: httpx2.AsyncClient, one: InfoHash
) -> None:
    assert (await client.delete(f"{ALIAS}/aaaaaaaa-1")).status_code == 204
    assert "aaaaaaaa-1" not in engine.job_list
    assert one in engine.torrents
    answer = await client.delete(f"{URL}/aaaaaaaa-2", params={"delete_files": "true"})
    assert answer.status_code == 204
    assert engine.removed[one].is_deleted


async def test_other_jobs_are_cancelled_without_removing_the_torrent(
    engine: FakeEngine, client: httpx2.AsyncClient, one: InfoHash
) -> None:
    engine.put_job(JobFacts("cccccccc-1", "move", "running", one))
    engine.put_job(JobFacts("cccccccc-2", "check", "running", one))
    assert (await client.post(f"{URL}/cccccccc-1/cancel")).status_code == 409
    engine.change(one, is_moving=True)
    assert (await client.post(f"{URL}/cccccccc-1/cancel")).status_code == 204
    assert (await client.post(f"{URL}/cccccccc-2/cancel")).status_code == 204
    assert engine.torrents[one].facts.progress.state is EngineState.STOPPED


async def test_jobs_are_exported(client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"{URL}/export")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [each["id"] for each in lines] == ["bbbbbbbb-3", "aaaaaaaa-2", "aaaaaaaa-1"]
    table = await client.get(f"{URL}/export?format=csv")
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    assert table.text.splitlines()[0].startswith("id,kind,status")
    assert ",'=a" in table.text
    assert table_of([]).count(b"\n") == 1


async def test_events_of_a_job_are_led_to(client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"{ALIAS}/aaaaaaaa-2/events")
    assert answer.status_code == 307
    assert answer.headers["location"] == "/api/v1/events?types=jobs&job=aaaaaaaa-2"
    assert (await client.get(f"{ALIAS}/a&b=1/events")).status_code == 404
