"""Owns the nodes that we know: in k-buckets, finer towards our own id, and the closest of them.

Nodes have a place for good once they answered; what was only heard of can be asked, and is told
to nobody. Source: BEP 5; BEP 42 (preferred ids); row C2 (one node an address).
"""

import random
from collections.abc import Iterator
from typing import Final

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import NodeId
from torrent_engine.base.operators import operator_of
from torrent_engine.protocol.dht.bucket import Bucket, Entry
from torrent_engine.protocol.dht.hosts import IPV4_BYTES, is_local, packed_host, site_of
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
    """The nodes of one address family. ``now`` is any time in seconds that does not run back."""

    def __init__(
        self, own_id: NodeId, config: DhtConfig, rng: random.Random, *, is_ipv6: bool
    ) -> None:
        self._config = config
        self._rng = rng
        self.is_ipv6 = is_ipv6
        self._asked_known = True
        """Whether the last one to be asked was one that had answered before."""
        self._compact_bytes = IPV6_NODE_BYTES if is_ipv6 else IPV4_NODE_BYTES
        self._clear(own_id)

    @property
    def own_id(self) -> NodeId:
        """The id around which the table is built."""
        return self._own_id

    def __len__(self) -> int:
        """Return how many nodes have a place and answered us."""
        return sum(entry.is_good for entry in self._placed())

    def __contains__(self, node: NodeInfo) -> bool:
        """Tell whether a node, at this address, has a place or waits for one."""
        return self._known(node) is not None

    def insert(self, node: NodeInfo, now: float) -> bool:
        """Note a node that we only heard of; tell whether it is known now.

        It never takes the place of a node that answers.
        """
        return node in self or self._add(node, now, answered=False)

    def queried(self, node: NodeInfo, now: float) -> bool:
        """Note a node that asked us something: if it ever answered us it is alive (BEP 5)."""
        known = self._known(node)
        if known is None:
            return self._add(node, now, answered=False)
        if known.answered:
            known.seen_s = now
        return True

    def seen(self, node: NodeInfo, now: float) -> bool:
        """Note that a node answered a query of ours; tell whether it is known now."""
        known = self._known(node)
        if known is None:
            return self._add(node, now, answered=True)
        known.failures, known.is_bad, known.answered, known.seen_s = 0, False, True, now
        bucket = self._bucket_of(known.number)
        bucket.changed_s = now
        if known not in bucket.waiting:
            return True
        bucket.waiting.remove(known)  # worth more than before, perhaps
        self._forget(known)
        return self._place(known)

    def failed(self, node: NodeInfo, now: float) -> None:
        """Note that a node did not answer a query of ours; one that never did is forgotten.

        It may be forged, and who is behind its address is not to be pinged for it again (C1).
        """
        known = self._known(node)
        if known is None:
            return
        known.failures += 1
        known.tried_s = now
        bucket = self._bucket_of(known.number)
        known.is_bad = known.failures >= self._config.bad_node_failures
        has_left = not known.answered or known.failures >= self._config.max_node_failures
        if has_left or known in bucket.waiting:
            bucket.remove(known)
            self._forget(known)
        elif known.is_bad and bucket.replace_bad(known):
            self._forget(known)

    def closest(
        self, target: bytes, count: int, *, include_unverified: bool = False
    ) -> list[NodeInfo]:
        """Return the nodes closest to ``target``, closest first: those that answer.

        With ``include_unverified`` also those that were only heard of.
        """
        found = self._closest(int.from_bytes(target, "big"), count, all_of_them=include_unverified)
        return [entry.info for entry in found]

    def closest_compact(self, target: bytes, count: int) -> bytes:
        """Return what :meth:`closest` does as "nodes" or "nodes6"."""
        found = self._closest(int.from_bytes(target, "big"), count, all_of_them=False)
        return b"".join([entry.compact for entry in found])

    def needs_refresh(self, now: float) -> list[NodeId]:
        """Return a random id of each bucket in which nothing changed for long."""
        stale_s = now - self._config.refresh_s
        return [
            self._random_id_in(index)
            for index, bucket in enumerate(self._buckets)
            if bucket.changed_s < stale_s
        ]

    def refreshed(self, target: bytes, now: float) -> None:
        """Note that nodes around ``target`` are looked up, so that its bucket is left alone."""
        self._bucket_of(int.from_bytes(target, "big")).changed_s = now

    def questionable(self, now: float, count: int = 1) -> list[NodeInfo]:
        """Return nodes to ask whether they are there: who never answered, and others, in turn.

        Silent for longest first. No flood of newcomers, forged perhaps, hides who is gone (C2).
        Each is returned once in ``retry_node_s`` at most. Who waits for the bucket that our own id
        is in is among them: that bucket is split for neighbours that answer.
        """
        silent_s, tried_s = now - self._config.good_node_s, now - self._config.retry_node_s
        due = [
            entry
            for entry in (*self._placed(), *self._buckets[-1].waiting)
            if (entry.seen_s < silent_s or entry.failures) and entry.tried_s < tried_s
        ]
        due.sort(key=lambda entry: (entry.seen_s, entry.tried_s))
        return [self._next_of(due, now).info for _ in range(min(count, len(due)))]

    def _next_of(self, due: list[Entry], now: float) -> Entry:
        """Take the first of the kind whose turn it is; of the other kind if there is none."""
        wanted = not self._asked_known
        chosen = next((each for each in due if each.answered == wanted), due[0])
        due.remove(chosen)
        chosen.tried_s, self._asked_known = now, chosen.answered
        return chosen

    def nodes(self) -> list[NodeInfo]:
        """Return the nodes that have a place and answered us."""
        return [entry.info for entry in self._placed() if entry.is_good]

    def change_id(self, own_id: NodeId) -> None:
        """Build the table anew around another id of ours (BEP 42); everything known stays known."""
        entries = sorted(self._all(), key=lambda entry: entry.rank, reverse=True)
        changed = [bucket.changed_s for bucket in self._buckets]
        self._clear(own_id)
        for entry in entries:
            if entry.info.id != own_id:
                self._place(entry)
        self._buckets[0].changed_s = min(changed)

    def _clear(self, own_id: NodeId) -> None:
        self._own_id = own_id
        self._own_number = int.from_bytes(own_id, "big")
        self._buckets = [Bucket(self._config)]
        self._by_id: dict[bytes, Entry] = {}
        self._by_place: dict[object, Entry] = {}

    def _placed(self) -> Iterator[Entry]:
        for bucket in self._buckets:
            yield from bucket.nodes

    def _all(self) -> Iterator[Entry]:
        for bucket in self._buckets:
            yield from bucket.nodes
            yield from bucket.waiting

    def _known(self, node: NodeInfo) -> Entry | None:
        entry = self._by_id.get(node.id)
        return entry if entry is not None and entry.info.address == node.address else None

    def _place_key(self, node: NodeInfo) -> object:
        """Return what only one node may have: the operator, or on a local address the port too."""
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
        if not self._place(entry):
            return False
        self._bucket_of(entry.number).changed_s = now
        return True

    def _entry(self, node: NodeInfo) -> Entry | None:
        """Return what will be known of a node; None if it can be none of ours."""
        compact = node.id + compact_address(node.address)
        host = packed_host(node.address.host)
        if len(compact) != self._compact_bytes or node.id == self._own_id or not node.address.port:
            return None
        if not _is_unicast(host):
            return None
        exempt = not self._config.restrict_node_ips or is_local(node.address.host)
        entry = Entry(node, compact, None if exempt else site_of(host))
        entry.is_valid = is_valid_node_id(node.id, node.address.host)
        return entry if entry.is_valid or not self._config.enforce_valid_ids else None

    def _supersedes(self, node: NodeInfo, *, answered: bool) -> bool:
        """Tell whether a node may stand beside or instead of those with its id or its address.

        Only an answer moves anybody: a node that answers at its address under another id has
        changed it; any other twin stays as long as it is not bad.
        """
        for twin in (self._by_id.get(node.id), self._by_place.get(self._place_key(node))):
            if twin is None or self._by_id.get(twin.info.id) is not twin:
                continue
            moved = twin.info.address == node.address or twin.is_bad or not twin.answered
            if not (answered and moved):
                return False
            self._bucket_of(twin.number).remove(twin)
            self._forget(twin)
        return True

    def _place(self, entry: Entry) -> bool:
        bucket = self._bucket_of(entry.number)
        if not self._may_stand_in(bucket, entry):
            return False
        while not bucket.has_room and entry.answered and self._may_split(bucket):
            self._split()
            bucket = self._bucket_of(entry.number)
        self._by_id[entry.info.id] = entry
        self._by_place[self._place_key(entry.info)] = entry
        left = bucket.take(entry)
        if left is not None:
            self._forget(left)
        return left is not entry

    def _may_stand_in(self, bucket: Bucket, entry: Entry) -> bool:
        """Tell whether no neighbour keeps a node out; who is there moves who may be forged."""
        neighbours = bucket.neighbours_of(entry)
        if any(other.is_good or not entry.is_good for other in neighbours):
            return False
        for other in neighbours:
            bucket.remove(other)
            self._forget(other)
        return True

    def _forget(self, entry: Entry) -> None:
        del self._by_id[entry.info.id]
        del self._by_place[self._place_key(entry.info)]

    def _bucket_of(self, number: int) -> Bucket:
        return self._buckets[self._index_of(number)]

    def _index_of(self, number: int) -> int:
        """Return the bucket of an id: how many bits it shares with ours, or the last one."""
        shared = ID_BITS - (number ^ self._own_number).bit_length()
        return min(shared, len(self._buckets) - 1)

    def _may_split(self, bucket: Bucket) -> bool:
        return bucket is self._buckets[-1] and len(self._buckets) < ID_BITS

    def _split(self) -> None:
        """Divide the last bucket, which our own id is in, into two."""
        old, new = self._buckets[-1], Bucket(self._config)
        new.changed_s = old.changed_s
        self._buckets.append(new)
        last = len(self._buckets) - 1
        for source, drain in ((old.nodes, new.nodes), (old.waiting, new.waiting)):
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

    def _closest(self, target: int, count: int, *, all_of_them: bool) -> list[Entry]:
        """Return the closest entries, bucket by bucket outwards from that of the target."""
        found: list[Entry] = []
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

    def _outwards_from(self, index: int) -> Iterator[list[Entry]]:
        """Return groups of nodes, each further from any target in bucket ``index`` than the last.

        Nodes of later buckets share ``index`` bits with the target, those of earlier ones less.
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
