"""Processes of the demo, which are ended whatever interrupts it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from torrent_engine.cli.options.config_file import CONFIG_VARIABLE
from torrent_engine.cli.output.exit_codes import CliError, ExitCode

START_TIMEOUT_S: Final = 30.0
END_TIMEOUT_S: Final = 8.0
POLL_S: Final = 0.05
_KINDS: Final = (signal.SIGINT, signal.SIGTERM)


class Child:
    """A process and its output, which goes to a file."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self._log = log

    def wait_for(self, type_: str) -> dict[str, object]:
        """Wait for an event of a type; raises CliError when the child ends or takes too long."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while (event := self._find(type_)) is None:
            if self.process.poll() is not None:
                raise CliError(f"{self._log.stem} ended: {self._last_line()}", ExitCode.UNKNOWN)
            if time.monotonic() > deadline:
                raise CliError(f"{self._log.stem} did not start", ExitCode.TIMED_OUT)
            time.sleep(POLL_S)
        return event

    def _find(self, type_: str) -> dict[str, object] | None:
        for line in self._log.read_text("utf-8", "replace").splitlines(keepends=True):
            if line.endswith("\n") and line.startswith("{"):
                event: dict[str, object] = json.loads(line)
                if event.get("type") == type_:
                    return event
        return None

    def _last_line(self) -> str:
        lines = self._log.read_text("utf-8", "replace").splitlines()
        return lines[-1] if lines else "it said nothing"


class Children:
    """Child processes of this program; all have ended when the block ends.

    SIGINT and SIGTERM are a KeyboardInterrupt inside the block, but never while a child is being
    started or ended, and only once.
    """

    def __init__(self) -> None:
        self._children: list[Child] = []
        self._before: list[object] = []
        self._holds = 0
        self._is_interrupted = False
        self._is_raised = False

    def __enter__(self) -> Self:
        """Take the signals."""
        self._before = [signal.getsignal(kind) for kind in _KINDS]
        self.take_signals()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all children, by their ids, and give the signals back."""
        self._holds += 1
        for child in self._children:
            child.process.terminate()
        for child in self._children:
            _await_end(child.process)
        for number, handler in zip(_KINDS, self._before, strict=True):
            signal.signal(number, handler)  # type: ignore[arg-type]

    def take_signals(self) -> None:
        """Handle the signals here; needed again after an event loop has had them."""
        for kind in _KINDS:
            signal.signal(kind, self._on_signal)

    def start(self, arguments: list[str], log: Path) -> Child:
        """Run ourselves with these arguments; what is printed goes to a file."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        environment[CONFIG_VARIABLE] = os.devnull  # the demo is the same whatever a user prefers
        with log.open("wb") as output, self._held():
            process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "torrent_engine", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C is for us; we end our children ourselves
            )
            child = Child(process, log)
            self._children.append(child)
        return child

    def _on_signal(self, *_: object) -> None:
        self._is_interrupted = True
        if not self._holds:
            self._raise_once()

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Put an interruption off to the end of the block."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
        if self._is_interrupted:
            self._raise_once()

    def _raise_once(self) -> None:
        if not self._is_raised:
            self._is_raised = True
            raise KeyboardInterrupt


def _await_end(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
