"""What a wheel installs: the package, manual pages, completion scripts, and no tests."""

import os
import pty
import runpy
import select
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHARE = ROOT / "share"
FILES: dict[str, str] = runpy.run_path(str(ROOT / "tools" / "man.py"))["files"]()
PROGRAMS = Path(sys.executable).parent
ENVIRONMENT = os.environ | {"PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}", "TERM": "dumb"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, without a network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-Wd", "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    environment = {name: os.environ[name] for name in os.environ if name != "PYTHONWARNINGS"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_every_manual_page_has_its_parts() -> None:
    pages = {name: text for name, text in FILES.items() if name.endswith(".1")}
    for name, text in pages.items():
        parts = [line[4:] for line in text.splitlines() if line.startswith(".SH")]
        assert parts[:3] == ["NAME", "SYNOPSIS", "DESCRIPTION"], name
        assert "OPTIONS" in parts
    assert 'SH "EXIT STATUS"' in pages["man/man1/torrent-engine.1"]


def test_the_wheel_has_manual_pages_and_scripts_and_no_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    data = next(name.split("/")[0] for name in names if ".data/" in name)
    assert {f"{data}/data/share/{name}" for name in FILES} <= names
    tops = {name.split("/")[0].split("-")[0] for name in names}
    assert tops == {"torrent_engine"}
    assert "torrent_engine/py.typed" in names
    assert not {name for name in names if "tests/" in name}
    kept = subprocess.run(
        ["git", "ls-files", "torrent_engine"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert set(kept.stdout.split()) <= names  # the page with its icons, languages and licences too
    for name in ("index.html", "main.js", "locale/de.js", "icon.svg", "manifest.webmanifest"):
        assert f"torrent_engine/daemon/page/static/{name}" in names


def test_an_installed_wheel_has_them_where_programs_look(wheel: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps"]
    options = ["--ignore-installed", "--no-compile", "--prefix", str(tmp_path), str(wheel)]
    environment = {name: os.environ[name] for name in os.environ if name != "PYTHONWARNINGS"}
    subprocess.run([*command, *options], env=environment, check=True, capture_output=True)
    assert (tmp_path / "share/man/man1/torrent-engine-download.1").is_file()
    assert (tmp_path / "share/bash-completion/completions/torrent-engine").is_file()
    assert (tmp_path / "bin/torrent-engine").is_file()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_a_shell(shell: str) -> None:
    command = [sys.executable, "-m", "torrent_engine", "completion", shell]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout in FILES.values()
    assert "_TORRENT_ENGINE_COMPLETE" in done.stdout


def completed(words: str) -> list[str]:
    """Return what the script lets bash offer for the last of some words."""
    code = f"""
        source {SHARE}/bash-completion/completions/torrent-engine
        COMP_WORDS=({words}) COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        _torrent_engine_completion torrent-engine 2>/dev/null
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    command = ["bash", "--norc", "-c", code]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bash_completes_commands_options_and_values() -> None:
    assert completed("torrent-engine dow") == ["download"]
    assert completed("torrent-engine dht pi") == ["ping"]
    assert "--max-upload-limit" in completed("torrent-engine download --max-u")
    assert completed("torrent-engine completion f") == ["fish"]


def test_an_interactive_bash_completes_a_command_and_a_file(tmp_path: Path) -> None:
    (tmp_path / "letters.torrent").touch()
    leader, follower = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        cwd=tmp_path,
        env=ENVIRONMENT | {"HOME": str(tmp_path), "PS1": "", "INPUTRC": "/dev/null"},
        start_new_session=True,
    )
    os.close(follower)
    try:
        script = SHARE / "bash-completion/completions/torrent-engine"
        os.write(leader, f"source {script}; echo re''ady\n".encode())
        read_until(leader, b"ready")
        os.write(leader, b"torrent-engine ver\t")
        seen = read_until(leader, b"verify ")
        os.write(leader, b"let\t")
        seen += read_until(leader, b"letters.torrent")
    finally:
        shell.kill()
        shell.wait()
        os.close(leader)
    assert b"letters.torrent" in seen


def read_until(descriptor: int, wanted: bytes) -> bytes:
    """Return what a terminal shows until it shows some bytes; a minute at most."""
    seen, end = b"", time.monotonic() + 60
    while wanted not in seen and time.monotonic() < end:
        if select.select([descriptor], [], [], 1.0)[0]:
            seen += os.read(descriptor, 4096)
    return seen
