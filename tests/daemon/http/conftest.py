"""The HTTP server is uvicorn's, which runs on asyncio's loop only: its own one, and uvloop."""

from typing import Any

import pytest


@pytest.fixture(scope="session", params=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    if request.config.getoption("--backend") == "trio":
        pytest.skip("the HTTP server runs on asyncio")
    wants_uvloop = request.param == "uvloop"
    if wants_uvloop and request.config.getoption("--no-uvloop"):
        pytest.skip("uvloop is switched off")
    return "asyncio", {
        "debug": request.config.getoption("--loop-debug"),
        "use_uvloop": wants_uvloop,
    }
