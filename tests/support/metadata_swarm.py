"""A swarm in virtual time that gives metadata to a MetadataFetch, its liars included."""

import heapq
import itertools
import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from hashlib import sha1

from torrent_engine.base.config import MetadataConfig
from torrent_engine.base.ids import InfoHash
from torrent_engine.policy.metadata.attempt import PIECE_BYTES
from torrent_engine.policy.metadata.fetch import (
    INLINE_CHECK_BYTES,
    Action,
    BanPeer,
    HashCheck,
    MetadataComplete,
    MetadataFetch,
    RequestPiece,
)

TICK_S = 0.25
CHECK_S = 0.1
"""How long a thread takes to hash a copy; anything may happen meanwhile."""


@dataclass(frozen=True, slots=True)
class Data:
    """An answer with a piece."""

    piece: int
    total_bytes: int | None
    data: bytes


@dataclass(frozen=True, slots=True)
class Reject:
    """An answer without one."""

    piece: int


@dataclass(slots=True)
class Fake:
    """One peer: what it promises, and what it answers, each answer after ``delay_s``."""

    promised_bytes: int | None
    answer: Callable[[int], Sequence[Data | Reject]]
    delay_s: float = 0.05
    is_honest: bool = False
    lies: bool = True
    """It answers with what is not true; the silent and the slow do not."""
    joins_s: float = 0.0
    asked: list[int] = field(default_factory=list)


def honest(info: bytes, *, delay_s: float = 0.05) -> Fake:
    """Return a peer that gives what it has."""
    return Fake(len(info), lambda piece: [good(info, piece)], delay_s, is_honest=True, lies=False)


def good(info: bytes, piece: int) -> Data:
    return Data(piece, len(info), info[piece * PIECE_BYTES : (piece + 1) * PIECE_BYTES])


def junk(size: int, piece: int, rng: random.Random) -> Data:
    length = min(PIECE_BYTES, size - piece * PIECE_BYTES)
    return Data(piece, size, rng.randbytes(length))


def liar_of_all(info: bytes, rng: random.Random) -> Fake:
    """Return a peer that gives junk of the right length."""
    return Fake(len(info), lambda piece: [junk(len(info), piece, rng)])


def liar_of_one(info: bytes, rng: random.Random) -> Fake:
    """Return a peer that gives one wrong piece."""
    wrong = rng.randrange(-(-len(info) // PIECE_BYTES))

    def answer(piece: int) -> list[Data]:
        return [junk(len(info), piece, rng) if piece == wrong else good(info, piece)]

    return Fake(len(info), answer)


def liar_of_length(_info: bytes, rng: random.Random) -> Fake:
    """Return a peer whose metadata has a length of its own."""
    size = rng.randrange(1, 40 * PIECE_BYTES)
    return Fake(size, lambda piece: [junk(size, piece, rng)])


def giant(_info: bytes, rng: random.Random) -> Fake:
    """Return a peer that promises as much as it may, and gives it as fast as it is asked."""
    size = 30 * 1024 * 1024 - rng.randrange(1_000)
    return Fake(size, lambda piece: [junk(size, piece, rng)], 0.02)


def giant_of_many(_info: bytes, rng: random.Random) -> Fake:
    """Return a peer that does the same, and agrees with all of its kind on the length."""
    size = 30 * 1024 * 1024
    return Fake(size, lambda piece: [junk(size, piece, rng)], 0.02)


def beyond(_info: bytes, rng: random.Random) -> Fake:
    """Return a peer that promises more than may be."""
    return Fake(2**32 - rng.randrange(99), lambda piece: [Data(piece, 2**32, b"x")], lies=False)


def silent(info: bytes, _rng: random.Random) -> Fake:
    """Return a peer that never answers."""
    return Fake(len(info), lambda _piece: [], lies=False)


def silent_of_its_own(_info: bytes, rng: random.Random) -> Fake:
    """Return a peer that never answers, and promises what nobody else does."""
    return Fake(rng.randrange(1, 10**6), lambda _piece: [], lies=True)


def refusing(info: bytes, _rng: random.Random) -> Fake:
    """Return a peer that rejects everything."""
    return Fake(len(info), lambda piece: [Reject(piece)], lies=False)


def trickling(info: bytes, rng: random.Random) -> Fake:
    """Return a peer whose junk comes just in time."""
    return Fake(len(info), lambda piece: [junk(len(info), piece, rng)], 2.9)


def of_wrong_lengths(info: bytes, _rng: random.Random) -> Fake:
    """Return a peer whose pieces are too short."""
    return Fake(len(info), lambda piece: [Data(piece, len(info), b"x")])


def of_two_lengths(info: bytes, _rng: random.Random) -> Fake:
    """Return a peer that names another length in its answers."""
    return Fake(len(info), lambda piece: [Data(piece, len(info) + 1, good(info, piece).data)])


def spamming(info: bytes, rng: random.Random) -> Fake:
    """Return a peer that answers what nobody asked, and each answer a hundred times."""

    def answer(piece: int) -> list[Data]:
        return [junk(len(info), piece, rng)] * 50 + [Data(7_000, len(info), b"x")] * 50

    return Fake(len(info), answer)


LIARS = {
    each.__name__: each
    for each in (
        liar_of_all,
        liar_of_one,
        liar_of_length,
        giant,
        giant_of_many,
        beyond,
        silent,
        silent_of_its_own,
        refusing,
        trickling,
        of_wrong_lengths,
        of_two_lengths,
        spamming,
    )
}


class MetadataSwarm:
    """Plays all peers against one MetadataFetch."""

    def __init__(
        self,
        info: bytes,
        fakes: dict[Hashable, Fake],
        *,
        config: MetadataConfig | None = None,
        seed: int = 0,
        inline_check_bytes: int = INLINE_CHECK_BYTES,
    ) -> None:
        self.info = info
        self.fakes = fakes
        self.config = config or MetadataConfig()
        info_hash = InfoHash(sha1(info, usedforsecurity=False).digest())
        self.fetch = MetadataFetch(
            info_hash, self.config, random.Random(seed), inline_check_bytes=inline_check_bytes
        )
        self.now = 0.0
        self.blamed: dict[Hashable, str] = {}
        self.arrived_s: float | None = None
        self.most_held_bytes = 0
        self._numbers = itertools.count()
        self._coming: list[tuple[float, int, Hashable, Data | Reject | HashCheck | None]] = []
        for key, fake in fakes.items():
            self._push(fake.joins_s, key, None)

    def run(self, until_s: float = 60.0) -> "MetadataSwarm":
        """Let time pass until the metadata is there, or that long."""
        next_tick_s = 0.0
        while self.now < until_s and self.arrived_s is None:
            if self._coming and self._coming[0][0] <= next_tick_s:
                self.now, _, key, message = heapq.heappop(self._coming)
                self._do(self._deliver(key, message))
            else:
                self.now = next_tick_s
                next_tick_s += TICK_S
                self._do(self.fetch.tick(self.now))
            self.most_held_bytes = max(self.most_held_bytes, self.fetch.held_bytes)
        return self

    def _push(self, at_s: float, key: Hashable, message: Data | Reject | HashCheck | None) -> None:
        heapq.heappush(self._coming, (at_s, next(self._numbers), key, message))

    def _deliver(self, key: Hashable, message: Data | Reject | HashCheck | None) -> list[Action]:
        if isinstance(message, HashCheck):
            return self.fetch.checked(message, message.run(), self.now)
        if isinstance(message, Data):
            total_bytes, data = message.total_bytes, message.data
            return self.fetch.data_received(key, message.piece, total_bytes, data, self.now)
        if isinstance(message, Reject):
            return self.fetch.rejected(key, message.piece, self.now)
        return self.fetch.peer_joined(key, self.fakes[key].promised_bytes, self.now)

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, RequestPiece):
                assert action.key not in self.blamed
                fake = self.fakes[action.key]
                fake.asked.append(action.piece)
                for message in fake.answer(action.piece):
                    self._push(self.now + fake.delay_s, action.key, message)
            elif isinstance(action, BanPeer):
                assert action.key not in self.blamed
                self.blamed[action.key] = action.reason
            elif isinstance(action, HashCheck):
                self._push(self.now + CHECK_S, None, action)
            elif isinstance(action, MetadataComplete):
                assert action.info_bytes == self.info
                self.arrived_s = self.now
