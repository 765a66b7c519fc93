"""One peer connection, sans-I/O: bytes and a time go in, events and bytes come out.

Source: BEP 3 (peer protocol), BEP 6 (Fast), BEP 10 (extension protocol), BEP 54 (lt_donthave).

This module has the receiving half, with the hot path for blocks. :mod:`.sender` has the sending
half, :mod:`.control` the decoders of messages off the hot path, :mod:`.connection_state` what all
of them work on.
"""

import struct
from collections.abc import Mapping
from typing import Final

from torrent_engine.base.config import TransferConfig, WireLimits
from torrent_engine.base.errors import LocalProtocolError, RemoteProtocolError
from torrent_engine.base.ids import BLOCK_BYTES, InfoHash, PeerId
from torrent_engine.codec.geometry import Geometry
from torrent_engine.protocol.wire.block_runs import FRAME_BYTES, count_neighbours
from torrent_engine.protocol.wire.buffers import BufferPool
from torrent_engine.protocol.wire.connection_state import ConnectionState
from torrent_engine.protocol.wire.control import (
    CONTROL_DECODERS,
    HASH_IDS,
    check_frame,
    is_ignored,
    is_skipped,
)
from torrent_engine.protocol.wire.framing import ReceiveBuffer
from torrent_engine.protocol.wire.incoming_requests import (
    REQUEST,
    REQUEST_FRAME_BYTES,
    parse_requests,
)
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
from torrent_engine.protocol.wire.pre_metadata import PreMetadataState
from torrent_engine.protocol.wire.pre_metadata_decoders import PRE_METADATA_DECODERS
from torrent_engine.protocol.wire.sender import MessageSender
from torrent_engine.protocol.wire.upload_queue import RequestBudget, UploadQueue

_PIECE_HEADER = struct.Struct(">IBII").unpack_from
_PIECE = 7
_PIECE_HEADER_BYTES = 13
EXTENDED: Final = 20
TURN_UNITS: Final = 64  # ours: at 2 to 10 us each well below a millisecond
JOINED_BLOCKS: Final = 8  # ours: for fewer blocks joining gains nothing
_JOINED_BYTES = JOINED_BLOCKS * FRAME_BYTES


class PeerConnection:
    """The BitTorrent protocol with one peer, from the first byte to the last.

    Pass received bytes to :meth:`receive_data`, or without a copy: read into
    :meth:`receive_buffer`, then call :meth:`bytes_received`. Send what :meth:`data_to_send` returns
    after any call. After a :class:`ProtocolViolated` event the connection must be closed; further
    bytes are ignored. With ``joins_blocks`` consecutive blocks are reported by one
    :class:`BlocksReceived` where that is cheaper than a :class:`BlockReceived` for each of them.

    Messages without payload are handled a limited number at a time: while :attr:`has_unparsed`
    is set, call :meth:`parse_more` instead of reading. Their cost is added to
    ``state.control_units``.

    With ``geometry`` None only the info-hash of the torrent is known: what the peer says about
    pieces is held until :meth:`metadata_received`, and its requests are rejected. ``is_v2`` says
    of such a torrent whether it has a v2 part only. Of a hybrid ``v2_hash`` is its second
    info-hash, and ``is_v2`` whether we begin with it; else the peer chooses (BEP 52).
    """

    __slots__ = (
        "_buffer",
        "_decoders",
        "_join_begin",
        "_joins_blocks",
        "_part_begins_at",
        "_partial",
        "_partial_rest_bytes",
        "_queue",
        "_skip_bytes",
        "_watched",
        "has_unparsed",
        "is_violated",
        "last_payload_s",
        "last_received_s",
        "last_sent_s",
        "last_wanted_s",
        "limits",
        "outstanding",
        "received_bytes",
        "sender",
        "started_s",
        "state",
        "upload_requests",
    )

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
        requests: RequestBudget | None = None,
        joins_blocks: bool = False,
        is_v2: bool = False,
        v2_hash: InfoHash | None = None,
        now: float = 0.0,
    ) -> None:
        self.limits = limits = limits or WireLimits()
        self.state = ConnectionState(
            info_hash=info_hash,
            peer_id=peer_id,
            limits=limits,
            offers_fast=fast_extension,
            offers_extensions=extensions is not None,
            extension_ids=dict(extensions or {}),
            pre_metadata=PreMetadataState(limits.max_pre_metadata_pieces),
            is_v2=is_v2,
            v2_hash=v2_hash,
            upload_requests=UploadQueue(requests),
        )
        if is_v2:
            self.state.join_v2()
        self.sender = MessageSender(self.state)
        self.outstanding = self.state.outstanding
        self.upload_requests = self.state.upload_requests
        self._queue = self.state.queue
        transfer = transfer or TransferConfig()
        self._buffer = ReceiveBuffer(
            transfer.receive_buffer_bytes,
            min_bytes=transfer.slow_receive_buffer_bytes,
            now=now,
            pool=buffers,
        )
        self.has_unparsed = False
        """Whether received messages still wait to be handled."""
        self._joins_blocks = joins_blocks
        self._join_begin = -1  # the last offset in a piece at which joining is worth it
        self._decoders = PRE_METADATA_DECODERS
        if geometry is not None:
            self._set_geometry(geometry)
        self._partial: tuple[int, int, int, list[memoryview]] | None = None
        """A partially received block: piece, begin, length and the payload so far."""
        self._partial_rest_bytes = 0
        self._skip_bytes = 0
        self._part_begins_at = 0
        self._watched: tuple[int, float, int] | None = None
        """An incomplete message: its offset in the stream, since when, bytes received then."""
        self.is_violated = False
        self.received_bytes = 0
        """All received bytes, including the handshake."""
        self.started_s = now
        self.last_received_s = now
        self.last_sent_s = now
        """When something was last sent; set by the transport, used to time keep-alives."""
        self.last_payload_s = now
        self.last_wanted_s = now
        """When :meth:`timed_out` last found one side interested."""

    @property
    def has_data_to_send(self) -> bool:
        """Whether :meth:`data_to_send` would return anything."""
        return bool(self._queue)

    def data_to_send(self) -> list[bytes | memoryview]:
        """Remove the queued buffers and return them, in the order in which to send them."""
        return self._queue.take_all()

    def close(self) -> None:
        """Release the receive buffer, the send queue and the requests; may be called twice.

        References to the connection that remain then hold little memory.
        """
        self._buffer.drop()
        self._queue.take_all()
        self.upload_requests.clear()
        if self._partial is not None:
            self._partial[3].clear()

    def _set_geometry(self, geometry: Geometry) -> None:
        self.state.geometry = self.state.pieces = geometry
        self.state.is_v2 |= geometry.aligned is not None and self.state.v2_hash is None
        self._decoders = CONTROL_DECODERS
        if self._joins_blocks:
            self._join_begin = geometry.piece_bytes - JOINED_BLOCKS * BLOCK_BYTES

    def metadata_received(self, geometry: Geometry, *, now: float) -> list[PeerEvent]:
        """Check what the peer said about pieces before their number was known (row B3).

        Returns it as events: at most one PeerBitfield, then AllowedFast and PieceSuggested, then
        PeerInterested and PeerUnchoked if they hold, although they were reported before. If a
        message was invalid, a ProtocolViolated is the last event.
        Raises LocalProtocolError if the geometry is known already.
        """
        state = self.state
        if state.geometry is not None:
            raise LocalProtocolError("the metadata is already known")
        self._set_geometry(geometry)
        self.last_wanted_s = now
        if self.is_violated:
            return []
        events, error = state.pre_metadata.resolve(geometry.piece_count)
        state.pre_metadata = PreMetadataState(0)
        state.allowed_fast_in.update(e.piece_index for e in events if isinstance(e, AllowedFast))
        if state.peer_interested:
            events.append(PeerInterested())
        if not state.peer_choking:
            events.append(PeerUnchoked())
        if error is not None:
            self.is_violated = True
            events.append(ProtocolViolated(error))
        return events

    @property
    def awaits_blocks(self) -> bool:
        """Whether requests are outstanding, or a block is partially received."""
        return bool(self.outstanding) or self.incoming_block is not None

    @property
    def incoming_block(self) -> tuple[int, int, int] | None:
        """The partially received block; its request is no longer outstanding."""
        return None if self._partial is None else self._partial[:3]

    def receive_buffer(self) -> memoryview:
        """Return the buffer for the next bytes from the peer; never empty before :meth:`close`.

        Call it again after every wait: any other method of this class may replace the buffer.
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
        """Handle more received messages; to be called while :attr:`has_unparsed` is set."""
        events: list[PeerEvent] = []
        self.has_unparsed = False
        try:
            if self.state.handshake is not None or self._parse_handshake(events):
                self._parse(events)
        except RemoteProtocolError as error:
            self.is_violated = True
            events.append(ProtocolViolated(error))  # earlier events still count
        if not self.has_unparsed:
            self._buffer.make_room(now)
        return events

    @property
    def held_bytes(self) -> int:
        """Memory that an incomplete message takes beyond the usual receive buffer."""
        return self._buffer.held_bytes

    def timed_out(self, now: float, *, is_read: bool = True) -> str | None:
        """Return why this connection must be closed for lack of progress, or None (row B5).

        To be called every few seconds: it also queues keep-alives and releases memory. With
        ``is_read`` False the transport does not read at the moment, so silence is no fault.
        """
        limits = self.limits
        if not is_read:
            self.last_received_s, self._watched = now, None
        if self.state.am_interested or self.state.peer_interested:
            self.last_wanted_s = now
        if self.state.handshake is None and now - self.started_s > limits.handshake_timeout_s:
            return "no handshake in time"
        if now - self.last_received_s > limits.idle_timeout_s:
            return "silent for too long"
        if self.state.handshake is not None and self._is_late(now):
            return "a message takes too long"
        if now - max(self.last_wanted_s, self.last_payload_s) > limits.inactivity_timeout_s:
            return "neither side is interested"
        if self.state.handshake is not None and now - self.last_sent_s >= limits.keep_alive_s:
            self.sender.send_keep_alive()
            self.last_sent_s = now
        if not self.has_unparsed:
            self._buffer.make_room(now)
        return None

    def _parse_handshake(self, events: list[PeerEvent]) -> bool:
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
        self._check_info_hash(handshake)
        buffer.start += HANDSHAKE_BYTES
        self._handshake_received(handshake)
        events.append(handshake)
        return True

    def _check_info_hash(self, handshake: HandshakeReceived) -> None:
        """Find out which swarm of a hybrid a link is of. Raises RemoteProtocolError if of none."""
        state, is_answered = self.state, self.state.late_handshake is not None
        if handshake.info_hash == state.info_hash:
            if is_answered and handshake.supports_v2 and state.is_upgradable:
                state.join_v2()
        elif handshake.info_hash == state.v2_hash:
            state.join_v2()
        else:
            raise RemoteProtocolError("handshake for another info-hash", bep=3)

    def _handshake_received(self, handshake: HandshakeReceived) -> None:
        state = self.state
        if state.late_handshake is not None:
            self.sender.send_handshake(dht=state.late_handshake)
            state.late_handshake = None
        state.handshake = handshake
        state.fast_enabled = state.offers_fast and handshake.supports_fast
        state.extensions_enabled = state.offers_extensions and handshake.supports_extensions

    def _parse(self, events: list[PeerEvent]) -> None:  # noqa: C901, PLR0912, PLR0915 - the hot loop
        # One flat loop: parsing a block takes about 2.5 us (measured), and a call for each would
        # come on top. Messages that are neither block nor request go through _parse_control().
        state, buffer = self.state, self._buffer
        view, pos, end = buffer.view, buffer.start, buffer.end
        outstanding, join_begin = self.outstanding, self._join_begin
        last_unit = state.control_units + TURN_UNITS
        has_views = False
        if self._partial is not None or self._skip_bytes:
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
                        and (joined := self._parse_run(view, pos, end, key, events))
                    ):
                        pos += joined
                        has_views = True
                    elif key in outstanding and pos + size <= end:
                        del outstanding[key]
                        events.append(BlockReceived(piece, begin, size, (view[pos : pos + size],)))
                        pos += size
                        has_views = True
                    else:
                        pos = self._start_block(key, pos, events)
                elif kind == REQUEST and length == _PIECE_HEADER_BYTES:
                    if end - pos < REQUEST_FRAME_BYTES:
                        break
                    pos = parse_requests(state, view, pos, end, events)
                    if state.control_units >= last_unit:
                        break
                else:
                    taken = self._parse_control(view, pos, end, events)
                    pos += taken
                    if not taken or state.control_units >= last_unit:
                        break
            while (
                end - pos < _PIECE_HEADER_BYTES
                and state.control_units < last_unit
                and (taken := self._parse_control(view, pos, end, events))
            ):
                pos += taken
            self.has_unparsed = state.control_units >= last_unit and pos < end
        finally:
            buffer.start = pos
            if has_views:
                self.last_payload_s = self.last_received_s
                buffer.has_views = True

    def _parse_run(
        self,
        view: memoryview,
        pos: int,
        end: int,
        first: tuple[int, int, int],
        events: list[PeerEvent],
    ) -> int:
        """Parse consecutive blocks, the first payload at ``pos``; return their size, or 0."""
        outstanding, (piece, begin, _) = self.outstanding, first
        start = pos - _PIECE_HEADER_BYTES
        room = (self.state.pieces.piece_bytes - begin) // BLOCK_BYTES
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
        """Parse a block that is unrequested or not received completely."""
        piece, begin, size = block
        if 9 + size > self.limits.max_message_bytes:
            raise RemoteProtocolError(f"message 7 of {9 + size} bytes", bep=3)
        self._begin_part(pos)
        if block in self.outstanding:
            del self.outstanding[block]
        elif self.state.abandoned_requests.pop((piece, begin), None) != size:
            self.state.unrequested("unrequested block", bep=3)
            events.append(UnrequestedBlock(piece, begin, size))
            self._skip_bytes = size
            return self._continue_block(self._buffer.view, pos, self._buffer.end, events)
        self._partial = (piece, begin, size, [])
        self._partial_rest_bytes = size
        return self._continue_block(self._buffer.view, pos, self._buffer.end, events)

    def _continue_block(self, view: memoryview, pos: int, end: int, events: list[PeerEvent]) -> int:
        if self._skip_bytes:
            taken = min(self._skip_bytes, end - pos)
            self._skip_bytes -= taken
            return pos + taken
        if self._partial is None:
            return pos
        piece, begin, size, views = self._partial
        if taken := min(self._partial_rest_bytes, end - pos):
            if views and views[-1].obj is view.obj:  # one view per buffer, however small the reads
                views[-1] = view[pos - len(views[-1]) : pos + taken]
            else:
                views.append(view[pos : pos + taken])
            self._buffer.has_views = True
            self._partial_rest_bytes -= taken
        if not self._partial_rest_bytes:
            self._partial = None
            self.last_payload_s = self.last_received_s
            events.append(BlockReceived(piece, begin, size, tuple(views)))
        return pos + taken

    def _parse_control(self, view: memoryview, pos: int, end: int, events: list[PeerEvent]) -> int:
        """Parse a message other than a block; return its size, 0 if it is incomplete."""
        if end - pos < 4:
            return 0
        length = int.from_bytes(view[pos : pos + 4], "big")
        if not length:
            self.state.control_units += 1
            events.append(KeepAliveReceived())
            return 4
        if end - pos < 5:
            return 0
        kind = view[pos + 4]
        check_frame(self.state, kind, length)
        if (kind in HASH_IDS and is_skipped(self.state, kind)) or (
            kind == EXTENDED and end - pos > 5 and is_ignored(self.state, view[pos + 5], length)
        ):
            self.state.control_units += 1
            self._begin_part(pos)
            self._skip_bytes = length - 1
            return self._continue_block(view, pos + 5, end, events) - pos
        if end - pos < 4 + length:
            self._buffer.message_bytes = 4 + length
            return 0
        self.state.control_units += 1
        if event := self._decoders[kind](self.state, view[pos + 5 : pos + 4 + length]):
            events.append(event)
        return 4 + length

    def _begin_part(self, pos: int) -> None:
        """Record where a message begins that is handled as it arrives."""
        self._part_begins_at = self.received_bytes - (self._buffer.end - pos)

    def _unfinished_at(self) -> int | None:
        """Return the offset in the stream of an incomplete message, None if there is none."""
        if self._partial is not None or self._skip_bytes:
            return self._part_begins_at
        rest_bytes = self._buffer.end - self._buffer.start
        if not rest_bytes or self.has_unparsed:
            return None
        return self.received_bytes - rest_bytes

    def _is_late(self, now: float) -> bool:
        """Return whether a message has been incomplete for too long (row B5).

        A block, or a message that is skipped, may take longer as long as bytes arrive.
        """
        watched, came_bytes = self._watched, self.received_bytes
        begins_at = self._unfinished_at()
        if begins_at is None or watched is None or watched[0] != begins_at:
            self._watched = None if begins_at is None else (begins_at, now, came_bytes)
            return False
        self._copy_partial()
        if now - watched[1] <= self.limits.message_timeout_s:
            return False
        is_coming = came_bytes - watched[2] >= self.limits.min_read_bytes
        self._watched = begins_at, now, came_bytes
        return not (is_coming and (self._partial is not None or self._skip_bytes))

    def _copy_partial(self) -> None:
        """Copy a partial block, so that the large receive buffer it lies in can be freed."""
        if self._partial is not None and self._partial[3]:
            views = self._partial[3]
            views[:] = [memoryview(b"".join(views))]
