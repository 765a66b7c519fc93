"""Fetching the hashes of pieces from peers of which some send wrong ones.

Source: BEP 52 ("hash request"). No I/O: the methods return actions for the caller.

A layer of up to 512 hashes is asked for whole, and its root proves it; a longer one comes in
ranges of 512, each with the uncles that prove it. So whoever sends wrong hashes is known at once.
A peer that rejects requests for uncles is asked for all ranges without them, which the root proves
together; of one file one peer at a time.
"""

import random
from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, Final

from torrent_engine.base.config import MetadataConfig
from torrent_engine.codec._v2_part import V2Part
from torrent_engine.codec.hash_trees import MAX_ASKED, HashRange
from torrent_engine.codec.merkle import HASH_BYTES, is_proven, levels_above, piece_levels
from torrent_engine.policy.metadata.fetch import BanPeer
from torrent_engine.policy.metadata.unproven_layer import UnprovenLayer

MAX_REQUESTS: Final = 4  # ours: unanswered at once; answers to more would wait in a queue anyway
MAX_REFUSED: Final = 256  # ours: files of which a peer may have no hashes before it is paused
REJECTED_S: Final = 60.0  # ours: before a peer is asked again for hashes that it rejected, at least
MAX_LOOKED_AT: Final = 64  # ours: ranges that one peer does not have, before the next peer's turn


@dataclass(frozen=True, slots=True)
class RequestHashes:
    """Ask a peer for some hashes."""

    key: Any
    """The caller's key of the peer."""
    wanted: HashRange


@dataclass(frozen=True, slots=True)
class LayersComplete:
    """The layers that were missing, by the root of their file, each proved by it."""

    layers: dict[bytes, bytes]


LayerAction = RequestHashes | BanPeer | LayersComplete


@dataclass(slots=True)
class _Layer:
    hashes: bytearray
    levels: int
    """Above the hashes of the pieces."""
    ranges_left: int


@dataclass(slots=True)
class _Asked:
    """What a peer was asked for, and where it is not asked again for a while."""

    unanswered: dict[HashRange, float | None] = field(default_factory=dict)
    """Since when; None: somebody else may be asked, but an answer is still used."""
    refused: dict[bytes, float] = field(default_factory=dict)
    """Roots of files, and until when the peer is not asked for hashes of theirs."""
    paused_until_s: float = 0.0
    unproven: dict[bytes, UnprovenLayer] = field(default_factory=dict)
    """By the roots of files: what the peer sends without proofs."""


class LayerFetch:
    """The choice of a peer for each range of hashes, and their proof; keys identify peers."""

    def __init__(self, part: V2Part, config: MetadataConfig, rng: random.Random) -> None:
        self._config = config
        self._rng = rng
        self._base = piece_levels(part.piece_bytes)
        files = {root: index for index in part.missing_layers() if (root := part.root(index))}
        self._layers = {
            root: _new_layer(-(-part.lengths[index] // part.piece_bytes))
            for root, index in files.items()
        }
        self._left = self._count = sum(layer.ranges_left for layer in self._layers.values())
        self._fresh = chain.from_iterable(map(self._ranges, self._layers))
        """What was not asked for yet."""
        self._again: deque[HashRange] = deque()
        """What was asked for in vain."""
        self._open: dict[HashRange, int] = {}
        """What was asked for and is not here yet, and how many peers have time to answer."""
        self._peers: dict[Hashable, _Asked] = {}
        self._without_proof: set[bytes] = set()
        """The roots of files whose hashes a peer sends without proofs."""

    @property
    def progress(self) -> tuple[int, int]:
        """How many ranges of hashes are here, and of how many."""
        return self._count - self._left, self._count

    def found(self) -> dict[bytes, bytes]:
        """Return the layers that are here, by the root of their file."""
        return {
            root: bytes(layer.hashes)
            for root, layer in self._layers.items()
            if not layer.ranges_left
        }

    def _ranges(self, root: bytes) -> Iterator[HashRange]:
        layer = self._layers[root]
        if 1 << layer.levels <= MAX_ASKED:
            yield HashRange(root, self._base, 0, 1 << layer.levels, 0)
            return
        for start in range(0, len(layer.hashes) // HASH_BYTES, MAX_ASKED):
            yield HashRange(root, self._base, start, MAX_ASKED, layer.levels - 1)

    # -- what happens ---------------------------------------------------------------------------

    def peer_joined(self, key: Hashable, now: float) -> list[LayerAction]:
        """Add a peer that has pieces."""
        self._peers.setdefault(key, _Asked())
        return self._ask(key, now)

    def peer_left(self, key: Hashable) -> None:
        """Remove a peer; others are asked at the next tick for what it owed."""
        peer = self._peers.pop(key, None)
        self._without_proof.difference_update(peer.unproven if peer else ())
        for wanted, since_s in peer.unanswered.items() if peer else ():
            if since_s is not None:
                self._asked_in_vain(wanted)

    def hashes_received(
        self, key: Hashable, wanted: HashRange, hashes: bytes, now: float
    ) -> list[LayerAction]:
        """Take hashes that a peer was asked for."""
        if not self._answered(key, wanted):
            return []
        if wanted in self._open:
            if not self._is_right(wanted, hashes):
                self.peer_left(key)
                return [BanPeer(key, "sent wrong hashes of pieces")]
            self._take(wanted, hashes)
            if not self._left:
                return [LayersComplete(self.found())]
        elif not wanted.proof_layers and wanted.root in self._peers[key].unproven:
            return self._take_unproven(key, wanted, hashes, now)
        return self._ask(key, now)

    def rejected(self, key: Hashable, wanted: HashRange, now: float) -> list[LayerAction]:
        """Ask somebody else; the peer is not asked for hashes of this file for a while.

        If it was to prove them it is asked for them without proofs first.
        """
        if not self._answered(key, wanted):
            return []
        peer = self._peers[key]
        if not wanted.proof_layers or not self._goes_on_without_proof(peer, wanted.root, now):
            self._refused(peer, wanted.root, now)
        return self._ask(key, now)

    def _refused(self, peer: _Asked, root: bytes, now: float) -> None:
        rest_s = max(
            self._rng.uniform(self._config.rest_min_s, self._config.rest_max_s), REJECTED_S
        )
        if peer.unproven.pop(root, None) is not None:
            self._without_proof.remove(root)
        peer.refused[root] = now + rest_s
        if len(peer.refused) > MAX_REFUSED:
            peer.refused.clear()
            peer.paused_until_s = now + rest_s

    def tick(self, now: float) -> list[LayerAction]:
        """Handle timeouts and return due requests; call it a few times a second."""
        timeout_s = self._config.request_timeout_s
        for peer in self._peers.values():
            for wanted, since_s in peer.unanswered.items():
                if since_s is not None and now - since_s >= timeout_s:
                    peer.unanswered[wanted] = None
                    self._asked_in_vain(wanted)
                    if not wanted.proof_layers and wanted.root in peer.unproven:
                        self._refused(peer, wanted.root, now)
        keys = sorted(self._peers, key=lambda key: len(self._peers[key].unanswered))
        return [action for key in keys for action in self._ask(key, now)]

    # -- answers --------------------------------------------------------------------------------

    def _answered(self, key: Hashable, wanted: HashRange) -> bool:
        """Match an answer with a request; return whether there was one."""
        peer = self._peers.get(key)
        if peer is None or wanted not in peer.unanswered:
            return False
        if peer.unanswered.pop(wanted) is not None:
            self._asked_in_vain(wanted)  # unless the answer is right
        return True

    def _asked_in_vain(self, wanted: HashRange) -> None:
        if wanted in self._open:
            self._open[wanted] -= 1
            if not self._open[wanted]:
                self._again.append(wanted)

    def _is_right(self, wanted: HashRange, data: bytes) -> bool:
        size = wanted.length * HASH_BYTES
        return is_proven(
            data[:size],
            data[size:],
            index=wanted.start,
            levels=self._layers[wanted.root].levels,
            root=wanted.root,
        )

    def _take(self, wanted: HashRange, data: bytes) -> None:
        del self._open[wanted]
        layer = self._layers[wanted.root]
        start = wanted.start * HASH_BYTES
        stop = min(start + wanted.length * HASH_BYTES, len(layer.hashes))
        layer.hashes[start:stop] = data[: stop - start]
        layer.ranges_left -= 1
        self._left -= 1
        if not layer.ranges_left:
            self._end_unproven(wanted.root)

    # -- hashes without proofs ------------------------------------------------------------------

    def _goes_on_without_proof(self, peer: _Asked, root: bytes, now: float) -> bool:
        """Return whether a peer that gives no proofs is asked for the hashes of a file alone."""
        if root in peer.unproven:
            return True
        is_late = any(each.root == root and not each.proof_layers for each in peer.unanswered)
        is_refused = is_late or now < peer.refused.get(root, 0.0)
        layer = self._layers[root]
        if is_refused or root in self._without_proof or not layer.ranges_left:
            return False
        peer.unproven[root] = UnprovenLayer(root, len(layer.hashes) // HASH_BYTES, self._base)
        self._without_proof.add(root)
        return True

    def _take_unproven(
        self, key: Hashable, wanted: HashRange, data: bytes, now: float
    ) -> list[LayerAction]:
        """Take some hashes without a proof; the last ones prove all, or that the peer lies."""
        unproven, hashes = self._peers[key].unproven[wanted.root], None
        is_right = unproven.take(wanted.start, data)
        if is_right and unproven.is_complete:
            hashes = unproven.proven()
            is_right = hashes is not None
        if not is_right:
            self.peer_left(key)
            return [BanPeer(key, "sent wrong hashes of pieces")]
        if hashes is not None:
            self._take_layer(wanted.root, hashes)
            if not self._left:
                return [LayersComplete(self.found())]
        return self._ask(key, now)

    def _take_layer(self, root: bytes, hashes: bytes) -> None:
        for wanted in self._ranges(root):
            self._open.pop(wanted, None)
        layer = self._layers[root]
        layer.hashes[:] = hashes
        self._left -= layer.ranges_left
        layer.ranges_left = 0
        self._end_unproven(root)

    def _end_unproven(self, root: bytes) -> None:
        """Ask for nothing without proof of a file whose hashes are all here."""
        if root in self._without_proof:
            self._without_proof.remove(root)
            for peer in self._peers.values():
                peer.unproven.pop(root, None)

    # -- requests -------------------------------------------------------------------------------

    def _ask(self, key: Hashable, now: float) -> list[LayerAction]:
        """Fill the requests of one peer."""
        peer = self._peers[key]
        actions: list[LayerAction] = []
        while len(peer.unanswered) < MAX_REQUESTS and now >= peer.paused_until_s:
            wanted = _next_unproven(peer)
            if wanted is None:
                wanted = self._next_for(peer, now)
                if wanted is None:
                    break
                self._open[wanted] = self._open.get(wanted, 0) + 1
            peer.unanswered[wanted] = now
            actions.append(RequestHashes(key, wanted))
        return actions

    def _next_for(self, peer: _Asked, now: float) -> HashRange | None:
        """Return what to ask a peer for; what it refused waits for others."""
        chosen: HashRange | None = None
        others: list[HashRange] = []
        for wanted in islice(self._waiting(), MAX_LOOKED_AT):
            is_refused = now < peer.refused.get(wanted.root, 0.0) or wanted.root in peer.unproven
            if not is_refused and wanted not in peer.unanswered:
                chosen = wanted
                break
            others.append(wanted)
        self._again.extend(others)
        return chosen

    def _waiting(self) -> Iterator[HashRange]:
        """Take what waits to be asked for, what was asked for in vain first."""
        for _ in range(len(self._again)):
            wanted = self._again.popleft()
            if self._open.get(wanted) == 0:
                yield wanted
        for wanted in self._fresh:
            if self._layers[wanted.root].ranges_left:
                self._open[wanted] = 0
                yield wanted


def _next_unproven(peer: _Asked) -> HashRange | None:
    """Return what to ask a peer for without a proof; one file after the other."""
    return next(filter(None, (each.next_range() for each in peer.unproven.values())), None)


def _new_layer(count: int) -> _Layer:
    levels = levels_above(count)
    ranges = 1 if 1 << levels <= MAX_ASKED else -(-count // MAX_ASKED)
    return _Layer(bytearray(count * HASH_BYTES), levels, ranges)
