"""One k-bucket: its nodes and its replacement cache.

Source: BEP 5 (good, questionable and bad nodes), BEP 42 (nodes with invalid ids are replaced
first).
"""

from torrent_engine.base.config import DhtConfig
from torrent_engine.protocol.dht.krpc import NodeInfo


class BucketEntry:
    """One node in the table; ``number`` is its id as an integer, ``compact`` 26 or 38 bytes."""

    __slots__ = (
        "answered",
        "compact",
        "failures",
        "info",
        "is_bad",
        "is_valid",
        "number",
        "seen_s",
        "subnet",
        "tried_s",
    )

    def __init__(self, info: NodeInfo, compact: bytes, subnet: bytes | None) -> None:
        self.info = info
        self.number = int.from_bytes(info.id, "big")
        self.compact = compact
        self.subnet = subnet
        """Its /24 or /64, which is likely to be one operator; None: exempt."""
        self.is_valid = False
        """Whether its id fits its address (BEP 42)."""
        self.answered = False
        """Whether it ever responded to us."""
        self.is_bad = False
        self.failures = 0
        self.seen_s = float("-inf")
        """When it last responded, or queried us after an earlier response."""
        self.tried_s = float("-inf")
        """When it was last returned for a ping."""

    @property
    def is_good(self) -> bool:
        """Whether it responded recently."""
        return self.answered and not self.is_bad

    @property
    def rank(self) -> tuple[bool, bool, bool]:
        """The value of the node; the smallest is replaced first."""
        return not self.is_bad, self.answered, self.is_valid


class Bucket:
    """Up to ``bucket_nodes`` nodes, and a cache of up to ``max_replacements`` replacements."""

    __slots__ = ("_config", "changed_s", "nodes", "replacements")

    def __init__(self, config: DhtConfig) -> None:
        self._config = config
        self.nodes: list[BucketEntry] = []
        self.replacements: list[BucketEntry] = []
        """Oldest first."""
        self.changed_s = float("-inf")

    @property
    def has_room(self) -> bool:
        """Whether the bucket is not full."""
        return len(self.nodes) < self._config.bucket_nodes

    def neighbours_of(self, entry: BucketEntry) -> list[BucketEntry]:
        """Return the nodes of the bucket in the same /24 or /64 (row C2)."""
        if entry.subnet is None:
            return []
        return [
            other for other in (*self.nodes, *self.replacements) if entry.subnet == other.subnet
        ]

    def take(self, entry: BucketEntry) -> BucketEntry | None:
        """Insert a node, replace a less valuable one, or add it to the replacement cache.

        Returns the node that is dropped, which may be the new one itself.
        """
        if self.has_room:
            self.nodes.append(entry)
            return None
        least = min(self.nodes, key=self._worth)
        if self._worth(least) >= self._worth(entry):
            return self._add_replacement(entry)
        self.nodes[self.nodes.index(least)] = entry
        return least if least.is_bad else self._add_replacement(least)

    def promote(self) -> None:
        """Fill the bucket from the replacement cache: the best first, of equals the latest."""
        while self.has_room and self.replacements:
            self.nodes.append(self._best_replacement())

    def replace_bad(self, entry: BucketEntry) -> bool:
        """Replace a bad node with a cached one; return whether one was replaced."""
        if entry not in self.nodes or not self.replacements:
            return False
        self.nodes[self.nodes.index(entry)] = self._best_replacement()
        return True

    def remove(self, entry: BucketEntry) -> None:
        """Remove a node and replace it with the best cached one."""
        if entry in self.replacements:
            self.replacements.remove(entry)
            return
        self.nodes.remove(entry)
        self.promote()

    def _best_replacement(self) -> BucketEntry:
        best = max(reversed(self.replacements), key=self._worth)
        self.replacements.remove(best)
        return best

    def _add_replacement(self, entry: BucketEntry) -> BucketEntry | None:
        """Add a node to the replacement cache; return the dropped one, perhaps the new one."""
        self.replacements.append(entry)
        if len(self.replacements) <= self._config.max_replacements:
            return None
        least = min(self.replacements, key=lambda other: (self._worth(other), other is entry))
        if not entry.answered:  # an unverified node replaces no other
            least = entry
        self.replacements.remove(least)
        return least

    def _worth(self, entry: BucketEntry) -> tuple[bool, bool, bool]:
        alive, answered, is_valid = entry.rank
        return alive, answered, is_valid or not self._config.prefer_valid_ids
