"""Rules of a seed for "don't have" (BEP 54) and for peers that download nothing (BEP 21)."""

from typing import Final

from torrent_engine.conformance.case import CLOSED, IGNORED_OR_CLOSED, WORKS, Case
from torrent_engine.conformance.extensions import extended_peer, number_of
from torrent_engine.conformance.frames import FAST_EXTENDED, HAVE_ALL, extended
from torrent_engine.conformance.rule import rule
from torrent_engine.conformance.verdicts import Level, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
DONT_HAVE: Final = b"lt_donthave"
OWN_ID: Final = 8


@rule("BEP54-DH-04", Level.ROBUST, 5, IGNORED_OR_CLOSED)
async def malformed_dont_have(case: Case) -> str:
    """Ignore messages of a wrong length, or of a piece that does not exist, or close.

    No BEP states it: the payload is the index of a piece, four bytes.
    """
    beyond = case.torrent.piece_count.to_bytes(4, "big")
    found = WORKS
    for payload in (b"", b"\0\0\0", bytes(5), beyond):
        peer, content = await extended_peer(case, {DONT_HAVE: OWN_ID}, another_address=True)
        data = extended(number_of(content, DONT_HAVE), payload)
        await peer.send(data, f"{len(payload)} bytes of lt_donthave")
        reaction = await case.reaction(peer)
        found = found if reaction == WORKS else reaction
    return found


@rule("BEP21-PS-01", Level.SHOULD, 10, {"1": P, "another value": F, "absent": F})
async def upload_only_of_a_seed(case: Case) -> str:
    """Say in the extended handshake that you download nothing.

    "Setting the value of this key to 1 indicates that this peer is not interested in downloading
    anything"; a partial seed SHOULD have it, and a seed has everything.
    """
    _, content = await extended_peer(case, {})
    if b"upload_only" not in content:
        return "absent"
    return "1" if content[b"upload_only"] == 1 else "another value"


@rule("BEP21-PS-02", Level.CONV, 10, {CLOSED: P, "left open": N})
async def two_seeds(case: Case) -> str:
    """Close a connection on which neither side wants anything.

    No BEP states it: "further optimizations of bittorrent swarms" are why seeds say that they are.
    """
    peer = await case.greet(FAST_EXTENDED)
    await peer.send(HAVE_ALL, "have all")
    return CLOSED if await peer.wait_closed(case.limit_s) else "left open"
