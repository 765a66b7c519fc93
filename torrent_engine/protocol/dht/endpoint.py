"""Outgoing datagrams of one node, and the matching of responses with its queries."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.protocol.dht.krpc import CLIENT, ErrorReply, Response, encode_query
from torrent_engine.protocol.dht.lookup_tasks import Arguments
from torrent_engine.protocol.dht.transactions import Outstanding, QueryOwner, Timeouts, Transactions

MAX_QUEUED_DATAGRAMS: Final = 2_000  # ours: the driver sends them after each call


@dataclass(slots=True)
class Traffic:
    """Counts since the start."""

    datagrams_in: int = 0
    bytes_in: int = 0
    datagrams_out: int = 0
    bytes_out: int = 0
    malformed: int = 0
    """Datagrams that are no KRPC message."""
    unexpected: int = 0
    """Responses without a matching query."""
    queries_in: int = 0
    queries_out: int = 0
    timeouts: int = 0


class Endpoint:
    """The queue of outgoing datagrams, and the outstanding queries."""

    def __init__(self, config: DhtConfig, rng: random.Random, own_id: Callable[[], NodeId]) -> None:
        self.traffic = Traffic()
        self.transactions = Transactions(config, rng)
        self._is_read_only = config.read_only
        self._client = CLIENT if config.send_client_version else b""
        self._own_id = own_id
        self._outgoing: list[tuple[bytes, PeerAddress]] = []

    def send_query(
        self,
        node: tuple[PeerAddress, NodeId | None],
        method: bytes,
        arguments: Arguments,
        owner: QueryOwner,
        *,
        now: float,
    ) -> Outstanding | None:
        """Queue a query; None if too many are outstanding."""
        address, node_id = node
        query = self.transactions.open(address, method, owner, node_id=node_id, now=now)
        if query is None:
            return None
        self.traffic.queries_out += 1
        self.send(
            encode_query(
                query.transaction,
                method,
                self._own_id(),
                arguments,
                is_read_only=self._is_read_only,
                client=self._client,
            ),
            address,
        )
        return query

    def send(self, data: bytes, address: PeerAddress) -> None:
        """Queue a datagram; it is dropped if the queue is full."""
        if len(self._outgoing) < MAX_QUEUED_DATAGRAMS:
            self._outgoing.append((data, address))
            self.traffic.datagrams_out += 1
            self.traffic.bytes_out += len(data)

    def received(self, data: bytes) -> None:
        """Count a received datagram."""
        self.traffic.datagrams_in += 1
        self.traffic.bytes_in += len(data)

    def close(
        self, message: Response | ErrorReply, address: PeerAddress, *, now: float
    ) -> Outstanding | None:
        """Remove and return the query that a message responds to; None if there is none."""
        query = self.transactions.close(message.transaction, address, now=now)
        self.traffic.unexpected += query is None
        return query

    def timed_out(self, now: float) -> Timeouts:
        """Return a few queries that became slow or failed; the others at the next call."""
        timeouts = self.transactions.timed_out(now)
        self.traffic.timeouts += len(timeouts.failed)
        return timeouts

    def drain(self) -> list[tuple[bytes, PeerAddress]]:
        """Remove and return the datagrams to send, oldest first."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing
