"""Downloads for a process that may end."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from tests.cli.commands.test_run import keeping
from tests.cli.tasks.test_transfers import (
    CONTENT,
    collected,
    downloaded,
    make_source,
    options,
    wait_for,
)
from tests.cli.test_processes import running
from torrent_engine.base.ids import OwnerTie
from torrent_engine.cli.output.exit_codes import CliError, ExitCode
from torrent_engine.cli.tasks.process_owner import ProcessOwner
from torrent_engine.engine.resources.owners import Owners

pytestmark = pytest.mark.anyio


@contextmanager
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that waits for its end."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def test_the_owners_hear_when_a_process_has_ended() -> None:
    owners = Owners()
    with sleeper() as process:
        owner = ProcessOwner(process.pid)
        assert owner.is_alive
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(owner.watch, owners)
            await anyio.wait_all_tasks_blocked()
            assert owners.is_current(owner.tie)
            process.kill()  # dead from now on, though nobody has asked how it ended
            with anyio.fail_after(30):
                while owners.is_current(owner.tie):  # noqa: ASYNC110 - a watch is another task
                    await anyio.sleep(0.02)
    assert owners.generation(owner.tie.owner_id) == 1


def test_another_process_of_the_same_number_is_another_owner() -> None:
    owner = ProcessOwner(os.getpid())
    owner._start = "when another one began"
    assert not owner.is_alive
    assert owner.tie == OwnerTie(f"process {os.getpid()}", 0)


def test_a_process_that_is_not_there_is_a_mistake() -> None:
    with sleeper() as process:
        pass
    with pytest.raises(CliError, match="no such process") as caught:
        ProcessOwner(process.pid)
    assert caught.value.code is ExitCode.NOT_FOUND


def test_a_download_ends_with_its_process_and_leaves_nothing(tmp_path: Path) -> None:
    torrent = make_source(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("stays")
    seed = [torrent, "-d", tmp_path / "source"]
    with keeping(*seed, state=tmp_path / "seed-state") as run, sleeper() as owner:
        run.wait("stats.update", state="seeding")
        port = run.wait("run.started")["listen_port"]
        arguments = ["-d", tmp_path / "out", "--peer", f"127.0.0.1:{port}", "--json"]
        arguments += ["--max-download-limit", "200K", "--owner-process", owner.pid]
        with running("download", torrent, *arguments, *options(tmp_path / "state")) as process:
            wait_for(process, "piece.completed")
            owner.kill()
            code, out, err = collected(process)
    assert code == ExitCode.UNFINISHED
    assert err.endswith("cancelled: the process that it was for has ended\n")
    assert '"reason": "owner_changed"' in out
    assert downloaded(tmp_path / "out") == {"mine.txt": b"stays"}


def test_a_download_that_is_done_before_its_process_stays(tmp_path: Path) -> None:
    torrent = make_source(tmp_path)
    with sleeper() as owner:
        arguments = ["-d", tmp_path / "source", "--owner-process", owner.pid]
        with running("download", torrent, *arguments, *options(tmp_path / "state")) as process:
            assert collected(process)[0] == 0
    assert downloaded(tmp_path / "source/stuff") == CONTENT


def test_a_process_that_cannot_be_looked_at_is_not_taken_for_a_dead_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read_text(path: Path, *_: object) -> str:
        raise OSError(errno.EMFILE, "Too many open files")

    with sleeper() as process:
        owner = ProcessOwner(process.pid)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_text", read_text)
            assert owner.is_alive
            with pytest.raises(CliError, match="Too many open files"):
                ProcessOwner(process.pid)
    process.wait()
    assert not owner.is_alive
