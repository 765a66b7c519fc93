"""Programs that were due when the daemon was killed."""

import os
import shutil
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

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no signals")
PROGRAM = """#!/bin/sh
echo "$$ $TE_EVENT $TE_HASH" >> "{folder}/begun"
while [ ! -e "{folder}/go" ]; do sleep 0.05; done
echo "$TE_HASH" >> "{folder}/done"
"""
LOST = """
import os, runpy, signal
from torrent_engine.daemon.jobs.completions import Completions

def lose(self, info_hash):
    {end}

Completions._completed = lose
runpy.run_module("torrent_engine", run_name="__main__")
"""
"""A command line that never hears that a torrent is complete."""
ENDS = {
    "as_it_completes": "os.kill(os.getpid(), signal.SIGKILL)",
    "once_it_is_saved": "pass",
}


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def rows(daemon: OwnDaemon, table: str) -> dict[str, str]:
    """Return what is written down in a table."""
    address = f"file:{daemon.state / 'daemon.db'}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=LIMIT_S)) as database:
        return dict(database.execute(f"SELECT key, value FROM {table}"))


def due(daemon: OwnDaemon) -> int:
    """Return how many runs are written down."""
    return len(rows(daemon, "hook_due"))


def kill(*pids: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def test_due_hook_of_a_removed_torrent_runs_once_after_a_kill(tmp_path: Path) -> None:
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
            daemon.ask("DELETE", f"/api/v1/torrents/{hash_}")
            daemon.signal(signal.SIGKILL)
            daemon.wait()
            kill(int(lines(begun)[0].split()[0]))
            (tmp_path / "go").touch()
            daemon.start()  # what was cut off is run again, though its torrent is gone
            wait_until(lambda: lines(done) == [hash_], timeout_s=LIMIT_S, what="it is done")
            wait_until(lambda: not due(daemon), timeout_s=LIMIT_S, what="it is due no more")
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0
        assert lines(done) == [hash_]
        assert [line.split()[1:] for line in lines(begun)] == [["torrent_completed", hash_]] * 2
    finally:
        kill(*(int(line.split()[0]) for line in lines(begun)))


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_kill_before_a_completion_is_written_down_loses_no_hook(tmp_path: Path, end: str) -> None:
    payload = make_payload(tmp_path, "show", {"film.mkv": 50_000})
    whole = make_payload(tmp_path, "whole", {"film.mkv": 20_000})
    told, program, lost = tmp_path / "told", tmp_path / "hook", tmp_path / "lost.py"
    program.write_text(f'#!/bin/sh\necho "$TE_HASH" >> "{told}"\n')
    program.chmod(0o755)
    lost.write_text(LOST.format(end=end))
    config = tmp_path / "daemon.toml"
    config.write_text(f'[[hook]]\nevent = "torrent_completed"\ncommand = ["{program}"]\n')
    options = [f"--config={config}"]
    killed = OwnDaemon(tmp_path, options=options, program=[str(lost)])
    daemon = OwnDaemon(tmp_path, options=options)
    with seeded(tmp_path, payload) as seed, killed:
        first = add(killed, payload)
        wait_until(
            lambda: rows(killed, "completions").get(first) == '"due"',
            timeout_s=LIMIT_S,
            what="it is written down that the torrent downloads",
        )
        host, port = seed.address
        killed.ask("POST", f"/api/v1/torrents/{first}/peers", {"host": host, "port": port})
        if end == "pass":
            wait_for(killed, payload, "seeding")
            shutil.copytree(whole.source_dir / whole.name, tmp_path / "d" / whole.name)
            add(killed, whole)
            wait_for(killed, whole, "seeding")  # its answer was given once all was saved
            killed.signal(signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
        assert lines(told) == []
        with daemon:
            wait_until(lambda: lines(told) == [first], timeout_s=LIMIT_S, what="the hook runs")
            wait_until(lambda: not due(daemon), timeout_s=LIMIT_S, what="it is due no more")
            assert rows(daemon, "completions")[first] == '"told"'  # and so not a second time
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0
    assert lines(told) == [first]  # not of what was complete when it was added
