"""Names that are hostile, through everything that tells a name: text everywhere, in its place."""

import base64
import csv
import io
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.daemon.contexts import client_of, make_context
from tests.daemon.fake_port import FakeEngine
from tests.daemon.security.hostile_names import hostile_names
from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.paths import escape_for_terminal
from torrent_engine.daemon.api.events import SseSource
from torrent_engine.daemon.api.sync import choice_of
from torrent_engine.daemon.context import DaemonContext
from torrent_engine.daemon.engine_port.facts import EngineState, JobFacts
from torrent_engine.daemon.log_lines import LineFormatter
from torrent_engine.daemon.settings.model import (
    DaemonSettings,
    MetricsSettings,
    QbittorrentSettings,
)

pytestmark = pytest.mark.anyio
NAMES = hostile_names()
SETTINGS = DaemonSettings(
    metrics=MetricsSettings(torrents=True, names=True),
    qbittorrent=QbittorrentSettings(enabled=True),
)
BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def torrents_of(name: bytes) -> Iterator[bytes]:
    """Yield .torrents that have a name: of the file, of the folder, and of a file in a folder."""
    info = {b"piece length": 16_384, b"pieces": name[:1].ljust(20)}
    files = [{b"length": 5, b"path": [b"x"]}], [{b"length": 5, b"path": [name]}]
    documents: list[Any] = [
        {b"info": {**info, b"name": name, b"length": 5}},
        {b"info": {**info, b"name": name, b"files": files[0]}},
        {b"info": {**info, b"name": b"n", b"files": files[1]}, b"comment": name},
    ]
    yield from map(encode, documents)


class Scene:
    """A daemon with a torrent for each name."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.context = make_context(self.engine, SETTINGS)
        self.refused: list[bytes] = []
        """What is no torrent."""

    async def fill(self) -> None:
        """Add all torrents that are torrents."""
        known = {}
        for each in (data for name in NAMES for data in torrents_of(name)):
            try:
                metainfo = Metainfo.from_bytes(each)
            except TorrentEngineError:
                self.refused.append(each)
            else:
                known[metainfo.info_hash] = metainfo
        for number, metainfo in enumerate(known.values()):
            key = self.engine.put(metainfo=metainfo, state=EngineState.DOWNLOADING)
            self._describe(key, number)
        await self.context.state.reload()

    def _describe(self, key: InfoHash, number: int) -> None:
        torrent = self.engine.torrents[key]
        torrent.contents = {file.index: b"12345" for file in torrent.files}
        name = torrent.facts.about.name
        self.engine.put_job(
            JobFacts(f"job-{number}", "download", "failed", info_hash=key, name=name, error=name)
        )

    @property
    def names(self) -> dict[str, str]:
        """Names by the hashes."""
        torrents = self.engine.torrents
        return {key.hex(): torrents[key].facts.about.name for key in torrents}


@asynccontextmanager
async def filled() -> AsyncIterator[tuple[Scene, httpx2.AsyncClient]]:
    scene = Scene()
    async with client_of(scene.context) as client:
        await scene.fill()
        yield scene, client


def shown(name: str) -> str:
    """Return a name as text that has only whole characters."""
    return name.encode("utf-8", "replace").decode()


def strict_json(data: bytes) -> Any:
    """Return a value; fails unless it is UTF-8 without half characters."""
    value = json.loads(data.decode("utf-8"))
    json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def check_headers(answer: httpx2.Response) -> None:
    """Every field is one line of printable ASCII."""
    for name, value in answer.headers.raw:
        assert re.fullmatch(rb"[!-~]+", name)
        assert re.fullmatch(rb"[ -~]*", value), value


def test_there_are_more_than_200() -> None:
    assert len(NAMES) >= 200


async def test_torrents_are_added_or_refused_whatever_their_names_are() -> None:
    scene = Scene()
    async with client_of(scene.context) as client:
        for name in NAMES:
            data = next(torrents_of(name))
            body = {"source": {"torrent": base64.b64encode(data).decode()}}
            answer = await client.post("/api/v1/torrents", json=body)
            assert answer.status_code in {200, 201, 422}, (name, answer.text)
            check_headers(answer)
            strict_json(answer.content)
        assert len(scene.engine.torrents) > 150


async def test_own_interface_tells_names_as_text() -> None:
    async with filled() as (scene, client):
        assert len(scene.refused) < 50
        answer = await client.get("/api/v1/torrents?limit=10000")
        told = strict_json(answer.content)["items"]
        assert {each["hash"]: each["name"] for each in told} == {
            key: shown(name) for key, name in scene.names.items()
        }
        synced = strict_json((await client.get("/api/v1/sync?limit=10000")).content)
        assert len(synced["torrents"]) == len(told)
        for info_hash in scene.names:
            for path in ("", "/files", "/trackers", "/torrent_file"):
                one = await client.get(f"/api/v1/torrents/{info_hash}{path}")
                assert one.status_code == 200
                check_headers(one)
                if path != "/torrent_file":
                    strict_json(one.content)


async def test_job_tables_have_a_line_for_each_job_and_no_formula() -> None:
    async with filled() as (scene, client):
        lines = (await client.get("/api/v1/jobs/export")).content.split(b"\n")
        assert len([strict_json(line) for line in lines if line]) == len(scene.names)
        table = (await client.get("/api/v1/jobs/export?format=csv")).content.decode("utf-8")
        rows = list(csv.reader(io.StringIO(table, newline="")))
        assert len(rows) == len(scene.names) + 1
        assert {len(row) for row in rows} == {len(rows[0])}
        cells = [cell for row in rows for cell in row]
        assert [cell for cell in cells if cell[:1] in {"=", "+", "-", "@", "\t", "\r"}] == []


def source_of(context: DaemonContext) -> SseSource:
    choice = choice_of("list", None, has_jobs=False, limit=100_000)
    kinds = frozenset({"torrents", "jobs"})
    return SseSource(context.state, context.life, choice, kinds, since=None, interval_s=0.0)


async def test_event_stream_has_no_line_of_a_name() -> None:
    async with filled() as (scene, _):
        names, events = [], source_of(scene.context).events()
        async for each in events:
            assert each.endswith(b"\n\n")
            lines = each[:-2].split(b"\n")
            assert b"\r" not in each
            fields = dict(line.split(b": ", 1) for line in lines)
            assert len(fields) == len(lines)
            if fields.get(b"event") == b"sync":
                names = [each["name"] for each in strict_json(fields[b"data"])["torrents"].values()]
                break
        await events.aclose()
        assert sorted(names) == sorted(map(shown, scene.names.values()))


LEGACY = {"method": "torrent-get", "arguments": {"fields": ["hashString", "name", "files"]}}
JSON_RPC = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "torrent_get",
    "params": {"fields": ["hash_string", "name", "files", "comment", "magnet_link"]},
}


@pytest.mark.parametrize(
    ("request_body", "result", "key"),
    [(LEGACY, "arguments", "hashString"), (JSON_RPC, "result", "hash_string")],
    ids=["legacy", "JSON-RPC"],
)
async def test_transmission_tells_names_as_text(
    request_body: dict[str, Any], result: str, key: str
) -> None:
    async with filled() as (scene, client):
        path = "/transmission/rpc"
        session_id = (await client.get(path)).headers["x-transmission-session-id"]
        headers = {"X-Transmission-Session-Id": session_id}
        answer = await client.post(path, json=request_body, headers=headers)
        told = strict_json(answer.content)[result]["torrents"]
        assert {each[key]: each["name"] for each in told} == {
            info_hash: shown(name) for info_hash, name in scene.names.items()
        }


async def test_qbittorrents_interface_tells_names_as_text() -> None:
    async with filled() as (scene, client):
        names = {info_hash: shown(name) for info_hash, name in scene.names.items()}
        path = "/api/v2/torrents"
        answer = await client.get(f"{path}/info")
        check_headers(answer)
        assert {each["hash"]: each["name"] for each in strict_json(answer.content)} == names
        answer = await client.get("/api/v2/sync/maindata?rid=0")
        told = strict_json(answer.content)["torrents"]
        assert {info_hash: each["name"] for info_hash, each in told.items()} == names
        for info_hash, name in names.items():
            answer = await client.get(f"{path}/properties?hash={info_hash}")
            assert strict_json(answer.content)["name"] == name
            for what in ("files", "export"):
                answer = await client.get(f"{path}/{what}?hash={info_hash}")
                assert answer.status_code == 200, (what, name)
                check_headers(answer)
                assert what == "export" or strict_json(answer.content)


async def test_playlists_have_two_lines_a_file_and_links_that_lead_to_it() -> None:
    async with filled() as (scene, client):
        assert await check_playlist(client, "/stream/playlist.m3u8") > 0
        for info_hash in scene.names:
            assert await check_playlist(client, f"/stream/{info_hash}/playlist.m3u8") in {0, 1}


async def check_playlist(client: httpx2.AsyncClient, path: str) -> int:
    """Check the playlist at a path; return how many files it has."""
    answer = await client.get(path)
    if answer.status_code == 404:
        return 0
    check_headers(answer)
    text = answer.content.decode("utf-8")
    first, *lines = text.removesuffix("\n").split("\n")
    assert first == "#EXTM3U"
    assert all(line.startswith("#EXTINF:-1,") for line in lines[::2])
    assert all(
        re.fullmatch(r"http://127\.0\.0\.1:9091/stream/[!-~]+", line) for line in lines[1::2]
    )
    assert BREAKS.search("".join(lines)) is None
    return len(lines) // 2


async def test_files_are_sent_with_fields_of_one_line_and_nothing_active() -> None:
    async with filled() as (scene, client):
        for info_hash in scene.names:
            files = (await client.get(f"/api/v1/torrents/{info_hash}/files")).json()["items"]
            for file in files:
                answer = await client.get(file["stream"])
                assert answer.status_code == 200, file
                check_headers(answer)
                assert answer.content == b"12345"
                disposition = answer.headers["content-disposition"]
                kind = answer.headers["content-type"]
                is_active = kind.startswith(("text/html", "image/svg", "text/javascript"))
                assert disposition.startswith("attachment;") or not is_active


async def test_metrics_have_each_name_in_its_label() -> None:
    async with filled() as (scene, client):
        text = (await client.get("/metrics/torrents")).content.decode("utf-8")
        families = list(text_string_to_metric_families(text))
        assert {family.name.partition("_torrent_")[0] for family in families} == {"torrent_engine"}
        names = {
            sample.labels["hash"]: sample.labels["name"]
            for family in families
            for sample in family.samples
        }
        assert names == {key: shown(name) for key, name in scene.names.items()}


def test_log_has_a_line_for_each_record_whatever_is_in_it() -> None:
    formatter = LineFormatter("%(levelname)s %(name)s: %(message)s")
    for raw in NAMES:
        name = raw.decode("utf-8", "surrogateescape")
        record = logging.LogRecord("a", logging.INFO, "", 0, "torrent %s", (name,), None)
        line = formatter.format(record)
        assert line == f"INFO a: torrent {escape_for_terminal(name)}"
        assert BREAKS.search(line) is None
        line.encode("utf-8")


def test_traceback_looks_like_no_record() -> None:
    formatter = LineFormatter("%(levelname)s %(message)s")
    error = ValueError("x\nERROR forged\x1b[2J")
    info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("a", logging.ERROR, "", 0, "failed", (), info)
    first, *others = formatter.format(record).split("\n")
    assert first == "ERROR failed"
    assert all(line.startswith("    ") for line in others)
    assert "\x1b" not in "".join(others)


def test_daemon_logs_with_it(tmp_path: Path) -> None:
    from click import Command, Context

    from torrent_engine.daemon.main import log_to_stderr

    root = logging.getLogger("torrent_engine")
    before, level = list(root.handlers), root.level
    try:
        log_to_stderr(Context(Command(str(tmp_path))), "info")
        [handler] = [each for each in root.handlers if each not in before]
        assert isinstance(handler.formatter, LineFormatter)
    finally:
        root.handlers[:] = before
        root.setLevel(level)
