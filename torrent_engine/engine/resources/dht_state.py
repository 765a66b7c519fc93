"""Persistence of DHT routing tables in the resume database.

One process at a time uses the saved node id; others with the same state folder start from the saved
nodes with an id of their own.
"""

import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from torrent_engine.base.config import SharedConfig
from torrent_engine.base.errors import StateDatabaseError, StorageError
from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.disk.state.records import DhtRecord
from torrent_engine.disk.state.store import StateStore
from torrent_engine.net.dht.bootstrap import routers_for
from torrent_engine.net.dht.service import DhtHost, DhtService, SavedTables, open_dht
from torrent_engine.net.sockets.datagrams import DatagramRelay
from torrent_engine.net.sockets.resolver import Resolver, resolve
from torrent_engine.policy.peers.external_address import TRACKER_VOTES, ExternalAddresses
from torrent_engine.protocol.dht.krpc import NODE_ID_BYTES, decode_nodes, encode_nodes
from torrent_engine.protocol.dht.node import SavedTable

logger = logging.getLogger(__name__)

VOTER: Final = "the DHT"


class DhtTables:
    """The routing tables in the resume database; a fault of it costs nothing but them."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._is_ours = False

    async def load(self) -> SavedTables:
        """Return what was saved, under other ids where another process is that node."""
        try:
            self._is_ours = self._store.claim_dht()
            records = await self._store.load_dht()
        except (StateDatabaseError, StorageError) as error:
            logger.warning("the saved DHT nodes cannot be read: %s", error)
            return {}
        return {record.is_ipv6: self._table(record) for record in records}

    def _table(self, record: DhtRecord) -> SavedTable:
        node_id = record.node_id if self._is_ours else os.urandom(NODE_ID_BYTES)
        nodes = decode_nodes(record.nodes, is_ipv6=record.is_ipv6)
        return SavedTable(NodeId(node_id), tuple(nodes))

    async def save(self, tables: SavedTables) -> None:
        """Keep the tables in the place of those of the last time."""
        if not self._is_ours:
            return
        records = [
            DhtRecord(is_ipv6, table.node_id, encode_nodes(table.nodes, is_ipv6=is_ipv6))
            for is_ipv6, table in tables.items()
        ]
        try:
            await self._store.save_dht(records)
        except (StateDatabaseError, StorageError) as error:
            logger.warning("the DHT nodes cannot be saved: %s", error)


@asynccontextmanager
async def open_shared_dht(
    config: SharedConfig,
    datagrams: DatagramRelay,
    *,
    store: StateStore,
    resolver: Resolver = resolve,
    clock: Callable[[], float] = time.monotonic,
    external_addresses: ExternalAddresses | None = None,
) -> AsyncIterator[DhtService]:
    """Run the DHT of a process with the nodes of its last run, which are saved again.

    It takes part from the first torrent on that wants it; with private ones only it is silent.
    """
    tables = DhtTables(store)

    def on_external(address: PeerAddress) -> None:
        if external_addresses is not None:
            external_addresses.add_vote(address.host, VOTER, TRACKER_VOTES)

    host = DhtHost(
        clock=clock,
        resolver=resolver,
        saved=await tables.load(),
        save=tables.save,
        on_external=on_external,
        waits=True,
    )
    routers = routers_for(config.dht, config.listen_hosts)
    async with open_dht(config.dht, datagrams, routers=routers, host=host) as service:
        yield service
