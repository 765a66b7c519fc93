"""The swarm of the demo: processes of its own for the tracker and the seeds, a download here."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from torrent_engine.base.config import PoolConfig, SessionConfig, SharedConfig
from torrent_engine.cli import loop
from torrent_engine.cli.demo_files import differences, make_files
from torrent_engine.cli.exit_codes import CliError, ExitCode
from torrent_engine.cli.job import JobOptions
from torrent_engine.cli.options import Settings
from torrent_engine.cli.render import print_line, reporter_for, safe
from torrent_engine.cli.runner import Runner
from torrent_engine.cli.sizes import format_rate, format_size

LOOPBACK: Final = "127.0.0.1"
SEEDS: Final = 2
START_TIMEOUT_S: Final = 30.0
STALL_TIMEOUT_S: Final = 30.0
END_TIMEOUT_S: Final = 8.0
POLL_S: Final = 0.05
NAME: Final = "torrent-engine demo"


def run_demo(size_bytes: int, folder: Path | None, settings: Settings) -> ExitCode:
    """Make files, seed them from two processes, download them, compare."""
    home = _home(folder)
    original, target = home / "original" / NAME, home / "download"
    print_line(f"making {format_size(size_bytes)} of files in {safe(str(original))}")
    make_files(original, size_bytes)
    with ExitStack() as children:
        tracker_url = children.enter_context(_tracker(home))
        torrent = _create(original, home / "demo.torrent", tracker_url)
        print_line(f"made {safe(str(torrent))}; tracker at {tracker_url}")
        seeds = [children.enter_context(_seed(home, torrent, n + 1)) for n in range(SEEDS)]
        for log in seeds:
            _wait_for(log, "tracker.success")
        print_line(f"{SEEDS} seeds have announced; downloading")
        started = time.monotonic()
        code = _download(torrent, target, settings)
        seconds = time.monotonic() - started
    if code is not ExitCode.OK:
        return code
    return _compare(original, target / NAME, size_bytes, seconds)


def _home(folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="torrent-engine-demo-"))
    if folder.exists() and any(folder.iterdir()):
        raise CliError(f"{folder}: is not empty", ExitCode.FILE_EXISTS)
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def _create(original: Path, torrent: Path, tracker_url: str) -> Path:
    from torrent_engine.disk.create import CreateOptions, create_torrent

    torrent.write_bytes(create_torrent([original], CreateOptions(tiers=((tracker_url,),))))
    return torrent


def _download(torrent: Path, target: Path, settings: Settings) -> ExitCode:
    shared = SharedConfig(
        listen_port=0,
        listen_hosts=(LOOPBACK,),
        state_dir=str(target.parent / "state"),
        pool=replace(PoolConfig(), allow_multiple_per_ip=True),
    )
    options = JobOptions(
        folder=target,
        session_config=lambda _: SessionConfig(seed_time_s=0.0),
        stop_timeout_s=STALL_TIMEOUT_S,
        debug=settings.debug,
    )
    reporter = reporter_for(settings, as_json=False, quiet=False)
    return loop.run(Runner([str(torrent)], shared, options, reporter).run)


def _compare(original: Path, found: Path, size_bytes: int, seconds: float) -> ExitCode:
    print_line("comparing every file byte by byte")
    if wrong := list(differences(original, found)):
        raise CliError(f"{wrong[0]} differs from what was seeded", ExitCode.CHECK_FAILED)
    rate = format_rate(size_bytes / seconds)
    print_line(f"all files are the same; {format_size(size_bytes)} in {seconds:.1f} s: {rate}")
    print_line(f"the files lie in {safe(str(found))}")
    print_line(f"remove all of it with: rm -r {safe(str(found.parent.parent))}")
    return ExitCode.OK


@contextmanager
def _tracker(home: Path) -> Iterator[str]:
    """Run a tracker in a process of its own; gives its announce URL."""
    arguments = ["tracker", "--host", LOOPBACK, "--port", "0", "--json"]
    with _child(arguments, home / "tracker.log") as log:
        started = _wait_for(log, "tracker.started")
        yield str(started["http"])


@contextmanager
def _seed(home: Path, torrent: Path, number: int) -> Iterator["Log"]:
    """Run a seed in a process of its own."""
    state = str(home / f"seed-{number}-state")
    arguments = ["seed", str(torrent), "-d", str(home / "original"), "--state-dir", state]
    arguments += ["--port", "0", "--listen", LOOPBACK, "--json"]
    with _child(arguments, home / f"seed-{number}.log") as log:
        yield log


class Log:
    """What a child prints, line by line, from a file."""

    def __init__(self, path: Path, child: "subprocess.Popen[bytes]") -> None:
        self.path = path
        self.child = child

    def find(self, type_: str) -> dict[str, object] | None:
        """Return the first event of a type, None if there is none yet."""
        for line in self.path.read_text("utf-8", "replace").splitlines(keepends=True):
            if line.endswith("\n") and line.startswith("{"):
                event: dict[str, object] = json.loads(line)
                if event.get("type") == type_:
                    return event
        return None

    def last_line(self) -> str:
        """Return what the child said last."""
        lines = self.path.read_text("utf-8", "replace").splitlines()
        return lines[-1] if lines else "it said nothing"


@contextmanager
def _child(arguments: list[str], log_path: Path) -> Iterator[Log]:
    """Run ourselves with these arguments; the process has ended when the block ends."""
    command = [sys.executable, "-m", "torrent_engine", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with log_path.open("wb") as log:
        child = subprocess.Popen(  # noqa: S603 - our own program
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C is for us; we end our children ourselves
        )
    try:
        yield Log(log_path, child)
    finally:
        _end(child)


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.terminate()
    try:
        child.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _wait_for(log: Log, type_: str) -> dict[str, object]:
    """Wait until a child has printed an event; raises CliError when it ends or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while (event := log.find(type_)) is None:
        if log.child.poll() is not None:
            raise CliError(f"{log.path.stem} ended: {log.last_line()}", ExitCode.UNKNOWN)
        if time.monotonic() > deadline:
            raise CliError(f"{log.path.stem} did not start", ExitCode.TIMED_OUT)
        time.sleep(POLL_S)
    return event
