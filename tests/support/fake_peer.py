"""A Peer of the engine whose link has no socket: what it is sent stays here."""

import itertools
from dataclasses import dataclass, field
from typing import Any

from tests.support.peer_pair import open_connection
from torrent_engine.base.config import TransferConfig
from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.engine.swarm.peer import Identity, Peer
from torrent_engine.policy.peers.candidates import Source
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.metadata import (
    UT_METADATA,
    MetadataMessage,
    decode_metadata_message,
)

THEIR_NUMBER = 3
"""How the peer numbers ut_metadata."""
HEAD_BYTES = 6
_NUMBERS = itertools.count(1)


@dataclass(eq=False)
class FakeLink:
    """Takes what its connection sends, unless it is stuck."""

    connection: PeerConnection
    close_reason: str | None = None
    is_stuck: bool = False
    download_throttle: Any = None
    upload_throttle: Any = None
    sent: list[bytes] = field(default_factory=list)

    @property
    def is_blocked(self) -> bool:
        return self.is_stuck

    def flush(self) -> None:
        if not self.is_stuck:
            self.sent += map(bytes, self.connection.data_to_send())

    def end(self, reason: str) -> None:
        self.close_reason = reason


def metadata_peer(
    metadata_bytes: int | None = None, *, speaks: bool = True, host: str = "8.8.8.8"
) -> Peer:
    """Return a peer that speaks ut_metadata, or does not."""
    connection = open_connection(extensions={UT_METADATA: 2})
    connection.state.peer_extensions = {UT_METADATA: THEIR_NUMBER} if speaks else {}
    link: Any = FakeLink(connection)
    number = next(_NUMBERS)
    identity = Identity(PeerAddress(host, number), PeerId(b"-XX0100-%012d" % number))
    peer = Peer(link, identity, Source.DHT, TransferConfig(), 0.0)
    peer.metadata_bytes = metadata_bytes
    return peer


def told(peer: Peer) -> list[MetadataMessage | None]:
    """Return what a peer was told since the last look."""
    link: Any = peer.link
    messages, link.sent = link.sent, []
    assert all(each[4:HEAD_BYTES] == bytes((20, THEIR_NUMBER)) for each in messages)
    return [decode_metadata_message(each[HEAD_BYTES:]) for each in messages]
