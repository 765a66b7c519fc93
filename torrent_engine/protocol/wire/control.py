"""Decoders of every message that is not a block or a request.

Source: BEP 3, BEP 5 (port), BEP 6, BEP 10, BEP 52, BEP 54. Lengths are checked before these are
called.
"""

import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from torrent_engine.base.config import (
    EXTENSION_BENCODE_LIMITS,
    KIB,
    METADATA_MESSAGE_BENCODE_LIMITS,
    PEX_BENCODE_LIMITS,
)
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import PieceIndex
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.hash_trees import MAX_ASKED, folds_of
from torrent_engine.codec.merkle import piece_levels
from torrent_engine.protocol.wire.connection_state import ConnectionState
from torrent_engine.protocol.wire.exchange import UT_PEX
from torrent_engine.protocol.wire.extension import (
    DONT_HAVE,
    MAX_EXTENSIONS,
    decode_extension_handshake,
)
from torrent_engine.protocol.wire.hash_messages import (
    HASH_RANGE_BYTES,
    decode_hash_range,
    decode_hashes,
    hashes_frame_bytes,
)
from torrent_engine.protocol.wire.holepunch import UT_HOLEPUNCH
from torrent_engine.protocol.wire.messages import (
    AllowedFast,
    BlockRequest,
    ExtensionHandshakeReceived,
    ExtensionMessageReceived,
    HashesReceived,
    HashesRejected,
    HashesRequested,
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
from torrent_engine.protocol.wire.pre_metadata import MAX_ALLOWED_FAST_IN

_BLOCK = struct.Struct(">III").unpack
MAX_PORTS: Final = 3  # ours: different DHT ports that one peer may send

# The cost of messages in addition to one unit each, which stands for 2 to 10 us.
CHANGE_UNITS: Final = 8
"""A change of choke or interest, which may cause a rechoke or requests."""
BITFIELD_UNITS: Final = 64
BITFIELD_PIECES_PER_UNIT: Final = 1024
EXTENDED_UNITS: Final = 8
BYTES_PER_UNIT: Final = 6
"""Of messages in bencoding: one that must be corrected takes up to 1.7 us a byte."""
PEX_BYTES_PER_UNIT: Final = 3
"""Each contact is checked besides: 25 us for 7 bytes."""
MAX_LENGTH_UNITS: Final = 650
"""The decoders take no more than 2,000 tokens, which take up to 6.5 ms."""
HASH_REQUEST_UNITS: Final = 8
HASHES_PER_UNIT: Final = 64
FOLDS_PER_UNIT: Final = 8

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
"""The length prefix of messages of fixed length."""

BEP_OF: Final[dict[int, int]] = {
    MessageId.PORT: 5,
    MessageId.SUGGEST_PIECE: 6,
    MessageId.HAVE_ALL: 6,
    MessageId.HAVE_NONE: 6,
    MessageId.REJECT_REQUEST: 6,
    MessageId.ALLOWED_FAST: 6,
    MessageId.EXTENDED: 10,
    MessageId.HASH_REQUEST: 52,
    MessageId.HASHES: 52,
    MessageId.HASH_REJECT: 52,
}
"""The BEP of messages that BEP 3 does not define."""


class BodySizes(NamedTuple):
    """Limits on the payload of an extension message, after its extended id."""

    low_bytes: int
    high_bytes: int
    bep: int


EXTENDED_HEADER_BYTES: Final = 2
PIECE_INDEX_BYTES: Final = 4
EXTENSION_HANDSHAKE: Final = "extension handshake"
EXTENSION_SIZES: Final[Mapping[str, BodySizes]] = {
    EXTENSION_HANDSHAKE: BodySizes(0, EXTENSION_BENCODE_LIMITS.max_bytes, 10),
    UT_METADATA: BodySizes(0, METADATA_MESSAGE_BENCODE_LIMITS.max_bytes, 9),
    UT_PEX: BodySizes(0, PEX_BENCODE_LIMITS.max_bytes, 11),
    UT_HOLEPUNCH: BodySizes(0, KIB, 55),  # ours: 24 bytes, and later additions
    DONT_HAVE: BodySizes(0, KIB, 54),  # ours: 4 bytes, and later additions
}
"""Limits of known extensions; for others the general limit of extended messages applies."""

HASH_IDS: Final = frozenset({MessageId.HASH_REQUEST, MessageId.HASHES, MessageId.HASH_REJECT})
"""BEP 52's hash messages: links of the v2 swarm have them, also of a hybrid torrent.

Those of its v1 swarm skip them as they arrive, without buffering.
"""


def is_skipped(state: ConnectionState, kind: int) -> bool:
    """Return whether messages of this kind are skipped as they arrive.

    A request is not, as long as it is not known whether the torrent is one of v2.
    """
    is_early = kind == MessageId.HASH_REQUEST and state.geometry is None
    return kind in HASH_IDS and not state.is_v2 and not is_early


def _choke(state: ConnectionState, _payload: memoryview) -> PeerEvent | None:
    if state.peer_choking:
        return None
    state.peer_choking = True
    state.control_units += CHANGE_UNITS
    lost: tuple[BlockRequest, ...] = ()
    if not state.fast_enabled:
        lost = state.outstanding_requests()
        state.abandon(lost)
    return PeerChoked(lost)


def _unchoke(state: ConnectionState, _payload: memoryview) -> PeerEvent | None:
    if not state.peer_choking:
        return None
    state.peer_choking = False
    state.control_units += CHANGE_UNITS
    return PeerUnchoked()


def _interested(state: ConnectionState, _payload: memoryview) -> PeerEvent | None:
    if state.peer_interested:
        return None
    state.peer_interested = True
    state.control_units += CHANGE_UNITS
    return PeerInterested()


def _not_interested(state: ConnectionState, _payload: memoryview) -> PeerEvent | None:
    if not state.peer_interested:
        return None
    state.peer_interested = False
    state.control_units += CHANGE_UNITS
    return PeerNotInterested()


def _piece_index(state: ConnectionState, payload: memoryview, bep: int) -> PieceIndex:
    piece = int.from_bytes(payload, "big")
    if piece >= state.piece_count:
        raise RemoteProtocolError(f"piece {piece} of {state.piece_count}", bep=bep)
    return PieceIndex(piece)


def _have(state: ConnectionState, payload: memoryview) -> PeerEvent:
    piece = _piece_index(state, payload, 3)
    state.is_bitfield_over = True
    return PeerHas(piece)


def _bitfield(state: ConnectionState, payload: memoryview) -> PeerEvent:
    charge_bitfield(state)
    # BEP 3 has it first or never, but aria2 packs many haves into a later bitfield or have all.
    state.is_bitfield_over = True
    return PeerBitfield(Bitfield.from_bytes(bytes(payload), state.piece_count))


def charge_bitfield(state: ConnectionState) -> None:
    """Charge a message about all pieces as many messages, unless it is the first one."""
    if state.is_bitfield_over:
        state.control_units += BITFIELD_UNITS
        state.control_units += state.piece_count // BITFIELD_PIECES_PER_UNIT


def need_fast(state: ConnectionState, what: str) -> None:
    """Raise RemoteProtocolError unless the Fast extension is enabled."""
    if not state.fast_enabled:
        raise RemoteProtocolError(f"{what} without the Fast extension", bep=6)


def _have_all(state: ConnectionState, _payload: memoryview) -> PeerEvent:
    need_fast(state, "have all")
    charge_bitfield(state)
    state.is_bitfield_over = True
    return PeerBitfield(_every_piece(state.piece_count))


@lru_cache(maxsize=8)
def _every_piece(piece_count: int) -> Bitfield:
    """Return a full bitfield that events share; it must not be changed."""
    return Bitfield.full(piece_count)


def _have_none(state: ConnectionState, _payload: memoryview) -> PeerEvent:
    begin_with_none(state)
    return PeerBitfield(Bitfield(state.piece_count))


def begin_with_none(state: ConnectionState) -> None:
    """Check that "have none" is allowed now (BEP 6)."""
    need_fast(state, "have none")
    if state.is_bitfield_over:
        raise RemoteProtocolError("have none after the first have or bitfield", bep=6)
    state.is_bitfield_over = True


def _cancel(state: ConnectionState, payload: memoryview) -> PeerEvent | None:
    request = BlockRequest(*_BLOCK(payload))
    if not state.upload_requests.discard(request):
        return None  # already served: the messages crossed (BEP 3)
    state.control_units += 1
    state.reject_limited(request)  # BEP 6: a cancelled request is rejected too
    return RequestCancelled(request)


def _port(state: ConnectionState, payload: memoryview) -> PeerEvent | None:
    port, named = int.from_bytes(payload, "big"), state.dht_ports
    if port in named or len(named) >= MAX_PORTS:
        return None
    named.add(port)
    return PortReceived(port)


def _suggest(state: ConnectionState, payload: memoryview) -> PeerEvent:
    need_fast(state, "suggest piece")
    return PieceSuggested(_piece_index(state, payload, 6))


def _reject(state: ConnectionState, payload: memoryview) -> PeerEvent | None:
    need_fast(state, "reject request")
    request = BlockRequest(*_BLOCK(payload))
    return RequestRejected(request) if state.request_rejected(request) else None


def _allowed_fast(state: ConnectionState, payload: memoryview) -> PeerEvent | None:
    need_fast(state, "allowed fast")
    piece = _piece_index(state, payload, 6)
    allowed = state.allowed_fast_in
    if piece in allowed or len(allowed) >= MAX_ALLOWED_FAST_IN:
        return None
    state.allowed_fast_in.add(piece)
    return AllowedFast(piece)


def _extended(state: ConnectionState, payload: memoryview) -> PeerEvent | None:
    state.control_units += EXTENDED_UNITS
    number, body = payload[0], bytes(payload[1:])
    if number == 0:
        return _extension_handshake(state, body)
    name = state.extension_names[number]
    if name != UT_METADATA:  # few tokens, and metadata behind them
        _charge_length(state, body, PEX_BYTES_PER_UNIT if name == UT_PEX else BYTES_PER_UNIT)
    if name == DONT_HAVE:
        return _dont_have(state, body)
    return ExtensionMessageReceived(name, body)


def _charge_length(state: ConnectionState, body: bytes, bytes_per_unit: int) -> None:
    """Charge an extended message for what decoding it may take."""
    state.control_units += min(len(body) // bytes_per_unit, MAX_LENGTH_UNITS)


def _extension_handshake(state: ConnectionState, body: bytes) -> PeerEvent | None:
    """Process an extension handshake; return None if it repeats the last one."""
    digest = hash(body)
    if digest == state.last_extension_handshake:
        return None
    _charge_length(state, body, BYTES_PER_UNIT)
    handshake = decode_extension_handshake(body)
    state.last_extension_handshake = digest
    _merge_extensions(state.peer_extensions, handshake.extensions)
    return ExtensionHandshakeReceived(handshake)


def _merge_extensions(known: dict[str, int], named: Mapping[str, int]) -> None:
    """Add the extensions of a further handshake (BEP 10), up to a maximum."""
    for name, number in named.items():
        if name in known or len(known) < MAX_EXTENSIONS:
            known[name] = number


def _dont_have(state: ConnectionState, body: bytes) -> PeerEvent | None:
    if len(body) < PIECE_INDEX_BYTES:
        return None
    body = body[:PIECE_INDEX_BYTES]
    if state.geometry is None:
        state.pre_metadata.lost(int.from_bytes(body, "big"))
        return None
    return PeerLost(_piece_index(state, memoryview(body), 54))


def _hash_request(state: ConnectionState, payload: memoryview) -> PeerEvent:
    wanted = decode_hash_range(payload)
    state.control_units += HASH_REQUEST_UNITS + wanted.length // HASHES_PER_UNIT
    if state.geometry is not None:  # else few are kept for the run
        folds = folds_of(wanted, piece_levels(state.geometry.piece_bytes))
        state.control_units += folds // FOLDS_PER_UNIT
    return HashesRequested(wanted)


def _hashes(state: ConnectionState, payload: memoryview) -> PeerEvent:
    wanted, hashes = decode_hashes(payload)
    if wanted not in state.hash_requests:
        raise RemoteProtocolError("hashes that nobody asked for", bep=52)
    state.hash_requests.discard(wanted)
    state.control_units += HASH_REQUEST_UNITS + wanted.length // HASHES_PER_UNIT
    return HashesReceived(wanted, hashes)


def _hash_reject(state: ConnectionState, payload: memoryview) -> PeerEvent | None:
    wanted = decode_hash_range(payload)
    if wanted not in state.hash_requests:
        state.strike("reject of hashes that nobody asked for", bep=52)
        return None
    state.hash_requests.discard(wanted)
    return HashesRejected(wanted)


Decoder: TypeAlias = Callable[[ConnectionState, memoryview], PeerEvent | None]

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
    MessageId.HASH_REQUEST: _hash_request,
    MessageId.HASHES: _hashes,
    MessageId.HASH_REJECT: _hash_reject,
}


def check_frame(state: ConnectionState, kind: int, length: int) -> None:
    """Raise RemoteProtocolError for an impossible length, before taking memory for it (row B1)."""
    limits = state.limits
    if is_skipped(state, kind):
        low, high = 1, limits.max_message_bytes
    elif kind in {MessageId.HASH_REQUEST, MessageId.HASH_REJECT}:
        low = high = 1 + HASH_RANGE_BYTES
    elif kind == MessageId.HASHES:
        low, high = 1 + HASH_RANGE_BYTES, hashes_frame_bytes(MAX_ASKED)
    elif kind in FIXED_FRAME_BYTES:
        low = high = FIXED_FRAME_BYTES[kind]
    elif kind == MessageId.BITFIELD and state.geometry is None:
        low, high = 1, 1 + limits.max_pre_metadata_pieces // 8
    elif kind == MessageId.BITFIELD:
        low = high = 1 + (state.piece_count + 7) // 8
    elif kind == MessageId.EXTENDED:
        low, high = 2, limits.max_extension_message_bytes
    elif kind == MessageId.PIECE:
        low, high = 10, limits.max_message_bytes  # 9 bytes of header, at least one of payload
    else:
        raise RemoteProtocolError(f"unknown message {kind}", bep=3)
    if not low <= length <= high:
        raise RemoteProtocolError(f"message {kind} of {length} bytes", bep=BEP_OF.get(kind, 3))


def is_ignored(state: ConnectionState, number: int, length: int) -> bool:
    """Return whether an extended message id is unknown, after a check of its length.

    Such a message is skipped as it arrives (BEP 10). Raises RemoteProtocolError if the length is
    impossible, or extended messages are not enabled.
    """
    if not state.extensions_enabled:
        raise RemoteProtocolError("extended message without the extension bit", bep=10)
    if number == 0:
        name: str | None = EXTENSION_HANDSHAKE
    else:
        name = state.extension_names.get(number)
    if name is None:
        return True
    sizes, body_bytes = EXTENSION_SIZES.get(name), length - EXTENDED_HEADER_BYTES
    if sizes is not None and not sizes.low_bytes <= body_bytes <= sizes.high_bytes:
        raise RemoteProtocolError(f"{name} of {body_bytes} bytes", bep=sizes.bep)
    return False
