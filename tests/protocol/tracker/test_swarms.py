"""How much a tracker keeps, whose entries go when it is full, and what an announce costs."""

import random
from collections import Counter, OrderedDict
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.ids import InfoHash, PeerAddress, PeerId
from torrent_engine.base.operators import operator_of
from torrent_engine.protocol.tracker import swarms as swarms_module
from torrent_engine.protocol.tracker.announce import AnnounceEvent, AnnounceRequest, AnnounceTotals
from torrent_engine.protocol.tracker.fair_shares import LARGE, FairShares, with_last
from torrent_engine.protocol.tracker.swarms import (
    HEIR_DRAWS,
    SPARE_DRAWS,
    SwarmLimits,
    SwarmStore,
)

FLOODER = "203.0.113.66"
EVENTS = list(AnnounceEvent)


def info_hash(number: int) -> InfoHash:
    return InfoHash(number.to_bytes(20, "big"))


def store(*, interval_s: float = 100.0, **limits: int) -> SwarmStore:
    return SwarmStore(interval_s=interval_s, rng=random.Random(1), limits=SwarmLimits(**limits))


def announce(
    swarms: SwarmStore,
    host: str,
    port: int = 6881,
    *,
    torrent: int = 0,
    now: float = 0.0,
    left: int = 1,
    event: AnnounceEvent = AnnounceEvent.NONE,
    v6: bool | None = None,
    numwant: int = 50,
    peer_id: bytes | None = None,
) -> list[PeerAddress]:
    request = AnnounceRequest(
        info_hash=info_hash(torrent),
        peer_id=PeerId(peer_id or f"{host}{port}".encode()[-20:].rjust(20)),
        port=port,
        totals=AnnounceTotals(uploaded_bytes=0, downloaded_bytes=0, left_bytes=left),
        event=event,
        numwant=numwant,
    )
    found = swarms.announce(request, PeerAddress(host, port), now=now, v6=v6)
    return [peer.address for peer in found]


def hosts_in(swarms: SwarmStore, torrent: int = 0) -> list[str]:
    swarm = swarms._swarms.get(info_hash(torrent))
    return [address.host for address in swarm.peers] if swarm else []


def test_one_address_cannot_fill_a_swarm() -> None:
    swarms = store(max_peers_per_torrent=20, max_peers_per_torrent_of_one=5)
    for number in range(8):
        announce(swarms, f"192.0.2.{number}")
    for port in range(1, 2_000):
        announce(swarms, FLOODER, port)
    assert Counter(hosts_in(swarms))[FLOODER] == 5
    assert len(hosts_in(swarms)) == 13
    announce(swarms, "198.51.100.1")
    assert "198.51.100.1" in hosts_in(swarms)


def test_a_full_swarm_takes_the_oldest_of_who_has_most() -> None:
    swarms = store(max_peers_per_torrent=10, max_peers_per_torrent_of_one=6)
    for number in range(4):
        announce(swarms, f"192.0.2.{number}")
    for port in range(1, 7):
        announce(swarms, FLOODER, port)
    announce(swarms, FLOODER, 1)  # it is the newest now
    announce(swarms, "198.51.100.1")
    peers = swarms._swarms[info_hash(0)].peers
    assert len(peers) == 10
    assert PeerAddress(FLOODER, 2) not in peers
    assert PeerAddress(FLOODER, 1) in peers


def test_an_ipv6_network_counts_as_one() -> None:
    swarms = store(max_peers_per_torrent_of_one=5)
    for number in range(1, 500):
        announce(swarms, f"2001:db8::{number:x}")
    announce(swarms, "2001:db8:0:1::1")
    assert len(hosts_in(swarms)) == 6


def test_where_nobody_has_more_than_one_the_oldest_goes() -> None:
    swarms = store(max_peers_per_torrent=3, max_peers_per_torrent_of_one=2)
    for number in range(5):
        announce(swarms, f"192.0.2.{number}", now=number)
    assert hosts_in(swarms) == ["192.0.2.2", "192.0.2.3", "192.0.2.4"]


def test_peers_that_all_went_at_once_are_forgotten_by_a_few_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(swarms_module, "MAX_EXPIRED", 4)
    swarms = store()
    for number in range(10):
        announce(swarms, f"192.0.2.{number}", now=0.0)
    left = []
    for now in (1_000.0, 1_000.0, 1_000.09, 1_000.1, 1_001.0, 1_001.0, 1_002.0):
        swarms.scrape(info_hash(1), now=now)  # a request may ask for many torrents
        left.append(swarms.totals()[1])
    assert left == [6, 6, 6, 2, 0, 0, 0]


def test_one_address_has_no_more_peers_because_a_swarm_is_full_of_others() -> None:
    swarms = store(
        max_peers_per_torrent=4, max_peers_per_torrent_of_one=3, max_peers=12, max_peers_of_one=5
    )
    for number in range(5):
        announce(swarms, FLOODER, 1 + number, torrent=number % 2)
    for port in range(1, 5):
        announce(swarms, f"192.0.2.{port // 4}", port, torrent=2)
    announce(swarms, FLOODER, torrent=2)
    assert swarms._operators.count(FLOODER) == 5
    assert hosts_in(swarms, 2) == ["192.0.2.0", "192.0.2.0", "192.0.2.1", FLOODER]


def test_one_address_cannot_fill_the_tracker_with_torrents() -> None:
    swarms = store(max_torrents=50, max_torrents_of_one=30)
    for torrent in range(10):
        announce(swarms, f"192.0.2.{torrent}", torrent=torrent)
    for torrent in range(100, 1_000):
        announce(swarms, FLOODER, torrent=torrent)
    assert swarms.totals() == (40, 40)
    for torrent in range(2_000, 2_020):
        announce(swarms, f"198.51.100.{torrent - 2_000}", torrent=torrent)
    assert swarms.totals()[0] == 50
    assert all(hosts_in(swarms, torrent) for torrent in (*range(10), *range(2_000, 2_020)))


def test_a_past_without_peers_keeps_nobody_out() -> None:
    swarms = store(max_torrents=10)
    for torrent in range(100):
        for event in (AnnounceEvent.STARTED, AnnounceEvent.COMPLETED, AnnounceEvent.STOPPED):
            announce(swarms, FLOODER, torrent=torrent, event=event)
    assert swarms.totals() == (10, 0)
    announce(swarms, "192.0.2.1", torrent=500)
    assert hosts_in(swarms, 500) == ["192.0.2.1"]


def test_a_torrent_that_others_announce_outlives_what_is_quiet() -> None:
    swarms = store(max_torrents=10)
    announce(swarms, FLOODER, torrent=0)
    for torrent in range(1, 10):
        announce(swarms, FLOODER, torrent=torrent)
    announce(swarms, "192.0.2.1", torrent=0)
    announce(swarms, "192.0.2.2", torrent=77)
    assert len(hosts_in(swarms, 0)) == 2
    assert not hosts_in(swarms, 1)


def test_who_announced_a_torrent_first_cannot_have_it_forgotten() -> None:
    swarms = store(max_torrents=60, max_torrents_of_one=30)
    announce(swarms, FLOODER, torrent=0)
    others = [f"192.0.2.{number}" for number in range(5)]
    for host in others:
        announce(swarms, host, torrent=0)
    for torrent in range(100, 1_000):
        announce(swarms, FLOODER, torrent=torrent)
    assert hosts_in(swarms, 0) == [FLOODER, *others]
    assert swarms._owners.count(FLOODER) == 30


@pytest.mark.parametrize(
    "limits", [{"max_torrents": 40}, {"max_torrents": 60, "max_torrents_of_one": 30}]
)
def test_who_joins_a_torrent_of_others_cannot_have_it_forgotten(limits: dict[str, int]) -> None:
    swarms = store(**limits)
    for torrent in range(10):
        announce(swarms, "192.0.2.1", torrent=torrent)
    for torrent in range(10):
        announce(swarms, FLOODER, torrent=torrent)
    assert swarms._owners.count(FLOODER) == 5  # so far it has fewer
    for torrent in range(100, 1_000):
        announce(swarms, FLOODER, torrent=torrent)
    assert all("192.0.2.1" in hosts_in(swarms, torrent) for torrent in range(10))
    assert swarms.totals()[0] == 40


def test_torrents_that_only_those_with_very_many_announce_make_room() -> None:
    swarms = store(max_torrents=20)
    for torrent in range(20):
        announce(swarms, FLOODER, torrent=torrent)
        announce(swarms, "203.0.113.67", torrent=torrent)
    for number in range(10):
        announce(swarms, f"192.0.2.{number}", torrent=100 + number)
    assert swarms.totals()[0] == 20
    assert all(hosts_in(swarms, 100 + number) for number in range(10))


def test_one_address_cannot_fill_the_tracker_with_peers() -> None:
    swarms = store(max_peers=100, max_peers_of_one=60)
    for number in range(30):
        announce(swarms, f"192.0.{number}.1", torrent=number)
    for number in range(5_000):
        announce(swarms, FLOODER, number + 1, torrent=1_000 + number // 20)
    assert swarms.totals()[1] == 90
    for number in range(50):
        announce(swarms, f"198.51.{number}.1", torrent=number)
    assert swarms.totals()[1] == 100
    assert all(f"198.51.{number}.1" in hosts_in(swarms, number) for number in range(50))
    assert all(f"192.0.{number}.1" in hosts_in(swarms, number) for number in range(30))


def test_one_address_may_have_more_torrents_than_its_limit_while_half_the_store_is_free() -> None:
    swarms = store(max_torrents=100, max_torrents_of_one=10)
    for torrent in range(200):
        announce(swarms, FLOODER, torrent=torrent)
    assert swarms.totals()[0] == 50
    for torrent in range(300, 350):
        announce(swarms, f"192.0.{torrent - 300}.1", torrent=torrent)
        announce(swarms, FLOODER, torrent=torrent + 1_000)  # in place of its own
    assert swarms._owners.count(FLOODER) == 50
    for torrent in range(400, 449):
        announce(swarms, f"198.51.{torrent - 400}.1", torrent=torrent)
    assert swarms.totals()[0] == 100
    assert swarms._owners.count(FLOODER) == 1  # it gave way
    assert all(hosts_in(swarms, torrent) for torrent in (*range(300, 350), *range(400, 449)))


def test_one_address_may_have_more_peers_than_its_limit_while_half_the_store_is_free() -> None:
    swarms = store(max_peers=100, max_peers_of_one=10)
    for torrent in range(200):
        announce(swarms, FLOODER, torrent=torrent)
    assert swarms.totals()[1] == 50
    for torrent in range(300, 390):
        announce(swarms, f"192.0.{torrent - 300}.1", torrent=torrent)
    assert swarms.totals()[1] == 100
    assert swarms._operators.count(FLOODER) == 10
    assert all(hosts_in(swarms, torrent) for torrent in range(300, 390))


def site(number: int) -> str:
    """Return an address in a /64 of its own; all of them are in one /48."""
    return f"2001:db8:5:{number:x}::1"


def test_one_48_cannot_fill_a_swarm() -> None:
    swarms = store(max_peers_per_torrent=50)
    honest = [f"192.0.{number}.1" for number in range(40)]
    for host in honest:
        announce(swarms, host)
    for number in range(200):
        announce(swarms, site(number))
    assert hosts_in(swarms) == [*honest, *map(site, range(190, 200))]
    announce(swarms, "198.51.100.1")
    assert len(hosts_in(swarms)) == 50
    assert {*honest, "198.51.100.1"} < {*hosts_in(swarms)}


def test_one_48_cannot_have_the_torrents_of_others_forgotten() -> None:
    swarms = store(max_torrents=50)
    for torrent in range(20):
        for number in range(5):
            announce(swarms, f"192.{torrent}.{number}.1", torrent=torrent)
    for torrent in range(20):
        announce(swarms, site(torrent), torrent=torrent)
    for number in range(300):
        announce(swarms, site(number), torrent=100 + number)
    assert swarms.totals()[0] == 50
    assert all(len(hosts_in(swarms, torrent)) == 6 for torrent in range(20))
    assert all(hosts_in(swarms, 100 + number) for number in range(270, 300))


def test_one_48_cannot_fill_the_tracker_with_peers() -> None:
    swarms = store(max_peers=100)
    honest = {f"192.0.{number}.1" for number in range(80)}
    for host in honest:
        announce(swarms, host)
    for number in range(500):
        announce(swarms, site(number), torrent=number % 7)
    assert swarms.totals()[1] == 100
    assert honest <= {*hosts_in(swarms)}


def test_in_the_network_with_most_the_operator_with_most_gives_way() -> None:
    swarms = store(max_peers_per_torrent=12)
    for number in range(5):
        announce(swarms, f"203.0.113.{number}")
    for port in range(1, 5):
        announce(swarms, FLOODER, port)
    for number in range(3):
        announce(swarms, f"192.0.{number}.1")
    for number in range(3):
        announce(swarms, f"198.51.{number}.1")
    assert Counter(hosts_in(swarms))[FLOODER] == 1
    assert all(f"203.0.113.{number}" in hosts_in(swarms) for number in range(5))
    announce(swarms, "198.51.77.1")
    assert "203.0.113.0" not in hosts_in(swarms)  # each has one now


def test_where_nobody_has_more_than_one_the_torrent_that_is_quiet_for_longest_goes() -> None:
    swarms = store(max_torrents=3)
    for torrent in (0, 1, 2, 0):
        announce(swarms, f"192.0.{torrent}.1", torrent=torrent)
    announce(swarms, "192.0.7.1", 2, torrent=1)  # by another one
    announce(swarms, "198.51.100.1", torrent=3)
    assert [bool(hosts_in(swarms, torrent)) for torrent in range(4)] == [True, True, False, True]


def test_peers_of_a_large_torrent_that_is_evicted_are_removed_by_later_announces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(swarms_module, "MAX_DETACHED", 4)
    swarms = store(max_torrents=1)
    for number in range(10):
        announce(swarms, f"192.0.{number}.1")
    kept = []
    for torrent in (1, 1, 1, 0):
        announce(swarms, "198.51.100.1", torrent=torrent)
        kept.append((swarms.totals(), len(swarms._peers)))
    assert kept == [((1, 1), 7), ((1, 1), 3), ((1, 1), 1), ((1, 1), 1)]
    assert hosts_in(swarms) == ["198.51.100.1"]
    assert not swarms._detached or not swarms._detached[0].peers


def test_a_torrent_that_is_announced_again_after_it_was_evicted_is_a_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(swarms_module, "MAX_DETACHED", 1)
    swarms = store(max_torrents=1)
    for number in range(10):
        announce(swarms, f"192.0.{number}.1")
    announce(swarms, "198.51.100.1", torrent=1)
    for port in range(1, 30):
        assert "192.0.0.1" not in {each.host for each in announce(swarms, "198.51.1.1", port)}
    assert len(hosts_in(swarms)) == len(swarms._peers) == 29


def test_of_a_large_torrent_a_few_peers_are_asked_whether_it_passes_to_them() -> None:
    rng = CountingRandom(1)
    swarms = SwarmStore(interval_s=100.0, rng=rng, limits=SwarmLimits(max_torrents=10))
    for number in range(1_000):
        announce(swarms, site(number), numwant=0)
    for torrent in range(1, 10):
        announce(swarms, site(torrent), torrent=torrent, numwant=0)
    rng.drawn = 0
    announce(swarms, "192.0.2.1", torrent=77, numwant=0)
    assert not hosts_in(swarms, 0)
    assert HEIR_DRAWS <= rng.drawn <= 2 * HEIR_DRAWS


class CountingRandom(random.Random):
    """Counts how many numbers are drawn."""

    drawn = 0

    def _randbelow(self, n: int) -> int:
        self.drawn += 1
        return random.Random._randbelow(self, n)  # type: ignore[attr-defined, no-any-return]


def test_an_announce_draws_no_more_than_it_is_asked_for() -> None:
    rng = CountingRandom(1)
    swarms = SwarmStore(interval_s=100.0, rng=rng)
    for number in range(5_000):
        announce(swarms, f"10.0.{number // 250}.{number % 250}", numwant=0)
    rng.drawn = 0
    assert len(announce(swarms, "192.0.2.1", numwant=30)) == 30
    assert 0 < rng.drawn <= 2 * (30 + SPARE_DRAWS)


def test_every_peer_is_drawn_as_often_as_the_others() -> None:
    swarms = store()
    for number in range(100):
        announce(swarms, f"192.0.2.{number}", left=number % 2)
    drawn = Counter(
        address for _ in range(2_000) for address in announce(swarms, "192.0.2.200", numwant=10)
    )
    assert len(drawn) == 100
    assert min(drawn.values()) > 130
    assert max(drawn.values()) < 280


@pytest.mark.parametrize(("v6", "expected"), [(False, {4}), (True, {6}), (None, {4, 6})])
@pytest.mark.parametrize("left", [0, 1])
def test_bep7_peers_of_the_family_that_is_asked_for(
    v6: bool | None, expected: set[int], left: int
) -> None:
    swarms = store()
    for number in range(40):
        announce(swarms, f"192.0.2.{number}", left=number % 2)
        announce(swarms, f"2001:db8:{number:x}::1", left=number % 2)
    for _ in range(2):
        found = announce(swarms, "198.51.100.1", v6=v6, left=left, numwant=200)
    assert {6 if ":" in address.host else 4 for address in found} == expected
    assert len(found) == 40 * len(expected) // (2 - left)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 6),
            st.integers(1, 4),
            st.integers(0, 5),
            st.integers(0, 1),
            st.sampled_from(EVENTS),
            st.floats(0, 60),
        ),
        max_size=120,
    )
)
def test_whatever_is_announced_the_bounds_and_the_counts_hold(
    steps: list[tuple[int, int, int, int, AnnounceEvent, float]],
) -> None:
    limits = SwarmLimits(4, 3, 9, 5, 4, 3)
    swarms = SwarmStore(interval_s=100.0, rng=random.Random(1), limits=limits)
    now = 0.0
    for number, port, torrent, left, event, wait_s in steps:
        now += wait_s
        host = f"192.0.2.{number}" if number % 2 else f"2001:db8::{number}"
        found = announce(swarms, host, port, torrent=torrent, now=now, left=left, event=event)
        assert PeerAddress(host, port) not in found
        check(swarms, limits)
    swarms.scrape(info_hash(0), now=now + 1_000.0)
    assert swarms.totals()[1] == 0
    assert swarms._operators.count(FLOODER) == 0
    assert not len(swarms._operators)


def check(swarms: SwarmStore, limits: SwarmLimits) -> None:
    peers = list(swarms._peers)
    assert len(swarms._swarms) <= limits.max_torrents
    assert len(peers) <= limits.max_peers
    owners = Counter(swarm.operator for swarm in swarms._swarms.values())
    operators = Counter(peer.operator for peer in peers)
    assert max(owners.values(), default=0) <= limits.max_torrents_of_one
    assert max(operators.values(), default=0) <= limits.max_peers_of_one
    assert {name: swarms._operators.count(name) for name in operators} == operators
    assert len(swarms._operators) == len(peers)
    living = sum(len(swarm.peers) for swarm in swarms._swarms.values())
    assert living + sum(len(swarm.peers) for swarm in swarms._detached) == len(peers)
    for swarm in swarms._swarms.values():
        assert swarm.peers or swarm.downloads
        assert len(swarm.peers) <= limits.max_peers_per_torrent
        crowd = Counter(operator_of(address.host) for address in swarm.peers)
        assert max(crowd.values(), default=0) <= limits.max_peers_per_torrent_of_one
        counts = swarm.counts()
        assert counts.seeds == sum(peer.is_seed for peer in swarm.peers.values())
        assert sorted(map(id, swarm.peers.values())) == sorted(
            id(peer) for group in swarm.groups for peer in group
        )
        assert all(group[peer.place] is peer for group in swarm.groups for peer in group)


@dataclass(eq=False)
class OwnedEntry:
    operator: str

    @property
    def network(self) -> str:
        return self.operator[0]


ENTRIES = [OwnedEntry(operator) for operator in ("a1", "a2", "a3", "b1", "b2", "c1") * 4]


@given(st.lists(st.tuples(st.integers(0, len(ENTRIES) - 1), st.booleans())))
def test_shares_know_who_has_most(steps: list[tuple[int, bool]]) -> None:
    shares, model = FairShares[OwnedEntry](), list[OwnedEntry]()
    for number, is_added in steps:
        entry = ENTRIES[number]
        if entry in model:
            model.remove(entry)
        if is_added:
            model.append(entry)
            shares.add(entry)
        else:
            shares.remove(entry)
        assert len(shares) == len(model)
        check_shares(shares, model)


def check_shares(shares: FairShares[OwnedEntry], model: list[OwnedEntry]) -> None:
    operators = Counter(each.operator for each in model)
    networks = Counter(each.network for each in model)
    for operator in {each.operator for each in ENTRIES}:
        network = operator[0]
        assert shares.count(operator) == operators[operator]
        assert shares.size(network) == networks[network]
        own = [each for each in model if each.operator == operator]
        assert shares.oldest(operator) == (own[0] if own else None)
        assert shares.surplus(operator, network) in surplus_of(model, operator)
    assert shares.surplus("d1", "d") in surplus_of(model, "d1")


def surplus_of(model: list[OwnedEntry], operator: str) -> list[OwnedEntry | None]:
    """Return the entries that may be evicted for one of an operator: a tie leaves a choice."""
    found: list[OwnedEntry | None] = []
    for network in with_most([each.network for each in model], operator[0]):
        operators = [each.operator for each in model if each.network == network]
        crowds = with_most(operators, operator)
        found += [next(each for each in model if each.operator == crowd) for crowd in crowds]
    return found or [None]


def with_most(names: list[str], own: str) -> list[str]:
    """Return the names that are there most often; only the own one if it is among them."""
    counts = Counter(names)
    most = max(counts.values(), default=0)
    return [own] if most and counts[own] == most else [n for n in counts if counts[n] == most]


def test_where_all_have_one_entry_the_least_recent_is_the_surplus() -> None:
    shares = FairShares[OwnedEntry]()
    entries = [OwnedEntry(f"{network}{number}") for network in "abc" for number in range(3)]
    for entry in (*entries, *entries[:4]):
        shares.add(entry)
    shares.remove(entries[8])
    shares.remove(entries[7])
    shares.remove(entries[0])
    assert shares.surplus("d1", "d") == entries[4]


def test_the_first_of_many_keys_is_found_without_those_that_were_removed() -> None:
    keys: dict[int, None] = {}
    for number in range(LARGE):
        assert type(keys) is dict
        keys = with_last(keys, number)
    assert list(keys) == list(range(LARGE))
    assert isinstance(keys, OrderedDict)
    assert list(with_last(keys, 0))[-1] == 0
