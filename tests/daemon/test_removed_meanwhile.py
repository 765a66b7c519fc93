"""Answers that are made in a thread while their torrent is removed or moved."""

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest

from tests.daemon.contexts import client_of, make_context
from tests.support.managers import manager_config
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.daemon.api import adding, torrent_control, torrent_files, torrents
from torrent_engine.daemon.engine_port.manager_port import ManagerPort
from torrent_engine.daemon.qbittorrent import routes as qbittorrent
from torrent_engine.daemon.settings.model import DaemonSettings, QbittorrentSettings
from torrent_engine.daemon.transmission import routes as transmission

pytestmark = pytest.mark.anyio

PARTS = (adding, torrents, torrent_files, torrent_control, qbittorrent, transmission)
ROUTERS = [each.router for each in PARTS]
TORRENT, _ = make_torrent({"a": payload_of(40_000, 1), "b": payload_of(30_000, 2)}, name="two")
HASH = TORRENT.info_hash.hex()
PATHS = {
    "files": f"/api/v1/torrents/{HASH}/files",
    "torrent file": f"/api/v1/torrents/{HASH}/torrent_file",
    "files of qBittorrent": f"/api/v2/torrents/files?hash={HASH}",
    "export of qBittorrent": f"/api/v2/torrents/export?hash={HASH}",
}


class Gate:
    """Holds up a worker thread."""

    def __init__(self) -> None:
        self.is_reached, self._opened = threading.Event(), threading.Event()
        self._closed = False

    def close(self) -> None:
        """Let the next thread wait."""
        self._closed = True

    def open(self) -> None:
        """Let it go on."""
        self._opened.set()

    def pass_through(self) -> None:
        """Wait, in the first worker thread that comes, until the gate is opened."""
        if self._closed and threading.current_thread() is not threading.main_thread():
            self._closed = False
            self.is_reached.set()
            self._opened.wait()

    @asynccontextmanager
    async def reached(self) -> AsyncIterator[None]:
        """Wait until a thread waits, and let it go on at the end of the block."""
        try:
            with anyio.fail_after(60):
                while not self.is_reached.is_set():  # noqa: ASYNC110 - a thread tells nobody
                    await anyio.sleep(0.005)
            yield
        finally:
            self.open()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Hold up the threads in which the engine's port reads torrents."""
    made, real = Gate(), anyio.to_thread.run_sync

    async def run_sync(work: Any, *arguments: Any, **options: Any) -> Any:
        def gated() -> Any:
            if ManagerPort.__module__.rpartition(".")[0] in str(getattr(work, "__module__", "")):
                made.pass_through()
            return work(*arguments)

        return await real(gated, **options)

    monkeypatch.setattr(anyio.to_thread, "run_sync", run_sync)
    monkeypatch.setattr("torrent_engine.daemon.engine_port.reading.FEW_FILES", 0)
    yield made
    made.open()


@pytest.fixture
async def client(gate: Gate, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    settings = replace(DaemonSettings(), qbittorrent=QbittorrentSettings(enabled=True))
    async with ManagerPort().open(manager_config(tmp_path)) as port:
        engine: Any = SimpleNamespace(port=port)
        context = make_context(engine, settings, roots=[tmp_path])
        async with client_of(context, ROUTERS) as made:
            answer = await made.post(
                "/api/v1/torrents?paused=true",
                content=TORRENT.to_bytes(),
                headers={"Content-Type": "application/x-bittorrent"},
            )
            assert answer.status_code == 201
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(context.state.run)  # tells of a move that ends after its answer
                yield made
                tasks.cancel_scope.cancel()


async def ask(client: httpx2.AsyncClient, path: str, found: list[httpx2.Response]) -> None:
    found.append(await client.get(path))


@pytest.mark.parametrize("name", PATHS)
async def test_answer_that_waits_while_its_torrent_is_removed_is_a_404(
    client: httpx2.AsyncClient, gate: Gate, name: str
) -> None:
    found: list[httpx2.Response] = []
    gate.close()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, client, PATHS[name], found)
        async with gate.reached():
            removed = await client.delete(f"/api/v1/torrents/{HASH}?delete_files=true")
        assert removed.status_code in {200, 204}
    assert found[0].status_code == 404
    assert HASH not in (await client.get("/api/v1/torrents")).text


async def test_rows_that_wait_while_their_torrent_is_removed_leave_it_out(
    client: httpx2.AsyncClient, gate: Gate
) -> None:
    told: list[Any] = []

    async def call() -> None:
        path, name = "/transmission/rpc", "X-Transmission-Session-Id"
        fields = {name: (await client.post(path)).headers[name]}
        body = {"method": "torrent-get", "arguments": {"fields": ["id", "files"]}}
        told.append((await client.post(path, json=body, headers=fields)).json())

    gate.close()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        async with gate.reached():
            await client.delete(f"/api/v1/torrents/{HASH}")
    assert told[0]["result"] == "success"
    assert told[0]["arguments"]["torrents"] == []


async def save_path_of(client: httpx2.AsyncClient) -> str:
    return (await client.get(f"/api/v1/torrents/{HASH}")).json()["save_path"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", PATHS)
async def test_answer_that_waits_while_its_torrent_is_moved_is_given(
    client: httpx2.AsyncClient, gate: Gate, name: str, tmp_path: Path
) -> None:
    found: list[httpx2.Response] = []
    gate.close()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, client, PATHS[name], found)
        async with gate.reached():
            body = {"path": str(tmp_path / "elsewhere")}
            moved = await client.post(f"/api/v1/torrents/{HASH}/move", json=body)
        assert moved.status_code in {200, 202}  # 202: it takes longer on a busy machine
    assert found[0].status_code == 200
    with anyio.fail_after(30):
        while await save_path_of(client) != str(tmp_path / "elsewhere"):  # noqa: ASYNC110
            await anyio.sleep(0.01)


async def test_move_that_is_answered_before_it_begins_is_made(
    client: httpx2.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torrent_files, "MOVE_WAIT_S", 0.0)
    target = str(tmp_path / "elsewhere")
    moved = await client.post(f"/api/v1/torrents/{HASH}/move", json={"path": target})
    assert moved.status_code == 202
    with anyio.fail_after(30):
        while await save_path_of(client) != target:  # noqa: ASYNC110
            await anyio.sleep(0.01)
