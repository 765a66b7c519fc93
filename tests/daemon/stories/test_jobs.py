"""Jobs of a real daemon: steered, retried, exported, cleared; and a browser that begins at once."""

import csv
import io
import json
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.daemon.stories import scene
from tests.daemon.stories.events import EventStream
from tests.support import slow_http as http
from tests.support.own_daemon import OwnDaemon
from tests.support.payload import Payload, make_payload
from tests.support.processes import wait_until

JOBS = "/api/v1/jobs"
INITIALISATIONS = 100


def payload_in(folder: Path) -> Payload:
    files = {"a.bin": 700_000, "b.bin": 500_000}
    return make_payload(folder, "film", files, piece_bytes=32 * 1024)


def act(daemon: OwnDaemon, job: str, action: str, query: str = "") -> None:
    daemon.ask("POST", f"{JOBS}/{job}/{action}{query}")


def status(daemon: OwnDaemon, job: str) -> str:
    return str(daemon.ask("GET", f"{JOBS}/{job}")["status"])


def wait_for_job(daemon: OwnDaemon, job: str, expected: str) -> None:
    wait_until(
        lambda: status(daemon, job) == expected,
        timeout_s=scene.LIMIT_S,
        what=f"the job is {expected}",
    )


def text(daemon: OwnDaemon, path: str) -> str:
    fields = {"Authorization": f"Bearer {daemon.token}"}
    answer = http.get(daemon.url(path), headers=fields)
    assert answer.status_code == 200, answer.text
    return str(answer.text)


def test_download_is_paused_resumed_cancelled_and_retried_by_its_job(tmp_path: Path) -> None:
    payload = payload_in(tmp_path)
    with (
        scene.seeded(tmp_path, payload, bytes_per_s=scene.SLOW) as seed,
        OwnDaemon(tmp_path) as daemon,
        EventStream(daemon) as stream,
    ):
        scene.add(daemon, payload, seed)
        scene.wait_for_bytes(daemon, payload)
        [job] = [each["id"] for each in scene.jobs(daemon, payload)]
        act(daemon, job, "pause")
        wait_for_job(daemon, job, "paused")
        assert scene.torrent(daemon, payload)["status"] == "paused"
        assert job in {each["id"] for each in daemon.ask("GET", f"{JOBS}/active")["items"]}
        act(daemon, job, "resume")
        wait_for_job(daemon, job, "running")
        act(daemon, job, "cancel", "?delete_files=true")
        wait_for_job(daemon, job, "cancelled")
        assert stream.until("job", id=job, status="cancelled").data["kind"] == "download"
        assert scene.hashes(daemon) == set()
        wait_until(
            lambda: not any(each.is_file() for each in (tmp_path / "d").rglob("*")),
            timeout_s=scene.LIMIT_S,
            what="what was downloaded is gone",
        )
        act(daemon, job, "retry")
        wait_until(
            lambda: scene.hashes(daemon) == {payload.info_hash.hex()},
            timeout_s=scene.LIMIT_S,
            what="the torrent is there again",
        )
        check_exports(daemon, job)
        check_cleared(daemon, job)


def check_exports(daemon: OwnDaemon, job: str) -> None:
    """Both forms have what the list has."""
    lines = [json.loads(line) for line in text(daemon, f"{JOBS}/export").splitlines()]
    rows = list(csv.DictReader(io.StringIO(text(daemon, f"{JOBS}/export?format=csv"))))
    for told in (lines, rows):
        found: list[Any] = [each for each in told if each["id"] == job]
        assert [each["status"] for each in found] == ["cancelled"]
    assert {each["id"] for each in lines} == {each["id"] for each in rows}


def check_cleared(daemon: OwnDaemon, job: str) -> None:
    """Finished jobs are forgotten, also by the next process."""
    assert daemon.ask("DELETE", JOBS)["removed"] >= 1
    assert job not in {each["id"] for each in daemon.ask("GET", JOBS)["items"]}
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    daemon.start()
    assert job not in {each["id"] for each in daemon.ask("GET", JOBS)["items"]}


def test_hundred_simultaneous_initialisations_of_a_browser_give_one_session(tmp_path: Path) -> None:
    with OwnDaemon(tmp_path) as daemon:
        url = daemon.url("/api/v1/session")
        first = http.post(url, json={"password": daemon.token})
        assert first.status_code == 201, first.text
        cookies = {"Cookie": first.headers["set-cookie"].partition(";")[0]}

        def initialise(_: int) -> tuple[int, str, bool]:
            told = http.post(url, json={}, headers=cookies)
            return told.status_code, told.json()["csrf_token"], "set-cookie" in told.headers

        with ThreadPoolExecutor(20) as threads:
            told = set(threads.map(initialise, range(INITIALISATIONS)))
        assert told == {(200, first.json()["csrf_token"], False)}
