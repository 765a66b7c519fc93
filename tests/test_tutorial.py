"""The tutorial works as it stands: its lines for the shell and its programs, in their order."""

import socket
import subprocess
from pathlib import Path

import anyio.to_thread
import pytest

from tests.test_readme import ALONE, ROOT, blocks_of, home

PROGRAMS = ("fetch.py", "short.py")
"""What the tutorial's programs are called here; the first as it says itself."""


@pytest.mark.anyio
async def test_the_tutorial_works_as_it_stands(tmp_path: Path) -> None:
    """Its lines for the shell, in one shell, then its programs; with a port that is free."""
    tutorial = ROOT / "docs" / "tutorial.md"
    lines = [line for block in blocks_of(tutorial, "console") for line in block.splitlines()]
    port = str(free_port())
    script = "\n".join(
        [
            "set -e -o pipefail",
            "trap 'kill $(jobs -p); wait' EXIT",
            *(line.removeprefix("$ ") for line in lines),
            *(f"python -W error {name}" for name in PROGRAMS),
            "cmp letters/numbers.txt downloads/letters/numbers.txt",
            "cmp letters/hello.txt again/letters/hello.txt",
            "cmp letters/numbers.txt copy/letters/numbers.txt",
        ]
    )
    programs = zip(PROGRAMS, blocks_of(tutorial, "python"), strict=True)
    for name, program in programs:
        (tmp_path / name).write_text((ALONE + program).replace("6901", port))
    done = await anyio.to_thread.run_sync(
        lambda: subprocess.run(
            ["bash", "-c", script.replace("6901", port)],
            cwd=tmp_path,
            env=home(tmp_path),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(line.startswith("$ ") for line in lines)
    assert "PieceCompleted" in done.stdout


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port
