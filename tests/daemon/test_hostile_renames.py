"""New names of files and folders by all three interfaces, with the engine and real files."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import httpx2
import pytest

from tests.daemon.contexts import client_of, make_context
from tests.support.managers import manager_config
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.daemon.api import adding, torrent_control, torrent_files, torrents
from torrent_engine.daemon.engine_port.manager_port import ManagerPort
from torrent_engine.daemon.qbittorrent import routes as qbittorrent
from torrent_engine.daemon.settings.model import DaemonSettings, QbittorrentSettings
from torrent_engine.daemon.transmission import routes as transmission

pytestmark = pytest.mark.anyio

PARTS = (adding, torrents, torrent_files, torrent_control, qbittorrent, transmission)
FILES = {"a": payload_of(40_000, 1), "sub/b": payload_of(30_000, 2)}
TORRENT, _ = make_torrent(FILES, name="two")
OTHER, _ = make_torrent({"x": payload_of(20_000, 3)}, name="other")
RPC, ID = "/transmission/rpc", "X-Transmission-Session-Id"
BAD = {
    "parent": "..",
    "here": ".",
    "up": "two/../../outside",
    "absolute": "/outside",
    "nul": "two/a\0b",
    "long part": "two/" + "x" * 256,
    "long in bytes": "two/" + "ä" * 128,
    "deep": "two/" + "d/" * 2_000 + "a",
    "line end": "two/a\nb",
    "escape": "two/\x1b[31mred",
    "right to left": "two/\u202egnp.exe",
    "only blanks": "two/   ",
    "nothing": "two//",
    "own file": "two/sub/b",
    "below a file": "two/sub/b/c",
    "of another torrent": "other/x",
    "below a file of another": "other/x/y",
}
Rename = Callable[[httpx2.AsyncClient, str, str], Awaitable[httpx2.Response]]


async def own_file(client: httpx2.AsyncClient, old: str, new: str) -> httpx2.Response:
    path = f"/api/v1/torrents/{TORRENT.info_hash.hex()}/files"
    files = {each["path"]: each["index"] for each in (await client.get(path)).json()["items"]}
    return await client.patch(path, json=[{"index": files[old], "path": new}])


async def own_folder(client: httpx2.AsyncClient, old: str, new: str) -> httpx2.Response:
    path = f"/api/v1/torrents/{TORRENT.info_hash.hex()}/rename"
    return await client.post(path, json={"from": old, "to": new})


async def web_api_file(client: httpx2.AsyncClient, old: str, new: str) -> httpx2.Response:
    form = {"hash": TORRENT.info_hash.hex(), "oldPath": old, "newPath": new}
    return await client.post("/api/v2/torrents/renameFile", data=form)


async def web_api_folder(client: httpx2.AsyncClient, old: str, new: str) -> httpx2.Response:
    form = {"hash": TORRENT.info_hash.hex(), "oldPath": old, "newPath": new}
    return await client.post("/api/v2/torrents/renameFolder", data=form)


async def rpc(client: httpx2.AsyncClient, old: str, new: str) -> httpx2.Response:
    fields = {ID: (await client.post(RPC)).headers[ID]}
    given = {"ids": [TORRENT.info_hash.hex()], "path": old, "name": new}
    body = {"method": "torrent-rename-path", "arguments": given}
    return await client.post(RPC, json=body, headers=fields)


@asynccontextmanager
async def seeding(folder: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """Seed two torrents that have the same save path."""
    settings = replace(DaemonSettings(), qbittorrent=QbittorrentSettings(enabled=True))
    files = folder / "files"
    write(files)
    async with ManagerPort().open(manager_config(folder)) as port:
        engine: Any = SimpleNamespace(port=port)
        context = make_context(engine, settings, roots=[files])
        async with client_of(context, [each.router for each in PARTS]) as client:
            for torrent in (TORRENT, OTHER):
                await add(client, torrent, files)
            with anyio.fail_after(60):
                while not await is_seeding(client):
                    context.state.look(TORRENT.info_hash)
                    context.state.look(OTHER.info_hash)
                    await anyio.sleep(0.02)
            yield client


def write(files: Path) -> None:
    for name, data in {**{f"two/{k}": v for k, v in FILES.items()}, "other/x": OTHER_DATA}.items():
        (files / name).parent.mkdir(parents=True, exist_ok=True)
        (files / name).write_bytes(data)


OTHER_DATA = payload_of(20_000, 3)


async def add(client: httpx2.AsyncClient, torrent: Metainfo, folder: Path) -> None:
    kind = {"Content-Type": "application/x-bittorrent"}
    answer = await client.post(
        "/api/v1/torrents",
        params={"save_path": str(folder)},
        content=torrent.to_bytes(),
        headers=kind,
    )
    assert answer.status_code == 201, answer.text


async def is_seeding(client: httpx2.AsyncClient) -> bool:
    rows = (await client.get("/api/v1/torrents")).json()["items"]
    return [each["status"] for each in rows] == ["seeding", "seeding"]


def files_below(folder: Path) -> dict[str, bytes]:
    found = (each for each in folder.rglob("*") if each.is_file())
    return {str(each.relative_to(folder)): each.read_bytes() for each in found}


async def told_paths(client: httpx2.AsyncClient) -> list[str]:
    path = f"/api/v1/torrents/{TORRENT.info_hash.hex()}/files"
    return [each["path"] for each in (await client.get(path)).json()["items"]]


def is_clean(path: str) -> bool:
    parts = path.split("/")
    return all(
        part not in {"", ".", ".."} and len(part.encode()) <= 255 and part.isprintable()
        for part in parts
    )


async def test_no_new_name_leads_out_or_takes_a_place(tmp_path: Path) -> None:
    files = tmp_path / "files"
    payloads = sorted([*FILES.values(), OTHER_DATA])
    (tmp_path / "outside").mkdir()
    async with seeding(tmp_path) as client:
        for name, new in BAD.items():
            for rename in (own_file, own_folder, web_api_file, web_api_folder, rpc):
                here = (await told_paths(client))[0]
                last = new.rpartition("/")[2] if rename is rpc and new.startswith("two") else new
                answer = await rename(client, here, last)
                assert answer.status_code < 500, (name, rename.__name__, answer.text)
                paths = await told_paths(client)
                assert all(map(is_clean, paths)), (name, rename.__name__, paths)
                found = files_below(files)
                assert sorted(found.values()) == payloads, (name, rename.__name__, found.keys())
                assert found["other/x"] == OTHER_DATA
                assert set(paths) == set(found) - {"other/x"}, (name, rename.__name__)
    assert not list((tmp_path / "outside").iterdir())


@pytest.mark.parametrize("rename", [own_file, own_folder, web_api_file, rpc])
async def test_a_name_may_change_in_its_case_only(tmp_path: Path, rename: Rename) -> None:
    async with seeding(tmp_path) as client:
        answer = await rename(client, "two/a", "A" if rename is rpc else "two/A")
        assert answer.status_code < 400
        assert await told_paths(client) == ["two/A", "two/sub/b"]
    assert files_below(tmp_path / "files")["two/A"] == FILES["a"]
