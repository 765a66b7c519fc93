"""The daemon's own tables after its process was killed: what was written is there."""

import subprocess
import sys
from pathlib import Path
from random import Random

import anyio

from tests.support import store_child
from torrent_engine.daemon.state.store import DaemonStore

KILLS = 50
MOST_STEPS = 12


def run_and_kill(folder: Path, begin: int, steps: int) -> int:
    """Let a process write, and kill it some time after a number of steps; return the last one."""
    argv = [sys.executable, store_child.__file__, str(folder), str(begin)]
    last = begin - 1
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(steps):
            line = child.stdout.readline()
            assert line, "it ended by itself"
            last = int(line)
        child.kill()
        for line in child.stdout:  # what it wrote before the signal came
            last = int(line) if line.endswith("\n") else last
    return last


async def check(folder: Path, last: int) -> None:
    """All tables have the step that was told last, or a later one, whole."""
    async with DaemonStore.open(folder) as store:
        assert store.problem is None
        overlay = store.table("settings_overlay").get("limits.peers")["value"]
        assert overlay >= last
        labels = dict(store.table("labels").items())
        assert all(labels[f"label {n % 7}"] >= n for n in range(max(last - 6, 0), last + 1))
        owners = dict(store.table("owners").items())
        assert owners[f"tab-{last % 5}"][0] >= last
        due = {value[0] for _, value in store.table("hook_due").items()}
        kept = {f"key {number}" for number in range(last) if number % 3 == 0}
        assert kept <= due
        assert len(due) <= len(kept) + KILLS * 2


def test_what_was_written_is_there_after_any_of_50_kills(tmp_path: Path) -> None:
    chance, last = Random(11), -1
    for _ in range(KILLS):
        last = run_and_kill(tmp_path, last + 1, chance.randrange(1, MOST_STEPS))
        anyio.run(check, tmp_path, last)
    assert last >= KILLS
