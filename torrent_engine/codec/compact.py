"""Compact peer lists of trackers, PEX and the DHT: packed addresses and ports.

Source: BEP 23 (IPv4), BEP 7 (IPv6).
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv6Address
from struct import Struct
from typing import Final

from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import PeerAddress

IPV4_PEER_BYTES: Final = 6
IPV6_PEER_BYTES: Final = 18
_OCTETS: Final = {str(number): number for number in range(256)}
_KNOWN_IPV6: Final = 4_096  # ours: one takes 5 us to read
_IPV4_PEER: Final = Struct(">4BH")
_IPV6_PEER: Final = Struct(">16sH")


def decode_ipv4_peers(blob: bytes | bytearray | memoryview) -> list[PeerAddress]:
    """Decode a compact IPv4 peer list (BEP 23).

    ``blob`` is N x 6 bytes: a 4-byte address, then a big-endian port.
    Returns N addresses in wire order; port 0 is kept.
    Raises RemoteProtocolError if ``len(blob)`` is not a multiple of 6.
    """
    if len(blob) % IPV4_PEER_BYTES:
        raise RemoteProtocolError(f"compact IPv4 peers of {len(blob)} bytes", bep=23)
    return [
        PeerAddress(f"{first}.{second}.{third}.{fourth}", port)
        for first, second, third, fourth, port in _IPV4_PEER.iter_unpack(blob)
    ]


def decode_ipv6_peers(blob: bytes | bytearray | memoryview) -> list[PeerAddress]:
    """Decode a compact IPv6 peer list (BEP 7).

    ``blob`` is N x 18 bytes: a 16-byte address, then a big-endian port.
    Returns N addresses in wire order; port 0 is kept, an IPv4-mapped address becomes IPv4.
    Raises RemoteProtocolError if ``len(blob)`` is not a multiple of 18.
    """
    if len(blob) % IPV6_PEER_BYTES:
        raise RemoteProtocolError(f"compact IPv6 peers of {len(blob)} bytes", bep=7)
    return [PeerAddress(_ipv6_text(raw), port) for raw, port in _IPV6_PEER.iter_unpack(blob)]


def encode_peers(addresses: Iterable[PeerAddress], *, v6: bool) -> bytes:
    """Encode the addresses of one family (BEP 23, or BEP 7 if ``v6``); the others are left out.

    A host that is no literal address, or a port outside 0 to 65535, is left out as well.
    """
    size = IPV6_PEER_BYTES if v6 else IPV4_PEER_BYTES
    packed = (encode_peer(address) for address in addresses)
    return b"".join(peer for peer in packed if len(peer) == size)


def encode_peer(address: PeerAddress) -> bytes:
    """Encode one address as 6 or 18 bytes; b"" if it has no compact form."""
    host, port = address
    if not 0 <= port <= 0xFFFF:
        return b""
    try:
        raw = _ipv6_bytes(host) if ":" in host else _ipv4_bytes(host)
    except (KeyError, ValueError):
        return b""
    return raw + port.to_bytes(2, "big")


def _ipv4_bytes(host: str) -> bytes:
    """Return the four bytes of an address; KeyError or ValueError if it is none.

    A fifth of the time of ``IPv4Address`` (3.1 us): a tracker does this 200 times for an announce.
    """
    first, second, third, fourth = host.split(".")
    return bytes((_OCTETS[first], _OCTETS[second], _OCTETS[third], _OCTETS[fourth]))


@lru_cache(_KNOWN_IPV6)
def _ipv6_bytes(host: str) -> bytes:
    return IPv6Address(host).packed


def _ipv6_text(raw: bytes) -> str:
    address = IPv6Address(raw)
    mapped = address.ipv4_mapped
    return str(address if mapped is None else mapped)
