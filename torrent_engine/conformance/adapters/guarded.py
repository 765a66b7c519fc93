"""Processes that end with the kit, however that ends."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
import anyio.abc

from torrent_engine.conformance.adapters.launch import LaunchCommand
from torrent_engine.conformance.adapters.system import kill_children, signal_group
from torrent_engine.conformance.errors import SubjectUnreachableError

STOP_S: Final = 10.0
GUARD: Final = """
if read -r _; then exit 0; fi
kill -TERM "-$1"
tries=0
while kill -0 "-$1" && [ "$tries" -lt 50 ]; do sleep 0.2; tries=$((tries + 1)); done
kill -9 "-$1"
"""
"""Waits for a line, which says that all is well, or for the end of the kit."""
_GONE: Final = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError)


class GuardedProcess:
    """A program with its children, and a shell that ends them should the kit be killed."""

    def __init__(self, process: anyio.abc.Process, guard: anyio.abc.Process | None) -> None:
        self._process = process
        self._guard = guard
        self.pid = process.pid

    @classmethod
    async def open(cls, command: LaunchCommand, log: Path, folder: Path) -> "GuardedProcess":
        """Start a program in a folder; what it prints goes to ``log``.

        Raises SubjectUnreachableError.
        """
        try:
            with log.open("ab") as output:
                process = await anyio.open_process(
                    command.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={**os.environ, **command.environment},
                    cwd=folder,
                    start_new_session=True,  # a group of its own, which is ended as one
                )
        except OSError as error:
            raise SubjectUnreachableError(f"{command.argv[0]}: {error}") from error
        guard = None
        with anyio.CancelScope(shield=True):
            guard = await _guard_of(process.pid)
        return cls(process, guard)

    @property
    def returncode(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.returncode

    async def end(self) -> None:
        """End it and its children, politely and then by force."""
        with anyio.CancelScope(shield=True):
            if self.returncode is None:
                signal_group(self._process, force=False)
                with anyio.move_on_after(STOP_S):
                    await self._process.wait()
            await self.kill()

    async def kill(self) -> None:
        """End it and its children by force, if they run still."""
        with anyio.CancelScope(shield=True):
            if self.returncode is None:
                signal_group(self._process, force=True)
            await self._process.wait()
            kill_children(self.pid)
            await self._process.aclose()
            if self._guard is not None:
                await _dismiss(self._guard)


async def _guard_of(pid: int) -> anyio.abc.Process | None:
    """Start the shell that watches a process; None where there is no such shell."""
    with suppress(OSError):
        return await anyio.open_process(
            ("/bin/sh", "-c", GUARD, "sh", str(pid)),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    return None


async def _dismiss(guard: anyio.abc.Process) -> None:
    """Dismiss the shell of a process that has ended, and wait for its end."""
    with suppress(*_GONE):
        if guard.stdin is not None:
            await guard.stdin.send(b"\n")
    await guard.wait()
    await guard.aclose()
