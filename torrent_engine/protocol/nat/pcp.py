"""PCP: a gateway opens ports of IPv4 networks (NAT) and of IPv6 networks (firewall).

Source: RFC 6887, version 2; the opcodes ANNOUNCE and MAP, without options. Addresses are 16 bytes,
IPv4 ones as ::ffff:a.b.c.d. A mapping has a nonce, by which the gateway knows its owner again.
"""

import hashlib
import struct
from ipaddress import IPv6Address, ip_address
from typing import Final

from torrent_engine.base.errors import GatewayError
from torrent_engine.protocol.nat.facts import (
    Alive,
    Answer,
    EpochSeen,
    Mapped,
    MapRequest,
    PortKey,
    Refused,
    Transport,
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
BACKWARD_SLACK_S: Final = 1  # RFC 6887 section 8.5: answers may overtake each other
EPOCH_SLACK_S: Final = 2.0  # the same
EPOCH_DRIFT: Final = 1 / 16  # the same: by how much either clock may be slower

_REQUEST: Final = struct.Struct("!BBxxI16s")
_ANSWER: Final = struct.Struct("!BBxBII12x")
_MAP: Final = struct.Struct("!12sBxxxHH16s")
_NATPMP_HEAD: Final = struct.Struct("!BBH")
_IPV4_PREFIX: Final = bytes(10) + b"\xff\xff"


class Pcp:
    """The dialect of RFC 6887, the client's side.

    ``client_host`` is the address that requests are sent from, which the gateway compares. From
    ``secret`` come the nonces: with the same one, the mappings of a run that died are ours again.
    """

    name = "PCP"
    checks_first = False  # mappings tell everything

    def __init__(self, client_host: str, secret: bytes) -> None:
        self._client = packed(client_host)
        self._secret = secret

    def map_request(self, request: MapRequest) -> bytes:
        """Encode a request for a port; one with lifetime 0 suggests nothing."""
        key, is_removal = request.key, not request.lifetime_s
        return self._head(MAP, request.lifetime_s) + _MAP.pack(
            self.nonce(key),
            key.transport,
            key.internal_port,
            0 if is_removal else request.external_port,
            self._suggested(None if is_removal else request.external_host),
        )

    def check_request(self) -> bytes:
        """Encode an ANNOUNCE, which is answered with the epoch (section 14.1.1)."""
        return self._head(ANNOUNCE, 0)

    def nonce(self, key: PortKey) -> bytes:
        """Return the nonce of one mapping, always the same."""
        text = b"%d:%d:" % (key.transport, key.internal_port)
        return hashlib.sha256(text + self._client + self._secret).digest()[:NONCE_BYTES]

    def decode(self, data: bytes) -> Answer | VersionRefused:
        """Decode one answer; its options are ignored, as we sent none.

        Raises GatewayError if its length is none, it is no answer, of another version, of a
        mapping that is not ours, or says that an opened port is 0.
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
            return Alive(epoch_s)
        return self._mapped(data, lifetime_s, epoch_s)

    def has_restarted(self, before: EpochSeen, now: EpochSeen) -> bool:
        """Tell whether two epochs are not those of one clock that went on (section 8.5)."""
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
        """Return an address to ask for; none is all zeros of the family (section 11.2)."""
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
        if number not in tuple(Transport):
            raise GatewayError(f"PCP mapping of transport protocol {number}")
        key = PortKey(Transport(number), internal_port)
        if nonce != self.nonce(key):
            raise GatewayError("PCP mapping of somebody else")
        return key, external_port, unpacked(host)

    def _refused(self, data: bytes, result: int, lifetime_s: int, epoch_s: int) -> Refused:
        key = None
        if data[1] == ANSWER | MAP and len(data) >= MIN_BYTES + _MAP.size:
            key, _, _ = self._map_fields(data)
        reason = RESULTS.get(result, f"result {result}")
        return Refused(epoch_s, result, reason, key, float(lifetime_s))


def packed(host: str) -> bytes:
    """Return a literal address as 16 bytes; the scope of a link-local one is left out."""
    ip = ip_address(host.partition("%")[0])
    return ip.packed if isinstance(ip, IPv6Address) else _IPV4_PREFIX + ip.packed


def unpacked(data: bytes) -> str:
    """Return 16 bytes as a literal address, IPv4 where it is one."""
    ip = IPv6Address(data)
    return str(ip.ipv4_mapped or ip)


def _refuses_version(data: bytes) -> bool:
    """Tell whether an answer says "unsupported version", in the form of NAT-PMP or of PCP."""
    if len(data) < _NATPMP_HEAD.size or not data[1] & ANSWER:
        return False
    if data[0] == NATPMP_VERSION:
        return bool(_NATPMP_HEAD.unpack_from(data)[2] == UNSUPPORTED_VERSION)
    return len(data) >= MIN_BYTES and data[3] == UNSUPPORTED_VERSION
