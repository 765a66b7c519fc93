"""Background work of a real daemon: hooks from its start to its end, and a watched folder."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli import torrents

LIMIT_S = 240.0
EVENTS = ("daemon_started", "torrent_added", "daemon_stopping")


def configuration(folder: Path) -> Path:
    """Write a hook that notes its event, and settings that use it."""
    program = folder / "hook"
    program.write_text(f'#!/bin/sh\necho "$TE_EVENT $TR_TORRENT_NAME" >> {folder}/told\n')
    program.chmod(0o755)
    hooks = "".join(f'[[hook]]\nevent = "{each}"\ncommand = ["{program}"]\n' for each in EVENTS)
    path = folder / "daemon.toml"
    path.write_text(
        "[network]\nloopback_only = true\nport = 0\n"
        f'[paths]\ndownload = "{folder}/to"\nmin_free_mib = 0\n'
        f'[[watch]]\nfolder = "{folder}/watched"\n{hooks}'
    )
    return path


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
def test_hooks_are_told_of_the_start_an_addition_and_the_end(tmp_path: Path) -> None:
    config, told = configuration(tmp_path), tmp_path / "told"
    (tmp_path / "watched").mkdir()
    command = ["daemon", "run", "--config", str(config), "--listen", "127.0.0.1:0"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "torrent_engine", *command, "--state-dir", f"{tmp_path}/state"],
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
    try:
        until(lambda: told.exists() or process.poll() is not None)
        torrents.multi(tmp_path / "watched")
        until((tmp_path / "watched" / "stuff.torrent.added").exists)
        until(lambda: "torrent_added stuff" in told.read_text())
        process.send_signal(signal.SIGTERM)
        code = process.wait(LIMIT_S)
    finally:
        process.kill()
        process.wait()
    assert (code, told.read_text().splitlines()) == (
        0,
        ["daemon_started ", "torrent_added stuff", "daemon_stopping "],
    ), (tmp_path / "log").read_text()
