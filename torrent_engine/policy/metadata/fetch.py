"""Fetching metadata from peers of which some send wrong data.

Source: BEP 9; row B2. No I/O: the methods return actions for the caller.

Peers that agree on the length contribute to one shared copy, each piece of which is requested from
one of them. If its SHA-1 is wrong and several peers contributed, the culprit is unknown: from then
on each peer has to send a copy of its own, and a wrong complete copy proves its sender wrong.
Several copies are fetched in parallel, more of them the longer it takes, so that silent peers block
nothing. In the end every piece that any peer sent is compared with the correct metadata.

A long copy is hashed by the caller, in a thread (:class:`HashCheck`).
"""

import random
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from hashlib import sha1, sha256
from typing import Any, Final

from torrent_engine.base.config import MetadataConfig
from torrent_engine.base.ids import InfoHash, InfoHashV2
from torrent_engine.policy.metadata.attempt import PIECE_BYTES, CopyContents, MetadataCopy
from torrent_engine.policy.metadata.blame import Digests, MetadataBlame, digests_of
from torrent_engine.policy.metadata.peers import MetadataPeer

MAX_DOUBLINGS = 8  # ours: by then every peer has requests
PASSES_PER_TICK = 8  # ours: passes over all peers between two ticks, whatever peers send
MAX_OTHER_LENGTHS = 3  # ours: times that a peer may change the length it claims
INLINE_CHECK_BYTES: Final = 256 * 1024  # ours: hashing as much takes less than a millisecond


@dataclass(frozen=True, slots=True)
class RequestPiece:
    """Send a peer a request for one piece."""

    key: Any
    """The caller's key of the peer."""
    piece: int


@dataclass(frozen=True, slots=True)
class BanPeer:
    """Ban a peer that provably sent wrong data; it is already removed here."""

    key: Any
    reason: str


@dataclass(frozen=True, slots=True)
class MetadataComplete:
    """The complete metadata; its hash is the info-hash."""

    info_bytes: bytes


@dataclass(frozen=True, slots=True)
class CheckedMetadata:
    """The metadata of a copy whose hash is right."""

    info_bytes: bytes
    digests: Digests
    """Those of its pieces, to compare with what peers sent."""


@dataclass(frozen=True, slots=True, eq=False)
class HashCheck:
    """Call :meth:`run` in a thread, and :meth:`MetadataFetch.checked` with what it returns.

    It is of the copy as it was when its last piece came.
    """

    info_hash: InfoHash | InfoHashV2
    total_bytes: int
    contents: CopyContents

    def run(self) -> CheckedMetadata | None:
        """Return the metadata, or None if its hash is wrong; takes 0.1 s for 40 MiB."""
        info_bytes = b"".join(data for _, data in self.contents)
        digest = sha256 if isinstance(self.info_hash, InfoHashV2) else sha1
        if digest(info_bytes, usedforsecurity=False).digest() != self.info_hash:
            return None
        return CheckedMetadata(info_bytes, digests_of(info_bytes))

    def sources(self) -> set[Hashable]:
        """Return the peers that sent the pieces."""
        return {source for source, _ in self.contents}


Action = RequestPiece | BanPeer | MetadataComplete | HashCheck


class MetadataFetch:
    """The choice of a peer for each piece, and proof of wrong data; keys identify peers."""

    def __init__(
        self,
        info_hash: InfoHash | InfoHashV2,
        config: MetadataConfig,
        rng: random.Random,
        *,
        inline_check_bytes: int = INLINE_CHECK_BYTES,
    ) -> None:
        """Start without peers; longer copies than ``inline_check_bytes`` are checked elsewhere."""
        self.info_bytes: bytes | None = None
        """The metadata, once it is complete and verified."""
        self._info_hash = info_hash
        self._config = config
        self._rng = rng
        self._inline_check_bytes = inline_check_bytes
        self._peers: dict[Hashable, MetadataPeer] = {}
        self._shared: dict[int, MetadataCopy] = {}
        self._own_copies: dict[Hashable, MetadataCopy] = {}
        self._disputed: set[int] = set()
        """Lengths whose shared copy was wrong."""
        self._sent_pieces = MetadataBlame()
        self._began_s: float | None = None
        """Since when requests have been outstanding without a pause."""
        self._passes_left = PASSES_PER_TICK

    @property
    def held_bytes(self) -> int:
        """Bytes held in all copies, right or wrong."""
        return sum(copy.held_bytes for copy in self._copies())

    @property
    def progress(self) -> tuple[int, int]:
        """Received pieces and piece count of the most complete copy; (0, 0) without a copy.

        It may be a wrong one.
        """
        best = max(self._copies(), key=lambda copy: copy.count / copy.piece_count, default=None)
        return (0, 0) if best is None else (best.count, best.piece_count)

    # -- what happens ---------------------------------------------------------------------------

    def peer_joined(self, key: Hashable, total_bytes: int | None, now: float) -> list[Action]:
        """Add a peer that supports ut_metadata; ``total_bytes`` is the length it claims.

        May be called again when the peer claims another length. An impossible length is ignored.
        """
        total_bytes, peer = self._believable(total_bytes), self._peers.get(key)
        if peer is None:
            self._peers[key] = peer = MetadataPeer(total_bytes, self._rng.random())
            if total_bytes is None:
                peer.paused_until_s = now + self._config.probe_after_s
        elif total_bytes in {None, peer.total_bytes} or peer.other_lengths >= MAX_OTHER_LENGTHS:
            return []  # nothing new
        else:
            self._leave_copy(key, peer)
            peer.other_lengths += peer.total_bytes is not None
            peer.total_bytes, peer.paused_until_s = total_bytes, 0.0
        return self._pass(now, key)

    def peer_left(self, key: Hashable, now: float) -> list[Action]:
        """Remove a peer; the pieces that it sent stay."""
        if (peer := self._peers.get(key)) is None:
            return []
        self._leave_copy(key, peer)
        del self._peers[key]
        return self._pass(now)

    def data_received(
        self, key: Hashable, piece: int, total_bytes: int | None, data: bytes, now: float
    ) -> list[Action]:
        """Handle a piece that a peer sent."""
        if (peer := self._peers.get(key)) is None:
            return []
        if not self._answers(key, peer, piece):
            return self._strike(key, peer, now)
        if self.info_bytes is not None:
            return []
        peer.total_bytes = peer.total_bytes or self._believable(total_bytes)
        if peer.total_bytes is None:
            self._pause(peer, now)
            return []
        if total_bytes not in {None, peer.total_bytes}:
            return [self._blame(key, "sent two different metadata lengths"), *self._ask(now)]
        return self._take(key, self._copy_of(key, peer.total_bytes), piece, data, now)

    def _take(
        self, key: Hashable, copy: MetadataCopy, piece: int, data: bytes, now: float
    ) -> list[Action]:
        if len(data) != copy.length_of(piece):
            return [self._blame(key, "sent a metadata piece of wrong length"), *self._ask(now)]
        self._sent_pieces.note(key, copy.total_bytes, piece, data)
        if self.held_bytes + len(data) > self._config.max_held_bytes:
            return []  # a late answer to a request whose copy is gone
        if copy.add(key, piece, data) and copy.is_whole:
            return self._check(copy, now)
        return self._ask(now, only=key if copy.is_open else None)

    def rejected(self, key: Hashable, piece: int, now: float) -> list[Action]:
        """Handle a "reject": the peer gets no requests for a while."""
        if (peer := self._peers.get(key)) is None:
            return []
        if not self._answers(key, peer, piece):
            return self._strike(key, peer, now)
        self._pause(peer, now)
        return self._pass(now)

    def tick(self, now: float) -> list[Action]:
        """Handle timeouts and return due requests; call it a few times a second."""
        self._passes_left = PASSES_PER_TICK
        for key, peer in self._peers.items():
            for piece in peer.expired(now - self._config.request_timeout_s):
                self._end_request(key, peer, piece)
                if peer.timeouts >= self._config.max_timeouts:
                    self._pause(peer, now)
        return self._ask(now)

    # -- wrong data -----------------------------------------------------------------------------

    def _strike(self, key: Hashable, peer: MetadataPeer, now: float) -> list[Action]:
        peer.strikes += 1
        if peer.strikes <= self._config.max_strikes:
            return []
        return [self._blame(key, "sent unrequested metadata"), *self._ask(now)]

    def _blame(self, key: Hashable, reason: str) -> BanPeer:
        """Remove a peer and all that it sent."""
        peer = self._peers.get(key)
        if peer is not None:
            self._leave_copy(key, peer)
            del self._peers[key]
        for copy in self._shared.values():
            copy.drop(key)
        self._sent_pieces.forget(key)
        return BanPeer(key, reason)

    def _check(self, copy: MetadataCopy, now: float) -> list[Action]:
        """Check the hash of a complete copy, or have it checked."""
        check = HashCheck(self._info_hash, copy.total_bytes, copy.contents())
        if copy.total_bytes <= self._inline_check_bytes:
            return self.checked(check, check.run(), now)
        return [check, *self._ask(now)]

    def checked(
        self, check: HashCheck, metadata: CheckedMetadata | None, now: float
    ) -> list[Action]:
        """Handle what a check has found; peers may have come and gone meanwhile."""
        if self.info_bytes is not None:
            return []
        if metadata is not None:
            return self._finish(metadata)
        return [*self._judge(check), *self._ask(now)]

    def _judge(self, check: HashCheck) -> list[Action]:
        """Blame who alone sent a wrong copy; without one, each peer gives a copy of its own."""
        sources = check.sources()
        if len(sources) == 1:
            known = (key for key in sources if key in self._peers or key in self._sent_pieces)
            return [self._blame(key, "sent wrong metadata") for key in known]
        copy = self._shared.get(check.total_bytes)
        if copy is not None and copy.contents() == check.contents:
            self._dispute(copy, sources)
        return []  # if it has lost pieces meanwhile, who sent them may be the only liar

    def _dispute(self, copy: MetadataCopy, sources: set[Hashable]) -> None:
        del self._shared[copy.total_bytes]
        self._disputed.add(copy.total_bytes)
        parts = copy.parts()
        for key, peer in self._peers.items():
            if peer.total_bytes == copy.total_bytes:
                peer.is_suspect = key in sources
                own_copy = parts.get(key) or MetadataCopy(copy.total_bytes)
                self._own_copies[key] = own_copy
                for piece in peer.asked:
                    own_copy.add_request(piece)

    def _finish(self, metadata: CheckedMetadata) -> list[Action]:
        """Store the metadata and report peers that sent, or claimed, something else."""
        self.info_bytes = info_bytes = metadata.info_bytes
        liars = dict.fromkeys(self._sent_pieces.liars(metadata.digests), "sent wrong metadata")
        for key, peer in self._peers.items():
            if peer.total_bytes not in {None, len(info_bytes)}:
                liars.setdefault(key, f"claimed metadata of {peer.total_bytes} bytes")
        blamed = [self._blame(key, reason) for key, reason in liars.items()]
        self._shared.clear()
        self._own_copies.clear()
        return [*blamed, MetadataComplete(info_bytes)]

    # -- copies ---------------------------------------------------------------------------------

    def _copies(self) -> Iterator[MetadataCopy]:
        yield from self._shared.values()
        yield from self._own_copies.values()

    def _copy_of(self, key: Hashable, total_bytes: int) -> MetadataCopy:
        """Return the copy to which a peer contributes."""
        if total_bytes in self._disputed:
            if key not in self._own_copies:
                self._own_copies[key] = MetadataCopy(total_bytes)
            return self._own_copies[key]
        if total_bytes not in self._shared:
            self._shared[total_bytes] = MetadataCopy(total_bytes)
        return self._shared[total_bytes]

    def _believable(self, total_bytes: int | None) -> int | None:
        is_possible = total_bytes is not None and 0 < total_bytes <= self._config.max_bytes
        return total_bytes if is_possible else None

    def _leave_copy(self, key: Hashable, peer: MetadataPeer) -> None:
        """Drop the requests to a peer, and a copy of its own."""
        for piece in peer.asked:
            self._end_request(key, peer, piece)
        peer.asked.clear()
        self._own_copies.pop(key, None)

    def _answers(self, key: Hashable, peer: MetadataPeer, piece: int) -> bool:
        """Match an answer with a request; return whether there was one."""
        if piece in peer.asked:
            self._end_request(key, peer, piece)
        return peer.answers(piece)

    def _end_request(self, key: Hashable, peer: MetadataPeer, piece: int) -> None:
        if peer.total_bytes is not None and self.info_bytes is None:
            self._copy_of(key, peer.total_bytes).end_request(piece)

    def _votes(self) -> dict[int, int]:
        """Return how many peers agree on each copy of a length."""
        votes: dict[int, int] = {}
        for peer in self._peers.values():
            if (size := peer.total_bytes) is not None:
                votes[size] = 1 if size in self._disputed else votes.get(size, 0) + 1
        return votes

    def _open_copies(self, now: float) -> None:
        """Choose the copies to fetch now: the present ones, then those with most peers."""
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
        """Return whether another piece may be requested; drop the worst copy if that is needed.

        The worst is one without requests, else the one that lacks most bytes per peer. One that is
        complete is being checked.
        """
        outstanding = 1 + sum(len(peer.asked) for peer in self._peers.values())
        if self.held_bytes + outstanding * PIECE_BYTES <= self._config.max_held_bytes:
            return True
        votes = self._votes()
        worst = min(
            (copy for copy in self._copies() if copy.is_partial or copy is wanting),
            key=lambda copy: (copy.is_open, -copy.missing_bytes / votes.get(copy.total_bytes, 0.5)),
        )
        if worst is wanting:
            return False
        for key, peer in self._peers.items():
            if peer.total_bytes is not None and self._copy_of(key, peer.total_bytes) is worst:
                peer.asked.clear()
                self._pause(peer, now)
        worst.clear()
        return True

    # -- requests -------------------------------------------------------------------------------

    def _pause(self, peer: MetadataPeer, now: float) -> None:
        config = self._config
        peer.paused_until_s = now + self._rng.uniform(config.rest_min_s, config.rest_max_s)

    def _has_room(self, peer: MetadataPeer, now: float) -> bool:
        return peer.has_room(self._config.max_requests_per_peer, now)

    def _doubled(self, number: int, now: float) -> int:
        """Return ``number``, doubled periodically while the metadata is incomplete."""
        waited_s = 0.0 if self._began_s is None else now - self._began_s
        return number << min(int(waited_s / self._config.widen_after_s), MAX_DOUBLINGS)

    def _pass(self, now: float, key: Hashable | None = None) -> list[Action]:
        """Request pieces from peers with room; after many calls only from ``key``.

        A full pass takes half a millisecond with 200 peers, and peers can cause any number of them.
        """
        if self._passes_left:
            self._passes_left -= 1
            return self._ask(now)
        peer = self._peers.get(key)
        if peer is None or peer.total_bytes is None or peer.total_bytes in self._disputed:
            return []
        copy = self._shared.get(peer.total_bytes)
        return [] if copy is None or not copy.is_open else self._ask(now, only=key)

    def _ask(self, now: float, *, only: Hashable | None = None) -> list[Action]:
        """Request missing pieces from peers with room, or from one peer only."""
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
        for _ in range(self._config.max_requests_per_peer):  # one request each before a second one
            for key, peer in peers:
                piece = self._wanted_of(key, peer, now)
                if piece is not None:
                    peer.ask(piece, now)
                    actions.append(RequestPiece(key, piece))
        return actions

    def _wanted_of(self, key: Hashable, peer: MetadataPeer, now: float) -> int | None:
        """Return the piece to request from a peer now, and record the request."""
        if not self._has_room(peer, now):
            return None
        if peer.total_bytes is None:
            return None if peer.asked else 0  # the answer has the length, or is a reject
        copy = self._copy_of(key, peer.total_bytes)
        if not copy.is_open:
            return None
        duplicates = self._doubled(self._config.first_duplicates, now)
        piece = copy.next_piece(peer.asked, peer.unanswered, duplicates)
        if piece is None or not self._make_room(copy, now):
            return None
        copy.add_request(piece)
        return piece
