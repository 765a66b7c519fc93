"""NAT-PMP: the external address and port mappings of an IPv4 gateway.

Source: RFC 6886. A request has 2 or 12 bytes; a response has the opcode plus 128, a result code and
the epoch.
"""

import struct
from ipaddress import IPv4Address
from typing import Final

from torrent_engine.base.errors import GatewayError
from torrent_engine.protocol.nat.facts import (
    EpochSeen,
    ExternalAddressReply,
    GatewayReply,
    Mapped,
    MappedTransport,
    MapRequest,
    PortKey,
    Refused,
    VersionRefused,
)

VERSION: Final = 0
PCP_VERSION: Final = 2
ADDRESS: Final = 0
ANSWER: Final = 128
OPERATIONS: Final = {MappedTransport.UDP: 1, MappedTransport.TCP: 2}
RESULTS: Final = {
    1: "unsupported version",
    2: "not authorized",
    3: "network failure",
    4: "out of resources",
    5: "unsupported operation",
}
UNSUPPORTED_VERSION: Final = 1
EPOCH_SLACK_S: Final = 2.0  # RFC 6886 section 3.6
EPOCH_PACE: Final = 7 / 8  # the same: a gateway's clock may be slower than ours by this much
EPOCH_LEAD_S: Final = 60.0  # ours: more is a suspend, in which our clock may stand still

_MAP_REQUEST: Final = struct.Struct("!BBxxHHI")
_HEAD: Final = struct.Struct("!BBHI")
_ADDRESS_ANSWER: Final = struct.Struct("!BBHI4s")
_MAP_ANSWER: Final = struct.Struct("!BBHIHHI")
_PORT: Final = struct.Struct("!H")
_TRANSPORTS: Final = {operation: transport for transport, operation in OPERATIONS.items()}


class NatPmp:
    """NAT-PMP (RFC 6886), client side."""

    name = "NAT-PMP"
    checks_first = True  # only this response has the external address
    is_patient = False

    def map_request(self, request: MapRequest) -> bytes:
        """Encode a mapping request; with lifetime 0 it has no external port."""
        external_port = request.external_port if request.lifetime_s else 0
        return _MAP_REQUEST.pack(
            VERSION,
            OPERATIONS[request.key.transport],
            request.key.internal_port,
            external_port,
            request.lifetime_s,
        )

    def check_request(self) -> bytes:
        """Encode an external address request."""
        return bytes((VERSION, ADDRESS))

    def decode(self, data: bytes) -> GatewayReply | VersionRefused:
        """Decode one response; trailing bytes are ignored.

        Raises GatewayError if it is truncated, no response, of another version, or maps external
        port 0.
        """
        if len(data) >= 4 and data[0] == PCP_VERSION and data[3] == UNSUPPORTED_VERSION:
            return VersionRefused(PCP_VERSION)  # a PCP server (RFC 6887 section 9)
        if len(data) < _HEAD.size:
            raise GatewayError(f"NAT-PMP answer of {len(data)} bytes")
        version, operation, result, epoch_s = _HEAD.unpack_from(data)
        if operation < ANSWER:
            raise GatewayError(f"NAT-PMP message {operation} is no answer")
        if result == UNSUPPORTED_VERSION:
            return VersionRefused(version)
        if version != VERSION:
            raise GatewayError(f"NAT-PMP answer of version {version}")
        if result:
            return _refused(data, operation - ANSWER, result, epoch_s)
        return _succeeded(data, operation - ANSWER)

    def has_restarted(self, before: EpochSeen, now: EpochSeen) -> bool:
        """Return whether mappings may be lost between two responses.

        The epoch is lower than it can be without a restart (section 3.6), or so much higher that
        we were suspended and mappings may have expired. The second is ours: RFC 6886 does not
        forbid early renewals.
        """
        passed_s = now.at_s - before.at_s
        least_s = before.epoch_s + EPOCH_PACE * passed_s
        most_s = before.epoch_s + passed_s / EPOCH_PACE
        return now.epoch_s < least_s - EPOCH_SLACK_S or now.epoch_s > most_s + EPOCH_LEAD_S


def _succeeded(data: bytes, operation: int) -> GatewayReply:
    if operation == ADDRESS:
        return _address(data)
    if operation in _TRANSPORTS:
        return _mapped(data, _TRANSPORTS[operation])
    raise GatewayError(f"NAT-PMP answer to operation {operation}")


def _address(data: bytes) -> ExternalAddressReply:
    if len(data) < _ADDRESS_ANSWER.size:
        raise GatewayError(f"NAT-PMP address in {len(data)} bytes")
    _, _, _, epoch_s, packed = _ADDRESS_ANSWER.unpack_from(data)
    return ExternalAddressReply(epoch_s, str(IPv4Address(packed)))


def _mapped(data: bytes, transport: MappedTransport) -> Mapped:
    if len(data) < _MAP_ANSWER.size:
        raise GatewayError(f"NAT-PMP mapping in {len(data)} bytes")
    _, _, _, epoch_s, internal_port, external_port, lifetime_s = _MAP_ANSWER.unpack_from(data)
    if lifetime_s and not external_port:
        raise GatewayError("NAT-PMP mapping to external port 0")
    key = PortKey(transport, internal_port)
    return Mapped(epoch_s, key, external_port, lifetime_s, None)


def _refused(data: bytes, operation: int, result: int, epoch_s: int) -> Refused:
    """Decode an error response, which may be truncated after the epoch."""
    key = None
    transport = _TRANSPORTS.get(operation)
    if transport is not None and len(data) >= _HEAD.size + _PORT.size:
        (internal_port,) = _PORT.unpack_from(data, _HEAD.size)
        key = PortKey(transport, internal_port)
    return Refused(epoch_s, result, RESULTS.get(result, f"result {result}"), key, None)
