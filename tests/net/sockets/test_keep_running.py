"""Services go on after a fault: those beside them do not notice."""

import anyio
import pytest

from tests.support.swarm import until
from torrent_engine.net.sockets import keep_running as module
from torrent_engine.net.sockets.keep_running import keep_running

pytestmark = pytest.mark.anyio


async def test_what_fails_begins_anew_and_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RESTART_S", 0.0)
    faults, begun = [ValueError("first"), ExceptionGroup("a group", [KeyError("second")])], 0

    async def run() -> None:
        nonlocal begun
        begun += 1
        if faults:
            raise faults.pop(0)

    await keep_running("uTP", run)
    assert begun == 3
    texts = [record.getMessage() for record in caplog.records]
    assert texts == ["uTP: internal error; it begins anew"] * 2


async def test_it_ends_when_it_is_cancelled() -> None:
    begun = 0

    async def run() -> None:
        nonlocal begun
        begun += 1
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep_running, "uTP", run)
        await until(lambda: begun)
        tasks.cancel_scope.cancel()
    assert begun == 1
