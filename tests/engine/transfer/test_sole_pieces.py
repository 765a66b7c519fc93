"""Pieces that must come from one peer, which does not send them; on virtual time."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.poison_swarm import MIB, Behaviour, PoisonSwarm
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.engine.transfer.download_manager import LAST_PATIENCE_S, SOLE_PATIENCE_S
from torrent_engine.protocol.wire.messages import PeerLost

HOLDER = Behaviour(0.0)
HONEST = Behaviour(4.0 * MIB)
TURN_S = LAST_PATIENCE_S + 1.5  # it is looked once a second


def held_up(*, pieces: int = 1) -> tuple[PoisonSwarm, Peer]:
    """Return a swarm of suspect pieces, and the peer that is asked for them alone."""
    swarm = PoisonSwarm([HOLDER], pieces=pieces, piece_bytes=MIB)
    for piece in range(pieces):
        swarm.picker.suspects.hash_failed(piece)
    swarm.run(1, until=lambda: bool(swarm.peers))
    (holder,) = swarm.peers
    assert owners_of(swarm) == [holder] * len(swarm.picker.partials)
    return swarm, holder


def owners_of(swarm: PoisonSwarm) -> list[Peer]:
    """Return who is asked alone for each begun piece."""
    partials = swarm.picker.partials.values()
    assert all(partial.is_single_source for partial in partials)
    by_name = {peer.identity: peer for peer in swarm.peers}
    return [by_name[partial.exclusive_to] for partial in partials]  # type: ignore[index]


def choke(swarm: PoisonSwarm, holder: Peer) -> None:
    if not holder.connection.state.peer_choking:
        swarm.choke(holder)


def lose(swarm: PoisonSwarm, holder: Peer) -> None:
    swarm.manager._on_lost(holder, PeerLost(0))  # type: ignore[arg-type]
    holder.connection.state.abandon(holder.connection.state.outstanding_requests())


WAYS: dict[str, Callable[[PoisonSwarm, Peer], None]] = {
    "chokes": choke,
    "rejects": PoisonSwarm.reject,
    "has it no longer": lose,
}


@pytest.mark.parametrize("hold_up", WAYS.values(), ids=WAYS.keys())
def test_b6_a_peer_that_is_not_to_be_asked_holds_the_last_piece_up_for_seconds(
    hold_up: Callable[[PoisonSwarm, Peer], None],
) -> None:
    swarm, holder = held_up()
    honest = swarm.join(HONEST)
    assert not honest.is_proven

    def is_over() -> bool:
        hold_up(swarm, holder)
        return swarm.table.have.all()

    assert swarm.run(60, until=is_over) <= TURN_S + 1
    assert swarm.senders[honest].sent_blocks == MIB // (16 * 1024)


def test_b6_whoever_holds_a_piece_up_comes_after_all_others() -> None:
    swarm, holder = held_up()
    others = [swarm.join(HOLDER) for _ in range(3)]
    honest = swarm.join(HONEST)
    turns = [holder]

    def hold_up() -> bool:
        for owner in owners_of(swarm):
            if owner is not turns[-1]:
                turns.append(owner)
        for peer in (holder, *others):
            if peer is turns[-1]:
                choke(swarm, peer)
            elif peer.connection.state.peer_choking:
                swarm.unchoke(peer)
        return swarm.table.have.all()

    assert swarm.run(60, until=hold_up) <= 4 * TURN_S + 1
    assert turns == [holder, *others, honest]


def test_b6_peers_that_come_again_take_nobodys_turn() -> None:
    swarm, holder = held_up()
    honest = swarm.join(HONEST)
    holders = [holder]

    def hold_up() -> bool:
        for owner in owners_of(swarm):
            if owner is not honest:
                choke(swarm, owner)
        if len(holders) < 50:
            holders.append(swarm.join(HOLDER))
        return swarm.table.have.all()

    assert swarm.run(60, until=hold_up) <= TURN_S + 1
    assert swarm.senders[honest].sent_blocks == MIB // (16 * 1024)


def test_b6_who_is_silent_is_not_asked_for_the_same_last_piece_again() -> None:
    swarm, _ = held_up()
    honest = swarm.join(HONEST)
    assert swarm.run(90) <= 63  # it is snubbed after 60 s
    assert swarm.senders[honest].sent_blocks == MIB // (16 * 1024)


def test_a_slow_peer_does_not_begin_the_last_piece_again_and_again() -> None:
    slow_one = Behaviour(20.0 * 1024)
    swarm, slow = held_up()
    swarm.senders[slow].behaviour = slow_one
    swarm.prove(slow)
    swarm.prove(swarm.join(HONEST))
    assert swarm.run(30) <= 10  # it takes the slow one 51 s
    assert swarm.totals.redundant_bytes <= 10 * slow_one.bytes_per_s


def test_a_slow_peer_keeps_the_last_piece_that_no_fast_one_has() -> None:
    swarm, slow = held_up()
    swarm.senders[slow].behaviour = Behaviour(20.0 * 1024)
    swarm.prove(slow)
    swarm.join(HONEST, bits=0)
    swarm.prove(list(swarm.peers)[-1])
    swarm.manager._has_fast = True
    assert swarm.run(70) <= 60
    assert swarm.totals.redundant_bytes == 0


def test_a_short_choke_costs_a_peer_nothing_that_it_has_sent() -> None:
    swarm, slow = held_up()
    swarm.senders[slow].behaviour = Behaviour(200.0 * 1024)
    swarm.join(HONEST)
    swarm.run(30, until=lambda: swarm.senders[slow].sent_blocks >= 16)
    swarm.choke(slow)
    ends_s = swarm.clock() + LAST_PATIENCE_S - 1
    swarm.run(30, until=lambda: swarm.clock() >= ends_s)
    swarm.unchoke(slow)
    swarm.run(30)
    assert swarm.totals.redundant_bytes == 0


def test_a_piece_that_nobody_else_can_send_stays_with_the_peer_that_chokes() -> None:
    swarm, holder = held_up()
    swarm.senders[holder].behaviour = Behaviour(200.0 * 1024)
    swarm.choke(swarm.join(HONEST))
    swarm.run(30, until=lambda: swarm.senders[holder].sent_blocks >= 16)
    swarm.choke(holder)
    ends_s = swarm.clock() + 3 * LAST_PATIENCE_S
    swarm.run(30, until=lambda: swarm.clock() >= ends_s)
    swarm.unchoke(holder)
    swarm.run(30)
    assert swarm.totals.redundant_bytes == 0


@pytest.mark.parametrize(
    ("is_due", "patience_s"), [(True, LAST_PATIENCE_S), (False, SOLE_PATIENCE_S)]
)
def test_what_a_reader_waits_for_is_passed_on_sooner_while_there_are_other_pieces(
    is_due: bool,
    patience_s: float,
) -> None:
    swarm, holder = held_up(pieces=3)
    (held,) = swarm.picker.partials
    swarm.choke(holder)
    swarm.join(HOLDER, bits=1 << held)
    swarm.picker.deadlines.want("reader", {held: swarm.clock()} if is_due else {})
    assert not swarm.picker.is_end_game
    waited_s = swarm.run(90, until=lambda: holder not in owners_of(swarm))
    assert patience_s <= waited_s <= patience_s + 1.5
    assert not swarm.picker.is_end_game


def test_a_piece_that_only_web_seeds_have_besides_is_left_to_them() -> None:
    swarm, holder = held_up()
    senders: Any = SimpleNamespace(speeds=lambda _now: [(0.0, 0b1)])
    swarm.manager.urgent.add_senders(senders)
    swarm.choke(holder)
    swarm.run(30, until=lambda: not swarm.picker.partials)
    swarm.unchoke(holder)
    assert not swarm.picker.partials
    assert swarm.manager.pick_range(holder.identity, 0b1, 99, None, lambda _: False)
