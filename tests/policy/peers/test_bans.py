"""Bans: by peer, then by IP address, and not for ever."""

from dataclasses import replace

import pytest

from torrent_engine.base.config import PoolConfig
from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.policy.peers import bans as bans_module
from torrent_engine.policy.peers.bans import BanList

CONFIG = PoolConfig(ban_s=3600, bans_before_ip_ban=3)
HONEST = PeerAddress("5.6.7.8", 9999), PeerId(b"honest".ljust(20))


def poisoner(number: int) -> tuple[PeerAddress, PeerId]:
    return PeerAddress("5.6.7.8", 7000 + number), PeerId(b"poison%d".ljust(20) % number)


def test_b7_honest_peer_behind_the_same_nat_stays_welcome() -> None:
    bans = BanList(CONFIG)
    assert not bans.is_banned(*HONEST, now=0)
    for number in range(2):
        bans.ban(*poisoner(number), now=0)
    assert all(bans.is_banned(*poisoner(number), now=1) for number in range(2))
    assert not bans.is_banned(*HONEST, now=1)


def test_refusals_are_counted_and_questions_are_not() -> None:
    bans = BanList(CONFIG)
    bans.ban(*poisoner(0), now=0)
    assert bans.is_banned(*poisoner(0), now=1)
    assert bans.refuses(*poisoner(0), now=1)
    assert not bans.refuses(*HONEST, now=1)
    assert bans.refusals == 1


def test_b7_poisoner_is_known_by_either_of_its_names() -> None:
    bans = BanList(CONFIG)
    address, peer_id = poisoner(0)
    bans.ban(address, peer_id, now=0)
    assert bans.is_banned(address, None, now=1)
    assert bans.is_banned(PeerAddress(address.host, 4), peer_id, now=1)  # dials us: another port
    assert not bans.is_banned(PeerAddress("9.9.9.9", 4), peer_id, now=1)  # ids can be copied
    bans.ban(PeerAddress("9.9.9.9", 4), None, now=1)
    assert not bans.is_banned(PeerAddress("9.9.9.9", 5), None, now=1)


def test_b7_third_bad_peer_bans_the_ip_address_until_the_end() -> None:
    bans = BanList(CONFIG)
    for number in range(3):
        bans.ban(*poisoner(number), now=number)
    assert bans.is_banned(*HONEST, now=3601)
    assert not bans.is_banned(*HONEST, now=3603)
    assert not bans.is_banned(*poisoner(2), now=3603)


def test_same_peer_banned_again_is_one_peer() -> None:
    bans = BanList(CONFIG)
    for now in range(5):
        bans.ban(*poisoner(0), now=now)
    assert not bans.is_banned(*HONEST, now=5)


def test_strikes_of_long_ago_do_not_count() -> None:
    bans = BanList(CONFIG)
    for number, now in enumerate((0, 4000, 8000)):
        bans.ban(*poisoner(number), now=now)
    assert not bans.is_banned(*HONEST, now=8000)


def test_ip_address_is_never_banned_where_many_share_it() -> None:
    bans = BanList(replace(CONFIG, allow_multiple_per_ip=True))
    for number in range(10):
        bans.ban(*poisoner(number), now=0)
    assert not bans.is_banned(*HONEST, now=0)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bans_module, "MAX_BANS", 50)
    bans = BanList(CONFIG)
    for number in range(1000):
        bans.ban(PeerAddress(f"10.0.{number // 256}.{number % 256}", 1), None, now=number / 1000)
    assert len(bans._ends) == 50
    assert len(bans._strikes) == 50
    assert bans.is_banned(PeerAddress("10.0.3.231", 1), None, now=1)


def test_b7_three_bad_peers_of_one_64_ban_all_of_it_and_no_neighbour() -> None:
    bans = BanList(CONFIG)
    for number in range(3):
        bans.ban(PeerAddress(f"2001:db8:1:2::{number + 1}", 7000), poisoner(number)[1], now=0)
    assert bans.is_banned(PeerAddress("2001:db8:1:2:9::9", 1), None, now=1)
    assert not bans.is_banned(PeerAddress("2001:db8:1:3::1", 1), None, now=1)


def test_b7_a_banned_peer_id_is_known_at_every_address_of_its_64() -> None:
    bans = BanList(CONFIG)
    bans.ban(PeerAddress("2001:db8:1:2::1", 7000), HONEST[1], now=0)
    assert bans.is_banned(PeerAddress("2001:db8:1:2::2", 8000), HONEST[1], now=1)
    assert not bans.is_banned(PeerAddress("2001:db8:1:2::2", 7000), None, now=1)


def test_b7_an_ipv4_address_is_banned_however_it_is_written() -> None:
    bans = BanList(CONFIG)
    for number in range(3):
        bans.ban(*poisoner(number), now=0)
    for host in ("::ffff:5.6.7.8", "2002:506:708::1", "64:ff9b::5.6.7.8"):
        assert bans.is_banned(PeerAddress(host, 1), None, now=1)


# -- by the user ------------------------------------------------------------------------------


def test_a_host_that_the_user_bans_is_banned_whoever_is_there() -> None:
    bans = BanList(CONFIG)
    bans.ban_host("5.6.7.8", 100.0)
    assert bans.is_banned(*HONEST, now=99)
    assert bans.is_banned(PeerAddress("5.6.7.8", 1), None, now=99)
    assert not bans.is_banned(PeerAddress("5.6.7.9", 1), None, now=99)
    assert not bans.is_banned(*HONEST, now=100)


def test_an_ipv6_host_is_banned_alone() -> None:
    bans = BanList(CONFIG)
    bans.ban_host("2001:db8::1", float("inf"))
    assert bans.is_banned(PeerAddress("2001:db8::1", 1), None, now=1e9)
    assert not bans.is_banned(PeerAddress("2001:db8::2", 1), None, now=0)


def test_to_unban_a_host_ends_all_bans_of_it() -> None:
    bans = BanList(CONFIG)
    for number in range(3):
        bans.ban(*poisoner(number), now=0)
    bans.ban_host("5.6.7.8", float("inf"))
    assert bans.is_banned(*HONEST, now=1)
    assert bans.unban_host("5.6.7.8", now=1)
    assert not bans.unban_host("5.6.7.8", now=1)
    assert not bans.is_banned(*HONEST, now=1)
    assert not bans.is_banned(*poisoner(0), now=1)
    assert bans.listed(now=1) == []


def test_the_list_has_what_holds_and_says_whose_ban_it_is() -> None:
    bans = BanList(CONFIG)
    address, peer_id = poisoner(0)
    bans.ban(address, peer_id, now=0)
    bans.ban_host("9.9.9.9", 50.0)
    assert [tuple(each) for each in bans.listed(now=10)] == [
        ("9.9.9.9", None, 50.0, True),
        ("5.6.7.8", 7000, 3600.0, False),
        ("5.6.7.8", peer_id, 3600.0, False),
    ]
    assert [each.host for each in bans.listed(now=60)] == ["5.6.7.8", "5.6.7.8"]


def test_peers_cannot_push_out_the_bans_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bans_module, "MAX_BANS", 10)
    bans = BanList(CONFIG)
    bans.ban_host("9.9.9.9", float("inf"))
    for number in range(100):
        bans.ban(PeerAddress(f"1.2.3.{number}", 1), None, now=0)
    assert bans.is_banned(PeerAddress("9.9.9.9", 1), None, now=1)
