"""Metadata exchange messages: ``ut_metadata``.

Source: BEP 9. A data message is a bencoded dictionary, followed directly by the raw piece.
"""

from dataclasses import dataclass
from typing import Final

from torrent_engine.base.config import METADATA_MESSAGE_BENCODE_LIMITS
from torrent_engine.base.errors import BencodeError, RemoteProtocolError
from torrent_engine.codec.bencode import BencodeValue
from torrent_engine.codec.tolerant import decode_reply

UT_METADATA: Final = "ut_metadata"
METADATA_PIECE_BYTES: Final = 16 * 1024  # BEP 9: all but the last
_REQUEST = 0
_DATA = 1
_REJECT = 2


@dataclass(frozen=True, slots=True)
class MetadataRequest:
    """The sender wants one piece of the metadata (``msg_type`` 0)."""

    piece: int
    """0 or more; may be past the end."""


@dataclass(frozen=True, slots=True)
class MetadataData:
    """One piece of the metadata (``msg_type`` 1)."""

    piece: int
    total_bytes: int | None
    """Length of the whole metadata, 1 or more; None if the sender did not say."""
    data: bytes
    """1 to 16384 bytes, not yet checked: only the whole has a SHA-1."""


@dataclass(frozen=True, slots=True)
class MetadataReject:
    """The sender does not give one piece (``msg_type`` 2)."""

    piece: int


MetadataMessage = MetadataRequest | MetadataData | MetadataReject


def encode_metadata_message(message: MetadataMessage) -> bytes:
    """Return the payload of the extension message."""
    # A peer can cause any number of them: 0.3 us each, written out, and 6 us by the encoder.
    if isinstance(message, MetadataRequest):
        return b"d8:msg_typei%de5:piecei%dee" % (_REQUEST, message.piece)
    if isinstance(message, MetadataReject):
        return b"d8:msg_typei%de5:piecei%dee" % (_REJECT, message.piece)
    if message.total_bytes is None:
        return b"d8:msg_typei%de5:piecei%dee%b" % (_DATA, message.piece, message.data)
    head = _DATA, message.piece, message.total_bytes
    return b"d8:msg_typei%de5:piecei%de10:total_sizei%dee%b" % (*head, message.data)


def decode_metadata_message(payload: bytes) -> MetadataMessage | None:
    """Decode the payload of one extension message; None if its type is none of the three.

    Raises RemoteProtocolError (BEP 9) if it is longer than 17 KiB, does not begin with a dictionary
    that names a type and a piece, or is a data message without 1 to 16384 bytes behind that.
    """
    try:
        fields, end = decode_reply(payload, limits=METADATA_MESSAGE_BENCODE_LIMITS)
    except BencodeError as error:
        raise RemoteProtocolError(f"ut_metadata: {error}", bep=9) from error
    kind, piece = _number(fields, b"msg_type"), _number(fields, b"piece")
    if kind == _REQUEST:
        return MetadataRequest(piece)
    if kind == _REJECT:
        return MetadataReject(piece)
    return _data(fields, piece, payload[end:]) if kind == _DATA else None


def _data(fields: dict[bytes, BencodeValue], piece: int, data: bytes) -> MetadataData:
    total_bytes = fields.get(b"total_size")
    if not isinstance(total_bytes, int) or total_bytes < 1:
        total_bytes = None
    if not 1 <= len(data) <= METADATA_PIECE_BYTES:
        raise RemoteProtocolError(f"ut_metadata: piece of {len(data)} bytes", bep=9)
    return MetadataData(piece, total_bytes, data)


def _number(fields: dict[bytes, BencodeValue], key: bytes) -> int:
    value = fields.get(key)
    if not isinstance(value, int) or value < 0:
        raise RemoteProtocolError(f"ut_metadata: {key.decode()} is {value!r:.40}", bep=9)
    return value
