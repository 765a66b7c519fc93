"""Encoding and decoding of KRPC messages.

Source: BEP 5; BEP 32 (nodes6), BEP 42 (ip), BEP 43 (ro), BEP 44 (raw v).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple

from torrent_engine.base.config import DHT_BENCODE_LIMITS, BencodeLimits
from torrent_engine.base.errors import BencodeError, KrpcError
from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.codec.bencode import (
    BencodeValue,
    ByteSpan,
    Encodable,
    decode,
    decode_with_spans,
    encode,
)
from torrent_engine.codec.tolerant import correct, decode_reply
from torrent_engine.protocol.dht.common_queries import decode_common_query
from torrent_engine.protocol.dht.hosts import host_text, packed_host

CORRECTED_LIMITS: Final = BencodeLimits(
    max_depth=10, max_tokens=64, max_bytes=DHT_BENCODE_LIMITS.max_bytes
)
"""Ours: of datagrams that are no strict bencoding. Anybody may send many, under any address."""
NODE_ID_BYTES: Final = 20
IPV4_NODE_BYTES: Final = 26
IPV6_NODE_BYTES: Final = 38
MAX_TRANSACTION_BYTES: Final = 64  # ours: two to eight are usual; we echo them
CLIENT: Final = b"TE\x01\x00"  # BEP 5 "v": two letters, two bytes of version
MAX_CLIENT_BYTES: Final = 16  # ours: "v" has four
MAX_FAILURE_TEXT_BYTES: Final = 200  # ours

GENERIC_ERROR: Final = 201
SERVER_ERROR: Final = 202
METHOD_UNKNOWN: Final = 204

_IPV4_NODE: Final = Struct(">20s4sH")
_IPV6_NODE: Final = Struct(">20s16sH")
_HOST_SIZES: Final = (4, 16)
_CONTACT_SIZES: Final = (6, 18)


class NodeInfo(NamedTuple):
    """A DHT node and its UDP address."""

    id: NodeId
    address: PeerAddress


class Bencoded(bytes):
    """Bytes that are bencoded already and inserted into messages unchanged (BEP 44)."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Query:
    """A received query (BEP 5)."""

    transaction: bytes
    method: bytes
    sender: NodeId
    arguments: Mapping[bytes, BencodeValue]
    is_read_only: bool = False
    """The sender does not respond to queries (BEP 43)."""
    client: bytes = b""
    """The client version ("v"); at most 16 bytes."""
    value: Bencoded | None = None
    """The raw bytes of "v" in the arguments (BEP 44)."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response to one of our queries (BEP 5)."""

    transaction: bytes
    sender: NodeId
    values: Mapping[bytes, BencodeValue]
    external: PeerAddress | None = None
    """Our address as the node sees it (BEP 42); port 0 if missing."""
    client: bytes = b""
    value: Bencoded | None = None
    """The raw bytes of "v" in the values (BEP 44)."""


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """An error response to one of our queries (BEP 5)."""

    transaction: bytes
    code: int
    message: str
    """At most 200 bytes; not escaped."""


def decode_message(data: bytes) -> Query | Response | ErrorReply:
    """Decode one datagram; trailing bytes are ignored.

    Of a duplicate key the first value counts.
    Raises KrpcError for anything else; the error has the transaction id, and whether it was a
    query, if these could be read.
    """
    common = decode_common_query(data)
    return _any_message(data) if common is None else _common_query(*common)


def encode_query(
    transaction: bytes,
    method: bytes,
    sender: NodeId,
    arguments: Mapping[bytes, Encodable],
    *,
    is_read_only: bool = False,
    client: bytes = b"",
) -> bytes:
    """Encode a query; ``arguments`` without "id"; :class:`Bencoded` values stay unchanged."""
    return b"d1:a%b1:q%d:%b%b1:t%d:%b%b1:y1:qe" % (
        _dictionary({**arguments, b"id": sender}),
        len(method),
        method,
        b"2:roi1e" if is_read_only else b"",
        len(transaction),
        transaction,
        b"1:v%d:%b" % (len(client), client) if client else b"",
    )


def encode_response(
    transaction: bytes,
    sender: NodeId,
    values: Mapping[bytes, Encodable],
    *,
    external: bytes = b"",
    client: bytes = b"",
) -> bytes:
    """Encode a response; ``values`` without "id". ``external`` is :func:`compact_address`."""
    return b"d%b1:r%b1:t%d:%b%b1:y1:re" % (
        b"2:ip%d:%b" % (len(external), external) if external else b"",
        _dictionary({**values, b"id": sender}),
        len(transaction),
        transaction,
        b"1:v%d:%b" % (len(client), client) if client else b"",
    )


def encode_failure(transaction: bytes, code: int, message: str, *, client: bytes = b"") -> bytes:
    """Encode an error."""
    text = message.encode()[:MAX_FAILURE_TEXT_BYTES]
    return b"d1:eli%de%d:%be1:t%d:%b%b1:y1:ee" % (
        code,
        len(text),
        text,
        len(transaction),
        transaction,
        b"1:v%d:%b" % (len(client), client) if client else b"",
    )


def compact_address(address: PeerAddress) -> bytes:
    """Return an address as 6 or 18 bytes; b"" if it has no compact form."""
    host = packed_host(address.host)
    if not host or not 0 <= address.port <= 0xFFFF:
        return b""
    return host + address.port.to_bytes(2, "big")


def encode_nodes(nodes: Iterable[NodeInfo], *, is_ipv6: bool) -> bytes:
    """Encode the nodes of one family, 26 or 38 bytes each; others are skipped."""
    size = IPV6_NODE_BYTES if is_ipv6 else IPV4_NODE_BYTES
    packed = (node.id + compact_address(node.address) for node in nodes)
    return b"".join(each for each in packed if len(each) == size)


def decode_nodes(blob: BencodeValue | None, *, is_ipv6: bool) -> list[NodeInfo]:
    """Decode "nodes" (BEP 5) or "nodes6" (BEP 32), without validation.

    A value that is no string has no nodes; an incomplete last node is ignored.
    """
    if not isinstance(blob, bytes):
        return []
    layout = _IPV6_NODE if is_ipv6 else _IPV4_NODE
    return [
        NodeInfo(NodeId(node_id), PeerAddress(host_text(host), port))
        for node_id, host, port in layout.iter_unpack(
            blob[: len(blob) // layout.size * layout.size]
        )
    ]


def _any_message(data: bytes) -> Query | Response | ErrorReply:
    try:
        return _message(data)
    except BencodeError as error:
        raise KrpcError(str(error)) from error


def _message(data: bytes) -> Query | Response | ErrorReply:
    message, end = decode_reply(data, limits=DHT_BENCODE_LIMITS, corrected_limits=CORRECTED_LIMITS)
    data = data[:end]  # with what follows, all of it would have to be corrected
    transaction = message.get(b"t")
    if not isinstance(transaction, bytes) or len(transaction) > MAX_TRANSACTION_BYTES:
        raise KrpcError("no transaction id")
    kind = message.get(b"y")
    if kind == b"q":
        return _query(data, message, transaction)
    if kind == b"r":
        return _response(data, message, transaction)
    if kind == b"e":
        return _failure(message, transaction)
    raise KrpcError("neither query, response nor error", transaction=transaction)


def _common_query(
    transaction: bytes,
    method: bytes,
    sender: bytes,
    arguments: dict[bytes, BencodeValue],
    client: bytes,
) -> Query:
    return Query(transaction, method, NodeId(sender), arguments, client=client)


def _query(data: bytes, message: dict[bytes, BencodeValue], transaction: bytes) -> Query:
    method, arguments = message.get(b"q"), message.get(b"a")
    if not isinstance(method, bytes) or not isinstance(arguments, dict):
        raise KrpcError("query without method", transaction=transaction, is_query=True)
    sender = arguments.get(b"id")
    if not isinstance(sender, bytes) or len(sender) != NODE_ID_BYTES:
        raise KrpcError("query without node id", transaction=transaction, is_query=True)
    return Query(
        transaction,
        method,
        NodeId(sender),
        arguments,
        message.get(b"ro") == 1,
        _client(message),
        _raw_value(data, b"a") if b"v" in arguments else None,
    )


def _response(data: bytes, message: dict[bytes, BencodeValue], transaction: bytes) -> Response:
    values = message.get(b"r")
    sender = values.get(b"id") if isinstance(values, dict) else None
    if not isinstance(values, dict) or not isinstance(sender, bytes):
        raise KrpcError("response without node id", transaction=transaction)
    if len(sender) != NODE_ID_BYTES:
        raise KrpcError("node id of wrong length", transaction=transaction)
    return Response(
        transaction,
        NodeId(sender),
        values,
        _external(message.get(b"ip")),
        _client(message),
        _raw_value(data, b"r") if b"v" in values else None,
    )


def _failure(message: dict[bytes, BencodeValue], transaction: bytes) -> ErrorReply:
    match message.get(b"e"):
        case [int(code), bytes(text), *_]:
            return ErrorReply(transaction, code, _text(text))
        case [int(code), *_]:
            return ErrorReply(transaction, code, "")
        case [bytes(text), *_] | bytes(text):
            return ErrorReply(transaction, GENERIC_ERROR, _text(text))
        case _:
            return ErrorReply(transaction, GENERIC_ERROR, "")


def _text(text: bytes) -> str:
    return text[:MAX_FAILURE_TEXT_BYTES].decode("utf-8", "replace")


def _client(message: dict[bytes, BencodeValue]) -> bytes:
    client = message.get(b"v")
    return client[:MAX_CLIENT_BYTES] if isinstance(client, bytes) else b""


def _external(ip: BencodeValue | None) -> PeerAddress | None:
    if not isinstance(ip, bytes):
        return None
    if len(ip) in _CONTACT_SIZES:
        return PeerAddress(host_text(ip[:-2]), int.from_bytes(ip[-2:], "big"))
    return PeerAddress(host_text(ip), 0) if len(ip) in _HOST_SIZES else None


def _raw_value(data: bytes, owner: bytes) -> Bencoded | None:
    """Return the raw bytes of "v" in a decoded message, which are hashed or signed.

    None unless they are strict bencoding, so that all nodes decode them alike.
    """
    start, end = _spans(data)[owner]
    inner = data[start:end]
    start, end = _spans(inner)[b"v"]
    try:
        decode(inner[start:end], limits=DHT_BENCODE_LIMITS)
    except BencodeError:
        return None
    return Bencoded(inner[start:end])


def _spans(data: bytes) -> dict[bytes, ByteSpan]:
    try:
        return decode_with_spans(data, limits=DHT_BENCODE_LIMITS)[1]
    except BencodeError:
        return correct(data, limits=CORRECTED_LIMITS).spans


def _dictionary(values: Mapping[bytes, Encodable]) -> bytes:
    parts = [b"d"]
    for key in sorted(values):
        value = values[key]
        if type(value) is bytes:
            parts.append(b"%d:%b%d:%b" % (len(key), key, len(value), value))
        elif isinstance(value, Bencoded):
            parts.append(b"%d:%b%b" % (len(key), key, value))
        else:
            parts.append(b"%d:%b%b" % (len(key), key, encode(value)))
    parts.append(b"e")
    return b"".join(parts)
