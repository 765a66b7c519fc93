"""Encoding and decoding of packets.

Source: BEP 29. Selective acknowledgements may have any length: libtorrent's are no multiple of 4.
"""

from struct import Struct
from typing import Final, NamedTuple

from torrent_engine.base.errors import RemoteProtocolError

DATA: Final = 0
FIN: Final = 1
STATE: Final = 2
"""An acknowledgement alone."""
RESET: Final = 3
SYN: Final = 4
VERSION: Final = 1
HEADER_BYTES: Final = 20

SACK: Final = 1
"""The selective acknowledgement extension."""
EXTENSION_BITS: Final = 2
"""libutp's extension bits: 8 bytes, which no client reads."""
PADDING: Final = 0x50
"""Our padding extension. It follows another one, because libutp drops packets whose first extension
is unknown."""
MIN_PADDING_BYTES: Final = 12
MAX_EXTENSION_BYTES: Final = 255
MAX_SHORT_EXTENSIONS: Final = 8
"""Ours: of less than 255 bytes in one packet. Each costs as much as a packet, and an empty one has
two bytes; padding has three of them, however long it is."""
MAX_PACKET_BYTES: Final = 16_384  # ours: the most that we send; jumbo frames have 9,000

MASK_16: Final = 0xFFFF
MASK_32: Final = 0xFFFFFFFF

HEADER: Final = Struct(">BBHIIIHH")
"""Type and version, first extension, connection id, time, delay, window, sequence, acknowledged."""

_unpack_header = HEADER.unpack_from
_new_tuple = tuple.__new__


class Packet(NamedTuple):
    """One datagram (BEP 29)."""

    type: int
    """:data:`DATA`, :data:`FIN`, :data:`STATE`, :data:`RESET` or :data:`SYN`."""
    connection_id: int
    """16 bits: the receiver's id of the connection; in a SYN the sender's."""
    timestamp_us: int
    """When it was sent, by the sender's clock, 32 bits."""
    timestamp_difference_us: int
    """One-way delay of the last packet received from us, plus the clock offset; 0: none yet."""
    window_bytes: int
    """The sender's receive window."""
    sequence: int
    """Number of this packet; in a STATE packet the next number."""
    acknowledged: int
    """Number of the last packet before the first gap."""
    sack: bytes
    """Selective acknowledgement, lowest bit first, from the second after ``acknowledged``."""
    payload: memoryview
    """A view of the datagram; copy it to keep it."""


def decode_packet(datagram: bytes | memoryview) -> Packet:
    """Decode one datagram; unknown extensions are skipped.

    Raises RemoteProtocolError if it is truncated or too long, its version or type is unknown, or it
    has many short extensions.
    """
    view = memoryview(datagram)
    if not HEADER_BYTES <= len(view) <= MAX_PACKET_BYTES:
        raise RemoteProtocolError(f"packet of {len(view)} bytes", bep=29)
    kind, extension, *numbers = _unpack_header(view)
    if kind & 15 != VERSION or kind > SYN << 4 | VERSION:
        raise RemoteProtocolError(f"packet of type {kind >> 4}, version {kind & 15}", bep=29)
    if not extension:
        return _new_tuple(Packet, (kind >> 4, *numbers, b"", view[HEADER_BYTES:]))
    sack, end = _read_extensions(view, extension)
    return _new_tuple(Packet, (kind >> 4, *numbers, sack, view[end:]))


def _read_extensions(view: memoryview, extension: int) -> tuple[bytes, int]:
    """Return the selective acknowledgement, and where the payload begins."""
    sack, at, size, short = b"", HEADER_BYTES, len(view), 0
    while extension:
        if at + 2 > size or at + 2 + view[at + 1] > size:
            raise RemoteProtocolError(f"truncated extension {extension}", bep=29)
        kind, extension, begin = extension, view[at], at + 2
        at = begin + view[at + 1]
        if at - begin < MAX_EXTENSION_BYTES:
            short += 1
            if short > MAX_SHORT_EXTENSIONS:
                raise RemoteProtocolError(f"more than {short - 1} short extensions", bep=29)
        if kind == SACK:
            sack = bytes(view[begin:at])
    return sack, at


def padding(length_bytes: int) -> bytes:
    """Return padding extensions of ``length_bytes`` in total, :data:`EXTENSION_BITS` first.

    ``length_bytes`` is :data:`MIN_PADDING_BYTES` or more.
    """
    parts = [bytes((PADDING, 8)) + bytes(8)]
    length_bytes -= len(parts[0])
    while length_bytes:
        here = min(length_bytes, MAX_EXTENSION_BYTES + 2)
        if length_bytes - here == 1:
            here -= 1  # an extension has at least two bytes
        length_bytes -= here
        parts.append(bytes((PADDING if length_bytes else 0, here - 2)) + bytes(here - 2))
    return b"".join(parts)


def reset_packet(of: Packet, *, now: float = 0.0) -> bytes:
    """Return the RESET for a packet of an unknown connection.

    It carries the connection id of that packet, which is the id in the peer's outgoing packets;
    receivers of a RESET must therefore look up their ``send_id`` too.
    """
    kind = RESET << 4 | VERSION
    time_us = int(now * 1e6) & MASK_32
    return HEADER.pack(kind, 0, of.connection_id, time_us, 0, 0, 0, of.sequence)
