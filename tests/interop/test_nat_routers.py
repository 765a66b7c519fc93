"""The routers of the hole punching tests do what routers at home do, shown with plain sockets."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from tests.support.nat_routers import Home, Neighbourhood, neighbourhood
from tests.support.netns import Host

pytestmark = pytest.mark.interop

PORT = 20_001
PATIENCE_S = 120.0
FAMILIES = pytest.mark.parametrize("is_ipv6", [False, True], ids=["ipv4", "ipv6"])
Place = tuple[str, int]


@pytest.fixture
def near() -> Iterator[Neighbourhood]:
    with neighbourhood() as places:
        yield places


class Sockets:
    """UDP sockets in the three places; what comes to one is waited for, not timed."""

    def __init__(self, near: Neighbourhood, stack: ExitStack, *, is_ipv6: bool) -> None:
        self._stack, self._is_ipv6 = stack, is_ipv6
        middle = near.middle
        hosts = [middle.address6(each) if is_ipv6 else middle.address(each) for each in (1, 2)]
        self.open = [self._bound(middle, host) for host in hosts]
        self.left, self.right = self._at_home(near.left), self._at_home(near.right)
        self.left_outside = (near.left.outside(is_ipv6=is_ipv6), PORT)
        self.right_outside = (near.right.outside(is_ipv6=is_ipv6), PORT)

    def _at_home(self, home: Home) -> socket.socket:
        return self._bound(home.host, home.inside(is_ipv6=self._is_ipv6))

    def _bound(self, host: Host, address: str) -> socket.socket:
        family = socket.AF_INET6 if self._is_ipv6 else socket.AF_INET
        sock = host.call(partial(socket.socket, family, socket.SOCK_DGRAM))
        self._stack.enter_context(sock)
        sock.bind((address, PORT))
        sock.settimeout(PATIENCE_S)
        return sock


def place(sock: socket.socket) -> Place:
    host, port = sock.getsockname()[:2]
    return str(host), int(port)


def heard(sock: socket.socket) -> tuple[bytes, Place]:
    data, address = sock.recvfrom(100)
    return data, (address[0], address[1])


@pytest.fixture
def sockets(near: Neighbourhood, is_ipv6: bool) -> Iterator[Sockets]:
    with ExitStack() as stack:
        yield Sockets(near, stack, is_ipv6=is_ipv6)


@FAMILIES
def test_a_host_has_one_port_outside_whomever_it_talks_to(sockets: Sockets) -> None:
    for other in sockets.open:
        sockets.left.sendto(b"hello", place(other))
        assert heard(other) == (b"hello", sockets.left_outside)


@FAMILIES
def test_only_who_was_sent_something_gets_in(sockets: Sockets) -> None:
    friend, stranger = sockets.open
    stranger.sendto(b"uninvited", sockets.left_outside)
    sockets.left.sendto(b"hello", place(friend))
    heard(friend)
    stranger.sendto(b"uninvited", sockets.left_outside)
    friend.sendto(b"answer", sockets.left_outside)
    assert heard(sockets.left) == (b"answer", place(friend))


@FAMILIES
def test_two_at_home_meet_when_both_send_though_the_first_packet_is_lost(sockets: Sockets) -> None:
    sockets.left.sendto(b"lost", sockets.right_outside)
    sockets.right.sendto(b"first", sockets.left_outside)
    assert heard(sockets.left) == (b"first", sockets.right_outside)
    sockets.left.sendto(b"second", sockets.right_outside)
    assert heard(sockets.right) == (b"second", sockets.left_outside)


@FAMILIES
def test_what_comes_uninvited_is_not_answered_and_spoils_nothing(sockets: Sockets) -> None:
    friend = sockets.open[0]
    friend.connect(sockets.left_outside)
    friend.send(
        b"uninvited"
    )  # an answer "port unreachable" would show as an error at the next call
    sockets.left.sendto(b"hello", place(friend))
    assert heard(friend) == (b"hello", sockets.left_outside)


@FAMILIES
def test_a_host_at_home_accepts_no_connections(sockets: Sockets, near: Neighbourhood) -> None:
    family = sockets.left.family
    server = near.left.host.call(partial(socket.create_server, place(sockets.left), family=family))
    client = near.middle.call(partial(socket.socket, family))
    with server, client:
        server.settimeout(0)
        client.settimeout(1)  # it would take a millisecond
        with pytest.raises(TimeoutError):
            client.connect(sockets.left_outside)
        with pytest.raises(BlockingIOError):
            server.accept()
