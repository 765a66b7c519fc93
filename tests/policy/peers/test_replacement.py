"""BEP 40 and row B5: who leaves a full torrent for a new peer."""

import random
from collections.abc import Iterable
from ipaddress import IPv6Address

import pytest

from torrent_engine.base.config import PoolConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.policy.peers.candidates import CandidateList
from torrent_engine.policy.peers.peer_priority import peer_priority
from torrent_engine.policy.peers.replacement import LONG_IDLE_S, ROTATION_S, Replacement

CONFIG = PoolConfig()
INTERVAL_S, IDLE_S = CONFIG.replacement_interval_s, CONFIG.replacement_idle_s
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


def idle(linked: Iterable[PeerAddress], seconds: float = IDLE_S) -> dict[PeerAddress, float]:
    return dict.fromkeys(linked, seconds)


@pytest.mark.parametrize("family", OWN)
def test_bep40_the_lowest_leaves_for_a_higher_one(family: str) -> None:
    subject, linked = replacement(OWN[family]), peers(family)
    new_peer = linked.pop(10)
    assert subject.peer_to_replace(new_peer, idle(reversed(linked)), now=0) == linked[0]


def test_bep40_nobody_leaves_for_a_lower_one() -> None:
    subject, linked = replacement(OWN["IPv4"]), peers("IPv4")
    assert subject.peer_to_replace(linked[0], idle(linked[1:]), now=0) is None
    assert subject.peer_to_replace(linked[1], idle(linked[:1] + linked[2:]), now=0) == linked[0]


def test_bep40_peers_leave_one_by_one_so_that_few_links_are_lost_to_whoever_knocks() -> None:
    subject, linked = replacement(OWN["IPv4"]), peers("IPv4")
    assert subject.peer_to_replace(linked[9], idle(linked[:9]), now=0) == linked[0]
    assert subject.peer_to_replace(linked[10], idle(linked[1:9]), now=INTERVAL_S - 0.1) is None
    assert subject.peer_to_replace(linked[10], idle(linked[1:9]), now=INTERVAL_S) == linked[1]


def test_bep40_nobody_leaves_while_our_address_is_not_known() -> None:
    linked = peers("IPv4")
    assert replacement().peer_to_replace(linked[9], idle(linked[:9]), now=0) is None
    assert replacement(OWN["IPv6"]).peer_to_replace(linked[9], idle(linked[:9]), now=0) is None


def test_bep40_who_has_nobody_to_replace_has_to_go() -> None:
    assert replacement(OWN["IPv4"]).peer_to_replace(peers("IPv4")[9], idle([]), now=0) is None


# -- who uses the rule, row B5 ----------------------------------------------------------------


def test_b5_who_carries_payload_leaves_for_nobody() -> None:
    subject, linked = replacement(OWN["IPv4"]), peers("IPv4")
    new_peer = linked.pop()
    times = idle(linked, IDLE_S - 1.0)
    assert subject.peer_to_replace(new_peer, times, now=0) is None
    times[linked[7]] = IDLE_S
    assert subject.peer_to_replace(new_peer, times, now=0) == linked[7]


def chosen(subject: Replacement, count: int) -> list[PeerAddress]:
    """Return addresses of one /48, each in a /64 of its own, chosen for their priority."""
    rng, first = random.Random(2), int(IPv6Address("2601:4444:5555::"))
    return [
        max(
            (
                PeerAddress(str(IPv6Address(first + (site << 64) + rng.getrandbits(64))), 6881)
                for _ in range(50)
            ),
            key=lambda each: subject._candidates.canonical_priority(each) or 0,
        )
        for site in range(count)
    ]


def test_b5_one_network_gets_a_quarter_of_a_full_torrent_however_it_chooses_addresses() -> None:
    subject = replacement(*OWN.values())
    linked, now = [PeerAddress(f"8.{number}.0.1", 6881) for number in range(40)], 0.0
    for attacker in chosen(subject, 80):
        leaving = subject.peer_to_replace(attacker, idle(linked), now)
        if leaving is not None:
            linked.remove(leaving)
            linked.append(attacker)
        now += INTERVAL_S
    assert sum(":" in each.host for each in linked) == 10


def test_b5_who_came_first_from_one_network_leaves_for_others_while_it_has_more_than_its_part() -> (
    None
):
    subject, now = replacement(), 0.0  # priorities are not known
    linked = chosen(replacement(*OWN.values()), 20)
    for number in range(30):
        new_peer = PeerAddress(f"8.{number}.0.1", 6881)
        if (leaving := subject.peer_to_replace(new_peer, idle(linked), now)) is not None:
            linked.remove(leaving)
            linked.append(new_peer)
        now += INTERVAL_S
    assert sum(":" in each.host for each in linked) == 5


def test_local_peers_are_of_no_network() -> None:
    subject = replacement(OWN["IPv4"])
    linked = [PeerAddress(f"192.168.0.{number}", 6881) for number in range(1, 9)]
    linked.sort(key=lambda each: peer_priority(OWN["IPv4"], each))
    assert subject.peer_to_replace(linked[7], idle(linked[:7]), now=0) == linked[0]


def test_b5_who_is_idle_for_long_leaves_now_and_then_for_whoever_comes() -> None:
    subject, linked = replacement(OWN["IPv4"]), peers("IPv4")
    new_peer = linked.pop(0)  # of the lowest priority
    times = idle(linked, LONG_IDLE_S - 1.0)
    assert subject.peer_to_replace(new_peer, times, now=0) is None
    times[linked[4]], times[linked[5]] = LONG_IDLE_S, LONG_IDLE_S + 1.0
    assert subject.peer_to_replace(new_peer, times, now=0) == linked[5]
    del times[linked[5]]
    assert subject.peer_to_replace(new_peer, times, now=ROTATION_S - 1.0) is None
    assert subject.peer_to_replace(new_peer, times, now=ROTATION_S) == linked[4]
