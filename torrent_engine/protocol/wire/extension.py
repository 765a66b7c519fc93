"""The extension handshake (BEP 10).

Source: BEP 10; BEP 21 (upload_only), BEP 9 (metadata_size), BEP 11 (what "e" means).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from torrent_engine.base.config import EXTENSION_BENCODE_LIMITS
from torrent_engine.base.errors import BencodeError, RemoteProtocolError
from torrent_engine.codec.bencode import BencodeValue, encode
from torrent_engine.codec.tolerant import decode_reply

MAX_CLIENT_NAME_BYTES: Final = 128  # ours: enough for display
MAX_EXTENSIONS: Final = 64  # ours: clients send about a dozen at most
MAX_NAME_BYTES: Final = 64  # ours: extensions with longer names are ignored
DONT_HAVE: Final = "lt_donthave"  # BEP 54
UPLOAD_ONLY: Final = "upload_only"  # libtorrent's: one byte, what BEP 21 says, when it changes


@dataclass(frozen=True, slots=True)
class ExtensionHandshake:
    """One extension handshake (BEP 10); every field is optional on the wire."""

    extensions: Mapping[str, int] = field(default_factory=dict)
    """Name to message id, 1 to 255; 0 turns an extension off."""
    client: str = ""
    """``v``: name and version, at most 128 bytes; any character is possible."""
    listen_port: int | None = None
    """``p``: TCP port on which the sender accepts connections."""
    your_ip: bytes = b""
    """``yourip``: the receiver's address as the sender sees it, 4 or 16 bytes."""
    reqq: int | None = None
    """Requests that the sender queues before it drops or rejects."""
    is_upload_only: bool = False
    """The sender does not download any more (BEP 21)."""
    metadata_bytes: int | None = None
    """``metadata_size``: length of the info dictionary (BEP 9)."""
    prefers_encryption: bool = False
    """``e``: the sender prefers encrypted links."""


def encode_extension_handshake(handshake: ExtensionHandshake) -> bytes:
    """Return the bencoded dictionary, without its message header."""
    extensions: dict[bytes, BencodeValue] = {
        name.encode(): number for name, number in handshake.extensions.items()
    }
    entries: dict[bytes, BencodeValue] = {b"m": extensions}
    optional: dict[bytes, BencodeValue | None] = {
        b"v": handshake.client.encode() or None,
        b"p": handshake.listen_port,
        b"yourip": handshake.your_ip or None,
        b"reqq": handshake.reqq,
        b"upload_only": 1 if handshake.is_upload_only else None,
        b"metadata_size": handshake.metadata_bytes,
        b"e": 1 if handshake.prefers_encryption else None,
    }
    entries.update({key: value for key, value in optional.items() if value is not None})
    return encode(entries)


def decode_extension_handshake(payload: bytes) -> ExtensionHandshake:
    """Decode the dictionary of an extension handshake.

    Known keys with values of another type or out of range are ignored, as in other clients, and so
    is data after the dictionary; of duplicate keys the first value counts.
    Raises RemoteProtocolError if the payload does not begin with a bencoded dictionary.
    """
    try:
        value, _ = decode_reply(payload, limits=EXTENSION_BENCODE_LIMITS)
    except BencodeError as error:
        raise RemoteProtocolError(f"extension handshake: {error}", bep=10) from error
    your_ip = value.get(b"yourip")
    return ExtensionHandshake(
        extensions=_extensions(value.get(b"m")),
        client=_text(value.get(b"v")),
        listen_port=_number(value.get(b"p"), 1, 65_535),
        your_ip=your_ip if isinstance(your_ip, bytes) and len(your_ip) in {4, 16} else b"",
        reqq=_number(value.get(b"reqq"), 1, 1_000_000),
        is_upload_only=bool(_number(value.get(b"upload_only"), 0, 2**31)),
        metadata_bytes=_number(value.get(b"metadata_size"), 1, 2**31),
        prefers_encryption=bool(_number(value.get(b"e"), 0, 1)),
    )


def _extensions(value: "BencodeValue | None") -> dict[str, int]:
    if not isinstance(value, dict):
        return {}
    found: dict[str, int] = {}
    for name, number in list(value.items())[:MAX_EXTENSIONS]:
        if isinstance(number, int) and 0 <= number <= 255 and len(name) <= MAX_NAME_BYTES:
            found[name.decode("utf-8", "replace")] = number
    return found


def _number(value: "BencodeValue | None", low: int, high: int) -> int | None:
    return value if isinstance(value, int) and low <= value <= high else None


def _text(value: "BencodeValue | None") -> str:
    if not isinstance(value, bytes):
        return ""
    return value[:MAX_CLIENT_NAME_BYTES].decode("utf-8", "replace")
