"""Smart ban: finding the sender of the bad block of a piece that failed its hash check.

A failed piece proves only that one of its senders sent bad data. When the piece passes later, every
block of the failed attempts is compared with the correct one: the senders of different blocks are
banned, the others are cleared. Until then the senders are on parole, as in libtorrent: each should
get whole pieces of its own, so that a further failure has a single culprit. For pieces that never
pass there is a trust count. Row B6.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

PeerKey = Hashable
"""Identity of a peer across connections, for example its address."""

TRUST_LOST_BY_FAILURE: Final = 2
TRUST_GAINED_BY_PASS: Final = 1
TRUST_MAX: Final = 8
TRUST_OF_BANNED: Final = -7
PROVEN_BLOCKS: Final = 16  # ours: good blocks after which a peer is proven
MAX_FAILED_PIECES: Final = 256  # ours: the oldest are dropped first
MAX_ATTEMPTS_PER_PIECE: Final = 8
MAX_FAILED_BLOCKS: Final = 256 * 1024  # ours: of all attempts, 70 bytes each; as the pieces
MAX_RECORDS: Final = 2_000  # ours: peers; the oldest are dropped first


@dataclass(frozen=True, slots=True)
class BanVerdict:
    """The peers to ban after a hash check, in the order of their first block."""

    ban: tuple[PeerKey, ...] = ()
    """Proved to have sent bad data."""
    parole: tuple[PeerKey, ...] = ()
    """These should get only whole pieces of their own while :meth:`SmartBan.is_on_parole`."""


NOTHING: Final = BanVerdict()


@dataclass(frozen=True, slots=True)
class _FailedAttempt:
    """The senders and digests of the blocks of a piece that failed."""

    senders: tuple[PeerKey | None, ...]
    digests: tuple[bytes, ...]
    known: tuple[PeerKey, ...]
    """The senders that are known, each once."""
    charged: frozenset[PeerKey]
    """Peers that lost trust by it; restored if their blocks prove correct."""

    def blocks(self) -> Iterator[tuple[PeerKey | None, bytes]]:
        """Iterate over the (sender, digest) pairs, in the order of the blocks."""
        return zip(self.senders, self.digests, strict=False)


class SmartBan:
    """Failed pieces and the trust in each peer; memory is bounded."""

    def __init__(self) -> None:
        self._failed: OrderedDict[int, list[_FailedAttempt]] = OrderedDict()
        self._failed_blocks = 0  # of all attempts in it
        self._suspects: Counter[PeerKey] = Counter()  # in how many of these each sent blocks
        self._trust: OrderedDict[PeerKey, int] = OrderedDict()
        self._parole: OrderedDict[PeerKey, None] = OrderedDict()
        self._proven: OrderedDict[PeerKey, None] = OrderedDict()
        self._good_blocks_of: OrderedDict[PeerKey, int] = OrderedDict()  # of unproven peers
        self._last_good: PeerKey | None = None  # the proven sender of the last good piece
        self.good_blocks = 0
        """Blocks of pieces that passed."""
        self.failed_blocks = 0
        """Blocks of pieces that failed."""

    def is_on_parole(self, key: PeerKey) -> bool:
        """Return whether a peer should get only whole pieces that no other peer works on."""
        return bool(self._parole) and key in self._parole

    def is_proven(self, key: PeerKey) -> bool:
        """Return whether a peer sent a whole good piece, or many blocks of good pieces."""
        return key in self._proven

    def has_failed(self, piece: int) -> bool:
        """Return whether a piece failed and has not passed since: fetch it from one peer only."""
        return piece in self._failed

    def trust(self, key: PeerKey) -> int:
        """Return the trust count of a peer, 0 for an unknown one."""
        return self._trust.get(key, 0)

    def piece_failed(
        self,
        piece: int,
        block_senders: Sequence[PeerKey | None],
        block_digests: Sequence[bytes],
        *,
        is_proof: bool = True,
    ) -> BanVerdict:
        """Judge the senders of a piece that failed its hash check, with the SHA-1 of each block.

        ``is_proof`` is False if others' pieces were checked together with it (BEP 52): then its
        sole sender need not be whose fault it is.

        A sender of None is unknown (a block from before a restart) and is never judged.
        """
        attempt = self._remember(piece, tuple(block_senders), tuple(block_digests))
        senders = attempt.known
        self.failed_blocks += len(attempt.senders)
        if is_proof and len(senders) == 1 and None not in attempt.senders:
            return self._banning(senders)
        proved = self._inconsistent_senders(piece)
        untrusted = [key for key in senders if self.trust(key) <= TRUST_OF_BANNED]
        verdict = self._banning([*proved, *untrusted])
        on_parole = [key for key in senders if key not in verdict.ban]
        for key in on_parole:
            self._parole[key] = None
        _shorten(self._parole)
        return replace(verdict, parole=tuple(on_parole))

    def blocks_failed(self, block_senders: Sequence[PeerKey | None]) -> BanVerdict:
        """Judge the senders of blocks each of which is proved to be wrong (BEP 52)."""
        self.failed_blocks += len(block_senders)
        return self._banning(_distinct(block_senders))

    def piece_passed(
        self,
        piece: int,
        block_senders: Sequence[PeerKey | None],
        block_digests: Sequence[bytes] | Callable[[], Sequence[bytes]] | None = None,
    ) -> BanVerdict:
        """Judge the earlier attempts at a piece that passed its hash check.

        ``block_digests``, or what it returns, is looked at only if the piece failed before.
        """
        self._prove(block_senders)
        attempts = self._forget(piece)
        if attempts is None and not self._trust and not self._parole:
            return NOTHING
        self._reward(_distinct(block_senders))
        if attempts is None or block_digests is None:
            return NOTHING
        right = block_digests() if callable(block_digests) else block_digests
        return self._compare(attempts, tuple(right))

    def _prove(self, senders: Sequence[PeerKey | None]) -> None:
        """Record the senders of the blocks of a good piece."""
        blocks = len(senders)
        self.good_blocks += blocks
        first = senders[0] if blocks else None
        if senders.count(first) == blocks:
            if first is not None and first is not self._last_good and first not in self._proven:
                self._set_proven(first)
            self._last_good = first
            return
        for key, count in Counter(senders).items():
            if key is not None and key not in self._proven:
                good = self._good_blocks_of.pop(key, 0) + count
                self._good_blocks_of[key] = good
                _shorten(self._good_blocks_of)
                if good >= PROVEN_BLOCKS:
                    self._set_proven(key)

    def _set_proven(self, key: PeerKey) -> None:
        self._good_blocks_of.pop(key, None)
        self._proven[key] = None
        _shorten(self._proven)

    def peer_left(self, key: PeerKey) -> None:
        """Remove a peer that disconnected, unless it is under suspicion."""
        if self._trust.get(key, 0) >= 0 and key not in self._parole:
            self._trust.pop(key, None)

    def _remember(
        self, piece: int, senders: tuple[PeerKey | None, ...], digests: tuple[bytes, ...]
    ) -> _FailedAttempt:
        """Record a failed attempt; senders that are not on parole yet lose trust."""
        known = tuple(_distinct(senders))
        charged = [key for key in known if key not in self._parole]
        for key in charged:
            self._change_trust(key, -TRUST_LOST_BY_FAILURE)
        attempt = _FailedAttempt(senders, digests, known, frozenset(charged))
        attempts = self._failed.setdefault(piece, [])
        attempts.append(attempt)
        self._failed_blocks += len(senders)
        self._suspects.update(known)
        if len(attempts) > MAX_ATTEMPTS_PER_PIECE:
            self._settle(attempts.pop(0))
        self._failed.move_to_end(piece)
        self._shorten_failed()
        return attempt

    def _shorten_failed(self) -> None:
        """Drop the oldest pieces if there are too many, or too long ones; never the last."""
        while len(self._failed) > 1 and (
            len(self._failed) > MAX_FAILED_PIECES or self._failed_blocks > MAX_FAILED_BLOCKS
        ):
            self._forget(next(iter(self._failed)))

    def _forget(self, piece: int) -> list[_FailedAttempt] | None:
        """Remove and return the attempts at a piece."""
        attempts = self._failed.pop(piece, None)
        for attempt in attempts or ():
            self._settle(attempt)
        return attempts

    def _settle(self, attempt: _FailedAttempt) -> None:
        """Suspect nobody by an attempt any more."""
        self._failed_blocks -= len(attempt.senders)
        for key in attempt.known:
            self._suspects[key] -= 1
            if not self._suspects[key]:
                del self._suspects[key]

    def _inconsistent_senders(self, piece: int) -> list[PeerKey]:
        """Return the peers that sent two different versions of a block."""
        *earlier, last = self._failed[piece]
        return [
            sender
            for attempt in earlier
            for (sender, digest), (again, other) in zip(
                attempt.blocks(), last.blocks(), strict=False
            )
            if sender is not None and sender == again and digest != other
        ]

    def _compare(self, attempts: list[_FailedAttempt], right: tuple[bytes, ...]) -> BanVerdict:
        """Ban the peers whose blocks differ from the correct ones; restore the others' trust."""
        culprits = [
            sender
            for attempt in attempts
            for (sender, digest), good in zip(attempt.blocks(), right, strict=False)
            if sender is not None and digest != good
        ]
        for key in (key for attempt in attempts for key in attempt.charged):
            self._change_trust(key, TRUST_LOST_BY_FAILURE)
        for key in (key for attempt in attempts for key in attempt.known):
            if key not in self._suspects:
                self._parole.pop(key, None)
        return self._banning(culprits)

    def _reward(self, senders: list[PeerKey]) -> None:
        """Increase the trust in the senders of a good piece; a sole sender's parole ends."""
        for key in senders:
            self._change_trust(key, TRUST_GAINED_BY_PASS)
        if len(senders) == 1:
            self._parole.pop(senders[0], None)

    def _banning(self, keys: Iterable[PeerKey]) -> BanVerdict:
        """Return the verdict that bans these peers, and delete their records."""
        ban = tuple(dict.fromkeys(keys))
        for key in ban:
            self._trust.pop(key, None)
            self._parole.pop(key, None)
            self._proven.pop(key, None)
            self._last_good = None
            self._good_blocks_of.pop(key, None)
        return BanVerdict(ban=ban) if ban else NOTHING

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
