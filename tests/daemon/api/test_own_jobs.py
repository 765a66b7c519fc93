"""Work of the daemon itself: torrents that are made, and those that are fetched as jobs."""

from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from tests.daemon.contexts import make_context
from tests.daemon.fake_port import FakeEngine
from tests.support.swarm import until
from tests.support.torrents import make_torrent
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.daemon.api import adding
from torrent_engine.daemon.context import DaemonContext
from torrent_engine.daemon.engine_port.facts import JobFacts
from torrent_engine.daemon.jobs import own_jobs
from torrent_engine.service.add_options import AddOptions

pytestmark = pytest.mark.anyio
CREATE = "/api/v1/create"
TORRENTS = "/api/v1/torrents"
JOBS = "/api/v1/jobs"
ONE, _ = make_torrent(b"1" * 40_000, name="one", tiers=[["http://t.example/announce"]])
SOURCE = "https://t.example/one.torrent?passkey=0123456789abcdef"


@pytest.fixture
def context(engine: FakeEngine, tmp_path: Path) -> DaemonContext:
    made = make_context(engine, roots=[tmp_path / "files"])
    made.state_dir = tmp_path / "state"
    (tmp_path / "files" / "album").mkdir(parents=True)
    (tmp_path / "files" / "album" / "a.bin").write_bytes(b"a" * 50_000)
    (tmp_path / "files" / "album" / "link").symlink_to("/etc/hostname")
    return made


async def ended(client: httpx2.AsyncClient, url: str) -> dict[str, Any]:
    with anyio.fail_after(60):
        while True:
            told: dict[str, Any] = (await client.get(url)).json()
            if told["status"] not in {"pending", "running"}:
                return told
            await anyio.sleep(0.01)


async def test_a_torrent_is_made_as_a_job_and_downloaded(
    engine: FakeEngine, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    trackers = [["http://t.example/a"], ["udp://u.example:1/a"]]
    body = {"path": str(tmp_path / "files/album"), "trackers": trackers, "private": True}
    answer = await client.post(CREATE, json=body, headers={"Idempotency-Key": "k"})
    again = await client.post(CREATE, json=body, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, again.content) == (202, answer.content)
    job = await ended(client, answer.headers["location"])
    assert (job["kind"], job["status"]) == ("create", "completed")
    found = await client.get(answer.json()["links"]["torrent_file"])
    torrent = Metainfo.from_bytes(found.content)
    assert (torrent.name, torrent.is_private, torrent.total_bytes) == ("album", True, 50_000)
    assert [list(tier) for tier in torrent.tiers] == trackers
    assert job["torrent"] == {"hash": str(torrent.info_hash), "name": "album"}
    assert 'filename="album.torrent"' in found.headers["content-disposition"]
    assert engine.order == []


@pytest.mark.parametrize("kind", ["v1", "v2", "hybrid"])
async def test_bep52_a_torrent_of_each_format_is_made(
    client: httpx2.AsyncClient, tmp_path: Path, kind: str
) -> None:
    body = {"path": str(tmp_path / "files/album"), "format": kind}
    answer = await client.post(CREATE, json=body)
    assert (await ended(client, answer.headers["location"]))["status"] == "completed"
    found = await client.get(answer.json()["links"]["torrent_file"])
    torrent = Metainfo.from_bytes(found.content)
    has = torrent.info_hash_v1 is not None, torrent.info_hash_v2 is not None
    assert has == (kind != "v2", kind != "v1")


async def test_a_torrent_that_is_made_can_be_seeded_at_once(
    engine: FakeEngine, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    body = {"path": str(tmp_path / "files/album"), "seed": True, "dated": False}
    answer = await client.post(CREATE, json=body)
    assert (await ended(client, answer.headers["location"]))["status"] == "completed"
    (torrent,) = engine.torrents.values()
    assert torrent.facts.settings.save_path == str(tmp_path / "files")


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"path": "/etc"}, 400, "path_not_allowed"),
        ({"path": ""}, 422, "input_invalid"),
        ({"piece_bytes": 20_000}, 400, "setting_invalid"),
        ({"piece_bytes": 49_152, "format": "v2"}, 400, "setting_invalid"),
        ({"format": "v3"}, 422, "input_invalid"),
        ({"trackers": [["gopher://x"]]}, 400, "setting_invalid"),
        ({"seed": True, "name": "other"}, 400, "setting_invalid"),
        ({"seed": True, "category": "none"}, 400, "setting_invalid"),
        ({"x": 1}, 422, "input_invalid"),
    ],
)
async def test_what_cannot_be_made_is_a_problem(
    client: httpx2.AsyncClient, tmp_path: Path, change: dict[str, Any], status: int, code: str
) -> None:
    body = {"path": str(tmp_path / "files/album"), **change}
    answer = await client.post(CREATE, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_job_that_fails_says_why_and_has_no_result(
    client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    answer = await client.post(CREATE, json={"path": str(tmp_path / "files/none")})
    job = await ended(client, answer.headers["location"])
    assert job["status"] == "failed"
    assert "none" in job["error"]
    result = await client.get(answer.json()["links"]["torrent_file"])
    assert (result.status_code, result.json()["code"]) == (409, "state_conflict")
    missing = await client.get(f"{CREATE}/nothing/torrent_file")
    assert (missing.status_code, missing.json()["code"]) == (404, "job_not_found")


async def test_results_of_deleted_jobs_are_deleted(
    client: httpx2.AsyncClient, context: DaemonContext, tmp_path: Path
) -> None:
    body = {"path": str(tmp_path / "files/album")}
    first = (await client.post(CREATE, json=body)).json()["job"]
    await ended(client, f"{JOBS}/{first}")
    assert (await client.delete(f"{JOBS}/{first}")).status_code == 204
    second = (await client.post(CREATE, json=body)).json()["job"]
    await ended(client, f"{JOBS}/{second}")
    assert [each.stem for each in (context.state_dir / "created").iterdir()] == [second]


class SlowSource:
    """A source of torrents that answers when a test lets it."""

    def __init__(self, engine: FakeEngine) -> None:
        self.may_answer = anyio.Event()
        self.asked = 0
        self._engine = engine

    async def fetch(self, *_: object) -> Metainfo:
        self.asked += 1
        await self.may_answer.wait()
        return ONE


@pytest.fixture
def slow(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> SlowSource:
    source = SlowSource(engine)
    monkeypatch.setattr(engine.engine, "fetch_torrent", source.fetch)
    monkeypatch.setattr(adding, "FETCH_WAIT_S", 0.01)
    return source


async def test_a_url_that_answers_late_is_fetched_as_a_job(
    engine: FakeEngine, client: httpx2.AsyncClient, slow: SlowSource
) -> None:
    answer = await client.post(TORRENTS, json={"source": SOURCE, "labels": ["x"]})
    assert answer.status_code == 202
    running = (await client.get(answer.headers["location"])).json()
    assert (running["kind"], running["status"]) == ("add", "running")
    assert "0123456789abcdef" not in str(running)
    slow.may_answer.set()
    job = await ended(client, answer.headers["location"])
    assert (job["status"], job["torrent"]["hash"]) == ("completed", str(ONE.info_hash))
    told = (await client.get(f"{TORRENTS}/{ONE.info_hash}")).json()
    assert told["labels"] == ["x"]


async def test_fetches_are_bounded_in_number_and_in_what_is_kept(
    client: httpx2.AsyncClient,
    context: DaemonContext,
    slow: SlowSource,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(own_jobs, "MAX_RUNNING", 2)
    long = {
        "source": SOURCE,
        "trackers": [f"http://t.example/{n}/{'a' * 1_000}" for n in range(90)],
    }
    jobs = [await client.post(TORRENTS, json=body) for body in ({"source": SOURCE}, long)]
    refused = await client.post(TORRENTS, json={"source": SOURCE})
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
    kept = context.state.store.table("job_sources")
    assert [each.headers["location"].rpartition("/")[2] in kept for each in jobs] == [True, False]
    for each in jobs:
        assert (await client.delete(each.headers["location"])).status_code == 204
        await ended(client, each.headers["location"])
    slow.may_answer.set()
    assert (await client.post(TORRENTS, json={"source": SOURCE})).status_code in {201, 202}


async def test_a_fetch_is_cancelled_by_its_job_and_by_its_owner(
    engine: FakeEngine, client: httpx2.AsyncClient, slow: SlowSource
) -> None:
    one = await client.post(TORRENTS, json={"source": SOURCE})
    assert (await client.delete(one.headers["location"])).status_code == 204
    job = await ended(client, one.headers["location"])
    assert (job["status"], job["reason"]) == ("cancelled", "cancelled")
    made = (await client.post("/api/v1/owners/tab/generation")).json()
    owner = {"id": "tab", "generation": made["generation"]}
    two = await client.post(TORRENTS, json={"source": SOURCE, "owner": owner})
    await client.post("/api/v1/owners/tab/generation")
    job = await ended(client, two.headers["location"])
    assert (job["status"], job["reason"]) == ("cancelled", "owner_changed")
    assert engine.order == []


async def test_a_failed_fetch_is_retried_as_another_job(
    engine: FakeEngine, client: httpx2.AsyncClient
) -> None:
    failed = await client.post(TORRENTS, json={"source": SOURCE, "labels": ["x"]})
    assert (failed.status_code, failed.json()["code"]) == (502, "url_failed")
    (job,) = engine.job_list.values()
    assert job.status == "failed"
    engine.sources[SOURCE] = ONE
    again = await client.post(f"{JOBS}/{job.id}/retry")
    assert again.status_code == 202
    assert (await ended(client, again.headers["location"]))["status"] == "completed"
    told = (await client.get(f"{TORRENTS}/{ONE.info_hash}")).json()
    assert told["labels"] == ["x"]


async def test_an_add_whose_torrent_is_gone_is_retried_by_its_link(
    engine: FakeEngine, client: httpx2.AsyncClient, context: DaemonContext
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(context.state.run)
        await until(lambda: bool(engine.listeners))
        options = AddOptions(save_path="/elsewhere", labels=("x",))
        await engine.engine.add(ONE, options)
        context.state.look(ONE.info_hash)
        engine.put_job(JobFacts("aaaaaaaa-1", "download", "cancelled", ONE.info_hash, "one"))
        await engine.port.control.remove(ONE.info_hash)
        await until(lambda: ONE.info_hash not in context.state.torrents)
        assert (await client.post(f"{JOBS}/aaaaaaaa-1/retry")).status_code == 204
        tasks.cancel_scope.cancel()
    told = (await client.get(f"{TORRENTS}/{ONE.info_hash}")).json()
    assert (told["save_path"], told["labels"]) == ("/elsewhere", ["x"])
    assert engine.torrents[ONE.info_hash].facts.settings.trackers == (
        ("http://t.example/announce",),
    )
