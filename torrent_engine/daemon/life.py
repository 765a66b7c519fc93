"""The life of the daemon: its root task group, from the first listener to the last torrent."""

import logging
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
from anyio.to_thread import run_sync

from torrent_engine.base.collector import paused_collector
from torrent_engine.base.errors import ClosedError, ConfigError, TorrentEngineError
from torrent_engine.daemon.app import create_app
from torrent_engine.daemon.context import DaemonContext, Life, ReloadReport
from torrent_engine.daemon.engine_port.manager_port import ManagerPort
from torrent_engine.daemon.http.notify import Notifier
from torrent_engine.daemon.http.server import HttpServer, open_server
from torrent_engine.daemon.jobs.background import Background, block_lists, list_files
from torrent_engine.daemon.listeners import (
    ListenerCertificates,
    bind_listeners,
    listen_places,
    where_served,
)
from torrent_engine.daemon.live_settings import apply_live
from torrent_engine.daemon.security.lockout import Lockout
from torrent_engine.daemon.security.paths import PathRule
from torrent_engine.daemon.security.token_file import read_or_make_token
from torrent_engine.daemon.settings.engine_config import filter_files, manager_config
from torrent_engine.daemon.settings.store import SettingsChange, SettingsStore
from torrent_engine.daemon.settings_check import check_settings
from torrent_engine.daemon.state.credentials import StoredCredentials
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.state.store import DaemonStore
from torrent_engine.daemon.wiring import (
    allowed_folders,
    guard_rules,
    link_key,
    listener_rules,
    make_authenticator,
    refuse_second_process,
    secrets_of,
)
from torrent_engine.service.loop import handle_signals
from torrent_engine.service.system import HAS_SIGNALS

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

    from torrent_engine.daemon.settings.loading import Places

logger = logging.getLogger(__name__)
STOP_LIMIT_S: Final = 60.0  # ours: thousands of torrents are saved within this
UNFINISHED: Final = 7  # the exit code of a stop that was cut short
STATUS_INTERVAL_S: Final = 10.0
FILTER_SWITCH: Final = "network.ip_filter_enabled"
CERTIFICATE_INTERVAL_S: Final = 30.0  # ours: between two looks at the files of the certificate


@dataclass(frozen=True, slots=True)
class DaemonOptions:
    """What a daemon is started with."""

    places: "Places"
    state_dir: Path
    credentials: Path | None = None
    """Folder with secrets that systemd passes."""
    passed_sockets: Mapping[str, socket.socket] = field(default_factory=dict)
    """Sockets that systemd passes, by name."""


class Daemon:
    """One daemon: everything that it opens is closed when :meth:`run` returns."""

    def __init__(
        self, options: DaemonOptions, notifier: Notifier, tell: Callable[[str], None]
    ) -> None:
        """``tell`` shows a line to who started it."""
        self._options = options
        self._notifier = notifier
        self._tell = tell
        self._ports = ManagerPort()
        self._scope: anyio.CancelScope | None = None
        self._context: DaemonContext | None = None
        self._certificates: ListenerCertificates | None = None

    async def run(self) -> None:
        """Run until SIGTERM, SIGINT or a request to stop; a second signal ends at once.

        Raises ConfigError, StateInUseError, StateDatabaseError or NetworkError if it cannot start.
        """
        folder = self._options.state_dir
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        refuse_second_process(folder)
        async with anyio.create_task_group() as root:
            await root.start(handle_signals, self._stop, lambda: UNFINISHED, STOP_LIMIT_S)
            with anyio.CancelScope() as self._scope:
                async with DaemonStore.open(folder) as store:
                    await self._serve(store)
            root.cancel_scope.cancel()

    async def _serve(self, store: DaemonStore) -> None:
        """Answer requests, and run engines, until the daemon stops."""
        context = self._context = await self._make_context(store)
        with context.log.attached():
            await self._serve_with(context)

    async def _serve_with(self, context: DaemonContext) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(context.state.run)
            await tasks.start(self._handle_hangup, context)
            tasks.start_soon(self._watch_certificate, context)
            tasks.start_soon(self._send_signs, context.life)
            async with self._served(context) as server:
                await self._run_engines(context, server)
            tasks.cancel_scope.cancel()

    async def _make_context(self, store: DaemonStore) -> DaemonContext:
        folder = self._options.state_dir
        settings = SettingsStore(
            self._options.places,
            store.table("settings_overlay"),
            now=time.time,
            check=lambda merged: check_settings(merged, folder),
        )
        places = listen_places(settings.merged)
        self._certificates = ListenerCertificates(places, settings.now, folder)
        token, is_new = read_or_make_token(folder, self._options.credentials)
        known = await run_sync(secrets_of, settings.now, token, self._options.credentials)
        if is_new and known.password_hash:  # who knows it needs no secret in the log
            self._tell("the password lets in; so does the token, see `torrent-engine daemon token`")
        elif is_new:
            self._tell(f"token: {token}")
        authenticator = make_authenticator(known, StoredCredentials(store), link_key(folder))
        life = Life(self._reload)
        context = DaemonContext(
            port=self._ports.port,
            settings_store=settings,
            authenticator=authenticator,
            lockout=Lockout(time.monotonic),
            state=DaemonState(self._ports.port, store, epoch=life.epoch),
            life=life,
            rules=guard_rules(settings.now),
            listen_places=places,
            listener_rules=listener_rules(settings.now, places),
            paths=PathRule(lambda: allowed_folders(settings)),
            state_dir=folder,
        )
        settings.listen(lambda change: self._take_settings(context, change))
        context.state.labels.configure(settings.tables.category)
        return context

    @asynccontextmanager
    async def _served(self, context: DaemonContext) -> AsyncIterator[HttpServer]:
        """Answer requests until the block ends, with 503 before the engine runs."""
        passed = self._options.passed_sockets
        folder = self._options.state_dir
        contexts = {} if self._certificates is None else self._certificates.contexts
        listeners = bind_listeners(context.listen_places, folder, contexts, passed)
        async with AsyncExitStack() as stack:
            for listener in listeners:
                stack.callback(listener.close)
            shown = [str(listener) for listener in listeners]
            with paused_collector():
                app = create_app(context)
            server = await stack.enter_async_context(open_server(app, listeners))
            context.connections = lambda: server.connections
            context.life.listeners = tuple(shown)
            context.life.interfaces = where_served(context.listen_places, listeners)
            for address in shown:
                self._tell(f"listening on {address}")
            yield server

    async def _run_engines(self, context: DaemonContext, server: HttpServer) -> None:
        """Open the engine, and again after each soft restart, until the daemon stops."""
        life = context.life
        while not life.stopping.is_set():
            life.starting()
            merged = context.settings_store.merged
            tables = merged.tables.blocklist
            folder = self._options.state_dir / "blocklists"
            lists = await run_sync(
                block_lists, tables, context.port.engine, folder, context.state.list_failed
            )
            files = (*list_files(tables), *lists.paths)
            config = manager_config(merged.settings, self._options.state_dir, files)
            async with self._ports.open(config), anyio.create_task_group() as parts:
                context.state.counters.engine_starts += 1
                await context.state.reload()
                for tell in context.on_open:
                    tell()
                context.background = background = Background(context.state, merged, lists)
                parts.start_soon(background.run)
                parts.start_soon(context.errands.run)
                life.running()
                self._notifier.ready(self._status())
                await life.interrupted.wait()
                if life.stopping.is_set():
                    self._notifier.stopping()
                    async with anyio.create_task_group() as ends:
                        ends.start_soon(background.stopping)
                        await server.stop()
                parts.cancel_scope.cancel()

    async def _send_signs(self, life: Life) -> None:
        """Report to the service manager; a long start or stop is given the time that it takes."""
        await self._notifier.run(
            self._status, STATUS_INTERVAL_S, is_underway=lambda: life.phase != "running"
        )

    def _status(self) -> str:
        """Return one line for the service manager."""
        context = self._context
        if context is None or context.life.phase != "running":
            return "starting" if context is None else context.life.phase
        try:
            totals = context.port.engine.totals()
        except ClosedError:
            return "starting"
        rate = totals.download_bytes_per_s / 1_000_000
        return f"{totals.torrents} torrents, {rate:.1f} MB/s"

    # -- settings ---------------------------------------------------------------------------

    async def _reload(self) -> ReloadReport:
        """Read settings, certificate and address lists again. Raises ConfigError."""
        context = self._context
        if context is None:
            return ReloadReport()
        self._notifier.reloading()
        try:
            change = context.settings_store.reload()
            if self._certificates is not None:
                await run_sync(self._certificates.load, context.settings())
            self._read_lists(context)
        finally:
            self._notifier.ready(self._status())
        return ReloadReport(sorted(change.live | change.restart), sorted(change.process))

    async def _watch_certificate(self, context: DaemonContext) -> None:
        """Take a certificate that was renewed; one that is wrong is logged, and not taken."""
        certificates = self._certificates
        if certificates is None or not certificates.contexts:
            return
        known = await run_sync(certificates.times, context.settings())
        while True:
            await anyio.sleep(CERTIFICATE_INTERVAL_S)
            try:
                times = await run_sync(certificates.times, context.settings())
                if times == known:
                    continue
                known = times
                await run_sync(certificates.load, context.settings())
            except (ConfigError, OSError, RuntimeError, MemoryError) as error:  # or no thread
                logger.warning("the certificate was not read again: %s", error)
            else:
                logger.info("the certificate was read again")

    def _take_settings(self, context: DaemonContext, change: SettingsChange) -> None:
        """Let changed settings take effect."""
        settings = context.settings()
        context.rules = guard_rules(settings)
        context.state.labels.configure(context.settings_store.tables.category)
        context.listener_rules = listener_rules(settings, context.listen_places)
        auth = context.authenticator.secrets
        known = secrets_of(settings, auth.token, self._options.credentials)
        auth.password_hash, auth.user = known.password_hash, known.user
        auth.socket_users = known.socket_users
        logging.getLogger("torrent_engine").setLevel(settings.log.level.upper())
        if context.background is not None:
            context.background.change(context.settings_store.merged)
        with suppress(ClosedError):  # the engine opens with them
            apply_live(context.port, settings, change)
        if FILTER_SWITCH in change.live:
            self._read_lists(context)
        if change.process:
            logger.warning("takes effect at the next start: %s", ", ".join(sorted(change.process)))
        if change.restart:
            context.life.restart_engine()

    def _read_lists(self, context: DaemonContext) -> None:
        """Let the lists of addresses hold as settings and files are now; errors are announced."""

        async def read() -> None:
            try:
                await context.port.engine.reload_ip_filter(_filter_files(context))
            except ClosedError:
                return  # the engine opens with them
            except TorrentEngineError as error:
                context.state.list_failed("", f"not loaded: {error}")
                raise

        with suppress(ClosedError):
            context.errands.start("lists of addresses", read)

    # -- signals ----------------------------------------------------------------------------

    async def _stop(self) -> None:
        """Stop in order; at once if the engine is not open yet."""
        if self._context is None:
            if self._scope is not None:
                self._scope.cancel()
            return
        was_starting = self._context.life.phase == "starting"
        self._context.life.stop()
        if was_starting and self._scope is not None:
            self._scope.cancel()

    async def _handle_hangup(
        self, context: DaemonContext, *, task_status: "TaskStatus[None]"
    ) -> None:
        """Read the settings again on SIGHUP; what is wrong with them is logged."""
        if not HAS_SIGNALS:
            task_status.started()
            return
        with anyio.open_signal_receiver(signal.SIGHUP) as signals:
            task_status.started()
            async for _ in signals:
                try:
                    report = await context.life.reload()
                except ConfigError as error:
                    logger.warning("settings were not read again: %s", error)
                else:
                    logger.info("settings were read again: %s", ", ".join(report.changed) or "same")


def _filter_files(context: DaemonContext) -> tuple[str, ...]:
    background = context.background
    fetched = () if background is None else background.lists.paths
    named = list_files(context.settings_store.tables.blocklist)
    return filter_files(context.settings().network, (*named, *fetched))
