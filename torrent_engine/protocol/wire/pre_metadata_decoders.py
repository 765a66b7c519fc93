"""Decoders of the messages that name pieces, for use while the number of pieces is unknown."""

from typing import Final

from torrent_engine.protocol.wire.connection_state import ConnectionState
from torrent_engine.protocol.wire.control import (
    CONTROL_DECODERS,
    Decoder,
    begin_with_none,
    charge_bitfield,
    need_fast,
)
from torrent_engine.protocol.wire.messages import MessageId


def _have(state: ConnectionState, payload: memoryview) -> None:
    state.pre_metadata.has(_number(payload))
    state.is_bitfield_over = True


def _bitfield(state: ConnectionState, payload: memoryview) -> None:
    charge_bitfield(state)
    state.pre_metadata.bitfield(bytes(payload))
    state.is_bitfield_over = True


def _have_all(state: ConnectionState, _payload: memoryview) -> None:
    need_fast(state, "have all")
    state.pre_metadata.has_all_or_none(has_all=True)
    state.is_bitfield_over = True


def _have_none(state: ConnectionState, _payload: memoryview) -> None:
    begin_with_none(state)
    state.pre_metadata.has_all_or_none(has_all=False)


def _suggest(state: ConnectionState, payload: memoryview) -> None:
    need_fast(state, "suggest piece")
    state.pre_metadata.suggests(_number(payload))


def _allowed_fast(state: ConnectionState, payload: memoryview) -> None:
    need_fast(state, "allowed fast")
    state.pre_metadata.allows(_number(payload))


def _number(payload: memoryview) -> int:
    return int.from_bytes(payload, "big")


PRE_METADATA_DECODERS: Final[dict[int, Decoder]] = CONTROL_DECODERS | {
    MessageId.HAVE: _have,
    MessageId.BITFIELD: _bitfield,
    MessageId.HAVE_ALL: _have_all,
    MessageId.HAVE_NONE: _have_none,
    MessageId.SUGGEST_PIECE: _suggest,
    MessageId.ALLOWED_FAST: _allowed_fast,
}
"""The decoder of each message while the number of pieces is unknown."""
