"""What all interfaces of one daemon share."""

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import anyio

from torrent_engine.daemon.engine_port.port import EnginePort
from torrent_engine.daemon.errands import Errands
from torrent_engine.daemon.jobs.background import Background
from torrent_engine.daemon.jobs.own_jobs import OwnJobs
from torrent_engine.daemon.listeners import ListenPlace
from torrent_engine.daemon.security.authentication import Authenticator
from torrent_engine.daemon.security.guard import GuardRules
from torrent_engine.daemon.security.lockout import Lockout
from torrent_engine.daemon.security.paths import PathRule
from torrent_engine.daemon.settings.model import DaemonSettings
from torrent_engine.daemon.settings.store import SettingsStore
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.state.log_tail import LogTail

LifePhase = Literal["starting", "running", "stopping"]


@dataclass(frozen=True, slots=True)
class ReloadReport:
    """What reading the settings again changed."""

    changed: Sequence[str] = ()
    pending: Sequence[str] = ()
    """What takes effect at the next start of the process only."""


class Life:
    """The phase of the daemon, and requests to end or to read its settings again."""

    def __init__(self, read_again: Callable[[], Awaitable[ReloadReport]]) -> None:
        """``read_again`` reads settings, certificates and lists; raises ConfigError."""
        self.phase: LifePhase = "starting"
        self.epoch = secrets.token_hex(4)
        """Another one after every start of the process."""
        self.stopping = anyio.Event()
        """Set when the daemon begins to stop: endless answers end now."""
        self.interrupted = anyio.Event()
        """Set when the engine shall be closed, to be opened again or not."""
        self.listeners: tuple[str, ...] = ()
        """Where interfaces are served."""
        self.interfaces: Mapping[str, Sequence[str]] = {}
        """The same by the names of interfaces."""
        self._read_again = read_again

    def running(self) -> None:
        """Begin to answer requests: the engine is open."""
        if self.phase != "stopping":
            self.phase = "running"

    def starting(self) -> None:
        """Refuse requests while the engine is not open."""
        if self.phase != "stopping":
            self.phase = "starting"
            self.interrupted = anyio.Event()

    def stop(self) -> None:
        """Ask the daemon to stop."""
        self.phase = "stopping"
        self.stopping.set()
        self.interrupted.set()

    def restart_engine(self) -> None:
        """Ask for a soft restart: the engine is closed and opened again, listeners stay."""
        if self.phase == "running":
            self.phase = "starting"
        self.interrupted.set()

    async def reload(self) -> ReloadReport:
        """Read settings, certificates and lists again. Raises ConfigError."""
        return await self._read_again()


@dataclass(slots=True)
class DaemonContext:
    """What routes are made with."""

    port: EnginePort
    settings_store: SettingsStore
    """The settings with their origins, to be changed."""
    authenticator: Authenticator
    lockout: Lockout
    state: DaemonState
    """Rows, jobs, labels and totals; the daemon keeps them up to date."""
    life: Life
    rules: GuardRules
    """Checks of requests."""
    paths: PathRule
    """Folders that requests may name."""
    state_dir: Path
    """The folder of the daemon's state."""
    listen_places: Sequence[ListenPlace] = ()
    """Where the daemon listens, since its start."""
    listener_rules: Mapping[str, GuardRules] = field(default_factory=dict)
    """Checks of requests by the names of the listeners that they come by."""
    errands: Errands = field(default_factory=Errands)
    """Work that requests begin and nobody waits for, while the engine is open."""
    on_open: list[Callable[[], None]] = field(default_factory=list)
    """Called each time that the engine was opened and the rows are up to date."""
    connections: Callable[[], int] = lambda: 0
    """Returns how many clients are connected to the HTTP server."""
    background: Background | None = None
    """Background work; None while the engine is not open."""
    log: LogTail = field(default_factory=LogTail)
    """The newest records of the log."""
    own_jobs: OwnJobs = field(init=False)
    """Work of the daemon itself that is recorded as jobs."""

    def __post_init__(self) -> None:
        """Make what is made of other parts."""
        self.own_jobs = OwnJobs(self.port.jobs, self.errands)
        self.state.owners.listen(self.own_jobs.owner_advanced)

    def rules_of(self, listener: str) -> GuardRules:
        """Return the checks of requests that come by a listener."""
        return self.listener_rules.get(listener, self.rules)

    def settings(self) -> DaemonSettings:
        """Return the present settings."""
        return self.settings_store.now
