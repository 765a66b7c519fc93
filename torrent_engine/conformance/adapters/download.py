"""A program under test that the kit starts to download a torrent into an empty folder."""

import os
import shutil
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from torrent_engine.conformance.adapters.guarded import GuardedProcess
from torrent_engine.conformance.adapters.launch import LaunchBuilder, LaunchCommand, LaunchOrder
from torrent_engine.conformance.adapters.process import LOG_TAIL, free_port
from torrent_engine.conformance.swarm.subject import FileKind

OWN_FILES: Final = ("data", "home", "sample.torrent", "program.log")


class StartedDownloader:
    """A process with a folder of its own; see :class:`DownloaderLauncher`."""

    def __init__(self, name: str, builder: LaunchBuilder, folder: Path, host: str) -> None:
        self.name = name
        self._host = host
        self.port = free_port()
        self.has_lsd = self.has_encryption = self.has_utp = self.has_ipv6 = False
        self._builder = builder
        self._folder = folder
        self._process: GuardedProcess | None = None

    async def start(self, torrent: bytes | str) -> None:
        """Start it with a .torrent file or a magnet link. Raises SubjectUnreachableError."""
        path, data, home = (self._folder / each for each in ("sample.torrent", "data", "home"))
        for each in (data, home):
            each.mkdir(parents=True, exist_ok=True)
        magnet = torrent if isinstance(torrent, str) else ""
        if isinstance(torrent, bytes):
            path.write_bytes(torrent)
        order = LaunchOrder(path, data, home, self._host, self.port, downloads=True, magnet=magnet)
        order = replace(
            order,
            has_lsd=self.has_lsd,
            has_encryption=self.has_encryption,
            has_ipv6=self.has_ipv6,
            over_utp=self.has_utp,
        )
        command = self._builder(order)
        write_files(command, home)
        log = self._folder / "program.log"
        self._process = await GuardedProcess.open(command, log, home)

    def printed(self) -> str:
        """Return the end of what it printed."""
        try:
            return (self._folder / "program.log").read_text(errors="replace")[-LOG_TAIL:]
        except OSError:
            return ""

    def is_running(self) -> bool:
        """Return whether the process has not ended."""
        return self._process is not None and self._process.returncode is None

    def stored(self, name: str) -> bytes | None:
        """Return a file of its folder; None if it is not there."""
        try:
            return (self._folder / "data" / name).read_bytes()
        except OSError:
            return None

    def store(self, name: str, data: bytes) -> None:
        """Write a file of its folder; one that is there keeps its place on the disk."""
        path = self._folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def kind_of(self, name: str) -> FileKind:
        """Return what has a name in its folder."""
        return kind_below(self._folder / "data", name)

    async def end(self) -> None:
        """End the process, politely and then by force."""
        process, self._process = self._process, None
        if process is not None:
            await process.end()

    async def kill(self) -> None:
        """End the process by force."""
        process, self._process = self._process, None
        if process is not None:
            await process.kill()

    def has_refused(self) -> bool:
        """Return whether the process has ended by itself with an error."""
        return self._process is not None and (self._process.returncode or 0) > 0

    def strays(self) -> list[str]:
        """Return the files that are neither data nor the program's own."""
        own = {self._folder / each for each in OWN_FILES}
        found = (each for each in self._folder.rglob("*") if each.is_file())
        return [str(each) for each in found if not own & {each, *each.parents}]

    async def stop(self) -> None:
        """End the process, and remove its folder."""
        await self.end()
        shutil.rmtree(self._folder, ignore_errors=True)


def kind_below(folder: Path, name: str) -> FileKind:
    """Return what has a name in a folder; a link is judged by its target, be that there or not."""
    path = folder / name
    if path.is_symlink():
        target = os.path.normpath(path.parent / path.readlink())
        is_inside = Path(target).is_relative_to(folder)
        return FileKind.LINK if is_inside else FileKind.LINK_OUTSIDE
    if not path.is_file():
        return FileKind.NOTHING
    return FileKind.EXECUTABLE if path.stat().st_mode & stat.S_IXUSR else FileKind.FILE


def write_files(command: LaunchCommand, home: Path) -> None:
    """Write what has to be there before a command runs."""
    for name, content in command.files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


class DownloaderLauncher:
    """Makes fresh programs below a folder."""

    def __init__(self, name: str, builder: LaunchBuilder, folder: Path, host: str) -> None:
        self._name = name
        self._host = host
        self._builder = builder
        self._folder = folder
        self._count = 0
        self.command: LaunchCommand | None = None
        """Of the last one that was started."""

    @asynccontextmanager
    async def create(self) -> AsyncIterator[StartedDownloader]:
        """Return a program that has not been started; it is ended when the block ends."""
        self._count += 1
        folder = self._folder / f"download{self._count}"
        program = StartedDownloader(self._name, self._build, folder, self._host)
        try:
            yield program
        finally:
            await program.stop()

    def _build(self, order: LaunchOrder) -> LaunchCommand:
        self.command = self._builder(order)
        return self.command
