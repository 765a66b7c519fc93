"""Programs of the user, run beside the event loop: no shell, a process group of their own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import anyio
import anyio.lowlevel

from torrent_engine.codec.paths import escape_for_terminal
from torrent_engine.service.system import HAS_WAITABLE_PIPES, signal_group

if TYPE_CHECKING:
    from anyio.abc import Process

END_GRACE_S: Final = 3.0  # ours: between SIGTERM and SIGKILL
CANCEL_GRACE_S: Final = 2.0  # ours: as that, where whoever cancels is in a hurry
OUTPUT_GRACE_S: Final = 0.5  # ours: for output that is still in the pipe when the program ended
READ_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class OutputLimit:
    """How much is kept of what a program prints: the end of it, or the beginning."""

    max_bytes: int
    keeps_end: bool = True


@dataclass(frozen=True, slots=True)
class Program:
    """A program with all that it is given."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    """The whole of it."""
    time_limit_s: float
    output: OutputLimit
    folder: Path | None = None
    """Its working folder; None: ours."""
    stdin: bytes = b""
    end_grace_s: float = END_GRACE_S


@dataclass(frozen=True, slots=True)
class ProgramEnd:
    """How a program ended."""

    code: int = 0
    """Its exit status; negative: the signal that ended it."""
    output: str = ""
    """On one line, safe for a terminal."""
    failure: str = ""
    """Why it did not do its work; empty if it did."""


class Programs:
    """Runs programs and knows those that run, so that they can be killed at once."""

    def __init__(self) -> None:
        self._running: set[Process] = set()

    def kill_all(self) -> None:
        """Kill the programs at once: the process ends now."""
        for process in self._running:
            _signal(process, force=True)

    async def run(self, program: Program) -> ProgramEnd:
        """Run a program to its end; it is ended at its time limit, and when this is cancelled."""
        await anyio.lowlevel.checkpoint_if_cancelled()  # else it would be begun, and ended at once
        with ExitStack() as stack:
            try:
                output = stack.enter_context(_Output(program.output))
                with anyio.CancelScope(shield=True):  # a process that was begun is known
                    process = await _open(program, output)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                return ProgramEnd(-1, failure=reason)
            self._running.add(process)
            try:
                return await _wait(process, program, output)
            finally:
                self._running.discard(process)


async def _open(program: Program, output: "_Output") -> "Process":
    return await anyio.open_process(
        [passable(each) for each in program.command],
        stdin=subprocess.PIPE if program.stdin else subprocess.DEVNULL,
        stdout=output.target,
        stderr=output.target,
        cwd=program.folder,
        env={name: passable(value) for name, value in program.environment.items()},
        start_new_session=True,  # not in the way of our Ctrl-C, and ended with its children
    )


async def _wait(process: "Process", program: Program, output: "_Output") -> ProgramEnd:
    grace_s = program.end_grace_s
    try:
        with anyio.move_on_after(program.time_limit_s):
            await output.read_until(process.wait, _feeder(process, program.stdin))
    except BaseException:
        grace_s = min(grace_s, CANCEL_GRACE_S)
        raise
    finally:
        is_late = process.returncode is None
        with anyio.CancelScope(shield=True):
            await _end(process, grace_s)
    code = process.returncode or 0
    if is_late:
        failure = f"ended after {program.time_limit_s:g} s"
        return ProgramEnd(code, output.text, failure)
    return ProgramEnd(code, output.text, _failure_of(code, output.text))


def _feeder(process: "Process", data: bytes) -> Callable[[], Any] | None:
    """Return what writes the standard input; a program need not read it."""
    stream = process.stdin
    if stream is None:
        return None

    async def feed() -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            async with stream:
                await stream.send(data)

    return feed


def _failure_of(code: int, text: str) -> str:
    if not code:
        return ""
    how = f"ended by signal {-code}" if code < 0 else f"exit status {code}"
    return f"{how}: {text}" if text else how


@dataclass(slots=True)
class _Output:
    """A pipe for what a program prints."""

    limit: OutputLimit
    target: int = subprocess.DEVNULL
    """What the program writes to."""
    _source: int = -1
    _kept: bytearray = field(default_factory=bytearray)

    def __enter__(self) -> Self:
        if HAS_WAITABLE_PIPES:
            self._source, self.target = os.pipe()
            os.set_blocking(self._source, False)
        return self

    def __exit__(self, *_: object) -> None:
        self._close_target()
        if self._source >= 0:
            os.close(self._source)

    @property
    def text(self) -> str:
        """What was kept, on one line."""
        text = " ".join(self._kept.decode("utf-8", "backslashreplace").split())
        return escape_for_terminal(text)

    async def read_until(self, wait: Callable[[], Any], feed: Callable[[], Any] | None) -> None:
        """Read until the program has ended; what its children hold open is not waited for."""
        self._close_target()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._read)
            if feed is not None:
                tasks.start_soon(feed)
            await wait()
            tasks.cancel_scope.deadline = anyio.current_time() + OUTPUT_GRACE_S

    async def _read(self) -> None:
        while self._source >= 0:
            await anyio.wait_readable(self._source)
            with suppress(BlockingIOError):
                if not (data := os.read(self._source, READ_BYTES)):
                    return
                self._keep(data)

    def _keep(self, data: bytes) -> None:
        self._kept += data
        if self.limit.keeps_end:
            del self._kept[: -self.limit.max_bytes]
        else:
            del self._kept[self.limit.max_bytes :]

    def _close_target(self) -> None:
        if self.target >= 0:
            os.close(self.target)
            self.target = subprocess.DEVNULL


async def _end(process: "Process", grace_s: float) -> None:
    """End a process that still runs: SIGTERM, and SIGKILL if it goes on."""
    if process.returncode is None:
        _signal(process, force=False)
        with anyio.move_on_after(grace_s):
            await process.wait()
    if process.returncode is None:
        _signal(process, force=True)
    await process.aclose()


def _signal(process: "Process", *, force: bool) -> None:
    """Signal a process and its children; they are a group of their own."""
    if process.returncode is not None:
        return  # its id may be another's by now
    with suppress(ProcessLookupError):
        if not signal_group(process.pid, force=force):
            process.kill()


@contextmanager
def within(group: set[Any], member: object) -> Iterator[None]:
    """Have a member in a set while the block runs."""
    group.add(member)
    try:
        yield
    finally:
        group.discard(member)


def passable(value: str) -> str:
    """Return what a program can be given: no NUL, and nothing that the system cannot encode."""
    value = value.replace("\0", "")
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        return value.encode(encoding, "replace").decode(encoding)
    return value
