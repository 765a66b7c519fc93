"""BEP 40: a full torrent has room for peers of higher priority."""

import random

import pytest

from torrent_engine.base.config import PoolConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.policy.peers.candidates import CandidateList
from torrent_engine.policy.peers.peer_priority import peer_priority
from torrent_engine.policy.peers.replacement import Replacement

CONFIG = PoolConfig()
INTERVAL_S = CONFIG.replacement_interval_s
OWN = {"IPv4": PeerAddress("5.6.7.8", 6881), "IPv6": PeerAddress("2600::8", 6881)}


def peers(family: str) -> list[PeerAddress]:
    """Return twenty peers, the one of the lowest priority first."""
    form = "8.{0}.0.1" if family == "IPv4" else "2600:{0}::1"
    made = [PeerAddress(form.format(number), 6881) for number in range(1, 21)]
    return sorted(made, key=lambda each: peer_priority(OWN[family], each))


def replacement(*own: PeerAddress) -> Replacement:
    candidates = CandidateList(CONFIG, random.Random(1))
    for each in own:
        candidates.set_external_address(each)
    return Replacement(CONFIG, candidates)


@pytest.mark.parametrize("family", OWN)
def test_bep40_the_lowest_leaves_for_a_higher_one(family: str) -> None:
    subject, linked = replacement(OWN[family]), peers(family)
    new_peer = linked.pop(10)
    assert subject.peer_to_replace(new_peer, reversed(linked), now=0) == linked[0]


def test_bep40_nobody_leaves_for_a_lower_one() -> None:
    subject, linked = replacement(OWN["IPv4"]), peers("IPv4")
    assert subject.peer_to_replace(linked[0], linked[1:], now=0) is None
    assert subject.peer_to_replace(linked[1], linked[:1] + linked[2:], now=0) == linked[0]


def test_bep40_peers_leave_one_by_one_so_that_few_links_are_lost_to_whoever_knocks() -> None:
    subject, linked = replacement(OWN["IPv4"]), peers("IPv4")
    assert subject.peer_to_replace(linked[9], linked[:9], now=0) == linked[0]
    assert subject.peer_to_replace(linked[10], linked[1:9], now=INTERVAL_S - 0.1) is None
    assert subject.peer_to_replace(linked[10], linked[1:9], now=INTERVAL_S) == linked[1]


def test_bep40_nobody_leaves_while_our_address_is_not_known() -> None:
    linked = peers("IPv4")
    assert replacement().peer_to_replace(linked[9], linked[:9], now=0) is None
    assert replacement(OWN["IPv6"]).peer_to_replace(linked[9], linked[:9], now=0) is None


def test_bep40_who_has_nobody_to_replace_has_to_go() -> None:
    assert replacement(OWN["IPv4"]).peer_to_replace(peers("IPv4")[9], [], now=0) is None
