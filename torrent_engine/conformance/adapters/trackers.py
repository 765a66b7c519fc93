"""How programs are told to be a tracker, and such a program that the kit starts."""

import os
import shutil
import sys
import tomllib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from anyio.abc import ByteStream

from torrent_engine.conformance.adapters.download import write_files
from torrent_engine.conformance.adapters.guarded import GuardedProcess
from torrent_engine.conformance.adapters.launch import LaunchCommand, LaunchOrder
from torrent_engine.conformance.adapters.process import free_port
from torrent_engine.conformance.adapters.programs import BUILDERS, builder_named
from torrent_engine.conformance.dht.krpc import NodeAddress
from torrent_engine.conformance.errors import ConformanceError, NotOfferedError
from torrent_engine.conformance.lab import HOST6
from torrent_engine.conformance.subject import connect_from

TRACKER_KEY: Final = "tracker"
TrackerBuilder = Callable[[LaunchOrder], LaunchCommand]
"""Takes an order whose torrent is a file with info-hashes in hex, a line each."""


def torrent_engine(order: LaunchOrder) -> LaunchCommand:
    """Return the command for the engine that this kit comes with."""
    program = (sys.executable, "-m", "torrent_engine")
    where = ("--host", order.host, "--host", HOST6, "--port", str(order.port), "--quiet")
    environment = {"TORRENT_ENGINE_CONFIG": "/dev/null"}
    argv = (*program, "tracker", *where)
    return LaunchCommand(argv, environment, version_argv=(*program, "--version"))


def opentracker(order: LaunchOrder) -> LaunchCommand:
    """Return the command for opentracker, which as root changes its root to the folder."""
    program = shutil.which("opentracker")
    if program is None:
        raise ConformanceError("opentracker is not installed: it is not in PATH")
    port = str(order.port)
    listed = order.torrent.name if os.geteuid() == 0 else str(order.torrent)
    folder = str(order.torrent.parent)
    argv = (program, "-i", order.host, "-p", port, "-P", port, "-d", folder, "-w", listed)
    return LaunchCommand(argv)


TRACKER_BUILDERS: Final[Mapping[str, TrackerBuilder]] = {
    "torrent-engine": torrent_engine,
    "opentracker": opentracker,
}


def tracker_builder_named(name: str) -> TrackerBuilder:
    """Return what builds the command of a tracker: a name of the table, or a file of TOML.

    Raises ConformanceError.
    """
    if name in TRACKER_BUILDERS:
        return TRACKER_BUILDERS[name]
    builder_named(name)

    def build(order: LaunchOrder) -> LaunchCommand:
        table = {} if name in BUILDERS else tomllib.loads(Path(name).read_text())
        words = table.get(TRACKER_KEY, [])
        if not words:
            raise NotOfferedError(f"{name} is no tracker")
        values = {"host": order.host, "port": str(order.port), "list": str(order.torrent)}
        return LaunchCommand(tuple(_filled(str(word), values) for word in words))

    return build


def _filled(word: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", value)
    return word


@dataclass(slots=True)
class StartedTracker:
    """A process with a folder of its own; see :class:`TrackerLauncher`."""

    name: str
    builder: TrackerBuilder
    folder: Path
    address: NodeAddress
    command: LaunchCommand | None = None
    process: GuardedProcess | None = None

    @property
    def address6(self) -> NodeAddress:
        """The same port over IPv6."""
        return HOST6, self.address[1]

    async def start(self, info_hashes: Sequence[bytes]) -> None:
        """Start it, for these torrents at least. Raises ConformanceError."""
        home = self.folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        for each in (home, self.folder):
            each.chmod(0o755)  # for programs that become another user
        listed = home / "torrents"
        listed.write_text("".join(f"{each.hex()}\n" for each in info_hashes))
        order = LaunchOrder(listed, self.folder, home, *self.address)
        self.command = self.builder(order)
        write_files(self.command, home)
        self.process = await GuardedProcess.open(self.command, self.folder / "program.log", home)

    def is_running(self) -> bool:
        """Return whether the process has not ended."""
        return self.process is not None and self.process.returncode is None

    async def connect(self, source: str) -> ByteStream:
        """Connect from an address of ours. Raises SubjectUnreachableError."""
        return await connect_from(source, *self.address)

    async def connect6(self) -> ByteStream:
        """Connect over IPv6. Raises SubjectUnreachableError."""
        return await connect_from(HOST6, *self.address6)

    async def stop(self) -> None:
        """End the process, and remove its folder."""
        process, self.process = self.process, None
        if process is not None:
            await process.end()
        shutil.rmtree(self.folder, ignore_errors=True)


class TrackerLauncher:
    """Makes a tracker below a folder."""

    def __init__(self, name: str, builder: TrackerBuilder, folder: Path, host: str) -> None:
        self._name = name
        self._host = host
        self._builder = builder
        self._folder = folder
        self.command: LaunchCommand | None = None
        """Of the one that was started."""

    @asynccontextmanager
    async def create(self) -> AsyncIterator[StartedTracker]:
        """Return a program that has not been started; it is ended when the block ends."""
        address = (self._host, free_port())
        program = StartedTracker(self._name, self._builder, self._folder / "tracker", address)
        try:
            yield program
        finally:
            self.command = self.command or program.command
            await program.stop()
