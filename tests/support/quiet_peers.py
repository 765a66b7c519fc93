"""Peers whose link ends nowhere: what is sent to them stays there to be looked at."""

import itertools
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from tests.support.peer_pair import open_connection
from torrent_engine.base.config import ConnectionEncryption, TransferConfig, TransportProtocol
from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.engine.swarm.peer import Identity, Peer
from torrent_engine.policy.peers.candidates import Source
from torrent_engine.protocol.wire.connection import PeerConnection

IDS = itertools.count()


@dataclass
class FakeLink:
    """A link whose messages stay with us."""

    connection: PeerConnection
    transport: SimpleNamespace
    flushed: list[bytes] = field(default_factory=list)

    def flush(self) -> None:
        self.flushed += map(bytes, self.connection.data_to_send())


def make_peer(
    host: str,
    *,
    port: int = 6881,
    source: Source = Source.TRACKER,
    speaks: tuple[str, ...] = ("ut_pex",),
    listen_port: int | None = None,
    protocol: TransportProtocol = TransportProtocol.TCP,
    encryption: ConnectionEncryption = ConnectionEncryption.NONE,
) -> Peer:
    connection = open_connection(extensions={"ut_pex": 1})
    connection.state.peer_extensions = {name: 40 + number for number, name in enumerate(speaks)}
    link: Any = FakeLink(connection, SimpleNamespace(protocol=protocol, encryption=encryption))
    identity = Identity(PeerAddress(host, port), PeerId(b"-XX0100-%012d" % next(IDS)))
    peer = Peer(link, identity, source, TransferConfig(), 0.0)
    peer.listen_port = listen_port
    return peer
