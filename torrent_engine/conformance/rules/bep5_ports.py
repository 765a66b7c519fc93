"""Rules of the port of a DHT node, which peers tell each other (BEP 5)."""

from typing import Final

import anyio

from torrent_engine.conformance.dht.dht_case import START_S, DhtCase
from torrent_engine.conformance.errors import (
    NotOfferedError,
    SubjectUnreachableError,
    UndecidedError,
)
from torrent_engine.conformance.frames import HEADER, FrameType, HandshakeBytes, message
from torrent_engine.conformance.raw_peer import RawPeer
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
DHT: Final = Role.DHT
DHT_BIT: Final = 0x01
RESERVED: Final = bytes(7) + bytes([DHT_BIT])
GREETING_S: Final = 10.0
RETRY_S: Final = 1.0


async def _greeted(case: DhtCase, source: str) -> RawPeer:
    """Connect as a peer with a node; again while the program does not know the torrent yet.

    Raises NotOfferedError, UndecidedError.
    """
    with anyio.move_on_after(START_S * case.patience):
        while True:
            if (found := await _try_greeting(case, source)) is not None:
                return found
            await anyio.sleep(RETRY_S)
    raise UndecidedError("no handshake came")


async def _try_greeting(case: DhtCase, source: str) -> RawPeer | None:
    """Connect once; None if no handshake comes. Raises NotOfferedError."""
    try:
        peer = await case.connect(source)
    except SubjectUnreachableError:
        return None
    info_hash = case.program.torrent.info_hash
    await peer.send(HandshakeBytes(HEADER, RESERVED, info_hash, peer.peer_id).encode(), "handshake")
    greeting = await peer.receive_greeting(GREETING_S * case.patience)
    if greeting is not None and not greeting.reserved[7] & DHT_BIT:
        raise NotOfferedError("its handshake has no bit for the DHT")
    return peer if greeting is not None else None


@rule("BEP5-DT-18", Level.SHOULD, 15, {"its port": P, "none": N, "another port": F}, role=DHT)
async def port_is_told_to_peers(case: DhtCase) -> Outcome:
    """Send the port of your node to peers that have one.

    BEP 5: "Peers supporting the DHT set the last bit of the 8-byte reserved flags exchanged in the
    BitTorrent protocol handshake. Peer receiving a handshake indicating the remote peer supports
    the DHT should send a PORT message."
    """
    peer = await _greeted(case, (await case.node()).address[0])
    frame = await peer.wait_for(lambda each: each.number == FrameType.PORT, case.limit_s)
    if frame is None:
        return Outcome("none")
    port = int.from_bytes(frame.payload, "big")
    is_right = len(frame.payload) == 2 and port == case.target[1]
    return Outcome("its port" if is_right else "another port", frame.payload.hex())


@rule("BEP5-DT-19", Level.SHOULD, 30, {"asked": P, "not asked": N}, role=DHT)
async def port_that_a_peer_tells(case: DhtCase) -> Outcome:
    """Ping the node of a peer that tells its port.

    BEP 5: "Peers that receive this message should attempt to ping the node on the received port and
    IP address of the remote peer."
    """
    node = await case.node()
    host, port = node.address
    peer = await _greeted(case, host)
    await peer.send(message(FrameType.PORT, port.to_bytes(2, "big")), f"port {port}")
    is_asked = await case.until(lambda: bool(node.queries), case.limit_s)
    first = node.queries[0].method if node.queries else ""
    return Outcome("asked" if is_asked else "not asked", first)
