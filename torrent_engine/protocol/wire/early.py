"""What a peer said of pieces before it is known how many there are (row B3).

Source: BEP 9 (metadata comes from the same peers), BEP 3, BEP 6, BEP 54. What is held is bounded:
a bitfield's bytes, or a few numbers. When the metadata is there, all of it is judged as if it were
said then.
"""

from typing import TYPE_CHECKING, Final

from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import PieceIndex
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.protocol.wire.control import (
    CONTROL_DECODERS,
    MAX_ALLOWED_FAST_IN,
    Decoder,
    begin_with_none,
    charge_bitfield,
    need_fast,
)
from torrent_engine.protocol.wire.messages import (
    AllowedFast,
    MessageId,
    PeerBitfield,
    PeerEvent,
    PieceSuggested,
)

if TYPE_CHECKING:
    from torrent_engine.protocol.wire.connection import PeerConnection

MAX_SUGGESTED: Final = 100  # ours: the newest are kept
MAX_SINGLE: Final = 256  # ours: pieces that are kept one by one, beyond the end of the bits


class EarlyWords:
    """What one peer has, suggests and allows, in terms of pieces that may not exist."""

    def __init__(self, max_pieces: int) -> None:
        self.allowed_fast: dict[int, None] = {}
        self.suggested: dict[int, None] = {}
        self._max_pieces = max_pieces
        self._is_told = False
        """The peer said something of what it has."""
        self._has_others = False
        """It has every piece whose bit is not turned."""
        self._turned = bytearray()
        """A bit a piece, as in a bitfield; those past the end are in ``_single`` or not turned."""
        self._single: set[int] = set()
        """Pieces past the end of the bits that are turned too."""
        self._field_bytes: int | None = None
        self._last_bits = 0
        """Which bits were ever set in the last byte of a bitfield."""
        self._highest = (-1, 3)
        """The highest piece that it spoke of, and the BEP of that message."""

    @property
    def held_bytes(self) -> int:
        """How much of the peer's words is held."""
        return len(self._turned)

    @property
    def tells_of_pieces(self) -> bool:
        """Whether the peer said that it has any piece."""
        return self._has_others or bool(self._single) or self._turned.count(0) < len(self._turned)

    def bitfield(self, data: bytes) -> None:
        """Hear "bitfield"; raises RemoteProtocolError if an earlier one had another length."""
        if self._field_bytes not in {None, len(data)}:
            raise RemoteProtocolError(f"bitfields of {self._field_bytes}, {len(data)} bytes", bep=3)
        self._field_bytes = len(data)
        self._last_bits |= int.from_bytes(data[-1:], "big")
        self._turned = bytearray(data)
        self._single.clear()
        self._is_told, self._has_others = True, False

    def has_all_or_none(self, *, has_all: bool) -> None:
        """Hear "have all" or "have none"."""
        self._turned = bytearray()
        self._single.clear()
        self._is_told, self._has_others = True, has_all

    def has(self, piece: int) -> None:
        """Hear "have"; raises RemoteProtocolError as :meth:`spoke_of`."""
        self.spoke_of(piece, 3)
        self._turn(piece, is_turned=not self._has_others)
        self._is_told = True

    def lost(self, piece: int) -> None:
        """Hear "lt_donthave"; raises RemoteProtocolError as :meth:`spoke_of`."""
        self.spoke_of(piece, 54)
        self._turn(piece, is_turned=self._has_others)

    def spoke_of(self, piece: int, bep: int) -> None:
        """Note that the peer named a piece; raises RemoteProtocolError if no torrent has it."""
        if piece >= self._max_pieces:
            raise RemoteProtocolError(f"piece {piece}, more than any torrent has", bep=bep)
        if piece > self._highest[0]:
            self._highest = piece, bep

    def _turn(self, piece: int, *, is_turned: bool) -> None:
        at, mask = piece >> 3, 128 >> (piece & 7)
        if at < len(self._turned):
            self._turned[at] = self._turned[at] | mask if is_turned else self._turned[at] & ~mask
        elif is_turned:
            self._single.add(piece)
            if len(self._single) > MAX_SINGLE:
                self._turned = self._all_turned(max(self._single) // 8 + 1)
                self._single.clear()
        else:
            self._single.discard(piece)

    def _all_turned(self, size_bytes: int) -> bytearray:
        """Return a bit for each piece; those past the size are left out."""
        bits = self._turned[:size_bytes].ljust(size_bytes, b"\0")
        for piece in self._single:
            if piece >> 3 < size_bytes:
                bits[piece >> 3] |= 128 >> (piece & 7)
        return bits

    def allows(self, piece: int) -> None:
        """Hear "allowed fast"; raises RemoteProtocolError as :meth:`spoke_of`."""
        self.spoke_of(piece, 6)
        if len(self.allowed_fast) < MAX_ALLOWED_FAST_IN:
            self.allowed_fast[piece] = None

    def suggests(self, piece: int) -> None:
        """Hear "suggest piece"; raises RemoteProtocolError as :meth:`spoke_of`."""
        self.spoke_of(piece, 6)
        self.suggested.pop(piece, None)
        self.suggested[piece] = None
        if len(self.suggested) > MAX_SUGGESTED:
            del self.suggested[next(iter(self.suggested))]

    def judge(self, piece_count: int) -> tuple[list[PeerEvent], RemoteProtocolError | None]:
        """Return what all this amounts to, and the first rule that it breaks after all."""
        events: list[PeerEvent] = []
        if self._is_told:
            events.append(PeerBitfield(self._bits(piece_count)))
        for made, pieces in ((AllowedFast, self.allowed_fast), (PieceSuggested, self.suggested)):
            events += [made(PieceIndex(piece)) for piece in pieces if piece < piece_count]
        return events, self._offence(piece_count)

    def _bits(self, piece_count: int) -> Bitfield:
        size, spare = (piece_count + 7) // 8, -piece_count % 8
        number = int.from_bytes(self._all_turned(size), "big") >> spare << spare
        bits = Bitfield.from_bytes(number.to_bytes(size, "big"), piece_count)
        if self._has_others:
            return Bitfield.from_int(~bits.as_int(), piece_count)
        return bits

    def _offence(self, piece_count: int) -> RemoteProtocolError | None:
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


def _have(connection: "PeerConnection", payload: memoryview) -> None:
    connection.early.has(_number(payload))
    connection.is_bitfield_over = True


def _bitfield(connection: "PeerConnection", payload: memoryview) -> None:
    charge_bitfield(connection)
    connection.early.bitfield(bytes(payload))
    connection.is_bitfield_over = True


def _have_all(connection: "PeerConnection", _payload: memoryview) -> None:
    need_fast(connection, "have all")
    connection.early.has_all_or_none(has_all=True)
    connection.is_bitfield_over = True


def _have_none(connection: "PeerConnection", _payload: memoryview) -> None:
    begin_with_none(connection)
    connection.early.has_all_or_none(has_all=False)


def _suggest(connection: "PeerConnection", payload: memoryview) -> None:
    need_fast(connection, "suggest piece")
    connection.early.suggests(_number(payload))


def _allowed_fast(connection: "PeerConnection", payload: memoryview) -> None:
    need_fast(connection, "allowed fast")
    connection.early.allows(_number(payload))


def _number(payload: memoryview) -> int:
    return int.from_bytes(payload, "big")


EARLY_DECODERS: Final[dict[int, Decoder]] = CONTROL_DECODERS | {
    MessageId.HAVE: _have,
    MessageId.BITFIELD: _bitfield,
    MessageId.HAVE_ALL: _have_all,
    MessageId.HAVE_NONE: _have_none,
    MessageId.SUGGEST_PIECE: _suggest,
    MessageId.ALLOWED_FAST: _allowed_fast,
}
"""What to call for each message while it is not known how many pieces there are."""
