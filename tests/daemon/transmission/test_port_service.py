"""A service that tells whether our port is open."""

import pytest

from tests.daemon.transmission.rpc_scene import RpcScene
from tests.support.rude_server import response
from tests.support.web_server import Asked, WebServer, web_server

pytestmark = pytest.mark.anyio


def configure(scene: RpcScene, server: WebServer) -> None:
    scene.settings.change({"transmission.port_test_url": f"{server.base}/check/"}, "test")


@pytest.mark.parametrize(("body", "is_open"), [(b"1", True), (b"0", False), (b" 1\n", True)])
async def test_the_service_is_asked_about_our_port(
    scene: RpcScene, body: bytes, *, is_open: bool
) -> None:
    async with web_server({"/check/6881": body}) as server:
        configure(scene, server)
        assert await scene.ask("port-test") == {"port-is-open": is_open}
    assert [asked.path for asked in server.asked] == [b"/check/6881"]


async def test_a_service_that_fails_says_nothing_about_the_port(scene: RpcScene) -> None:
    async with web_server({}) as server:
        configure(scene, server)
        error = await scene.error("port_test")
    assert error["code"] == 8
    assert error["data"]["error_string"] == "Couldn't test port: HTTP status 404"


async def test_a_long_answer_is_no_answer(scene: RpcScene) -> None:
    def answer(_: Asked) -> bytes:
        return response(b"1" * 5_000)

    async with web_server({}) as server:
        server.answer = answer
        configure(scene, server)
        text = await scene.refused("port-test")
    assert text.startswith("Couldn't test port: ")
