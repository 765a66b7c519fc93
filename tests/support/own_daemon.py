"""A daemon that a test starts, stops and starts again, and the commands that talk to it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import httpx2

from tests.support import slow_http as http
from tests.support.netns import LOOPBACK
from tests.support.processes import Program, free_port, wait_until

START_S = 120.0
QUIET = ("network.loopback_only=true", "network.port=0", "paths.min_free_mib=0")


class OwnDaemon:
    """A daemon with a state folder; as a context manager it runs until the end of the block."""

    def __init__(
        self,
        folder: Path,
        *settings: str,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        listen: str | None = None,
        program: Sequence[str] = ("-m", "torrent_engine"),
    ) -> None:
        """Have no process yet; ``program`` is what Python runs, the command line itself or not."""
        self.folder = folder
        self.state = folder / "state"
        self.port = free_port()
        self.log = folder / "daemon.log"
        self._env = {"XDG_CONFIG_HOME": str(folder / "config"), **(env or {})}
        assignments = [
            f"--set={each}" for each in (*QUIET, f"paths.download={folder}/d", *settings)
        ]
        address = f"127.0.0.1:{self.port}" if listen is None else listen
        self._argv = [
            *(sys.executable, *program, "daemon", "run"),
            f"--state-dir={self.state}",
            f"--listen={address}",
            *assignments,
            *options,
        ]
        self.program: Program | None = None

    def start(self, *, ready: bool = True) -> Self:
        """Start the process, and wait until it answers requests."""
        self.program = Program(self._argv, host=LOOPBACK, log=self.log, env=self._env)
        if ready:
            wait_until(self.is_ready, timeout_s=START_S, what="the daemon answers")
        return self

    def is_ready(self) -> bool:
        """Return whether it answers; fails if it has ended."""
        assert self.program is not None
        assert self.program.alive, self.program.output()
        try:
            return http.get(self.url("/healthz")).status_code == 200
        except httpx2.TransportError:
            return False

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def token(self) -> str:
        return (self.state / "daemon.token").read_text().strip()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Return the JSON of an answer to a request with the token."""
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = http.request(method, self.url(path), headers=headers, json=body)
        assert answer.status_code < 400, answer.text
        return answer.json() if answer.text else None

    def text(self, path: str) -> str:
        """Return the text of an answer to a request with the token."""
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = http.request("GET", self.url(path), headers=headers)
        assert answer.status_code < 400, answer.text
        return answer.text

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it."""
        assert self.program is not None
        self.program.process.send_signal(number)

    def wait(self, timeout_s: float = 60.0) -> int:
        """Return its exit code."""
        assert self.program is not None
        return self.program.wait(timeout_s)

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL."""
        assert self.program is not None
        self.program.kill()

    def run(self, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
        """Run another command of the group; return its code, output and errors."""
        done = subprocess.run(
            [*command("daemon", *arguments), f"--state-dir={self.state}"],
            input=stdin,
            capture_output=True,
            text=True,
            env={**os.environ, **self._env},
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def run_json(self, *arguments: str) -> Any:
        code, output, errors = self.run(*arguments)
        assert code == 0, errors
        return json.loads(output)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        if self.program is not None:
            self.program.end()


def command(*arguments: str) -> list[str]:
    """Return the command line of the program."""
    return [sys.executable, "-m", "torrent_engine", *arguments]
