"""Block lists that are fetched: forms, conditions, errors, and when."""

import gzip
import io
import json
import os
import random
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from torrent_engine.base.errors import HttpError, IpFilterError, StorageError
from torrent_engine.daemon.jobs import blocklist as module
from torrent_engine.daemon.jobs.blocklist import Blocklists, ListSource, unpacked
from torrent_engine.net.http.client import HttpResponse

pytestmark = pytest.mark.anyio

URL = "https://lists.example/list?key=secret0123456789secret"
PLAIN = b"bad:1.2.3.0-1.2.3.255\nworse:5.6.7.8-5.6.7.8\n"
OTHER = b"9.9.9.9/32\n"


def zipped(*parts: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/", b"")
        for number, part in enumerate(parts):
            archive.writestr(f"{number}.txt", part)
    return data.getvalue()


@dataclass
class Server:
    """Answers with what the test says."""

    body: bytes = PLAIN
    status: int = 200
    etag: str = '"1"'
    error: Exception | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    reloads: int = 0
    reload_error: Exception | None = None

    async def fetch_list(
        self, url: str, *, max_bytes: int, headers: Mapping[str, str] | None = None
    ) -> HttpResponse:
        assert max_bytes == 64 << 20
        self.asked.append(dict(headers or {}))
        if self.error is not None:
            raise self.error
        if (headers or {}).get("If-None-Match") == self.etag:
            return HttpResponse(304, {}, b"", url, "1.1.1.1")
        return HttpResponse(self.status, {"etag": self.etag}, self.body, url, "1.1.1.1")

    async def reload_ip_filter(self) -> None:
        self.reloads += 1
        if self.reload_error is not None:
            raise self.reload_error


class Bench:
    def __init__(self, folder: Path, url: str = URL) -> None:
        self.server = Server()
        self.now = 1_000_000.0
        self.folder = folder
        self.source = ListSource(url)
        self.alerts: list[tuple[str, str]] = []
        self.restart()

    def restart(self) -> None:
        self.lists = Blocklists(
            self.folder,
            [self.source],
            self.server,
            wall_clock=lambda: self.now,
            rng=random.Random(1),
            alert=lambda about, text: self.alerts.append((about, text)),
        )
        self.lists.prepare()

    @property
    def reloads(self) -> int:
        return self.server.reloads

    @property
    def content(self) -> bytes:
        return Path(self.lists.paths[0]).read_bytes()

    @property
    def status(self):
        return self.lists.statuses[self.source.url]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "lists")


def test_before_the_first_answer_there_is_an_empty_file(bench: Bench) -> None:
    assert bench.content == b""
    assert "secret" not in bench.lists.paths[0]


FORMS = {
    "plain": (PLAIN, PLAIN),
    "gzip": (gzip.compress(PLAIN), PLAIN),
    "zip": (zipped(PLAIN), PLAIN + b"\n"),
    "zip_of_two": (zipped(PLAIN, OTHER), PLAIN + b"\n" + OTHER + b"\n"),
}


@pytest.mark.parametrize(("sent", "kept"), FORMS.values(), ids=FORMS)
async def test_a_list_comes_in_several_forms(bench: Bench, sent: bytes, kept: bytes) -> None:
    bench.server.body = sent
    assert await bench.lists.update()
    assert (bench.content, bench.reloads) == (kept, 1)
    assert bench.status.ranges == len(kept.split())


async def test_a_list_that_did_not_change_is_not_loaded_again(bench: Bench) -> None:
    await bench.lists.update()
    bench.now += 100.0
    assert not await bench.lists.update(is_forced=True)
    assert (bench.reloads, bench.server.asked[1]) == (1, {"If-None-Match": '"1"'})
    assert (bench.status.changed_at, bench.status.checked_at) == (1_000_000.0, 1_000_100.0)


async def test_what_is_known_of_a_list_is_kept_over_a_restart(bench: Bench) -> None:
    await bench.lists.update()
    bench.restart()
    assert not await bench.lists.update()  # not due
    bench.now += 90_000.0
    assert not await bench.lists.update()
    assert bench.server.asked == [{}, {"If-None-Match": '"1"'}]


async def test_f6_a_pipe_in_the_place_of_what_is_known_of_a_list_is_replaced(bench: Bench) -> None:
    await bench.lists.update()
    (known,) = bench.folder.glob("*.json")
    known.unlink()
    os.mkfifo(known)
    bench.restart()
    assert await bench.lists.update()
    assert bench.server.asked == [{}, {}]
    assert known.is_file()


FAULTS = {
    "network": {"error": HttpError("no route")},
    "status": {"status": 500},
    "html": {"body": b"<html>login</html>"},
    "empty": {"body": b""},
    "damaged_gzip": {"body": gzip.compress(PLAIN)[:-9]},
    "damaged_zip": {"body": zipped(PLAIN)[:-9]},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_after_a_fault_the_old_list_stays(bench: Bench, fault: dict) -> None:
    await bench.lists.update()
    bench.server.etag = '"2"'
    for name, value in fault.items():
        setattr(bench.server, name, value)
    assert not await bench.lists.update(is_forced=True)
    assert (bench.content, bench.reloads) == (PLAIN, 1)
    assert bench.status.error
    assert bench.status.etag == '"1"'
    assert 800 <= bench.lists.due_in_s() <= 1_000
    assert sorted(path.suffix for path in bench.folder.iterdir()) == [".json", ".list"]


async def test_an_engine_that_cannot_load_it_is_told_and_goes_on(bench: Bench) -> None:
    bench.server.reload_error = StorageError(Path("x"), "gone")
    assert not await bench.lists.update()
    assert "not loaded" in bench.alerts[0][1]


async def test_no_secret_of_the_url_is_in_an_error(bench: Bench) -> None:
    bench.server.error = HttpError(f"cannot fetch {URL}")
    await bench.lists.update()
    await bench.lists.update(is_forced=True)
    ((about, text),) = bench.alerts  # once for failures that follow each other
    assert "the old list stays" in text
    assert "secret" not in about + text
    assert "secret" not in bench.status.error
    assert "secret" not in json.dumps([path.read_text() for path in bench.folder.glob("*.json")])


async def test_only_https_is_fetched(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "http://lists.example/")
    assert not await bench.lists.update()
    assert (bench.server.asked, "https only" in bench.status.error) == ([], True)


async def test_lists_are_due_about_once_a_day(bench: Bench) -> None:
    times = []
    for _ in range(20):
        await bench.lists.update(is_forced=True)
        times.append(bench.lists.due_in_s())
    assert len(set(times)) == 20
    assert 86_400 * 0.9 <= min(times) < max(times) <= 86_400 * 1.1


async def test_a_user_may_ask_for_it_now(bench: Bench) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.lists.run)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(30):
            while bench.reloads < 1:  # noqa: ASYNC110 - work in threads
                await anyio.sleep(0.002)
            bench.server.etag, bench.server.body = '"2"', OTHER
            bench.lists.update_now()
            while bench.reloads < 2:  # noqa: ASYNC110 - as above
                await anyio.sleep(0.002)
        tasks.cancel_scope.cancel()
    assert bench.content == OTHER


def test_what_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1_000)
    for data in (gzip.compress(b"x" * 1_001), zipped(b"x" * 600, b"y" * 600)):
        with pytest.raises(IpFilterError, match="longer than"):
            unpacked(data)
    assert unpacked(gzip.compress(b"x" * 1_000)) == b"x" * 1_000
