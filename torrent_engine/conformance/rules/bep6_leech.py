"""Rules of the Fast extension (BEP 6) for a downloading program."""

from collections import Counter
from typing import Final

import anyio

from torrent_engine.conformance.errors import NotOfferedError
from torrent_engine.conformance.frames import (
    BLOCK_BYTES,
    FAST,
    HAVE_NONE,
    FrameType,
    piece,
    reject,
    with_words,
)
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.rules.bep3_leech import answer_nothing
from torrent_engine.conformance.swarm.kit_seed import AskedBlock, KitSeed, SeedLink, SeedScript
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
LEECH: Final = Role.LEECH
ANNOUNCES: Final = frozenset({FrameType.BITFIELD, FrameType.HAVE_ALL, FrameType.HAVE_NONE})
ALLOWED: Final = range(10)
WATCH_S: Final = 6.0
LATER_S: Final = 1.0  # some programs lose what comes right after the handshake
UNDER_WAY_S: Final = 2.0


async def _fast_link(case: SwarmCase, seed: KitSeed) -> SeedLink:
    """Start the program and wait for its connection. Raises NotOfferedError, UndecidedError."""
    link = await case.link_to(seed)
    if not link.is_fast:
        raise NotOfferedError("the Fast extension is not offered")
    return link


async def _reject(link: SeedLink, asked: AskedBlock) -> None:
    await link.peer.send(reject(*asked.place), f"reject {asked.index} {asked.begin}")


@rule("BEP6-FE-04", Level.MUST, 10, {"nothing is there": P, "pieces": F, "none": F}, role=LEECH)
async def announcement_of_a_peer_without_pieces(case: SwarmCase) -> str:
    """Say that you have nothing, with "have none" or a bitfield of zeros.

    BEP 6: "Exactly one of Have All, Have None, or Have Bitfield MUST appear".
    """
    link = await _fast_link(case, await case.seed(SeedScript(reserved=FAST, unchokes=False)))
    await case.until(lambda: link.is_interested, case.limit_s)
    found = [each for each in link.peer.seen if each.number in ANNOUNCES]
    if len(found) != 1:
        return "none" if not found else "pieces"
    is_all = found[0].number == FrameType.HAVE_ALL
    return "pieces" if is_all or any(found[0].payload) else "nothing is there"


@rule("BEP6-FE-21", Level.MUST, 10, {"closed": P, "left open": F}, role=LEECH)
async def piece_before_any_request(case: SwarmCase) -> str:
    """Close on a piece that you did not request.

    BEP 6: "if a peer receives a piece that was never requested, the peer MUST close the
    connection".
    """

    async def send_piece(link: SeedLink) -> None:
        block = case.torrent.block(0, 0, BLOCK_BYTES)
        await link.peer.send(piece(0, 0, block), "piece 0 0")

    script = SeedScript(reserved=FAST, unchokes=False, after_greeting=send_piece)
    link = await _fast_link(case, await case.seed(script))
    is_closed = await case.until(lambda: link.peer.is_closed, case.limit_s)
    return "closed" if is_closed else "left open"


@rule("BEP6-FE-25", Level.ROBUST, 60, {"complete": P, "not complete": F}, role=LEECH)
async def allowed_fast_of_no_piece(case: SwarmCase) -> str:
    """Complete, from another peer if need be, after "allowed fast" of a piece that does not exist.

    No BEP states it.
    """

    async def allow(link: SeedLink) -> None:
        data = with_words(FrameType.ALLOWED_FAST, case.torrent.piece_count)
        await link.peer.send(data, "allowed fast of no piece")

    await _fast_link(case, await case.seed(SeedScript(reserved=FAST, after_greeting=allow)))
    await case.introduce(await case.seed(is_listed=False))
    return "complete" if await case.completes(case.limit_s) else "not complete"


async def _allow_some(link: SeedLink) -> None:
    data = b"".join(with_words(FrameType.ALLOWED_FAST, each) for each in ALLOWED)
    await link.peer.send(data, f"allowed fast of {len(ALLOWED)} pieces")


@rule("BEP6-AF-04", Level.MUST, 8, {"neither": P, "interested": F, "requests": F}, role=LEECH)
async def allowed_fast_is_no_have(case: SwarmCase) -> str:
    """Do not take "allowed fast" as a sign that the peer has the piece.

    BEP 6: "The receiver MUST NOT interpret an Allowed Fast message as meaning that the message
    sender has the piece."
    """
    script = SeedScript(reserved=FAST, announces=False, after_greeting=_have_none_and_allow)
    seed = await case.seed(script)
    link = await _fast_link(case, seed)
    await anyio.sleep(case.limit_s)
    if seed.requests:
        return "requests"
    return "interested" if link.is_interested else "neither"


async def _have_none_and_allow(link: SeedLink) -> None:
    await link.peer.send(HAVE_NONE, "have none")
    await _allow_some(link)


@rule("BEP6-AF-05", Level.CONV, 15, {"requested": P, "not requested": N}, role=LEECH)
async def allowed_pieces_are_requested(case: SwarmCase) -> str:
    """Request pieces that are allowed fast while you are choked.

    BEP 6: "if you ask for this piece, I'll give it to you even if you're choked"; nobody has to.
    """

    async def allow_later(link: SeedLink) -> None:
        await anyio.sleep(LATER_S)
        await _allow_some(link)

    script = SeedScript(reserved=FAST, unchokes=False, after_greeting=allow_later)
    seed = await case.seed(script)
    await _fast_link(case, seed)
    is_asked = await case.until(lambda: bool(seed.requests), case.limit_s)
    return "requested" if is_asked else "not requested"


@rule("BEP6-AF-06", Level.SHOULD, 20, {"waits": P, "asks again": F}, role=LEECH)
async def requests_stay_open_after_a_choke(case: SwarmCase) -> Outcome:
    """Do not request again what is outstanding when you are choked and unchoked.

    BEP 6: "Choke no longer implicitly rejects all pending requests".
    """
    seed = await case.seed(SeedScript(reserved=FAST, answer=answer_nothing))
    await _fast_link(case, seed)
    link = await case.first_request_of(seed)
    await link.choke()
    await anyio.sleep(UNDER_WAY_S)
    await link.unchoke()
    await anyio.sleep(WATCH_S)
    counts = Counter(each.place for each in link.requests)
    again = [place for place, count in counts.items() if count > 1]
    return Outcome("asks again" if again else "waits", f"{len(again)} of {len(counts)} again")


@rule(
    "BEP6-AF-07",
    Level.ROBUST,
    10,
    {"100 or fewer": P, "1,000 or fewer": N, "more": F},
    role=LEECH,
)
async def rejects_of_everything(case: SwarmCase) -> Outcome:
    """Request with bounds when each request is rejected.

    No BEP states it.
    """
    seed = await case.seed(SeedScript(reserved=FAST, answer=_reject))
    await _fast_link(case, seed)
    await case.first_request_of(seed)
    await anyio.sleep(WATCH_S)
    rate = len(seed.requests) / WATCH_S
    name = "100 or fewer" if rate <= 100 else "1,000 or fewer" if rate <= 1_000 else "more"
    return Outcome(name, f"{rate:.0f} a second")


@rule("BEP6-AF-08", Level.STATED, 90, {"complete": P, "not complete": F}, role=LEECH)
async def rejected_block_is_requested_again(case: SwarmCase) -> str:
    """Request a block again, here or elsewhere, that was rejected once.

    BEP 6: a reject "notifies a requesting peer that its request will not be satisfied".
    """
    rejected: set[tuple[int, int, int]] = set()

    async def reject_some(link: SeedLink, asked: AskedBlock) -> None:
        if asked.index == 3 and asked.place not in rejected:
            rejected.add(asked.place)
            await _reject(link, asked)
        else:
            await link.send_block(asked)

    await _fast_link(case, await case.seed(SeedScript(reserved=FAST, answer=reject_some)))
    return "complete" if await case.completes(case.limit_s) else "not complete"
