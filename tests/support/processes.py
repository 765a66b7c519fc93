"""Other programs as child processes: started where asked, logged to a file, ended by their pid."""

import itertools
import os
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import pytest

from tests.support.netns import Host

POLL_S = 0.02
TERMINATE_GRACE_S = 5.0
SLOW_MACHINE = "the event loop stood still"


def failures_in(text: bytes) -> str:
    """Return what a process wrote to its standard error, without what only a busy machine is."""
    lines = text.decode(errors="replace").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(SLOW_MACHINE))


def missing(reason: str) -> NoReturn:
    """Skip the test that needs what is missing; in CI (``CI=true``) fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must not skip this: {reason}", pytrace=False)
    pytest.skip(reason)


def require_program(name: str, package: str) -> str:
    """Return the full path of a program; skip with the name of its Debian package if missing."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    path = shutil.which(name, path=places)
    if path is None:
        missing(f"{name} is not installed (Debian package {package})")
    return path


def _own_ports() -> Iterator[int]:
    """Yield ports that no other test worker takes, and no system gives to who asks for any."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = range(*PORTS)[worker % WORKERS :: WORKERS]
    begin = secrets.randbelow(len(ports))
    yield from itertools.cycle((*ports[begin:], *ports[:begin]))


PORTS = (10_000, 32_000)  # below those that Linux, macOS and the BSDs give by themselves
WORKERS = 16
_ports = _own_ports()
_ports_lock = threading.Lock()


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free, TCP and UDP; it is not given again for long."""
    for _ in range(200):
        with _ports_lock:
            port = next(_ports)
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no free port")


def accepts_at(address: tuple[str, int]) -> bool:
    """Say if something listens at a TCP address."""
    try:
        socket.create_connection(address, timeout=5).close()
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], bool], *, timeout_s: float, what: str) -> None:
    """Poll until ``condition()`` is true; AssertionError that says ``what`` after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(POLL_S)


class Program:
    """One child process; as a context manager it is ended on leaving."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        host: Host,
        log: Path,
        env: Mapping[str, str] | None = None,
        pipes: bool = False,
    ) -> None:
        """Start ``argv``; with ``pipes`` its input and output are ours, and only errors logged."""
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                host.command(argv),
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else output,
                stderr=output,
                env={**os.environ, **(env or {})},
                cwd=log.parent,
            )

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def output(self) -> str:
        """Return everything that it printed so far."""
        return self.log.read_text(errors="replace")

    def wait(self, timeout_s: float) -> int:
        """Return the exit code; AssertionError with the output if it does not end in time."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running: {self.output()[-2000:]}") from None

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """End it politely, then by force."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()
        self.process.terminate()
        try:
            self.process.wait(TERMINATE_GRACE_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()
