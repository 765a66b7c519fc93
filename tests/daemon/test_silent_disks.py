"""Disks that do not answer: requests about them are refused in time, and others are answered."""

import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from tests.daemon.contexts import client_of, make_context
from tests.daemon.fake_port import FakeEngine
from torrent_engine.daemon.api import adding, categories, health, settings
from torrent_engine.daemon.qbittorrent import routes as qbittorrent
from torrent_engine.daemon.security import paths
from torrent_engine.daemon.security.paths import PathRule
from torrent_engine.daemon.settings.model import DaemonSettings, QbittorrentSettings
from torrent_engine.daemon.transmission import routes as transmission
from torrent_engine.service.folder_looks import FolderLooks

pytestmark = pytest.mark.anyio

SILENT, FINE = "/silent", "/fine"
ROUTERS = [
    each.router for each in (adding, categories, health, settings, transmission, qbittorrent)
]
SAID = "does not answer"
MAGNET = f"magnet:?xt=urn:btih:{'1' * 40}"
Asked = Callable[[httpx2.AsyncClient, str], Any]


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let calls about one folder wait until the event is set."""
    answer = threading.Event()

    def patch(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def wait(path: Any, *others: Any, **named: Any) -> Any:
            if str(path).startswith(SILENT):
                answer.wait()
            return real(path, *others, **named)

        monkeypatch.setattr(owner, name, wait)

    patch(paths, "_resolved")
    patch(shutil, "disk_usage")
    patch(health, "existing_parent")
    yield answer
    answer.set()


@pytest.fixture
async def client(silence: threading.Event) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_with(FolderLooks(0.5)) as made:
        yield made


@asynccontextmanager
async def client_with(looks: FolderLooks) -> AsyncIterator[httpx2.AsyncClient]:
    chosen = replace(DaemonSettings(), qbittorrent=QbittorrentSettings(enabled=True))
    context = make_context(FakeEngine(), chosen)
    context.paths = PathRule(lambda: [SILENT, FINE], looks)
    async with client_of(context, ROUTERS) as made:
        yield made


async def own_add(client: httpx2.AsyncClient, folder: str) -> httpx2.Response:
    given = {"source": MAGNET, "save_path": folder}
    return await client.post("/api/v1/torrents", json=given)


async def own_category(client: httpx2.AsyncClient, folder: str) -> httpx2.Response:
    return await client.put("/api/v1/categories/films", json={"save_path": folder})


async def own_folders(client: httpx2.AsyncClient, folder: str) -> httpx2.Response:
    return await client.get("/api/v1/paths", params={"path": folder})


async def own_setting(client: httpx2.AsyncClient, folder: str) -> httpx2.Response:
    return await client.patch("/api/v1/settings", json={"paths.incomplete": folder})


async def web_api_add(client: httpx2.AsyncClient, folder: str) -> httpx2.Response:
    form = {"urls": MAGNET, "savepath": folder}
    return await client.post("/api/v2/torrents/add", data=form)


async def web_api_setting(client: httpx2.AsyncClient, folder: str) -> httpx2.Response:
    form = {"json": f'{{"save_path": "{folder}"}}'}
    return await client.post("/api/v2/app/setPreferences", data=form)


@pytest.mark.parametrize(
    "ask", [own_add, own_category, own_folders, own_setting, web_api_add, web_api_setting]
)
async def test_request_about_a_silent_disk_is_refused_in_time(
    client: httpx2.AsyncClient, ask: Asked
) -> None:
    answer = await ask(client, f"{SILENT}/films")
    assert answer.status_code == 504
    if "/api/v1/" in str(answer.url):
        assert answer.json()["code"] == "disk_timeout"
    assert SAID in answer.text


CALLS: Mapping[str, Mapping[str, Any]] = {
    "torrent-add": {"filename": MAGNET, "download-dir": f"{SILENT}/films"},
    "torrent-set-location": {"ids": [], "location": f"{SILENT}/films", "move": True},
    "session-set": {"download-dir": f"{SILENT}/films"},
    "free-space": {"path": f"{SILENT}/films"},
}


@pytest.mark.parametrize("method", CALLS)
async def test_call_of_transmission_about_a_silent_disk_is_refused_in_time(
    client: httpx2.AsyncClient, method: str
) -> None:
    told = await rpc(client, method, CALLS[method])
    assert SAID in told["result"]


async def rpc(client: httpx2.AsyncClient, method: str, arguments: Mapping[str, Any]) -> Any:
    path, name = "/transmission/rpc", "X-Transmission-Session-Id"
    fields = {name: (await client.post(path)).headers[name]}
    body = {"method": method, "arguments": arguments}
    return (await client.post(path, json=body, headers=fields)).json()


async def test_others_are_answered_while_a_disk_is_silent(silence: threading.Event) -> None:
    waiting = [False]

    async def ask(client: httpx2.AsyncClient) -> None:
        waiting[0] = True
        assert (await own_add(client, f"{SILENT}/films")).status_code == 201
        waiting[0] = False

    with anyio.fail_after(120):
        async with client_with(FolderLooks(60)) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(ask, client)
            await anyio.wait_all_tasks_blocked()
            assert (await own_category(client, f"{FINE}/films")).status_code == 201
            assert waiting[0]
            silence.set()


async def test_health_tells_the_other_disks(client: httpx2.AsyncClient) -> None:
    told = (await client.get("/api/v1/health")).json()
    disks = {each["path"]: each["free_bytes"] for each in told["disks"]}
    assert disks[SILENT] is None
    assert disks[FINE] > 0


async def test_roots_are_told_without_their_disks(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/api/v1/paths")).json()["roots"] == [SILENT, FINE]


def test_a_path_below_one_folder_does_not_wait_for_another(tmp_path: Path) -> None:
    """The thread asks the folder first that a path is below by its name."""
    asked: list[str] = []

    def real(path: Path) -> Path:
        asked.append(str(path))
        return path

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(paths, "_resolved", real)
        rule = PathRule(lambda: [SILENT, FINE])
        assert rule.allows_now(f"{FINE}/films")
    assert asked == [f"{FINE}/films", FINE]
