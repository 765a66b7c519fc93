"""A node with a table of its own, and questions to it as datagrams."""

import random
from functools import cache
from typing import Any

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.protocol.dht.krpc import (
    ErrorReply,
    NodeInfo,
    Query,
    Response,
    decode_message,
    encode_query,
)
from torrent_engine.protocol.dht.responder import Responder
from torrent_engine.protocol.dht.routing import RoutingTable

OWN = NodeId(bytes(range(20)))
ASKING = NodeId(b"abcdefghij0123456789")
HASH = b"mnopqrstuvwxyz123456"
ADDRESS = PeerAddress("192.0.2.1", 6881)
ADDRESS6 = PeerAddress("2001:db8:9::1", 6881)
PADDING = b"x" * 1_000
QUIET = DhtConfig(max_queries_per_ip_per_s=0, max_upload_bytes_per_s=0)


@cache
def filled_table(*, is_ipv6: bool = False, count: int = 500) -> RoutingTable:
    """Return a table for everybody who only reads it."""
    table = RoutingTable(OWN, DhtConfig(), random.Random(1), is_ipv6=is_ipv6)
    rng = random.Random(2)
    for number in range(count):
        host = f"2001:db8:{number + 1:x}::1" if is_ipv6 else f"20.{number // 250}.{number % 250}.1"
        table.seen(NodeInfo(NodeId(rng.randbytes(20)), PeerAddress(host, 6881)), 0.0)
    return table


class Asked:
    """A responder, asked as from the network; ``request`` and ``reply`` are the last datagrams."""

    def __init__(self, config: DhtConfig | None = None, *, is_ipv6: bool = False) -> None:
        self.config = config or QUIET
        self.table = filled_table(is_ipv6=is_ipv6)
        self.address = ADDRESS6 if is_ipv6 else ADDRESS
        self.responder = Responder(self.table, self.config, rng=random.Random(3), secret=b"s" * 32)
        self.request = b""
        self.reply: bytes | None = None

    def ask(
        self,
        method: bytes,
        arguments: Any,
        *,
        address: PeerAddress | None = None,
        now: float = 0.0,
        transaction: bytes = b"aa",
    ) -> Response | ErrorReply | None:
        """Return the answer to one query; None for silence."""
        self.request = encode_query(transaction, method, ASKING, arguments)
        query = decode_message(self.request)
        assert isinstance(query, Query)
        self.reply = self.responder.answer(
            query, address or self.address, request_bytes=len(self.request), now=now
        )
        if self.reply is None:
            return None
        answer = decode_message(self.reply)
        assert not isinstance(answer, Query)
        assert answer.transaction == transaction
        return answer

    def values(self, method: bytes, arguments: Any, **more) -> Response:
        """Return an answer that is no error."""
        answer = self.ask(method, arguments, **more)
        assert isinstance(answer, Response)
        return answer

    def failure(self, method: bytes, arguments: Any, **more) -> int:
        """Return the code of an answer that is an error."""
        answer = self.ask(method, arguments, **more)
        assert isinstance(answer, ErrorReply)
        return answer.code

    def token(self, key: bytes = HASH, **more) -> bytes:
        """Return the token for an info-hash."""
        token = self.values(b"get_peers", {b"info_hash": key}, **more).values[b"token"]
        assert isinstance(token, bytes)
        return token

    def announce(
        self, number: int, *, key: bytes = HASH, now: float = 0.0, is_seed: bool = False
    ) -> None:
        """Let another peer announce itself."""
        ipv4 = f"30.0.{number // 250}.{number % 250 + 1}"
        host = f"2001:db8:{number + 1:x}::2" if self.table.is_ipv6 else ipv4
        address = PeerAddress(host, 6881)
        token = self.token(key, address=address, now=now)
        arguments: dict[bytes, Any] = {b"info_hash": key, b"port": 6881, b"token": token}
        arguments |= {b"seed": 1} if is_seed else {}
        self.values(b"announce_peer", arguments, address=address, now=now)
