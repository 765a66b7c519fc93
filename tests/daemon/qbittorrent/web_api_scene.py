"""The interface over a fake engine, by HTTP without a socket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import httpx2

from tests.daemon.contexts import TOKEN, client_of, make_context
from tests.daemon.fake_port import FakeEngine
from tests.support.torrents import make_torrent
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.daemon.qbittorrent.routes import router
from torrent_engine.daemon.settings.model import (
    DaemonSettings,
    PathSettings,
    QbittorrentSettings,
)

TRACKER = "https://tracker.example/announce/0123456789abcdef0123"
MAGNET_HASH = "0123456789abcdef0123456789abcdef01234567"
MAGNET = f"magnet:?xt=urn:btih:{MAGNET_HASH}&dn=linked"
NO_HASH = "f" * 40
ON = QbittorrentSettings(enabled=True)


class WebApiScene:
    """What is asked goes through :meth:`get` and :meth:`post`; paths are below ``/api/v2``."""

    client: httpx2.AsyncClient
    """Inside of :meth:`open`."""

    def __init__(self, **sections: Any) -> None:
        self.engine = FakeEngine()
        paths = PathSettings(download="/downloads")
        sections = {"qbittorrent": ON, "paths": paths, **sections}
        settings = replace(DaemonSettings(), **sections)
        roots = [Path("/downloads"), Path("/other")]
        self.context = make_context(self.engine, settings, roots=roots)
        self.engine.listeners.append(self._take)

    def _take(self, notice: Any) -> None:
        if (info_hash := getattr(notice, "info_hash", None)) is not None:
            self.context.state.look(info_hash)

    @asynccontextmanager
    async def open(self, token: str | None = TOKEN) -> AsyncIterator["WebApiScene"]:
        """Answer requests until the end of the block; with a token, or without a credential."""
        async with (
            client_of(self.context, [router], token=token) as self.client,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(self.context.errands.run)
            await anyio.lowlevel.checkpoint()
            yield self
            tasks.cancel_scope.cancel()

    # -- torrents ---------------------------------------------------------------------------------

    def put(self, name: str = "root", **facts: Any) -> InfoHash:
        """Add a torrent of two files to the engine."""
        return self.engine.put(metainfo=torrent_of(name), **facts)

    # -- requests ---------------------------------------------------------------------------------

    async def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        return await self.client.request(method, f"/api/v2/{path}", **options)

    async def get(self, path: str, **params: Any) -> Any:
        """Return the JSON of an answer to a GET."""
        answer = await self.ask("GET", path, params=params)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        assert answer.headers["content-type"] == "application/json"
        return answer.json()

    async def text(self, path: str, **params: Any) -> str:
        """Return the text of an answer to a GET."""
        answer = await self.ask("GET", path, params=params)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        assert answer.headers["content-type"].startswith("text/plain")
        return str(answer.text)

    async def post(self, path: str, **data: Any) -> str:
        """Return the text of an answer to a form."""
        answer = await self.ask("POST", path, data=data)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        return str(answer.text)

    async def refused(self, path: str, **data: Any) -> int:
        """Return the status of an answer to a form that cannot be done; it says why."""
        answer = await self.ask("POST", path, data=data)
        assert answer.status_code >= 400, (path, answer.text)
        assert answer.headers["content-type"].startswith("text/plain")
        return int(answer.status_code)

    async def torrent(self, info_hash: InfoHash) -> dict[str, Any]:
        """Return a torrent of the list."""
        found = await self.get("torrents/info", hashes=info_hash.hex())
        assert len(found) == 1
        return dict(found[0])


def torrent_of(name: str = "root", **options: Any) -> Metainfo:
    """Return a torrent with two files and a tracker."""
    files = {"a.mkv": name.encode() * 50_000, "sub/b.txt": b"2"}
    return make_torrent(files, name=name, tiers=[[TRACKER]], **options)[0]
