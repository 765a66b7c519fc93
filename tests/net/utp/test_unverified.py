"""Limits of unconfirmed uTP connections, without sockets."""

from typing import Any

import pytest

from torrent_engine.base.config import UtpConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.utp.unverified import (
    StrangerBudget,
    UnverifiedConnections,
)


class _Begun:
    """A connection of which only the address counts."""

    def __init__(self, host: str) -> None:
        self.address = PeerAddress(host, 6881)


@pytest.mark.parametrize(
    ("of_one", "of_another"),
    [
        ("192.0.2.{}", "192.0.3.1"),
        ("2001:db8:1:{:x}::1", "2001:db8:2::1"),  # a site may have a /48
        ("64:ff9b::c000:2{:02x}", "64:ff9b::c000:301"),  # 192.0.2.x by NAT64
    ],
)
def test_c3_unconfirmed_connections_of_one_network_leave_room_for_others(
    of_one: str, of_another: str
) -> None:
    unverified = UnverifiedConnections(UtpConfig(max_unconfirmed_per_network=3))
    other: Any = _Begun(of_another)
    assert unverified.add(other) is None
    begun: list[Any] = [_Begun(of_one.format(number)) for number in range(1, 7)]
    evicted = [unverified.add(each) for each in begun[:3]]
    assert evicted == [None] * 3
    for new, oldest in zip(begun[3:], begun, strict=False):
        assert unverified.admits(new.address, 0.0)
        surplus = unverified.add(new)
        assert surplus is oldest
        unverified.drop(surplus)
    assert len(unverified) == 4
    assert other in unverified
    for each in (other, *begun):
        unverified.drop(each)
    assert not unverified._networks


def test_c4_a_host_without_a_connection_is_ignored_for_a_time_with_its_operator() -> None:
    config = UtpConfig(
        max_unproductive_packets_per_s=1,
        unproductive_packets_burst=1,
        max_shared_unproductive_packets_per_s=1,
    )
    strangers = StrangerBudget(config)
    assert not strangers.ignores("2001:db8:0:100::1", 0.0)
    strangers.charge("2001:db8:0:100::1", 5, 0.0)
    assert strangers.ignores("2001:db8:0:100::2", 1.0)
    assert not strangers.ignores("2001:db8:0:101::1", 1.0)
    assert not strangers.ignores("2001:db8:0:100::2", 60.0)
