"""Processes that begin with all modules imported: forks of one that did nothing else.

A cold start spends most of its time on imports, in which nothing is there to be lost. What is
killed is a process of its own all the same.
"""

import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.reduction import DupFd
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

ROOT = Path(__file__).parents[2]
IMPORTED = ["torrent_engine.cli.main", "torrent_engine.engine.manager.torrent_manager", "uvloop"]


class Running(Protocol):
    """A process that was started, with the end of a pipe that its standard output goes to."""

    stdout: Any

    def kill(self) -> None:
        """Send SIGKILL."""

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, minus the signal that ended it; subprocess.TimeoutExpired."""


class Start(Protocol):
    """Starts ``python -m MODULE ARGUMENTS`` from the repository's folder."""

    def __call__(self, module: str, arguments: Sequence[str], errors: BinaryIO) -> Running:
        """Return the process; its standard error goes to ``errors``."""


def start_cold(module: str, arguments: Sequence[str], errors: BinaryIO) -> Running:
    """Start an interpreter."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT)


def start_warm(module: str, arguments: Sequence[str], errors: BinaryIO) -> Running:
    """Fork the process that has everything imported; the first call starts that."""
    return WarmProcess(module, arguments, errors)


class WarmProcess:
    """A fork that runs a module as its program."""

    def __init__(self, module: str, arguments: Sequence[str], errors: BinaryIO) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload(IMPORTED)
        reader, writer = os.pipe()
        self.stdout = os.fdopen(reader, "rb")
        descriptors = _Handed(writer, errors.fileno())
        self._lock = Lock()
        self._process: ForkServerProcess = context.Process(
            target=_run, args=(module, list(arguments), descriptors)
        )
        try:
            self._process.start()
        finally:
            os.close(writer)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, minus the signal that ended it; subprocess.TimeoutExpired."""
        if not wait([self._process.sentinel], timeout):
            raise subprocess.TimeoutExpired(["fork"], timeout or 0.0)
        with self._lock:  # the exit code can be read from its pipe once
            self._process.join()
            assert self._process.exitcode is not None
            return self._process.exitcode


class _Handed:
    """Descriptors that become the child's standard output and error."""

    def __init__(self, *descriptors: int) -> None:
        self._descriptors = descriptors

    def __getstate__(self) -> list[Any]:
        return [DupFd(each) for each in self._descriptors]

    def __setstate__(self, handed: list[Any]) -> None:
        self._descriptors = tuple(each.detach() for each in handed)

    def put(self) -> None:
        """Put them in place of this process's own."""
        for target, descriptor in enumerate(self._descriptors, 1):
            os.dup2(descriptor, target)
            os.close(descriptor)


def _run(module: str, arguments: list[str], descriptors: _Handed) -> None:
    descriptors.put()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
