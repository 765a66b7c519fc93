"""Owns what one datagram of uTP says: its bytes as a fact, and the bytes that we write.

Source: BEP 29. Selective acknowledgements may have any length: libtorrent's is no multiple of 4.
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
"""The extension that says which packets behind a gap have come."""
PADDING: Final = 0x50
"""An extension of ours without meaning, which everybody skips: it makes a packet longer."""
MAX_EXTENSION_BYTES: Final = 255

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
    """Of 16 bits, as who is meant to receive it knows the connection; in a SYN of who sent it."""
    timestamp_us: int
    """When it was sent, by the sender's clock; 32 bits of it."""
    timestamp_difference_us: int
    """How long the last packet from us seemed to travel; 0 if none has come."""
    window_bytes: int
    """How much may be on its way to the sender."""
    sequence: int
    """Number of this packet, or, in one that has none, the next."""
    acknowledged: int
    """Number of the last packet before the first gap."""
    sack: bytes
    """Which of the later ones have come, the lowest bit first, from the second after the above."""
    payload: memoryview
    """A view of the datagram: copy what is to be kept."""


def decode_packet(datagram: bytes | memoryview) -> Packet:
    """Decode one datagram; unknown extensions are skipped.

    Raises RemoteProtocolError if it is cut short, or its version or type is none.
    """
    view = memoryview(datagram)
    if len(view) < HEADER_BYTES:
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
    sack, at, size = b"", HEADER_BYTES, len(view)
    while extension:
        if at + 2 > size or at + 2 + view[at + 1] > size:
            raise RemoteProtocolError(f"extension {extension} is cut short", bep=29)
        kind, extension, begin = extension, view[at], at + 2
        at = begin + view[at + 1]
        if kind == SACK:
            sack = bytes(view[begin:at])
    return sack, at


def padding(length_bytes: int) -> bytes:
    """Return extensions without meaning, of 2 bytes or more together; :data:`PADDING` is first."""
    parts: list[bytes] = []
    while length_bytes:
        here = min(length_bytes, MAX_EXTENSION_BYTES + 2)
        if length_bytes - here == 1:
            here -= 1  # an extension of one byte cannot be
        length_bytes -= here
        parts.append(bytes((PADDING if length_bytes else 0, here - 2)) + bytes(here - 2))
    return b"".join(parts)


def reset_packet(of: Packet, *, now: float = 0.0) -> bytes:
    """Return the answer to a packet of no connection that we know.

    It carries the connection id of that packet, which is what the other side writes into its
    packets: who receives a RESET must look for the id that it sends to, too.
    """
    kind = RESET << 4 | VERSION
    time_us = int(now * 1e6) & MASK_32
    return HEADER.pack(kind, 0, of.connection_id, time_us, 0, 0, 0, of.sequence)
