"""Limits on responses, so that spoofed queries are not amplified.

Source: BEP 5, 32 (length), 43 (read-only); row C1: an unverified address gets at most three bytes
for one.
"""

import random
from typing import Final

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.errors import KrpcError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.protocol.dht.krpc import CLIENT, Query, compact_address, encode_failure
from torrent_engine.protocol.dht.query_handlers import QueryHandlers
from torrent_engine.protocol.dht.reply import Reply
from torrent_engine.protocol.dht.routing import RoutingTable
from torrent_engine.protocol.dht.throttle import ProvenHosts, QueryThrottle, UploadBudget

MAX_PAYLOAD_BYTES: Final = 1_024  # BEP 32


class Responder:
    """The responses to queries of one node; ``now`` must not run backwards.

    Write tokens are derived from ``secret`` (32 random bytes). The table is only read.
    """

    def __init__(
        self, table: RoutingTable, config: DhtConfig, *, rng: random.Random, secret: bytes
    ) -> None:
        self._table = table
        self._config = config
        self._client = CLIENT if config.send_client_version else b""
        self.handlers = QueryHandlers(table, config, rng=rng, secret=secret)
        self._throttle = QueryThrottle(config)
        self._proven = ProvenHosts(config)
        self._budget = UploadBudget(config.max_upload_bytes_per_s)
        self.answered = 0
        """Queries with a response, errors included."""
        self.unanswered = 0
        """Queries without a response: throttled, too large, or over the budget."""

    def answer(
        self, query: Query, address: PeerAddress, *, request_bytes: int, now: float
    ) -> bytes | None:
        """Return the answer to a query that came in ``request_bytes``, or None for silence."""
        if self._config.read_only or not self._throttle.admits(address.host, now):
            self.unanswered += 1
            return None
        longest = self._longest(query)
        forgeable_bytes = min(self._forgeable_bytes(request_bytes), longest)
        may_get_more = self._proven.may_get_more(address.host, now)
        limit = longest if may_get_more else forgeable_bytes
        reply = Reply(limit, query.transaction, compact_address(address), self._client)
        try:
            if self.handlers.fill(reply, query, address, now):
                self._proven.prove(address.host, now)
            data = reply.encode(query.transaction, self._table.own_id)
        except KrpcError as error:
            data = encode_failure(query.transaction, error.code, error.reason, client=self._client)
        if len(data) > forgeable_bytes and may_get_more:
            self._proven.charge(address.host, now)
        return self._within(limit, data, now)

    def refuse(
        self, error: KrpcError, address: PeerAddress, *, request_bytes: int, now: float
    ) -> bytes | None:
        """Return the answer to a datagram that could not be decoded; None unless it was a query."""
        if error.transaction is None or not error.is_query or self._config.read_only:
            return None
        if not self._throttle.admits(address.host, now):
            self.unanswered += 1
            return None
        data = encode_failure(error.transaction, error.code, error.reason, client=self._client)
        return self._within(self._forgeable_bytes(request_bytes), data, now)

    def is_silent(self, host: str, now: float) -> bool:
        """Return whether no query of an address is answered now; they need not be decoded."""
        return self._config.read_only or self._throttle.is_silent(host, now)

    def prove(self, host: str, now: float) -> None:
        """Record that an address answered a query of ours, so it is not spoofed."""
        self._proven.prove(host, now)

    def _forgeable_bytes(self, request_bytes: int) -> int:
        """Return what may be sent to an address that perhaps is not the sender's."""
        allowed = int(request_bytes * self._config.max_amplification)
        return min(allowed, self._config.max_reply_bytes)

    def _longest(self, query: Query) -> int:
        """Return the limit of BEP 32; values of BEP 44 do not fit into it, so "get" has its own."""
        configured = self._config.max_reply_bytes
        return configured if query.method == b"get" else min(configured, MAX_PAYLOAD_BYTES)

    def _within(self, limit_bytes: int, data: bytes, now: float) -> bytes | None:
        if len(data) > limit_bytes or not self._budget.take(len(data), now):
            self.unanswered += 1
            return None
        self.answered += 1
        return data
