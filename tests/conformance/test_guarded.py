"""Programs that are tested end with the kit, and their children with them."""

import signal
import sys
from pathlib import Path

import anyio
import pytest

from tests.support.swarm import until
from torrent_engine.conformance.adapters.guarded import GuardedProcess
from torrent_engine.conformance.adapters.launch import LaunchCommand

pytestmark = pytest.mark.anyio
ENDS_AT_ONCE, IGNORES_SIGTERM, RUNS = "exit 3", "trap '' TERM", "exec sleep 600"


def parent_of(child: Path, rest: str, *, first: str = ":") -> LaunchCommand:
    """Return a program that writes the process id of its child to a file."""
    script = f'{first}; sleep 600 & echo $! > "{child}.new"; mv "{child}.new" "{child}"; {rest}'
    return LaunchCommand(("/bin/sh", "-c", script))


def is_running(pid: int) -> bool:
    """Return whether a process runs; one that is not waited for has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize("rest", [RUNS, ENDS_AT_ONCE])
async def test_the_children_of_a_program_end_with_it(tmp_path: Path, rest: str) -> None:
    child = tmp_path / "child"
    program = await GuardedProcess.open(parent_of(child, rest), tmp_path / "log", tmp_path)
    await until(child.exists)
    pid = int(child.read_text())
    if rest == ENDS_AT_ONCE:
        await until(lambda: program.returncode is not None)
    assert is_running(pid)
    await program.end()
    assert program.returncode == (3 if rest == ENDS_AT_ONCE else -signal.SIGTERM)
    await until(lambda: not is_running(pid))


async def test_what_ignores_a_polite_end_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torrent_engine.conformance.adapters.guarded.STOP_S", 0.2)
    child = tmp_path / "child"
    command = parent_of(child, RUNS, first=IGNORES_SIGTERM)
    program = await GuardedProcess.open(command, tmp_path / "log", tmp_path)
    await until(child.exists)
    await program.end()
    assert program.returncode == -signal.SIGKILL
    await until(lambda: not is_running(int(child.read_text())))


KIT = """
import anyio, sys
from pathlib import Path
from torrent_engine.conformance.adapters.guarded import GuardedProcess
from torrent_engine.conformance.adapters.launch import LaunchCommand

async def main() -> None:
    folder = Path(sys.argv[1])
    await GuardedProcess.open(LaunchCommand(("/bin/sh", "-c", sys.argv[2])), folder / "log", folder)
    (folder / "ready").touch()
    await anyio.sleep_forever()

anyio.run(main)
"""


async def test_a_program_and_its_children_end_when_the_kit_is_killed(tmp_path: Path) -> None:
    child = tmp_path / "child"
    script = parent_of(child, f"echo $$ > {tmp_path}/parent; {RUNS}").argv[2]
    async with await anyio.open_process((sys.executable, "-c", KIT, str(tmp_path), script)) as kit:
        try:
            await until(lambda: child.exists() and (tmp_path / "ready").exists())
        finally:
            kit.kill()
    pids = [int((tmp_path / name).read_text()) for name in ("child", "parent")]
    assert kit.returncode == -signal.SIGKILL
    await until(lambda: not any(map(is_running, pids)))
