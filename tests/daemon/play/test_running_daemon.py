"""A daemon that runs as the engine of a stream: what its restart costs."""

from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest

from torrent_engine.base.errors import NetworkError
from torrent_engine.daemon.play import running_daemon
from torrent_engine.daemon.play.choice import PlayRequest
from torrent_engine.daemon.play.running_daemon import RunningDaemon

pytestmark = pytest.mark.anyio


class Requests:
    """Answers of a daemon of which some renewals are refused."""

    def __init__(self, refused: int) -> None:
        self.refused = refused
        self.renewed = anyio.Event()

    async def ask(self, method: str, _path: str, _body: object = None) -> Any:
        await anyio.lowlevel.checkpoint()
        if method == "PUT" and self.refused:
            self.refused -= 1
            raise NetworkError("the engine starts anew")
        if method == "PUT":
            self.renewed.set()
        return {"generation": 1}


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_daemon, "RENEW_S", 0.001)


async def test_a_renewal_of_the_lease_that_is_lost_ends_no_stream() -> None:
    requests = Requests(refused=2)
    daemon = RunningDaemon(cast("Any", requests))
    async with daemon._owner(PlayRequest("x")) as owner:
        with anyio.fail_after(30):
            await requests.renewed.wait()
    assert owner is not None
    assert requests.refused == 0


async def test_a_lease_that_ran_out_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_daemon, "LEASE_S", 0.0)
    daemon = RunningDaemon(cast("Any", Requests(refused=10**9)))
    found = SimpleNamespace(error=None)
    try:
        async with daemon._owner(PlayRequest("x")):
            with anyio.fail_after(30):
                await anyio.sleep_forever()
    except BaseExceptionGroup as group:
        (found.error,) = group.exceptions
    assert isinstance(found.error, NetworkError)
