"""Act as a peer of any BitTorrent program: fetch a piece, break a rule and be disconnected.

The protocol core does no I/O, so a plain blocking socket drives it:
python examples/play_a_peer.py 127.0.0.1 6881 debian.torrent
"""

import socket
import struct
import sys
import time
from collections.abc import Iterator
from hashlib import sha1

from torrent_engine import Metainfo, PeerId
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.messages import BlockReceived, PeerEvent, PeerUnchoked


def talk(sock: socket.socket, peer: PeerConnection) -> Iterator[PeerEvent]:
    """Send what is queued and yield what the other side says, until it hangs up."""
    sock.sendall(b"".join(peer.data_to_send()))
    while data := sock.recv(1 << 16):
        for event in peer.receive_data(data, now=time.monotonic()):
            yield event
            sock.sendall(b"".join(peer.data_to_send()))


def main(host: str, port: str, torrent: str) -> None:
    """Play one peer."""
    metainfo = Metainfo.read(torrent)
    size = metainfo.geometry.piece_length(0)
    blocks = [(0, at, min(BLOCK_BYTES, size - at)) for at in range(0, size, BLOCK_BYTES)]
    piece = bytearray(size)
    peer = PeerConnection(
        geometry=metainfo.geometry,
        info_hash=metainfo.info_hash,
        peer_id=PeerId(b"-XX0001-conformance!"),
    )
    peer.sender.send_handshake()
    peer.sender.set_interested(interested=True)
    missing = len(blocks)
    with socket.create_connection((host, int(port)), timeout=30) as sock:
        for event in talk(sock, peer):
            print(type(event).__name__)
            if isinstance(event, PeerUnchoked):
                peer.sender.request_blocks(blocks)
            elif isinstance(event, BlockReceived):
                data = b"".join(event.views)
                piece[event.begin_bytes : event.begin_bytes + len(data)] = data
                missing -= 1
                if not missing:
                    print("hash:", sha1(piece).digest() == metainfo.piece_hash(0))  # noqa: S324
                    sock.sendall(struct.pack(">IBIII", 13, 6, 0, size, BLOCK_BYTES))  # past its end
    print("dropped for the illegal request, as it should be")


if __name__ == "__main__":
    main(*sys.argv[1:])
