"""Who holds up the end of a download: silent, slow and trickling peers; on virtual time."""

from types import SimpleNamespace

import pytest

from tests.support.poison_swarm import MIB, Behaviour, PoisonSwarm
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.engine.transfer.download_manager import (
    LAST_PATIENCE_S,
    REJECTED_PAUSE_S,
    SOLE_PATIENCE_S,
)
from torrent_engine.policy.pieces.end_game import LATE_S

HONEST = Behaviour(4.0 * MIB)
BLOCKS = MIB // BLOCK_BYTES


def first_peer(swarm: PoisonSwarm) -> Peer:
    swarm.run(1, until=lambda: bool(swarm.peers))
    (peer,) = swarm.peers
    return peer


@pytest.mark.parametrize("bytes_per_s", [0.0, 300.0, 5_000.0])
def test_a_newcomer_sends_what_a_proven_peer_does_not(bytes_per_s: float) -> None:
    swarm = PoisonSwarm([HONEST], pieces=8, piece_bytes=MIB)
    holder = first_peer(swarm)
    swarm.run(20, until=lambda: swarm.senders[holder].sent_blocks >= 8 * BLOCKS - 20)
    assert holder.is_proven
    swarm.senders[holder].behaviour = Behaviour(bytes_per_s)
    newcomer = swarm.join(HONEST)
    assert swarm.run(60) <= LATE_S + 5.0
    assert swarm.senders[newcomer].sent_blocks > 0
    assert swarm.wasted_share <= 0.01


@pytest.mark.parametrize("bytes_per_s", [0.0, 300.0, 5_000.0])
@pytest.mark.parametrize("silent", [3, 8, 20])
def test_silent_newcomers_keep_nobody_from_what_comes_late(silent: int, bytes_per_s: float) -> None:
    swarm = PoisonSwarm([HONEST], pieces=8, piece_bytes=MIB)
    holder = first_peer(swarm)
    swarm.run(20, until=lambda: swarm.senders[holder].sent_blocks >= 8 * BLOCKS - 20)
    swarm.senders[holder].behaviour = Behaviour(bytes_per_s)
    for _ in range(silent):
        swarm.join(Behaviour(0.0))
    swarm.join(HONEST)
    assert swarm.run(1200) <= 40.0  # with three of them it was twenty minutes
    assert swarm.wasted_share <= 0.02


@pytest.mark.parametrize("joins_s", [0.0, 0.5, 5.0])
def test_silent_peers_do_not_hold_the_last_blocks_of_a_slow_one(joins_s: float) -> None:
    silent = [Behaviour(0.0, joins_s=joins_s)] * 8
    swarm = PoisonSwarm([Behaviour(50_000.0), *silent], pieces=1, piece_bytes=MIB)
    assert swarm.run(900) <= 30.0


def test_a_newcomer_duplicates_nothing_of_fast_proven_peers() -> None:
    swarm = PoisonSwarm([HONEST], pieces=8, piece_bytes=MIB)
    proven = first_peer(swarm)
    swarm.run(20, until=lambda: swarm.senders[proven].sent_blocks >= 8 * BLOCKS - 40)
    newcomer = swarm.join(HONEST)
    swarm.run(5)
    assert swarm.senders[newcomer].sent_blocks == 0


def test_b6_a_peer_on_parole_begins_a_piece_again_of_which_nothing_comes() -> None:
    swarm = PoisonSwarm([Behaviour(4.0 * MIB)], pieces=1, piece_bytes=MIB)
    silent = first_peer(swarm)
    swarm.run(5, until=lambda: swarm.senders[silent].sent_blocks >= 20)
    swarm.senders[silent].behaviour = Behaviour(0.0)
    swarm.prove(silent)
    suspect = swarm.join(Behaviour(0.0))
    swarm.prove(suspect)
    swarm.smart_ban._parole[suspect.identity] = None
    swarm.senders[suspect].behaviour = HONEST
    assert swarm.run(60) <= LAST_PATIENCE_S + 3.0
    assert swarm.senders[suspect].sent_blocks == BLOCKS


def test_b6_a_peer_on_parole_begins_no_piece_again_that_comes() -> None:
    swarm = PoisonSwarm([Behaviour(4.0 * BLOCK_BYTES)], pieces=1, piece_bytes=MIB)
    slow = first_peer(swarm)
    swarm.prove(slow)
    suspect = swarm.join(HONEST)
    swarm.prove(suspect)
    swarm.smart_ban._parole[suspect.identity] = None
    assert swarm.run(60) >= BLOCKS / 4.0 - 1.0
    assert swarm.senders[suspect].sent_blocks == 0


@pytest.mark.parametrize("bytes_per_s", [1_500.0, 2_000.0, 5_000.0])
def test_b6_silent_peers_on_parole_begin_no_piece_again_that_comes_slowly(
    bytes_per_s: float,
) -> None:
    swarm = PoisonSwarm([Behaviour(bytes_per_s)], pieces=1, piece_bytes=MIB // 4)
    swarm.prove(first_peer(swarm))
    for _ in range(3):
        suspect = swarm.join(Behaviour(0.0))
        swarm.prove(suspect)
        swarm.smart_ban._parole[suspect.identity] = None
    assert swarm.run(3000) <= MIB // 4 / bytes_per_s + 10.0
    assert swarm.wasted_share == 0.0


def test_b6_peers_with_nothing_for_us_keep_no_newcomer_from_its_trial() -> None:
    swarm = PoisonSwarm([HONEST], pieces=8, piece_bytes=MIB)
    proven = first_peer(swarm)
    swarm.run(5, until=lambda: swarm.table.have.count == 1)
    assert proven.is_proven
    swarm.senders[proven].behaviour = Behaviour(0.0)
    swarm.manager._unproven.has_proven = True
    swarm.smart_ban.failed_blocks = 10_000  # liars were here
    for _ in range(20):
        swarm.join(HONEST, bits=swarm.table.have.as_int())
    swarm.run(5, until=lambda: swarm.clock() > 2.0)
    honest = swarm.join(HONEST)
    assert swarm.run(60, until=lambda: swarm.senders[honest].sent_blocks > 0) <= 1.0


def test_a_cancelled_duplicate_is_asked_of_nobody_any_more() -> None:
    swarm = PoisonSwarm([Behaviour(0.0)], pieces=1, piece_bytes=MIB)
    silent = first_peer(swarm)
    helper = swarm.join(Behaviour(10.0 * BLOCK_BYTES))
    swarm.prove(helper)
    (partial,) = swarm.picker.partials.values()
    swarm.run(20, until=lambda: partial.has_duplicates)
    sent = swarm.senders[helper].sent_blocks
    swarm.run(20, until=lambda: swarm.senders[helper].sent_blocks >= sent + 4)
    assert partial.left
    assert not [block for block in partial.requested() if partial.has(block[1] // BLOCK_BYTES)]
    for peer in (silent, helper):
        swarm.leave(peer)
    assert partial.is_idle


@pytest.mark.parametrize("bytes_per_s", [0.0, 900.0, 20_000.0])
def test_a_fast_peer_helps_with_a_piece_that_another_one_waits_for(bytes_per_s: float) -> None:
    swarm = PoisonSwarm([Behaviour(bytes_per_s)], pieces=2, piece_bytes=MIB)
    swarm.picker.twins.watch(SimpleNamespace(twins=lambda piece: 1 << (1 - piece)))
    slow = first_peer(swarm)
    swarm.prove(slow)
    fast = swarm.join(HONEST)
    swarm.prove(fast)
    assert swarm.run(60, until=lambda: swarm.table.have.count > 0) <= LATE_S
    assert swarm.senders[fast].sent_blocks >= BLOCKS // 2


@pytest.mark.parametrize("tick_s", [1.0, 1.04, 1.3])
def test_b6_whoever_rejects_at_once_loses_the_last_piece(tick_s: float) -> None:
    assert tick_s < REJECTED_PAUSE_S
    swarm = PoisonSwarm([Behaviour(0.0)], pieces=1, piece_bytes=MIB)
    swarm.picker.suspects.hash_failed(0)
    holder = first_peer(swarm)
    honest = swarm.join(HONEST)
    began, next_tick = swarm.clock(), swarm.clock() + tick_s
    while not swarm.table.have.all() and swarm.clock() < began + SOLE_PATIENCE_S:
        while holder.connection.outstanding:
            swarm.reject(holder)
        swarm._step()
        if swarm.clock() >= next_tick:
            next_tick += tick_s
            swarm.manager.tick(swarm.clock())
    assert swarm.clock() - began <= LAST_PATIENCE_S + 3 * tick_s
    assert swarm.senders[honest].sent_blocks == BLOCKS
