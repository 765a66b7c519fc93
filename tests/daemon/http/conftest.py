"""The HTTP server is uvicorn's, which runs on asyncio's loop only."""

from typing import Any

import pytest


@pytest.fixture(scope="session")
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    if request.config.getoption("--backend") == "trio":
        pytest.skip("the HTTP server runs on asyncio")
    return "asyncio", {
        "debug": request.config.getoption("--loop-debug"),
        "use_uvloop": not request.config.getoption("--no-uvloop"),
    }
