"""A terminal of 160 columns in which a program runs, its keys, and what its screen shows: tmux."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from tests.support.processes import require_program, wait_until

COLUMNS, LINES = 160, 50
SHOWN_S = 60.0


class Terminal:
    """A program in a terminal of its own; as a context manager it is ended on leaving."""

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> None:
        self._argv = list(argv)
        self._env = {**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color", **(env or {})}
        self._env.pop("TMUX", None)
        self._tmux = require_program("tmux", "tmux")
        self._folder = TemporaryDirectory(prefix="terminal")  # paths of sockets must be short
        self._socket = Path(self._folder.name) / "tmux"
        (Path(self._folder.name) / "config").write_text(
            "set -g remain-on-exit on\nset -g escape-time 0\nset -g status off\n"
        )

    def _run(self, *arguments: str) -> str:
        config = Path(self._folder.name) / "config"
        done = subprocess.run(
            [self._tmux, "-u", "-S", str(self._socket), "-f", str(config), *arguments],
            capture_output=True,
            text=True,
            env=self._env,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout

    def screen(self) -> str:
        """Return what the terminal shows."""
        return self._run("capture-pane", "-p", "-t", "0")

    def press(self, *keys: str) -> None:
        """Press keys by their names in tmux, such as ``Enter``."""
        self._run("send-keys", "-t", "0", *keys)

    def write(self, text: str) -> None:
        """Type a text as it is."""
        self._run("send-keys", "-t", "0", "-l", text)

    def wait_for(self, *texts: str) -> str:
        """Return the screen as soon as it shows all texts."""
        shown = ""

        def shows() -> bool:
            nonlocal shown
            shown = self.screen()
            return all(text in shown for text in texts)

        try:
            wait_until(shows, timeout_s=SHOWN_S, what=f"the screen shows {texts}")
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{shown}") from None
        return shown

    def wait_gone(self, text: str) -> None:
        """Wait until the screen does not show a text."""
        wait_until(lambda: text not in self.screen(), timeout_s=SHOWN_S, what=f"{text} is gone")

    def __enter__(self) -> Self:
        size = ("-x", str(COLUMNS), "-y", str(LINES))
        self._run("new-session", "-d", *size, *self._argv)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._run("kill-server")
        finally:
            self._folder.cleanup()
