"""Fetching the hashes of pieces from peers of which some send wrong ones.

Source: BEP 52 ("hash request"). No I/O: the methods return actions for the caller.

A layer of up to 512 hashes is asked for whole, and its root proves it; a longer one comes in
ranges of 512, each with the uncles that prove it. So whoever sends wrong hashes is known at once.
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

MAX_REQUESTS: Final = 4  # ours: unanswered at once; answers to more would wait in a queue anyway
MAX_REFUSED: Final = 256  # ours: files of which a peer may have no hashes before it is paused
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
        return self._ask(key, now)

    def rejected(self, key: Hashable, wanted: HashRange, now: float) -> list[LayerAction]:
        """Ask somebody else; the peer is not asked for hashes of this file for a while."""
        if not self._answered(key, wanted):
            return []
        peer = self._peers[key]
        rest_s = self._rng.uniform(self._config.rest_min_s, self._config.rest_max_s)
        peer.refused[wanted.root] = now + rest_s
        if len(peer.refused) > MAX_REFUSED:
            peer.refused.clear()
            peer.paused_until_s = now + rest_s
        return self._ask(key, now)

    def tick(self, now: float) -> list[LayerAction]:
        """Handle timeouts and return due requests; call it a few times a second."""
        timeout_s = self._config.request_timeout_s
        for peer in self._peers.values():
            for wanted, since_s in peer.unanswered.items():
                if since_s is not None and now - since_s >= timeout_s:
                    peer.unanswered[wanted] = None
                    self._asked_in_vain(wanted)
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

    # -- requests -------------------------------------------------------------------------------

    def _ask(self, key: Hashable, now: float) -> list[LayerAction]:
        """Fill the requests of one peer."""
        peer = self._peers[key]
        actions: list[LayerAction] = []
        while len(peer.unanswered) < MAX_REQUESTS and now >= peer.paused_until_s:
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
            is_refused = now < peer.refused.get(wanted.root, 0.0)
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
            self._open[wanted] = 0
            yield wanted


def _new_layer(count: int) -> _Layer:
    levels = levels_above(count)
    ranges = 1 if 1 << levels <= MAX_ASKED else -(-count // MAX_ASKED)
    return _Layer(bytearray(count * HASH_BYTES), levels, ranges)
