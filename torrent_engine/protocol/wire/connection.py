"""One peer connection, sans-I/O: bytes and a time go in, events and bytes come out.

Source: BEP 3 (peer protocol), BEP 6 (Fast), BEP 10 (extension protocol), BEP 54 (lt_donthave).

The receiving half is here; what we say ourselves is in :mod:`.sender`, the messages that are not
on the hot path are decoded in :mod:`.control`.
"""

import struct
from collections.abc import Mapping
from typing import Final

from torrent_engine.base.config import TransferConfig, WireLimits
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import BLOCK_BYTES, InfoHash, PeerId
from torrent_engine.codec.geometry import Geometry
from torrent_engine.protocol.wire.block_runs import FRAME_BYTES, count_neighbours
from torrent_engine.protocol.wire.buffers import BufferPool
from torrent_engine.protocol.wire.control import (
    CONTROL_DECODERS,
    IGNORED_IDS,
    check_frame,
    is_ignored,
)
from torrent_engine.protocol.wire.early import EARLY_DECODERS, EarlyWords
from torrent_engine.protocol.wire.framing import ReceiveBuffer
from torrent_engine.protocol.wire.messages import (
    HANDSHAKE_BYTES,
    PROTOCOL_STRING,
    AllowedFast,
    BlockReceived,
    BlocksReceived,
    HandshakeReceived,
    KeepAliveReceived,
    PeerEvent,
    PeerInterested,
    PeerUnchoked,
    ProtocolViolated,
    UnrequestedBlock,
    decode_handshake,
)
from torrent_engine.protocol.wire.requests_in import REQUEST, REQUEST_FRAME_BYTES, RequestsIn

_PIECE_HEADER = struct.Struct(">IBII").unpack_from
_PIECE = 7
_PIECE_HEADER_BYTES = 13
EXTENDED: Final = 20
TURN_UNITS: Final = 64  # ours: at 2 to 10 us each well below a millisecond
JOINED_BLOCKS: Final = 8  # ours: for fewer blocks the long way is as short
_JOINED_BYTES = JOINED_BLOCKS * FRAME_BYTES


class PeerConnection(RequestsIn):
    """Owns what is legal between us and one peer, from the first byte to the last.

    Give received bytes to :meth:`receive_data`, or without a copy: read into
    :meth:`receive_buffer`, then call :meth:`bytes_received`. Send what :meth:`data_to_send` returns
    after any call. After a :class:`ProtocolViolated` event the connection must be closed; further
    bytes are ignored. With ``joins_blocks`` blocks that come in a row are told by one
    :class:`BlocksReceived` where that is cheaper than a :class:`BlockReceived` for each of them.

    Of messages that are no payload only so many are handled at a time: while :attr:`has_unparsed`
    is set, call :meth:`parse_more` instead of reading. What they cost adds to
    :attr:`control_units`.

    With ``geometry`` None nothing is known of the torrent but its info-hash: what the peer says of
    pieces is held for :meth:`metadata_arrived`, its requests are refused.
    """

    def __init__(  # noqa: PLR0913 - keyword-only settings
        self,
        *,
        geometry: Geometry | None,
        info_hash: InfoHash,
        peer_id: PeerId,
        limits: WireLimits | None = None,
        transfer: TransferConfig | None = None,
        fast_extension: bool = True,
        extensions: Mapping[str, int] | None = None,
        buffers: BufferPool | None = None,
        joins_blocks: bool = False,
        now: float = 0.0,
    ) -> None:
        super().__init__(
            geometry=geometry,
            info_hash=info_hash,
            peer_id=peer_id,
            fast_extension=fast_extension,
            extensions=extensions,
            limits=limits or WireLimits(),
            now=now,
        )
        transfer = transfer or TransferConfig()
        self._buffer = ReceiveBuffer(
            transfer.receive_buffer_bytes,
            min_bytes=transfer.slow_receive_buffer_bytes,
            now=now,
            pool=buffers,
        )
        self.has_unparsed = False
        """More has come than was handled at once."""
        self._joins_blocks = joins_blocks
        self._join_begin = -1  # the last place in a piece where joining is worth it
        self.early = EarlyWords(self.limits.max_early_pieces)
        """What the peer said of pieces while :attr:`geometry` was None."""
        self._decoders = EARLY_DECODERS
        if geometry is not None:
            self._set_geometry(geometry)
        self._cut: tuple[int, int, int, list[memoryview]] | None = None
        self._cut_rest_bytes = 0
        self._skip_bytes = 0
        self._part_begins_at = 0
        self._watched: tuple[int, float, int] | None = None
        """An unfinished message: where it begins, since when it is watched, what had come then."""
        self.strikes = 0
        """Blocks and rejects that nobody had asked for."""
        self.is_violated = False
        self.received_bytes = 0
        """All that came, the handshake too."""
        self.started_s = now
        self.last_received_s = now
        self.last_payload_s = now
        self.last_wanted_s = now
        """When :meth:`timed_out` last saw that one side was interested."""

    def close(self) -> None:
        """Let go of what was received and not handled, and of what was not sent; twice is harmless.

        Whoever still refers to the connection then pins no memory with it.
        """
        self._buffer.drop()
        self.data_to_send()
        if self._cut is not None:
            self._cut[3].clear()

    def _set_geometry(self, geometry: Geometry) -> None:
        self.geometry = self._pieces = geometry
        self._decoders = CONTROL_DECODERS
        if self._joins_blocks:
            self._join_begin = geometry.piece_bytes - JOINED_BLOCKS * BLOCK_BYTES

    def metadata_arrived(self, geometry: Geometry, *, now: float) -> list[PeerEvent]:
        """Judge what the peer said before it was known which pieces there are (row B3).

        Returns what that amounts to: at most one PeerBitfield, then what it allows and suggests,
        then PeerInterested and PeerUnchoked if that is how it stands, although they were told when
        they came. If something of it cannot be, a ProtocolViolated is the last event.
        Raises LocalProtocolError if the geometry is known already.
        """
        self._need(allowed=self.geometry is None, what="metadata")
        self._set_geometry(geometry)
        self.last_wanted_s = now
        if self.is_violated:
            return []
        events, error = self.early.judge(geometry.piece_count)
        self.early = EarlyWords(0)
        self.allowed_fast_in.update(e.piece_index for e in events if isinstance(e, AllowedFast))
        if self.peer_interested:
            events.append(PeerInterested())
        if not self.peer_choking:
            events.append(PeerUnchoked())
        if error is not None:
            self.is_violated = True
            events.append(ProtocolViolated(error))
        return events

    @property
    def incoming_block(self) -> tuple[int, int, int] | None:
        """The block that has come in part: no longer outstanding, and not here yet."""
        return None if self._cut is None else self._cut[:3]

    def receive_buffer(self) -> memoryview:
        """Return where the next bytes from the peer go; never empty before :meth:`close`.

        Ask again after every wait: any other method of this class may put another in its place.
        """
        return self._buffer.free()

    def receive_data(self, data: bytes | memoryview, *, now: float) -> list[PeerEvent]:
        """Feed socket bytes; return the events they complete, oldest first."""
        events: list[PeerEvent] = []
        rest = memoryview(data)
        while rest and not self.is_violated and (room := self.receive_buffer()):
            taken = min(len(room), len(rest))
            room[:taken] = rest[:taken]
            events += self.bytes_received(taken, now=now)
            while self.has_unparsed:
                events += self.parse_more(now=now)
            rest = rest[taken:]
        return events

    def bytes_received(self, count_bytes: int, *, now: float) -> list[PeerEvent]:
        """Parse ``count_bytes`` that were written to the start of :meth:`receive_buffer`.

        Returns the events they complete, oldest first; a ProtocolViolated is the last one.
        """
        if self.is_violated:
            return []
        self.last_received_s = now
        self.received_bytes += count_bytes
        self._buffer.filled(count_bytes)
        return self.parse_more(now=now)

    def parse_more(self, *, now: float) -> list[PeerEvent]:
        """Handle more of what has come; to be called while :attr:`has_unparsed`."""
        events: list[PeerEvent] = []
        self.has_unparsed = False
        try:
            if self.handshake is not None or self._take_handshake(events):
                self._parse(events)
        except RemoteProtocolError as error:
            self.is_violated = True
            events.append(ProtocolViolated(error))  # earlier events still count
        if not self.has_unparsed:
            self._buffer.make_room(now)
        return events

    @property
    def held_bytes(self) -> int:
        """How much memory an unfinished message takes, beyond the usual receive buffer."""
        return self._buffer.held_bytes

    def timed_out(self, now: float, *, is_read: bool = True) -> str | None:
        """Return why this connection is to be closed for lack of progress, or None (row B5).

        To be called every few seconds: it also queues keep-alives and gives memory back. With
        ``is_read`` False we do not read at the moment: what does not come is not the peer's fault.
        """
        limits = self.limits
        if not is_read:
            self.last_received_s, self._watched = now, None
        if self.am_interested or self.peer_interested:
            self.last_wanted_s = now
        if self.handshake is None and now - self.started_s > limits.handshake_timeout_s:
            return "no handshake in time"
        if now - self.last_received_s > limits.idle_timeout_s:
            return "silent for too long"
        if self.handshake is not None and self._is_late(now):
            return "a message takes too long"
        if now - max(self.last_wanted_s, self.last_payload_s) > limits.inactivity_timeout_s:
            return "neither side wants anything"
        if self.handshake is not None and now - self.last_sent_s >= limits.keep_alive_s:
            self.send_keep_alive()
            self.last_sent_s = now
        if not self.has_unparsed:
            self._buffer.make_room(now)
        return None

    def _take_handshake(self, events: list[PeerEvent]) -> bool:
        buffer = self._buffer
        received = bytes(
            buffer.view[buffer.start : min(buffer.end, buffer.start + HANDSHAKE_BYTES)]
        )
        name = received[: len(PROTOCOL_STRING)]
        if name != PROTOCOL_STRING[: len(name)]:
            raise RemoteProtocolError("handshake of another protocol", bep=3)
        if len(received) < HANDSHAKE_BYTES:
            return False
        handshake = decode_handshake(received)
        if handshake.info_hash != self.info_hash:
            raise RemoteProtocolError("handshake for another info-hash", bep=3)
        buffer.start += HANDSHAKE_BYTES
        self._accept_handshake(handshake)
        events.append(handshake)
        return True

    def _accept_handshake(self, handshake: HandshakeReceived) -> None:
        self.handshake = handshake
        self.fast_enabled = self.offers_fast and handshake.supports_fast
        self.extensions_enabled = self.offers_extensions and handshake.supports_extensions

    def _parse(self, events: list[PeerEvent]) -> None:  # noqa: C901, PLR0912, PLR0915 - the hot loop
        # One flat loop: parsing a block takes about 2.5 us (measured), and a call for each would
        # come on top. What is no block or request goes through _control().
        buffer = self._buffer
        view, pos, end = buffer.view, buffer.start, buffer.end
        outstanding, join_begin = self.outstanding, self._join_begin
        last_unit = self.control_units + TURN_UNITS
        is_lent = False
        if self._cut is not None or self._skip_bytes:
            pos = self._continue_block(view, pos, end, events)
        try:
            while end - pos >= _PIECE_HEADER_BYTES:
                length, kind, piece, begin = _PIECE_HEADER(view, pos)
                if kind == _PIECE and length > 9:
                    size = length - 9
                    pos += _PIECE_HEADER_BYTES
                    key = (piece, begin, size)
                    if (
                        begin <= join_begin
                        and size == BLOCK_BYTES
                        and end - pos >= _JOINED_BYTES
                        and (joined := self._take_run(view, pos, end, key, events))
                    ):
                        pos += joined
                        is_lent = True
                    elif key in outstanding and pos + size <= end:
                        del outstanding[key]
                        events.append(BlockReceived(piece, begin, size, (view[pos : pos + size],)))
                        pos += size
                        is_lent = True
                    else:
                        pos = self._start_block(key, pos, events)
                elif kind == REQUEST and length == _PIECE_HEADER_BYTES:
                    if end - pos < REQUEST_FRAME_BYTES:
                        break
                    pos = self._take_requests(view, pos, end, events)
                    if self.control_units >= last_unit:
                        break
                else:
                    taken = self._control(view, pos, end, events)
                    pos += taken
                    if not taken or self.control_units >= last_unit:
                        break
            while (
                end - pos < _PIECE_HEADER_BYTES
                and self.control_units < last_unit
                and (taken := self._control(view, pos, end, events))
            ):
                pos += taken
            self.has_unparsed = self.control_units >= last_unit and pos < end
        finally:
            buffer.start = pos
            if is_lent:
                self.last_payload_s = self.last_received_s
                buffer.is_lent = True

    def _take_run(
        self,
        view: memoryview,
        pos: int,
        end: int,
        first: tuple[int, int, int],
        events: list[PeerEvent],
    ) -> int:
        """Take whole neighbours, the first one's payload at ``pos``; return their bytes, or 0."""
        outstanding, (piece, begin, _) = self.outstanding, first
        start = pos - _PIECE_HEADER_BYTES
        room = (self._pieces.piece_bytes - begin) // BLOCK_BYTES
        count = count_neighbours(view, start, min((end - start) // FRAME_BYTES, room))
        begins = range(begin, begin + count * BLOCK_BYTES, BLOCK_BYTES)
        keys = [(piece, each, BLOCK_BYTES) for each in begins]
        if not all(map(outstanding.__contains__, keys)):
            return 0
        for key in keys:
            del outstanding[key]
        stop = start + count * FRAME_BYTES
        views = [view[at : at + BLOCK_BYTES] for at in range(pos, stop, FRAME_BYTES)]
        events.append(BlocksReceived(piece, begin, views))
        return stop - pos

    def _start_block(self, block: tuple[int, int, int], pos: int, events: list[PeerEvent]) -> int:
        """Begin a block that is unrequested, or longer than what has come of it."""
        piece, begin, size = block
        if 9 + size > self.limits.max_message_bytes:
            raise RemoteProtocolError(f"message 7 of {9 + size} bytes", bep=3)
        self._begin_part(pos)
        if block in self.outstanding:
            del self.outstanding[block]
        elif self.forsaken.pop((piece, begin), None) != size:
            self._strike("unrequested block", bep=3)
            events.append(UnrequestedBlock(piece, begin, size))
            self._skip_bytes = size
            return self._continue_block(self._buffer.view, pos, self._buffer.end, events)
        self._cut = (piece, begin, size, [])
        self._cut_rest_bytes = size
        return self._continue_block(self._buffer.view, pos, self._buffer.end, events)

    def _continue_block(self, view: memoryview, pos: int, end: int, events: list[PeerEvent]) -> int:
        if self._skip_bytes:
            taken = min(self._skip_bytes, end - pos)
            self._skip_bytes -= taken
            return pos + taken
        if self._cut is None:
            return pos
        piece, begin, size, views = self._cut
        if taken := min(self._cut_rest_bytes, end - pos):
            if views and views[-1].obj is view.obj:  # however small the reads: one view a buffer
                views[-1] = view[pos - len(views[-1]) : pos + taken]
            else:
                views.append(view[pos : pos + taken])
            self._buffer.is_lent = True
            self._cut_rest_bytes -= taken
        if not self._cut_rest_bytes:
            self._cut = None
            self.last_payload_s = self.last_received_s
            events.append(BlockReceived(piece, begin, size, tuple(views)))
        return pos + taken

    def _control(self, view: memoryview, pos: int, end: int, events: list[PeerEvent]) -> int:
        """Parse one message at ``pos`` that is no block; return its bytes, 0 if it is not whole."""
        if end - pos < 4:
            return 0
        length = int.from_bytes(view[pos : pos + 4], "big")
        if not length:
            self.control_units += 1
            events.append(KeepAliveReceived())
            return 4
        if end - pos < 5:
            return 0
        kind = view[pos + 4]
        check_frame(self, kind, length)
        if kind in IGNORED_IDS or (
            kind == EXTENDED and end - pos > 5 and is_ignored(self, view[pos + 5], length)
        ):
            self.control_units += 1
            self._begin_part(pos)
            self._skip_bytes = length - 1
            return self._continue_block(view, pos + 5, end, events) - pos
        if end - pos < 4 + length:
            self._buffer.message_bytes = 4 + length
            return 0
        self.control_units += 1
        if event := self._decoders[kind](self, view[pos + 5 : pos + 4 + length]):
            events.append(event)
        return 4 + length

    def _begin_part(self, pos: int) -> None:
        """Note where the message begins that is handled as it comes."""
        self._part_begins_at = self.received_bytes - (self._buffer.end - pos)

    def _unfinished_at(self) -> int | None:
        """Return where in all that came a message begins whose end is missing; None: nowhere."""
        if self._cut is not None or self._skip_bytes:
            return self._part_begins_at
        rest_bytes = self._buffer.end - self._buffer.start
        if not rest_bytes or self.has_unparsed:
            return None
        return self.received_bytes - rest_bytes

    def _is_late(self, now: float) -> bool:
        """Return whether the end of a message is missing for too long (row B5).

        A block, or what is passed over, may take its time: it only has to come on.
        """
        watched, came_bytes = self._watched, self.received_bytes
        begins_at = self._unfinished_at()
        if begins_at is None or watched is None or watched[0] != begins_at:
            self._watched = None if begins_at is None else (begins_at, now, came_bytes)
            return False
        self._unpin()
        if now - watched[1] <= self.limits.message_timeout_s:
            return False
        is_coming = came_bytes - watched[2] >= self.limits.min_read_bytes
        self._watched = begins_at, now, came_bytes
        return not (is_coming and (self._cut is not None or self._skip_bytes))

    def _unpin(self) -> None:
        """Let go of a large buffer of which only the begin of one block is needed."""
        if self._cut is not None and self._cut[3]:
            views = self._cut[3]
            views[:] = [memoryview(b"".join(views))]

    def _strike(self, what: str, *, bep: int) -> None:
        self.strikes += 1
        if self.strikes > self.limits.max_unrequested_blocks:
            raise RemoteProtocolError(f"{what}, {self.strikes} times", bep=bep)
