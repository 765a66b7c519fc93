"""Fixtures of all tests: which event loop async tests run on, and no network beyond loopback."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no failure: no test case has a deadline, only the whole test has a time-out.
settings.register_profile(
    "shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared machine")

# No command line that a test starts asks strangers for peers, nor the router for an open port,
# unless the test takes these back.
os.environ |= {
    "TORRENT_ENGINE_NO_DHT": "1",
    "TORRENT_ENGINE_NO_LSD": "1",
    "TORRENT_ENGINE_NO_PORT_MAPPING": "1",
}

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Watch the coverage of the core in its own tests only: to watch is three times the work."""
    for item in items:
        if not CORE & set(item.path.parts[len(TESTS.parts) :]):
            item.add_marker(pytest.mark.no_cover)


@pytest.fixture(scope="session")
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    backend = request.config.getoption("--backend")
    if backend == "trio":
        return "trio", {}
    return "asyncio", {"use_uvloop": not request.config.getoption("--no-uvloop")}
