"""A seed of the kit that serves metadata, or something else, to a program with a magnet link.

Source: BEP 9.
"""

import math
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

import anyio

from torrent_engine.conformance.bencoding import Bencodable, bencode
from torrent_engine.conformance.errors import NotOfferedError, UndecidedError
from torrent_engine.conformance.extensions import (
    DATA,
    METADATA_PIECE_BYTES,
    OWN_METADATA_ID,
    REJECT,
    REQUEST,
    content_of,
    is_handshake,
    number_of,
    own_handshake,
    read_metadata,
)
from torrent_engine.conformance.frames import EXTENDED, KEEPALIVE, Frame, extended
from torrent_engine.conformance.swarm.kit_seed import SeedLink, SeedScript
from torrent_engine.conformance.torrent_set import SampleTorrent
from torrent_engine.conformance.waiting import held_within

ALL: Final = None


@dataclass(frozen=True, slots=True)
class AskedMetadata:
    """A request of a piece of metadata."""

    at: float
    piece: int


MetadataAnswer = Callable[["KitMetadata", SeedLink, int], Coroutine[Any, Any, None]]
"""Takes the link and the piece that was requested."""
Greeted = Callable[["KitMetadata", SeedLink], Coroutine[Any, Any, None]]


async def serve_metadata(metadata: "KitMetadata", link: SeedLink, piece: int) -> None:
    """Send the piece that was requested, or reject one behind the last."""
    if data := metadata.part(piece):
        await metadata.send(link, piece, data)
    else:
        await metadata.reject(link, piece)


async def reject_metadata(metadata: "KitMetadata", link: SeedLink, piece: int) -> None:
    """Reject the request."""
    await metadata.reject(link, piece)


async def add_nothing(_: "KitMetadata", __: SeedLink) -> None:
    """Do nothing more after their extended handshake."""


class KitMetadata:
    """The metadata of one seed: what it says of it, and what it was asked."""

    def __init__(
        self,
        torrent: SampleTorrent,
        answer: MetadataAnswer = serve_metadata,
        *,
        size: int | None = None,
        numbers: Mapping[bytes, Bencodable] | None = None,
        after_handshake: Greeted = add_nothing,
    ) -> None:
        self.info = torrent.info
        """What is served."""
        self.requests: list[AskedMetadata] = []
        self._size = len(torrent.info) if size is None else size
        self._own_numbers = {b"ut_metadata": OWN_METADATA_ID, **(numbers or {})}
        self._answer = answer
        self._after_handshake = after_handshake
        self._numbers: dict[SeedLink, int] = {}

    def script(self, *, pieces: Collection[int] | None = ALL, unchokes: bool = True) -> SeedScript:
        """Return what a seed with this metadata does."""
        return SeedScript(
            reserved=EXTENDED,
            pieces=pieces,
            unchokes=unchokes,
            after_greeting=self._greet,
            take_extended=self._take,
        )

    @property
    def pieces(self) -> set[int]:
        """Which pieces of metadata were requested."""
        return {each.piece for each in self.requests}

    @property
    def piece_count(self) -> int:
        """Number of pieces of the right metadata."""
        return -(-len(self.info) // METADATA_PIECE_BYTES)

    def part(self, piece: int) -> bytes:
        """Return a piece of what is served."""
        start = piece * METADATA_PIECE_BYTES
        return self.info[start : start + METADATA_PIECE_BYTES]

    async def send(self, link: SeedLink, piece: int, data: bytes) -> None:
        """Send a data message. Raises NotOfferedError."""
        await self._send(
            link, {b"msg_type": DATA, b"piece": piece, b"total_size": self._size}, data
        )

    async def request(self, link: SeedLink, piece: int) -> None:
        """Request a piece of the other side. Raises NotOfferedError."""
        await self._send(link, {b"msg_type": REQUEST, b"piece": piece})

    async def reject(self, link: SeedLink, piece: int) -> None:
        """Reject a request. Raises NotOfferedError."""
        await self._send(link, {b"msg_type": REJECT, b"piece": piece})

    async def _send(
        self, link: SeedLink, content: dict[bytes, Bencodable], data: bytes = b""
    ) -> None:
        number = self._numbers.get(link)
        if number is None:
            raise NotOfferedError("ut_metadata is not offered")
        note = f"metadata {content} ({len(data)} bytes)"
        await link.peer.send(extended(number, bencode(content) + data), note)

    async def _greet(self, link: SeedLink) -> None:
        keys = {"metadata_size": self._size} if self._size else {}
        handshake = own_handshake(self._own_numbers, **keys)
        await link.peer.send(handshake, f"extended handshake with ut_metadata {keys}")
        await held_within(lambda: link in self._numbers, math.inf)
        # some programs look for something to ask for only when a message comes
        await link.peer.send(KEEPALIVE, "keepalive")
        await self._after_handshake(self, link)

    async def _take(self, link: SeedLink, frame: Frame) -> None:
        if is_handshake(frame):
            if link not in self._numbers and (number := _number(frame)) is not None:
                self._numbers[link] = number
            return
        found = read_metadata(frame, OWN_METADATA_ID)
        if found is not None and found.kind == REQUEST and link in self._numbers:
            self.requests.append(AskedMetadata(anyio.current_time(), found.piece))
            await self._answer(self, link, found.piece)


def _number(frame: Frame) -> int | None:
    try:
        return number_of(content_of(frame), b"ut_metadata")
    except (NotOfferedError, UndecidedError):
        return None
