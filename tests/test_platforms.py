"""Differences between operating systems: one module for each subject, tried as each system."""

import ast
import importlib.util
import os
import signal
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "torrent_engine"
SUBJECTS = {
    "conformance/adapters/system.py",  # groups of processes, for the kit
    "disk/system.py",  # file locks, names, modes, mappings
    "engine/resources/heap_trim.py",  # the allocator
    "engine/resources/state_folder.py",  # the folder of the user's state
    "net/sockets/descriptors.py",  # the limit of open descriptors
    "net/sockets/system.py",  # socket options
    "service/system.py",  # signals, processes, pipes, Unix sockets
}
ASKED = ("sys.platform", "os.name", "platform.system", "os.uname")
SYSTEMS = ("linux", "darwin", "win32")


def asks_for_platform(source: str) -> bool:
    """Return whether code reads ``sys.platform``, ``os.name`` or the module ``platform``."""
    return any(name in source for name in ASKED) and any(
        isinstance(each, ast.Attribute) and ast.unparse(each) in ASKED
        for each in ast.walk(ast.parse(source))
    )


class FakeMsvcrt(ModuleType):
    """What the module of Windows is asked for."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        super().__init__("msvcrt")
        self.locked: list[tuple[int, int, int]] = []
        self.is_taken = False

    def locking(self, descriptor: int, mode: int, count: int) -> None:
        """Lock ``count`` bytes, or raise as Windows does."""
        if self.is_taken:
            raise PermissionError(13, "Permission denied")
        self.locked.append((descriptor, mode, count))


@pytest.fixture
def msvcrt(monkeypatch: pytest.MonkeyPatch) -> FakeMsvcrt:
    """Stand in for the module that only Windows has."""
    fake = FakeMsvcrt()
    monkeypatch.setitem(sys.modules, "msvcrt", fake)
    return fake


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest) -> str:
    """Return the name of each system in turn."""
    return str(request.param)


def loaded(name: str, system: str) -> Any:
    """Return a fresh copy of a module, executed as on another system."""
    spec = importlib.util.spec_from_file_location(f"as_on_{system}", PACKAGE / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "platform", system)
        patch.setattr(os, "name", "nt" if system == "win32" else "posix")
        spec.loader.exec_module(module)
    return module


def test_each_subject_has_one_module_and_no_other_asks_for_the_platform() -> None:
    asking = {
        str(path.relative_to(PACKAGE).as_posix())
        for path in PACKAGE.rglob("*.py")
        if asks_for_platform(path.read_text("utf-8"))
    }
    assert asking == SUBJECTS


@pytest.mark.parametrize("source", ["import sys\nx = sys.platform == 'a'", "y = f(os.name)"])
def test_a_module_that_asks_for_the_platform_is_found(source: str) -> None:
    assert asks_for_platform(source)
    assert not asks_for_platform("x = 'sys.platform'  # os.name")


def test_files(system: str, msvcrt: FakeMsvcrt) -> None:
    module = loaded("disk/system.py", system)
    is_windows = system == "win32"
    assert is_windows == module.WINDOWS_NAMES
    assert (not is_windows) == module.HAS_FILE_MODES
    assert (system == "linux") == module.HAS_SAFE_MAPPINGS


def test_locks_of_windows_are_exclusive_and_do_not_wait(msvcrt: FakeMsvcrt) -> None:
    module = loaded("disk/system.py", "win32")
    module.lock_file(7, exclusive=False)
    assert msvcrt.locked == []
    module.lock_file(7, exclusive=True)
    assert msvcrt.locked == [(7, FakeMsvcrt.LK_NBLCK, 1)]
    msvcrt.is_taken = True
    with pytest.raises(OSError, match="Permission"):
        module.lock_file(8, exclusive=True)


def test_sockets(system: str) -> None:
    module = loaded("net/sockets/system.py", system)
    is_windows = system == "win32"
    assert (system == "linux") == module.IS_LINUX
    assert (system == "darwin") == module.IS_BSD
    assert module.REUSES_ADDRESS == module.BINDS_TO_GROUP == (not is_windows)
    assert struct.pack("hh" if is_windows else "ii", 1, 0) == module.NO_LINGER
    assert not (module.HAS_DEVICES and system != "linux")


def test_there_is_no_c_library_to_load_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    module = loaded("net/sockets/system.py", "win32")
    monkeypatch.setattr(sys, "platform", "win32")
    assert module.c_library() is None


def test_signals_and_processes(system: str) -> None:
    module = loaded("service/system.py", system)
    has_posix = system != "win32"
    assert module.HAS_SIGNALS == module.HAS_JOB_CONTROL == has_posix
    assert module.HAS_UNIX_SOCKETS == module.HAS_WAITABLE_PIPES == has_posix
    assert (system == "linux") == module.HAS_DESCRIPTOR_PATHS


def test_nobody_is_signalled_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError(f"signalled {arguments}")

    module = loaded("service/system.py", "win32")
    monkeypatch.setattr(sys, "platform", "win32")
    for name in ("kill", "killpg"):
        monkeypatch.setattr(os, name, refuse, raising=False)
    monkeypatch.setattr(signal, "raise_signal", refuse)
    assert module.may_exist(1)
    assert not module.signal_group(1, force=True)
    module.stop_this_process()


def test_signals_go_to_the_process_group(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    module = loaded("service/system.py", "darwin")
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "killpg", lambda *arguments: sent.append(arguments))
    assert module.signal_group(42, force=False)
    assert module.signal_group(42, force=True)
    assert sent == [(42, signal.SIGTERM), (42, signal.SIGKILL)]


@pytest.mark.parametrize(
    ("failure", "expected"),
    [(None, True), (PermissionError(), True), (ProcessLookupError(), False)],
    ids=["ours", "of_another_user", "gone"],
)
def test_a_process_of_another_user_exists(
    monkeypatch: pytest.MonkeyPatch, failure: OSError | None, *, expected: bool
) -> None:
    def kill(pid: int, number: int) -> None:
        assert (pid, number) == (42, 0)
        if failure is not None:
            raise failure

    module = loaded("service/system.py", "linux")
    monkeypatch.setattr(os, "kill", kill)
    assert module.may_exist(42) == expected


def test_state_lies_where_each_system_keeps_it(
    system: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = loaded("engine/resources/state_folder.py", system)
    for name in ("LOCALAPPDATA", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module.Path, "home", lambda: tmp_path)
    monkeypatch.setattr(sys, "platform", system)
    folders = {
        "linux": ".local/state",
        "darwin": "Library/Application Support",
        "win32": "AppData/Local",
    }
    assert module.default_state_dir() == tmp_path / folders[system] / "torrent_engine"


def test_windows_has_no_limit_of_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    module = loaded("net/sockets/descriptors.py", "win32")
    monkeypatch.setattr(sys, "platform", "win32")
    assert module.descriptor_limit() == module.raise_descriptor_limit(500) == module.UNLIMITED


@pytest.mark.parametrize("other", ["darwin", "win32"])
def test_only_linux_has_the_allocator_that_is_trimmed(
    other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = loaded("engine/resources/heap_trim.py", other)
    monkeypatch.setattr(sys, "platform", other)
    assert module.system_allocator() is None
