"""Owns what goes out of one node's socket, and which of our queries a datagram answers."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.protocol.dht.krpc import Failure, Response, encode_query
from torrent_engine.protocol.dht.questions import Arguments
from torrent_engine.protocol.dht.transactions import Asker, Outstanding, Timeouts, Transactions

CLIENT: Final = b"TE\x01\x00"  # BEP 5 "v": two letters, two bytes of version
MAX_QUEUED_DATAGRAMS: Final = 2_000  # ours: a driver takes them after each call


@dataclass(slots=True)
class Traffic:
    """Counts since the start."""

    datagrams_in: int = 0
    bytes_in: int = 0
    datagrams_out: int = 0
    bytes_out: int = 0
    malformed: int = 0
    """Datagrams that were no message."""
    unexpected: int = 0
    """Answers to nothing that was asked there."""
    queries_in: int = 0
    queries_out: int = 0
    timeouts: int = 0


class Endpoint:
    """The datagrams that wait to be sent, and the queries that wait for an answer."""

    def __init__(self, config: DhtConfig, rng: random.Random, own_id: Callable[[], NodeId]) -> None:
        self.traffic = Traffic()
        self.transactions = Transactions(config, rng)
        self._is_read_only = config.read_only
        self._client = CLIENT if config.tells_client else b""
        self._own_id = own_id
        self._outgoing: list[tuple[bytes, PeerAddress]] = []

    def send_query(
        self,
        node: tuple[PeerAddress, NodeId | None],
        method: bytes,
        arguments: Arguments,
        asker: Asker,
        *,
        now: float,
    ) -> Outstanding | None:
        """Queue a query; None if too many wait for their answer already."""
        address, node_id = node
        query = self.transactions.open(address, method, asker, node_id=node_id, now=now)
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
        """Queue a datagram; it is lost, as datagrams are, where nobody takes any."""
        if len(self._outgoing) < MAX_QUEUED_DATAGRAMS:
            self._outgoing.append((data, address))
            self.traffic.datagrams_out += 1
            self.traffic.bytes_out += len(data)

    def received(self, data: bytes) -> None:
        """Count a datagram."""
        self.traffic.datagrams_in += 1
        self.traffic.bytes_in += len(data)

    def close(
        self, message: Response | Failure, address: PeerAddress, *, now: float
    ) -> Outstanding | None:
        """Take the query that a message answers; None if nobody there was asked so."""
        query = self.transactions.close(message.transaction, address, now=now)
        self.traffic.unexpected += query is None
        return query

    def timed_out(self, now: float) -> Timeouts:
        """Return who became late, and whose time is over."""
        timeouts = self.transactions.timed_out(now)
        self.traffic.timeouts += len(timeouts.failed)
        return timeouts

    def drain(self) -> list[tuple[bytes, PeerAddress]]:
        """Return what is to be sent, oldest first, and forget it."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing
