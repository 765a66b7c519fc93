"""In which ways a peer is dialled, and what is remembered of that."""

import pytest

from torrent_engine.base.config import EncryptionPolicy, TransportProtocol
from torrent_engine.base.ids import PeerAddress
from torrent_engine.policy.peers.dial_strategy import DialAttempt, DialStrategy

TCP, UTP = TransportProtocol.TCP, TransportProtocol.UTP
BOTH = (TCP, UTP)
PLAIN, ENCRYPTED = (DialAttempt(is_encrypted, BOTH) for is_encrypted in (False, True))
PEER, OTHER = PeerAddress("192.0.2.1", 6881), PeerAddress("192.0.2.2", 6881)


def kinds(reach: DialStrategy, address: PeerAddress = PEER) -> list[bool]:
    return [attempt.is_encrypted for attempt in reach.plan(address, BOTH)]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (EncryptionPolicy.DISABLED, [False]),
        (EncryptionPolicy.ALLOWED, [False, True]),
        (EncryptionPolicy.PREFERRED, [True, False]),
        (EncryptionPolicy.REQUIRED, [True]),
    ],
)
def test_mse_a_stranger_is_dialled_as_the_policy_says(
    policy: EncryptionPolicy, expected: list[bool]
) -> None:
    assert kinds(DialStrategy(policy)) == expected


@pytest.mark.parametrize("policy", [EncryptionPolicy.ALLOWED, EncryptionPolicy.PREFERRED])
@pytest.mark.parametrize("is_encrypted", [True, False])
def test_mse_what_worked_comes_first_the_next_time(
    policy: EncryptionPolicy, *, is_encrypted: bool
) -> None:
    reach = DialStrategy(policy)
    reach.worked(PEER, TCP, is_encrypted=is_encrypted)
    assert kinds(reach) == [is_encrypted, not is_encrypted]
    assert kinds(reach, OTHER) == kinds(DialStrategy(policy))


@pytest.mark.parametrize("policy", [EncryptionPolicy.DISABLED, EncryptionPolicy.REQUIRED])
def test_mse_what_is_known_never_widens_the_policy(policy: EncryptionPolicy) -> None:
    reach = DialStrategy(policy)
    for is_encrypted in (True, False):
        reach.worked(PEER, TCP, is_encrypted=is_encrypted)
        reach.not_tried(PEER, DialAttempt(is_encrypted, BOTH))
        reach.note_encryption_preference(OTHER)
        assert kinds(reach) == kinds(reach, OTHER) == kinds(DialStrategy(policy))


def test_mse_what_could_not_be_tried_comes_first_the_next_time() -> None:
    reach = DialStrategy(EncryptionPolicy.ALLOWED)
    reach.not_tried(PEER, ENCRYPTED)
    assert kinds(reach) == [True, False]
    reach.not_tried(PEER, PLAIN)
    assert kinds(reach) == [False, True]


def test_bep29_what_worked_has_the_head_start() -> None:
    reach = DialStrategy(EncryptionPolicy.DISABLED)
    assert reach.plan(PEER, BOTH) == [DialAttempt(is_encrypted=False, protocols=(TCP, UTP))]
    reach.worked(PEER, UTP, is_encrypted=False)
    assert reach.plan(PEER, BOTH)[0].protocols == (UTP, TCP)
    assert reach.plan(PEER, [TCP])[0].protocols == (TCP,)
    reach.not_tried(PEER, ENCRYPTED)
    assert reach.plan(PEER, BOTH)[0].protocols == (UTP, TCP)
    reach.worked(PEER, TCP, is_encrypted=False)
    assert reach.plan(PEER, BOTH)[0].protocols == (TCP, UTP)


def test_bep29_who_closes_what_comes_over_one_protocol_is_dialled_over_the_other() -> None:
    reach = DialStrategy(EncryptionPolicy.ALLOWED)
    assert reach.plan_without(TCP, PEER, [UTP]) == [
        DialAttempt(False, (UTP,)),
        DialAttempt(True, (UTP,)),
    ]
    assert reach.plan_without(TCP, PEER, []) == []
    reach.not_tried(PEER, DialAttempt(is_encrypted=True, protocols=(UTP,)))
    assert reach.plan(PEER, BOTH)[0] == DialAttempt(is_encrypted=True, protocols=(UTP, TCP))
    reach.worked(PEER, TCP, is_encrypted=False)
    assert reach.plan_without(TCP, PEER, [UTP]) == []  # it closes for another reason


def test_nobody_is_dialled_where_nothing_can_carry_it() -> None:
    assert DialStrategy(EncryptionPolicy.ALLOWED).plan(PEER, []) == []


def test_bep11_hearsay_counts_only_where_nothing_better_is_known() -> None:
    reach = DialStrategy(EncryptionPolicy.ALLOWED)
    reach.note_encryption_preference(PEER)
    assert kinds(reach) == [True, False]
    reach.worked(PEER, TCP, is_encrypted=False)
    reach.note_encryption_preference(PEER)
    assert kinds(reach) == [False, True]


def test_bep11_hearsay_drives_out_nothing_that_we_know() -> None:
    reach = DialStrategy(EncryptionPolicy.ALLOWED, limit=4)
    reach.worked(PEER, TCP, is_encrypted=True)
    for port in range(1, 100):
        reach.note_encryption_preference(PeerAddress("192.0.2.9", port))
    assert len(reach) == 2
    assert kinds(reach) == [True, False]


def test_only_so_many_addresses_are_remembered_the_latest() -> None:
    reach = DialStrategy(EncryptionPolicy.ALLOWED, limit=3)
    peers = [PeerAddress("192.0.2.1", port) for port in range(1, 6)]
    for peer in (*peers[:3], peers[0], *peers[3:]):
        reach.worked(peer, UTP, is_encrypted=True)
    assert len(reach) == 3
    assert [kinds(reach, peer)[0] for peer in peers] == [True, False, False, True, True]
