"""Liars among honest peers, on virtual time: rows B5 to B7, and what the end game costs."""

import random
from dataclasses import replace

import pytest

from tests.support.poison_swarm import MIB, Behaviour, PoisonSwarm
from torrent_engine.base.config import DiskConfig

KIB = 1024
HONEST = Behaviour(10.0 * MIB)
LIAR = Behaviour(50.0 * MIB, lies=1.0)


def crowd(liars: int, seed: int) -> PoisonSwarm:
    """Return 25 peers of different speed, of whom some spoil one block in fifty."""
    rng = random.Random(seed)
    behaviours = [
        Behaviour(rng.uniform(0.2, 4) * MIB, lies=0.02 if number < liars else 0.0)
        for number in range(25)
    ]
    return PoisonSwarm(behaviours, pieces=256, piece_bytes=256 * KIB, seed=seed)


def attacked(
    attackers: int = 0,
    attack: Behaviour = LIAR,
    *,
    honest: Behaviour = HONEST,
    size_mib: int = 128,
    piece_mib: int = 1,
) -> PoisonSwarm:
    """Return three honest seeds and some attackers."""
    behaviours = [replace(honest) for _ in range(3)]
    behaviours += [replace(attack) for _ in range(attackers)]
    return PoisonSwarm(behaviours, pieces=size_mib // piece_mib, piece_bytes=piece_mib * MIB)


@pytest.mark.parametrize("first_seed", range(0, 20, 5))
def test_b6_five_of_25_that_spoil_one_block_in_fifty_cost_little_and_nobody_honest(
    first_seed: int,
) -> None:
    """Twenty runs; ``bench/poison.py`` makes a hundred."""
    for seed in range(first_seed, first_seed + 5):
        swarm = crowd(5, seed)
        swarm.run(60)
        assert swarm.wasted_share <= 0.05
        assert swarm.honest_bans == 0


def test_an_end_game_without_liars_costs_next_to_nothing() -> None:
    for seed in range(5):
        swarm = crowd(0, seed)
        swarm.run(60)
        assert swarm.wasted_share <= 0.02
        assert not swarm.banned


ATTACKS = {
    "50": (50, LIAR),
    "200": (200, LIAR),
    "50 that return": (50, replace(LIAR, returns_after_s=0.5)),
    "200 that return": (200, replace(LIAR, returns_after_s=0.5)),
    "now and then": (50, replace(LIAR, lies=0.02)),
    "good at first, and return": (50, replace(LIAR, lies=0.5, lies_after=100, returns_after_s=0.5)),
    "silent": (200, Behaviour(0.0, lies=1.0)),
    "many that ignore cancels": (50, replace(LIAR, ignores_cancels=True)),
}


@pytest.mark.parametrize(("count", "attack"), ATTACKS.values(), ids=ATTACKS.keys())
def test_b6_attackers_beside_three_honest_seeds_cost_a_fifth_at_most(
    count: int, attack: Behaviour
) -> None:
    clean_s = attacked().run(60)
    swarm = attacked(count, attack)
    assert clean_s / swarm.run(60) >= 0.8
    assert swarm.honest_bans == 0
    assert swarm.most_memory_bytes <= 2 * DiskConfig().partial_memory_bytes


def test_b6_honest_seeds_that_come_after_the_liars_are_found() -> None:
    clean_s = attacked().run(60)
    swarm = attacked(50, ATTACKS["50 that return"][1], honest=replace(HONEST, joins_s=1002.0))
    assert swarm.run(60) <= 2.0 + clean_s / 0.8
    assert swarm.honest_bans == 0


def test_b6_more_liars_than_pieces_do_not_keep_a_download_from_its_end() -> None:
    swarm = attacked(50, replace(LIAR, returns_after_s=0.5), size_mib=64, piece_mib=4)
    swarm.run(15)
    assert swarm.honest_bans == 0


def test_b5_liars_that_trickle_do_not_keep_a_download_from_its_end() -> None:
    swarm = attacked(200, Behaviour(5_000.0, lies=1.0))
    assert swarm.run(60) <= 15
    assert swarm.honest_bans == 0


def test_many_slow_peers_finish_pieces_together() -> None:
    behaviours = [Behaviour(20.0 * KIB) for _ in range(100)]
    swarm = PoisonSwarm(behaviours, pieces=16, piece_bytes=4 * MIB)
    first_s = swarm.run(60, until=lambda: swarm.table.have.count > 0)
    assert first_s <= 10  # a piece of one peer would take 200
    assert first_s + swarm.run(60) <= 1.15 * 16 * 4 * MIB / (100 * 20 * KIB)
    assert swarm.wasted_share <= 0.01


def test_b6_a_piece_that_failed_comes_from_one_peer_alone() -> None:
    swarm = attacked(20, Behaviour(MIB, lies=0.3), size_mib=32)
    swarm.run(60)
    assert swarm.authors_of_second_copies
    assert set(swarm.authors_of_second_copies) == {1}


def test_b6_a_late_block_of_another_author_stays_out_of_such_a_piece() -> None:
    swarm = attacked(1, size_mib=2)
    swarm.picker.suspects.hash_failed(0)
    swarm.picker.suspects.hash_failed(1)
    swarm.run(5, until=lambda: bool(swarm.picker.partials))
    piece, partial = next(iter(swarm.picker.partials.items()))
    (other, *_) = [peer for peer in swarm.peers if peer.identity != partial.exclusive_to]
    before = swarm.totals.redundant_bytes
    swarm.give(other, (piece, 0, 16 * KIB))
    assert swarm.totals.redundant_bytes == before + 16 * KIB
    assert not partial.has(0)


class Whims:
    """Peers that choke, come, leave and get pieces as they like, beside one honest seed."""

    def __init__(self, seed: int, *, pieces: int) -> None:
        self.rng = random.Random(seed)
        piece_kib = self.rng.choice([16, 64, 256, 1024])
        self.swarm = PoisonSwarm(
            [replace(HONEST)], pieces=pieces, piece_bytes=piece_kib * KIB, seed=seed
        )
        self.swarm.picker.is_sequential = self.rng.random() < 0.2
        self.swarm.run(1, until=lambda: bool(self.swarm.peers))
        (self.seed,) = self.swarm.peers

    def behaviour(self) -> Behaviour:
        rng = self.rng
        return Behaviour(
            rng.choice([0.0, 3e3, 5e4, 1e6, 5e7]),
            lies=rng.choice([0.0, 0.0, 0.02, 1.0]),
            lies_after=rng.choice([0, 0, 70]),
            delay_s=rng.choice([0.0, 0.02, 0.3]),
            returns_after_s=rng.choice([None, 0.3]),
            joins_s=self.swarm.clock(),
            ignores_cancels=rng.random() < 0.2,
        )

    def act(self) -> None:
        swarm, rng = self.swarm, self.rng
        if len(swarm.peers) < 20 and rng.random() < 0.5:
            swarm.join(self.behaviour(), bits=rng.getrandbits(swarm.geometry.piece_count))
        others = [peer for peer in swarm.peers if peer is not self.seed]
        for peer in rng.sample(others, min(3, len(others))):
            rng.choice([swarm.choke, swarm.choke, swarm.unchoke, swarm.reject, swarm.leave])(peer)

    def run(self, within_s: float) -> None:
        swarm, ends_s = self.swarm, self.swarm.clock() + within_s
        next_s = swarm.clock()

        def is_due() -> bool:
            return swarm.clock() >= next_s or swarm.table.have.all()

        while not swarm.table.have.all():
            self.act()
            next_s = swarm.clock() + 0.1
            swarm.run(1, until=is_due)
            if swarm.clock() > ends_s:
                raise TimeoutError(f"{swarm.table.have.count} pieces")


@pytest.mark.parametrize("seed", range(12))
def test_whatever_others_do_a_download_from_one_honest_seed_ends(seed: int) -> None:
    whims = Whims(seed, pieces=60)
    size_s = whims.swarm.geometry.total_bytes / HONEST.bytes_per_s
    whims.run(20 + 4 * size_s)
    assert whims.swarm.honest_bans == 0


def test_in_sequential_mode_peers_bring_the_lowest_pieces_together() -> None:
    behaviours = [Behaviour(rate * MIB) for rate in (0.1, 0.1, 10.0)]
    swarm = PoisonSwarm(behaviours, pieces=128, piece_bytes=MIB)
    swarm.picker.is_sequential = True
    swarm.run(60, until=lambda: swarm.table.have.count >= 64)
    missing = ~swarm.table.have.as_int()
    lowest = (missing & -missing).bit_length() - 1
    assert lowest >= 40
