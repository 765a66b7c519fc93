"""A daemon over a fake engine, and a client of its own API."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.daemon.contexts import client_of, make_context
from tests.daemon.fake_port import FakeEngine
from torrent_engine.daemon.context import DaemonContext


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def context(engine: FakeEngine) -> DaemonContext:
    return make_context(engine)


@pytest.fixture
async def client(context: DaemonContext) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(context) as made:
        yield made
