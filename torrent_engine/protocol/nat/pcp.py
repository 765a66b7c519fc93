"""PCP: port mappings of IPv4 (NAT) and IPv6 (firewall) gateways.

Source: RFC 6887, version 2; the opcodes ANNOUNCE and MAP, without options. Addresses are 16 bytes,
IPv4 ones as ::ffff:a.b.c.d. The nonce of a mapping authenticates its owner to the gateway.
"""

import hashlib
import struct
from ipaddress import IPv6Address, ip_address
from typing import Final

from torrent_engine.base.errors import GatewayError
from torrent_engine.protocol.nat.facts import (
    EpochReply,
    EpochSeen,
    GatewayReply,
    Mapped,
    MappedTransport,
    MapRequest,
    PortKey,
    Refused,
    VersionRefused,
)

VERSION: Final = 2
NATPMP_VERSION: Final = 0
ANNOUNCE: Final = 0
MAP: Final = 1
ANSWER: Final = 0x80
NONCE_BYTES: Final = 12
MIN_BYTES: Final = 24
MAX_BYTES: Final = 1_100  # RFC 6887 section 7
RESULTS: Final = {
    1: "unsupported version",
    2: "not authorized",
    3: "malformed request",
    4: "unsupported opcode",
    5: "unsupported option",
    6: "malformed option",
    7: "network failure",
    8: "no resources",
    9: "unsupported protocol",
    10: "quota exceeded",
    11: "cannot provide the external port",
    12: "address mismatch",
    13: "too many remote peers",
}
UNSUPPORTED_VERSION: Final = 1
BACKWARD_SLACK_S: Final = 1  # RFC 6887 section 8.5: responses may be reordered
EPOCH_SLACK_S: Final = 2.0  # the same
EPOCH_DRIFT: Final = 1 / 16  # the same: relative drift of the clocks

_REQUEST: Final = struct.Struct("!BBxxI16s")
_ANSWER: Final = struct.Struct("!BBxBII12x")
_MAP: Final = struct.Struct("!12sBxxxHH16s")
_NATPMP_HEAD: Final = struct.Struct("!BBH")
_IPV4_PREFIX: Final = bytes(10) + b"\xff\xff"


class Pcp:
    """PCP (RFC 6887), client side.

    ``client_host`` is the source address of the requests, which the gateway compares. The nonces
    are derived from ``secret``, so that mappings of an earlier process with the same secret can
    be renewed.
    """

    name = "PCP"
    checks_first = False  # mapping responses have everything
    is_patient = True  # RFC 6887 section 8.1.1

    def __init__(self, client_host: str, secret: bytes) -> None:
        self._client = packed(client_host)
        self._secret = secret

    def map_request(self, request: MapRequest) -> bytes:
        """Encode a mapping request; with lifetime 0 it has no suggested address and port."""
        key, is_removal = request.key, not request.lifetime_s
        return self._head(MAP, request.lifetime_s) + _MAP.pack(
            self.nonce(key),
            key.transport,
            key.internal_port,
            0 if is_removal else request.external_port,
            self._suggested(None if is_removal else request.external_host),
        )

    def check_request(self) -> bytes:
        """Encode an ANNOUNCE, whose response has the epoch (section 14.1.1)."""
        return self._head(ANNOUNCE, 0)

    def nonce(self, key: PortKey) -> bytes:
        """Return the nonce of one mapping, which never changes."""
        text = b"%d:%d:" % (key.transport, key.internal_port)
        return hashlib.sha256(text + self._client + self._secret).digest()[:NONCE_BYTES]

    def decode(self, data: bytes) -> GatewayReply | VersionRefused:
        """Decode one response; options are ignored.

        Raises GatewayError if its length is invalid, it is no response, of another version, of a
        mapping that is not ours, or maps external port 0.
        """
        if _refuses_version(data):
            return VersionRefused(data[0])
        if not MIN_BYTES <= len(data) <= MAX_BYTES or len(data) % 4:
            raise GatewayError(f"PCP answer of {len(data)} bytes")
        version, operation, result, lifetime_s, epoch_s = _ANSWER.unpack_from(data)
        if version != VERSION or operation not in (ANSWER | ANNOUNCE, ANSWER | MAP):
            raise GatewayError(f"PCP message {operation} of version {version}")
        if result:
            return self._refused(data, result, lifetime_s, epoch_s)
        if operation == ANSWER | ANNOUNCE:
            return EpochReply(epoch_s)
        return self._mapped(data, lifetime_s, epoch_s)

    def has_restarted(self, before: EpochSeen, now: EpochSeen) -> bool:
        """Return whether two epochs are inconsistent with a running clock (section 8.5)."""
        if now.epoch_s < before.epoch_s - BACKWARD_SLACK_S:
            return True
        ours_s, theirs_s = now.at_s - before.at_s, now.epoch_s - before.epoch_s
        return (
            ours_s + EPOCH_SLACK_S < theirs_s - theirs_s * EPOCH_DRIFT
            or theirs_s + EPOCH_SLACK_S < ours_s - ours_s * EPOCH_DRIFT
        )

    def _head(self, operation: int, lifetime_s: int) -> bytes:
        return _REQUEST.pack(VERSION, operation, lifetime_s, self._client)

    def _suggested(self, host: str | None) -> bytes:
        """Return the suggested address; all zeros of the family for None (section 11.2)."""
        if host is not None:
            return packed(host)
        return _IPV4_PREFIX + bytes(4) if self._client.startswith(_IPV4_PREFIX) else bytes(16)

    def _mapped(self, data: bytes, lifetime_s: int, epoch_s: int) -> Mapped:
        key, external_port, host = self._map_fields(data)
        if lifetime_s and not external_port:
            raise GatewayError("PCP mapping to external port 0")
        return Mapped(epoch_s, key, external_port, lifetime_s, host)

    def _map_fields(self, data: bytes) -> tuple[PortKey, int, str]:
        if len(data) < MIN_BYTES + _MAP.size:
            raise GatewayError(f"PCP mapping in {len(data)} bytes")
        nonce, number, internal_port, external_port, host = _MAP.unpack_from(data, MIN_BYTES)
        if number not in tuple(MappedTransport):
            raise GatewayError(f"PCP mapping of transport protocol {number}")
        key = PortKey(MappedTransport(number), internal_port)
        if nonce != self.nonce(key):
            raise GatewayError("PCP mapping of another client")
        return key, external_port, unpacked(host)

    def _refused(self, data: bytes, result: int, lifetime_s: int, epoch_s: int) -> Refused:
        key = None
        if data[1] == ANSWER | MAP and len(data) >= MIN_BYTES + _MAP.size:
            key, _, _ = self._map_fields(data)
        reason = RESULTS.get(result, f"result {result}")
        return Refused(epoch_s, result, reason, key, float(lifetime_s))


def packed(host: str) -> bytes:
    """Return a literal address as 16 bytes, without the zone of a link-local one."""
    ip = ip_address(host.partition("%")[0])
    return ip.packed if isinstance(ip, IPv6Address) else _IPV4_PREFIX + ip.packed


def unpacked(data: bytes) -> str:
    """Return 16 bytes as a literal address; an IPv4-mapped one as IPv4."""
    ip = IPv6Address(data)
    return str(ip.ipv4_mapped or ip)


def _refuses_version(data: bytes) -> bool:
    """Return whether a response is "unsupported version", in NAT-PMP's or PCP's format."""
    if len(data) < _NATPMP_HEAD.size or not data[1] & ANSWER:
        return False
    if data[0] == NATPMP_VERSION:
        return bool(_NATPMP_HEAD.unpack_from(data)[2] == UNSUPPORTED_VERSION)
    return len(data) >= MIN_BYTES and data[3] == UNSUPPORTED_VERSION
