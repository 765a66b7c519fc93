"""Owns one k-bucket: which nodes have a place in it, and which wait for one.

Source: BEP 5 (good, questionable and bad nodes), BEP 42 (whose place goes first).
"""

from torrent_engine.base.config import DhtConfig
from torrent_engine.protocol.dht.krpc import NodeInfo


class Entry:
    """What is known of one node. ``number`` is its id as an integer, ``compact`` 26 or 38 bytes."""

    __slots__ = (
        "answered",
        "compact",
        "failures",
        "info",
        "is_bad",
        "is_valid",
        "number",
        "seen_s",
        "site",
        "tried_s",
    )

    def __init__(self, info: NodeInfo, compact: bytes, site: bytes | None) -> None:
        self.info = info
        self.number = int.from_bytes(info.id, "big")
        self.compact = compact
        self.site = site
        """What it shares with neighbours that may be the same operator; None: exempt."""
        self.is_valid = False
        """Whether its id fits its address (BEP 42)."""
        self.answered = False
        """Whether it ever answered a query of ours."""
        self.is_bad = False
        self.failures = 0
        self.seen_s = float("-inf")
        """When it answered us, or asked us after it once had answered."""
        self.tried_s = float("-inf")
        """When it was last handed out to be asked."""

    @property
    def is_good(self) -> bool:
        """Whether it is known to be there."""
        return self.answered and not self.is_bad

    @property
    def rank(self) -> tuple[bool, bool, bool]:
        """What its place is worth; the smallest goes first."""
        return not self.is_bad, self.answered, self.is_valid


class Bucket:
    """At most ``bucket_nodes`` nodes with a place, and ``max_replacements`` that wait."""

    __slots__ = ("_config", "changed_s", "nodes", "waiting")

    def __init__(self, config: DhtConfig) -> None:
        self._config = config
        self.nodes: list[Entry] = []
        self.waiting: list[Entry] = []
        """Oldest first."""
        self.changed_s = float("-inf")

    @property
    def has_room(self) -> bool:
        """Whether a place is free."""
        return len(self.nodes) < self._config.bucket_nodes

    def neighbours_of(self, entry: Entry) -> list[Entry]:
        """Return the nodes from the same /24 or /64 that are here already (row C2)."""
        if entry.site is None:
            return []
        return [other for other in (*self.nodes, *self.waiting) if entry.site == other.site]

    def take(self, entry: Entry) -> Entry | None:
        """Give a node a free place, one that is worth less, or let it wait.

        Returns who is no longer known for that: the node itself where there is no use for it.
        """
        if self.has_room:
            self.nodes.append(entry)
            return None
        least = min(self.nodes, key=self._worth)
        if self._worth(least) >= self._worth(entry):
            return self._wait(entry)
        self.nodes[self.nodes.index(least)] = entry
        return least if least.is_bad else self._wait(least)

    def promote(self) -> None:
        """Give free places to those who wait: the best first, of equals the latest."""
        while self.has_room and self.waiting:
            self.nodes.append(self._best_waiting())

    def replace_bad(self, entry: Entry) -> bool:
        """Give the place of a bad node to one who waits; tell whether somebody did."""
        if entry not in self.nodes or not self.waiting:
            return False
        self.nodes[self.nodes.index(entry)] = self._best_waiting()
        return True

    def remove(self, entry: Entry) -> None:
        """Forget a node of this bucket; its place goes to the next."""
        if entry in self.waiting:
            self.waiting.remove(entry)
            return
        self.nodes.remove(entry)
        self.promote()

    def _best_waiting(self) -> Entry:
        best = max(reversed(self.waiting), key=self._worth)
        self.waiting.remove(best)
        return best

    def _wait(self, entry: Entry) -> Entry | None:
        """Let a node wait; return who leaves: the oldest of those worth least, or the newcomer."""
        self.waiting.append(entry)
        if len(self.waiting) <= self._config.max_replacements:
            return None
        least = min(self.waiting, key=lambda other: (self._worth(other), other is entry))
        if not entry.answered:  # hearsay pushes nobody out
            least = entry
        self.waiting.remove(least)
        return least

    def _worth(self, entry: Entry) -> tuple[bool, bool, bool]:
        alive, answered, is_valid = entry.rank
        return alive, answered, is_valid or not self._config.prefer_valid_ids
