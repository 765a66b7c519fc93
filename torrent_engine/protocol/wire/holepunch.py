"""The messages by which a peer introduces two others to each other: ``ut_holepunch``.

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
    """What a message asks for."""

    RENDEZVOUS = 0
    """Introduce the sender to a peer that the receiver is connected to."""
    CONNECT = 1
    """Dial this peer over uTP now: it dials at the same moment."""
    ERROR = 2
    """The rendezvous comes to nothing."""


class HolepunchRefusal(IntEnum):
    """Why a rendezvous comes to nothing."""

    NONE = 0
    """It is no error message; or the sender of one does not say why."""
    NO_SUCH_PEER = 1
    """The address is none of a peer."""
    NOT_CONNECTED = 2
    """The relay is not connected to that peer."""
    NO_SUPPORT = 3
    """The peer there does not speak the extension."""
    NO_SELF = 4
    """The address is that of the relay, or of who asks."""


@dataclass(frozen=True, slots=True)
class HolepunchMessage:
    """One message (BEP 55)."""

    kind: HolepunchKind
    address: PeerAddress
    """Of the peer that is to be met; in an error, the one of the rendezvous."""
    reason: int = HolepunchRefusal.NONE
    """One of :class:`HolepunchRefusal`, or a number of a later time; 0 but in an error."""


def encode_holepunch(message: HolepunchMessage) -> bytes:
    """Return the payload of one message, without its header; 12 bytes for IPv4, 24 for IPv6.

    Raises LocalProtocolError if the host is no literal address, or the port out of range.
    """
    packed = encode_peer(message.address)
    if not packed:
        raise LocalProtocolError(f"ut_holepunch cannot name {message.address}")
    is_ipv6 = len(packed) == IPV6_PEER_BYTES
    return bytes((message.kind, is_ipv6)) + packed + _reason(message.reason)


def encode_refusal(rendezvous: bytes, reason: HolepunchRefusal) -> bytes:
    """Return the error that answers a rendezvous, whose payload :func:`decode_holepunch` took.

    Its address is that of the rendezvous to the byte, as it must be.
    """
    end = _HEAD_BYTES + _ADDRESS_BYTES[rendezvous[1]]
    return bytes((HolepunchKind.ERROR,)) + rendezvous[1:end] + _reason(reason)


def decode_holepunch(payload: bytes) -> HolepunchMessage | None:
    """Decode one message; None if its kind, or that of its address, is of a later time.

    An IPv4-mapped address becomes IPv4. Where the reason is missing, as libtorrent leaves it out of
    what is no error, it is 0; what follows it is passed over. Raises RemoteProtocolError if the
    payload ends within its head or its address.
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
    is_told = kind == HolepunchKind.ERROR and len(reason) == _REASON_BYTES
    return HolepunchMessage(
        HolepunchKind(kind), address, int.from_bytes(reason, "big") if is_told else 0
    )


def _reason(reason: int) -> bytes:
    return reason.to_bytes(_REASON_BYTES, "big")
