"""Validation of the peer's requests: each is queued, rejected or a protocol error.

Source: BEP 3, BEP 6, BEP 52; fault model, row B4. Older programs request the gap behind the end
of a file of a v2 torrent, too, and want zeros. Requests for whole blocks, nearly all of them, are
queued in one step.
"""

import struct
from typing import Final

from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.protocol.wire.connection_state import ConnectionState
from torrent_engine.protocol.wire.messages import (
    BlockRequest,
    BlocksRequested,
    MessageId,
    PeerEvent,
)

REQUEST: Final = 6
REQUEST_FRAME_BYTES: Final = 17
_REQUEST_LENGTH = 13
_REQUEST_FRAMES = struct.Struct(">IBIII").iter_unpack
_new_tuple = tuple.__new__  # avoids the frame of NamedTuple.__new__
MAX_FAST_COPIES: Final = 3  # as libtorrent: copies of an allowed-fast piece for a choked peer
MAX_REQUESTS_AT_ONCE: Final = 256  # ours: rejecting all takes half a millisecond


def parse_requests(
    state: ConnectionState, view: memoryview, pos: int, end: int, events: list[PeerEvent]
) -> int:
    """Handle the consecutive requests from ``pos`` on; return where they end.

    Adds one BlocksRequested event for all that are queued.
    """
    queue, accepted, plain = state.upload_requests, list[BlockRequest](), list[BlockRequest]()
    last_piece = state.pieces.piece_count - 1
    last_begin = state.pieces.piece_bytes - BLOCK_BYTES
    room = 0 if state.am_choking else queue.room(state.limits.max_queued_requests)
    count, start = min((end - pos) // REQUEST_FRAME_BYTES, MAX_REQUESTS_AT_ONCE), pos
    stop = pos + count * REQUEST_FRAME_BYTES
    try:
        for length, kind, piece, begin, size in _REQUEST_FRAMES(view[pos:stop]):
            if kind != REQUEST or length != _REQUEST_LENGTH:
                break
            pos += REQUEST_FRAME_BYTES
            is_whole = size == BLOCK_BYTES and begin <= last_begin and piece < last_piece
            if is_whole:
                size = BLOCK_BYTES  # noqa: PLW2901 - one int for all, of 28 bytes each
            request = _new_tuple(BlockRequest, (piece, begin, size))
            if is_whole and len(plain) < room:
                plain.append(request)  # the usual case; queued together
            else:
                state.control_units += queue.extend(plain)
                accepted += plain
                plain.clear()
                _accept_or_reject(state, request, accepted)
                room = 0 if state.am_choking else queue.room(state.limits.max_queued_requests)
    finally:
        state.control_units += queue.extend(plain)
        accepted += plain
        if accepted:
            events.append(BlocksRequested(tuple(accepted)))
    requests = (pos - start) // REQUEST_FRAME_BYTES
    state.control_units += requests - len(accepted)
    return pos


def _accept_or_reject(
    state: ConnectionState, request: BlockRequest, accepted: list[BlockRequest]
) -> None:
    """Queue, reject or drop one request (fault model, row B4).

    It is charged as a control message, so that a flood of tiny requests is limited.
    """
    state.control_units += 1
    piece, begin, length = request
    if state.geometry is None:
        _reject_choked(state, request)
        return
    if piece >= state.pieces.piece_count or not length:
        raise RemoteProtocolError(f"request for {request}", bep=3)
    if begin + length > state.pieces.span_length(piece):
        raise RemoteProtocolError(f"request past the end of its piece: {request}", bep=3)
    if state.am_choking and not _is_allowed_fast(state, piece, length):
        _reject_choked(state, request)
    elif length > BLOCK_BYTES:
        if not state.fast_enabled:
            raise RemoteProtocolError(f"request of {length} bytes", bep=3)
        state.reject_limited(request)
    elif state.upload_requests.room(state.limits.max_queued_requests) <= 0:
        state.reject_limited(request)
    else:
        state.upload_requests.append(request)
        accepted.append(request)


def _reject_choked(state: ConnectionState, request: BlockRequest) -> None:
    """Reject a request of a choked peer; too many of them are a protocol error."""
    state.choked_requests += 1
    if state.choked_requests > state.limits.max_choked_requests:
        raise RemoteProtocolError("too many requests while choked", bep=3)
    state.reject(request)
    if not state.fast_enabled:
        state.queue.keep_state(MessageId.CHOKE)  # nothing else says that it is dropped


def _is_allowed_fast(state: ConnectionState, piece: int, length: int) -> bool:
    """Return whether a choked peer may request this block of an allowed-fast piece."""
    if piece not in state.allowed_fast_out:
        return False
    taken_bytes = state.allowed_fast_bytes.get(piece, 0) + length
    if taken_bytes > MAX_FAST_COPIES * state.pieces.piece_length(piece):
        return False
    state.allowed_fast_bytes[piece] = taken_bytes
    return True
