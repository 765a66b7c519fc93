"""Rules of data on the disk: wrong before the start, cut while a program runs (BEP 3)."""

from typing import Final

import anyio

from torrent_engine.conformance.errors import UndecidedError
from torrent_engine.conformance.frames import BLOCK_BYTES, INTERESTED, FrameType, request
from torrent_engine.conformance.raw_peer import RawPeer
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.swarm.kit_seed import SeedLink, SeedScript
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.swarm.visits import visit
from torrent_engine.conformance.torrent_set import BASIC
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
LEECH: Final = Role.LEECH
DAMAGED: Final = 5
UNCHOKE_S: Final = 60.0
WRONG: Final = "wrong bytes"
RIGHT_OR_NONE: Final = "right bytes or none"
ENDS: Final = "ends with an error"
CUT: Final = {RIGHT_OR_NONE: P, ENDS: N, WRONG: F}


async def _want(link: SeedLink) -> None:
    await link.peer.send(INTERESTED, "interested")


VISITOR: Final = SeedScript(pieces=(), announces=False, after_greeting=_want)
"""A peer of the kit that has nothing, and connects to the program."""


def _shown(case: SwarmCase, link: SeedLink) -> set[int]:
    """Return the pieces that the program said it has."""
    found: set[int] = set()
    for frame in link.peer.seen:
        if frame.number == FrameType.HAVE_ALL:
            found.update(range(case.torrent.piece_count))
        elif frame.number == FrameType.BITFIELD:
            bits = "".join(f"{each:08b}" for each in frame.payload)
            found.update(place for place, bit in enumerate(bits) if bit == "1")
        elif frame.number == FrameType.HAVE:
            found.add(frame.words[0])
    return found


def _wrong_blocks(case: SwarmCase, peer: RawPeer) -> list[int]:
    """Return the pieces of which other bytes came than those of the torrent."""
    found = []
    for frame in peer.seen:
        if frame.number == FrameType.PIECE:
            index, begin = frame.words[:2]
            data = frame.payload[8:]
            if data != case.torrent.block(index, begin, len(data)):
                found.append(index)
    return found


async def _ask(case: SwarmCase, link: SeedLink, *pieces: int) -> None:
    """Ask for the first block of pieces, once that is allowed."""
    await case.until(lambda: link.peer.is_unchoked, UNCHOKE_S * case.patience)
    for index in pieces:
        await link.peer.send(request(index, 0, BLOCK_BYTES), f"request {index} 0")


@rule(
    "BEP3-IN-04",
    Level.STATED,
    60,
    {"the right ones": P, "none": N, "the wrong one": F, WRONG: F},
    role=LEECH,
)
async def damaged_data_before_the_start(case: SwarmCase) -> Outcome:
    """Announce of data that is there before the start what is right, and not what is wrong.

    BEP 3: "pieces maps to a string whose length is a multiple of 20. It is to be subdivided into
    strings of length 20, each of which is the SHA1 hash of the piece at the corresponding index."
    """
    data = bytearray(case.torrent.data)
    data[DAMAGED * case.torrent.piece_bytes + 7] ^= 0xFF
    case.program.store(BASIC, bytes(data))
    await case.start()
    await case.announces()
    link = await visit(case, await case.seed(VISITOR, is_listed=False))
    wanted = case.torrent.piece_count - 1
    await case.until(lambda: len(_shown(case, link)) >= wanted, case.limit_s)
    await _ask(case, link, DAMAGED, DAMAGED + 1)
    await anyio.sleep(2.0)
    shown = _shown(case, link)
    if _wrong_blocks(case, link.peer):
        return Outcome(WRONG)
    if DAMAGED in shown:
        return Outcome("the wrong one")
    return Outcome("the right ones" if len(shown) == wanted else "none", f"{len(shown)} pieces")


@rule("BEP3-IN-05", Level.ROBUST, 10, CUT, role=LEECH)
async def file_that_is_cut(case: SwarmCase) -> Outcome:
    """Send no wrong data, and go on, when a file becomes shorter while you run.

    No BEP states it; rejecting, closing and silence are right. A program of one torrent may end
    with an error that it knows.
    """
    await case.first_request(await case.seed())
    if not await case.completes():
        raise UndecidedError("the download did not complete")
    link = await visit(case, await case.seed(VISITOR, is_listed=False))
    case.program.store(BASIC, case.torrent.data[: len(case.torrent.data) // 2])
    last = case.torrent.piece_count - 2
    await _ask(case, link, last, last // 2, 0, last - 1)
    await case.until(case.program.has_refused, case.limit_s)
    wrong = _wrong_blocks(case, link.peer)
    sent = len(link.frames(FrameType.PIECE))
    detail = "" if link.peer.is_unchoked else ", never unchoked"
    if case.program.has_refused() and not wrong:
        case.has_started = False
        return Outcome(ENDS)
    return Outcome(WRONG if wrong else RIGHT_OR_NONE, f"{sent} blocks{detail}")
