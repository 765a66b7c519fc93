"""What is told to the service manager: states, signs of life, and more time where it is needed."""

import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from torrent_engine.daemon.http.notify import Notifier

pytestmark = pytest.mark.anyio
INTERVAL_S = 0.01
MORE_TIME = "EXTEND_TIMEOUT_USEC=60000"
"""Six rounds of that interval, in microseconds."""


class ServiceManager:
    """The other end of the notify socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    async def next(self) -> list[str]:
        """Return the lines of the next message."""
        with anyio.fail_after(60):
            while True:
                try:
                    return self._socket.recv(4096).decode().split("\n")
                except BlockingIOError:
                    await anyio.sleep(0.001)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager() -> Iterator[ServiceManager]:
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(ServiceManager(Path(folder) / "notify")) as made,
    ):
        yield made


async def test_long_start_and_stop_ask_for_more_time_until_they_are_over(
    manager: ServiceManager,
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(manager.path)})
    phase = "starting"
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await notifier.run(lambda: phase, INTERVAL_S, is_underway=lambda: phase != "running")

        tasks.start_soon(run)
        assert await manager.next() == [MORE_TIME, "STATUS=starting"]
        assert await manager.next() == [MORE_TIME]
        phase = "running"
        while (told := await manager.next()) == [MORE_TIME]:
            pass
        assert told == ["STATUS=running"]
        phase = "stopping"
        assert await manager.next() == [MORE_TIME, "STATUS=stopping"]
        assert await manager.next() == [MORE_TIME]
        tasks.cancel_scope.cancel()


async def test_watchdog_is_fed_in_half_of_its_time_and_more_time_lasts_as_long(
    manager: ServiceManager,
) -> None:
    environment = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "2000"}
    notifier = Notifier(environment)
    assert notifier.watchdog_s == 0.001
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await notifier.run(lambda: "starting", INTERVAL_S, is_underway=lambda: True)

        tasks.start_soon(run)
        assert await manager.next() == ["WATCHDOG=1", MORE_TIME, "STATUS=starting"]
        assert await manager.next() == ["WATCHDOG=1", MORE_TIME]
        tasks.cancel_scope.cancel()


async def test_nothing_runs_without_a_service_manager() -> None:
    notifier = Notifier({"NOTIFY_SOCKET": "nowhere"})
    with anyio.fail_after(60):
        await notifier.run(lambda: "starting")
    assert not notifier.is_wanted


async def test_lines_of_a_status_cannot_be_states(manager: ServiceManager) -> None:
    Notifier({"NOTIFY_SOCKET": str(manager.path)}).ready("one\nSTOPPING=1")
    assert await manager.next() == ["READY=1", "STATUS=one STOPPING=1"]
