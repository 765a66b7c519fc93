"""Metadata upload to peers, in request order and at a bounded rate.

Source: BEP 9; row B2. The limits are those of libtorrent, but for a rate instead of a look at the
send buffer.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from torrent_engine.base.config import MetadataConfig
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.policy.rate import TokenBucket
from torrent_engine.protocol.wire.metadata import (
    METADATA_PIECE_BYTES,
    UT_METADATA,
    MetadataData,
    MetadataMessage,
    MetadataReject,
    MetadataRequest,
    decode_metadata_message,
    encode_metadata_message,
)

BURST_BYTES: Final = 160 * 1024  # libtorrent's: what is sent at once
MAX_LATE_ANSWERS: Final = 50  # ours: pieces that come although we want none


class _Asker:
    """One peer's requests."""

    __slots__ = ("bucket", "given_bytes", "late_answers", "unread_rejects", "waiting")

    def __init__(self, config: MetadataConfig) -> None:
        self.waiting: deque[int] = deque()
        self.bucket = TokenBucket(config.max_upload_bytes_per_s, BURST_BYTES)
        self.bucket.give_back(BURST_BYTES)  # it begins full
        self.given_bytes = 0
        self.unread_rejects = 0
        self.late_answers = 0


class MetadataUpload:
    """Answers ut_metadata requests; without metadata, it rejects them.

    That of a private torrent is as good as none, unless the configuration says otherwise: other
    clients do not give it either.
    """

    def __init__(
        self, metainfo: Metainfo | None, config: MetadataConfig, clock: Callable[[], float]
    ) -> None:
        is_given = metainfo is not None and (config.serve_private or not metainfo.is_private)
        self._info_bytes = metainfo.info_bytes if metainfo is not None and is_given else b""
        self._config = config
        self._clock = clock
        self._askers: dict[Peer, _Asker] = {}

    def on_message(self, peer: Peer, payload: bytes) -> None:
        """Process a message while no metadata is needed.

        Raises RemoteProtocolError if it is malformed, or if the peer does not stop answering.
        """
        message = decode_metadata_message(payload)
        if isinstance(message, MetadataRequest):
            self.on_request(peer, message.piece)
        elif message is not None:
            asker = self._asker(peer)
            asker.late_answers += 1
            if asker.late_answers > MAX_LATE_ANSWERS:
                raise RemoteProtocolError("metadata that was not asked for", bep=9)

    def on_extension_handshake(self, peer: Peer) -> None:
        """Do nothing: who wants metadata requests it."""

    def on_request(self, peer: Peer, piece: int) -> None:
        """Answer a request, now or when the rate allows it.

        Raises RemoteProtocolError if the peer asks without end and reads nothing.
        """
        asker, length_bytes = self._asker(peer), self._length_of(piece)
        most_bytes = self._config.max_copies_per_peer * len(self._info_bytes)
        is_possible = length_bytes and asker.given_bytes + length_bytes <= most_bytes
        if not is_possible or len(asker.waiting) >= self._config.max_queued_requests:
            self._reject(peer, asker, piece)
        else:
            asker.given_bytes += length_bytes
            asker.waiting.append(piece)
            self._give(peer, asker, self._clock())

    def on_left(self, peer: Peer) -> None:
        """Drop the requests of a peer."""
        self._askers.pop(peer, None)

    def tick(self, now: float) -> None:
        """Send what the rate allows; call it a few times a second."""
        for peer, asker in self._askers.items():
            if asker.waiting:
                self._give(peer, asker, now)

    def _asker(self, peer: Peer) -> _Asker:
        if peer not in self._askers:
            self._askers[peer] = _Asker(self._config)
        return self._askers[peer]

    def _length_of(self, piece: int) -> int:
        """Return the length of a piece that we can give; 0 if we cannot."""
        left = len(self._info_bytes) - piece * METADATA_PIECE_BYTES
        return max(min(left, METADATA_PIECE_BYTES), 0)

    def _give(self, peer: Peer, asker: _Asker, now: float) -> None:
        """Send answers while the rate allows it, unless the socket has not taken the last ones."""
        peer.link.flush()
        while asker.waiting and not peer.connection.has_data_to_send:
            piece = asker.waiting[0]
            start, length_bytes = piece * METADATA_PIECE_BYTES, self._length_of(piece)
            if asker.bucket.available(now) < length_bytes:
                return
            asker.bucket.take(length_bytes, now)
            asker.waiting.popleft()
            data = self._info_bytes[start : start + length_bytes]
            self._send(peer, MetadataData(piece, len(self._info_bytes), data))
        is_whole = asker.given_bytes >= len(self._info_bytes) and not asker.waiting
        peer.has_our_metadata = peer.has_our_metadata or is_whole

    def _reject(self, peer: Peer, asker: _Asker, piece: int) -> None:
        if not peer.connection.has_data_to_send:
            asker.unread_rejects = 0
        asker.unread_rejects += 1
        if asker.unread_rejects > 2 * self._config.max_queued_requests:
            raise RemoteProtocolError("metadata requests without end, rejects unread", bep=9)
        self._send(peer, MetadataReject(piece))

    @staticmethod
    def _send(peer: Peer, message: MetadataMessage) -> None:
        peer.connection.sender.send_extension(UT_METADATA, encode_metadata_message(message))
        peer.link.flush()
