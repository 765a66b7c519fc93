"""Owns what becomes of each request of a peer: it waits, is rejected, or breaks a rule.

Source: BEP 3, BEP 6; row B4 of the fault table. The plain ones, which are nearly all, are taken
together.
"""

import struct
from collections.abc import Mapping
from typing import Final

from torrent_engine.base.config import WireLimits
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import BLOCK_BYTES, InfoHash, PeerId
from torrent_engine.codec.geometry import Geometry
from torrent_engine.protocol.wire.messages import BlockRequest, BlocksRequested, PeerEvent
from torrent_engine.protocol.wire.sender import Sender

REQUEST: Final = 6
REQUEST_FRAME_BYTES: Final = 17
_REQUEST_LENGTH = 13
_REQUEST_FRAMES = struct.Struct(">IBIII").iter_unpack
_new_tuple = tuple.__new__  # of a named tuple: without the frame of its own __new__
MAX_FAST_COPIES: Final = 3  # libtorrent's: how often a choked peer may fetch an allowed-fast piece
MAX_REQUESTS_AT_ONCE: Final = 256  # ours: where all are refused that takes half a millisecond
NO_PIECES: Final = Geometry(total_bytes=0, piece_bytes=1)


class RequestsIn(Sender):
    """The part of a PeerConnection that judges requests; it knows which pieces there are."""

    def __init__(  # noqa: PLR0913 - those of a PeerConnection
        self,
        *,
        geometry: Geometry | None,
        info_hash: InfoHash,
        peer_id: PeerId,
        fast_extension: bool,
        extensions: Mapping[str, int] | None,
        limits: WireLimits,
        now: float,
    ) -> None:
        super().__init__(
            info_hash=info_hash,
            peer_id=peer_id,
            fast_extension=fast_extension,
            extensions=extensions,
            now=now,
        )
        self.limits = limits
        self.geometry = geometry
        """None until the metadata is there (BEP 9); then see :mod:`.early`."""
        self._pieces = geometry or NO_PIECES

    @property
    def piece_count(self) -> int:
        """How many pieces there are; 0 while that is not known."""
        return self._pieces.piece_count

    def _take_requests(self, view: memoryview, pos: int, end: int, events: list[PeerEvent]) -> int:
        """Take the requests that follow each other from ``pos`` on; return where they end."""
        queue, accepted, plain = self.upload_requests, list[BlockRequest](), list[BlockRequest]()
        last_piece = self._pieces.piece_count - 1
        last_begin = self._pieces.piece_bytes - BLOCK_BYTES
        room = 0 if self.am_choking else self.limits.max_queued_requests - len(queue)
        count, start = min((end - pos) // REQUEST_FRAME_BYTES, MAX_REQUESTS_AT_ONCE), pos
        stop = pos + count * REQUEST_FRAME_BYTES
        try:
            for length, kind, piece, begin, size in _REQUEST_FRAMES(view[pos:stop]):
                if kind != REQUEST or length != _REQUEST_LENGTH:
                    break
                pos += REQUEST_FRAME_BYTES
                request = _new_tuple(BlockRequest, (piece, begin, size))
                is_whole = size == BLOCK_BYTES and begin <= last_begin and piece < last_piece
                if is_whole and len(plain) < room:
                    plain.append(request)  # as nearly all; they are queued together
                else:
                    accepted += queue.extend(plain)
                    plain.clear()
                    self._take_request(request, accepted)
                    room = 0 if self.am_choking else self.limits.max_queued_requests - len(queue)
        finally:
            accepted += queue.extend(plain)
            if accepted:
                events.append(BlocksRequested(tuple(accepted)))
        self.control_units += (pos - start) // REQUEST_FRAME_BYTES - len(
            accepted
        )  # came to nothing
        return pos

    def _take_request(self, request: BlockRequest, accepted: list[BlockRequest]) -> None:
        """Accept, reject or drop one request of the peer (rows B4 of the fault table).

        It counts as a control message: a flood of requests for single bytes costs as much as one.
        """
        self.control_units += 1
        piece, begin, length = request
        if self.geometry is None:
            self._refuse_choked(request)
            return
        if piece >= self._pieces.piece_count or not length:
            raise RemoteProtocolError(f"request for {request}", bep=3)
        if begin + length > self._pieces.piece_length(piece):
            raise RemoteProtocolError(f"request past the end of its piece: {request}", bep=3)
        if self.am_choking and not self._is_free(piece, length):
            self._refuse_choked(request)
        elif length > BLOCK_BYTES:
            if not self.fast_enabled:
                raise RemoteProtocolError(f"request of {length} bytes", bep=3)
            self.reject_asked(request)
        elif request in self.upload_requests:
            pass  # it waits already: the one answer serves both
        elif len(self.upload_requests) >= self.limits.max_queued_requests:
            self.reject_asked(request)
        else:
            self.upload_requests.append(request)
            accepted.append(request)

    def _refuse_choked(self, request: BlockRequest) -> None:
        """Refuse what may not be asked for now; not for ever."""
        self._choked_requests += 1
        if self._choked_requests > self.limits.max_choked_requests:
            raise RemoteProtocolError("too many requests while choked", bep=3)
        self.reject(request)

    def _is_free(self, piece: int, length: int) -> bool:
        """Return whether a choked peer may have this much more of an allowed-fast piece."""
        if piece not in self.allowed_fast_out:
            return False
        taken_bytes = self._fast_bytes.get(piece, 0) + length
        if taken_bytes > MAX_FAST_COPIES * self._pieces.piece_length(piece):
            return False
        self._fast_bytes[piece] = taken_bytes
        return True

    def reject_asked(self, request: BlockRequest) -> None:
        """Refuse what a message asks for; not for ever if the peer reads none of our answers."""
        if self._unsent_rejects > 2 * self.limits.max_queued_requests:
            raise RemoteProtocolError("requests without end, rejects unread", bep=6)
        self.reject(request)
