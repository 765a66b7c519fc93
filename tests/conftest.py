"""Fixtures of all tests: which event loop async tests run on, and no network beyond loopback."""

import gc
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from coverage import Coverage
from hypothesis import HealthCheck, settings

from tests.support.loop_debug import leave_out_stacks

# A busy machine is no failure: no test case has a deadline, only the whole test has a time-out.
settings.register_profile(
    "shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared machine")

# No command line that a test starts asks strangers for peers, nor the router for an open port, nor
# reads the user's configuration, unless the test takes these back.
os.environ |= {
    "TORRENT_ENGINE_CONFIG": os.devnull,
    "TORRENT_ENGINE_NO_DHT": "1",
    "TORRENT_ENGINE_NO_LSD": "1",
    "TORRENT_ENGINE_NO_PORT_MAPPING": "1",
}

# Their output is buffered, as a user's is who redirects it.
os.environ.pop("PYTHONUNBUFFERED", None)

# Programs that a test starts turn warnings into errors, as the tests do, but leave out the checks
# of the development mode: asyncio's write a line to standard error when the machine is busy.
os.environ.pop("PYTHONDEVMODE", None)

# A shell that has started the tests in the background may have had them ignore Ctrl-C: the programs
# that they start and interrupt would, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).parent
CORE = {"base", "codec", "policy", "protocol"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend",
        choices=["asyncio", "trio"],
        default="asyncio",
        help="event loop of the async tests (default: asyncio, with uvloop)",
    )
    parser.addoption(
        "--no-uvloop", action="store_true", help="asyncio's own event loop instead of uvloop"
    )
    parser.addoption(
        "--loop-debug",
        action="store_true",
        help="asyncio's debug mode, without stacks: which thread calls what is checked",
    )
    parser.addoption(
        "--passed-file",
        type=Path,
        help="leave out the tests that this file names, and add the names of those that pass",
    )


class PassedTests:
    """Keeps the names of the tests that passed, for a second run of all others."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names = set(path.read_text().splitlines()) if path.exists() else set()
        self._others: set[str] = set()
        """Failed, or left out."""

    def is_passed(self, item: pytest.Item) -> bool:
        return item.nodeid in self._names

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a phase of a test; its end comes last."""
        if not report.passed:
            self._others.add(report.nodeid)
        if report.when == "teardown" and report.nodeid not in self._others:
            with self._path.open("a") as names:
                names.write(f"{report.nodeid}\n")


class CoreCoverage:
    """Coverage that is watched while modules are imported, and then in tests of the core only.

    To watch is three times the work, also where nothing of what runs is counted.
    """

    def __init__(self) -> None:
        self._coverage: Coverage | None = None
        self._watches = False

    def pytest_collection_finish(self) -> None:
        """Watch no longer: all modules of the tests are imported."""
        self._coverage = Coverage.current()
        self._set(watches=False)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Watch a test with its fixtures, or do not."""
        is_core = not CORE.isdisjoint(item.path.parts[len(TESTS.parts) :])
        watches = is_core and item.get_closest_marker("no_cover") is None
        self._set(watches=watches)
        result = yield
        if not watches:  # pytest-cov goes on by itself after a test with this mark
            self._set(watches=False)
        return result

    def _set(self, *, watches: bool) -> None:
        if self._coverage is None:
            return
        if not watches:
            self._coverage.stop()
        elif not self._watches:
            self._coverage.start()
        self._watches = watches


def _end_debug_mode() -> None:
    """Let event loops of commands that tests call be as those of a user, as with fixtures here.

    In the development mode each callback of a loop has the stack of its origin formatted.
    """
    with suppress(ImportError):
        import uvloop

        class Loop(uvloop.Loop):
            def __init__(self) -> None:
                super().__init__()
                self.set_debug(False)

        uvloop.new_event_loop = Loop


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--loop-debug"):
        leave_out_stacks()
    _end_debug_mode()
    config.pluginmanager.register(CoreCoverage(), "core-coverage")
    path = config.getoption("--passed-file")
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(PassedTests(path), "passed-tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what has passed, and on trio what the option changes nothing in.

    Tests that are no coroutines do the same with each option: nothing, or event loops they name.
    """
    if config.getoption("--backend") == "trio":
        items[:] = [item for item in items if "anyio_backend" in getattr(item, "fixturenames", ())]
    path = config.getoption("--passed-file")
    if path is not None and path.exists():
        passed = PassedTests(path)
        items[:] = [item for item in items if not passed.is_passed(item)]


def pytest_collection_finish() -> None:
    """Exempt what was imported and collected from garbage collection.

    600,000 objects, which all stay: each full collection took 0.4 s of processor time, in which
    the event loop of a test stood still.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    backend = request.config.getoption("--backend")
    if backend == "trio":
        return "trio", {}
    return "asyncio", {
        "debug": request.config.getoption("--loop-debug"),
        "use_uvloop": not request.config.getoption("--no-uvloop"),
    }
