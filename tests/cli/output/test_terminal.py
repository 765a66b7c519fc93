"""A real terminal: what is drawn, Ctrl-C, Ctrl-Z and ``fg``; one that knows no UTF-8."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.test_processes import COMMAND, environment
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.cli.output.terminal import ControlEcho

PATIENCE_S = 180.0
SHOW_CURSOR, HIDE_CURSOR = b"\x1b[?25h", b"\x1b[?25l"
LOCAL = ["--no-dht", "--no-lsd", "--no-port-mapping", "--listen", "127.0.0.1", "--port", "0"]
REFUSING = "http://127.0.0.1:1/announce"


class Terminal:
    """The far end of a pseudo-terminal of 80 columns, and what was written to it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.seen = b""

    def press(self, keys: bytes) -> None:
        os.write(self._descriptor, keys)

    def read_until(self, wanted: bytes) -> bytes:
        """Return what comes up to ``wanted``, which is taken out of ``seen``."""
        deadline = time.monotonic() + PATIENCE_S
        while (end := self.seen.find(wanted)) < 0:
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"no {wanted!r} in {self.seen[-2_000:]!r}"
            if select.select([self._descriptor], [], [], left_s)[0]:
                self.seen += os.read(self._descriptor, 65_536)
        end += len(wanted)
        found, self.seen = self.seen[:end], self.seen[end:]
        return found


@contextmanager
def shell(script: str, folder: Path, **variables: str) -> Iterator[Terminal]:
    """Run a script in a shell with job control, which owns a terminal."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", OWNS_TERMINAL, script],
        cwd=folder,
        env=environment(TERM="xterm", **variables),
        stdin=other,
        stdout=other,
        stderr=other,
        start_new_session=True,
    )
    os.close(other)
    try:
        yield Terminal(main)
    finally:
        os.close(main)  # the shell and its jobs get SIGHUP
        process.kill()
        process.wait()


OWNS_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp("bash", ["bash", "--norc", "--noprofile", "-c", "set -m; " + sys.argv[1]])
"""


def command(*arguments: str) -> str:
    return " ".join([*COMMAND, *arguments, *LOCAL, "--state-dir state"])


def write_torrent(folder: Path, name: str) -> None:
    metainfo, _ = make_torrent(payload_of(100_000), name=name, tiers=[[REFUSING]])
    (folder / "x.torrent").write_bytes(metainfo.to_bytes())


@pytest.mark.parametrize("display", ["--multi", "--no-multi"])
def test_ctrl_z_fg_and_ctrl_c_leave_a_clean_terminal(tmp_path: Path, display: str) -> None:
    write_torrent(tmp_path, "a-name")
    script = f"{command('download x.torrent', display)}; echo STOPPED-$?; fg; echo ENDED-$?"
    with shell(script, tmp_path) as terminal:
        drawn = terminal.read_until(b"a-name: tracker " + REFUSING.encode())
        assert HIDE_CURSOR in drawn
        terminal.read_until(b"the tracker failed: ")
        terminal.press(b"\x1a")
        stopped = terminal.read_until(b"STOPPED-148")
        assert stopped.rfind(SHOW_CURSOR) > stopped.rfind(HIDE_CURSOR)
        assert stopped.rfind(b"\x1b[2K") > stopped.rfind(b"the tracker failed: ")  # erased
        resumed = terminal.read_until(b"the tracker failed: ")
        terminal.press(b"\x03")
        ended = terminal.read_until(b"ENDED-7")
    assert HIDE_CURSOR in resumed
    assert b"stopping; Ctrl-C again ends at once" in ended
    assert ended.rfind(SHOW_CURSOR) > ended.rfind(HIDE_CURSOR)
    assert b"^C" not in ended
    assert b"stood still" not in ended
    assert b"^Z" not in stopped


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_is_not_utf8_shows_all_the_same(tmp_path: Path, encoding: str) -> None:
    write_torrent(tmp_path, "漢字-é-name" + "x" * 80)
    script = f"{command('download x.torrent')}; echo ENDED-$?"
    with shell(script, tmp_path, PYTHONIOENCODING=encoding) as terminal:
        drawn = terminal.read_until(b"the tracker failed: ")
        terminal.press(b"\x03")
        ended = terminal.read_until(b"ENDED-7")
    lines = re.split(rb"[\r\n]+|\x1b\[[0-9;?]*[A-Za-z]", drawn)
    (bar, *_) = [line for line in lines if b"-name" in line and b": " not in line]
    assert bar.startswith(b"??-")
    assert b"UnicodeEncodeError" not in drawn + ended


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("arguments", ["show", "show --files", "magnet", "verify"])
def test_a_pipe_that_is_not_utf8_ends_nothing(
    tmp_path: Path, encoding: str, arguments: str
) -> None:
    write_torrent(tmp_path, "漢字-é")
    result = subprocess.run(
        [*COMMAND, *arguments.split(), "x.torrent"],
        cwd=tmp_path,
        env=environment(PYTHONIOENCODING=encoding, TORRENT_ENGINE_STATE_DIR=str(tmp_path / "s")),
        capture_output=True,
        check=False,
    )
    assert result.returncode == (32 if arguments == "verify" else 0)
    assert b"\\u6f22" in result.stdout + result.stderr or arguments == "magnet"
    assert b"Error" not in result.stderr


def test_control_characters_are_echoed_again_afterwards() -> None:
    echo = ControlEcho()
    echo.restore()  # nothing was hidden
    echo.hide()  # stdin of a test run is no terminal, or one that stays as it is
    echo.restore()
    assert signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN
