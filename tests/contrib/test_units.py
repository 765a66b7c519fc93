"""The unit files, as systemd reads them."""

import configparser
import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "contrib" / "systemd"
SYSTEM, USER, SOCKET = (
    FOLDER / f"torrent-engine{name}" for name in (".service", "-user.service", ".socket")
)
PROGRAM = "/usr/bin/torrent-engine"
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def read(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text())
    return parser


@needs_systemd
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    """With a program that exists here in place of the installed one."""
    for path in (SYSTEM, SOCKET):
        text = path.read_text().replace(PROGRAM, "/bin/true")
        (tmp_path / path.name).write_text(text)
    (tmp_path / "user.service").write_text(USER.read_text())
    for name in ("torrent-engine.service", "torrent-engine.socket", "user.service"):
        result = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@needs_systemd
def test_systemd_calls_the_system_unit_well_confined() -> None:
    result = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", str(SYSTEM)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("path", [SYSTEM, USER], ids=["system", "user"])
def test_both_services_are_watched_and_restarted(path: Path) -> None:
    service = read(path)["Service"]
    assert service["Type"] == "notify"
    assert service["ExecStart"].endswith("torrent-engine daemon run")
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert (service["Restart"], service["WatchdogSec"]) == ("on-failure", "60")
    assert int(service["TimeoutStopSec"]) > 60  # what stopping may take
    assert service["RestartPreventExitStatus"].split() == ["2", "28"]


def test_the_socket_has_the_name_that_the_daemon_takes() -> None:
    socket = read(SOCKET)["Socket"]
    assert (socket["FileDescriptorName"], socket["Service"]) == ("http", SYSTEM.name)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a filter of Linux")
def test_the_daemon_needs_no_memory_that_is_writable_and_executable() -> None:
    """What MemoryDenyWriteExecute= forbids, by the call that systemd has no part in."""
    refuse_exec_gain, flag = 65, 1
    if ctypes.CDLL(None).prctl(66, 0, 0, 0, 0) < 0:
        pytest.skip("this kernel cannot forbid it")
    code = (
        f"import ctypes; assert ctypes.CDLL(None).prctl({refuse_exec_gain}, {flag}, 0, 0, 0) == 0\n"
        "import ssl, sqlite3, uvloop, torrent_engine.daemon.life\n"
        "from cryptography.hazmat.primitives.asymmetric import ec\n"
        "ec.generate_private_key(ec.SECP256R1()); ssl.create_default_context()\n"
        "uvloop.new_event_loop().close()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
