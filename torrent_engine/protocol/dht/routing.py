"""The routing table: k-buckets, finer towards our own id.

Only nodes that responded are returned to others; unverified ones can be queried. Source: BEP 5;
BEP 42 (valid ids are preferred); row C2 (one node for each address).
"""

import random
from collections.abc import Iterator
from typing import Final

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import NodeId
from torrent_engine.base.operators import operator_of
from torrent_engine.protocol.dht.bucket import Bucket, BucketEntry
from torrent_engine.protocol.dht.hosts import IPV4_BYTES, is_local, packed_host, subnet_of
from torrent_engine.protocol.dht.krpc import (
    IPV4_NODE_BYTES,
    IPV6_NODE_BYTES,
    NodeInfo,
    compact_address,
)
from torrent_engine.protocol.dht.security import is_valid_node_id

ID_BITS: Final = 160
_UNSPECIFIED_OR_MULTICAST: Final = (0, *range(224, 256))  # first bytes of IPv4 addresses


class RoutingTable:
    """The nodes of one address family; ``now`` must not run backwards."""

    def __init__(
        self, own_id: NodeId, config: DhtConfig, rng: random.Random, *, is_ipv6: bool
    ) -> None:
        self._config = config
        self._rng = rng
        self.is_ipv6 = is_ipv6
        self._pinged_known = True
        """Whether the last node returned for a ping had responded before."""
        self._compact_bytes = IPV6_NODE_BYTES if is_ipv6 else IPV4_NODE_BYTES
        self._clear(own_id)

    @property
    def own_id(self) -> NodeId:
        """The id around which the table is built."""
        return self._own_id

    def __len__(self) -> int:
        """Return the number of verified nodes in buckets."""
        return sum(entry.is_good for entry in self._in_buckets())

    def __contains__(self, node: NodeInfo) -> bool:
        """Return whether a node is in a bucket or replacement cache, with this address."""
        return self._known(node) is not None

    def insert(self, node: NodeInfo, now: float) -> bool:
        """Add an unverified node; return whether it is in the table now.

        It never replaces a responsive node.
        """
        return node in self or self._add(node, now, answered=False)

    def queried(self, node: NodeInfo, now: float) -> bool:
        """Record a query from a node, which makes it good if it ever responded (BEP 5)."""
        known = self._known(node)
        if known is None:
            return self._add(node, now, answered=False)
        if known.answered:
            known.seen_s = now
        return True

    def seen(self, node: NodeInfo, now: float) -> bool:
        """Record a response of a node; return whether it is in the table now."""
        known = self._known(node)
        if known is None:
            return self._add(node, now, answered=True)
        known.failures, known.is_bad, known.answered, known.seen_s = 0, False, True, now
        bucket = self._bucket_of(known.number)
        bucket.changed_s = now
        if known not in bucket.replacements:
            return True
        bucket.replacements.remove(known)  # its rank may be higher now
        self._forget(known)
        return self._insert_entry(known)

    def failed(self, node: NodeInfo, now: float) -> None:
        """Record a missing response; a node that never responded is removed.

        Its address may be spoofed, so that host must not be pinged again (C1).
        """
        known = self._known(node)
        if known is None:
            return
        known.failures += 1
        known.tried_s = now
        bucket = self._bucket_of(known.number)
        known.is_bad = known.failures >= self._config.bad_node_failures
        has_left = not known.answered or known.failures >= self._config.max_node_failures
        if has_left or known in bucket.replacements:
            bucket.remove(known)
            self._forget(known)
        elif known.is_bad and bucket.replace_bad(known):
            self._forget(known)

    def closest(
        self, target: bytes, count: int, *, include_unverified: bool = False
    ) -> list[NodeInfo]:
        """Return the verified nodes closest to ``target``, closest first.

        With ``include_unverified`` the others too.
        """
        found = self._closest(int.from_bytes(target, "big"), count, all_of_them=include_unverified)
        return [entry.info for entry in found]

    def closest_compact(self, target: bytes, count: int) -> bytes:
        """Return the result of :meth:`closest` encoded as "nodes" or "nodes6"."""
        found = self._closest(int.from_bytes(target, "big"), count, all_of_them=False)
        return b"".join([entry.compact for entry in found])

    def needs_refresh(self, now: float) -> list[NodeId]:
        """Return a random id of each stale bucket."""
        stale_s = now - self._config.refresh_s
        return [
            self._random_id_in(index)
            for index, bucket in enumerate(self._buckets)
            if bucket.changed_s < stale_s
        ]

    def refreshed(self, target: bytes, now: float) -> None:
        """Record a lookup near ``target``: its bucket needs no refresh."""
        self._bucket_of(int.from_bytes(target, "big")).changed_s = now

    def questionable(self, now: float, count: int = 1) -> list[NodeInfo]:
        """Return nodes to ping: unverified and questionable ones alternately.

        The longest silent come first. A flood of new nodes, perhaps forged, does not delay the
        detection of dead ones (C2). Each is returned at most once in ``retry_node_s``. The
        replacement cache of the bucket of our own id is included: that bucket is split for
        responsive neighbours.
        """
        silent_s, tried_s = now - self._config.good_node_s, now - self._config.retry_node_s
        due = [
            entry
            for entry in (*self._in_buckets(), *self._buckets[-1].replacements)
            if (entry.seen_s < silent_s or entry.failures) and entry.tried_s < tried_s
        ]
        due.sort(key=lambda entry: (entry.seen_s, entry.tried_s))
        return [self._next_of(due, now).info for _ in range(min(count, len(due)))]

    def _next_of(self, due: list[BucketEntry], now: float) -> BucketEntry:
        """Return the next node, alternating between the kinds while both are due."""
        wanted = not self._pinged_known
        chosen = next((each for each in due if each.answered == wanted), due[0])
        due.remove(chosen)
        chosen.tried_s, self._pinged_known = now, chosen.answered
        return chosen

    def nodes(self) -> list[NodeInfo]:
        """Return the verified nodes in buckets."""
        return [entry.info for entry in self._in_buckets() if entry.is_good]

    def change_id(self, own_id: NodeId) -> None:
        """Rebuild the table around another own id (BEP 42), with all nodes."""
        entries = sorted(self._all(), key=lambda entry: entry.rank, reverse=True)
        changed = [bucket.changed_s for bucket in self._buckets]
        self._clear(own_id)
        for entry in entries:
            if entry.info.id != own_id:
                self._insert_entry(entry)
        self._buckets[0].changed_s = min(changed)

    def _clear(self, own_id: NodeId) -> None:
        self._own_id = own_id
        self._own_number = int.from_bytes(own_id, "big")
        self._buckets = [Bucket(self._config)]
        self._by_id: dict[bytes, BucketEntry] = {}
        self._by_address: dict[object, BucketEntry] = {}

    def _in_buckets(self) -> Iterator[BucketEntry]:
        for bucket in self._buckets:
            yield from bucket.nodes

    def _all(self) -> Iterator[BucketEntry]:
        for bucket in self._buckets:
            yield from bucket.nodes
            yield from bucket.replacements

    def _known(self, node: NodeInfo) -> BucketEntry | None:
        entry = self._by_id.get(node.id)
        return entry if entry is not None and entry.info.address == node.address else None

    def _address_key(self, node: NodeInfo) -> object:
        """Return the key that is unique in the table: operator, or local address and port."""
        host = node.address.host
        is_exempt = not self._config.restrict_node_ips or is_local(host)
        return node.address if is_exempt else operator_of(host)

    def _add(self, node: NodeInfo, now: float, *, answered: bool) -> bool:
        entry = self._entry(node)
        if entry is None or not self._supersedes(node, answered=answered):
            return False
        entry.answered = answered
        if answered:
            entry.seen_s = entry.tried_s = now
        if not self._insert_entry(entry):
            return False
        self._bucket_of(entry.number).changed_s = now
        return True

    def _entry(self, node: NodeInfo) -> BucketEntry | None:
        """Return a new entry for a node; None if it cannot be in this table."""
        compact = node.id + compact_address(node.address)
        host = packed_host(node.address.host)
        if len(compact) != self._compact_bytes or node.id == self._own_id or not node.address.port:
            return None
        if not _is_unicast(host):
            return None
        exempt = not self._config.restrict_node_ips or is_local(node.address.host)
        entry = BucketEntry(node, compact, None if exempt else subnet_of(host))
        entry.is_valid = is_valid_node_id(node.id, node.address.host)
        return entry if entry.is_valid or not self._config.enforce_valid_ids else None

    def _supersedes(self, node: NodeInfo, *, answered: bool) -> bool:
        """Return whether a node may replace the entries with its id or its address.

        Only a response replaces an entry: a node that responds at its address with another id has
        changed its id; any other duplicate stays unless it is bad.
        """
        for twin in (self._by_id.get(node.id), self._by_address.get(self._address_key(node))):
            if twin is None or self._by_id.get(twin.info.id) is not twin:
                continue
            moved = twin.info.address == node.address or twin.is_bad or not twin.answered
            if not (answered and moved):
                return False
            self._bucket_of(twin.number).remove(twin)
            self._forget(twin)
        return True

    def _insert_entry(self, entry: BucketEntry) -> bool:
        bucket = self._bucket_of(entry.number)
        if not self._may_enter(bucket, entry):
            return False
        while not bucket.has_room and entry.answered and self._may_split(bucket):
            self._split()
            bucket = self._bucket_of(entry.number)
        self._by_id[entry.info.id] = entry
        self._by_address[self._address_key(entry.info)] = entry
        left = bucket.take(entry)
        if left is not None:
            self._forget(left)
        return left is not entry

    def _may_enter(self, bucket: Bucket, entry: BucketEntry) -> bool:
        """Return whether its subnet has room; a verified node replaces an unverified one."""
        neighbours = bucket.neighbours_of(entry)
        if any(other.is_good or not entry.is_good for other in neighbours):
            return False
        for other in neighbours:
            bucket.remove(other)
            self._forget(other)
        return True

    def _forget(self, entry: BucketEntry) -> None:
        del self._by_id[entry.info.id]
        del self._by_address[self._address_key(entry.info)]

    def _bucket_of(self, number: int) -> Bucket:
        return self._buckets[self._index_of(number)]

    def _index_of(self, number: int) -> int:
        """Return the bucket index of an id: its common prefix length with ours, or the last."""
        shared = ID_BITS - (number ^ self._own_number).bit_length()
        return min(shared, len(self._buckets) - 1)

    def _may_split(self, bucket: Bucket) -> bool:
        return bucket is self._buckets[-1] and len(self._buckets) < ID_BITS

    def _split(self) -> None:
        """Split the last bucket, which contains our own id."""
        old, new = self._buckets[-1], Bucket(self._config)
        new.changed_s = old.changed_s
        self._buckets.append(new)
        last = len(self._buckets) - 1
        for source, drain in ((old.nodes, new.nodes), (old.replacements, new.replacements)):
            drain += [entry for entry in source if self._index_of(entry.number) == last]
            source[:] = [entry for entry in source if self._index_of(entry.number) != last]
        old.promote()
        new.promote()

    def _random_id_in(self, index: int) -> NodeId:
        rest_bits = ID_BITS - index
        number = self._own_number >> rest_bits << rest_bits | self._rng.getrandbits(rest_bits)
        if index < len(self._buckets) - 1:  # others share exactly ``index`` bits with us
            flip = 1 << rest_bits - 1
            number = number & ~flip | ~self._own_number & flip
        return NodeId(number.to_bytes(20, "big"))

    def _closest(self, target: int, count: int, *, all_of_them: bool) -> list[BucketEntry]:
        """Return the closest entries, bucket by bucket, starting with that of the target."""
        found: list[BucketEntry] = []
        for nodes in self._outwards_from(self._index_of(target)):
            near = [
                (entry.number ^ target, entry)
                for entry in nodes
                if (entry.answered or all_of_them) and not entry.is_bad
            ]
            near.sort()
            found += [entry for _, entry in near]
            if len(found) >= count:
                break
        return found[:count]

    def _outwards_from(self, index: int) -> Iterator[list[BucketEntry]]:
        """Yield groups of nodes, each farther from a target in bucket ``index`` than the previous.

        Nodes of later buckets share ``index`` bits with the target, those of earlier ones fewer.
        """
        buckets = self._buckets
        yield buckets[index].nodes
        yield [entry for bucket in buckets[index + 1 :] for entry in bucket.nodes]
        for each in range(index - 1, -1, -1):
            yield buckets[each].nodes


def _is_unicast(host: bytes) -> bool:
    if len(host) == IPV4_BYTES:
        return host[0] not in _UNSPECIFIED_OR_MULTICAST
    return any(host) and host[0] != 0xFF
