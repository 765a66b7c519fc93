"""Parser of single lines of IP filter lists in the formats P2P, DAT and CIDR.

    P2P    Some name:1.2.3.0-1.2.3.255
    DAT    001.002.003.000 - 001.002.003.255 , 100 , Some name
    CIDR   1.2.3.0/24 ; some comment

A bare range or address is accepted too, and so are IPv6 addresses; with those, the name of a P2P
line must not contain a colon. A line that begins with ``#``, ``;`` or ``//`` is a comment. A DAT
line blocks if its level is below 128, as in eMule.
"""

import re
from ipaddress import IPv6Address
from typing import Final

from torrent_engine.base.errors import IpFilterError
from torrent_engine.policy.ip_filter.ranges import IPV4_BITS, IPV6_BITS

FIRST_ALLOWED_LEVEL: Final = 128
_COMMENTS: Final = (b"#", b";", b"//")
_OCTET: Final = re.compile(r"[0-9]{1,3}")
_LENGTH: Final = re.compile(r"[0-9]{1,3}")
_DAT: Final = re.compile(r"([0-9A-Fa-f:.]+[ \t]*-[ \t]*[0-9A-Fa-f:.]+)[ \t]*,([^,]*)(?:,.*)?")

Address = tuple[int, int]
"""The bits of the family, and the number."""
FilterRange = tuple[int, int, int]
"""The bits of the family, and the first and the last address."""


def parse_line(line: bytes) -> FilterRange | None:
    """Return the range that one line blocks; None for comments, empty lines and other levels.

    Raises IpFilterError for any other line.
    """
    line = line.strip()
    if not line or line.startswith(_COMMENTS):
        return None
    text = line.decode("latin-1")
    if (dat := _DAT.fullmatch(text)) is not None:
        return parse_range(dat[1]) if _is_level_blocked(dat[2].strip(" \t")) else None
    try:
        return parse_range(text.partition("#")[0].partition(";")[0])
    except IpFilterError:
        return _parse_named(text)


def parse_range(text: str) -> FilterRange:
    """Read ``A-B``, ``A/LENGTH`` or ``A``. Raises IpFilterError."""
    if "/" in text:
        return _parse_network(text)
    first_text, dash, last_text = text.partition("-")
    bits, first = _parse_address(first_text)
    last_bits, last = _parse_address(last_text) if dash else (bits, first)
    if bits != last_bits or first > last:
        raise IpFilterError(f"{text[:80]!r}: a range must ascend, within one address family")
    return bits, first, last


def _parse_named(text: str) -> FilterRange:
    """Read a P2P line: an IPv4 range follows the last colon, an IPv6 range the first."""
    ends = (text.rpartition(":")[2], text.partition(":")[2])
    for ranges in ends:
        if "-" in ranges and ranges != text:
            try:
                return parse_range(ranges)
            except IpFilterError:
                continue
    raise IpFilterError(f"{text[:80]!r}: not an address range")


def _parse_network(text: str) -> FilterRange:
    address, _, length_text = text.partition("/")
    bits, number = _parse_address(address)
    length_text = length_text.strip(" \t")
    if _LENGTH.fullmatch(length_text) is None or int(length_text) > bits:
        raise IpFilterError(f"{text[:80]!r}: a network is ADDRESS/LENGTH with LENGTH up to {bits}")
    free = (1 << (bits - int(length_text))) - 1
    return bits, number & ~free, number | free


def _parse_address(text: str) -> Address:
    """Read a literal address; IPv4 octets may have leading zeros."""
    text = text.strip(" \t")
    if ":" not in text:
        octets = text.split(".")
        if len(octets) != 4 or not all(_is_octet(octet) for octet in octets):
            raise IpFilterError(f"{text[:80]!r}: no IP address")
        return IPV4_BITS, int.from_bytes(bytes(map(int, octets)), "big")
    try:
        address = IPv6Address(text)
    except ValueError as error:
        raise IpFilterError(f"{text[:80]!r}: no IP address") from error
    inner = address.ipv4_mapped
    return (IPV6_BITS, int(address)) if inner is None else (IPV4_BITS, int(inner))


def _is_octet(text: str) -> bool:
    return _OCTET.fullmatch(text) is not None and int(text) <= 255


def _is_level_blocked(text: str) -> bool:
    """Return whether a DAT level blocks; a missing one does. Raises IpFilterError."""
    if not text:
        return True
    if _LENGTH.fullmatch(text) is None:
        raise IpFilterError(f"{text[:80]!r}: not an access level")
    return int(text) < FIRST_ALLOWED_LEVEL
