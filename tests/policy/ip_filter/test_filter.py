"""Verdicts of the IP filter, and how candidates heed them."""

import random

import pytest

from torrent_engine.base.config import ClassRule, PoolConfig
from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.policy.ip_filter.filter import AddressSet, IpFilter
from torrent_engine.policy.ip_filter.lines import parse_range
from torrent_engine.policy.ip_filter.ranges import AddressRanges, RangeBuilder
from torrent_engine.policy.peers.admission import Admission
from torrent_engine.policy.peers.bans import BanList
from torrent_engine.policy.peers.candidates import CandidateList, Source

FRIEND, FOE = PeerAddress("9.9.9.9", 6881), PeerAddress("1.2.3.4", 6881)
LOCAL = PeerAddress("192.168.1.7", 6881)
EVERYBODY = ("0.0.0.0/0", "::/0")


def ranges(*texts: str) -> AddressRanges:
    builder = RangeBuilder()
    for text in texts:
        bits, first, last = parse_range(text)
        builder.add(bits, [first << bits | last])
    return builder.build()


def blocking(*texts: str, **options) -> IpFilter:
    return IpFilter((AddressSet("foes", ClassRule.BLOCKED, ranges(*texts)),), **options)


def test_an_empty_filter_allows_everybody() -> None:
    subject = IpFilter()
    assert subject.allows(FOE)
    assert subject.allows_dial(FOE)
    assert not subject.is_unlimited(FOE.host)
    assert subject.blocked_by(FOE.host) is None


def test_blocked_addresses_are_neither_let_in_nor_dialled() -> None:
    subject = blocking("1.2.3.0/24", "2001:db8::/32")
    for host in ("1.2.3.4", "2001:db8::5", "::ffff:1.2.3.4", "2001:db8::1%eth0"):
        assert not subject.allows(PeerAddress(host, 1))
        assert not subject.allows_dial(PeerAddress(host, 1))
        assert subject.blocked_by(host) == "foes"
    assert subject.allows_dial(FRIEND)
    assert subject.allows(PeerAddress("2001:db9::", 1))


def test_allowed_addresses_go_before_blocked_ones() -> None:
    allowed = AddressSet("friends", ClassRule.ALLOWED, ranges("1.2.3.4", "5.0.0.0/8"))
    blocked = [
        AddressSet(name, ClassRule.BLOCKED, ranges(text))
        for name, text in (("some", "1.2.3.0/24"), ("others", "1.2.3.5-1.2.9.9"))
    ]
    subject = IpFilter((*blocked, allowed))
    verdicts = {host: subject.blocked_by(host) for host in ("1.2.3.4", "1.2.3.5", "1.2.4.0")}
    assert verdicts == {"1.2.3.4": None, "1.2.3.5": "some", "1.2.4.0": "others"}


@pytest.mark.parametrize("host", ["192.168.1.7", "10.0.0.1", "127.0.0.1", "fe80::1", "fd00::1"])
def test_the_local_network_is_let_in_on_request(host: str) -> None:
    local = PeerAddress(host, 1)
    assert not blocking(*EVERYBODY).allows(local)
    subject = blocking(*EVERYBODY, always_allow_local=True)
    assert subject.allows(local)
    assert not subject.allows(FRIEND)
    assert not subject.allows(PeerAddress("2600::1", 1))


def test_blocked_ports_are_not_dialled_and_not_asked_of_who_comes() -> None:
    subject = IpFilter(blocked_ports=((1, 1023), (6881, 6881)))
    dialled = [port for port in (1, 1023, 1024, 6880, 6881, 6882) if may_dial(subject, port)]
    assert dialled == [1024, 6880, 6882]
    assert subject.allows(FRIEND)


def may_dial(ip_filter: IpFilter, port: int) -> bool:
    return ip_filter.allows_dial(FRIEND._replace(port=port))


def test_limits_are_not_for_the_unlimited() -> None:
    near = AddressSet("near", ClassRule.UNLIMITED, ranges("9.9.0.0/16"))
    subject = IpFilter((near,))
    assert subject.is_unlimited(FRIEND.host)
    assert not subject.is_unlimited(FOE.host)
    assert subject.allows(FOE)


# -- candidates ---------------------------------------------------------------------------


class Changing(IpFilter):
    """A filter whose classes the test changes."""

    is_shut = False

    def blocked_by(self, host: str) -> str | None:
        return "all" if self.is_shut else super().blocked_by(host)


def test_a_forbidden_candidate_is_not_taken_and_gives_no_link() -> None:
    candidates = CandidateList(
        PoolConfig(), random.Random(1), ip_filter=blocking("1.2.3.0/24", blocked_ports=((80, 80),))
    )
    assert not candidates.add(FOE, Source.TRACKER, now=0.0)
    assert not candidates.add(FRIEND._replace(port=80), Source.PEX, now=0.0)
    assert candidates.add(FRIEND, Source.TRACKER, now=0.0)
    assert candidates.is_banned(FOE, PeerId(b"x" * 20), now=0.0)
    assert not candidates.is_banned(FRIEND._replace(port=80), None, now=0.0)


def test_a_candidate_that_is_forbidden_later_is_forgotten_when_its_turn_comes() -> None:
    ip_filter = Changing()
    candidates = CandidateList(PoolConfig(), random.Random(1), ip_filter=ip_filter)
    candidates.add(FRIEND, Source.MANUAL, now=0.0)
    ip_filter.is_shut = True
    assert candidates.next_to_dial(1.0) is None
    assert FRIEND not in candidates


@pytest.mark.parametrize("source", list(Source))
def test_whoever_named_a_forbidden_address_it_is_refused(source: Source) -> None:
    admission = Admission(BanList(PoolConfig()), blocking("1.2.3.4"), is_private=False)
    assert admission.refuses(FOE, source, 0.0, allow_local=True)
    assert not admission.refuses(FRIEND, source, 0.0, allow_local=True)


def test_bep27_a_private_torrent_refuses_public_sources() -> None:
    admission = Admission(BanList(PoolConfig()), None, is_private=True)
    assert admission.refuses(FRIEND, Source.DHT, 0.0, allow_local=True)
    assert not admission.refuses(FRIEND, Source.TRACKER, 0.0, allow_local=True)
    assert admission.refuses(LOCAL, Source.TRACKER, 0.0, allow_local=False)


@pytest.mark.parametrize(
    "host", ["::ffff:1.2.3.4", "2002:102:304::1", "64:ff9b::1.2.3.4", "64:ff9b::102:304"]
)
def test_an_ipv4_address_is_forbidden_however_it_is_written(host: str) -> None:
    assert blocking("1.2.3.0/24").blocked_by(host) == "foes"
    assert blocking("9.9.9.9").blocked_by(host) is None


def test_a_6to4_address_is_forbidden_by_a_range_of_ipv6_too() -> None:
    assert blocking("2002::/16").blocked_by("2002:102:304::1") == "foes"
