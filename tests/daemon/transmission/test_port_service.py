"""A service that tells whether our port is open."""

import pytest

from tests.daemon.transmission.rpc_scene import RpcScene

pytestmark = pytest.mark.anyio

URL = "http://service.example/check"


def configure(scene: RpcScene) -> None:
    scene.settings.change({"transmission.port_test_url": f"{URL}/"}, "test")


@pytest.mark.parametrize(("body", "is_open"), [(b"1", True), (b"0", False), (b" 1\n", True)])
async def test_the_service_is_asked_about_our_port_by_the_engine(
    scene: RpcScene, body: bytes, *, is_open: bool
) -> None:
    """It goes by the proxy, if there is one."""
    configure(scene)
    scene.engine.engine.lists[f"{URL}/6881"] = body
    assert await scene.ask("port-test") == {"port-is-open": is_open}


async def test_a_service_that_fails_says_nothing_about_the_port(scene: RpcScene) -> None:
    configure(scene)
    error = await scene.error("port_test")
    assert error["code"] == 8
    assert error["data"]["error_string"] == "Couldn't test port: HTTP status 404"
