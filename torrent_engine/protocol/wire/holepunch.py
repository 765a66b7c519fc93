"""Hole punching messages: ``ut_holepunch``.

Source: BEP 55.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from torrent_engine.base.errors import LocalProtocolError, RemoteProtocolError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.codec.compact import (
    IPV4_PEER_BYTES,
    IPV6_PEER_BYTES,
    decode_ipv4_peers,
    decode_ipv6_peers,
    encode_peer,
)

UT_HOLEPUNCH: Final = "ut_holepunch"
_HEAD_BYTES: Final = 2
_REASON_BYTES: Final = 4
_ADDRESS_BYTES: Final = {0: IPV4_PEER_BYTES, 1: IPV6_PEER_BYTES}


class HolepunchKind(IntEnum):
    """The message types."""

    RENDEZVOUS = 0
    """Introduce the sender to a peer that the receiver is connected to."""
    CONNECT = 1
    """Connect to this peer over uTP now; it connects at the same time."""
    ERROR = 2
    """The rendezvous failed."""


class HolepunchRefusal(IntEnum):
    """The error codes."""

    NONE = 0
    """No error, or an error without a code."""
    NO_SUCH_PEER = 1
    """The target address is invalid."""
    NOT_CONNECTED = 2
    """The relay is not connected to the target."""
    NO_SUPPORT = 3
    """The target does not support the extension."""
    NO_SELF = 4
    """The target is the relay or the initiator."""


@dataclass(frozen=True, slots=True)
class HolepunchMessage:
    """One message (BEP 55)."""

    kind: HolepunchKind
    address: PeerAddress
    """The other peer; in an error the target of the rendezvous."""
    reason: int = HolepunchRefusal.NONE
    """A :class:`HolepunchRefusal` or an unknown code; 0 unless it is an error."""


def encode_holepunch(message: HolepunchMessage) -> bytes:
    """Return the payload of one message, without its header; 12 bytes for IPv4, 24 for IPv6.

    Raises LocalProtocolError if the host is no literal address, or the port out of range.
    """
    packed = encode_peer(message.address)
    if not packed:
        raise LocalProtocolError(f"invalid ut_holepunch address {message.address}")
    is_ipv6 = len(packed) == IPV6_PEER_BYTES
    return bytes((message.kind, is_ipv6)) + packed + _reason(message.reason)


def encode_refusal(rendezvous: bytes, reason: HolepunchRefusal) -> bytes:
    """Return the error for a rendezvous, given its valid payload.

    Its address is that of the rendezvous, byte for byte.
    """
    end = _HEAD_BYTES + _ADDRESS_BYTES[rendezvous[1]]
    return bytes((HolepunchKind.ERROR,)) + rendezvous[1:end] + _reason(reason)


def decode_holepunch(payload: bytes) -> HolepunchMessage | None:
    """Decode one message; None if its type or address type is unknown.

    An IPv4-mapped address becomes IPv4. A missing error code, which libtorrent omits unless it is
    an error, is 0; trailing bytes are ignored. Raises RemoteProtocolError if the payload is
    truncated.
    """
    if len(payload) < _HEAD_BYTES:
        raise RemoteProtocolError(f"ut_holepunch of {len(payload)} bytes", bep=55)
    kind, family = payload[0], payload[1]
    if family not in _ADDRESS_BYTES or kind > max(HolepunchKind):
        return None
    end = _HEAD_BYTES + _ADDRESS_BYTES[family]
    if len(payload) < end:
        raise RemoteProtocolError(f"ut_holepunch of {len(payload)} bytes", bep=55)
    decode = decode_ipv6_peers if family else decode_ipv4_peers
    (address,) = decode(payload[_HEAD_BYTES:end])
    reason = payload[end : end + _REASON_BYTES]
    has_code = kind == HolepunchKind.ERROR and len(reason) == _REASON_BYTES
    return HolepunchMessage(
        HolepunchKind(kind), address, int.from_bytes(reason, "big") if has_code else 0
    )


def _reason(reason: int) -> bytes:
    return reason.to_bytes(_REASON_BYTES, "big")
