"""Which pieces a super-seed shows to whom (BEP 16): alone, and in swarms that are played here."""

import random
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

import pytest

from tests.support.cpu_time import cpu_time
from torrent_engine.base.config import SuperSeedConfig
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.policy.pieces import super_seed
from torrent_engine.policy.pieces.availability import Availability
from torrent_engine.policy.pieces.peer_pieces import PeerPieces, SwarmPieces
from torrent_engine.policy.pieces.super_seed import FIRST_CLAIMS, MAX_CLAIMS, SuperSeed

ONE = SuperSeedConfig(
    max_revealed_pieces=1, max_revealed_bytes=0, single_peer_bytes=0, reveal_timeout_s=20.0
)
PIECES = 40


@dataclass
class World:
    """A super-seed and what its peers have."""

    config: SuperSeedConfig = ONE
    pieces: int = PIECES
    seed: int = 1
    now: float = 100.0
    has: dict[str, int] = field(default_factory=dict)
    shown: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.availability = Availability()
        rng = random.Random(self.seed)
        self.plan = SuperSeed(self.pieces, 1_000, self.availability, self.config, rng)

        self.swarm = SwarmPieces(self.pieces, self.availability)
        self.held: dict[str, PeerPieces] = {}
        self.taken: Counter[str] = Counter()
        """Bytes that each took from the seed."""
        self.choked: set[str] = set()
        """Who would take something, and has no slot."""

    def join(self, *names: str, operator: str = "") -> None:
        for name in names:
            self.held[name], who = PeerPieces(), operator or name
            self.plan.joined(
                name,
                self.held[name],
                self.now,
                who,
                partial(self.taken.__getitem__, name),
                partial(self.waits, name),
            )
            self.has[name], self.shown[name] = 0, []

    def waits(self, name: str) -> bool:
        return name in self.choked

    def leave(self, name: str) -> None:
        self.plan.left(name)
        self.swarm.left(self.held.pop(name))
        del self.has[name]

    def claim_all(self, name: str, *, but: int | None = None) -> list[object]:
        """Let a peer say that it has everything, or everything but one piece."""
        claimed = Bitfield.full(self.pieces)
        if but is not None:
            claimed.clear(but)
        self.swarm.replaced(self.held[name], claimed)
        self.swarm.settle(1)
        return self.plan.has_several(name, self.now)

    def rest(self, most: int = 1_000) -> dict[str, list[int]]:
        """Return what everybody is shown once it is over."""
        shown: dict[str, list[int]] = {}
        while (told := self.plan.next_announcement(most)) is not None:
            shown.setdefault(str(told[0]), []).extend(told[1])
        return shown

    def look(self, name: str) -> list[int]:
        pieces = self.plan.pieces_to_reveal(name, self.now)
        self.shown[name] += pieces
        return pieces

    def get(self, name: str, *pieces: int) -> list[object]:
        """Let a peer have pieces, from wherever."""
        fed: dict[object, None] = {}
        for piece in pieces:
            self.has[name] |= 1 << piece
            if self.swarm.has(self.held[name], piece):
                fed |= dict.fromkeys(self.plan.has(name, piece, self.now))
        return list(fed)

    def fetch(self, name: str, *pieces: int) -> list[object]:
        """Let a peer have pieces from the seed."""
        self.taken[name] += 1_000 * len(pieces)
        return self.get(name, *pieces)


def test_bep16_the_next_piece_is_shown_when_another_peer_has_the_last_one() -> None:
    world = World()
    world.join("a", "b")
    (piece,) = world.look("a")
    assert world.look("a") == []
    world.get("a", piece)
    assert world.look("a") == []  # nobody else has it yet
    assert world.get("b", piece) == ["a"]
    (another,) = world.look("a")
    assert another != piece


def test_bep16_no_two_peers_are_shown_the_same_piece() -> None:
    world = World()
    names = [str(number) for number in range(30)]
    world.join(*names)
    shown = [piece for name in names for piece in world.look(name)]
    assert len(shown) == len(set(shown)) == 30


def test_bep16_what_somebody_has_is_not_shown_while_there_is_something_rarer() -> None:
    world = World()
    world.join("a", "b")
    world.get("a", *range(PIECES - 1))
    assert world.look("b") == [PIECES - 1]


def test_a_second_piece_is_asked_for_while_the_first_is_on_its_way() -> None:
    world = World(SuperSeedConfig(max_revealed_pieces=2, max_revealed_bytes=0))
    world.join("a", "b")
    assert len(world.look("a")) == 2
    small = World(SuperSeedConfig(max_revealed_pieces=2, max_revealed_bytes=5_000), pieces=400)
    small.join("a", "b")
    assert len(small.look("a")) == 5


def test_a_peer_that_leaves_gives_its_pieces_back() -> None:
    world = World(pieces=1)
    world.join("a", "b")
    assert world.look("a") == [0]
    assert world.look("b") == []
    world.leave("a")
    assert world.look("b") == [0]


def test_one_peer_alone_goes_on_with_what_it_has_itself() -> None:
    world = World(
        SuperSeedConfig(max_revealed_pieces=1, max_revealed_bytes=0, single_peer_bytes=4_000)
    )
    world.join("a")
    first = world.look("a")
    assert len(first) == 4
    assert world.get("a", first[0]) == ["a"]
    assert len(world.look("a")) == 1
    world.join("b")
    world.get("a", first[1])
    assert world.look("a") == []


def test_peers_that_do_not_reach_each_other_go_on_after_a_while() -> None:
    world = World()
    world.join("a", "b")
    (piece,) = world.look("a")
    world.get("a", piece)
    world.now += 19
    assert world.look("a") == []
    world.now += 2
    assert len(world.look("a")) == 1


def test_a_piece_that_its_peer_does_not_fetch_is_shown_to_others_in_the_end() -> None:
    world = World(pieces=1)
    world.join("a", "b")
    world.look("a")
    world.now += 30
    world.look("a")
    assert world.look("b") == [0]  # hungry: nothing for a while


def test_bep16_who_claims_to_have_everything_changes_nothing_for_the_others() -> None:
    world = World()
    world.join("a", "b", "liar")
    (piece,) = world.look("a")
    assert world.claim_all("liar") == []
    assert not world.plan.is_over
    assert world.look("liar") == world.look("a") == []  # nobody else is known to have the piece
    (other,) = world.look("b")
    assert other != piece


def test_bep16_one_false_bitfield_of_all_pieces_but_one_shows_next_to_nothing() -> None:
    world = World(SuperSeedConfig(max_revealed_pieces=8, max_revealed_bytes=0))
    world.join("a", "b")
    for name in ("a", "b"):
        world.fetch(name, *world.look(name))
    for _ in range(20):  # it comes again and again
        world.join("liar", operator="one")
        world.claim_all("liar", but=39)
        for name in ("a", "b"):
            world.fetch(name, *world.look(name))
        world.leave("liar")
    assert len(world.shown["a"]) + len(world.shown["b"]) == 2 * 8 + FIRST_CLAIMS


def test_bep16_what_two_operators_have_is_believed() -> None:
    world = World(SuperSeedConfig(max_revealed_pieces=8, max_revealed_bytes=0))
    world.join("a")
    world.join("b", "c", operator="one")
    pieces = world.look("a")
    world.fetch("a", *pieces)
    assert world.get("b", *pieces[:FIRST_CLAIMS]) == ["a"]
    assert world.get("b", *pieces[FIRST_CLAIMS:]) == []
    assert world.get("c", *pieces[FIRST_CLAIMS:]) == []
    world.join("d")
    assert world.get("d", *pieces[FIRST_CLAIMS:-1]) == ["a"]
    assert len(world.look("a")) == 7


def test_bep16_who_took_from_us_is_believed_and_what_it_said_before_too() -> None:
    world = World(SuperSeedConfig(max_revealed_pieces=8, max_revealed_bytes=0), pieces=400)
    world.join("a", "b")
    pieces, own = world.look("a"), world.look("b")
    world.fetch("a", *pieces)
    world.get("b", *pieces)
    assert len(world.look("a")) == FIRST_CLAIMS
    assert world.fetch("b", own[0]) == ["a"]
    assert len(world.look("a")) == 8 - FIRST_CLAIMS


def test_bep16_a_claim_from_before_its_owner_had_the_piece_is_no_proof() -> None:
    world = World()
    world.join("a", "b", "c")
    (piece,) = world.look("a")
    world.get("b", piece)
    world.get("c", piece)
    world.fetch("a", piece)
    assert world.look("a") == []


def test_bep16_a_seed_is_likely_once_two_operators_say_so_or_it_took_its_share() -> None:
    world = World(pieces=64)
    world.join("liar", "friend", operator="one")
    assert not world.plan.is_another_seed_likely()
    world.claim_all("liar")
    world.claim_all("friend")
    assert not world.plan.is_another_seed_likely()
    world.taken["friend"] = 1_999
    assert not world.plan.is_another_seed_likely()
    world.taken["friend"] = 2_000
    assert world.plan.is_another_seed_likely()
    world.leave("friend")
    assert world.plan.is_another_seed_likely()  # what its operator took stays known
    other = World(pieces=64)
    other.join("a", "b")
    other.claim_all("a")
    other.claim_all("b")
    assert other.plan.is_another_seed_likely()


def test_bep16_operators_that_are_remembered_are_bounded() -> None:
    world = World()
    world.join("a")
    (piece,) = world.look("a")[:1]
    world.fetch("a", piece)
    for number in range(super_seed.MAX_OPERATORS + 10):
        world.join(name := f"liar {number}")
        world.get(name, piece)
        world.leave(name)
    assert len(world.plan._operators) == super_seed.MAX_OPERATORS


def test_bep16_what_never_left_us_is_shown_whatever_peers_claim_to_have() -> None:
    world = World()
    world.join("a", "liar")
    world.get("liar", *range(PIECES - 1))
    shown = world.look("a")
    for _ in range(PIECES - 1):
        world.get("a", shown[-1])
        world.now += 25  # nobody else says that it has it
        shown += world.look("a")
    assert sorted(shown) == list(range(PIECES))


def test_once_it_is_over_everybody_is_shown_all_the_rest_a_part_at_a_time() -> None:
    world = World()
    world.join("a", "b")
    (piece,) = world.look("a")
    world.get("b", 3, 4)
    world.plan.is_over = True
    assert world.look("a") == []
    assert not world.plan.is_announced
    told = world.plan.next_announcement(10)
    assert told is not None
    assert len(told[1]) == 10
    shown = {"a": list(told[1])}
    for name, pieces in world.rest(7).items():
        shown.setdefault(name, []).extend(pieces)
    assert shown["a"] == [number for number in range(PIECES) if number != piece]
    assert shown["b"] == [number for number in range(PIECES) if number not in {3, 4}]
    assert world.plan.is_announced


def test_who_is_not_known_is_shown_nothing() -> None:
    world = World()
    assert world.plan.pieces_to_reveal("nobody", 1.0) == []
    assert world.plan.has("nobody", 1, 1.0) == []
    assert world.plan.has_several("nobody", 1.0) == []
    world.plan.left("nobody")
    assert not world.plan.is_over


def play(world: World, names: list[str], rng: random.Random) -> int:
    """Let leeches fetch what is shown, and from each other, until all are complete.

    Returns how many pieces the seed sent.
    """
    sent, everything = 0, (1 << world.pieces) - 1
    world.join(*names)
    visible = dict.fromkeys(names, 0)
    while any(world.has[name] != everything for name in names):
        world.now += 0.5
        rng.shuffle(names)
        for name in names:
            visible[name] |= sum(1 << piece for piece in world.look(name))
            lacking = everything & ~world.has[name]
            others = [world.has[other] & lacking for other in names if other != name]
            from_peer = next((bits for bits in others if bits), 0)
            if bits := visible[name] & lacking:
                sent += 1
                world.fetch(name, bits.bit_length() - 1)
            if from_peer & ~(bits and 1 << bits.bit_length() - 1):
                world.get(
                    name, (from_peer & ~(bits and 1 << bits.bit_length() - 1)).bit_length() - 1
                )
    return sent


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("leeches", [2, 3, 8])
def test_bep16_little_more_than_one_copy_is_sent(leeches: int, seed: int) -> None:
    world = World(SuperSeedConfig(max_revealed_bytes=2_000), pieces=200, seed=seed)
    sent = play(world, [str(number) for number in range(leeches)], random.Random(seed))
    assert 200 <= sent <= 200 * 1.25


@pytest.mark.parametrize("seed", range(5))
def test_one_leech_gets_everything_once(seed: int) -> None:
    world = World(SuperSeedConfig(single_peer_bytes=8_000), seed=seed)
    assert play(world, ["a"], random.Random(seed)) == PIECES


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_nothing_is_shown_twice_and_all_in_the_end(seed: int) -> None:
    rng = random.Random(seed)
    world = World(SuperSeedConfig(max_revealed_bytes=0), pieces=12, seed=seed)
    alive: list[str] = []
    for step in range(200):
        world.now += rng.random() * 10
        choice = rng.random()
        if choice < 0.1 or not alive:
            world.join(name := str(step))
            alive.append(name)
        elif choice < 0.15:
            world.leave(alive.pop(rng.randrange(len(alive))))
        name = rng.choice(alive) if alive else ""
        if name and choice > 0.5 and world.has[name].bit_count() < 11:
            lacking = [piece for piece in range(12) if not world.has[name] >> piece & 1]
            world.get(name, rng.choice(lacking))
        if name:
            world.look(name)
            assert len(world.shown[name]) == len(set(world.shown[name]))
    world.plan.is_over = True
    for name, pieces in world.rest().items():
        world.shown[name] += pieces
    for name in alive:
        assert set(world.shown[name]) | {
            piece for piece in range(12) if world.has[name] >> piece & 1
        } == set(range(12))


# -- peers that take nothing --------------------------------------------------------------------

DEFAULT = SuperSeedConfig()
TIMEOUT_S = DEFAULT.reveal_timeout_s
STEP_S = 0.5


def pass_time(world: World, seconds: float, *names: str) -> None:
    """Let time pass, and the seed look at some peers as often as it does."""
    for _ in range(round(seconds / STEP_S)):
        world.now += STEP_S
        for name in names:
            world.look(name)


def play_beside(
    world: World, names: list[str], idle: list[str], slots: int = 100, exchanged: float = 1.0
) -> int:
    """Let leeches fetch two pieces a second each, and from each other, until all are complete.

    In half a second each gets a piece that another has, or with a probability of ``exchanged``.
    They are choked in turns of 30 s if there are fewer slots. Returns what the seed sent, in
    pieces; ends after 1,000 s.
    """
    sent, everything, rng = 0, (1 << world.pieces) - 1, random.Random(1)
    world.join(*idle, *names)
    turns, began_s = list(names), world.now
    while any(world.has[name] != everything for name in names) and world.now < began_s + 1_000:
        if round((world.now - began_s) / STEP_S) % 60 == 0:
            turns = [*turns[slots:], *turns[:slots]]
        world.now += STEP_S
        for name in (*idle, *names):
            world.look(name)
        visible = {
            name: [each for each in world.shown[name] if not world.has[name] >> each & 1]
            for name in names
        }
        world.choked = {name for name in turns[slots:] if visible[name]}
        for name in turns[:slots]:
            if visible[name]:
                world.fetch(name, visible[name][0])
                sent += 1
        for name in rng.sample(names, len(names)):
            others = world.has[rng.choice(names)] & ~world.has[name]
            if others and (exchanged >= 1.0 or rng.random() < exchanged):
                world.get(name, others.bit_length() - 1)
    return sent


@pytest.mark.parametrize("idle", [0, 1, 10, 60])
@pytest.mark.parametrize("leeches", [1, 3])
def test_bep16_peers_that_take_nothing_delay_others_by_one_timeout(leeches: int, idle: int) -> None:
    world, names = World(DEFAULT, pieces=128), [str(number) for number in range(leeches)]
    sent = play_beside(world, names, [f"idle {number}" for number in range(idle)])
    assert 128 <= sent <= 128 * 1.1
    assert world.now - 100.0 <= 128 * STEP_S + 2 * TIMEOUT_S


@pytest.mark.parametrize(("leeches", "pieces", "copies"), [(8, 200, 1.02), (30, 200, 1.62)])
def test_bep16_leeches_that_wait_for_a_slot_keep_what_they_were_shown(
    leeches: int, pieces: int, copies: float
) -> None:
    world, names = World(DEFAULT, pieces=pieces), [str(number) for number in range(leeches)]
    assert play_beside(world, names, [], slots=4) <= copies * pieces
    assert all(world.has[name] == (1 << pieces) - 1 for name in names)


def test_bep16_what_an_idle_peer_was_shown_is_free_after_one_timeout() -> None:
    world = World(pieces=1)
    world.join("idle")
    assert world.look("idle") == [0]
    pass_time(world, TIMEOUT_S - STEP_S, "idle")
    world.join("b")
    assert world.look("b") == []
    pass_time(world, STEP_S, "idle")
    assert world.look("b") == [0]


def test_bep16_what_a_choked_peer_was_shown_is_kept_for_it() -> None:
    world = World(pieces=2)
    world.join("a", "b")
    world.choked.add("a")
    (piece,) = world.look("a")
    pass_time(world, TIMEOUT_S + 1, "a")
    assert world.look("b") == [1 - piece]
    pass_time(world, STEP_S, "a", "b")
    world.choked.remove("a")
    pass_time(world, TIMEOUT_S * super_seed.UNUSED_TIMEOUTS - STEP_S, "a")
    world.join("c")
    assert world.look("c") == []
    pass_time(world, STEP_S, "a")
    assert world.look("c") == [piece]


def test_bep16_nothing_is_kept_for_an_idle_peer_until_it_takes_something() -> None:
    world = World(pieces=200)
    world.join("idle", "b")
    pass_time(world, 4 * TIMEOUT_S, "idle")
    first, second = world.shown["idle"]
    assert not world.plan._owners
    world.fetch("idle", second)
    pass_time(world, 1.0, "idle")
    *_, third = world.shown["idle"]
    assert [*world.plan._owners] == [third]
    assert third not in {first, second}


def test_bep16_peers_that_take_little_or_come_again_leave_a_leech_the_only_one() -> None:
    world = World(SuperSeedConfig(single_peer_bytes=4_000), pieces=400)
    world.join("a", "small")
    for step in range(50):
        world.join(f"idle {step}", operator="one")
        pass_time(world, STEP_S, "a", f"idle {step}", "small")
        world.taken["small"] += 16
        world.fetch("a", next(each for each in world.shown["a"] if not world.has["a"] >> each & 1))
        world.leave(f"idle {step}")
    assert len(world.shown["a"]) >= 50


@pytest.mark.parametrize(("exchanged", "slots", "copies"), [(0.05, 2, 2.5), (0.1, 1, 1.55)])
def test_bep16_leeches_that_feed_each_other_slowly_are_not_sent_all_by_the_seed(
    exchanged: float, slots: int, copies: float
) -> None:
    world, names = World(DEFAULT, pieces=100), [str(number) for number in range(8)]
    assert play_beside(world, names, [], slots, exchanged) <= copies * 100


def test_bep16_who_claims_what_it_was_shown_and_takes_little_waits_as_before() -> None:
    world = World(DEFAULT, pieces=400)
    world.join("liar", "b")
    world.taken["liar"] = 1  # nobody takes more
    pass_time(world, 1.0, "liar", "b")
    for _ in range(int(TIMEOUT_S / STEP_S) - 3):
        world.get("liar", *(each for each in world.shown["liar"]))
        pass_time(world, STEP_S, "liar")
    most = world.plan._max_single_peer
    assert most <= len(world.shown["liar"]) <= most + 1


@pytest.mark.parametrize("has_liar", [False, True])
def test_bep16_leeches_that_do_not_reach_each_other_get_all_without_long_waits(
    has_liar: bool,
) -> None:
    world = World(DEFAULT, pieces=128)
    world.join("a", "b", "liar")
    everything = (1 << world.pieces) - 1
    while world.now < 100.0 + 128 * STEP_S + 2.5 * TIMEOUT_S:
        known = world.has["a"] & ~world.has["liar"]
        if has_liar and known and world.now % 5 == 0:  # others fed it, it says
            world.get("liar", known.bit_length() - 1)
        pass_time(world, STEP_S, "a", "b")
        for name in ("a", "b"):
            lacking = [each for each in world.shown[name] if not world.has[name] >> each & 1]
            world.fetch(name, *lacking[:1])
    assert world.has["a"] == world.has["b"] == everything


# -- large torrents (row F11) -------------------------------------------------------------------

MANY = 500_000
SMALL_PIECES = SuperSeedConfig(max_revealed_bytes=32_000, single_peer_bytes=512_000)
"""Of 1,000 bytes: 32 to each peer, 512 to a peer that is alone."""


def many_peers(count: int) -> tuple[World, list[str]]:
    world, names = World(SMALL_PIECES, pieces=MANY), [str(number) for number in range(count)]
    world.join(*names)
    return world, names


@pytest.mark.no_cover
def test_f11_many_pieces_are_shown_in_one_go_of_the_table() -> None:
    world, _ = many_peers(1)
    with cpu_time() as spent:
        pieces = world.look("0")
    assert spent.seconds < 0.01  # it was 15 ms
    assert len(set(pieces)) == 512
    assert all(0 <= piece < MANY for piece in pieces)
    assert max(pieces) - min(pieces) > MANY // 2  # from anywhere


@pytest.mark.no_cover
def test_f11_a_long_list_of_false_pieces_costs_little() -> None:
    """All pieces but one, so that it is no seed."""
    world, names = many_peers(200)
    shown = [piece for name in names for piece in world.look(name)]
    assert len(set(shown)) == 200 * 32
    for name in names:
        world.fetch(name, *world.shown[name])
    hidden = min({*range(MANY)} - set(shown))
    for fed_by_one in (FIRST_CLAIMS, len(names)):  # another says the same: all of it counts
        world.join(liar := f"liar {fed_by_one}")
        with cpu_time() as spent:
            fed = world.claim_all(liar, but=hidden)
        assert spent.seconds < 0.06
        assert len(fed) <= fed_by_one
        assert all(len(each.claims) <= MAX_CLAIMS for each in world.plan._operators.values())
    assert set(fed) == set(names)
    assert all(world.plan.wants_more(name, world.now) for name in names)


@pytest.mark.no_cover
def test_f11_messages_and_ticks_of_many_peers_cost_little() -> None:
    """A hundred thousand pieces and 200 peers, of which half take nothing."""
    world, names = World(SMALL_PIECES, pieces=100_000), [str(number) for number in range(200)]
    world.join(*names)
    for name in names:
        world.look(name)
    for name in names[:100]:
        world.fetch(name, *world.shown[name][:-1])
    world.now += TIMEOUT_S
    with cpu_time() as spent:
        for name in names:
            world.plan.wants_more(name, world.now)  # what half of them were shown is freed
    assert spent.seconds < 0.05
    world.now += STEP_S
    with cpu_time() as spent:
        for name in names:
            world.plan.wants_more(name, world.now)
    assert spent.seconds < 0.02
    with cpu_time() as spent:
        for name in names[:100]:
            world.get(name, world.shown[name][-1])
    assert spent.seconds < 0.05


def test_only_who_has_room_wants_more() -> None:
    world = World(SuperSeedConfig(max_revealed_bytes=0))
    world.join("a", "b")
    assert world.plan.wants_more("a", world.now)
    first, _ = world.look("a")
    assert not world.plan.wants_more("a", world.now)
    world.get("b", first)
    assert not world.plan.wants_more("a", world.now)  # who has it has it from elsewhere
    world.get("a", first)
    assert not world.plan.wants_more("a", world.now)
    world.join("c")
    world.get("c", first)
    assert world.plan.wants_more("a", world.now)
    world.leave("a")
    assert not world.plan.wants_more("a", world.now)
    world.plan.is_over = True
    assert not world.plan.wants_more("b", world.now)


def test_the_last_pieces_of_a_table_are_found_wherever_they_are() -> None:
    for piece in (0, 1, 7, 8, MANY // 2, MANY - 1):
        for count in (1, 3):
            found = super_seed._some_of(1 << piece, count, random.Random(piece))
            assert found == [piece]
    assert super_seed._some_of(0, 3, random.Random(1)) == []
    assert sorted(super_seed._some_of(0b1011, 9, random.Random(1))) == [0, 1, 3]
