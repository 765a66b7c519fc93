"""A daemon's application over a fake engine, and a client of it, without a socket."""

import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2

from tests.daemon.fake_port import FakeEngine
from torrent_engine.daemon.app import ROUTERS, RouterMaker, create_app
from torrent_engine.daemon.context import DaemonContext, Life, ReloadReport
from torrent_engine.daemon.security.authentication import Secrets
from torrent_engine.daemon.security.guard import GuardRules
from torrent_engine.daemon.security.lockout import Lockout
from torrent_engine.daemon.security.paths import PathRule
from torrent_engine.daemon.security.records import MemoryCredentials
from torrent_engine.daemon.settings.loading import Places
from torrent_engine.daemon.settings.model import SPECS, DaemonSettings
from torrent_engine.daemon.settings.overlay import MemoryOverlay
from torrent_engine.daemon.settings.store import SettingsStore
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.state.store import DaemonStore
from torrent_engine.daemon.wiring import make_authenticator

TOKEN = "token-of-the-tests"
URL = "http://127.0.0.1:9091"


def settings_store(
    settings: DaemonSettings | None = None, now: Callable[[], float] = time.time
) -> SettingsStore:
    """Return a store of settings without files that has some values."""
    overlay = MemoryOverlay()
    places = Places({"XDG_CONFIG_HOME": "/nonexistent"}, system_file=Path("/nonexistent/a.toml"))
    for key, spec in SPECS.items():
        section, _, name = key.partition(".")
        value = spec.default if settings is None else getattr(getattr(settings, section), name)
        if value != spec.default:
            stored = list(value) if isinstance(value, tuple) else value
            overlay.put(key, {"value": stored, "changed_at": 0.0, "by": "test"})
    return SettingsStore(places, overlay, now=now)


async def nothing_to_reload() -> ReloadReport:
    return ReloadReport()


def make_context(
    engine: FakeEngine,
    settings: DaemonSettings | None = None,
    *,
    now: Callable[[], float] = time.time,
    known: Secrets | None = None,
    lockout: Lockout | None = None,
    rules: GuardRules | None = None,
    roots: Iterable[Path] = (),
) -> DaemonContext:
    """Return a context over a fake engine, of a daemon that runs."""
    authenticator = make_authenticator(
        known or Secrets(TOKEN, "", "", frozenset()), MemoryCredentials(), "key", now=now
    )
    context = DaemonContext(
        port=engine.port,
        settings_store=settings_store(settings, now),
        authenticator=authenticator,
        lockout=Lockout(time.monotonic) if lockout is None else lockout,
        state=DaemonState(engine.port, DaemonStore()),
        life=Life(nothing_to_reload),
        rules=rules or GuardRules(),
        paths=PathRule(lambda: roots),
        state_dir=Path("/nonexistent/state"),
    )
    context.life.running()
    return context


@asynccontextmanager
async def client_of(
    context: DaemonContext, routers: Sequence[RouterMaker] = ROUTERS, *, token: str | None = TOKEN
) -> AsyncIterator[httpx2.AsyncClient]:
    """Connect a client to the application of a context, whose rows are brought up to date."""
    await context.state.reload()
    transport = httpx2.ASGITransport(create_app(context, routers), client=("127.0.0.1", 40_000))
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(context.errands.run)
        async with httpx2.AsyncClient(transport=transport, base_url=URL, headers=headers) as client:
            yield client
        tasks.cancel_scope.cancel()
