"""The protocol over a fake engine, without HTTP: bodies of requests in, values out."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.daemon.fake_port import FakeEngine
from torrent_engine.base.errors import ConfigError
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.security.paths import PathRule
from torrent_engine.daemon.security.principals import ALL_SCOPES, Scope
from torrent_engine.daemon.settings.model import SPECS, DaemonSettings
from torrent_engine.daemon.settings.tables import TableSettings
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.state.store import DaemonStore
from torrent_engine.daemon.transmission.assembly import DaemonParts, make_rpc
from torrent_engine.daemon.transmission.session_ids import SessionIds

LEGACY, JSON_RPC = "legacy", "json_rpc"


class SettingsInMemory:
    """Settings as interfaces change them."""

    def __init__(self) -> None:
        self.now = replace(
            DaemonSettings(), paths=replace(DaemonSettings().paths, download="/downloads")
        )
        self.tables = TableSettings()
        self.changes: list[dict[str, Any]] = []
        self.pinned: set[str] = set()

    def change(self, values: Mapping[str, Any], by: str) -> None:
        if self.pinned & values.keys():
            raise ConfigError(f"{min(self.pinned)}: is given by the environment")
        for key, value in values.items():
            section, _, name = key.partition(".")
            changed = replace(getattr(self.now, section), **{name: SPECS[key].read(value)})
            self.now = replace(self.now, **{section: changed})
        self.changes.append({**values, "by": by})


class RpcScene:
    """What is asked goes through :meth:`ask` (older dialect) or :meth:`call` (JSON-RPC)."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.now_s = 1_000.0
        self.state = DaemonState(
            self.engine.port,
            DaemonStore(),
            clock=lambda: self.now_s,
            wall_clock=lambda: self.engine.now_at,
        )
        self.engine.listeners.append(self._take)
        self.settings = SettingsInMemory()
        self.roots = ["/downloads", "/other"]
        self.background: list[Callable[[], Awaitable[object]]] = []
        self.stops = 0
        self.parts = DaemonParts(
            self.engine.port,
            self.state,
            self.settings,
            PathRule(lambda: self.roots),
            lambda _name, work: self.background.append(work),
            self._stop,
            Path("/state"),
            clock=lambda: self.now_s,
            wall_clock=lambda: self.engine.now_at,
        )
        self.rpc = make_rpc(self.parts, SessionIds(lambda: self.now_s))

    def again(self, **parts: Any) -> "RpcScene":
        """Put the protocol together anew, with other parts."""
        self.parts = replace(self.parts, **parts)
        self.rpc = make_rpc(self.parts, SessionIds(lambda: self.now_s))
        return self

    def _take(self, notice: Any) -> None:
        if (info_hash := getattr(notice, "info_hash", None)) is not None:
            self.state.look(info_hash)

    def _stop(self) -> None:
        self.stops += 1

    def put(self, info_hash: InfoHash | None = None, **facts: Any) -> InfoHash:
        """Add a torrent to the engine, and to the rows."""
        info_hash = self.engine.put(info_hash, **facts)
        self.state.look(info_hash)
        return info_hash

    def id(self, info_hash: InfoHash) -> int:
        return self.state.ids.give(info_hash)

    async def send(self, value: Any, scopes: frozenset[Scope] = ALL_SCOPES) -> Any:
        """Send JSON, or a body as it is; return the answer, None if there is none."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        answer = await self.rpc.answer(body, scopes)
        return None if answer is None else json.loads(answer)

    async def ask(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Return the arguments of a successful answer in the older dialect."""
        answer = await self.send({"method": method, "arguments": _kebab(arguments)})
        assert answer["result"] == "success", answer["result"]
        found: dict[str, Any] = answer["arguments"]
        return found

    async def refused(self, method: str, **arguments: Any) -> str:
        """Return the text of an answer that is an error, in the older dialect."""
        answer = await self.send({"method": method, "arguments": _kebab(arguments)})
        assert answer["result"] != "success"
        text: str = answer["result"]
        return text

    async def call(self, method: str, **params: Any) -> Any:
        """Return the result of a successful JSON-RPC call."""
        answer = await self.send({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        return answer["result"]

    async def error(self, method: str, **params: Any) -> dict[str, Any]:
        """Return the error of a JSON-RPC call."""
        answer = await self.send({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        found: dict[str, Any] = answer["error"]
        return found

    async def field(self, name: str, info_hash: InfoHash) -> Any:
        """Return one field of a torrent."""
        result = await self.call("torrent_get", fields=[name], ids=[info_hash.hex()])
        return result["torrents"][0][name]


def _kebab(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "-"): value for name, value in arguments.items()}
