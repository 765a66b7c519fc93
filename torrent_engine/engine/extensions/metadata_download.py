"""Metadata download from the peers of a magnet link.

Source: BEP 9; row B2. Whom to ask and whom to blame is decided in ``policy/metadata/fetch.py``.
"""

from collections import deque
from collections.abc import Callable

import anyio
import anyio.to_thread

from torrent_engine.base.ids import InfoHash, InfoHashV2
from torrent_engine.engine.extensions.metadata_upload import MetadataUpload
from torrent_engine.engine.swarm.context import Swarm
from torrent_engine.engine.swarm.peer import Identity, Peer
from torrent_engine.policy.metadata.fetch import (
    Action,
    BanPeer,
    HashCheck,
    MetadataFetch,
    RequestPiece,
)
from torrent_engine.protocol.wire.metadata import (
    UT_METADATA,
    MetadataData,
    MetadataReject,
    MetadataRequest,
    decode_metadata_message,
    encode_metadata_message,
)


class MetadataDownload:
    """Requests metadata from the peers that support ut_metadata; rejects their requests.

    ``on_metadata`` gets it, once; ``on_liar`` gets who is proved to have lied, who may have left,
    and why. :meth:`check_copies` must run meanwhile.
    """

    def __init__(
        self,
        swarm: Swarm,
        info_hash: InfoHash | InfoHashV2,
        *,
        on_metadata: Callable[[bytes], None],
        on_liar: Callable[[Identity, str], None],
    ) -> None:
        config = swarm.shared_config.metadata
        self._clock = swarm.clock
        self._fetch = MetadataFetch(info_hash, config, swarm.rng)
        self._serving = MetadataUpload(None, config, swarm.clock, swarm.shared_config.pool)
        self._peers: dict[Identity, Peer] = {}
        self._on_metadata = on_metadata
        self._on_liar = on_liar
        self._checks: deque[HashCheck] = deque()
        self._is_due = anyio.Event()

    @property
    def progress(self) -> tuple[int, int]:
        """How many pieces of the metadata are here, and of how many; (0, 0): nothing is known.

        They may be wrong.
        """
        return self._fetch.progress

    def on_extension_handshake(self, peer: Peer) -> None:
        """Request metadata from a peer that supports ut_metadata; may be called again."""
        is_ending = peer.link.close_reason is not None
        if is_ending or not peer.connection.state.peer_extensions.get(UT_METADATA):
            return
        now, identity = self._clock(), peer.identity
        if self._peers.setdefault(identity, peer) is not peer:
            self._do(self._fetch.peer_left(identity, now))
            self._peers[identity] = peer
        self._do(self._fetch.peer_joined(identity, peer.metadata_bytes, now))

    def on_message(self, peer: Peer, payload: bytes) -> None:
        """Process a ut_metadata message.

        Raises RemoteProtocolError if it is malformed, or if the peer asks without end.
        """
        message, now = decode_metadata_message(payload), self._clock()
        if isinstance(message, MetadataRequest):
            self._serving.on_request(peer, message.piece)
        elif self._peers.get(peer.identity) is not peer:
            return
        elif isinstance(message, MetadataReject):
            self._do(self._fetch.rejected(peer.identity, message.piece, now))
        elif isinstance(message, MetadataData):
            piece, total_bytes = message.piece, message.total_bytes
            self._do(
                self._fetch.data_received(peer.identity, piece, total_bytes, message.data, now)
            )

    def on_left(self, peer: Peer) -> None:
        """Drop a peer; the pieces that it sent are kept."""
        self._serving.on_left(peer)
        if self._peers.get(peer.identity) is peer:
            del self._peers[peer.identity]
            self._do(self._fetch.peer_left(peer.identity, self._clock()))

    def tick(self, now: float) -> None:
        """Do what is due; to be called a few times a second."""
        self._do(self._fetch.tick(now))

    async def check_copies(self) -> None:
        """Check long copies as they become complete, in a thread, one after the other.

        Runs until it is cancelled. A check that this interrupts is repeated by the next call.
        """
        while True:
            await self._is_due.wait()
            while self._checks:
                metadata = await anyio.to_thread.run_sync(self._checks[0].run)
                check = self._checks.popleft()
                self._do(self._fetch.checked(check, metadata, self._clock()))
            self._is_due = anyio.Event()

    def _do(self, actions: list[Action]) -> None:
        asked: dict[Peer, None] = {}
        for action in actions:
            if isinstance(action, RequestPiece):
                peer = self._peers[action.key]
                request = encode_metadata_message(MetadataRequest(action.piece))
                peer.connection.sender.send_extension(UT_METADATA, request)
                asked[peer] = None
            elif isinstance(action, BanPeer):
                self._on_liar(action.key, action.reason)
            elif isinstance(action, HashCheck):
                self._checks.append(action)
                self._is_due.set()
            else:
                self._on_metadata(action.info_bytes)
        for peer in asked:
            peer.link.flush()
