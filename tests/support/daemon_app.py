"""The daemon's application without a server, an engine or files: requests are function calls."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from fastapi import APIRouter

from tests.daemon.contexts import make_context
from tests.daemon.fake_port import FakeEngine
from torrent_engine.daemon.app import ROUTERS, DaemonApp, RouterMaker, create_app
from torrent_engine.daemon.context import DaemonContext
from torrent_engine.daemon.security.authentication import Secrets
from torrent_engine.daemon.security.guard import GuardRules
from torrent_engine.daemon.security.lockout import Lockout
from torrent_engine.daemon.settings.model import DaemonSettings

TOKEN = "t" * 43


@dataclass
class Clock:
    """A clock that a test moves."""

    now_s: float = 1_000_000.0

    slept_s: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        """Note a pause, and let the time pass."""
        self.slept_s.append(seconds)
        self.now_s += seconds


@dataclass
class AppAnswer:
    """What an application answered."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        found = [value for each, value in self.headers if each == name]
        assert len(found) <= 1, f"{name} is there {len(found)} times"
        return found[0] if found else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem."""
        assert self.header("content-type") == "application/problem+json"
        assert self.json["status"] == self.status
        assert self.json["type"] == f"/problems/{self.json['code']}"
        return str(self.json["code"])


@dataclass
class AppClient:
    """Asks an application as a server does that was asked by a client."""

    app: DaemonApp
    context: DaemonContext
    clock: Clock
    headers: dict[str, str] = field(default_factory=dict)
    """Sent with every request."""
    host: str = "127.0.0.1:9091"
    client: tuple[str, int] | None = ("127.0.0.1", 50_000)
    scheme: str = "http"
    uid: int | None = None

    def bearer(self, token: str = TOKEN) -> "AppClient":
        """Return a client with a token."""
        return self.having(authorization=f"Bearer {token}")

    def having(self, **headers: str) -> "AppClient":
        """Return a client that sends further fields."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        kept = self.headers | more
        return AppClient(
            self.app, self.context, self.clock, kept, self.host, self.client, self.scheme, self.uid
        )

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        json_body: object = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    ) -> AppAnswer:
        """Return the answer to a request."""
        pairs = [("host", self.host), *self.headers.items()]
        pairs += headers.items() if isinstance(headers, Mapping) else headers
        if json_body is not None:
            body = json.dumps(json_body).encode()
            pairs.append(("content-type", "application/json"))
        if body:
            pairs.append(("content-length", str(len(body))))
        raw_path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "server": ("127.0.0.1", 9091),
            "client": self.client,
            "scheme": self.scheme,
            "method": method,
            "root_path": "",
            "path": unquote(raw_path),
            "raw_path": quote(raw_path, safe="/%").encode(),
            "query_string": query.encode(),
            "headers": [(n.lower().encode(), v.encode("latin-1")) for n, v in pairs],
            "state": {},
            "extensions": {"te.peer_uid": self.uid, "te.listener": "test"},
        }
        return await _ask(self.app, scope, body)


async def _ask(app: DaemonApp, scope: dict[str, Any], body: bytes) -> AppAnswer:
    waiting = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *parts = sent
    assert start["type"] == "http.response.start"
    assert not parts[-1].get("more_body", False)
    headers = [(name.decode(), value.decode("latin-1")) for name, value in start["headers"]]
    return AppAnswer(start["status"], headers, b"".join(part.get("body", b"") for part in parts))


def make_client(
    *,
    routers: Iterable[RouterMaker] = ROUTERS,
    extra: APIRouter | None = None,
    settings: DaemonSettings | None = None,
    rules: GuardRules | None = None,
    password_hash: str = "",
    user: str = "",
    roots: Iterable[Path] = (),
) -> AppClient:
    """Return a client of an application that runs; ``extra`` are routes of the test."""
    clock = Clock()
    context = make_context(
        FakeEngine(),
        settings,
        now=clock,
        known=Secrets(TOKEN, password_hash, user, frozenset({os.geteuid()})),
        lockout=Lockout(clock, clock.sleep),
        rules=rules,
        roots=tuple(roots),
    )
    made = [*routers, *([lambda _: extra] if extra is not None else [])]
    return AppClient(create_app(context, made), context, clock)
