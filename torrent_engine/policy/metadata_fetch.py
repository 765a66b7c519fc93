"""Owns how the metadata is put together from peers of whom some lie.

Source: BEP 9; row B2. No I/O: the methods return what is to be done.

Peers that agree on the length share one copy, and each piece of it is asked of one of them. If its
SHA-1 is wrong and more than one had a part in it, nobody knows who lied: from then on each peer has
to give a copy of its own, and whoever gives a whole one that is wrong has lied. Copies are fetched
beside each other, more of them the longer it takes, so that silent peers hold up nothing. When the
metadata is there, everything that anybody gave is compared with it.
"""

import random
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from hashlib import sha1
from typing import Any

from torrent_engine.base.config import MetadataConfig
from torrent_engine.base.ids import InfoHash
from torrent_engine.policy.metadata_blame import MetadataBlame
from torrent_engine.policy.metadata_copy import PIECE_BYTES, MetadataCopy
from torrent_engine.policy.metadata_peer import MetadataPeer

MAX_DOUBLINGS = 8  # ours: then every peer is asked anyway
LOOKS_PER_TICK = 8  # ours: at all peers between two ticks, whoever comes, goes or says something
MAX_OTHER_LENGTHS = 3  # ours: how often a peer may say that the metadata is of another length


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask a peer for one piece."""

    key: Any
    """What the caller named the peer by."""
    piece: int


@dataclass(frozen=True, slots=True)
class Blame:
    """A peer is proved to have lied; it is forgotten here."""

    key: Any
    reason: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """The metadata is there; its SHA-1 is the info-hash."""

    info_bytes: bytes


Action = Ask | Blame | Arrived


class MetadataFetch:
    """Decides which peer is asked for which piece, and who lied; the keys name the peers."""

    def __init__(self, info_hash: InfoHash, config: MetadataConfig, rng: random.Random) -> None:
        self.info_bytes: bytes | None = None
        """The metadata, once it is there."""
        self._info_hash = info_hash
        self._config = config
        self._rng = rng
        self._peers: dict[Hashable, MetadataPeer] = {}
        self._shared: dict[int, MetadataCopy] = {}
        self._solos: dict[Hashable, MetadataCopy] = {}
        self._disputed: set[int] = set()
        """Lengths of which a shared copy was wrong."""
        self._given = MetadataBlame()
        self._began_s: float | None = None
        """Since when somebody has been asked without a pause."""
        self._looks_left = LOOKS_PER_TICK

    @property
    def held_bytes(self) -> int:
        """How much of the metadata is held, right or wrong."""
        return sum(copy.held_bytes for copy in self._copies())

    @property
    def progress(self) -> tuple[int, int]:
        """Pieces of the copy that is nearest to its end, and how many it will have; (0, 0): none.

        It may be a wrong one.
        """
        best = max(self._copies(), key=lambda copy: copy.count / copy.piece_count, default=None)
        return (0, 0) if best is None else (best.count, best.piece_count)

    # -- what happens ---------------------------------------------------------------------------

    def peer_joined(self, key: Hashable, total_bytes: int | None, now: float) -> list[Action]:
        """Hear that a peer speaks ut_metadata, and how long it says that the metadata is.

        May come again when the peer knows more. A length that cannot be is as good as none.
        """
        total_bytes, peer = self._believable(total_bytes), self._peers.get(key)
        if peer is None:
            self._peers[key] = peer = MetadataPeer(total_bytes, self._rng.random())
            if total_bytes is None:
                peer.rest_until_s = now + self._config.probe_after_s
        elif total_bytes in {None, peer.total_bytes} or peer.other_lengths >= MAX_OTHER_LENGTHS:
            return []  # it says nothing new
        else:
            self._leave_copy(key, peer)
            peer.other_lengths += peer.total_bytes is not None
            peer.total_bytes, peer.rest_until_s = total_bytes, 0.0
        return self._look(now, key)

    def peer_left(self, key: Hashable, now: float) -> list[Action]:
        """Forget a peer, but not what it gave."""
        if (peer := self._peers.get(key)) is None:
            return []
        self._leave_copy(key, peer)
        del self._peers[key]
        return self._look(now)

    def data_received(
        self, key: Hashable, piece: int, total_bytes: int | None, data: bytes, now: float
    ) -> list[Action]:
        """Take a piece that a peer gave."""
        if (peer := self._peers.get(key)) is None:
            return []
        if not self._answers(key, peer, piece):
            return self._strike(key, peer, now)
        if self.info_bytes is not None:
            return []
        peer.total_bytes = peer.total_bytes or self._believable(total_bytes)
        if peer.total_bytes is None:
            self._rest(peer, now)
            return []
        if total_bytes not in {None, peer.total_bytes}:
            return [self._blame(key, "named two lengths of the metadata"), *self._ask(now)]
        return self._take(key, self._copy_of(key, peer.total_bytes), piece, data, now)

    def _take(
        self, key: Hashable, copy: MetadataCopy, piece: int, data: bytes, now: float
    ) -> list[Action]:
        if len(data) != copy.length_of(piece):
            return [self._blame(key, "sent a metadata piece of wrong length"), *self._ask(now)]
        self._given.note(key, copy.total_bytes, piece, data)
        if self.held_bytes + len(data) > self._config.max_held_bytes:
            return []  # a late answer, for which there is no room any more
        if copy.add(key, piece, data) and copy.is_whole:
            return [*self._judge(copy), *self._ask(now)]
        return self._ask(now, only=key if copy.is_open else None)

    def rejected(self, key: Hashable, piece: int, now: float) -> list[Action]:
        """Hear that a peer does not give a piece: it has a rest."""
        if (peer := self._peers.get(key)) is None:
            return []
        if not self._answers(key, peer, piece):
            return self._strike(key, peer, now)
        self._rest(peer, now)
        return self._look(now)

    def tick(self, now: float) -> list[Action]:
        """Do what is due; to be called a few times a second."""
        self._looks_left = LOOKS_PER_TICK
        for key, peer in self._peers.items():
            for piece in peer.expired(now - self._config.request_timeout_s):
                self._give_up(key, peer, piece)
                if peer.timeouts >= self._config.max_timeouts:
                    self._rest(peer, now)
        return self._ask(now)

    # -- who lied -------------------------------------------------------------------------------

    def _strike(self, key: Hashable, peer: MetadataPeer, now: float) -> list[Action]:
        peer.strikes += 1
        if peer.strikes <= self._config.max_strikes:
            return []
        return [self._blame(key, "sent metadata that was not asked for"), *self._ask(now)]

    def _blame(self, key: Hashable, reason: str) -> Blame:
        """Forget a peer and all that it gave."""
        peer = self._peers.get(key)
        if peer is not None:
            self._leave_copy(key, peer)
            del self._peers[key]
        for copy in self._shared.values():
            copy.drop(key)
        self._given.forget(key)
        return Blame(key, reason)

    def _judge(self, copy: MetadataCopy) -> list[Action]:
        """Look at a copy that is whole."""
        info_bytes, sources = copy.joined(), copy.sources()
        if sha1(info_bytes, usedforsecurity=False).digest() == self._info_hash:
            return self._finish(info_bytes)
        if len(sources) == 1:
            return [self._blame(key, "sent wrong metadata") for key in sources]
        del self._shared[copy.total_bytes]
        self._disputed.add(copy.total_bytes)
        for key, peer in self._peers.items():
            if peer.total_bytes == copy.total_bytes:
                peer.is_suspect = key in sources
                self._solos[key] = solo = copy.part_of(key)
                for piece in peer.asked:
                    solo.ask(piece)
        return []

    def _finish(self, info_bytes: bytes) -> list[Action]:
        """Keep the metadata, and tell who gave, or promised, something else."""
        self.info_bytes = info_bytes
        liars = dict.fromkeys(self._given.liars(info_bytes), "sent wrong metadata")
        for key, peer in self._peers.items():
            if peer.total_bytes not in {None, len(info_bytes)}:
                liars.setdefault(key, f"said that the metadata has {peer.total_bytes} bytes")
        blamed = [self._blame(key, reason) for key, reason in liars.items()]
        self._shared.clear()
        self._solos.clear()
        return [*blamed, Arrived(info_bytes)]

    # -- copies ---------------------------------------------------------------------------------

    def _copies(self) -> Iterator[MetadataCopy]:
        yield from self._shared.values()
        yield from self._solos.values()

    def _copy_of(self, key: Hashable, total_bytes: int) -> MetadataCopy:
        """Return the copy that a peer works for."""
        if total_bytes in self._disputed:
            if key not in self._solos:
                self._solos[key] = MetadataCopy(total_bytes)
            return self._solos[key]
        if total_bytes not in self._shared:
            self._shared[total_bytes] = MetadataCopy(total_bytes)
        return self._shared[total_bytes]

    def _believable(self, total_bytes: int | None) -> int | None:
        is_possible = total_bytes is not None and 0 < total_bytes <= self._config.max_bytes
        return total_bytes if is_possible else None

    def _leave_copy(self, key: Hashable, peer: MetadataPeer) -> None:
        """Wait for nothing of a peer any more; a copy of its own goes."""
        for piece in peer.asked:
            self._give_up(key, peer, piece)
        peer.asked.clear()
        self._solos.pop(key, None)

    def _answers(self, key: Hashable, peer: MetadataPeer, piece: int) -> bool:
        """Take an answer of a peer; return whether it was asked."""
        if piece in peer.asked:
            self._give_up(key, peer, piece)
        return peer.answers(piece)

    def _give_up(self, key: Hashable, peer: MetadataPeer, piece: int) -> None:
        if peer.total_bytes is not None and self.info_bytes is None:
            self._copy_of(key, peer.total_bytes).give_up(piece)

    def _votes(self) -> Counter[int]:
        """Return how many peers agree on each copy of a length."""
        sizes = (peer.total_bytes for peer in self._peers.values())
        votes = Counter(size for size in sizes if size is not None)
        votes.update({size: 1 - votes[size] for size in self._disputed & votes.keys()})
        return votes

    def _open_copies(self, now: float) -> None:
        """Choose the copies that are fetched now: those that were, then those of most peers."""
        votes = self._votes()
        self._disputed &= votes.keys()
        self._shared = {
            n: copy for n, copy in self._shared.items() if copy.held_bytes or n in votes
        }
        ranks: dict[MetadataCopy, tuple[bool, int, bool, float]] = {}
        for key, peer in self._peers.items():
            if peer.total_bytes is None or not (peer.asked or self._has_room(peer, now)):
                continue
            copy = self._copy_of(key, peer.total_bytes)
            rank = not copy.is_open, -votes[peer.total_bytes], peer.is_suspect, peer.order
            ranks[copy] = min(ranks.get(copy, rank), rank)
        count = self._doubled(self._config.first_copies, now)
        chosen = set(sorted(ranks, key=ranks.__getitem__)[:count])
        for copy in self._copies():
            copy.is_open = copy in chosen

    def _make_room(self, wanting: MetadataCopy, now: float) -> bool:
        """Return whether one more piece may be asked for, at the cost of the worst copy if needed.

        That is one which nobody works on, or else that lacks most for each peer that agrees on it.
        """
        outstanding = 1 + sum(len(peer.asked) for peer in self._peers.values())
        if self.held_bytes + outstanding * PIECE_BYTES <= self._config.max_held_bytes:
            return True
        votes = self._votes()
        worst = min(
            (copy for copy in self._copies() if copy.held_bytes or copy is wanting),
            key=lambda copy: (copy.is_open, -copy.missing_bytes / (votes[copy.total_bytes] or 0.5)),
        )
        if worst is wanting:
            return False
        for key, peer in self._peers.items():
            if peer.total_bytes is not None and self._copy_of(key, peer.total_bytes) is worst:
                peer.asked.clear()
                self._rest(peer, now)
        worst.clear()
        return True

    # -- whom to ask ----------------------------------------------------------------------------

    def _rest(self, peer: MetadataPeer, now: float) -> None:
        config = self._config
        peer.rest_until_s = now + self._rng.uniform(config.rest_min_s, config.rest_max_s)

    def _has_room(self, peer: MetadataPeer, now: float) -> bool:
        return peer.has_room(self._config.max_requests_per_peer, now)

    def _doubled(self, number: int, now: float) -> int:
        """Return a number that doubles again and again while the metadata does not come."""
        waited_s = 0.0 if self._began_s is None else now - self._began_s
        return number << min(int(waited_s / self._config.widen_after_s), MAX_DOUBLINGS)

    def _look(self, now: float, key: Hashable | None = None) -> list[Action]:
        """Ask whoever has room; after many such looks only ``key``, and the others with the tick.

        A look takes half a millisecond with 200 peers, and they can bring about any number of them.
        """
        if self._looks_left:
            self._looks_left -= 1
            return self._ask(now)
        peer = self._peers.get(key)
        if peer is None or peer.total_bytes is None or peer.total_bytes in self._disputed:
            return []
        copy = self._shared.get(peer.total_bytes)
        return [] if copy is None or not copy.is_open else self._ask(now, only=key)

    def _ask(self, now: float, *, only: Hashable | None = None) -> list[Action]:
        """Ask whoever has room, or only one peer, for what is needed of it."""
        if self.info_bytes is not None:
            return []
        if not any(peer.asked for peer in self._peers.values()):
            self._began_s = now
        if only is None:
            self._open_copies(now)
            peers = sorted(self._peers.items(), key=lambda item: (item[1].timeouts, item[1].order))
        else:
            peers = [(only, self._peers[only])]
        actions: list[Action] = []
        for _ in range(self._config.max_requests_per_peer):  # each peer's first before any second
            for key, peer in peers:
                piece = self._wanted_of(key, peer, now)
                if piece is not None:
                    peer.ask(piece, now)
                    actions.append(Ask(key, piece))
        return actions

    def _wanted_of(self, key: Hashable, peer: MetadataPeer, now: float) -> int | None:
        """Return what to ask a peer for now, and note that it is asked for."""
        if not self._has_room(peer, now):
            return None
        if peer.total_bytes is None:
            return None if peer.asked else 0  # its answer tells the length, or that it has none
        copy = self._copy_of(key, peer.total_bytes)
        if not copy.is_open:
            return None
        duplicates = self._doubled(self._config.first_duplicates, now)
        piece = copy.next_piece(peer.asked, peer.owed, duplicates)
        if piece is None or not self._make_room(copy, now):
            return None
        copy.ask(piece)
        return piece
