"""The units for systemd: as it understands them, and what it keeps the daemon from."""

import subprocess
from pathlib import Path

import pytest

from tests.support.processes import require_program
from torrent_engine.cli.output.exit_codes import ExitCode
from torrent_engine.daemon.unit import CONFIGURATION_EXIT, has_notify_reload, unit

PROGRAM = Path("/usr/bin/torrent-engine")


@pytest.mark.parametrize("is_user", [False, True])
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path, *, is_user: bool) -> None:
    """The parts that only a newer systemd knows apart."""
    analyze = require_program("systemd-analyze", "systemd")
    program = tmp_path / "a program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = unit(
        program,
        is_user=is_user,
        folders=[tmp_path, Path("/srv/with space %h")],
        reloads_by_notify=has_notify_reload(),
    )
    (tmp_path / "torrent-engine.service").write_text(text)
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(tmp_path / "torrent-engine.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line for line in done.stderr.splitlines() if "torrent-engine.service" in line]
    assert told == []
    assert done.returncode == 0


def test_exposure_of_the_system_unit_is_low(tmp_path: Path) -> None:
    analyze = require_program("systemd-analyze", "systemd")
    (tmp_path / "a.service").write_text(unit(PROGRAM, is_user=False))
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=25", str(tmp_path / "a.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-500:]


def test_older_systemd_gets_a_reload_by_signal() -> None:
    old, new = (unit(PROGRAM, is_user=False, reloads_by_notify=each) for each in (False, True))
    assert "Type=notify\n" in old
    assert "ExecReload=kill -HUP $MAINPID\n" in old
    assert "Type=notify-reload\n" in new
    assert "ExecReload" not in new


def test_wrong_configuration_is_not_tried_again() -> None:
    assert int(ExitCode.BAD_OPTION) == CONFIGURATION_EXIT
    assert "RestartPreventExitStatus=28\n" in unit(PROGRAM, is_user=False)
