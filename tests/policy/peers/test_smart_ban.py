"""Who sent the bad block: scenes, and whole swarms with poisoners in them."""

import random
from collections import deque
from dataclasses import dataclass, field
from hashlib import sha1

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.policy.peers import smart_ban as suspicion_module
from torrent_engine.policy.peers.smart_ban import TRUST_MAX, BanVerdict, SmartBan

GOOD = [b"good%d" % block for block in range(4)]


def bad(*blocks: int, version: int = 0) -> list[bytes]:
    return [b"bad%d" % version if block in blocks else GOOD[block] for block in range(4)]


def test_b6_single_sender_of_a_bad_piece_is_banned_at_once() -> None:
    assert SmartBan().piece_failed(7, ["a"] * 4, bad(1)) == BanVerdict(ban=("a",))


def test_b6_block_of_unknown_origin_makes_a_single_sender_no_proof() -> None:
    subject = SmartBan()
    assert subject.piece_failed(7, ["a", "a", None, "a"], bad(2)) == BanVerdict(parole=("a",))
    assert subject.piece_failed(8, [None] * 4, bad(2)) == BanVerdict()
    assert subject.piece_passed(7, ["b"] * 4, GOOD) == BanVerdict()
    assert subject.trust("a") == 0


def test_b6_several_senders_are_put_on_parole_and_lose_trust_once() -> None:
    subject = SmartBan()
    for piece in range(6):  # all requested before the first verdict
        assert subject.piece_failed(piece, ["a", "b", "a", "c"], bad(0)).ban == ()
    assert [subject.trust(key) for key in "abcd"] == [-2, -2, -2, 0]
    assert [subject.is_on_parole(key) for key in "abcd"] == [True, True, True, False]
    assert subject.has_failed(5)
    assert not subject.has_failed(6)


def test_b6_piece_that_passes_later_convicts_the_liar_and_clears_the_others() -> None:
    subject = SmartBan()
    subject.piece_failed(7, ["a", "b", "c", "b"], bad(1, 3))
    verdict = subject.piece_passed(7, ["a"] * 4, lambda: GOOD)
    assert verdict == BanVerdict(ban=("b",))
    assert (subject.trust("a"), subject.trust("c")) == (1, 0)
    assert not any(subject.is_on_parole(key) for key in "abc")
    assert not subject.has_failed(7)


def test_b6_colluding_liars_are_all_convicted() -> None:
    subject = SmartBan()
    subject.piece_failed(7, ["a", "b", "c", "d"], bad(0, 1))
    assert subject.piece_passed(7, ["d"] * 4, GOOD).ban == ("a", "b")


def test_b6_two_versions_of_a_block_from_one_peer_prove_a_lie() -> None:
    subject = SmartBan()
    subject.piece_failed(7, ["a", "b", "b", "b"], bad(0))
    verdict = subject.piece_failed(7, ["a", "c", "c", "c"], bad(0, version=1))
    assert verdict == BanVerdict(ban=("a",), parole=("c",))


def test_b6_whole_piece_of_ones_own_ends_the_parole_unless_it_is_bad() -> None:
    subject = SmartBan()
    subject.piece_failed(7, ["a", "a", "b", "b"], bad(0))
    subject.piece_passed(8, ["b", "c"] * 2)
    assert subject.is_on_parole("b")
    subject.piece_passed(9, ["b"] * 4)
    assert not subject.is_on_parole("b")
    assert subject.piece_failed(10, ["a"] * 4, bad(0)) == BanVerdict(ban=("a",))
    assert not subject.is_on_parole("a")


def test_b6_parole_lasts_while_another_failure_is_open() -> None:
    subject = SmartBan()
    subject.piece_failed(1, ["a", "a", "b", "b"], bad(0))
    subject.piece_failed(2, ["b", "b", "c", "c"], bad(0))
    assert subject.piece_passed(1, ["d"] * 4, GOOD) == BanVerdict(ban=("a",))
    assert subject.is_on_parole("b")
    assert subject.piece_passed(2, ["d"] * 4, GOOD) == BanVerdict(ban=("b",))
    assert not subject.is_on_parole("c")


def test_b6_trust_is_the_net_for_pieces_that_never_pass() -> None:
    subject = SmartBan()
    banned: list[object] = []
    for piece in range(10):  # each time it earns its way out of parole, and lies again
        banned += subject.piece_failed(piece, ["liar", f"other{piece}"] * 2, bad(0)).ban
        subject.piece_passed(100 + piece, ["liar"] * 4)
        if banned:
            break
    assert banned == ["liar"]
    assert piece == 5


def test_trust_is_bounded_above_and_unknown_while_nothing_ever_failed() -> None:
    subject = SmartBan()
    assert subject.piece_passed(0, ["a"], lambda: pytest.fail("not needed")) == BanVerdict()
    assert subject.trust("a") == 0
    subject.piece_failed(0, ["x", "y"] * 2, bad(0))
    for piece in range(100):
        subject.piece_passed(piece + 1, ["a"] * 4)
    assert subject.trust("a") == TRUST_MAX


def test_pass_without_digests_convicts_nobody() -> None:
    subject = SmartBan()
    subject.piece_failed(7, ["a", "b"] * 2, bad(0))
    assert subject.piece_passed(7, ["b"] * 4) == BanVerdict()
    assert subject.is_on_parole("a")


def test_peer_that_leaves_is_forgotten_only_if_nothing_is_held_against_it() -> None:
    subject = SmartBan()
    subject.piece_failed(7, ["a", "b"] * 2, bad(0))
    subject.piece_passed(8, ["c"] * 4)
    for key in "abc":
        subject.peer_left(key)
    assert [subject.trust(key) for key in "abc"] == [-2, -2, 0]
    assert subject.is_on_parole("a")
    assert subject.piece_passed(7, ["c"] * 4, GOOD) == BanVerdict(ban=("a",))


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspicion_module, "MAX_RECORDS", 50)
    monkeypatch.setattr(suspicion_module, "MAX_FAILED_PIECES", 20)
    subject = SmartBan()
    for number in range(500):
        subject.piece_failed(number, [f"a{number}", f"b{number}"] * 2, bad(0))
        subject.piece_failed(1000, [f"c{number}", f"d{number}"] * 2, bad(0))
    assert len(subject._failed) == 20
    assert len(subject._failed[1000]) == suspicion_module.MAX_ATTEMPTS_PER_PIECE
    assert len(subject._trust) == len(subject._parole) == 50


def test_b6_the_blocks_of_failed_pieces_that_are_remembered_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(suspicion_module, "MAX_FAILED_BLOCKS", 40)
    subject = SmartBan()
    for piece in range(100):
        subject.piece_failed(piece, [f"a{piece}", f"b{piece}"] * 2, bad(0))
    assert list(subject._failed) == list(range(90, 100))
    assert set(subject._suspects) == {f"{who}{piece}" for who in "ab" for piece in range(90, 100)}
    subject.piece_failed(100, ["a", "b"] * 30, bad(0) * 15)  # longer than that alone
    assert list(subject._failed) == [100]
    assert subject.has_failed(100)


def test_f11_a_piece_that_passes_is_compared_with_its_own_failures_only() -> None:
    subject = SmartBan()
    for piece in range(50):
        subject.piece_failed(piece, [CountingKey(f"a{piece}"), CountingKey("b")] * 2, bad(0))
    CountingKey.looks = 0
    subject.piece_passed(0, [CountingKey("c")] * 4, GOOD)
    assert CountingKey.looks < 50  # to look at all senders of all failed pieces took 200
    assert subject.is_on_parole(CountingKey("b"))
    for piece in range(1, 50):
        subject.piece_passed(piece, [CountingKey("c")] * 4, GOOD)
    assert not subject._failed
    assert not subject._suspects
    assert not subject._failed_blocks


class CountingKey(str):
    """A sender that counts how often senders are looked at."""

    looks = 0
    __slots__ = ()

    def __hash__(self) -> int:
        CountingKey.looks += 1
        return super().__hash__()


ATTEMPTS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.lists(st.sampled_from([*"abcdef", None]), min_size=4, max_size=4),
        st.sets(st.integers(0, 3)),
    ),
    max_size=40,
)


@given(ATTEMPTS, st.sets(st.sampled_from("abcdef")))
def test_b6_who_never_lies_is_never_convicted_by_proof(
    attempts: list[tuple[int, list[str | None], set[int]]], liars: set[str]
) -> None:
    """Liars lie where the draw says so; a lie makes the piece fail, and proofs name liars only."""
    subject = SmartBan()
    subject_bans: set[object] = set()
    for number, (piece, senders, lies) in enumerate(attempts):
        lied = {block for block in lies if senders[block] in liars or senders[block] is None}
        digests = bad(*lied, version=number)
        if lied:
            trusted = {key for key in "abcdef" if subject.trust(key) > -5}
            ban = subject.piece_failed(piece, senders, digests).ban
            subject_bans |= set(ban) & trusted  # by proof: the net is not in reach
        else:
            subject_bans |= set(subject.piece_passed(piece, senders, digests).ban)
    assert subject_bans <= liars


@dataclass
class PoisonedSwarm:
    """A download from seeds of which some lie, as the engine does it.

    Several pieces are under way at once, their blocks asked of any peer; a peer on parole and a
    piece that failed before keep to themselves: one piece, one peer.
    """

    seeds: int
    poisoners: int
    rng: random.Random
    lie_probability: float = 1.0
    pieces: int = 60
    blocks: int = 16
    under_way: int = 4
    subject: SmartBan = field(default_factory=SmartBan)
    banned: set[int] = field(default_factory=set)
    failed_pieces: set[int] = field(default_factory=set)
    fetched: int = 0

    def run(self) -> None:
        waiting = deque(range(self.pieces))
        started: deque[tuple[int, list[int]]] = deque()
        while waiting or started:
            while waiting and len(started) < self.under_way:
                piece = waiting.popleft()
                started.append((piece, self._choose_senders(piece)))
            piece, senders = started.popleft()
            if self.banned.intersection(senders):  # a banned peer's blocks are asked of others
                senders = self._choose_senders(piece)
            if not self._finish(piece, senders):
                waiting.appendleft(piece)

    def _choose_senders(self, piece: int) -> list[int]:
        peers = [peer for peer in range(self.seeds) if peer not in self.banned]
        free = [peer for peer in peers if not self.subject.is_on_parole(peer)]
        alone = self.subject.has_failed(piece) or not free or self.rng.random() < 0.2
        if alone:  # some of the pieces go to those on parole
            return [self.rng.choice(peers)] * self.blocks
        return [self.rng.choice(free) for _ in range(self.blocks)]

    def _finish(self, piece: int, senders: list[int]) -> bool:
        digests = [self._digest(piece, block, sender) for block, sender in enumerate(senders)]
        self.fetched += self.blocks
        right = [sha1(b"%d/%d" % (piece, block)).digest() for block in range(self.blocks)]
        if digests == right:
            verdict = self.subject.piece_passed(piece, senders, digests)
        else:
            self.failed_pieces.add(piece)
            verdict = self.subject.piece_failed(piece, senders, digests)
        self.banned.update(key for key in verdict.ban if isinstance(key, int))
        return digests == right

    def _digest(self, piece: int, block: int, sender: int) -> bytes:
        lies = sender < self.poisoners and self.rng.random() < self.lie_probability
        return sha1(b"%d/%d%s" % (piece, block, b"!" * lies)).digest()


@pytest.mark.no_cover
@pytest.mark.parametrize("lie_probability", [1.0, 0.3, 0.05])
def test_b6_one_poisoner_among_five_seeds_is_banned_soon_and_no_honest_seed_ever(
    lie_probability: float,
) -> None:
    for seed in range(100):
        swarm = PoisonedSwarm(5, 1, random.Random(seed), lie_probability, under_way=2)
        swarm.run()
        assert swarm.banned <= {0}
        assert len(swarm.failed_pieces) <= 3
        if lie_probability == 1.0:
            assert swarm.banned == {0}


@pytest.mark.no_cover
@pytest.mark.parametrize("lie_probability", [1.0, 0.2])
def test_b6_fifth_of_the_swarm_poisoning_wastes_little_and_gets_no_honest_peer_banned(
    lie_probability: float,
) -> None:
    wasted = needed = 0
    for seed in range(100):
        swarm = PoisonedSwarm(
            25, 5, random.Random(seed), lie_probability, pieces=250, blocks=8, under_way=5
        )
        swarm.run()
        assert swarm.banned <= set(range(5))
        needed += swarm.pieces * swarm.blocks
        wasted += swarm.fetched - swarm.pieces * swarm.blocks
    assert wasted <= 0.05 * needed
