"""Rules of allowed fast pieces (BEP 6) for a seed."""

import hashlib
import ipaddress
from typing import Final

from torrent_engine.conformance.case import CLOSED, REJECTED, RIGHT, SILENT, WRONG, Case
from torrent_engine.conformance.errors import NotOfferedError, UndecidedError
from torrent_engine.conformance.frames import FAST, HAVE_NONE, FrameType
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.rules.bep6_fast import (
    allowed_pieces,
    ask_while_choked,
    fast_peer,
)
from torrent_engine.conformance.verdicts import Level, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
WAIT_S: Final = 5.0


def canonical_set(address: str, info_hash: bytes, piece_count: int, size: int) -> list[int]:
    """Return the first ``size`` pieces of the allowed fast set of an IPv4 address, in order.

    BEP 6, "Allowed Fast Set Generation".
    """
    found: list[int] = []
    digest = (int(ipaddress.IPv4Address(address)) & 0xFFFF_FF00).to_bytes(4, "big") + info_hash
    while len(found) < min(size, piece_count):
        digest = hashlib.sha1(digest, usedforsecurity=False).digest()
        for start in range(0, 20, 4):
            index = int.from_bytes(digest[start : start + 4], "big") % piece_count
            if index not in found:
                found.append(index)
    return found[:size]


@rule("BEP6-AF-01", Level.SHOULD, 15, {"sent": P, "none": N})
async def allowed_fast_is_sent_to_a_starting_peer(case: Case) -> str:
    """Send allowed fast messages to a peer that has nothing.

    BEP 6: "A peer SHOULD send Allowed Fast messages to any starting peer unless the local peer
    lacks sufficient resources."
    """
    peer = await fast_peer(case, FAST)
    await peer.send(HAVE_NONE, "have none")
    frame = await peer.wait_for(lambda each: each.number == FrameType.ALLOWED_FAST, case.limit_s)
    return "sent" if frame else "none"


@rule("BEP6-AF-02", Level.STATED, 15, {"the canonical set": P, "other pieces": F})
async def allowed_fast_set_is_canonical(case: Case) -> Outcome:
    """Allow the pieces of the canonical set of the address that you see.

    BEP 6: "if two peers offer k pieces fast it will be the same k, and if one offers k+1 it will be
    the same k plus one more".
    """
    peer = await fast_peer(case, FAST)
    found = await allowed_pieces(case, peer, WAIT_S)
    if not found:
        raise NotOfferedError("no piece is allowed fast")
    if ipaddress.ip_address(peer.address).version != 4:
        raise UndecidedError("BEP 6 has no set for IPv6")
    torrent = case.torrent
    wanted = canonical_set(peer.address, torrent.info_hash, torrent.piece_count, len(set(found)))
    name = "the canonical set" if set(found) == set(wanted) else "other pieces"
    return Outcome(name, f"{sorted(set(found))} for {peer.address}, canonical {sorted(wanted)}")


@rule("BEP6-AF-03", Level.STATED, 15, {RIGHT: P, REJECTED: N, SILENT: F, CLOSED: F, WRONG: F})
async def allowed_fast_piece_is_served_while_choked(case: Case) -> str:
    """Serve a piece that you allowed to a peer that you choke.

    BEP 6: it means "if you ask for this piece, I'll give it to you even if you're choked". A reject
    is allowed to one that "lacks sufficient resources".
    """
    peer = await fast_peer(case, FAST)
    found = await allowed_pieces(case, peer, WAIT_S)
    if not found:
        raise NotOfferedError("no piece is allowed fast")
    return await ask_while_choked(case, peer, found[0])
