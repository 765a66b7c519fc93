"""Handlers of the query methods, with the stores that they read and change.

Source: BEP 5, 32 (both families), 33 (scrapes), 44 (values), 51 (samples).
"""

import random
from collections.abc import Callable
from typing import Final

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.errors import KrpcError
from torrent_engine.base.ids import SHA1_BYTES, PeerAddress
from torrent_engine.protocol.dht.hosts import packed_host
from torrent_engine.protocol.dht.item_queries import item_values, mutable_item
from torrent_engine.protocol.dht.item_store import ItemStore
from torrent_engine.protocol.dht.items import immutable_target
from torrent_engine.protocol.dht.krpc import (
    IPV4_NODE_BYTES,
    IPV6_NODE_BYTES,
    METHOD_UNKNOWN,
    NODE_ID_BYTES,
    SERVER_ERROR,
    Query,
)
from torrent_engine.protocol.dht.peer_store import PeerStore
from torrent_engine.protocol.dht.reply import Reply
from torrent_engine.protocol.dht.routing import RoutingTable
from torrent_engine.protocol.dht.scrape_filter import FILTER_BYTES
from torrent_engine.protocol.dht.tokens import WriteTokens

VALUE_TOO_BIG: Final = 205
_WITH_TOKEN: Final = frozenset({b"announce_peer", b"put"})
_VALUES_FRAME: Final = len(b"6:valuesle")
_FILTERS_BYTES: Final = 2 * (len(b"4:BFsd256:") + FILTER_BYTES)


class QueryHandlers:
    """The handlers of all query methods.

    ``other_table`` belongs to our node of the other address family, for queries that want both.
    """

    def __init__(
        self, table: RoutingTable, config: DhtConfig, *, rng: random.Random, secret: bytes
    ) -> None:
        self._table = table
        self._config = config
        self._value_bytes = 18 if table.is_ipv6 else 6
        self.other_table: RoutingTable | None = None
        self.peers = PeerStore(config, rng)
        self.items = ItemStore(table.own_id, config)
        self._tokens = WriteTokens(secret, config.token_s)

    def fill(self, reply: Reply, query: Query, address: PeerAddress, now: float) -> bool:
        """Write the response to a query into ``reply``, as far as it fits.

        Returns whether a valid token proved that the address is not spoofed. Raises KrpcError, with
        a code of BEP 5 or 44, for an invalid query.
        """
        method = self.methods.get(query.method)
        if method is not None:
            method(self, reply, query, address, now)
        else:
            self._unknown(reply, query)
        return query.method in _WITH_TOKEN

    def _ping(self, reply: Reply, query: Query, address: PeerAddress, now: float) -> None:
        """Respond with our id only."""

    def _find_node(self, reply: Reply, query: Query, address: PeerAddress, now: float) -> None:
        self._add_nodes(reply, query, _key(query, b"target"))

    def _get_peers(self, reply: Reply, query: Query, address: PeerAddress, now: float) -> None:
        info_hash = _key(query, b"info_hash")
        reply.add(b"token", self._tokens.token(packed_host(address.host), info_hash, now))
        count = min(self.peers.count(info_hash, now), self._config.max_values)
        if not count:
            self._add_nodes(reply, query, info_hash)
            return
        if query.arguments.get(b"scrape") == 1:
            self._add_filters(reply, info_hash, now)
        wanted_bytes = count * (self._value_bytes + 3) + _VALUES_FRAME
        self._add_nodes(reply, query, info_hash, reserve=min(wanted_bytes, reply.room // 2))
        no_seed = query.arguments.get(b"noseed") == 1
        count = min(count, reply.list_fits(b"values", self._value_bytes))
        if values := self.peers.peers(info_hash, count, now=now, no_seed=no_seed):
            reply.add_list(b"values", values)

    def _announce_peer(self, reply: Reply, query: Query, address: PeerAddress, now: float) -> None:
        info_hash = _key(query, b"info_hash")
        self._check_token(query, address, info_hash, now)
        is_implied = bool(query.arguments.get(b"implied_port"))
        port = address.port if is_implied else query.arguments.get(b"port")
        if not isinstance(port, int) or not 0 < port < 1 << 16:
            raise KrpcError("no port")
        is_seed = query.arguments.get(b"seed") == 1
        peer = PeerAddress(address.host, port)
        if not self.peers.announce(info_hash, peer, is_seed=is_seed, now=now):
            raise KrpcError("too many torrents", code=SERVER_ERROR)

    def _get(self, reply: Reply, query: Query, address: PeerAddress, now: float) -> None:
        target = _key(query, b"target")
        reply.add(b"token", self._tokens.token(packed_host(address.host), target, now))
        item = self.items.get(target, now)
        if item is not None:
            reply.add_all(item_values(item, query))
        self._add_nodes(reply, query, target)

    def _put(self, reply: Reply, query: Query, address: PeerAddress, now: float) -> None:
        value = query.value
        if value is None:
            raise KrpcError("no value", bep=44)
        if len(value) > self._config.max_item_bytes:
            raise KrpcError("value too big", code=VALUE_TOO_BIG, bep=44)
        self.items.own_id = self._table.own_id
        if b"k" not in query.arguments:
            self._check_token(query, address, immutable_target(value), now)
            self.items.put_immutable(value, address.host, now)
            return
        item, cas = mutable_item(query, value, self._config.max_salt_bytes)
        self._check_token(query, address, item.target, now)
        self.items.put_mutable(item, address.host, now, cas=cas)

    def _sample_infohashes(
        self, reply: Reply, query: Query, address: PeerAddress, now: float
    ) -> None:
        target = _key(query, b"target")
        samples = self.peers.sample(now)
        reply.add_bencoded(b"interval", b"i%de" % self.peers.sample_interval_s(now))
        reply.add_bencoded(b"num", b"i%de" % len(self.peers))
        reply.add_records(b"samples", samples, SHA1_BYTES, reserve=reply.room // 2)
        self._add_nodes(reply, query, target)

    def _unknown(self, reply: Reply, query: Query) -> None:
        """Respond to an unknown method with nodes if it has a target, else with an error."""
        for name in (b"target", b"info_hash"):
            if name in query.arguments:
                self._add_nodes(reply, query, _key(query, name))
                return
        raise KrpcError("method unknown", code=METHOD_UNKNOWN)

    def _add_nodes(self, reply: Reply, query: Query, target: bytes, *, reserve: int = 0) -> None:
        """Add the closest nodes of the wanted families (BEP 32); keep ``reserve`` bytes free."""
        tables = self._wanted_tables(query)
        for families, table in zip(range(len(tables), 0, -1), tables, strict=True):
            key, size = (
                (b"nodes6", IPV6_NODE_BYTES) if table.is_ipv6 else (b"nodes", IPV4_NODE_BYTES)
            )
            share = (reply.room - reserve) // families
            nodes = table.closest_compact(target, self._config.bucket_nodes)
            reply.add_records(key, nodes, size, reserve=reply.room - share)

    def _wanted_tables(self, query: Query) -> list[RoutingTable]:
        want = query.arguments.get(b"want")
        if not isinstance(want, list) or not (b"n4" in want or b"n6" in want):
            return [self._table]
        tables = (self._table, self.other_table)
        return [
            table
            for table in tables
            if table is not None and (b"n6" if table.is_ipv6 else b"n4") in want
        ]

    def _add_filters(self, reply: Reply, info_hash: bytes, now: float) -> None:
        """Add the filters of BEP 33 if both fit, with a peer and nodes."""
        needed_bytes = _FILTERS_BYTES + 2 * (_VALUES_FRAME + self._value_bytes + len(b"18:"))
        filters = self.peers.filters(info_hash, now) if reply.room >= needed_bytes else None
        if filters is not None:
            seeds, others = filters
            reply.add(b"BFsd", bytes(seeds))
            reply.add(b"BFpe", bytes(others))

    def _check_token(self, query: Query, address: PeerAddress, key: bytes, now: float) -> None:
        token = query.arguments.get(b"token")
        if not self._tokens.is_valid(token, packed_host(address.host), key, now):
            raise KrpcError("bad token")

    methods: Final[
        dict[bytes, Callable[["QueryHandlers", Reply, Query, PeerAddress, float], None]]
    ] = {
        b"ping": _ping,
        b"find_node": _find_node,
        b"get_peers": _get_peers,
        b"announce_peer": _announce_peer,
        b"get": _get,
        b"put": _put,
        b"sample_infohashes": _sample_infohashes,
    }
    """Method name -> handler."""


def _key(query: Query, name: bytes) -> bytes:
    """Return an info-hash or target of a query; KrpcError if there is none."""
    key = query.arguments.get(name)
    if not isinstance(key, bytes) or len(key) != NODE_ID_BYTES:
        raise KrpcError(f"no {name.decode()}")
    return key
