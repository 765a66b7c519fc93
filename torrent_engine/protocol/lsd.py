"""Local service discovery: the multicast datagrams (BEP 14).

Source: BEP 14; row C6. A message has a request line and headers as in HTTP. There are no responses:
receivers connect to the sender.
"""

import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from torrent_engine.base.errors import LocalProtocolError, RemoteProtocolError
from torrent_engine.base.ids import SHA1_BYTES, InfoHash

GROUP_IPV4: Final = "239.192.152.143"
GROUP_IPV6: Final = "ff15::efc0:988f"
LSD_PORT: Final = 6_771
MAX_DATAGRAM_BYTES: Final = 1_400  # BEP 14: larger datagrams would be fragmented
MAX_COOKIE_BYTES: Final = 64  # ours: of our own cookie
COOKIE_BYTES: Final = 4  # ours: hexadecimal, because some clients parse it as a number

_METHOD: Final = b"BT-SEARCH"
_REQUEST: Final = _METHOD + b" * HTTP/1.1\r\n"
_END: Final = b"\r\n\r\n"
_INFO_HASH_LINE_BYTES: Final = len(b"Infohash: \r\n") + 2 * SHA1_BYTES
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")
_MAX_PORT_DIGITS: Final = 5


@dataclass(frozen=True, slots=True)
class LsdAnnounce:
    """An announce of torrents on the local network (BEP 14)."""

    port: int
    """Listen port, 1 to 65535; the host is the source of the datagram."""
    info_hashes: tuple[InfoHash, ...]
    """At least one, each once."""
    cookie: bytes = b""
    """Identifies a client's own announces; b"" if missing."""


def encode_announce(announce: LsdAnnounce, *, is_ipv6: bool) -> bytes:
    """Encode one datagram for the group of an address family.

    Raises LocalProtocolError if it exceeds 1400 bytes (see :func:`capacity`), or the port or the
    cookie is invalid.
    """
    if not 0 < announce.port < 1 << 16:
        raise LocalProtocolError(f"port {announce.port} cannot be announced")
    if len(announce.cookie) > MAX_COOKIE_BYTES or not announce.cookie.isalnum():
        raise LocalProtocolError(f"invalid cookie: {announce.cookie!r}")
    if not 0 < len(announce.info_hashes) <= capacity(announce.cookie):
        raise LocalProtocolError(f"{len(announce.info_hashes)} info-hashes in one datagram")
    lines = [f"Infohash: {info_hash.hex()}\r\n".encode() for info_hash in announce.info_hashes]
    return _head(announce.port, is_ipv6=is_ipv6) + b"".join(lines) + _tail(announce.cookie)


def capacity(cookie: bytes) -> int:
    """Return how many info-hashes fit into one datagram of either family."""
    free_bytes = MAX_DATAGRAM_BYTES - len(_head(0xFFFF, is_ipv6=True)) - len(_tail(cookie))
    return free_bytes // _INFO_HASH_LINE_BYTES


def is_announce(data: bytes) -> bool:
    """Return whether a datagram begins as an announce does; this costs next to nothing."""
    return data[: len(_METHOD)].upper() == _METHOD


def decode_announce(data: bytes) -> LsdAnnounce:
    """Decode one datagram.

    Header names are case-insensitive. Unknown headers are ignored, and so are info-hashes that are
    not 40 hexadecimal digits, such as those of v2 torrents. Raises RemoteProtocolError if it
    exceeds 1400 bytes, is no BT-SEARCH, is truncated, or has no info-hash or not exactly one port.
    """
    if len(data) > MAX_DATAGRAM_BYTES:
        raise RemoteProtocolError(f"announce of {len(data)} bytes", bep=14)
    head, end, _ = data.replace(b"\r\n", b"\n").partition(b"\n\n")
    if not end:
        raise RemoteProtocolError("truncated announce", bep=14)
    request, *lines = head.split(b"\n")
    _check_request(request)
    headers = _headers(lines)
    info_hashes = dict.fromkeys(map(_info_hash, headers.get(b"infohash", ())))
    known = tuple(info_hash for info_hash in info_hashes if info_hash is not None)
    if not known:
        raise RemoteProtocolError("announce without an info-hash", bep=14)
    cookies = headers.get(b"cookie", [b""])
    return LsdAnnounce(_port(headers.get(b"port", ())), known, cookies[0])


def _head(port: int, *, is_ipv6: bool) -> bytes:
    host = f"[{GROUP_IPV6}]" if is_ipv6 else GROUP_IPV4
    return _REQUEST + f"Host: {host}:{LSD_PORT}\r\nPort: {port}\r\n".encode()


def _tail(cookie: bytes) -> bytes:
    return b"cookie: " + cookie + b"\r\n" + _END


def _check_request(line: bytes) -> None:
    words = line.upper().split()
    if len(words) != 3 or words[:2] != [_METHOD, b"*"]:
        raise RemoteProtocolError("no BT-SEARCH", bep=14)
    if not words[2].startswith(b"HTTP/1."):
        raise RemoteProtocolError(f"announce of version {words[2]!r}", bep=14)


def _headers(lines: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    """Return the values of each header, in order, by its name in lower case."""
    headers: dict[bytes, list[bytes]] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise RemoteProtocolError("header line without a colon", bep=14)
        headers.setdefault(name.strip().lower(), []).append(value.strip())
    return headers


def _info_hash(value: bytes) -> InfoHash | None:
    if len(value) != 2 * SHA1_BYTES or not _HEX.issuperset(value):
        return None
    info_hash = InfoHash(binascii.unhexlify(value))
    return info_hash if any(info_hash) else None


def _port(values: Sequence[bytes]) -> int:
    """Return the port. Raises RemoteProtocolError unless all values are equal."""
    if len(set(values)) != 1:
        raise RemoteProtocolError(f"announce with {len(set(values))} ports", bep=14)
    text = values[0]
    if not text.isdigit() or len(text) > _MAX_PORT_DIGITS or not 0 < int(text) < 1 << 16:
        raise RemoteProtocolError(f"port {text[:9]!r}", bep=14)
    return int(text)
