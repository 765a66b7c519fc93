"""Programs that were due when the daemon was killed."""

import os
import signal
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.daemon.stories.scene import LIMIT_S, add, seeded, wait_for
from tests.support.own_daemon import OwnDaemon
from tests.support.payload import make_payload
from tests.support.processes import wait_until

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(sys.platform == "win32", reason="no signals"),
]
PROGRAM = """#!/bin/sh
echo "$$ $TE_EVENT $TE_HASH" >> "{folder}/begun"
while [ ! -e "{folder}/go" ]; do sleep 0.05; done
echo "$TE_HASH" >> "{folder}/done"
"""


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def due(daemon: OwnDaemon) -> int:
    """Return how many runs are written down."""
    address = f"file:{daemon.state / 'daemon.db'}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=LIMIT_S)) as database:
        return int(database.execute("SELECT count(*) FROM hook_due").fetchone()[0])


def kill(*pids: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def test_due_hook_runs_after_a_kill_once_and_for_a_removed_torrent_too(tmp_path: Path) -> None:
    payload = make_payload(tmp_path, "show", {"film.mkv": 50_000})
    program, begun, done = tmp_path / "hook", tmp_path / "begun", tmp_path / "done"
    program.write_text(PROGRAM.format(folder=tmp_path))
    program.chmod(0o755)
    config = tmp_path / "daemon.toml"
    config.write_text(f'[[hook]]\nevent = "torrent_completed"\ncommand = ["{program}"]\n')
    daemon = OwnDaemon(tmp_path, options=[f"--config={config}"])
    try:
        with seeded(tmp_path, payload) as seed, daemon:
            hash_ = add(daemon, payload, seed)
            wait_for(daemon, payload, "seeding")
            wait_until(lambda: len(lines(begun)) == 1, timeout_s=LIMIT_S, what="the hook runs")
            assert due(daemon) == 1
            daemon.signal(signal.SIGKILL)
            daemon.wait()
            kill(int(lines(begun)[0].split()[0]))
            daemon.start()  # what was cut off is run again
            wait_until(lambda: len(lines(begun)) == 2, timeout_s=LIMIT_S, what="it runs again")
            daemon.ask("DELETE", f"/api/v1/torrents/{hash_}")
            daemon.signal(signal.SIGKILL)
            daemon.wait()
            kill(int(lines(begun)[1].split()[0]))
            (tmp_path / "go").touch()
            daemon.start()  # and of a torrent that is gone
            wait_until(lambda: lines(done) == [hash_], timeout_s=LIMIT_S, what="it is done")
            wait_until(lambda: not due(daemon), timeout_s=LIMIT_S, what="it is due no more")
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0
        assert lines(done) == [hash_]
        assert [line.split()[1:] for line in lines(begun)] == [["torrent_completed", hash_]] * 3
    finally:
        kill(*(int(line.split()[0]) for line in lines(begun)))
