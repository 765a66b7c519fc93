"""BEP 55: whom we ask to introduce us, and how often."""

from torrent_engine.base.config import HolepunchConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.policy.peers.holepunch_requests import HolepunchRequests

CONFIG = HolepunchConfig()
THERE = PeerAddress("8.0.0.2", 6881)


def rendezvous(*able: PeerAddress) -> HolepunchRequests[str]:
    subject = HolepunchRequests[str](CONFIG)
    for address in able or (THERE,):
        subject.heard(address)
    return subject


def test_bep55_a_relay_is_asked_for_who_can_be_introduced() -> None:
    subject = rendezvous()
    assert subject.ask(PeerAddress("8.0.0.3", 6881), ["relay"], 0.0) is None
    assert subject.ask(THERE, [], 0.0) is None
    assert subject.ask(THERE, ["relay", "other"], 0.0) == "relay"


def test_bep55_who_was_not_met_is_not_asked_for_again_at_once() -> None:
    subject = rendezvous()
    assert subject.ask(THERE, ["relay"], 0.0) == "relay"
    assert subject.ask(THERE, ["relay", "other"], CONFIG.retry_s - 1) is None
    assert subject.ask(THERE, ["relay", "other"], CONFIG.retry_s) == "other"
    assert subject.ask(THERE, ["other"], 2 * CONFIG.retry_s) == "other"


def test_bep55_when_one_relay_refuses_the_next_is_asked() -> None:
    subject = rendezvous()
    subject.ask(THERE, ["one", "two", "three", "four"], 0.0)
    assert subject.refused(THERE, "two") is None  # nobody asked it
    assert subject.refused(THERE, "one") == "two"
    assert subject.refused(THERE, "one") is None
    assert subject.refused(THERE, "two") == "three"
    assert subject.refused(THERE, "three") is None  # three are enough
    assert subject.refused(PeerAddress("8.0.0.3", 6881), "one") is None


def test_bep55_who_left_is_not_asked() -> None:
    subject = rendezvous()
    subject.ask(THERE, ["one", "two", "three"], 0.0)
    subject.left("two")
    assert subject.refused(THERE, "one") == "three"


def test_bep55_a_wish_is_fulfilled_once_and_by_who_was_asked() -> None:
    subject = rendezvous()
    assert not subject.introduced(THERE, "relay")
    subject.ask(THERE, ["relay", "other"], 0.0)
    assert not subject.introduced(THERE, "other")
    assert subject.introduced(THERE, "relay")
    assert not subject.introduced(THERE, "relay")
    assert subject.refused(THERE, "relay") is None


def test_bep55_what_is_remembered_is_bounded() -> None:
    addresses = [PeerAddress("8.0.0.2", port) for port in range(1, 5_000)]
    subject = rendezvous(*addresses)
    asked = [subject.ask(address, ["relay"], 0.0) for address in addresses]
    assert asked.count("relay") == CONFIG.max_capable_peers
    assert len(subject) == CONFIG.max_remembered


def test_bep55_an_introduction_that_nobody_asked_for_counts_as_an_attempt() -> None:
    subject = rendezvous()
    subject.followed(THERE, "stranger", 0.0)
    assert subject.was_followed(THERE)
    assert subject.ask(THERE, ["relay"], CONFIG.retry_s - 1) is None
    assert subject.ask(THERE, ["relay"], CONFIG.retry_s) == "relay"
    assert not subject.was_followed(THERE)
    subject.introduced(THERE, "relay")
    subject.followed(THERE, "relay", CONFIG.retry_s)
    assert subject.was_followed(THERE)
    assert not subject.was_followed(PeerAddress("8.0.0.3", 6881))
