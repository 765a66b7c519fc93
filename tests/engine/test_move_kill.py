"""Processes that are killed with SIGKILL while they move a torrent to another disk (row F4)."""

import subprocess
import sys
from pathlib import Path

from tests.engine.move_child import make
from tests.support.disks import folder_on_other_disk
from tests.support.swarm import content, files_below
from tests.support.torrents import write_files
from torrent_engine.codec.metainfo import Metainfo

KILLS = [("step", 1), ("step", 6), ("step", 14), ("placed", 1)]
"""After how many lines of a kind each process is killed."""


def run(folder: Path, target: Path, kill: tuple[str, int] | None) -> list[str]:
    """Return what the process said until it was killed, or until it ended well."""
    command = [sys.executable, "-m", "tests.engine.move_child", str(folder), str(target)]
    lines: list[str] = []
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        for line in child.stdout:
            lines.append(line.strip())
            if kill is not None and lines.count(kill[0]) == kill[1]:
                child.kill()
                break
            if lines[-1] in {"step", "placed"}:
                child.stdin.write("\n")
                child.stdin.flush()
        child.wait(60)
    assert child.returncode == (0 if kill is None else -9), lines
    return lines


def whole_files(metainfo: Metainfo, payload: bytes, save_path: Path) -> set[int]:
    return {
        index
        for index, entry in enumerate(metainfo.files)
        if (path := save_path.joinpath(*entry.path)).exists()
        and path.read_bytes() == payload[entry.offset_bytes :][: entry.length_bytes]
    }


def test_f4_a_move_to_another_disk_is_finished_whenever_it_is_killed(tmp_path: Path) -> None:
    metainfo, payload = make()
    write_files(metainfo, payload, tmp_path / "old")
    said: list[list[str]] = []
    with folder_on_other_disk(tmp_path) as other:
        target = other / "new"
        for kill in KILLS:
            said.append(run(tmp_path, target, kill))
            everywhere = [whole_files(metainfo, payload, at) for at in (tmp_path / "old", target)]
            assert set.union(*everywhere) == {0, 1, 2, 3}
        said.append(run(tmp_path, target, None))
        assert content(metainfo, target) == payload
        assert len(files_below(target)) == len(metainfo.files)
    assert files_below(tmp_path / "old") == set()
    hashed = [any(line.startswith("hashed") for line in lines) for lines in said]
    assert hashed == [True, False, False, False, False]
    assert said[-1] == [f"seeding {target}", "moved"]
