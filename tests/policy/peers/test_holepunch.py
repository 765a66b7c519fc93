"""BEP 55: whom a relay introduces, and whose introductions are followed."""

from dataclasses import replace

import pytest

from torrent_engine.base.config import HolepunchConfig, PoolConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.policy.peers.holepunch import (
    Allowance,
    HolepunchPeer,
    HolepunchRules,
    RelayDecision,
)

CONFIG = HolepunchConfig()
ASKER = PeerAddress("8.0.0.1", 6881)
TARGET = PeerAddress("8.0.0.2", 6881)
ASKER6, TARGET6 = PeerAddress("2600::1", 6881), PeerAddress("2600::2", 6881)


def party(
    address: PeerAddress | None, *, supports_holepunch: bool = True, key: str = ""
) -> HolepunchPeer[str]:
    return HolepunchPeer(key or str(address), address, supports_holepunch)


def answer(
    initiator: HolepunchPeer[str], wanted: PeerAddress, target: HolepunchPeer[str] | None
) -> RelayDecision:
    return HolepunchRules[str](CONFIG).answer(initiator, wanted, target, 0.0)


@pytest.mark.parametrize(("one", "other"), [(ASKER, TARGET), (ASKER6, TARGET6)])
def test_bep55_two_peers_are_introduced(one: PeerAddress, other: PeerAddress) -> None:
    assert answer(party(one), other, party(other)) is RelayDecision.INTRODUCE


LOCAL, OTHER_LOCAL = PeerAddress("192.168.1.2", 6881), PeerAddress("192.168.1.3", 6881)
LOOPBACK = PeerAddress("127.0.0.1", 6881)
REFUSED = {
    "no_port": (party(ASKER), PeerAddress("8.0.0.2", 0), None, RelayDecision.NO_SUCH_PEER),
    "multicast": (party(ASKER), PeerAddress("224.0.0.1", 6881), None, RelayDecision.NO_SUCH_PEER),
    "nobody_there": (party(ASKER), TARGET, None, RelayDecision.NOT_CONNECTED),
    "itself": (party(ASKER), ASKER, party(ASKER), RelayDecision.NO_SELF),
    "mute": (
        party(ASKER),
        TARGET,
        party(TARGET, supports_holepunch=False),
        RelayDecision.NO_SUPPORT,
    ),
    "nowhere": (party(ASKER), TARGET, party(None), RelayDecision.NOT_CONNECTED),
    "asks_from_nowhere": (party(None), TARGET, party(TARGET), RelayDecision.NOT_CONNECTED),
    "another_family": (party(ASKER), TARGET6, party(TARGET6), RelayDecision.NOT_CONNECTED),
    "one_is_local": (party(ASKER), LOCAL, party(LOCAL), RelayDecision.NOT_CONNECTED),
    "the_asker_is_local": (party(LOCAL), TARGET, party(TARGET), RelayDecision.NOT_CONNECTED),
    "loopback": (party(LOCAL), LOOPBACK, party(LOOPBACK), RelayDecision.NOT_CONNECTED),
}


@pytest.mark.parametrize(
    ("initiator", "wanted", "target", "expected"), REFUSED.values(), ids=REFUSED.keys()
)
def test_bep55_a_relay_refuses_what_comes_to_nothing(
    initiator: HolepunchPeer[str],
    wanted: PeerAddress,
    target: HolepunchPeer[str] | None,
    expected: RelayDecision,
) -> None:
    assert answer(initiator, wanted, target) is expected


@pytest.mark.parametrize(("one", "other"), [(LOCAL, OTHER_LOCAL), (LOOPBACK, LOOPBACK)])
def test_bep55_locals_are_introduced_to_locals(one: PeerAddress, other: PeerAddress) -> None:
    initiator, target = party(one, key="initiator"), party(other, key="target")
    assert answer(initiator, other, target) is RelayDecision.INTRODUCE


def test_bep55_nobody_is_named_to_others_more_often_than_so_many_times_a_minute() -> None:
    rules = HolepunchRules[str](CONFIG)
    answers = [
        rules.answer(party(PeerAddress(f"8.1.0.{number}", 6881)), TARGET, party(TARGET), 0.0)
        for number in range(40)
    ]
    limit = CONFIG.max_introductions_per_minute
    assert answers == [RelayDecision.INTRODUCE] * limit + [RelayDecision.SILENCE] * (40 - limit)
    assert rules.answer(party(ASKER), TARGET, party(TARGET), 60.0) is RelayDecision.INTRODUCE


def test_bep55_a_peer_is_heard_so_many_times_a_minute() -> None:
    rules = HolepunchRules[str](replace(CONFIG, max_rendezvous_per_minute=2))
    assert [rules.may_rendezvous("8.0.0.1", now) for now in (0.0, 1.0, 2.0)] == [True, True, False]
    assert rules.may_rendezvous("8.0.0.2", 2.0)
    assert [rules.may_rendezvous("8.0.0.1", now) for now in (59.9, 60.0, 60.5)] == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("address", "relay", "expected"),
    [
        (TARGET, "8.0.0.9", True),
        (TARGET6, "2600::9", True),
        (TARGET, "192.168.1.9", True),
        (LOCAL, "192.168.1.9", True),
        (LOCAL, "8.0.0.9", False),
        (LOOPBACK, "8.0.0.9", False),
        (LOOPBACK, "192.168.1.9", False),
        (LOOPBACK, "127.0.0.1", True),
        (PeerAddress("8.0.0.2", 0), "8.0.0.9", False),
        (PeerAddress("239.1.1.1", 6881), "8.0.0.9", False),
    ],
)
@pytest.mark.parametrize("was_asked", [False, True])
def test_bep55_nobody_is_led_to_where_the_relay_cannot_be(
    address: PeerAddress, relay: str, *, expected: bool, was_asked: bool
) -> None:
    rules = HolepunchRules[str](CONFIG)
    assert rules.may_connect(address, relay, 0.0, was_asked=was_asked) is expected


def test_bep55_a_relay_is_followed_unasked_so_many_times_a_minute() -> None:
    rules = HolepunchRules[str](replace(CONFIG, max_connects_per_minute=3))
    followed = [rules.may_connect(TARGET, "8.0.0.9", 0.0, was_asked=False) for _ in range(5)]
    assert followed == [True] * 3 + [False] * 2
    assert rules.may_connect(TARGET, "8.0.0.9", 0.0, was_asked=True)
    assert rules.may_connect(TARGET, "8.0.0.8", 0.0, was_asked=False)
    assert rules.may_connect(TARGET, "8.0.0.9", 60.0, was_asked=False)


def test_bep55_many_relays_together_leave_places_for_other_dials() -> None:
    rules, pool = HolepunchRules[str](CONFIG), PoolConfig()
    relays = [f"8.0.1.{number}" for number in range(20)]
    followed = sum(
        rules.may_connect(TARGET, relay, float(second), was_asked=False)
        for second in range(60)
        for relay in relays
    )
    dials_at_once = followed / 60.0 * pool.connect_timeout_s
    assert 0 < dials_at_once <= pool.max_half_open / 2
    assert rules.may_connect(TARGET, relays[0], 59.0, was_asked=True)
    assert rules.may_connect(TARGET, relays[0], 120.0, was_asked=False)


def test_an_allowance_remembers_so_many_keys() -> None:
    allowance = Allowance[int](1, max_keys=10)
    assert all(allowance.take(number, 0.0) for number in range(1_000))
    assert len(allowance) == 10
    assert not allowance.take(999, 0.0)
    assert allowance.take(0, 0.0)


def test_bep55_a_limit_of_zero_allows_nothing() -> None:
    allowance = Allowance[int](0, max_keys=10)
    assert [allowance.take(1, now) for now in (0.0, 1.0, 100.0)] == [False] * 3


def test_bep55_the_addresses_of_one_64_share_an_allowance() -> None:
    rules = HolepunchRules[str](replace(CONFIG, max_rendezvous_per_minute=3))
    asked = [rules.may_rendezvous(f"2600:0:0:1::{number + 1:x}", 0.0) for number in range(5)]
    assert asked == [True] * 3 + [False] * 2
    assert rules.may_rendezvous("2600:0:0:2::1", 0.0)
