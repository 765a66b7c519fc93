"""The header of datagrams to and from a SOCKS5 proxy.

Source: RFC 1928 section 7. Fragments are not reassembled: no known proxy sends any.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from torrent_engine.base.errors import ProxyError
from torrent_engine.base.ids import PeerAddress

MAX_NAME_BYTES: Final = 255  # its length is one byte
_IPV4, _NAME, _IPV6 = 1, 3, 4
_TYPE_AT, _HOST_AT = 3, 4
_BEGIN: Final = bytes(_TYPE_AT)
"""Two reserved bytes, and fragment number 0."""
_PORT_BYTES: Final = 2


def encode_header(host: str, port: int) -> bytes:
    """Return the header of a datagram to a literal address or a host name.

    Raises ProxyError for an invalid name or port.
    """
    if not 0 < port < 1 << 16:
        raise ProxyError(f"invalid port: {port}")
    return _BEGIN + _encoded_host(host) + port.to_bytes(_PORT_BYTES)


def decode_datagram(data: bytes) -> tuple[PeerAddress, int]:
    """Return the sender of a relayed datagram, and where its payload begins.

    The sender is a literal address (IPv4-mapped ones as IPv4) or a name. Raises ProxyError if
    the header is malformed or the datagram is a fragment.
    """
    kind = data[_TYPE_AT] if data[:_TYPE_AT] == _BEGIN and len(data) > _HOST_AT else 0
    if kind == _IPV4:
        begin, end = _HOST_AT, _HOST_AT + 4
    elif kind == _IPV6:
        begin, end = _HOST_AT, _HOST_AT + 16
    elif kind == _NAME:
        begin, end = _HOST_AT + 1, _HOST_AT + 1 + data[_HOST_AT]
    else:
        raise ProxyError("not a SOCKS datagram, or a fragment")
    header_bytes = end + _PORT_BYTES
    if len(data) < header_bytes or end == begin:
        raise ProxyError("truncated header of a SOCKS datagram")
    port = int.from_bytes(data[end:header_bytes])
    return PeerAddress(_decoded_host(kind, data[begin:end]), port), header_bytes


def _encoded_host(host: str) -> bytes:
    try:
        ip = ip_address(host.partition("%")[0])
    except ValueError:
        return _encoded_name(host)
    return bytes([_IPV4 if ip.version == 4 else _IPV6]) + ip.packed


def _encoded_name(host: str) -> bytes:
    try:
        name = host.encode("ascii") if host.isascii() else host.encode("idna")
    except UnicodeError as error:
        raise ProxyError("a host name that no proxy can be asked for") from error
    if not 0 < len(name) <= MAX_NAME_BYTES:
        raise ProxyError("a host name that no proxy can be asked for")
    return bytes([_NAME, len(name)]) + name


def _decoded_host(kind: int, packed: bytes) -> str:
    if kind == _IPV4:
        return str(IPv4Address(packed))
    if kind == _IPV6:
        ip = IPv6Address(packed)
        return str(ip.ipv4_mapped or ip)
    try:
        name = packed.decode("ascii")
    except UnicodeDecodeError as error:
        raise ProxyError("a name in a SOCKS datagram that is none") from error
    if not name.isprintable():
        raise ProxyError("a name in a SOCKS datagram that is none")
    return name
