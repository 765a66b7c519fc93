"""Listening sockets of a device that was deleted and created again."""

import errno
import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import anyio
import pytest

from tests.support.sleeping_clock import SleepingClock
from torrent_engine.net.sockets.binding import DEVICE_CHECK_INTERVAL_S, UNBOUND, Binding
from torrent_engine.net.sockets.device_watch import DeviceWatch
from torrent_engine.net.sockets.listening import bind_again, listen_on_port

GONE = OSError(errno.ENODEV, "interface tun0: No such device")
BUSY = OSError(errno.EADDRINUSE, "Address already in use")


class Device(Binding):
    """A device that is deleted and created when a test says so."""

    def __init__(self) -> None:
        super().__init__("tun0", has_devices=True)
        self.is_there = True
        self.current: set[socket.socket] = set()

    def is_current(self, sock: socket.socket) -> bool:
        return sock in self.current


class Scene:
    """A port with one socket for TCP and one for UDP; notes which replace which."""

    def __init__(self, opened: ExitStack) -> None:
        self.device = Device()
        self.listening = listen_on_port(("127.0.0.1",), 0)
        self.device.current.update((*self.listening.tcp, *self.listening.udp))
        self.refusals: dict[socket.SocketKind, OSError] = {}
        self.replaced: list[tuple[socket.socket, socket.socket]] = []
        self.clock = SleepingClock()
        users = [(each, self._replace) for each in (self.listening.tcp, self.listening.udp)]
        self.watch = DeviceWatch(self.device, users, bind=self._bind, sleep=self.clock.sleep)
        opened.callback(self.listening.close)

    def _bind(self, sock: socket.socket, binding: Binding) -> socket.socket:
        assert binding is self.device
        if not self.device.is_there:
            raise GONE
        if (refusal := self.refusals.get(sock.type)) is not None:
            raise refusal
        new = socket.socket(sock.family, sock.type)
        self.device.current.add(new)
        return new

    def _replace(self, old: socket.socket, new: socket.socket) -> None:
        self.replaced.append((old, new))
        old.close()

    def delete(self) -> None:
        self.device.is_there = False
        self.device.current.clear()

    def create(self) -> None:
        self.device.is_there = True

    @property
    def sockets(self) -> list[socket.socket]:
        return [*self.listening.tcp, *self.listening.udp]


@pytest.fixture
def scene() -> Iterator[Scene]:
    with ExitStack() as opened:
        yield Scene(opened)


def test_sockets_of_the_present_device_stay(scene: Scene) -> None:
    scene.watch.look()
    assert scene.replaced == []


def test_sockets_are_replaced_when_the_device_is_another_one(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    before = scene.sockets
    scene.delete()
    scene.create()
    scene.watch.look()
    scene.watch.look()
    assert scene.replaced == list(zip(before, scene.sockets, strict=True))
    assert [sock.type for sock in scene.sockets] == [sock.type for sock in before]
    assert caplog.messages == ["interface tun0 is there again: listening anew"]


def test_while_the_device_is_gone_nothing_is_opened_and_one_line_logged(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    port = scene.listening.port
    scene.delete()
    for _ in range(3):
        scene.watch.look()
    assert scene.replaced == []
    assert all(sock.fileno() >= 0 for sock in scene.sockets)
    assert caplog.messages == [f"not listening on port {port}: interface tun0: No such device"]
    scene.create()
    scene.watch.look()
    assert len(scene.replaced) == 2
    assert caplog.messages[1:] == ["interface tun0 is there again: listening anew"]


def test_a_socket_that_cannot_be_bound_is_tried_again_and_holds_up_no_other(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    old_tcp, old_udp = scene.sockets
    scene.delete()
    scene.create()
    scene.refusals[socket.SOCK_STREAM] = BUSY
    scene.watch.look()
    scene.watch.look()
    assert [old for old, _ in scene.replaced] == [old_udp]
    assert scene.listening.tcp == [old_tcp]
    scene.refusals.clear()
    scene.watch.look()
    assert [old for old, _ in scene.replaced] == [old_udp, old_tcp]
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "Address already in use" in caplog.messages[0]
    assert caplog.messages[1] == "interface tun0 is there again: listening anew"


@pytest.mark.anyio
async def test_it_looks_every_few_seconds(scene: Scene) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.watch.run)
        await scene.clock.advance(DEVICE_CHECK_INTERVAL_S)
        scene.delete()
        await scene.clock.advance(DEVICE_CHECK_INTERVAL_S)
        assert scene.replaced == []
        scene.create()
        await scene.clock.advance(DEVICE_CHECK_INTERVAL_S - 0.1)
        assert scene.replaced == []
        await scene.clock.advance(0.1)
        assert len(scene.replaced) == 2
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_port_that_is_not_free_is_an_error_and_the_socket_stays(kind: str) -> None:
    found = listen_on_port(("127.0.0.1",), 0)
    (old,) = found.tcp if kind == "tcp" else found.udp
    with pytest.raises(OSError, match="in use"):
        bind_again(old, UNBOUND)
    assert old.getsockname() == ("127.0.0.1", found.port)
    found.close()
