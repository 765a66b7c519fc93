"""One connected peer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from torrent_engine.base.config import TransferConfig, TransportProtocol
from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.engine.stats import PeerStats
from torrent_engine.net.peers.peer_link import PeerLink
from torrent_engine.policy.peers.candidates import Source
from torrent_engine.policy.pieces.peer_pieces import PeerPieces
from torrent_engine.policy.rate import RateMeter
from torrent_engine.policy.transfer.request_pipeline import RequestPipeline
from torrent_engine.protocol.wire.client_name import client_name

if TYPE_CHECKING:
    from torrent_engine.protocol.wire.messages import PeerEvent


class Identity(NamedTuple):
    """Identity of a peer across its connections, as far as it can be known (row B7)."""

    address: PeerAddress
    peer_id: PeerId


class WebSeedIdentity(NamedTuple):
    """Identity of a web seed: the URL from the torrent, including its secrets."""

    url: str


Sender = Identity | WebSeedIdentity
"""The sender of a block."""
SENDERS = (Identity, WebSeedIdentity)


@dataclass(slots=True)
class DormantExchange:
    """Messages that we and a peer exchanged while the torrent was dormant."""

    sent_bitfield: bytes
    """The bitfield that we sent."""
    events: "list[PeerEvent]"
    """Events that the next run has to answer."""


class Peer:
    """One peer after its handshake: its link, what it has, and how it behaves."""

    __slots__ = (
        "address",
        "client",
        "connected_s",
        "connection",
        "download_rate",
        "downloaded_bytes",
        "downloaded_now_bytes",
        "has_our_metadata",
        "identity",
        "is_adopted",
        "is_announced",
        "is_incoming",
        "is_moving",
        "is_proven",
        "is_upload_only",
        "last_block_s",
        "last_upload_s",
        "link",
        "listen_port",
        "metadata_bytes",
        "next_duplicate_s",
        "next_trial_s",
        "pieces",
        "pipeline",
        "prefers_encryption",
        "quiet_until_s",
        "received_blocks",
        "slow_seconds",
        "source",
        "told_upload_only",
        "unchoked_s",
        "unchoked_us_s",
        "upload_rate",
        "uploaded_at_unchoke_bytes",
        "uploaded_bytes",
        "wanted_piece",
        "wants_requests",
        "while_dormant",
        "your_ip",
    )

    def __init__(  # noqa: PLR0915 - one field a line
        self, link: PeerLink, identity: Identity, source: Source, config: TransferConfig, now: float
    ) -> None:
        self.link = link
        self.connection = link.connection
        self.identity = identity
        self.address = identity.address
        self.source = source
        self.is_incoming = source is Source.INCOMING
        self.is_adopted = False
        """Its link is older than our metadata: it was greeted then."""
        self.while_dormant: DormantExchange | None = None
        """It came while the torrent was at rest."""
        self.client = client_name(identity.peer_id)
        self.is_announced = False
        """Whether PeerConnected was published; not before its extension handshake."""
        self.pieces = PeerPieces()
        self.wanted_piece = -1
        """One that it has and we want, as far as we know: why we are interested in it."""
        self.is_upload_only = self.prefers_encryption = False
        self.told_upload_only = False
        """Whether we told it that we do not download any more (BEP 21)."""
        self.listen_port: int | None = None
        """The port at which it accepts connections, if it sent one (BEP 10)."""
        self.metadata_bytes: int | None = None
        """Length of the metadata as the peer claims (BEP 9); untrusted."""
        self.has_our_metadata = False
        """We gave it all of the metadata."""
        self.your_ip = b""
        """Our address as the peer sees it (BEP 10), until it was processed."""
        self.pipeline = RequestPipeline(config)
        self.download_rate = RateMeter()
        self.upload_rate = RateMeter()
        self.downloaded_bytes = self.uploaded_bytes = 0
        self.downloaded_now_bytes = 0
        """Payload of the read that is being handled."""
        self.wants_requests = False
        """Something in the read that is being handled lets us ask for more, once it is handled:
        the blocks in it are neither outstanding nor taken yet."""
        self.received_blocks = 0
        """Blocks of the read that is being handled."""
        self.connected_s = self.last_block_s = self.last_upload_s = now
        self.quiet_until_s = 0.0
        """No request before this: the peer rejects at the moment."""
        self.next_duplicate_s = 0.0
        """It is not asked before for what others owe us."""
        self.next_trial_s = 0.0
        """It is not looked before at what unproven peers hold up."""
        self.is_proven = False
        """It gave us a good piece."""
        self.is_moving = False
        """Its link is ended to be made anew in the other swarm of a hybrid."""
        self.slow_seconds = 0
        """For how long it has been too slow to be given pieces of its own."""
        self.unchoked_s = 0.0
        """When we unchoked it last."""
        self.unchoked_us_s = float("-inf")
        """When it unchoked us and we asked for blocks at once."""
        self.uploaded_at_unchoke_bytes = 0

    @property
    def bits(self) -> int:
        """The pieces that it has, piece ``i`` at ``1 << i``."""
        return self.pieces.bits

    @property
    def has_all(self) -> bool:
        """Whether it claims to have every piece."""
        return self.pieces.has_all

    @property
    def listens_at(self) -> PeerAddress | None:
        """Where it accepts links, None if that is not known.

        Who came over uTP sent from the port on which it listens, unless it says otherwise.
        """
        if self.is_incoming and self.listen_port is not None:
            return PeerAddress(self.address.host, self.listen_port)
        is_over_utp = self.link.transport.protocol is TransportProtocol.UTP
        return self.address if is_over_utp or not self.is_incoming else None

    @property
    def reconnects_soon(self) -> bool:
        """Whether a link with it is expected to be made anew at once.

        It had come for the metadata only, as far as we know: rtorrent ends all links then, and
        takes new ones for the payload. Or we ended it for that.
        """
        return self.is_moving or (self.has_our_metadata and not self.uploaded_bytes)

    @property
    def wants_nothing(self) -> bool:
        """Whether it has all pieces, or all that it wants (BEP 21)."""
        return self.has_all or self.is_upload_only


def peer_stats(peer: Peer, now: float, *, is_optimistic: bool = False) -> PeerStats:
    """Return the present statistics of a peer."""
    down, up = peer.download_rate.rate(now), peer.upload_rate.rate(now)
    connection = peer.connection
    return PeerStats(
        address=peer.address,
        client=peer.client,
        source=peer.source.name.lower() if peer.source.name else "",
        is_incoming=peer.is_incoming,
        transport=peer.link.transport.protocol,
        encryption=peer.link.transport.encryption,
        is_seed=peer.has_all,
        am_interested=connection.state.am_interested,
        am_choking=connection.state.am_choking,
        peer_interested=connection.state.peer_interested,
        peer_choking=connection.state.peer_choking,
        is_snubbed=peer.pipeline.is_snubbed,
        downloaded_bytes=peer.downloaded_bytes,
        uploaded_bytes=peer.uploaded_bytes,
        download_bytes_per_s=down,
        upload_bytes_per_s=up,
        outstanding_requests=len(connection.outstanding),
        peer_id=peer.identity.peer_id,
        progress=peer.pieces.share,
        is_optimistic=is_optimistic,
        sends_to_us=down > 0,
        gets_from_us=up > 0,
    )
