"""What we believe of our own address, whoever tells it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.policy.peers.external_address import (
    MAX_VOTERS,
    NEEDED_VOTES,
    TRACKER_VOTES,
    ExternalAddresses,
    listens_at,
    own_hosts,
)

OURS, LIE, OURS6, LIE6 = "8.8.4.4", "9.9.9.9", "2600::8", "2600::9"
PACKED = bytes([8, 8, 4, 4])


def test_bep24_a_tracker_is_believed_and_may_correct_itself() -> None:
    subject = ExternalAddresses()
    subject.add_vote(LIE, "http://t/", TRACKER_VOTES)
    assert subject.hosts == (LIE,)
    subject.add_vote(OURS, "http://t/", TRACKER_VOTES)
    assert subject.hosts == (OURS,)


def test_bep10_several_peers_must_agree_and_one_has_one_vote() -> None:
    subject = ExternalAddresses()
    for _ in range(10):
        subject.add_vote(PACKED, "1.1.1.1")
    assert not subject.hosts
    for number in range(2, NEEDED_VOTES + 1):
        assert not subject.hosts
        subject.add_vote(PACKED, f"1.1.1.{number}")
    assert subject.hosts == (OURS,)
    subject.add_vote(LIE, "1.1.1.9")
    subject.add_vote(LIE, "1.1.1.1")  # changes its mind: 2 against 2
    assert not subject.hosts


def test_bep10_at_a_draw_nothing_changes() -> None:
    subject = ExternalAddresses()
    for number in range(NEEDED_VOTES):
        subject.add_vote(OURS, f"1.1.1.{number}")
        subject.add_vote(LIE, f"1.1.2.{number}")
    assert subject.hosts == (OURS,)
    subject.add_vote(LIE, "1.1.2.99")
    assert subject.hosts == (LIE,)


def test_bep10_families_are_apart_and_ipv4_may_be_wrapped_in_ipv6() -> None:
    subject = ExternalAddresses()
    subject.add_vote(OURS6, "http://t/", TRACKER_VOTES)
    subject.add_vote("::ffff:" + OURS, "http://t/", TRACKER_VOTES)
    assert subject.hosts == (OURS, OURS6)


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "127.0.0.1", "0.0.0.0", "fe80::1", "::1", "", "home", b"", b"12345"]
)
def test_bep10_what_is_no_public_address_is_ignored(address: str | bytes) -> None:
    subject = ExternalAddresses()
    subject.add_vote(address, "http://t/", TRACKER_VOTES)
    assert not subject.hosts


@given(st.lists(st.tuples(st.binary(max_size=17), st.text(max_size=3)), max_size=50))
def test_bep10_whatever_is_told_at_most_one_address_of_each_family_is_believed(
    words: list[tuple[bytes, str]],
) -> None:
    subject = ExternalAddresses()
    for address, teller in words:
        subject.add_vote(address, teller)
    assert len({":" in host for host in subject.hosts}) == len(subject.hosts) <= 2


def test_old_words_are_forgotten() -> None:
    subject = ExternalAddresses()
    for number in range(MAX_VOTERS * 2):
        subject.add_vote(PACKED, f"1.1.{number >> 8}.{number & 255}")
        subject.add_vote(PACKED, f"http://{number}/", TRACKER_VOTES)
    assert [len(kept) for kept in subject._votes.values()] == [MAX_VOTERS] * 2


def test_b9_peers_cannot_push_out_the_votes_of_trackers() -> None:
    subject = ExternalAddresses()
    for number in range(MAX_VOTERS):
        subject.add_vote(OURS, f"http://{number}/", TRACKER_VOTES)
    for number in range(MAX_VOTERS * 2):
        subject.add_vote(LIE, f"1.1.{number >> 8}.{number & 255}")
    assert subject.hosts == (OURS,)


def test_b9_a_peer_votes_in_the_family_of_its_own_address_only() -> None:
    subject = ExternalAddresses()
    for number in range(NEEDED_VOTES):
        subject.add_vote(LIE, f"2600:0:0:{number:x}::1")
        subject.add_vote(OURS6, f"1.1.1.{number}")
        subject.add_vote(LIE, "no address")
    assert not subject.hosts
    for number in range(NEEDED_VOTES):
        subject.add_vote(OURS, f"::ffff:1.1.1.{number}")
        subject.add_vote(OURS6, f"2600:0:0:{number:x}::1")
    assert subject.hosts == (OURS, OURS6)


def test_who_listens_everywhere_is_at_every_local_address() -> None:
    assert own_hosts(("0.0.0.0", "::")) == {"127.0.0.1", "::1"}
    assert own_hosts(("192.168.1.5",)) == {"192.168.1.5"}
    assert listens_at("192.168.1.5", ("0.0.0.0",))
    assert not listens_at("fe80::5", ("0.0.0.0",))
    assert listens_at("fe80::5", ("0.0.0.0", "::"))
    assert listens_at("127.0.0.1", ("127.0.0.1",))
    assert not listens_at("192.168.1.5", ("127.0.0.1",))


SEEN_BY = {
    "8.8.8.8": 7000,
    "192.168.1.9": 6881,
    "100.64.1.1": 6881,
    "2600::1": 6881,
    "no address": 6881,
}


@pytest.mark.parametrize(("host", "port"), SEEN_BY.items(), ids=SEEN_BY.keys())
def test_only_the_internet_of_ipv4_sees_the_port_that_the_gateway_gave(
    host: str, port: int
) -> None:
    subject = ExternalAddresses()
    assert subject.port_seen_by(host, 6881) == 6881
    subject.mapped_port = 7000
    assert subject.port_seen_by(host, 6881) == port


def test_bep10_all_addresses_of_one_64_have_one_vote() -> None:
    subject = ExternalAddresses()
    for number in range(100):
        subject.add_vote(LIE6, f"2600:0:0:1::{number:x}")
    assert not subject.hosts
    for number in range(NEEDED_VOTES):
        subject.add_vote(OURS6, f"2600:0:0:{number + 2:x}::1")
    assert subject.hosts == (OURS6,)
