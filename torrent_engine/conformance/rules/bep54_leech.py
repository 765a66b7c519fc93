"""Rules of a download for peers that do not have a piece any more (BEP 54)."""

from collections.abc import Iterable
from typing import Final

from torrent_engine.conformance.extensions import number_of, own_handshake
from torrent_engine.conformance.frames import EXTENDED, FAST_EXTENDED, extended, reject
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.rules.bep10_leech import their_handshake
from torrent_engine.conformance.rules.bep54_seed import DONT_HAVE, OWN_ID
from torrent_engine.conformance.swarm.kit_seed import AskedBlock, SeedLink, SeedScript
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
LEECH: Final = Role.LEECH
KEPT: Final = 3
MISSING: Final = 5
LATER_S: Final = 2.0
NOTHING: Final = "requests nothing"


async def _greet(link: SeedLink) -> None:
    await link.peer.send(own_handshake({DONT_HAVE: OWN_ID}), "extended handshake")


async def _lose(case: SwarmCase, link: SeedLink, pieces: Iterable[int]) -> None:
    """Say that we do not have pieces any more. Raises NotOfferedError."""
    number = number_of(await their_handshake(case, link), DONT_HAVE)
    lost = list(pieces)
    data = b"".join(extended(number, each.to_bytes(4, "big")) for each in lost)
    await link.peer.send(data, f"lt_donthave of {lost}")


@rule(
    "BEP54-DH-01",
    Level.STATED,
    15,
    {"only that piece": P, "other pieces": F, NOTHING: F},
    role=LEECH,
)
async def all_pieces_but_one_are_gone(case: SwarmCase) -> Outcome:
    """Request only what a peer has still.

    BEP 54: on the message the receiver "marks the piece as unavailable at the sending peer".
    """
    seed = await case.seed(
        SeedScript(reserved=FAST_EXTENDED, unchokes=False, after_greeting=_greet)
    )
    link = await case.link_to(seed)
    await _lose(case, link, (each for each in range(case.torrent.piece_count) if each != KEPT))
    await link.unchoke()
    await case.until(lambda: bool(seed.requests), case.limit_s)
    await case.until(lambda: any(each.index != KEPT for each in seed.requests), LATER_S)
    asked = {each.index for each in seed.requests}
    if not asked:
        return Outcome(NOTHING)
    return Outcome("only that piece" if asked == {KEPT} else "other pieces", f"{sorted(asked)}")


@rule(
    "BEP54-DH-02",
    Level.STATED,
    10,
    {"not interested": P, "closed": P, "stays interested": F},
    role=LEECH,
)
async def all_pieces_are_gone(case: SwarmCase) -> str:
    """Lose interest in a peer that has nothing any more.

    BEP 3: peers "must express lack of interest" when there is nothing that they want.
    """
    script = SeedScript(reserved=FAST_EXTENDED, unchokes=False, after_greeting=_greet)
    link = await case.link_to(await case.seed(script))
    await case.until(lambda: link.is_interested, case.limit_s)
    await _lose(case, link, range(case.torrent.piece_count))
    await case.until(lambda: not link.is_interested or link.peer.is_closed, case.limit_s)
    if link.peer.is_closed:
        return "closed"
    return "stays interested" if link.is_interested else "not interested"


async def _reject(link: SeedLink, asked: AskedBlock) -> None:
    await link.peer.send(reject(*asked.place), f"reject {asked.index} {asked.begin}")


@rule("BEP54-DH-03", Level.STATED, 60, {"complete": P, "not complete": F}, role=LEECH)
async def piece_that_was_requested_is_gone(case: SwarmCase) -> str:
    """Request a piece of somebody else when its holder does not have it any more.

    BEP 54: with the Fast extension "the peer will explicitly reject any such requests".
    """
    script = SeedScript(reserved=FAST_EXTENDED, after_greeting=_greet, answer=_reject)
    seed = await case.seed(script)
    link = await case.first_request(seed)
    await _lose(case, link, range(case.torrent.piece_count))
    await case.introduce(await case.seed(is_listed=False))
    return "complete" if await case.completes(case.limit_s) else "not complete"


@rule("BEP54-DH-05", Level.ROBUST, 60, {"goes on": P, "closed": N, "not complete": F}, role=LEECH)
async def piece_that_was_never_there_is_gone(case: SwarmCase) -> str:
    """Go on when a peer does not have a piece that it never said to have.

    No BEP states it.
    """
    pieces = [each for each in range(case.torrent.piece_count) if each != MISSING]
    script = SeedScript(reserved=EXTENDED, pieces=pieces, unchokes=False, after_greeting=_greet)
    link = await case.link_to(await case.seed(script))
    await _lose(case, link, (MISSING, MISSING))
    await link.unchoke()
    await case.until(lambda: len(link.requests) > 1 or link.peer.is_closed, case.limit_s)
    if link.peer.is_closed:
        return "closed"
    await case.introduce(await case.seed(is_listed=False))
    return "goes on" if await case.completes(case.limit_s) else "not complete"
