"""Owns what one line of a list of addresses says: the formats P2P, DAT and CIDR, one at a time.

    P2P    Some name:1.2.3.0-1.2.3.255
    DAT    001.002.003.000 - 001.002.003.255 , 100 , Some name
    CIDR   1.2.3.0/24 ; some comment

A range or an address alone is fine, too, and so are IPv6 addresses, where the name of a P2P line
has no colon. A line that begins with ``#``, ``;`` or ``//`` is a comment. A DAT line blocks if its
level is below 128, as in eMule.
"""

import re
from ipaddress import IPv6Address
from typing import Final

from torrent_engine.base.errors import IpFilterError
from torrent_engine.policy.address_ranges import IPV4_BITS, IPV6_BITS

FIRST_HARMLESS_LEVEL: Final = 128
_COMMENTS: Final = (b"#", b";", b"//")
_BEHIND: Final = re.compile(r"[ \t]*[#;].*")
_OCTET: Final = re.compile(r"[0-9]{1,3}")
_LENGTH: Final = re.compile(r"[0-9]{1,3}")
_DAT: Final = re.compile(r"([0-9A-Fa-f:.]+[ \t]*-[ \t]*[0-9A-Fa-f:.]+)[ \t]*,([^,]*)(?:,.*)?")

Address = tuple[int, int]
"""The bits of the family, and the number."""
Range = tuple[int, int, int]
"""The bits of the family, and the first and the last address."""


def parse_line(line: bytes) -> Range | None:
    """Return what one line blocks; None for a comment, an empty line and a harmless level.

    Raises IpFilterError for any other line.
    """
    line = line.strip()
    if not line or line.startswith(_COMMENTS):
        return None
    text = line.decode("latin-1")
    if (dat := _DAT.fullmatch(text)) is not None:
        return parse_range(dat[1]) if _is_level_blocked(dat[2].strip(" \t")) else None
    try:
        return parse_range(_BEHIND.sub("", text))
    except IpFilterError:
        return _parse_named(text)


def parse_range(text: str) -> Range:
    """Read ``A-B``, ``A/LENGTH`` or ``A``. Raises IpFilterError."""
    if "/" in text:
        return _parse_network(text)
    first_text, dash, last_text = text.partition("-")
    bits, first = _parse_address(first_text)
    last_bits, last = _parse_address(last_text) if dash else (bits, first)
    if bits != last_bits or first > last:
        raise IpFilterError(f"{text[:80]!r}: a range goes up, in one family of addresses")
    return bits, first, last


def _parse_named(text: str) -> Range:
    """Read a line of P2P: the range of IPv4 is behind the last colon, of IPv6 the first."""
    ends = (text.rpartition(":")[2], text.partition(":")[2])
    for ranges in ends:
        if "-" in ranges and ranges != text:
            try:
                return parse_range(ranges)
            except IpFilterError:
                continue
    raise IpFilterError(f"{text[:80]!r}: no range of addresses")


def _parse_network(text: str) -> Range:
    address, _, length_text = text.partition("/")
    bits, number = _parse_address(address)
    length_text = length_text.strip(" \t")
    if _LENGTH.fullmatch(length_text) is None or int(length_text) > bits:
        raise IpFilterError(f"{text[:80]!r}: a network is ADDRESS/LENGTH, up to {bits}")
    free = (1 << (bits - int(length_text))) - 1
    return bits, number & ~free, number | free


def _parse_address(text: str) -> Address:
    """Read one literal address; zeros may stand before the numbers of an IPv4 one."""
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
    """Tell whether a DAT line of a level blocks; one without a level does. Raises IpFilterError."""
    if not text:
        return True
    if _LENGTH.fullmatch(text) is None:
        raise IpFilterError(f"{text[:80]!r}: no level of access")
    return int(text) < FIRST_HARMLESS_LEVEL
