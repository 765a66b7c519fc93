"""A file that is cut short while it is seeded ends its torrent, never the process (SIGBUS)."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.crash import ROOT

LINKS = ["tcp", "paced", "rc4", "utp", "utp rc4", "joined"]
FOLDERS = [None, *([Path("/dev/shm")] if sys.platform == "linux" else [])]


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be cut short there")
@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("parent", FOLDERS, ids=str)
def test_f3_a_seeded_file_that_is_cut_short_does_not_end_the_process(
    link: str, parent: Path | None
) -> None:
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        done = subprocess.run(
            [sys.executable, "-m", "tests.engine.truncation_child", folder, link],
            capture_output=True,
            check=False,
            cwd=ROOT,
            text=True,
            timeout=150,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("error"), done.stdout
    assert "is truncated" in done.stdout
