"""The peers that announced themselves to us (BEP 5, 33, 51): bounded and forgotten (row C2)."""

import random
from dataclasses import replace

import pytest

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.protocol.dht import peer_store
from torrent_engine.protocol.dht.krpc import compact_address
from torrent_engine.protocol.dht.peer_store import PeerStore

CONFIG = DhtConfig()
HASH = b"h" * 20


def store(config: DhtConfig = CONFIG) -> PeerStore:
    return PeerStore(config, random.Random(1))


def peer(number: int, port: int = 6881) -> PeerAddress:
    return PeerAddress(f"20.{number // 62_500}.{number // 250 % 250}.{number % 250 + 1}", port)


def far(number: int) -> PeerAddress:
    """Return an address in a network of its own."""
    return PeerAddress(f"20.{number // 250}.{number % 250}.1", 6881)


def site(number: int) -> PeerAddress:
    """Return an address in a /64 of its own; all of them are in one /48."""
    return PeerAddress(f"2001:db8:5:{number:x}::1", 6881)


def info_hash(number: int) -> bytes:
    return number.to_bytes(20, "big")


def test_bep5_announced_peer_is_told_of_for_half_an_hour() -> None:
    peers = store()
    assert peers.announce(HASH, peer(1), is_seed=False, now=0.0)
    assert peers.peers(HASH, 10, now=1_799.0) == [compact_address(peer(1))]
    assert peers.peers(HASH, 10, now=1_800.0) == []
    assert peers.peers(b"x" * 20, 10, now=0.0) == []
    assert len(peers) == 0


def test_bep5_repeated_announce_starts_the_half_hour_anew() -> None:
    peers = store()
    for number, now in ((1, 0.0), (2, 0.0), (1, 1_000.0)):
        peers.announce(HASH, peer(number), is_seed=False, now=now)
    assert peers.peers(HASH, 10, now=2_000.0) == [compact_address(peer(1))]


def test_bep5_ipv6_peers_have_18_bytes() -> None:
    peers = store()
    peers.announce(HASH, PeerAddress("2001:db8::1", 6881), is_seed=False, now=0.0)
    assert [len(each) for each in peers.peers(HASH, 10, now=0.0)] == [18]


def test_bep5_all_that_we_keep_are_known_to_our_own_lookups() -> None:
    peers = store()
    own = PeerAddress("2001:db8::1", 6882)
    peers.announce(HASH, own, is_seed=False, now=0.0)
    peers.announce(HASH, peer(1), is_seed=True, now=0.0)
    assert peers.addresses(HASH, now=0.0) == (own, peer(1))
    assert peers.addresses(HASH, now=0.0, no_seed=True) == (own,)
    assert peers.addresses(HASH, now=1_800.0) == ()
    assert peers.addresses(b"x" * 20, now=0.0) == ()


def test_bep5_many_peers_are_drawn_at_random() -> None:
    peers = store()
    for number in range(300):
        peers.announce(HASH, peer(number), is_seed=False, now=0.0)
    first, second = peers.peers(HASH, 50, now=0.0), peers.peers(HASH, 50, now=0.0)
    assert len(set(first)) == len(set(second)) == 50
    assert set(first) != set(second)
    assert peers.peers(HASH, 0, now=0.0) == []


def test_bep33_one_peer_an_address_and_torrent_the_last_announce_counts() -> None:
    peers = store()
    peers.announce(HASH, peer(1, 1), is_seed=False, now=0.0)
    peers.announce(HASH, peer(1, 2), is_seed=True, now=1.0)
    assert peers.peers(HASH, 10, now=1.0) == [compact_address(peer(1, 2))]
    assert peers.count(HASH, 1.0) == 1


def test_local_address_may_have_a_peer_on_each_port() -> None:
    peers = store()
    for port in (1, 2):
        peers.announce(HASH, PeerAddress("127.0.0.1", port), is_seed=False, now=0.0)
    assert peers.count(HASH, 0.0) == 2


def test_bep33_noseed_prefers_leeches() -> None:
    peers = store()
    for number in range(20):
        peers.announce(HASH, peer(number), is_seed=number < 15, now=0.0)
    leeches = {compact_address(peer(number)) for number in range(15, 20)}
    assert set(peers.peers(HASH, 5, now=0.0, no_seed=True)) == leeches
    assert len(peers.peers(HASH, 3, now=0.0, no_seed=True)) == 3
    filled_up = peers.peers(HASH, 8, now=0.0, no_seed=True)
    assert len(filled_up) == 8
    assert leeches < set(filled_up)


def test_bep33_filters_hold_seeds_and_the_others() -> None:
    peers = store()
    assert peers.filters(HASH, 0.0) is None
    for number in range(30):
        peers.announce(HASH, peer(number), is_seed=number < 10, now=0.0)
    filters = peers.filters(HASH, 0.0)
    assert filters is not None
    assert [round(each.estimate()) for each in filters] == [10, 20]


def test_bep33_filters_follow_announces_changes_and_expiry() -> None:
    peers = store()
    peers.announce(HASH, peer(1), is_seed=False, now=0.0)
    peers.announce(HASH, peer(2), is_seed=False, now=1_000.0)

    def estimates(now: float) -> list[int]:
        filters = peers.filters(HASH, now)
        return [] if filters is None else [round(each.estimate()) for each in filters]

    assert estimates(1_000.0) == [0, 2]
    peers.announce(HASH, peer(3), is_seed=True, now=1_000.0)
    assert estimates(1_000.0) == [1, 2]
    peers.announce(HASH, peer(2), is_seed=True, now=1_100.0)
    assert estimates(1_100.0) == [2, 1]
    assert estimates(1_900.0) == [2, 0]
    assert estimates(9_000.0) == []


def test_c2_five_hundred_peers_of_a_torrent_at_most_the_oldest_leaves() -> None:
    peers = store()
    for number in range(700):
        peers.announce(HASH, far(number), is_seed=False, now=float(number) / 10)
    told = peers.peers(HASH, 1_000, now=70.0)
    assert len(told) == 500
    assert set(told) == {compact_address(far(number)) for number in range(200, 700)}


def test_c2_one_48_cannot_displace_the_peers_of_others() -> None:
    peers = store(replace(CONFIG, max_peers_per_torrent=50))
    honest = [far(number) for number in range(40)]
    for address in honest:
        peers.announce(HASH, address, is_seed=False, now=0.0)
    for number in range(200):
        peers.announce(HASH, site(number), is_seed=False, now=1.0)
    assert peers.addresses(HASH, now=2.0) == (*honest, *map(site, range(190, 200)))
    peers.announce(HASH, far(99), is_seed=False, now=2.0)
    assert set(peers.addresses(HASH, now=2.0)) == {*honest, far(99), *map(site, range(191, 200))}


def test_c2_in_the_network_with_most_the_address_with_most_gives_way() -> None:
    peers = store(replace(CONFIG, max_peers_per_torrent=5))
    for host, port in (("::1", 1), ("127.0.0.2", 1), ("127.0.0.1", 1), ("127.0.0.1", 2)):
        peers.announce(HASH, PeerAddress(host, port), is_seed=False, now=0.0)
    for number in range(2):
        peers.announce(HASH, far(number), is_seed=False, now=0.0)
    left = {(each.host, each.port) for each in peers.addresses(HASH, now=0.0)}
    assert left > {("::1", 1), ("127.0.0.2", 1), ("127.0.0.1", 2)}
    assert ("127.0.0.1", 1) not in left


def test_c2_one_48_cannot_displace_the_torrents_of_others() -> None:
    peers = store(replace(CONFIG, max_torrents=50))
    for number in range(20):
        peers.announce(info_hash(number), site(number), is_seed=False, now=0.0)  # it is the first
        peers.announce(info_hash(number), far(number), is_seed=False, now=0.0)
    for number in range(20, 40):
        peers.announce(info_hash(number), far(number), is_seed=False, now=0.0)
    for number in range(1_000, 1_300):
        for address in (site(number), site(number + 1_000), site(number + 2_000)):
            peers.announce(info_hash(number), address, is_seed=False, now=1.0)
    assert len(peers) == 50
    assert all(far(number) in peers.addresses(info_hash(number), now=2.0) for number in range(40))
    assert peers.count(info_hash(1_299), 2.0) == 3


def test_c2_the_largest_torrent_does_not_give_way_when_all_smaller_ones_have_passed_on() -> None:
    peers = store(replace(CONFIG, max_torrents=12))
    for number in range(5):  # a lonely torrent of each of some hosts in a network
        peers.announce(info_hash(number), peer(number + 10), is_seed=False, now=0.0)
    for number, size in ((5, 2), (6, 5), (7, 200)):  # of which one was the first in three more
        peers.announce(info_hash(number), peer(1), is_seed=False, now=0.0)
        for other in range(size):
            peers.announce(info_hash(number), far(1_000 * number + other), is_seed=False, now=0.0)
    for number in range(8, 12):
        peers.announce(info_hash(number), far(number), is_seed=False, now=0.0)
    assert peers.announce(info_hash(12), peer(1), is_seed=False, now=0.0)
    assert [peers.count(info_hash(number), 0.0) for number in (5, 6, 7)] == [3, 6, 201]
    assert sum(peers.count(info_hash(number), 0.0) for number in range(5)) == 4


def test_c2_a_torrent_that_may_pass_on_twice_gives_way_to_nobody_once_it_has() -> None:
    peers = store(replace(CONFIG, max_torrents=4))
    for number, host in [(0, peer(2)), (1, peer(3)), (2, peer(1)), (2, far(1)), (2, far(2))]:
        peers.announce(info_hash(number), host, is_seed=False, now=0.0)
    peers.announce(info_hash(3), far(1), is_seed=False, now=0.0)
    assert peers.announce(info_hash(4), peer(1), is_seed=False, now=0.0)
    assert len(peers) == 4
    assert peers.count(info_hash(2), 0.0) == 3


def test_c2_two_thousand_torrents_at_most_the_smallest_leaves() -> None:
    peers = store()
    for number in (1, 2):
        peers.announce(HASH, peer(number), is_seed=False, now=0.0)
    for number in range(5_000):
        peers.announce(info_hash(number), peer(number + 10), is_seed=False, now=0.0)
    assert len(peers) == 2_000
    assert peers.count(HASH, 0.0) == 2
    assert peers.count(info_hash(4_999), 0.0) == 1
    assert len(peers._torrents_of) == 2_001


def test_c2_one_address_is_in_a_hundred_torrents_at_most() -> None:
    peers = store()
    known = [
        peers.announce(info_hash(number), peer(1), is_seed=False, now=0.0) for number in range(150)
    ]
    assert known == [True] * 100 + [False] * 50
    assert peers.announce(info_hash(3), peer(1), is_seed=False, now=1.0)  # in it already
    assert peers.announce(info_hash(140), peer(2), is_seed=False, now=1.0)
    assert peers.announce(info_hash(141), peer(1), is_seed=False, now=4_000.0)  # all forgotten


def test_c2_addresses_of_one_64_count_together() -> None:
    peers = store()
    known = [
        peers.announce(
            info_hash(number), PeerAddress(f"2001:db8::{number + 1:x}", 1), is_seed=False, now=0.0
        )
        for number in range(150)
    ]
    assert sum(known) == 100


def test_c2_addresses_of_one_64_are_one_peer_of_a_torrent() -> None:
    peers = store()
    for number in range(150):
        address = PeerAddress(f"2001:db8::{number + 1:x}", 1)
        assert peers.announce(HASH, address, is_seed=False, now=0.0)
    assert peers.count(HASH, 0.0) == 1
    assert len(peers.peers(HASH, 200, now=0.0)) == 1


def test_c2_refused_newcomer_leaves_no_empty_torrent_behind() -> None:
    peers = store(replace(CONFIG, max_torrents_per_ip=0))
    assert not peers.announce(HASH, peer(1), is_seed=False, now=0.0)
    assert not peers.announce(HASH, PeerAddress("router.example", 1), is_seed=False, now=0.0)
    assert len(peers) == 0


def test_c2_silent_torrents_are_swept_without_being_asked_for() -> None:
    peers = store()
    for number in range(1_000):
        peers.announce(info_hash(number), peer(number), is_seed=False, now=0.0)
    peers.announce(HASH, peer(1), is_seed=False, now=2_000.0)
    assert len(peers) == 1
    assert len(peers._torrents_of) == 1


def test_bep51_sample_is_the_same_until_its_time_is_over() -> None:
    peers = store()
    for number in range(200):
        peers.announce(info_hash(number), peer(number), is_seed=False, now=0.0)
    first = peers.sample(0.0)
    assert len(first) == 20 * CONFIG.max_samples
    assert peers.sample(1_000.0) == first
    assert peers.sample_interval_s(1_000.0) == 20_600


def test_bep51_small_sample_grows_with_the_torrents() -> None:
    peers = store()
    assert peers.sample(0.0) == b""
    peers.announce(HASH, peer(1), is_seed=False, now=0.0)
    assert peers.sample(1.0) == HASH


def test_bep51_sample_has_no_torrent_that_is_gone() -> None:
    peers = store()
    for number in range(40):
        peers.announce(info_hash(number), peer(number), is_seed=False, now=number * 20.0)
    first = peers.sample(800.0)
    assert len(first) == 400
    later = peers.sample(2_200.0)
    told = {later[start : start + 20] for start in range(0, len(later), 20)}
    assert told == {info_hash(number) for number in range(21, 40)}


def test_c2_very_many_peers_that_expire_at_once_are_forgotten_a_part_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peer_store, "MAX_EXPIRED", 4)
    peers = store()
    for number in range(10):
        peers.announce(info_hash(number), peer(number), is_seed=False, now=0.0)
    left = []
    for now in (1_800.0, 1_800.1, 1_800.2, 1_800.3):
        peers.sample(now)
        left.append(len(peers))
    assert left == [6, 2, 0, 0]
    assert not peers._torrents_of
