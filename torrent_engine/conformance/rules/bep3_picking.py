"""Rules of a downloading program: what it requests of whom, and what it announces (BEP 3, 6)."""

import itertools
from typing import Final

import anyio

from torrent_engine.conformance.errors import UndecidedError
from torrent_engine.conformance.frames import (
    BLOCK_BYTES,
    EXTENDED,
    FAST,
    FAST_EXTENDED,
    FrameType,
    have,
    piece,
    with_words,
)
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.rules.bep3_leech import answer_nothing
from torrent_engine.conformance.swarm.kit_seed import AskedBlock, KitSeed, SeedLink, SeedScript
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
LEECH: Final = Role.LEECH
DHT_BIT: Final = 0x01
ALL_BITS: Final = FAST_EXTENDED[:7] + bytes([FAST[7] | DHT_BIT])
WATCH_S: Final = 3.0
COUNT_S: Final = 8.0  # some programs count what peers have not at once
ORDER_PIECES: Final = 8
FIRST: Final = range(5)
SLOWLY_S: Final = 0.05
RARE: Final = range(12, 20)
SUGGESTED: Final = (13, 7, 17)
FEW_BEFORE: Final = 2
"""So many may be under way; chance alone has so few in one of a hundred downloads."""
BAD: Final = 2


def pieces_in_order(*seeds: KitSeed) -> list[int]:
    """Return the pieces that were requested, in the order of their first requests."""
    asked = sorted((each for seed in seeds for each in seed.requests), key=lambda each: each.at)
    return list(dict.fromkeys(each.index for each in asked))


def _haves(*links: SeedLink) -> list[int]:
    frames = (each for link in links for each in link.frames(FrameType.HAVE))
    return [each.words[0] for each in frames if each.words]


@rule(
    "BEP3-HS-16",
    Level.STATED,
    10,
    {"as it says": P, "says DHT, and has none": N, "not as it says": F},
    role=LEECH,
)
async def reserved_bits_are_kept(case: SwarmCase) -> Outcome:
    """Do what the reserved bits of your handshake say.

    BEP 6: "When the Fast Extension is enabled: Exactly one of Have All, Have None, or Have Bitfield
    MUST appear"; BEP 10: the handshake "should be sent immediately after the standard bittorrent
    handshake"; BEP 5: "Peers supporting the DHT set the last bit" and send PORT.
    """
    link = await case.link_to(await case.seed(SeedScript(reserved=ALL_BITS)))
    await anyio.sleep(case.limit_s)
    theirs = link.peer.greeting.reserved if link.peer.greeting else bytes(8)
    numbers = {each.number for each in link.peer.seen}
    first = {FrameType.HAVE_NONE, FrameType.HAVE_ALL, FrameType.BITFIELD}
    if theirs[7] & FAST[7] and not numbers & first:
        return Outcome("not as it says", "nothing says which pieces are there")
    if theirs[5] & EXTENDED[5] and FrameType.EXTENDED not in numbers:
        return Outcome("not as it says", "no extended handshake")
    if theirs[7] & DHT_BIT and FrameType.PORT not in numbers:
        return Outcome("says DHT, and has none")
    return Outcome("as it says", theirs.hex())


@rule("BEP3-HV-03", Level.STATED, 60, {"when it is right": P, "when it is wrong": F}, role=LEECH)
async def bad_pieces_are_not_announced(case: SwarmCase) -> str:
    """Announce a piece when its hash matches, and not when all of its blocks are there.

    BEP 3: "When a peer finishes downloading a piece and checks that the hash matches, it announces
    that it has that piece to all of its peers."
    """
    begins: set[int] = set()

    async def answer(link: SeedLink, asked: AskedBlock) -> None:
        if asked.index != BAD:
            await link.send_block(asked)
        elif asked.begin not in begins:
            begins.add(asked.begin)
            await link.send_bytes(asked, bytes(asked.length))

    watcher = await case.seed(SeedScript(pieces=(), unchokes=False))
    await case.first_request(await case.seed(SeedScript(answer=answer)))
    blocks = -(-case.torrent.piece_length(BAD) // BLOCK_BYTES)
    if not await case.until(lambda: len(begins) == blocks, case.limit_s):
        raise UndecidedError(f"piece {BAD} was not requested as a whole")
    await anyio.sleep(WATCH_S)
    if BAD in _haves(*watcher.links):
        return "when it is wrong"
    await case.introduce(await case.seed(is_listed=False))
    await case.completes(case.limit_s)
    if not await case.until(lambda: BAD in _haves(*watcher.links), WATCH_S):
        raise UndecidedError("it was not announced later, either")
    return "when it is right"


@rule("BEP3-HV-04", Level.INFO, 20, {"sent": P, "not sent": P}, role=LEECH)
async def have_to_a_seed(case: SwarmCase) -> Outcome:
    """Record whether pieces are announced to a peer that has them.

    BEP 3: "it announces that it has that piece to all of its peers."
    """
    link = await case.link_to(await case.seed())
    await case.completes()
    count = len(_haves(link))
    return Outcome("sent" if count else "not sent", f"{count} times")


@rule("BEP3-HV-05", Level.ROBUST, 60, {"complete": P, "closed": F, "not complete": F}, role=LEECH)
async def have_again_and_again(case: SwarmCase) -> str:
    """Go on after a thousand announcements of a piece that the peer has announced.

    No BEP states it.
    """

    async def repeat(link: SeedLink) -> None:
        await link.peer.send(have(3) * 1_000, "have 3, a thousand times")

    link = await case.link_to(await case.seed(SeedScript(after_greeting=repeat)))
    if await case.completes(case.limit_s):
        return "complete"
    return "closed" if link.peer.is_closed else "not complete"


@rule("BEP3-CI-04", Level.MUST, 30, {"not interested": P, "interested": F}, role=LEECH)
async def interest_ends_with_the_last_piece(case: SwarmCase) -> str:
    """Lose interest in a peer that chokes you when everything came from another, or close.

    BEP 3: "whenever a downloader doesn't have something they currently would ask a peer for in
    unchoked, they must express lack of interest, despite being choked."
    """
    link = await case.link_to(await case.seed(SeedScript(unchokes=False)))
    if not await case.until(lambda: link.is_interested, case.limit_s):
        raise UndecidedError("it was not interested before")
    await case.introduce(await case.seed(is_listed=False))
    if not await case.completes():
        raise UndecidedError("the download did not complete")
    ended = await case.until(lambda: link.peer.is_closed or not link.is_interested, case.limit_s)
    return "not interested" if ended else "interested"


@rule(
    "BEP3-LR-04",
    Level.STATED,
    100,
    {"twice, and cancelled": P, "twice": N, "after a while": N, "not complete": F},
    role=LEECH,
)
async def last_blocks_are_requested_twice(case: SwarmCase) -> Outcome:
    """Request the last blocks of every peer, and cancel what has come from another.

    BEP 3: "once requests for all pieces a given downloader doesn't have yet are currently pending,
    it sends requests for everything to everyone it's downloading from"; "it sends cancels to
    everyone else every time a piece arrives."
    """
    mute = await case.seed(SeedScript(answer=answer_nothing))
    good = await case.seed(is_listed=False)
    await case.first_request(mute)
    start = anyio.current_time()
    await case.introduce(good)
    if not await case.completes(case.limit_s):
        return Outcome("not complete")
    took = anyio.current_time() - start
    detail = f"complete after {took:.0f} s"
    if took > case.limit_s / 5:
        return Outcome("after a while", detail)
    is_cancelled = any(link.frames(FrameType.CANCEL) for link in mute.links)
    return Outcome("twice, and cancelled" if is_cancelled else "twice", detail)


@rule("BEP3-LR-10", Level.ROBUST, 60, {"not taken": P, "taken": F}, role=LEECH)
async def pieces_that_nobody_requested_are_not_taken(case: SwarmCase) -> str:
    """Take no piece that you did not request, or check it as any other.

    BEP 3: "checks that the hash matches". Without the Fast extension nothing says more.
    """

    async def send_zeros(link: SeedLink) -> None:
        blocks = range(0, case.torrent.piece_length(0), BLOCK_BYTES)
        data = b"".join(piece(0, begin, bytes(BLOCK_BYTES)) for begin in blocks)
        await link.peer.send(data, "piece 0, of zeros")

    seed = await case.seed(SeedScript(unchokes=False, after_greeting=send_zeros))
    watcher = await case.seed(SeedScript(pieces=(), unchokes=False))
    await case.link_to(seed)
    await case.until(lambda: bool(watcher.links), WATCH_S)
    await anyio.sleep(WATCH_S)
    if 0 in _haves(*seed.links, *watcher.links):
        return "taken"
    await case.introduce(await case.seed(is_listed=False))
    return "not taken" if await case.completes(case.limit_s) else "taken"


@rule("BEP3-LR-11", Level.CONV, 60, {"not in order": P, "in order": N}, role=LEECH)
async def pieces_come_in_random_order(case: SwarmCase) -> Outcome:
    """Request pieces in random order.

    BEP 3: "Downloaders generally download pieces in random order".
    """
    seed = await case.seed()
    await case.first_request(seed)
    await case.until(lambda: len(pieces_in_order(seed)) >= ORDER_PIECES, case.limit_s)
    found = pieces_in_order(seed)[:ORDER_PIECES]
    steps = [after - before for before, after in itertools.pairwise(found)]
    is_run = steps.count(1) >= len(steps) / 2  # wherever it begins
    return Outcome("in order" if is_run else "not in order", " ".join(map(str, found)))


@rule("BEP3-LR-12", Level.CONV, 60, {"early": P, "late": N}, role=LEECH)
async def rare_pieces_come_early(case: SwarmCase) -> Outcome:
    """Request early what only one of three peers has, once you have a few pieces.

    No BEP states it: "rarest first" keeps pieces from being lost. The first pieces are often chosen
    at random, so that there is something to trade; they are not counted here. Of the first eight
    after them, seven are rare by chance in one of two hundred downloads.
    """

    async def serve_slowly(link: SeedLink, asked: AskedBlock) -> None:
        await anyio.sleep(SLOWLY_S)
        await link.send_block(asked)

    common = [each for each in range(case.torrent.piece_count) if each not in RARE]
    first = await case.seed(SeedScript(pieces=FIRST))
    others = [
        await case.seed(SeedScript(pieces=common, unchokes=False)),
        await case.seed(SeedScript(serve_slowly, unchokes=False)),
    ]
    await case.start()
    links = [await case.link_of(each) for each in (first, *others)]
    await case.until(lambda: set(FIRST) <= set(pieces_in_order(first)), case.limit_s)
    await case.until(lambda: all(each.is_interested for each in links[1:]), case.limit_s)
    await anyio.sleep(COUNT_S)
    await links[-1].unchoke()
    full = others[-1]
    if not await case.until(lambda: set(RARE) <= set(pieces_in_order(full)), case.limit_s):
        raise UndecidedError("not all rare pieces were requested")
    count = sum(each in RARE for each in pieces_in_order(full)[: len(RARE)])
    name = "early" if count >= len(RARE) - 1 else "late"
    return Outcome(name, f"{count} of the first {len(RARE)}")


@rule("BEP6-AF-09", Level.CONV, 30, {"early": P, "late": N}, role=LEECH)
async def suggested_pieces_come_early(case: SwarmCase) -> Outcome:
    """Request suggested pieces early.

    BEP 6: "Suggest Piece is an advisory message meaning "you might like to download this piece."";
    nobody has to.
    """

    async def suggest(link: SeedLink) -> None:
        for each in SUGGESTED:
            await link.peer.send(with_words(FrameType.SUGGEST, each), f"suggest {each}")
        await anyio.sleep(1.0)
        await link.unchoke()

    seed = await case.seed(SeedScript(reserved=FAST, unchokes=False, after_greeting=suggest))
    await case.first_request(seed)
    if not await case.until(lambda: set(SUGGESTED) <= set(pieces_in_order(seed)), case.limit_s):
        raise UndecidedError("not all suggested pieces were requested")
    before = max(map(pieces_in_order(seed).index, SUGGESTED)) + 1 - len(SUGGESTED)
    return Outcome("early" if before <= FEW_BEFORE else "late", f"{before} others before the last")
