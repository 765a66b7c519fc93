"""Places for those who have not said what for they came."""

from collections import Counter
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.operators import network_of
from torrent_engine.net.sockets.handshake_limits import (
    HALF_OPEN_PATIENCE_S,
    PATIENCE_S,
    HandshakeLimiter,
)

LIMIT = 6


class Guests:
    """Who waits, as the guests see it."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.room = HandshakeLimiter(limit)
        self.inside: list[tuple[PeerAddress, object]] = []
        self.sent_away: list[PeerAddress] = []

    def comes(self, host: str, port: int = 1) -> bool:
        """Let somebody come; return whether there was a place."""
        address, entry = PeerAddress(host, port), list[tuple[PeerAddress, object]]()

        def leave() -> None:
            self.inside.remove(entry[0])
            self.sent_away.append(address)

        ticket = self.room.enter(address, leave)
        if ticket is not None:
            entry.append((address, ticket))
            self.inside.append(entry[0])
        return ticket is not None

    def hosts(self) -> Counter[str]:
        """Count who is inside by host."""
        return Counter(address.host for address, _ in self.inside)


def test_b5_one_flooder_keeps_nobody_else_out() -> None:
    guests = Guests()
    for port in range(LIMIT):
        assert guests.comes("198.51.100.1", port)
    assert not guests.comes("198.51.100.1", 99)
    assert guests.comes("192.0.2.1")
    assert guests.sent_away == [PeerAddress("198.51.100.1", 0)]
    assert guests.comes("192.0.2.2")
    assert guests.comes("2001:db8::1")
    assert len(guests.room) == LIMIT
    assert guests.hosts()["198.51.100.1"] == LIMIT - 3


def test_b5_a_neighbour_of_the_flooder_finds_a_place_too() -> None:
    guests = Guests()
    for port in range(LIMIT):
        assert guests.comes("198.51.100.1", port)
    assert guests.comes("198.51.100.2")
    assert guests.hosts() == {"198.51.100.1": LIMIT - 1, "198.51.100.2": 1}


def test_b5_many_addresses_of_one_network_are_one_flooder() -> None:
    guests = Guests()
    for number in range(LIMIT):
        assert guests.comes(f"198.51.100.{number}")
    assert not guests.comes("198.51.100.77")
    assert guests.comes("192.0.2.1")
    for number in range(LIMIT):
        guests.comes(f"2001:db8:1:{number}::1")
    assert guests.hosts()["192.0.2.1"] == 1


def test_places_are_given_back_once() -> None:
    guests = Guests()
    assert guests.comes("192.0.2.1")
    ((address, ticket),) = guests.inside
    guests.room.left(address, ticket)
    guests.room.left(address, ticket)
    assert len(guests.room) == 0
    assert not guests.room._networks


@pytest.mark.parametrize("limit", [0, 1])
def test_a_tiny_room_holds_what_it_can(limit: int) -> None:
    guests = Guests(limit)
    assert guests.comes("192.0.2.1") is bool(limit)
    assert not guests.comes("198.51.100.1")
    assert len(guests.room) == limit


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.254", True),
        ("192.0.2.1", "192.0.3.1", False),
        ("2001:db8:1::1", "2001:db8:1:ffff::2", True),
        ("2001:db8:1::1", "2001:db8:2::1", False),
        ("0.0.0.1", "::1", False),
        ("192.0.2.1", "::ffff:192.0.2.7", True),
        ("192.0.2.1", "64:ff9b::192.0.2.7", True),
        ("192.0.2.1", "2002:c000:207::1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("a name", "a name", True),
    ],
)
def test_whose_network_is_whose(one: str, other: str, *, is_same: bool) -> None:
    assert (network_of(one) == network_of(other)) is is_same


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.booleans()), max_size=60))
def test_b5_the_room_is_never_too_full_and_a_newcomer_waits_only_for_its_own(
    arrivals: list[tuple[int, int, bool]],
) -> None:
    guests = Guests()
    for network, number, leaves in arrivals:
        host = f"10.0.{network}.{number}"
        if leaves and guests.inside:
            guests.room.left(*guests.inside.pop(0))
        before = guests.hosts()
        if not guests.comes(host):
            networks = Counter(network_of(each.host) for each, _ in guests.inside)
            assert networks.most_common(1)[0][1] <= networks[network_of(host)] + 1
            assert before == guests.hosts()
        assert len(guests.room) == len(guests.inside) <= LIMIT


@pytest.mark.parametrize("patience_s", [PATIENCE_S, HALF_OPEN_PATIENCE_S])
def test_b5_who_waits_longer_than_most_need_gives_place_to_a_newcomer(patience_s: float) -> None:
    now = [0.0]
    gone: list[int] = []
    room = HandshakeLimiter(3, lambda: now[0], patience_s)
    for number in range(3):
        now[0] = number * 0.1
        room.enter(PeerAddress(f"10.0.{number}.1", 1), partial(gone.append, number))
    assert room.enter(PeerAddress("10.1.0.1", 1), lambda: None) is None
    now[0] = 0.1 + patience_s
    assert room.enter(PeerAddress("10.1.0.1", 1), lambda: None) is not None
    assert room.enter(PeerAddress("10.1.1.1", 1), lambda: None) is not None
    assert room.enter(PeerAddress("10.1.2.1", 1), lambda: None) is None
    assert gone == [0, 1]
    assert len(room) == len(room._order) == 3
