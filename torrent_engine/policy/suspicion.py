"""The judgement which peer sent the bad block of a piece that failed its hash.

A piece that failed says only that one of its senders lied. When it passes later, every block of the
failed attempts can be compared with the right one: whoever sent another is banned, the others are
cleared ("smart ban"). Until then those who took part are on parole: each of them should be given
whole pieces of its own, so that a further failure has one sender, and one sender is proof. A trust
count is the net below, for pieces that never pass. Row B6.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

PeerKey = Hashable
"""Names a peer across its connections: its address, say."""

TRUST_LOST_BY_FAILURE: Final = 2
TRUST_GAINED_BY_PASS: Final = 1
TRUST_MAX: Final = 8
TRUST_OF_BANNED: Final = -7
PROVEN_BLOCKS: Final = 16  # ours: good blocks after which a peer is no newcomer
MAX_FAILED_PIECES: Final = 256  # ours: the longest unresolved go first
MAX_ATTEMPTS_PER_PIECE: Final = 8
MAX_RECORDS: Final = 2_000  # ours: peers; those of longest ago go first


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a piece's hash; the keys are in the order of their first block."""

    ban: tuple[PeerKey, ...] = ()
    """Proved to have sent bad data."""
    parole: tuple[PeerKey, ...] = ()
    """Give these only whole pieces of their own until :meth:`Suspicion.is_on_parole` ends."""


NOTHING: Final = Verdict()


@dataclass(frozen=True, slots=True)
class _Attempt:
    """Who sent what of a piece that failed."""

    senders: tuple[PeerKey | None, ...]
    digests: tuple[bytes, ...]
    charged: frozenset[PeerKey]
    """Who lost trust by it, and gets it back if the blocks prove right."""

    def blocks(self) -> Iterator[tuple[PeerKey | None, bytes]]:
        """Iterate over the (sender, digest) pairs, in the order of the blocks."""
        return zip(self.senders, self.digests, strict=False)


class Suspicion:
    """Remembers failed pieces and how far each peer is trusted; memory is bounded."""

    def __init__(self) -> None:
        self._failed: OrderedDict[int, list[_Attempt]] = OrderedDict()
        self._trust: OrderedDict[PeerKey, int] = OrderedDict()
        self._parole: OrderedDict[PeerKey, None] = OrderedDict()
        self._proven: OrderedDict[PeerKey, None] = OrderedDict()
        self._good_blocks_of: OrderedDict[PeerKey, int] = OrderedDict()  # of who is not proven
        self._last_good: PeerKey | None = None  # who sent the last good piece, and is proven
        self.good_blocks = 0
        """Of pieces that passed."""
        self.failed_blocks = 0
        """Of pieces that failed."""

    def is_on_parole(self, key: PeerKey) -> bool:
        """Tell whether a peer should be given whole pieces only, and none that others work on."""
        return bool(self._parole) and key in self._parole

    def is_proven(self, key: PeerKey) -> bool:
        """Return whether a peer gave us a whole good piece, or many blocks of good pieces."""
        return key in self._proven

    def has_failed(self, piece: int) -> bool:
        """Tell whether a piece failed and has not passed since: fetch it from one peer only."""
        return piece in self._failed

    def trust(self, key: PeerKey) -> int:
        """Return the trust count of a peer, 0 for one that nothing is known of."""
        return self._trust.get(key, 0)

    def piece_failed(
        self,
        piece: int,
        block_senders: Sequence[PeerKey | None],
        block_digests: Sequence[bytes],
    ) -> Verdict:
        """Judge a piece whose hash is wrong, by the sender and the SHA-1 of each of its blocks.

        A sender of None is unknown (a block from before a restart) and is never judged.
        """
        attempt = self._remember(piece, tuple(block_senders), tuple(block_digests))
        senders = _distinct(attempt.senders)
        self.failed_blocks += len(attempt.senders)
        if len(senders) == 1 and None not in attempt.senders:
            return self._banning(senders)
        proved = self._changed_their_block(piece)
        fallen = [key for key in senders if self.trust(key) <= TRUST_OF_BANNED]
        verdict = self._banning([*proved, *fallen])
        on_parole = [key for key in senders if key not in verdict.ban]
        for key in on_parole:
            self._parole[key] = None
        _shorten(self._parole)
        return replace(verdict, parole=tuple(on_parole))

    def piece_passed(
        self,
        piece: int,
        block_senders: Sequence[PeerKey | None],
        block_digests: Sequence[bytes] | Callable[[], Sequence[bytes]] | None = None,
    ) -> Verdict:
        """Judge the earlier attempts at a piece whose hash is right now.

        ``block_digests``, or what it returns, is looked at only if the piece failed before.
        """
        self._prove(block_senders)
        attempts = self._failed.pop(piece, None)
        if attempts is None and not self._trust and not self._parole:
            return NOTHING
        self._reward(_distinct(block_senders))
        if attempts is None or block_digests is None:
            return NOTHING
        right = block_digests() if callable(block_digests) else block_digests
        return self._compare(attempts, tuple(right))

    def _prove(self, senders: Sequence[PeerKey | None]) -> None:
        """Note who sent the blocks of a good piece."""
        blocks = len(senders)
        self.good_blocks += blocks
        first = senders[0] if blocks else None
        if senders.count(first) == blocks:
            if first is not None and first is not self._last_good and first not in self._proven:
                self._is_proved(first)
            self._last_good = first
            return
        for key in _distinct(senders):
            if key not in self._proven:
                good = self._good_blocks_of.pop(key, 0) + senders.count(key)
                self._good_blocks_of[key] = good
                _shorten(self._good_blocks_of)
                if good >= PROVEN_BLOCKS:
                    self._is_proved(key)

    def _is_proved(self, key: PeerKey) -> None:
        self._good_blocks_of.pop(key, None)
        self._proven[key] = None
        _shorten(self._proven)

    def peer_left(self, key: PeerKey) -> None:
        """Forget a peer that is gone, unless something is held against it."""
        if self._trust.get(key, 0) >= 0 and key not in self._parole:
            self._trust.pop(key, None)

    def _remember(
        self, piece: int, senders: tuple[PeerKey | None, ...], digests: tuple[bytes, ...]
    ) -> _Attempt:
        """Note a failed attempt, and charge those whom no other failure holds on parole already."""
        charged = [key for key in _distinct(senders) if key not in self._parole]
        for key in charged:
            self._change_trust(key, -TRUST_LOST_BY_FAILURE)
        attempt = _Attempt(senders, digests, frozenset(charged))
        attempts = self._failed.setdefault(piece, [])
        attempts.append(attempt)
        del attempts[:-MAX_ATTEMPTS_PER_PIECE]
        self._failed.move_to_end(piece)
        if len(self._failed) > MAX_FAILED_PIECES:
            self._failed.popitem(last=False)
        return attempt

    def _changed_their_block(self, piece: int) -> list[PeerKey]:
        """Return who sent two versions of one block: one of them is a lie."""
        *earlier, last = self._failed[piece]
        return [
            sender
            for attempt in earlier
            for (sender, digest), (again, other) in zip(
                attempt.blocks(), last.blocks(), strict=False
            )
            if sender is not None and sender == again and digest != other
        ]

    def _compare(self, attempts: list[_Attempt], right: tuple[bytes, ...]) -> Verdict:
        """Ban whose blocks differ from the right ones; give the others their trust back."""
        liars = [
            sender
            for attempt in attempts
            for (sender, digest), good in zip(attempt.blocks(), right, strict=False)
            if sender is not None and digest != good
        ]
        for key in (key for attempt in attempts for key in attempt.charged):
            self._change_trust(key, TRUST_LOST_BY_FAILURE)
        for key in {key for attempt in attempts for key in attempt.senders} - self._suspects():
            self._parole.pop(key, None)
        return self._banning(liars)

    def _suspects(self) -> set[PeerKey | None]:
        """Return who took part in a failure that is not resolved."""
        return {
            key for attempts in self._failed.values() for each in attempts for key in each.senders
        }

    def _reward(self, senders: list[PeerKey]) -> None:
        """Trust the senders of a good piece a little more; a piece of one's own ends a parole."""
        for key in senders:
            self._change_trust(key, TRUST_GAINED_BY_PASS)
        if len(senders) == 1:
            self._parole.pop(senders[0], None)

    def _banning(self, keys: Iterable[PeerKey]) -> Verdict:
        """Return the verdict that bans these; their record ends with it."""
        ban = tuple(dict.fromkeys(keys))
        for key in ban:
            self._trust.pop(key, None)
            self._parole.pop(key, None)
            self._proven.pop(key, None)
            self._last_good = None
            self._good_blocks_of.pop(key, None)
        return Verdict(ban=ban) if ban else NOTHING

    def _change_trust(self, key: PeerKey, change: int) -> None:
        trust = min(self._trust.pop(key, 0) + change, TRUST_MAX)
        if trust != 0:
            self._trust[key] = trust
            _shorten(self._trust)


def _distinct(senders: Iterable[PeerKey | None]) -> list[PeerKey]:
    """Return the known senders, each once, in the order of their first block."""
    return [key for key in dict.fromkeys(senders) if key is not None]


def _shorten(records: OrderedDict[PeerKey, Any]) -> None:
    """Drop the oldest record if there are too many."""
    while len(records) > MAX_RECORDS:
        records.popitem(last=False)
