"""The items that other nodes store here; bounded, with expiry.

Source: BEP 44; row C2.
"""

from collections import Counter
from typing import Final, NamedTuple

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.errors import KrpcError
from torrent_engine.base.ids import NodeId
from torrent_engine.base.operators import network_of, operator_of
from torrent_engine.protocol.dht.crowds import most_crowded
from torrent_engine.protocol.dht.items import MutableItem, immutable_target
from torrent_engine.protocol.dht.krpc import Bencoded

CAS_MISMATCH: Final = 301
SEQUENCE_TOO_LOW: Final = 302
INVALID_SIGNATURE: Final = 206


class StoredItem(NamedTuple):
    """A stored item; ``mutable`` is None for an immutable one."""

    value: Bencoded
    mutable: MutableItem | None
    expires_s: float
    operator: str
    """That of the node that put it here first."""
    network: str
    target: bytes


class ItemStore:
    """Items by target, in the order of their expiry; ``now`` must not run backwards."""

    def __init__(self, own_id: NodeId, config: DhtConfig) -> None:
        self.own_id = own_id
        self._config = config
        self._items: dict[bytes, StoredItem] = {}
        self._items_of: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return the number of stored items."""
        return len(self._items)

    def get(self, target: bytes, now: float) -> StoredItem | None:
        """Return the item of a target, None if it is not stored."""
        item = self._items.get(target)
        if item is not None and item.expires_s <= now:
            self._drop(target)
            return None
        return item

    def put_immutable(self, value: Bencoded, host: str, now: float) -> None:
        """Store a value, or extend its expiry. Raises KrpcError if ``host`` stored too many."""
        self._store(immutable_target(value), value, None, host, now)

    def put_mutable(self, item: MutableItem, host: str, now: float, *, cas: int | None) -> None:
        """Store a version of an item in place of an older one.

        ``cas`` is the sequence number that it must replace. Raises KrpcError with the codes of
        BEP 44: 301, 302 or 206, or if ``host`` stored too many.
        """
        target = item.target
        known = self.get(target, now)
        if known is not None and known.mutable is not None:
            _check_order(known.mutable, item, cas)
        if not item.is_genuine():
            raise KrpcError("invalid signature", code=INVALID_SIGNATURE, bep=44)
        self._store(target, item.value, item, host, now)

    def _store(
        self, target: bytes, value: Bencoded, mutable: MutableItem | None, host: str, now: float
    ) -> None:
        self._sweep(now)
        known = self._items.get(target)
        operator, network = operator_of(host), network_of(host)
        if known is not None:
            operator, network = known.operator, known.network
            self._drop(target)
        elif self._items_of[operator] >= self._config.max_items_per_ip:
            raise KrpcError("too many items of one address", code=202, bep=44)
        elif len(self._items) >= self._config.max_items:
            self._make_room(operator, network)
        expires_s = now + self._config.item_expiry_s
        self._items[target] = StoredItem(value, mutable, expires_s, operator, network, target)
        self._items_of[operator] += 1

    def _sweep(self, now: float) -> None:
        """Remove the expired items, so that none is counted for the address that put it here."""
        while self._items:
            oldest = next(iter(self._items))
            if self._items[oldest].expires_s > now:
                return
            self._drop(oldest)

    def _make_room(self, operator: str, network: str) -> None:
        """Remove the item farthest from our id of those that who has most put here."""
        own = int.from_bytes(self.own_id, "big")
        crowd = most_crowded(self._items.values(), operator, network)
        self._drop(max((item.target for item in crowd), key=lambda each: _distance(each, own)))

    def _drop(self, target: bytes) -> None:
        operator = self._items.pop(target).operator
        self._items_of[operator] -= 1
        if not self._items_of[operator]:
            del self._items_of[operator]


def _distance(target: bytes, own: int) -> int:
    return int.from_bytes(target, "big") ^ own


def _check_order(known: MutableItem, item: MutableItem, cas: int | None) -> None:
    if cas is not None and cas != known.sequence:
        raise KrpcError("cas mismatch, read it again", code=CAS_MISMATCH, bep=44)
    is_same = item.sequence == known.sequence and item.value == known.value
    if item.sequence <= known.sequence and not is_same:
        raise KrpcError("sequence number too low", code=SEQUENCE_TOO_LOW, bep=44)
