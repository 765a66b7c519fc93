import subprocess
import sys
from hashlib import sha1
from pathlib import Path
from random import Random

from tests.disk.kill_child import FILES, make

CYCLES = 4


def run_and_kill(folder: Path, seed: int, after_pieces: int) -> tuple[set[int], set[int], bool]:
    """Return the pieces the child began with, those it reported, and whether it finished."""
    command = [sys.executable, "-m", "tests.disk.kill_child", str(folder), str(seed)]
    began: set[int] = set()
    written: set[int] = set()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            word, *numbers = line.split()
            if word == "have":
                began.update(map(int, numbers))
            elif word == "written":
                written.update(map(int, numbers))
            if len(written) == after_pieces:
                child.kill()  # what is in the pipe was announced too: it is read on
        child.wait(60)
    return began, written, child.returncode == 0


def test_f4_pieces_that_were_announced_survive_kill_9(tmp_path: Path) -> None:
    metainfo, payload = make()
    random, announced, is_done = Random(9), set[int](), False
    for cycle in range(CYCLES):
        began, written, is_done = run_and_kill(tmp_path, cycle, random.randrange(1, 15))
        assert announced <= began, f"cycle {cycle} fetches {announced - began} again"
        announced |= written
    if not is_done:
        began, written, is_done = run_and_kill(tmp_path, CYCLES, metainfo.piece_count + 1)
        assert announced <= began
    assert is_done
    found = b"".join((tmp_path / "save" / "payload" / name).read_bytes() for name in FILES)
    assert sha1(found).digest() == sha1(payload).digest()
