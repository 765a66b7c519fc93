"""Rules of a seed of version 1 for what peers of version 2 send (BEP 52)."""

from typing import Final

from torrent_engine.conformance.case import CLOSED, IGNORED_OR_CLOSED, SILENT, WORKS, Case
from torrent_engine.conformance.frames import EXTENDED, message
from torrent_engine.conformance.rule import rule
from torrent_engine.conformance.verdicts import Level, Verdict

UPGRADE: Final = 0x10
HASH_REQUEST, HASHES = 21, 22
ANSWERED: Final = "hashes"


@rule(
    "BEP52-HS-05",
    Level.CONV,
    10,
    {WORKS: Verdict.PASS, CLOSED: Verdict.NON_STRICT, SILENT: Verdict.FAIL},
)
async def bit_of_version_2(case: Case) -> str:
    """Ignore the bit for version 2 in the handshake for a torrent that has none.

    BEP 52: "a peer can set the 4th most significant bit in the last byte of the reserved bitfield
    to indicate that it also supports the new format"; for hybrids, but nobody else is harmed.
    """
    peer = await case.connect()
    await peer.send(case.greeting(peer, EXTENDED[:7] + bytes([UPGRADE])), "handshake")
    if await peer.receive_greeting(case.limit_s) is None:
        return CLOSED if peer.is_closed else SILENT
    return await case.reaction(peer)


@rule("BEP52-HR-11", Level.CONV, 10, {**IGNORED_OR_CLOSED, ANSWERED: Verdict.FAIL})
async def hash_request_for_version_1(case: Case) -> str:
    """Ignore a request for hashes of a torrent that has none, or close.

    BEP 52 has these messages for torrents of version 2.
    """
    peer = await case.greet()
    numbers = b"".join(each.to_bytes(4, "big") for each in (0, 0, 2, 0))
    await peer.send(message(HASH_REQUEST, bytes(32) + numbers), "hash request")
    found = await case.reaction(peer)
    return ANSWERED if any(each.number == HASHES for each in peer.seen) else found
