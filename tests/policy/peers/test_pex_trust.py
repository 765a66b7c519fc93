"""B9: what peers say of others is taken with care."""

from dataclasses import replace

import pytest

from torrent_engine.base.config import PexConfig, PoolConfig
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.policy.peers.pex_trust import MAX_REMEMBERED, PexTrust

CONFIG = PexConfig()
POOL = PoolConfig()
TELLER = PeerAddress("9.9.9.9", 6881)


def address(number: int, port: int = 6881) -> PeerAddress:
    return PeerAddress(f"8.0.{number >> 8}.{number & 255}", port)


def addresses(*numbers: int) -> list[PeerAddress]:
    return [address(number) for number in numbers]


def pex_trust(config: PexConfig = CONFIG, pool: PoolConfig = POOL) -> PexTrust[str]:
    subject = PexTrust[str](config, pool)
    subject.joined("sender", TELLER)
    return subject


def hear(subject: PexTrust[str], *numbers: int, now: float, key: str = "sender") -> int:
    """Name peers that nobody else named; return how many were taken."""
    taken = subject.heard(key, addresses(*numbers), (), now)
    for each in taken:
        subject.charge(key, each)
    return len(taken)


def dial(subject: PexTrust[str], *numbers: int, reached: bool, now: float = 0) -> list[PeerAddress]:
    """Dial peers; return who is to be forgotten."""
    return [
        forgotten
        for number in numbers
        for forgotten in subject.dialled(address(number), now, reached=reached)
    ]


def test_b9_fifty_of_a_peer_are_kept_until_it_drops_some() -> None:
    subject = pex_trust()
    assert hear(subject, *range(60), now=0) == 50
    assert hear(subject, *range(60), now=100) == 0
    assert subject.heard("sender", addresses(58, 59), addresses(0, 1, 99), 200) == addresses(58, 59)
    assert len(subject.addresses_of("sender")) == 50


def test_b9_a_peer_that_drops_whom_it_named_gives_no_more_than_fifty_a_minute() -> None:
    subject, taken = pex_trust(), 0
    for number in range(6):
        now = [address(each) for each in range(number * 50, number * 50 + 50)]
        before = list(subject.addresses_of("sender"))
        taken += len(subject.heard("sender", now, before, number * 9.0))
    assert taken == 50


def test_b9_more_than_six_messages_a_minute_are_a_violation() -> None:
    subject = pex_trust()
    for number in range(6):
        subject.heard("sender", (), (), number * 10.0)
    with pytest.raises(RemoteProtocolError) as caught:
        subject.heard("sender", (), (), 59.9)
    assert caught.value.bep == 11
    assert subject.heard("sender", addresses(1), (), 60) == addresses(1)


def test_b9_who_hangs_up_and_comes_again_begins_no_new_minute() -> None:
    subject = pex_trust()
    for number in range(6):
        assert hear(subject, *range(number * 20, number * 20 + 20), now=number) in {20, 10, 0}
        subject.left("sender")
        subject.joined("sender", PeerAddress(TELLER.host, 7000 + number))
    assert hear(subject, 200, now=10) == 0
    assert hear(subject, 201, now=59.9) == 0
    assert hear(subject, 202, now=66) == 1


def test_b9_six_messages_of_another_peer_of_its_address_are_not_held_against_a_peer() -> None:
    subject = pex_trust()
    for number in range(6):
        hear(subject, number, now=number)
    subject.left("sender")
    subject.joined("neighbour", TELLER._replace(port=7000))
    for number in range(6):  # which are six of its own
        assert subject.heard("neighbour", addresses(100 + number), (), 10 + number) == []
    with pytest.raises(RemoteProtocolError):
        subject.heard("neighbour", (), (), 20)
    assert subject.heard("neighbour", addresses(200), (), 71) == addresses(200)


def test_b9_what_a_peer_drops_is_dropped_also_if_it_is_not_listened_to() -> None:
    subject = pex_trust()
    subject.joined("neighbour", TELLER._replace(port=7000))
    hear(subject, 1, 2, now=0, key="neighbour")
    subject.joined("third", TELLER._replace(port=7001))
    for number in range(5):
        hear(subject, 10 + number, now=1, key="third")
    assert subject.heard("neighbour", addresses(3), addresses(1), 2) == []
    assert set(subject.addresses_of("neighbour")) == set(addresses(2))


def test_bep11_one_port_of_a_host_is_taken_where_hosts_are_peers() -> None:
    twice = [address(1, 1), address(1, 2), address(2, 1)]
    assert pex_trust().heard("sender", twice, (), 0) == [twice[0], twice[2]]
    at_home = pex_trust(pool=replace(POOL, allow_multiple_per_ip=True))
    assert at_home.heard("sender", twice, (), 0) == twice


def test_bep11_who_is_added_and_dropped_at_once_is_not_there() -> None:
    assert pex_trust().heard("sender", addresses(1, 2), addresses(1), 0) == addresses(2)


@pytest.mark.parametrize(
    ("sender", "taken"),
    [
        ("9.9.9.9", {"8.8.8.8", "2600::1"}),
        ("2600::9", {"8.8.8.8", "2600::1"}),
        ("192.168.0.9", {"8.8.8.8", "2600::1", "10.0.0.1", "169.254.1.1", "fd00::1", "fe80::1"}),
        (
            "127.0.0.1",
            {"8.8.8.8", "2600::1", "10.0.0.1", "169.254.1.1", "fd00::1", "fe80::1", "127.0.0.2"},
        ),
    ],
)
def test_b9_local_addresses_are_taken_from_local_peers_only(sender: str, taken: set[str]) -> None:
    named = ["8.8.8.8", "2600::1", "10.0.0.1", "169.254.1.1", "fd00::1", "fe80::1", "127.0.0.2"]
    nonsense = ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"]
    subject = PexTrust[str](CONFIG, POOL)
    subject.joined("sender", PeerAddress(sender, 1))
    given = [PeerAddress(host, 6881) for host in named + nonsense]
    assert {each.host for each in subject.heard("sender", given, (), 0)} == taken
    assert subject.heard("sender", [PeerAddress("8.8.4.4", 0)], (), 0) == []


def test_b9_who_names_peers_that_cannot_be_reached_is_not_listened_to() -> None:
    subject = pex_trust()
    hear(subject, *range(50), now=0)
    assert dial(subject, *range(19), reached=False) == []
    assert set(dial(subject, 19, reached=False)) == set(addresses(*range(20, 50)))
    assert hear(subject, 100, now=100) == 0
    subject.left("sender")
    subject.joined("sender", TELLER._replace(port=1))
    assert hear(subject, 101, now=200) == 0
    assert hear(subject, 102, now=CONFIG.distrust_s) == 1


def test_b9_who_names_some_peers_that_answer_is_listened_to() -> None:
    subject = pex_trust()
    hear(subject, *range(50), now=0)
    assert dial(subject, 0, 1, 2, 3, 4, reached=True) == []
    assert dial(subject, *range(5, 50), reached=False) == []
    assert subject.heard("sender", addresses(100), addresses(0), 100) == addresses(100)


def test_b9_a_peer_answers_for_its_words_after_it_left() -> None:
    subject = pex_trust()
    hear(subject, *range(50), now=0)
    subject.left("sender")
    assert len(dial(subject, *range(20), reached=False)) == 30
    subject.joined("again", TELLER)
    assert hear(subject, 100, now=100, key="again") == 0


def test_b9_what_a_banned_peer_alone_named_is_forgotten() -> None:
    subject = pex_trust()
    subject.joined("other", PeerAddress("9.9.9.10", 1))
    hear(subject, 1, 2, 3, now=0)
    subject.heard("other", addresses(3), (), 0)
    assert set(subject.distrust("sender", 0)) == set(addresses(1, 2))
    assert subject.distrust("sender", 0) == []
    assert subject.distrust("nobody", 0) == []
    assert hear(subject, 4, now=100, key="other") == 1


def test_b9_a_further_liar_does_not_vouch_for_the_first() -> None:
    subject = pex_trust()
    subject.joined("other", PeerAddress("9.9.9.10", 1))
    subject.heard("other", addresses(1), (), 0)
    hear(subject, 1, now=0)
    subject.distrust("other", 0)
    assert subject.distrust("sender", 0) == addresses(1)


def test_nobody_answers_for_what_others_named_before() -> None:
    subject = pex_trust(replace(CONFIG, min_judged=1))
    subject.heard("sender", addresses(1), (), 0)
    assert dial(subject, 1, reached=False) == []
    subject.charge("nobody", address(2))
    assert dial(subject, 2, reached=False) == []
    assert hear(subject, 3, now=1) == 1


def test_b9_memory_of_liars_and_of_their_words_is_bounded() -> None:
    subject = pex_trust(pool=replace(POOL, max_candidates=40))
    hear(subject, *range(50), now=0)
    assert len(subject._responsible) == 40
    for number in range(MAX_REMEMBERED + 10):
        key = str(number)
        subject.joined(key, PeerAddress(f"7.0.{number >> 8}.{number & 255}", 1))
        hear(subject, 1000 + number, now=0, key=key)
        subject.distrust(key, 0)
        subject.left(key)
    assert len(subject._distrusted) == len(subject._logs) == MAX_REMEMBERED


def test_b9_an_address_that_another_names_later_is_charged_to_that_one_alone() -> None:
    subject = pex_trust()
    subject.joined("other", PeerAddress("9.9.9.8", 6881))
    assert hear(subject, 1, now=0.0) == hear(subject, 1, now=0.0, key="other") == 1
    assert subject.distrust("sender", 1.0) == []
    assert subject.distrust("other", 1.0) == addresses(1)


def test_b9_who_named_an_address_is_known_while_it_is_listened_to() -> None:
    subject = pex_trust()
    subject.joined("other", PeerAddress("9.9.9.8", 6881))
    hear(subject, 1, 2, now=0)
    hear(subject, 2, 3, now=0, key="other")
    told = [subject.sources_of(address(number), 0) for number in range(4)]
    assert told == [[], ["sender"], ["sender", "other"], ["other"]]
    subject.distrust("sender", 0)
    assert subject.sources_of(address(2), 1) == ["other"]
    subject.left("other")
    assert subject.sources_of(address(2), 1) == []


def test_b9_one_address_of_a_64_is_taken_of_each_teller() -> None:
    subject = pex_trust()
    subject.joined("sender", PeerAddress("2600:0:0:1::1", 1))
    named = [PeerAddress(f"2600:0:0:2::{number + 1:x}", 6881) for number in range(20)]
    assert subject.heard("sender", named, (), 0) == named[:1]


def test_b9_a_64_that_is_not_listened_to_is_known_at_its_next_address() -> None:
    subject = pex_trust()
    subject.joined("one", PeerAddress("2600:0:0:1::1", 1))
    subject.joined("other", PeerAddress("2600:0:0:1::2", 1))
    subject.distrust("one", 0)
    assert not subject.heard("other", addresses(1, 2), (), 1)
