"""What a peer says about pieces before the metadata is known (row B3).

Source: BEP 9 (metadata comes from the same peers), BEP 3, BEP 6, BEP 54. What is held is bounded:
the bytes of a bitfield, or a few numbers. Once the metadata is known, it is checked as if it were
received then.
"""

from typing import Final

from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import PieceIndex
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.protocol.wire.messages import (
    AllowedFast,
    PeerBitfield,
    PeerEvent,
    PieceSuggested,
)

MAX_ALLOWED_FAST_IN: Final = 100  # ours; BEP 6 speaks of about ten
MAX_SUGGESTED: Final = 100  # ours: the newest are kept
MAX_SINGLE: Final = 256  # ours: pieces that are kept one by one, beyond the end of the bits


class PreMetadataState:
    """The pieces that one peer has, suggests and allows, by numbers that are not yet checked."""

    def __init__(self, max_pieces: int) -> None:
        self.allowed_fast: dict[int, None] = {}
        self.suggested: dict[int, None] = {}
        self._max_pieces = max_pieces
        self._is_known = False
        """Whether the peer sent a bitfield or a "have"."""
        self._has_others = False
        """Whether it has every piece whose bit is not inverted."""
        self._inverted = bytearray()
        """A bit for each piece; pieces past its end are in ``_single`` or not inverted."""
        self._inverted_count = 0
        """How many of these bits are set."""
        self._single: set[int] = set()
        """Inverted pieces past the end of the bits."""
        self._field_bytes: int | None = None
        self._last_bits = 0
        """The bits that were ever set in the last byte of a bitfield."""
        self._highest = (-1, 3)
        """The highest piece that it named, and the BEP of that message."""

    @property
    def held_bytes(self) -> int:
        """Memory that the bits take."""
        return len(self._inverted)

    @property
    def has_pieces(self) -> bool:
        """Whether the peer has any piece."""
        return self._has_others or bool(self._single) or self._inverted_count > 0

    def bitfield(self, data: bytes) -> None:
        """Record a "bitfield"; raise RemoteProtocolError if an earlier one had another length."""
        if self._field_bytes not in {None, len(data)}:
            raise RemoteProtocolError(f"bitfields of {self._field_bytes}, {len(data)} bytes", bep=3)
        self._field_bytes = len(data)
        self._last_bits |= int.from_bytes(data[-1:], "big")
        self._inverted = bytearray(data)
        self._inverted_count = int.from_bytes(data, "big").bit_count()
        self._single.clear()
        self._is_known, self._has_others = True, False

    def has_all_or_none(self, *, has_all: bool) -> None:
        """Record "have all" or "have none"."""
        self._inverted, self._inverted_count = bytearray(), 0
        self._single.clear()
        self._is_known, self._has_others = True, has_all

    def has(self, piece: int) -> None:
        """Record a "have"; raise RemoteProtocolError as :meth:`check_piece`."""
        self.check_piece(piece, 3)
        self._mark(piece, is_set=not self._has_others)
        self._is_known = True

    def lost(self, piece: int) -> None:
        """Record an "lt_donthave"; raise RemoteProtocolError as :meth:`check_piece`."""
        self.check_piece(piece, 54)
        self._mark(piece, is_set=self._has_others)

    def check_piece(self, piece: int, bep: int) -> None:
        """Record that the peer named a piece; raise RemoteProtocolError if no torrent has it."""
        if piece >= self._max_pieces:
            raise RemoteProtocolError(f"piece {piece}, more than any torrent has", bep=bep)
        if piece > self._highest[0]:
            self._highest = piece, bep

    def _mark(self, piece: int, *, is_set: bool) -> None:
        at, mask = piece >> 3, 128 >> (piece & 7)
        if at < len(self._inverted):
            if bool(self._inverted[at] & mask) != is_set:
                self._inverted[at] ^= mask
                self._inverted_count += 1 if is_set else -1
        elif is_set:
            self._single.add(piece)
            if len(self._single) > MAX_SINGLE:
                self._inverted = self._all_bits(max(self._single) // 8 + 1)
                self._inverted_count += len(self._single)
                self._single.clear()
        else:
            self._single.discard(piece)

    def _all_bits(self, size_bytes: int) -> bytearray:
        """Return a bit for each piece up to a size."""
        bits = self._inverted[:size_bytes].ljust(size_bytes, b"\0")
        for piece in self._single:
            if piece >> 3 < size_bytes:
                bits[piece >> 3] |= 128 >> (piece & 7)
        return bits

    def allows(self, piece: int) -> None:
        """Record an "allowed fast"; raise RemoteProtocolError as :meth:`check_piece`."""
        self.check_piece(piece, 6)
        if len(self.allowed_fast) < MAX_ALLOWED_FAST_IN:
            self.allowed_fast[piece] = None

    def suggests(self, piece: int) -> None:
        """Record a "suggest piece"; raise RemoteProtocolError as :meth:`check_piece`."""
        self.check_piece(piece, 6)
        self.suggested.pop(piece, None)
        self.suggested[piece] = None
        if len(self.suggested) > MAX_SUGGESTED:
            del self.suggested[next(iter(self.suggested))]

    def resolve(self, piece_count: int) -> tuple[list[PeerEvent], RemoteProtocolError | None]:
        """Return the events for that number of pieces, and the error if a message is invalid."""
        events: list[PeerEvent] = []
        if self._is_known:
            events.append(PeerBitfield(self._bitfield(piece_count)))
        for made, pieces in ((AllowedFast, self.allowed_fast), (PieceSuggested, self.suggested)):
            events += [made(PieceIndex(piece)) for piece in pieces if piece < piece_count]
        return events, self._error(piece_count)

    def _bitfield(self, piece_count: int) -> Bitfield:
        size, spare = (piece_count + 7) // 8, -piece_count % 8
        number = int.from_bytes(self._all_bits(size), "big") >> spare << spare
        bits = Bitfield.from_bytes(number.to_bytes(size, "big"), piece_count)
        if self._has_others:
            return Bitfield.from_int(~bits.as_int(), piece_count)
        return bits

    def _error(self, piece_count: int) -> RemoteProtocolError | None:
        highest, bep = self._highest
        if highest >= piece_count:
            return RemoteProtocolError(f"piece {highest} of {piece_count}", bep=bep)
        if self._field_bytes not in {None, (piece_count + 7) // 8}:
            message = f"bitfield of {self._field_bytes} bytes for {piece_count} pieces"
            return RemoteProtocolError(message, bep=3)
        spare = -piece_count % 8
        if self._last_bits & ((1 << spare) - 1):
            return RemoteProtocolError("bitfield with spare bits set", bep=3)
        return None
