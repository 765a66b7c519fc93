"""The protocol over a fake engine."""

import pytest

from tests.daemon.transmission.rpc_scene import RpcScene


@pytest.fixture
def scene() -> RpcScene:
    return RpcScene()
