"""The events that a peer causes, and the encoding of each message.

Source: BEP 3 (ids 0 to 9), BEP 5 (port), BEP 6 (13 to 17), BEP 10 (20), BEP 52 (21).
"""

import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import InfoHash, PeerId, PieceIndex
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.hash_trees import HashRange
from torrent_engine.protocol.wire.extension import ExtensionHandshake


class MessageId(IntEnum):
    """The byte after the length prefix."""

    CHOKE = 0
    UNCHOKE = 1
    INTERESTED = 2
    NOT_INTERESTED = 3
    HAVE = 4
    BITFIELD = 5
    REQUEST = 6
    PIECE = 7
    CANCEL = 8
    PORT = 9
    SUGGEST_PIECE = 13
    HAVE_ALL = 14
    HAVE_NONE = 15
    REJECT_REQUEST = 16
    ALLOWED_FAST = 17
    EXTENDED = 20
    HASH_REQUEST = 21
    HASHES = 22
    HASH_REJECT = 23


class BlockRequest(NamedTuple):
    """One block of one piece: all three in the order of the wire, offsets and lengths in bytes."""

    piece_index: int
    begin_bytes: int
    length_bytes: int


@dataclass(frozen=True, slots=True)
class PeerEvent:
    """Base of all that a peer can tell."""


@dataclass(frozen=True, slots=True)
class HandshakeReceived(PeerEvent):
    """The peer sent its handshake (BEP 3) with its reserved bits (BEP 5, 6, 10, 52)."""

    info_hash: InfoHash
    peer_id: PeerId
    supports_fast: bool
    supports_extensions: bool
    supports_dht: bool
    supports_v2: bool = False
    """Whether the v2 info-hash of a hybrid torrent may be the answer to its v1 one (BEP 52)."""


@dataclass(frozen=True, slots=True)
class KeepAliveReceived(PeerEvent):
    """The peer sent a message of length zero (BEP 3)."""


@dataclass(frozen=True, slots=True)
class PeerChoked(PeerEvent):
    """The peer will not answer requests (BEP 3 "choke", id 0).

    ``lost`` are our requests that it thereby refused; empty with the Fast extension, where each is
    rejected by a message of its own (BEP 6).
    """

    lost: tuple[BlockRequest, ...]


@dataclass(frozen=True, slots=True)
class PeerUnchoked(PeerEvent):
    """The peer will answer requests (BEP 3 "unchoke", id 1)."""


@dataclass(frozen=True, slots=True)
class PeerInterested(PeerEvent):
    """The peer wants pieces of ours (BEP 3 "interested", id 2)."""


@dataclass(frozen=True, slots=True)
class PeerNotInterested(PeerEvent):
    """The peer wants nothing of ours (BEP 3 "not interested", id 3)."""


@dataclass(frozen=True, slots=True)
class PeerHas(PeerEvent):
    """The peer has one more piece (BEP 3 "have", id 4)."""

    piece_index: PieceIndex


@dataclass(frozen=True, slots=True)
class PeerLost(PeerEvent):
    """The peer no longer has a piece (BEP 54 "lt_donthave")."""

    piece_index: PieceIndex


@dataclass(frozen=True, slots=True)
class PeerBitfield(PeerEvent):
    """All the pieces that the peer has: BEP 3 "bitfield" (id 5), BEP 6 "have all", "have none"."""

    bitfield: Bitfield


@dataclass(frozen=True, slots=True)
class BlocksRequested(PeerEvent):
    """The peer asked for blocks, in this order (BEP 3 "request", id 6).

    Each is inside the torrent and waits in :attr:`ConnectionState.upload_requests`.
    """

    requests: tuple[BlockRequest, ...]


@dataclass(frozen=True, slots=True)
class HashesRequested(PeerEvent):
    """The peer asked for hashes of a v2 torrent (BEP 52 "hash request", id 21).

    It is owed the hashes or a reject, choked or not.
    """

    wanted: HashRange


@dataclass(frozen=True, slots=True)
class HashesReceived(PeerEvent):
    """The peer sent hashes that we had asked for (BEP 52 "hashes", id 22); nothing is checked."""

    wanted: HashRange
    hashes: bytes
    """32 bytes each, behind them the uncles that prove them."""


@dataclass(frozen=True, slots=True)
class HashesRejected(PeerEvent):
    """The peer will not send hashes that we asked for (BEP 52 "hash reject", id 23)."""

    wanted: HashRange


@dataclass(frozen=True, slots=True)
class RequestCancelled(PeerEvent):
    """The peer took back a request that was still waiting (BEP 3 "cancel", id 8)."""

    request: BlockRequest


@dataclass(frozen=True, slots=True)
class BlockReceived(PeerEvent):
    """The peer sent one block that we had asked for (BEP 3 "piece", id 7)."""

    piece_index: int
    begin_bytes: int
    """Offset of the block inside its piece, in bytes."""
    length_bytes: int
    """1 to 16384."""
    views: tuple[memoryview, ...]
    """The payload where it was received, in one part or more; not yet checked against a SHA-1."""


@dataclass(frozen=True, slots=True)
class BlocksReceived(PeerEvent):
    """Blocks of 16 KiB that follow each other in one piece came in a row, each of them asked for.

    Only from a PeerConnection that ``joins_blocks``.
    """

    piece_index: int
    begin_bytes: int
    """Offset of the first block inside its piece, in bytes."""
    views: list[memoryview]
    """The payload where it was received, one view of 16384 bytes for each block."""


@dataclass(frozen=True, slots=True)
class UnrequestedBlock(PeerEvent):
    """The peer sent a block that was not asked for; its payload is dropped."""

    piece_index: int
    begin_bytes: int
    length_bytes: int


@dataclass(frozen=True, slots=True)
class PortReceived(PeerEvent):
    """UDP port of the peer's DHT node (BEP 5 "port", id 9)."""

    port: int


@dataclass(frozen=True, slots=True)
class PieceSuggested(PeerEvent):
    """The peer would like us to fetch this piece now (BEP 6, id 13)."""

    piece_index: PieceIndex


@dataclass(frozen=True, slots=True)
class RequestRejected(PeerEvent):
    """The peer will not send a block that we wait for (BEP 6, id 16).

    The reject that answers a cancel is no event.
    """

    request: BlockRequest


@dataclass(frozen=True, slots=True)
class AllowedFast(PeerEvent):
    """We may request this piece even while choked (BEP 6, id 17)."""

    piece_index: PieceIndex


@dataclass(frozen=True, slots=True)
class ExtensionHandshakeReceived(PeerEvent):
    """The peer named its extensions (BEP 10, id 20, extended id 0); may come again with changes."""

    handshake: ExtensionHandshake


@dataclass(frozen=True, slots=True)
class ExtensionMessageReceived(PeerEvent):
    """A message of an extension that we had named (BEP 10)."""

    name: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class ProtocolViolated(PeerEvent):
    """The peer broke a rule, that of ``error.bep``: the last event of this connection."""

    error: RemoteProtocolError


PROTOCOL_STRING: Final = b"\x13BitTorrent protocol"
HANDSHAKE_BYTES: Final = 68
RESERVED_OFFSET: Final = 20
INFO_HASH_OFFSET: Final = 28
PEER_ID_OFFSET: Final = 48
EXTENSION_BIT: Final = (5, 0x10)  # BEP 10: reserved byte, mask
FAST_BIT: Final = (7, 0x04)  # BEP 6
DHT_BIT: Final = (7, 0x01)  # BEP 5
V2_BIT: Final = (7, 0x10)  # BEP 52

KEEP_ALIVE: Final = bytes(4)
_HAVE = struct.Struct(">IBI").pack
HAVE_BYTES: Final = 9
_REQUEST = struct.Struct(">IBIII").pack
_PIECE_HEADER = struct.Struct(">IBII").pack


def encode_handshake(
    info_hash: InfoHash,
    peer_id: PeerId,
    *,
    fast: bool,
    extensions: bool,
    dht: bool,
    v2: bool = False,
) -> bytes:
    """Return the 68 bytes of a handshake (BEP 3) with the reserved bits that are asked for."""
    reserved = bytearray(8)
    bits = (fast, FAST_BIT), (extensions, EXTENSION_BIT), (dht, DHT_BIT), (v2, V2_BIT)
    for wanted, (byte, mask) in bits:
        if wanted:
            reserved[byte] |= mask
    return PROTOCOL_STRING + bytes(reserved) + info_hash + peer_id


def decode_handshake(data: bytes) -> HandshakeReceived:
    """Decode the first 68 bytes of a connection (BEP 3).

    Raises RemoteProtocolError if they do not begin with the protocol's name.
    """
    if data[: len(PROTOCOL_STRING)] != PROTOCOL_STRING:
        raise RemoteProtocolError("handshake of another protocol", bep=3)
    reserved = data[RESERVED_OFFSET:INFO_HASH_OFFSET]
    fast, extensions, dht, v2 = (
        bool(reserved[byte] & mask) for byte, mask in (FAST_BIT, EXTENSION_BIT, DHT_BIT, V2_BIT)
    )
    return HandshakeReceived(
        InfoHash(data[INFO_HASH_OFFSET:PEER_ID_OFFSET]),
        PeerId(data[PEER_ID_OFFSET:HANDSHAKE_BYTES]),
        supports_fast=fast,
        supports_extensions=extensions,
        supports_dht=dht,
        supports_v2=v2,
    )


def encode_plain(kind: MessageId) -> bytes:
    """Return a message without a payload."""
    return b"\x00\x00\x00\x01" + bytes((kind,))


def encode_piece_index(kind: MessageId, piece: int) -> bytes:
    """Return a "have", "suggest piece" or "allowed fast"."""
    return _HAVE(5, kind, piece)


def encode_haves(pieces: Collection[int]) -> bytes:
    """Return a "have" for each piece, one behind the other; a piece takes about 20 ns."""
    packed = struct.pack(f">{len(pieces)}I", *pieces)
    messages = bytearray(_HAVE(5, MessageId.HAVE, 0) * len(pieces))
    for byte in range(4):
        messages[5 + byte :: HAVE_BYTES] = packed[byte::4]
    return bytes(messages)


def encode_bitfield(bitfield: Bitfield) -> bytes:
    """Return a "bitfield" (BEP 3)."""
    payload = bitfield.to_bytes()
    return (1 + len(payload)).to_bytes(4, "big") + b"\x05" + payload


def encode_block_message(kind: MessageId, request: BlockRequest) -> bytes:
    """Return a "request", "cancel" or "reject request"."""
    return _REQUEST(13, kind, *request)


def encode_requests(
    requests: Sequence[tuple[int, int, int]], kind: MessageId = MessageId.REQUEST
) -> bytes:
    """Return many "request" or "cancel" messages as one buffer."""
    pack, number = _REQUEST, int(kind)
    return b"".join([pack(13, number, piece, begin, length) for piece, begin, length in requests])


def encode_piece_header(piece: int, begin_bytes: int, length_bytes: int) -> bytes:
    """Return the 13 bytes before a block's payload (BEP 3 "piece")."""
    return _PIECE_HEADER(9 + length_bytes, 7, piece, begin_bytes)


def encode_port(port: int) -> bytes:
    """Return a "port" (BEP 5)."""
    return b"\x00\x00\x00\x03\x09" + port.to_bytes(2, "big")


def encode_extended(extended_id: int, payload: bytes) -> bytes:
    """Return an "extended" message (BEP 10)."""
    return (
        (2 + len(payload)).to_bytes(4, "big") + bytes((MessageId.EXTENDED, extended_id)) + payload
    )
