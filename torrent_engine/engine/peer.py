"""What the engine knows of one connected peer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from torrent_engine.base.config import TransferConfig
from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.base.network_config import LinkEncryption, LinkProtocol
from torrent_engine.net.peer_link import PeerLink
from torrent_engine.policy.candidates import Source
from torrent_engine.policy.peer_pieces import PeerPieces
from torrent_engine.policy.rate import RateMeter
from torrent_engine.policy.requests import RequestPipeline
from torrent_engine.protocol.wire.client_name import client_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from torrent_engine.protocol.wire.messages import PeerEvent


class Identity(NamedTuple):
    """Who a peer is across its connections, as far as that can be known (row B7)."""

    address: PeerAddress
    peer_id: PeerId


class WebSeedIdentity(NamedTuple):
    """Who a web seed is: the URL that the torrent names, secrets and all."""

    url: str


Sender = Identity | WebSeedIdentity
"""Who may have sent a block."""
SENDERS = (Identity, WebSeedIdentity)


@dataclass(slots=True)
class RestVisit:
    """What passed between us and a peer while the torrent was at rest."""

    told_pieces: bytes
    """What it was told that we have, as a bitfield."""
    said: "list[PeerEvent]"
    """What it said that a run has to answer."""


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
        "identity",
        "is_adopted",
        "is_incoming",
        "is_proven",
        "is_upload_only",
        "last_block_s",
        "link",
        "listen_port",
        "metadata_bytes",
        "next_duplicate_s",
        "pieces",
        "pipeline",
        "prefers_encryption",
        "quiet_until_s",
        "received_blocks",
        "slow_seconds",
        "source",
        "tell_connected",
        "unchoked_s",
        "unchoked_us_s",
        "upload_rate",
        "uploaded_at_unchoke_bytes",
        "uploaded_bytes",
        "visit",
        "wanted_piece",
        "wants_requests",
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
        self.visit: RestVisit | None = None
        """It came while the torrent was at rest."""
        self.client = client_name(identity.peer_id)
        self.tell_connected: Callable[[], None] | None = None
        """Tells listeners of it, once it has said what it is; None: they know."""
        self.pieces = PeerPieces()
        self.wanted_piece = -1
        """One that it has and we want, as far as we know: why we are interested in it."""
        self.is_upload_only = self.prefers_encryption = False
        self.listen_port: int | None = None
        """Where it accepts connections, if it said so (BEP 10)."""
        self.metadata_bytes: int | None = None
        """How long the metadata is, as it says (BEP 9); not to be trusted."""
        self.your_ip = b""
        """Our address as it sees it (BEP 10), until somebody has taken note."""
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
        self.connected_s = self.last_block_s = now
        self.quiet_until_s = 0.0
        """No request before this: the peer rejects at the moment."""
        self.next_duplicate_s = 0.0
        """It is not asked before for what others owe us."""
        self.is_proven = False
        """It gave us a good piece."""
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
        """Whether it has every piece, as it says."""
        return self.pieces.has_all

    @property
    def listens_at(self) -> PeerAddress | None:
        """Where it accepts links, None if that is not known.

        Who came over uTP sent from the port on which it listens, unless it says otherwise.
        """
        if self.is_incoming and self.listen_port is not None:
            return PeerAddress(self.address.host, self.listen_port)
        is_over_utp = self.link.transport.protocol is LinkProtocol.UTP
        return self.address if is_over_utp or not self.is_incoming else None

    @property
    def wants_nothing(self) -> bool:
        """Whether it has all pieces, or all that it wants (BEP 21)."""
        return self.has_all or self.is_upload_only


@dataclass(frozen=True, slots=True)
class PeerStats:
    """What can be told of one peer."""

    address: PeerAddress
    client: str
    source: str
    is_incoming: bool
    transport: LinkProtocol
    encryption: LinkEncryption
    is_seed: bool
    am_interested: bool
    am_choking: bool
    peer_interested: bool
    peer_choking: bool
    is_snubbed: bool
    downloaded_bytes: int
    uploaded_bytes: int
    download_bytes_per_s: float
    upload_bytes_per_s: float
    outstanding_requests: int


def peer_stats(peer: Peer, now: float) -> PeerStats:
    """Return what can be told of a peer now."""
    connection = peer.connection
    return PeerStats(
        address=peer.address,
        client=peer.client,
        source=peer.source.name.lower() if peer.source.name else "",
        is_incoming=peer.is_incoming,
        transport=peer.link.transport.protocol,
        encryption=peer.link.transport.encryption,
        is_seed=peer.has_all,
        am_interested=connection.am_interested,
        am_choking=connection.am_choking,
        peer_interested=connection.peer_interested,
        peer_choking=connection.peer_choking,
        is_snubbed=peer.pipeline.is_snubbed,
        downloaded_bytes=peer.downloaded_bytes,
        uploaded_bytes=peer.uploaded_bytes,
        download_bytes_per_s=peer.download_rate.rate(now),
        upload_bytes_per_s=peer.upload_rate.rate(now),
        outstanding_requests=len(connection.outstanding),
    )
