"""What rules of the extension protocol share: both handshakes, and the numbers in them.

Source: BEP 9, 10.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from torrent_engine.conformance.bencoding import Bencodable, bencode, parse, parse_dictionary
from torrent_engine.conformance.case import CLOSED, REJECTED, RIGHT, SILENT, WRONG, Case
from torrent_engine.conformance.errors import KitBencodeError, NotOfferedError, UndecidedError
from torrent_engine.conformance.frames import (
    EXTENDED,
    Frame,
    FrameType,
    bencoded_payload,
    extended,
)
from torrent_engine.conformance.raw_peer import RawPeer

HANDSHAKE_ID: Final = 0
OWN_METADATA_ID: Final = 3
METADATA_PIECE_BYTES: Final = 16_384
REQUEST, DATA, REJECT = 0, 1, 2
Dictionary = dict[bytes, Bencodable]


def own_handshake(numbers: Mapping[bytes, Bencodable], **others: Bencodable) -> bytes:
    """Return the extended handshake of the kit: its numbers by name, and other keys."""
    content: Dictionary = {b"m": dict(numbers)}
    content.update({key.encode(): value for key, value in others.items()})
    return extended(HANDSHAKE_ID, bencode(content))


async def bare_peer(case: Case, *, another_address: bool = False) -> RawPeer:
    """Exchange handshakes with the bit set. Raises NotOfferedError, UndecidedError."""
    peer = await case.greet(EXTENDED, another_address=another_address)
    if peer.greeting is None or not peer.greeting.reserved[5] & EXTENDED[5]:
        raise NotOfferedError("the extension protocol is not offered")
    return peer


async def receive_handshake(case: Case, peer: RawPeer) -> Frame:
    """Return their extended handshake. Raises UndecidedError."""
    frame = await peer.wait_for(is_handshake, case.limit_s)
    if frame is None:
        raise UndecidedError("no extended handshake came")
    return frame


def is_handshake(frame: Frame) -> bool:
    """Return whether a message is an extended handshake."""
    return frame.number == FrameType.EXTENDED and frame.payload[:1] == b"\0"


async def extended_peer(
    case: Case, numbers: Mapping[bytes, Bencodable], *, another_address: bool = False
) -> tuple[RawPeer, Dictionary]:
    """Exchange both handshakes; return the content of theirs.

    Raises NotOfferedError, UndecidedError.
    """
    peer = await bare_peer(case, another_address=another_address)
    await peer.send(own_handshake(numbers), f"extended handshake {dict(numbers)}")
    return peer, content_of(await receive_handshake(case, peer))


def content_of(frame: Frame) -> Dictionary:
    """Return the dictionary of an extended handshake. Raises UndecidedError."""
    try:
        return parse_dictionary(bencoded_payload(frame))
    except KitBencodeError as error:
        raise UndecidedError(f"their extended handshake: {error}") from error


def number_of(content: Dictionary, name: bytes) -> int:
    """Return the number that they gave an extension. Raises NotOfferedError."""
    numbers = content.get(b"m", {})
    number = numbers.get(name, 0) if isinstance(numbers, dict) else 0
    if not isinstance(number, int) or not 0 < number <= 255:
        raise NotOfferedError(f"{name.decode()} is not offered")
    return number


@dataclass(frozen=True, slots=True)
class KitMetadataMessage:
    """A message of ut_metadata (BEP 9)."""

    kind: int
    piece: int
    total_size: int | None
    data: bytes


def read_metadata(frame: Frame, number: int) -> KitMetadataMessage | None:
    """Return what a message says, if it is one of ut_metadata that came with ``number``."""
    if frame.number != FrameType.EXTENDED or frame.payload[:1] != bytes([number]):
        return None
    payload = bencoded_payload(frame)
    try:
        parsed = parse(payload)
    except KitBencodeError:
        return None
    value = parsed.value
    if not isinstance(value, dict):
        return None
    kind, piece, size = (value.get(each) for each in (b"msg_type", b"piece", b"total_size"))
    if not isinstance(kind, int) or not isinstance(piece, int):
        return None
    return KitMetadataMessage(
        kind, piece, size if isinstance(size, int) else None, payload[parsed.end :]
    )


def metadata_request(number: int, piece: Bencodable, **others: Bencodable) -> bytes:
    """Return a request for a piece of metadata."""
    content: Dictionary = {b"msg_type": REQUEST, b"piece": piece}
    content.update({key.encode(): value for key, value in others.items()})
    return extended(number, bencode(content))


class KitMetadataPeer:
    """A connection whose other side offers metadata."""

    def __init__(self, case: Case, peer: RawPeer, content: Dictionary) -> None:
        self._case = case
        self.peer = peer
        self.content = content
        self.number = number_of(content, b"ut_metadata")
        """What they want to see in our messages."""

    async def request(self, piece: Bencodable, **others: Bencodable) -> None:
        """Send a request."""
        data = metadata_request(self.number, piece, **others)
        await self.peer.send(data, f"metadata request {piece!r}")

    async def receive(self, within_s: float | None = None) -> KitMetadataMessage | None:
        """Return the next message of ut_metadata; None if closed, or after the time."""
        limit_s = self._case.limit_s if within_s is None else within_s
        frame = await self.peer.wait_for(
            lambda each: read_metadata(each, OWN_METADATA_ID) is not None, limit_s
        )
        return None if frame is None else read_metadata(frame, OWN_METADATA_ID)

    async def ask(self, piece: int, **others: Bencodable) -> str:
        """Request a piece and return what came: right or wrong bytes, a reject, or nothing."""
        await self.request(piece, **others)
        found = await self.receive()
        if found is None:
            return CLOSED if self.peer.is_closed else SILENT
        if found.kind == REJECT:
            return REJECTED
        return RIGHT if self.is_right(found, piece) else WRONG

    def is_right(self, found: KitMetadataMessage, piece: int) -> bool:
        """Return whether a message has the bytes of a piece, and the right size of all."""
        info = self._case.torrent.info
        start = piece * METADATA_PIECE_BYTES
        wanted = info[start : start + METADATA_PIECE_BYTES]
        facts = (found.kind, found.piece, found.total_size)
        return facts == (DATA, piece, len(info)) and found.data == wanted


async def metadata_peer(case: Case, *, another_address: bool = False) -> KitMetadataPeer:
    """Connect to a program that offers metadata. Raises NotOfferedError, UndecidedError."""
    numbers: Dictionary = {b"ut_metadata": OWN_METADATA_ID}
    peer, content = await extended_peer(case, numbers, another_address=another_address)
    return KitMetadataPeer(case, peer, content)
