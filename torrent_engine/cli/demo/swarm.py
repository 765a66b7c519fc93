"""The swarm of the demo: processes of its own for the tracker and the seeds, a download here."""

import shlex
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from torrent_engine.base.config import (
    DhtConfig,
    LsdConfig,
    PoolConfig,
    SessionConfig,
    SharedConfig,
)
from torrent_engine.cli.demo.children import Child, Children
from torrent_engine.cli.demo.files import differences, make_files
from torrent_engine.cli.output.exit_codes import CliError, ExitCode
from torrent_engine.cli.output.render import print_line, reporter_for
from torrent_engine.cli.output.settings import ProcessSettings
from torrent_engine.cli.output.sizes import format_rate, format_size
from torrent_engine.cli.output.text import safe
from torrent_engine.cli.tasks.runner import Runner
from torrent_engine.cli.tasks.torrent_task import TaskOptions
from torrent_engine.disk.create.create import CreateOptions, create_torrent
from torrent_engine.service import loop

LOOPBACK: Final = "127.0.0.1"
SEEDS: Final = 2
STALL_TIMEOUT_S: Final = 30.0
NAME: Final = "demo"


def run_demo(size_bytes: int, folder: Path | None, settings: ProcessSettings) -> ExitCode:
    """Make files, seed them from two processes, download them, compare."""
    home = _home(folder)
    original, target = home / "original" / NAME, home / "download"
    with Children() as children:
        _say(f"making {format_size(size_bytes)} of files in {original}")
        make_files(original, size_bytes)
        tracker_url = _start_tracker(children, home)
        torrent = _create(original, home / "demo.torrent", tracker_url)
        _say(f"made {torrent}; the tracker is at {tracker_url}")
        for seed in [_start_seed(children, home, torrent, n + 1) for n in range(SEEDS)]:
            seed.wait_for("tracker.success")
        _say(f"{SEEDS} seeds have announced themselves; downloading")
        started = time.monotonic()
        code = _download(torrent, target, settings)
        seconds = time.monotonic() - started
        children.take_signals()
        if code is ExitCode.OK:
            _compare(original, target / NAME, size_bytes, seconds)
    return code


def _home(folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="torrent-engine-demo-"))
    if folder.exists() and any(folder.iterdir()):
        raise CliError(f"{folder}: is not empty", ExitCode.FILE_EXISTS)
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def _create(original: Path, torrent: Path, tracker_url: str) -> Path:
    torrent.write_bytes(create_torrent([original], CreateOptions(tiers=((tracker_url,),))))
    return torrent


def _download(torrent: Path, target: Path, settings: ProcessSettings) -> ExitCode:
    shared = SharedConfig(
        listen_port=0,
        listen_hosts=(LOOPBACK,),
        state_dir=str(target.parent / "state"),
        pool=replace(PoolConfig(), allow_multiple_per_ip=True),
        dht=DhtConfig(enabled=False),
        lsd=LsdConfig(enabled=False),
    )
    options = TaskOptions(
        folder=target,
        session_config=lambda _: SessionConfig(seed_time_s=0.0),
        stop_timeout_s=STALL_TIMEOUT_S,
        debug=settings.debug,
    )
    reporter = reporter_for(settings, as_json=False, quiet=False)
    return loop.run(Runner([str(torrent)], shared, options, reporter).run)


def _compare(original: Path, found: Path, size_bytes: int, seconds: float) -> None:
    _say("comparing every file byte by byte")
    if wrong := list(differences(original, found)):
        raise CliError(f"{wrong[0]} differs from what was seeded", ExitCode.CHECK_FAILED)
    rate = format_rate(size_bytes / seconds)
    _say(f"all files are the same; {format_size(size_bytes)} in {seconds:.1f} s: {rate}")
    _say(f"the files lie in {found}")
    _say(f"remove all of it with: rm -r {shlex.quote(str(found.parent.parent))}")


def _start_tracker(children: Children, home: Path) -> str:
    """Run a tracker in a process of its own; return its announce URL."""
    arguments = ["tracker", "--host", LOOPBACK, "--port", "0", "--json"]
    return str(children.start(arguments, home / "tracker.log").wait_for("tracker.started")["http"])


def _start_seed(children: Children, home: Path, torrent: Path, number: int) -> Child:
    """Run a seed in a process of its own."""
    state = str(home / f"seed-{number}-state")
    arguments = ["seed", str(torrent), "-d", str(home / "original"), "--state-dir", state]
    arguments += ["--port", "0", "--listen", LOOPBACK, "--no-dht", "--no-lsd", "--json"]
    return children.start(arguments, home / f"seed-{number}.log")


def _say(text: str) -> None:
    print_line(safe(text), flush=True)
