"""The interface over a fake engine."""

from collections.abc import AsyncIterator

import pytest

from tests.daemon.qbittorrent.web_api_scene import WebApiScene


@pytest.fixture
async def scene() -> AsyncIterator[WebApiScene]:
    async with WebApiScene().open() as opened:
        yield opened
