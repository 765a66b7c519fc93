"""Hashes of pieces from peers that are right, wrong, silent or have none."""

import random
from collections.abc import Callable
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.config import MetadataConfig
from torrent_engine.base.ids import InfoHashV2
from torrent_engine.codec._v2_part import V2Part
from torrent_engine.codec.hash_trees import HashRange, HashTrees
from torrent_engine.codec.merkle import root_of
from torrent_engine.policy.metadata.fetch import BanPeer
from torrent_engine.policy.metadata.layers import (
    MAX_REFUSED,
    MAX_REQUESTS,
    REJECTED_S,
    LayerAction,
    LayerFetch,
    LayersComplete,
    RequestHashes,
)

PIECE_BYTES = 16_384
CONFIG = MetadataConfig()
Answer = Callable[[HashRange], bytes | None]


def parts_of(*counts: int) -> tuple[V2Part, V2Part]:
    """Return the v2 part of files of so many pieces, with layers and without."""
    rng = random.Random(52)
    layers = [rng.randbytes(32 * count) for count in counts]
    roots = [root_of(layer) for layer in layers]
    lengths = [count * PIECE_BYTES for count in counts]
    info_hash = InfoHashV2(sha256(b"").digest())
    known = dict(zip(roots, layers, strict=True))
    return (
        V2Part(info_hash, PIECE_BYTES, lengths, b"".join(roots), known),
        V2Part(info_hash, PIECE_BYTES, lengths, b"".join(roots), {}),
    )


class Swarm:
    """Answers what a fetch asks for, at once, as long as each peer's function gives something."""

    def __init__(self, fetch: LayerFetch) -> None:
        self.fetch = fetch
        self.now = 100.0
        self.answers: dict[str, Answer] = {}
        self.asked: list[RequestHashes] = []
        self.banned: list[str] = []
        self.layers: dict[bytes, bytes] | None = None

    def join(self, key: str, answer: Answer) -> None:
        self.answers[key] = answer
        self.do(self.fetch.peer_joined(key, self.now))

    def do(self, actions: list[LayerAction]) -> None:
        waiting = list(actions)
        while waiting:
            action = waiting.pop(0)
            if isinstance(action, LayersComplete):
                self.layers = action.layers
            elif isinstance(action, BanPeer):
                self.banned.append(action.key)
            else:
                waiting += self._answer(action)

    def _answer(self, action: RequestHashes) -> list[LayerAction]:
        self.asked.append(action)
        try:
            hashes = self.answers[action.key](action.wanted)
        except TimeoutError:
            return []
        if hashes is None:
            return self.fetch.rejected(action.key, action.wanted, self.now)
        return self.fetch.hashes_received(action.key, action.wanted, hashes, self.now)

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds * 4)):
            self.now += 0.25
            self.do(self.fetch.tick(self.now))


def make(*counts: int) -> tuple[Swarm, V2Part, Answer]:
    whole, bare = parts_of(*counts)
    swarm = Swarm(LayerFetch(bare, CONFIG, random.Random(1)))
    return swarm, whole, HashTrees(whole).hashes


def silent(_wanted: HashRange) -> bytes | None:
    raise TimeoutError


@pytest.mark.parametrize("count", [2, 3, 4, 5, 511, 512, 513, 1024, 1025, 3000])
def test_bep52_one_honest_peer_is_enough(count: int) -> None:
    swarm, whole, honest = make(count)
    swarm.join("a", honest)
    assert swarm.layers == whole.layers
    assert all(action.wanted.length <= 512 for action in swarm.asked)
    assert len(swarm.asked) == -(-count // 512)
    assert swarm.fetch.progress == (len(swarm.asked), len(swarm.asked))


def test_bep52_a_short_layer_is_asked_for_without_a_proof() -> None:
    swarm, whole, honest = make(100, 600)
    swarm.join("a", honest)
    assert [action.wanted[1:] for action in swarm.asked] == [
        (0, 0, 128, 0),
        (0, 0, 512, 9),
        (0, 512, 512, 9),
    ]
    assert swarm.layers == whole.layers


def test_bep52_files_of_one_content_are_asked_for_once() -> None:
    whole, bare = parts_of(40)
    root = whole.root(0)
    assert root is not None
    twice = V2Part(bare.info_hash, PIECE_BYTES, [*bare.lengths] * 2, bare.roots * 2, {})
    swarm = Swarm(LayerFetch(twice, CONFIG, random.Random(1)))
    swarm.join("a", HashTrees(whole).hashes)
    assert len(swarm.asked) == 1
    assert swarm.layers == whole.layers


@pytest.mark.parametrize("count", [40, 1500])
@pytest.mark.parametrize("place", [0, 100, -1])
def test_bep52_who_sends_a_wrong_hash_is_banned_and_nobody_else(count: int, place: int) -> None:
    swarm, whole, honest = make(count)

    def liar(wanted: HashRange) -> bytes | None:
        hashes = bytearray(honest(wanted) or b"")
        hashes[place] ^= 1
        return bytes(hashes)

    swarm.join("liar", liar)
    assert swarm.layers is None
    swarm.join("a", honest)
    swarm.pass_time(10)
    assert swarm.banned == ["liar"]
    assert swarm.layers == whole.layers


@given(st.binary(max_size=600 * 32))
def test_bep52_answers_of_any_length_are_judged(data: bytes) -> None:
    swarm, _, _ = make(700)
    swarm.join("liar", lambda _: data)
    assert swarm.banned == ["liar"]


def test_bep52_a_silent_peer_has_few_requests_and_others_are_asked() -> None:
    swarm, whole, honest = make(*[40] * 20)
    swarm.join("silent", silent)
    swarm.pass_time(30)
    assert len(swarm.asked) == MAX_REQUESTS
    swarm.join("a", honest)
    swarm.pass_time(5)
    assert swarm.layers == whole.layers
    assert not swarm.banned


def test_bep52_a_late_answer_is_used() -> None:
    swarm, whole, honest = make(40)
    swarm.join("late", silent)
    swarm.pass_time(20)
    (action,) = swarm.asked
    swarm.do(
        swarm.fetch.hashes_received("late", action.wanted, honest(action.wanted) or b"", swarm.now)
    )
    assert swarm.layers == whole.layers


def test_bep52_who_leaves_is_replaced() -> None:
    swarm, whole, honest = make(1500)
    swarm.join("gone", silent)
    swarm.fetch.peer_left("gone")
    swarm.fetch.peer_left("gone")
    swarm.join("a", honest)
    assert swarm.layers == whole.layers


def test_bep52_who_rejects_is_asked_again_much_later() -> None:
    swarm, whole, honest = make(40)
    swarm.join("a", lambda _: None)
    swarm.pass_time(REJECTED_S - 1)
    assert len(swarm.asked) == 1
    swarm.answers["a"] = honest
    swarm.pass_time(CONFIG.rest_max_s)
    assert swarm.layers == whole.layers


def test_bep52_who_has_some_of_the_files_gives_those() -> None:
    swarm, whole, honest = make(*range(2, 302))
    roots = list(whole.layers)
    swarm.join("a", lambda wanted: honest(wanted) if wanted.root in roots[:200] else None)
    assert swarm.fetch.progress == (200, 300)
    swarm.join("b", lambda wanted: honest(wanted) if wanted.root in roots[200:] else None)
    swarm.pass_time(CONFIG.rest_max_s + 5)
    assert swarm.layers == whole.layers


def test_bep52_who_rejects_everything_is_left_alone() -> None:
    swarm, _, _ = make(*range(2, 2 + 3 * MAX_REFUSED))
    swarm.join("a", lambda _: None)
    swarm.pass_time(REJECTED_S - 1)
    assert len(swarm.asked) <= MAX_REFUSED + MAX_REQUESTS


def test_bep52_answers_that_nobody_asked_for_change_nothing() -> None:
    swarm, _, honest = make(40)
    swarm.join("silent", silent)
    (action,) = swarm.asked
    wanted = action.wanted
    assert swarm.fetch.hashes_received("other", wanted, honest(wanted) or b"", 100.0) == []
    other = wanted._replace(start=64)
    assert swarm.fetch.hashes_received("silent", other, b"", 100.0) == []
    assert swarm.fetch.rejected("silent", other, 100.0) == []
    assert swarm.fetch.progress == (0, 1)


# -- peers that prove nothing ---------------------------------------------------------------------


def without_proofs(honest: Answer) -> Answer:
    """Return the answers of a program that rejects all requests for proofs."""
    return lambda wanted: None if wanted.proof_layers else honest(wanted)


@pytest.mark.parametrize("count", [513, 1024, 1025, 3000])
def test_bep52_a_long_layer_comes_from_a_peer_without_proofs_at_once(count: int) -> None:
    swarm, whole, honest = make(count, 40, count + 1)
    swarm.join("a", without_proofs(honest))
    assert swarm.layers == whole.layers  # no time has passed
    for root in whole.layers:
        asked = [each.wanted for each in swarm.asked if each.wanted.root == root]
        assert len(asked) == len({*asked})
        plain = [wanted.start for wanted in asked if not wanted.proof_layers]
        assert plain == list(range(0, len(whole.layers[root]) // 32, 512))


def test_bep52_pads_behind_the_last_piece_may_be_left_out_without_a_proof() -> None:
    swarm, whole, honest = make(700)
    plain = without_proofs(honest)
    swarm.join("a", lambda wanted: (plain(wanted) or b"")[: (700 - wanted.start) * 32] or None)
    assert swarm.layers == whole.layers


@pytest.mark.parametrize("place", [0, 511 * 32, -1])
@pytest.mark.parametrize("start", [0, 1024])
def test_bep52_who_sends_a_wrong_hash_without_a_proof_is_banned(place: int, start: int) -> None:
    swarm, whole, honest = make(1536)

    def liar(wanted: HashRange) -> bytes | None:
        hashes = bytearray(without_proofs(honest)(wanted) or b"")
        if hashes and wanted.start == start:
            hashes[place] ^= 1
        return bytes(hashes) or None

    swarm.join("liar", liar)
    assert swarm.banned == ["liar"]
    swarm.join("a", without_proofs(honest))
    swarm.pass_time(CONFIG.rest_max_s + 1)
    assert (swarm.banned, swarm.layers) == (["liar"], whole.layers)


@given(st.binary(max_size=600 * 32))
def test_bep52_answers_without_proofs_of_any_length_are_judged(data: bytes) -> None:
    swarm, _, _ = make(700)
    swarm.join("liar", lambda wanted: None if wanted.proof_layers else data)
    assert swarm.banned == ["liar"]


def test_bep52_who_rejects_with_and_without_proof_is_asked_again_much_later() -> None:
    swarm, whole, honest = make(700)
    swarm.join("a", lambda _: None)
    swarm.pass_time(REJECTED_S - 1)
    asked = [each.wanted for each in swarm.asked]
    assert len(asked) == len({*asked}) <= 4
    swarm.answers["a"] = honest
    swarm.pass_time(CONFIG.rest_max_s)
    assert swarm.layers == whole.layers


def test_bep52_one_peer_at_a_time_is_asked_without_proofs() -> None:
    swarm, whole, honest = make(3000)

    def stuck(wanted: HashRange) -> bytes | None:
        return None if wanted.proof_layers else silent(wanted)

    swarm.join("stuck", stuck)
    swarm.join("b", without_proofs(honest))
    plain = {each.key for each in swarm.asked if not each.wanted.proof_layers}
    assert plain == {"stuck"}
    swarm.pass_time(CONFIG.request_timeout_s + CONFIG.rest_max_s + 1)
    assert swarm.layers == whole.layers
    assert not swarm.banned


def test_bep52_who_leaves_before_all_is_there_makes_room_for_others() -> None:
    swarm, whole, honest = make(3000)
    swarm.join("gone", lambda wanted: None if wanted.proof_layers else silent(wanted))
    swarm.fetch.peer_left("gone")
    swarm.join("b", without_proofs(honest))
    assert swarm.layers == whole.layers


def test_bep52_proofs_of_others_are_used_while_somebody_sends_none() -> None:
    swarm, whole, honest = make(3000)
    swarm.join("slow", lambda wanted: None if wanted.proof_layers else silent(wanted))
    (wanted, *_) = [each.wanted for each in swarm.asked if not each.wanted.proof_layers]
    swarm.join("b", honest)
    assert swarm.layers == whole.layers
    late = swarm.fetch.hashes_received("slow", wanted, honest(wanted) or b"", swarm.now)
    assert not [each for each in late if not isinstance(each, RequestHashes)]
    assert swarm.fetch.progress == (6, 6)
