"""A program under test that the kit starts, watches, and ends by its process id."""

import itertools
import os
import random
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import ByteStream

from torrent_engine.conformance.adapters.guarded import GuardedProcess
from torrent_engine.conformance.adapters.launch import LaunchBuilder, LaunchCommand, LaunchOrder
from torrent_engine.conformance.errors import ConformanceError, SubjectUnreachableError
from torrent_engine.conformance.frames import FAST, HEADER, FrameType, HandshakeBytes
from torrent_engine.conformance.lab import LOOPBACK, KitAddresses
from torrent_engine.conformance.raw_peer import RawPeer
from torrent_engine.conformance.subject import connect_from
from torrent_engine.conformance.torrent_set import SampleTorrent, write_sample
from torrent_engine.conformance.wire_log import WireLog

READY_S: Final = 180.0  # a busy machine starts a Python program in half a minute
POLL_S: Final = 0.1
PORTS: Final = range(10_000, 32_000)  # below those that systems give to outgoing connections
LOG_TAIL: Final = 2_000


class StartedSubject:
    """A process that seeds the sample torrent; see :func:`started`."""

    can_restart = True

    def __init__(  # noqa: PLR0913 - as :func:`started`
        self,
        name: str,
        builder: LaunchBuilder,
        torrent: SampleTorrent,
        folder: Path,
        *,
        over_utp: bool = False,
        addresses: KitAddresses = LOOPBACK,
        ready_s: float = READY_S,
    ) -> None:
        self.name = name
        self._ready_s = ready_s
        self.log = folder / "program.log"
        """What the program prints."""
        self._torrent = torrent
        self._addresses = addresses
        path = write_sample(torrent, folder)
        data, home = folder / "data", folder / "home"
        self._order = LaunchOrder(path, data, home, addresses.host, free_port(), over_utp=over_utp)
        self._command: LaunchCommand = builder(self._order)
        self._process: GuardedProcess | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return self._addresses.host, self._order.port

    @property
    def command(self) -> str:
        """The command line."""
        return " ".join(self._command.argv)

    def version(self) -> str:
        """Return the first line of what its version command prints, or nothing."""
        return version_printed(self._command)

    async def connect(self, source: str) -> ByteStream:
        """Connect from an address of this machine."""
        return await connect_from(source, *self.address)

    def is_running(self) -> bool:
        """Return whether the process has not ended."""
        return self._process is not None and self._process.returncode is None

    def rss_bytes(self) -> int | None:
        """Return its resident memory, where the system has /proc."""
        fields = self._proc("statm")
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if fields else None

    def cpu_s(self) -> float | None:
        """Return its CPU time, where the system has /proc."""
        fields = self._proc("stat")
        if not fields:
            return None
        after_name = fields[-50:] if len(fields) > 50 else fields
        user, system = after_name[11], after_name[12]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def _proc(self, name: str) -> list[str]:
        if self._process is None:
            return []
        try:
            return Path(f"/proc/{self._process.pid}/{name}").read_text().split()
        except OSError:
            return []

    async def start(self) -> None:
        """Start it with a fresh folder of its own; return when it shows all pieces.

        Raises SubjectUnreachableError with the end of what it printed.
        """
        home = self._order.home
        shutil.rmtree(home, ignore_errors=True)
        for name, content in {".": b"", **self._command.files}.items():
            path = home / name
            (path.parent if content else path).mkdir(parents=True, exist_ok=True)
            if content:
                path.write_bytes(content)
        self._process = await GuardedProcess.open(self._command, self.log, home)
        await self._wait_ready()

    async def _wait_ready(self) -> None:
        with anyio.move_on_after(self._ready_s):
            while self.is_running():
                if await self._shows_all_pieces():
                    return
                await anyio.sleep(POLL_S)
        state = "does not seed" if self.is_running() else "ended"
        printed = self.log.read_text(errors="replace")[-LOG_TAIL:]
        raise SubjectUnreachableError(f"{self.name} {state}; it printed: {printed or 'nothing'}")

    async def _shows_all_pieces(self) -> bool:
        try:
            stream = await self.connect(self._addresses.probe)
        except SubjectUnreachableError:
            return False
        peer = RawPeer(stream, WireLog(anyio.current_time), "p", self._addresses.probe)
        try:
            greeting = HandshakeBytes(HEADER, FAST, self._torrent.info_hash, peer.peer_id)
            await peer.send(greeting.encode())
            await peer.receive_greeting(2.0)
            frame = await peer.wait_for(
                lambda each: each.number in {FrameType.BITFIELD, FrameType.HAVE_ALL}, 2.0
            )
        finally:
            await peer.close()
        bits = int.from_bytes(frame.payload, "big").bit_count() if frame is not None else 0
        is_all = frame is not None and frame.number == FrameType.HAVE_ALL
        return is_all or bits == self._torrent.piece_count

    async def stop(self) -> None:
        """End the process, politely and then by force."""
        process, self._process = self._process, None
        if process is not None:
            await process.end()

    async def restart(self) -> None:
        """End it, start it again, and wait until it is ready."""
        await self.stop()
        await self.start()


def version_printed(command: LaunchCommand) -> str:
    """Return the first line of what the version command of a program prints, or nothing."""
    if not command.version_argv:
        return ""
    try:
        done = subprocess.run(  # noqa: S603 - a command of the table, or the user's own
            command.version_argv, capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return next(iter((done.stdout + done.stderr).splitlines()), "").strip()


@asynccontextmanager
async def started(  # noqa: PLR0913 - what a program is started with
    name: str,
    builder: LaunchBuilder,
    torrent: SampleTorrent,
    folder: Path,
    *,
    over_utp: bool = False,
    addresses: KitAddresses = LOOPBACK,
    ready_s: float = READY_S,
) -> AsyncIterator[StartedSubject]:
    """Start a program in a folder of its own; end it when the block ends."""
    subject = StartedSubject(
        name, builder, torrent, folder, over_utp=over_utp, addresses=addresses, ready_s=ready_s
    )
    try:
        await subject.start()
        yield subject
    finally:
        await subject.stop()


_starts: Final = itertools.count(random.randrange(len(PORTS)))  # noqa: S311 - not a secret
"""Ports in turn: none is given twice while programs of the kit take theirs."""


def free_port() -> int:
    """Return a port of this machine that nobody listens on; the system gives it to nobody else.

    Raises ConformanceError.
    """
    for _ in range(len(PORTS)):
        port = PORTS[next(_starts) % len(PORTS)]
        if all(_is_free(kind, port) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)):
            return port
    raise ConformanceError("no free port")


def _is_free(kind: socket.SocketKind, port: int) -> bool:
    """Return whether no address of this machine has a port in use."""
    with socket.socket(socket.AF_INET, kind) as probe, suppress(OSError):
        probe.bind(("", port))
        return True
    return False
