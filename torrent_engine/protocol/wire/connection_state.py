"""The state of one peer connection: flags, requests of both sides and the send queue.

Source: BEP 3, BEP 6, BEP 10. The decoders of received messages and the sender both work on it.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from torrent_engine.base.config import WireLimits
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import InfoHash, PeerId
from torrent_engine.codec.geometry import Geometry
from torrent_engine.codec.hash_trees import HashRange
from torrent_engine.protocol.wire.message_queue import MessageQueue
from torrent_engine.protocol.wire.messages import (
    BlockRequest,
    HandshakeReceived,
    MessageId,
    encode_block_message,
)
from torrent_engine.protocol.wire.pre_metadata import PreMetadataState
from torrent_engine.protocol.wire.upload_queue import UploadQueue

MAX_ABANDONED: Final = 4_000  # ours: twice the longest request queue
NO_PIECES: Final = Geometry(total_bytes=0, piece_bytes=1)


@dataclass(slots=True, kw_only=True, eq=False)
class ConnectionState:
    """The protocol state of both sides of a peer connection."""

    info_hash: InfoHash
    peer_id: PeerId
    limits: WireLimits
    offers_fast: bool
    offers_extensions: bool
    extension_ids: dict[str, int]
    """The extensions that we support and the message ids we chose (BEP 10)."""
    pre_metadata: PreMetadataState
    """What the peer said about pieces while :attr:`geometry` was None."""
    geometry: Geometry | None = None
    """None until the metadata is known (BEP 9)."""
    pieces: Geometry = NO_PIECES
    """:attr:`geometry`, or a torrent without pieces while that is None."""
    extension_names: dict[int, str] = field(default_factory=dict)
    """:attr:`extension_ids` by message id."""
    handshake: HandshakeReceived | None = None
    """The peer's handshake; None until it is received."""
    fast_enabled: bool = False
    extensions_enabled: bool = False
    am_choking: bool = True
    peer_choking: bool = True
    am_interested: bool = False
    peer_interested: bool = False
    is_bitfield_over: bool = False
    """Whether a "have" or a bitfield was received; "have none" is an error from then on."""
    peer_extensions: dict[str, int] = field(default_factory=dict)
    """The extensions that the peer supports and the message ids it chose."""
    outstanding: dict[tuple[int, int, int], None] = field(default_factory=dict)
    """Our unanswered requests, oldest first: (piece, begin and length in bytes)."""
    abandoned_requests: dict[tuple[int, int], int] = field(default_factory=dict)
    """Requests that we cancelled or gave up; a block that answers one is not unrequested."""
    has_requested: bool = False
    """We requested a block on this connection."""
    is_v2: bool = False
    """Whether the link is of the v2 swarm, so that hash messages are taken (BEP 52)."""
    v2_hash: InfoHash | None = None
    """The other info-hash of a hybrid torrent, cut to 20 bytes; None of others."""
    late_handshake: bool | None = None
    """Whether our handshake, which waits for the peer's, names our DHT node; None: none waits."""
    hash_requests: set[HashRange] = field(default_factory=set)
    """Our hash requests that are not answered yet."""
    upload_requests: UploadQueue = field(default_factory=UploadQueue)
    """The peer's unanswered requests, oldest first."""
    dht_ports: set[int] = field(default_factory=set)
    """DHT ports that the peer sent (BEP 5)."""
    last_extension_handshake: int | None = None
    """Hash of the peer's last extension handshake, to ignore one that repeats it."""
    control_units: int = 0
    """Cost of the received messages that are no payload; the owner of the connection resets it."""
    allowed_fast_in: set[int] = field(default_factory=set)
    """Pieces that we may request while choked."""
    allowed_fast_out: set[int] = field(default_factory=set)
    """Pieces that the peer may request while choked."""
    allowed_fast_bytes: dict[int, int] = field(default_factory=dict)
    """Bytes of each of these pieces that it has requested while choked."""
    choked_requests: int = 0
    """Requests that were received while we choked the peer, since we last unchoked it."""
    strikes: int = 0
    """Received blocks and rejects that answer no request of ours."""
    queue: MessageQueue = field(default_factory=MessageQueue)
    """The messages to send."""

    def __post_init__(self) -> None:
        """Index the extensions by message id."""
        self.extension_names = {n: name for name, n in self.extension_ids.items()}

    @property
    def piece_count(self) -> int:
        """Number of pieces of the torrent; 0 while it is unknown."""
        return self.pieces.piece_count

    @property
    def is_upgradable(self) -> bool:
        """Whether a v1 handshake may have a v2 answer: not before a link's claim is checked."""
        return self.v2_hash is not None and self.geometry is not None and not self.is_v2

    def join_v2(self) -> None:
        """Make a link of a hybrid one of its v2 swarm: both handshakes have that info-hash."""
        if self.v2_hash is not None:
            self.info_hash, self.is_v2 = self.v2_hash, True

    def outstanding_requests(self) -> tuple[BlockRequest, ...]:
        """Return our unanswered requests, oldest first."""
        return tuple(map(BlockRequest._make, self.outstanding))

    def abandon(self, requests: Iterable[tuple[int, int, int]]) -> None:
        """Stop waiting for requests; a block that still answers one is not unrequested."""
        for request in requests:
            if request in self.outstanding:
                del self.outstanding[request]
                self._remember_abandoned(request)

    def request_rejected(self, request: BlockRequest) -> bool:
        """Record that the peer rejected a request; return whether it was outstanding.

        A reject of a cancelled request changes nothing; one of a request that was never made
        counts as a strike.
        """
        key = request[:2]
        if request in self.outstanding:
            del self.outstanding[request]
            return True
        if self.abandoned_requests.get(key) == request[2]:
            del self.abandoned_requests[key]
        else:
            self.unrequested("reject of a request that was not made", bep=6)
        return False

    def reject(self, request: BlockRequest) -> None:
        """Queue a "reject request" message (BEP 6); nothing without the Fast extension."""
        if self.fast_enabled:
            self.queue.unsent_rejects += 1
            self.queue.add(encode_block_message(MessageId.REJECT_REQUEST, request))

    def reject_all(self, requests: Collection[BlockRequest]) -> None:
        """As :meth:`reject` for some requests, as one buffer."""
        if self.fast_enabled and requests:
            self.queue.unsent_rejects += len(requests)
            reject = MessageId.REJECT_REQUEST
            self.queue.add(b"".join([encode_block_message(reject, each) for each in requests]))

    def reject_limited(self, request: BlockRequest) -> None:
        """Reject a request; raise RemoteProtocolError if too many rejects are unsent."""
        if self.queue.unsent_rejects > 2 * self.limits.max_queued_requests:
            raise RemoteProtocolError("too many requests with unread rejects", bep=6)
        self.reject(request)

    def unrequested(self, what: str, *, bep: int) -> None:
        """Record a block or reject that answers no request of ours.

        It ends the connection if we have requested nothing at all on it, and BEP 6 is in use, which
        wants that. Later it may answer what we gave up and forgot, so that it is a strike.
        """
        if self.fast_enabled and not self.has_requested:
            raise RemoteProtocolError(f"{what}, before any request", bep=6)
        self.strike(what, bep=bep)

    def strike(self, what: str, *, bep: int) -> None:
        """Record a minor violation; raise RemoteProtocolError when there are too many."""
        self.strikes += 1
        if self.strikes > self.limits.max_unrequested_blocks:
            raise RemoteProtocolError(f"{what}, {self.strikes} times", bep=bep)

    def _remember_abandoned(self, request: tuple[int, int, int]) -> None:
        if len(self.abandoned_requests) >= MAX_ABANDONED:
            self.abandoned_requests.pop(next(iter(self.abandoned_requests)))
        self.abandoned_requests[request[:2]] = request[2]
