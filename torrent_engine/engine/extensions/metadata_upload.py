"""Metadata upload to peers, in request order and at a bounded rate.

Source: BEP 9; row B2. The limits are those of libtorrent, but for a rate instead of a look at the
send buffer. Limits of the rate of uploads are for metadata as for blocks: all that a torrent gives
has the share of one peer, and requests wait for it.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import anyio

from torrent_engine.base.config import MetadataConfig, PoolConfig
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.operators import operator_of
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.policy.addresses import may_be_shared
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

if TYPE_CHECKING:
    from torrent_engine.net.peers.peer_link import Throttle

BURST_BYTES: Final = 160 * 1024  # libtorrent's: what is sent at once
MAX_LATE_ANSWERS: Final = 50  # ours: pieces that come although we want none
REMEMBERED_S: Final = 3600.0  # ours: how long an operator's copies count
MAX_OPERATORS: Final = 1_000  # ours: the least recently seen is forgotten first


class _Operator:
    """What one operator of addresses got lately, over all its connections."""

    __slots__ = ("asked_bytes", "given_bytes", "since_s")

    def __init__(self, now: float) -> None:
        self.asked_bytes = 0
        """What was given or is to be given."""
        self.given_bytes = 0
        self.since_s = now

    def forget_old(self, now: float) -> None:
        """Begin anew after an hour."""
        if now - self.since_s >= REMEMBERED_S:
            self.asked_bytes = self.given_bytes = 0
            self.since_s = now


class _Operators:
    """Operators by their addresses, also after their connections have ended."""

    def __init__(self, pool: PoolConfig) -> None:
        self._pool = pool
        self._known: OrderedDict[str, _Operator] = OrderedDict()

    def of(self, host: str, now: float) -> _Operator:
        """Return an operator; where an address may be many peers', a new one each time."""
        if may_be_shared(host, self._pool):
            return _Operator(now)
        name = operator_of(host)
        operator = self._known.setdefault(name, _Operator(now))
        self._known.move_to_end(name)
        if len(self._known) > MAX_OPERATORS:
            self._known.popitem(last=False)
        return operator


class _Asker:
    """One peer's requests."""

    __slots__ = (
        "asked_bytes",
        "bucket",
        "given_bytes",
        "late_answers",
        "operator",
        "unread_rejects",
        "waiting",
    )

    def __init__(self, config: MetadataConfig, operator: _Operator) -> None:
        self.operator = operator
        self.waiting: deque[int] = deque()
        self.bucket = _full_bucket(config.max_upload_bytes_per_s, BURST_BYTES)
        self.asked_bytes = 0
        """What was given or is to be given."""
        self.given_bytes = 0
        self.unread_rejects = 0
        self.late_answers = 0

    def got_bytes(self) -> tuple[int, int]:
        """Return what its operator got, and what it got itself."""
        return self.operator.given_bytes, self.given_bytes


class MetadataUpload:
    """Answers ut_metadata requests; without metadata, it rejects them.

    That of a private torrent is as good as none, unless the configuration says otherwise: other
    clients do not give it either.
    """

    def __init__(
        self,
        metainfo: Metainfo | None,
        config: MetadataConfig,
        clock: Callable[[], float],
        pool: PoolConfig,
    ) -> None:
        is_given = metainfo is not None and (config.serve_private or not metainfo.is_private)
        self._info_bytes = metainfo.info_bytes if metainfo is not None and is_given else b""
        self._config = config
        self._clock = clock
        self.download_throttle: Throttle | None = None
        """Answers are no downloads."""
        self.upload_throttle: Throttle | None = None
        """None while nothing limits uploads."""
        self._askers: dict[Peer, _Asker] = {}
        self._operators = _Operators(pool)
        rate = config.max_total_upload_bytes_per_s
        self._bucket = _full_bucket(rate, max(rate, METADATA_PIECE_BYTES))
        self._is_short = False
        """Somebody waits for what all share, so that who asks now has to wait, too."""
        self._paid_bytes = 0
        """What the limits of uploads allowed and was not sent yet."""
        self._wants_turn = anyio.Event()
        """Set while :meth:`run` waits, or should, for the limits of uploads."""

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
        asker, length_bytes, now = self._asker(peer), self._length_of(piece), self._clock()
        is_possible = length_bytes and self._may_have(asker, length_bytes, now)
        if not is_possible or len(asker.waiting) >= self._config.max_queued_requests:
            self._reject(peer, asker, piece)
            return
        asker.asked_bytes += length_bytes
        asker.operator.asked_bytes += length_bytes
        asker.waiting.append(piece)
        if not self._is_short:
            self._give(peer, asker, now)

    def on_left(self, peer: Peer) -> None:
        """Drop the requests of a peer."""
        asker = self._askers.pop(peer, None)
        if asker is not None:
            left_bytes = asker.operator.asked_bytes - sum(map(self._length_of, asker.waiting))
            asker.operator.asked_bytes = max(left_bytes, 0)

    def tick(self, now: float) -> None:
        """Send what the rate allows; call it a few times a second."""
        self._give_all(now)
        if self._paid_bytes and not any(asker.waiting for asker in self._askers.values()):
            if self.upload_throttle is not None:
                self.upload_throttle.give_back(self._paid_bytes)
            self._paid_bytes = 0

    async def run(self) -> None:
        """Wait for the limits of uploads, a piece at a time, until cancelled."""
        while True:
            await self._wants_turn.wait()
            if self.upload_throttle is not None:
                self._paid_bytes += await self.upload_throttle.acquire(METADATA_PIECE_BYTES)
            self._wants_turn = anyio.Event()
            self._give_all(self._clock())

    def _asker(self, peer: Peer) -> _Asker:
        if peer not in self._askers:
            operator = self._operators.of(peer.address.host, self._clock())
            self._askers[peer] = _Asker(self._config, operator)
        return self._askers[peer]

    def _may_have(self, asker: _Asker, length_bytes: int, now: float) -> bool:
        """Return whether a piece is within the copies of a peer, and of its operator."""
        config, operator = self._config, asker.operator
        operator.forget_old(now)
        copy_bytes = len(self._info_bytes)
        return (
            asker.asked_bytes + length_bytes <= config.max_copies_per_peer * copy_bytes
            and operator.asked_bytes + length_bytes <= config.max_copies_per_address * copy_bytes
        )

    def _length_of(self, piece: int) -> int:
        """Return the length of a piece that we can give; 0 if we cannot."""
        left = len(self._info_bytes) - piece * METADATA_PIECE_BYTES
        return max(min(left, METADATA_PIECE_BYTES), 0)

    def _give_all(self, now: float) -> None:
        """Give to all who wait, to those of operators that got least first."""
        self._is_short = False
        waiting = [each for each in self._askers.items() if each[1].waiting]
        for peer, asker in sorted(waiting, key=lambda each: each[1].got_bytes()):
            self._give(peer, asker, now)

    def _give(self, peer: Peer, asker: _Asker, now: float) -> None:
        """Send answers while the rate allows it, unless the socket has not taken the last ones."""
        peer.link.flush()
        while asker.waiting and not peer.connection.has_data_to_send:
            piece = asker.waiting[0]
            start, length_bytes = piece * METADATA_PIECE_BYTES, self._length_of(piece)
            if asker.bucket.available(now) < length_bytes:
                return
            if self._bucket.available(now) < length_bytes or not self._pay(peer, length_bytes):
                self._is_short = True
                return
            self._bucket.take(length_bytes, now)
            asker.bucket.take(length_bytes, now)
            asker.given_bytes += length_bytes
            asker.operator.given_bytes += length_bytes
            asker.waiting.popleft()
            data = self._info_bytes[start : start + length_bytes]
            self._send(peer, MetadataData(piece, len(self._info_bytes), data))
        is_whole = asker.given_bytes >= len(self._info_bytes) and not asker.waiting
        peer.has_our_metadata = peer.has_our_metadata or is_whole

    def _pay(self, peer: Peer, length_bytes: int) -> bool:
        """Return whether the limits of uploads allow a piece, which then counts as sent."""
        throttle = self.upload_throttle
        if throttle is None or peer.link.upload_throttle is None:
            return True
        if self._paid_bytes < length_bytes and not self._wants_turn.is_set():
            self._paid_bytes += throttle.take(length_bytes - self._paid_bytes)
        if self._paid_bytes < length_bytes:
            self._wants_turn.set()
            return False
        self._paid_bytes -= length_bytes
        return True

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


def _full_bucket(rate_bytes_per_s: int, burst_bytes: int) -> TokenBucket:
    bucket = TokenBucket(rate_bytes_per_s, burst_bytes)
    bucket.give_back(burst_bytes)
    return bucket
