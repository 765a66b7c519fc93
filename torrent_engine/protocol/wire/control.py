"""Decoding of every message that is not a block or a request: one function each, in a table.

Source: BEP 3, BEP 5 (port), BEP 6, BEP 10, BEP 54. Lengths are checked before these are called.
"""

import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from torrent_engine.base.config import (
    EXTENSION_BENCODE_LIMITS,
    KIB,
    METADATA_MESSAGE_BENCODE_LIMITS,
    PEX_BENCODE_LIMITS,
)
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import PieceIndex
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.protocol.wire.exchange import UT_PEX
from torrent_engine.protocol.wire.extension import (
    DONT_HAVE,
    MAX_EXTENSIONS,
    decode_extension_handshake,
)
from torrent_engine.protocol.wire.holepunch import UT_HOLEPUNCH
from torrent_engine.protocol.wire.messages import (
    AllowedFast,
    BlockRequest,
    ExtensionHandshakeReceived,
    ExtensionMessageReceived,
    MessageId,
    PeerBitfield,
    PeerChoked,
    PeerEvent,
    PeerHas,
    PeerInterested,
    PeerLost,
    PeerNotInterested,
    PeerUnchoked,
    PieceSuggested,
    PortReceived,
    RequestCancelled,
    RequestRejected,
)
from torrent_engine.protocol.wire.metadata import UT_METADATA

if TYPE_CHECKING:
    from torrent_engine.protocol.wire.connection import PeerConnection

_BLOCK = struct.Struct(">III").unpack
MAX_ALLOWED_FAST_IN: Final = 100  # ours; BEP 6 speaks of about ten
MAX_PORTS: Final = 3  # ours: DHT ports that one peer may name, one after the other

# What messages cost beyond the one unit of each, which stands for 2 to 10 us.
CHANGE_UNITS: Final = 8
"""A choke or interest, or its end, where that is news: somebody may be unchoked, or asked."""
BITFIELD_UNITS: Final = 64
BITFIELD_PIECES_PER_UNIT: Final = 1024
EXTENDED_UNITS: Final = 8
EXTENDED_BYTES_PER_UNIT: Final = 64

FIXED_FRAME_BYTES: Final[dict[int, int]] = {
    MessageId.CHOKE: 1,
    MessageId.UNCHOKE: 1,
    MessageId.INTERESTED: 1,
    MessageId.NOT_INTERESTED: 1,
    MessageId.HAVE: 5,
    MessageId.REQUEST: 13,
    MessageId.CANCEL: 13,
    MessageId.PORT: 3,
    MessageId.SUGGEST_PIECE: 5,
    MessageId.HAVE_ALL: 1,
    MessageId.HAVE_NONE: 1,
    MessageId.REJECT_REQUEST: 13,
    MessageId.ALLOWED_FAST: 5,
}
"""What the length prefix of a message must say."""

BEP_OF: Final[dict[int, int]] = {
    MessageId.PORT: 5,
    MessageId.SUGGEST_PIECE: 6,
    MessageId.HAVE_ALL: 6,
    MessageId.HAVE_NONE: 6,
    MessageId.REJECT_REQUEST: 6,
    MessageId.ALLOWED_FAST: 6,
    MessageId.EXTENDED: 10,
}
"""Where a message that is not of BEP 3 is defined."""


class BodySizes(NamedTuple):
    """How long the payload of an extension's message may be, behind its extended id."""

    low_bytes: int
    high_bytes: int
    bep: int


EXTENDED_HEADER_BYTES: Final = 2
EXTENSION_HANDSHAKE: Final = "extension handshake"
EXTENSION_SIZES: Final[Mapping[str, BodySizes]] = {
    EXTENSION_HANDSHAKE: BodySizes(0, EXTENSION_BENCODE_LIMITS.max_bytes, 10),
    UT_METADATA: BodySizes(0, METADATA_MESSAGE_BENCODE_LIMITS.max_bytes, 9),
    UT_PEX: BodySizes(0, PEX_BENCODE_LIMITS.max_bytes, 11),
    UT_HOLEPUNCH: BodySizes(0, KIB, 55),  # ours: 24 bytes, and what later versions may add
    DONT_HAVE: BodySizes(4, 4, 54),
}
"""Of the extensions that we know; others may be as long as any extension's."""

IGNORED_IDS: Final = frozenset({21, 22, 23})
"""BEP 52's hash messages: a hybrid torrent's peer may send them, we load its v1 part.

They are passed over as they come and never held in memory.
"""


def _choke(connection: "PeerConnection", _payload: memoryview) -> PeerEvent | None:
    if connection.peer_choking:
        return None
    connection.peer_choking = True
    connection.control_units += CHANGE_UNITS
    lost: tuple[BlockRequest, ...] = ()
    if not connection.fast_enabled:
        lost = connection.outstanding_requests()
        connection.forsake(lost)
    return PeerChoked(lost)


def _unchoke(connection: "PeerConnection", _payload: memoryview) -> PeerEvent | None:
    if not connection.peer_choking:
        return None
    connection.peer_choking = False
    connection.control_units += CHANGE_UNITS
    return PeerUnchoked()


def _interested(connection: "PeerConnection", _payload: memoryview) -> PeerEvent | None:
    if connection.peer_interested:
        return None
    connection.peer_interested = True
    connection.control_units += CHANGE_UNITS
    return PeerInterested()


def _not_interested(connection: "PeerConnection", _payload: memoryview) -> PeerEvent | None:
    if not connection.peer_interested:
        return None
    connection.peer_interested = False
    connection.control_units += CHANGE_UNITS
    return PeerNotInterested()


def _piece_index(connection: "PeerConnection", payload: memoryview, bep: int) -> PieceIndex:
    piece = int.from_bytes(payload, "big")
    if piece >= connection.piece_count:
        raise RemoteProtocolError(f"piece {piece} of {connection.piece_count}", bep=bep)
    return PieceIndex(piece)


def _have(connection: "PeerConnection", payload: memoryview) -> PeerEvent:
    piece = _piece_index(connection, payload, 3)
    connection.is_bitfield_over = True
    return PeerHas(piece)


def _bitfield(connection: "PeerConnection", payload: memoryview) -> PeerEvent:
    charge_bitfield(connection)
    # BEP 3 has it first or never, but aria2 packs many haves into a later bitfield or have all.
    connection.is_bitfield_over = True
    return PeerBitfield(Bitfield.from_bytes(bytes(payload), connection.piece_count))


def charge_bitfield(connection: "PeerConnection") -> None:
    """Count what speaks of every piece as many messages, unless it is the first that must come."""
    if connection.is_bitfield_over:
        connection.control_units += BITFIELD_UNITS
        connection.control_units += connection.piece_count // BITFIELD_PIECES_PER_UNIT


def need_fast(connection: "PeerConnection", what: str) -> None:
    """Refuse a message of BEP 6 where the two sides did not agree on it."""
    if not connection.fast_enabled:
        raise RemoteProtocolError(f"{what} without the Fast extension", bep=6)


def _have_all(connection: "PeerConnection", _payload: memoryview) -> PeerEvent:
    need_fast(connection, "have all")
    charge_bitfield(connection)
    connection.is_bitfield_over = True
    return PeerBitfield(_every_piece(connection.piece_count))


@lru_cache(maxsize=8)
def _every_piece(piece_count: int) -> Bitfield:
    """Return a bitfield that all events share; nobody may change it."""
    return Bitfield.full(piece_count)


def _have_none(connection: "PeerConnection", _payload: memoryview) -> PeerEvent:
    begin_with_none(connection)
    return PeerBitfield(Bitfield(connection.piece_count))


def begin_with_none(connection: "PeerConnection") -> None:
    """Check that "have none" may come now (BEP 6)."""
    need_fast(connection, "have none")
    if connection.is_bitfield_over:
        raise RemoteProtocolError("have none after the first have or bitfield", bep=6)
    connection.is_bitfield_over = True


def _cancel(connection: "PeerConnection", payload: memoryview) -> PeerEvent | None:
    request = BlockRequest(*_BLOCK(payload))
    if not connection.upload_requests.discard(request):
        return None  # already answered: BEP 3 lets the two cross
    connection.control_units += 1
    connection.reject_asked(request)  # BEP 6: a cancelled request is answered all the same
    return RequestCancelled(request)


def _port(connection: "PeerConnection", payload: memoryview) -> PeerEvent | None:
    port, named = int.from_bytes(payload, "big"), connection.ports_in
    if port in named or len(named) >= MAX_PORTS:
        return None
    named.add(port)
    return PortReceived(port)


def _suggest(connection: "PeerConnection", payload: memoryview) -> PeerEvent:
    need_fast(connection, "suggest piece")
    return PieceSuggested(_piece_index(connection, payload, 6))


def _reject(connection: "PeerConnection", payload: memoryview) -> PeerEvent | None:
    need_fast(connection, "reject request")
    request = BlockRequest(*_BLOCK(payload))
    return RequestRejected(request) if connection.take_back(request) else None


def _allowed_fast(connection: "PeerConnection", payload: memoryview) -> PeerEvent | None:
    need_fast(connection, "allowed fast")
    piece = _piece_index(connection, payload, 6)
    allowed = connection.allowed_fast_in
    if piece in allowed or len(allowed) >= MAX_ALLOWED_FAST_IN:
        return None
    connection.allowed_fast_in.add(piece)
    return AllowedFast(piece)


def _extended(connection: "PeerConnection", payload: memoryview) -> PeerEvent | None:
    connection.control_units += EXTENDED_UNITS
    number, body = payload[0], bytes(payload[1:])
    if number == 0:
        return _extension_handshake(connection, body)
    name = connection.extension_names[number]
    if name == DONT_HAVE:
        return _dont_have(connection, body)
    return ExtensionMessageReceived(name, body)


def _extension_handshake(connection: "PeerConnection", body: bytes) -> PeerEvent | None:
    """Take what a peer says of itself; None if it says nothing new."""
    digest = hash(body)
    if digest == connection.last_extension_handshake:
        return None
    connection.control_units += len(body) // EXTENDED_BYTES_PER_UNIT
    handshake = decode_extension_handshake(body)
    connection.last_extension_handshake = digest
    _merge_extensions(connection.peer_extensions, handshake.extensions)
    return ExtensionHandshakeReceived(handshake)


def _merge_extensions(known: dict[str, int], named: Mapping[str, int]) -> None:
    """BEP 10: each handshake adds to what came before; a bound keeps that from growing for ever."""
    for name, number in named.items():
        if name in known or len(known) < MAX_EXTENSIONS:
            known[name] = number


def _dont_have(connection: "PeerConnection", body: bytes) -> PeerEvent | None:
    if connection.geometry is None:
        connection.early.lost(int.from_bytes(body, "big"))
        return None
    return PeerLost(_piece_index(connection, memoryview(body), 54))


Decoder: TypeAlias = Callable[["PeerConnection", memoryview], PeerEvent | None]

CONTROL_DECODERS: Final[dict[int, Decoder]] = {
    MessageId.CHOKE: _choke,
    MessageId.UNCHOKE: _unchoke,
    MessageId.INTERESTED: _interested,
    MessageId.NOT_INTERESTED: _not_interested,
    MessageId.HAVE: _have,
    MessageId.BITFIELD: _bitfield,
    MessageId.CANCEL: _cancel,
    MessageId.PORT: _port,
    MessageId.SUGGEST_PIECE: _suggest,
    MessageId.HAVE_ALL: _have_all,
    MessageId.HAVE_NONE: _have_none,
    MessageId.REJECT_REQUEST: _reject,
    MessageId.ALLOWED_FAST: _allowed_fast,
    MessageId.EXTENDED: _extended,
}


def check_frame(connection: "PeerConnection", kind: int, length: int) -> None:
    """Refuse a message whose length cannot be, before any memory is taken for it (row B1)."""
    limits = connection.limits
    if kind in FIXED_FRAME_BYTES:
        low = high = FIXED_FRAME_BYTES[kind]
    elif kind == MessageId.BITFIELD and connection.geometry is None:
        low, high = 1, 1 + limits.max_early_pieces // 8
    elif kind == MessageId.BITFIELD:
        low = high = 1 + (connection.piece_count + 7) // 8
    elif kind == MessageId.EXTENDED:
        low, high = 2, limits.max_extension_message_bytes
    elif kind == MessageId.PIECE:
        low, high = 10, limits.max_message_bytes  # 9 bytes of header, at least one of payload
    elif kind in IGNORED_IDS:
        low, high = 1, limits.max_message_bytes
    else:
        raise RemoteProtocolError(f"unknown message {kind}", bep=3)
    if not low <= length <= high:
        raise RemoteProtocolError(f"message {kind} of {length} bytes", bep=BEP_OF.get(kind, 3))


def is_ignored(connection: "PeerConnection", number: int, length: int) -> bool:
    """Check the extended id and the length of a message; return whether nobody named that id.

    Such a message is passed over as it comes (BEP 10). Raises RemoteProtocolError if the length
    cannot be, or there may be no such message at all.
    """
    if not connection.extensions_enabled:
        raise RemoteProtocolError("extended message without the extension bit", bep=10)
    if number == 0:
        name: str | None = EXTENSION_HANDSHAKE
    else:
        name = connection.extension_names.get(number)
    if name is None:
        return True
    sizes, body_bytes = EXTENSION_SIZES.get(name), length - EXTENDED_HEADER_BYTES
    if sizes is not None and not sizes.low_bytes <= body_bytes <= sizes.high_bytes:
        raise RemoteProtocolError(f"{name} of {body_bytes} bytes", bep=sizes.bep)
    return False
