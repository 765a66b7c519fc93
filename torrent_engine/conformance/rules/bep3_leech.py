"""Rules of a downloading program: its requests, and what it takes (BEP 3)."""

from collections import Counter
from typing import Final

import anyio

from torrent_engine.conformance.frames import BLOCK_BYTES, FrameType, piece
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.swarm.kit_seed import (
    AskedBlock,
    BlockFunction,
    SeedLink,
    SeedScript,
)
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
LEECH: Final = Role.LEECH
COMPLETE: Final = "complete"
STALLED: Final = "not complete"
COMPLETES: Final = {COMPLETE: P, STALLED: F}
MAX_BLOCK: Final = 131_072
QUIET_S: Final = 5.0
SLOW_S: Final = 0.2


async def answer_nothing(link: SeedLink, asked: AskedBlock) -> None:
    """Leave a request without an answer."""


async def _downloaded(case: SwarmCase, within_s: float) -> str:
    return COMPLETE if await case.completes(within_s) else STALLED


@rule("BEP3-LR-01", Level.STATED, 30, {"16 KiB": P, "more": N, "more than 128 KiB": F}, role=LEECH)
async def requests_are_of_16_kib(case: SwarmCase) -> Outcome:
    """Request at most 16 KiB at once.

    BEP 3: "All current implementations use 2^14 (16 kiB), and close connections which request an
    amount greater than that."
    """
    seed = await case.seed()
    await case.first_request(seed)
    await case.completes()
    longest = max(each.length for each in seed.requests)
    name = "more than 128 KiB" if longest > MAX_BLOCK else "more"
    return Outcome("16 KiB" if longest <= BLOCK_BYTES else name, f"{longest} bytes")


@rule("BEP3-LR-02", Level.STATED, 30, {"inside": P, "outside": F, "not announced": F}, role=LEECH)
async def requests_are_of_what_was_announced(case: SwarmCase) -> Outcome:
    """Request what is inside the torrent, and of pieces that the peer has.

    BEP 3: the bitfield is one "with each index that downloader has sent set to one and the rest set
    to zero"; a request has an index and "byte offsets".
    """
    pieces = range(0, case.torrent.piece_count, 2)
    seed = await case.seed(SeedScript(pieces=pieces))
    await case.first_request(seed)
    wanted = sum(case.torrent.piece_length(each) for each in pieces)
    await case.until(lambda: sum(each.length for each in seed.requests) >= wanted, case.limit_s)
    for each in seed.requests:
        if each.index < case.torrent.piece_count and each.index not in pieces:
            return Outcome("not announced", str(each.index))
        if each.begin + each.length > case.torrent.piece_length(each.index) or not each.length:
            return Outcome("outside", str(each.place))
    return Outcome("inside")


@rule("BEP3-LR-03", Level.CONV, 30, {"once": P, "again at the end": N, "again": F}, role=LEECH)
async def open_requests_are_not_repeated(case: SwarmCase) -> Outcome:
    """Make no request again on a connection while the first is open.

    No BEP states it; without the Fast extension the answer of the first is all that comes.
    """

    async def answer_late(link: SeedLink, asked: AskedBlock) -> None:
        await anyio.sleep(SLOW_S / 4)
        await link.send_block(asked)

    seed = await case.seed(SeedScript(answer=answer_late))
    await case.first_request(seed)
    await case.completes()
    counts = Counter(each.place for link in seed.links for each in link.requests)
    again = [place for place, count in counts.items() if count > len(seed.links)]
    blocks = -(-len(case.torrent.data) // BLOCK_BYTES)
    if not again:
        return Outcome("once")
    last = [each.place for each in seed.requests][-len(again) :]
    is_end = len(again) <= blocks // 10 and set(again) <= set(last)
    return Outcome("again at the end" if is_end else "again", f"{len(again)} blocks")


@rule("BEP3-LR-05", Level.ROBUST, 200, {"in 90 s": P, "later": N, STALLED: F}, role=LEECH)
async def seed_that_answers_nothing(case: SwarmCase) -> Outcome:
    """Request elsewhere what a peer does not answer.

    No BEP states it.
    """
    mute = await case.seed(SeedScript(answer=answer_nothing))
    good = await case.seed(is_listed=False)
    await case.first_request(mute)
    await case.introduce(good)
    start = anyio.current_time()
    if not await case.completes(case.limit_s):
        return Outcome(STALLED)
    took = anyio.current_time() - start
    return Outcome("in 90 s" if took <= case.limit_s * 0.45 else "later", f"after {took:.0f} s")


@rule("BEP3-LR-06", Level.ROBUST, 60, COMPLETES, role=LEECH)
async def answers_out_of_order(case: SwarmCase) -> str:
    """Take blocks in another order than they were requested.

    No BEP states an order of answers.
    """
    waiting: list[AskedBlock] = []

    async def answer_backwards(_: SeedLink, asked: AskedBlock) -> None:
        waiting.append(asked)

    async def send_backwards(link: SeedLink) -> None:
        while True:
            await anyio.sleep(SLOW_S)
            blocks, waiting[:] = waiting[::-1], []
            for each in blocks:
                await link.send_block(each)

    script = SeedScript(answer=answer_backwards, after_greeting=send_backwards)
    await case.first_request(await case.seed(script))
    return await _downloaded(case, case.limit_s)


@rule("BEP3-LR-07", Level.ROBUST, 120, {COMPLETE: P, STALLED: F}, role=LEECH)
async def blocks_that_were_not_requested_are_not_stored(case: SwarmCase) -> str:
    """Complete with right data although a peer sends blocks beside those that were requested.

    BEP 3: it "checks that the hash matches".
    """

    async def answer_beside(link: SeedLink, asked: AskedBlock) -> None:
        await link.send_bytes(asked, case.torrent.block(*asked.place), shift=1)

    await case.first_request(await case.seed(SeedScript(answer=answer_beside)))
    await case.introduce(await case.seed(is_listed=False))
    return await _downloaded(case, case.limit_s)


@rule("BEP3-LR-08", Level.ROBUST, 100, {"in 45 s": P, "later": N, STALLED: F}, role=LEECH)
async def blocks_of_a_wrong_length(case: SwarmCase) -> Outcome:
    """Get a block elsewhere, or again, when it came a byte short.

    No BEP states it.
    """

    async def answer_short(link: SeedLink, asked: AskedBlock) -> None:
        await link.send_bytes(asked, case.torrent.block(*asked.place)[:-1])

    await case.first_request(await case.seed(SeedScript(answer=answer_short)))
    await case.introduce(await case.seed(is_listed=False))
    start = anyio.current_time()
    if not await case.completes(case.limit_s):
        return Outcome(STALLED)
    took = anyio.current_time() - start
    return Outcome("in 45 s" if took <= case.limit_s * 0.45 else "later", f"after {took:.0f} s")


@rule("BEP3-LR-09", Level.ROBUST, 60, COMPLETES, role=LEECH)
async def pieces_that_do_not_exist(case: SwarmCase) -> str:
    """Survive a block without bytes, and one of a piece that does not exist.

    No BEP states it.
    """

    async def send_junk(link: SeedLink) -> None:
        count = case.torrent.piece_count
        await link.peer.send(piece(0, 0, b""), "piece 0 0 (0 bytes)")
        await link.peer.send(piece(count, 0, bytes(BLOCK_BYTES)), f"piece {count} 0")

    await case.link_to(await case.seed(SeedScript(after_greeting=send_junk)))
    await case.introduce(await case.seed(is_listed=False))
    return await _downloaded(case, case.limit_s)


@rule("BEP3-IN-01", Level.STATED, 30, {"not taken": P, "hammers": N, "taken": F}, role=LEECH)
async def piece_that_is_always_bad(case: SwarmCase) -> Outcome:
    """Take no piece whose hash does not match, and do not download it without end.

    BEP 3: "When a peer finishes downloading a piece and checks that the hash matches, it announces
    that it has that piece".
    """
    seed = await case.seed(SeedScript(answer=_with_bad_piece(case)))
    link = await case.first_request(seed)
    await anyio.sleep(case.limit_s)
    haves = (each for link in seed.links for each in link.frames(FrameType.HAVE))
    announced = {each.words[:1] for each in haves}
    stored = case.program.stored(case.torrent.name) or b""
    size = case.torrent.piece_bytes
    is_stored = stored[2 * size : 3 * size] == _bad_piece(case)
    if (2,) in announced or (is_stored and case.is_complete()):
        return Outcome("taken")
    times = sum(each.index == 2 and each.begin == 0 for each in seed.requests)
    return Outcome("hammers" if times > 10 else "not taken", f"{times} times, {link.is_interested}")


def _bad_piece(case: SwarmCase) -> bytes:
    return bytes(case.torrent.piece_length(2))


def _with_bad_piece(case: SwarmCase, times: int = 1_000_000) -> BlockFunction:
    left = Counter({2: times})

    async def answer(link: SeedLink, asked: AskedBlock) -> None:
        if asked.index == 2 and left[2] > 0:
            left[2] -= 1
            await link.send_bytes(asked, _bad_piece(case)[asked.begin :][: asked.length])
        else:
            await link.send_block(asked)

    return answer


@rule("BEP3-IN-02", Level.CONV, 120, COMPLETES, role=LEECH)
async def one_bad_peer_of_three(case: SwarmCase) -> str:
    """Complete although one of three peers sends wrong bytes.

    No BEP states it.
    """

    async def answer_wrong(link: SeedLink, asked: AskedBlock) -> None:
        await link.send_bytes(asked, bytes(asked.length))

    await case.seed()
    await case.seed()
    await case.link_to(await case.seed(SeedScript(answer=answer_wrong)))
    return await _downloaded(case, case.limit_s)


@rule("BEP3-IN-03", Level.STATED, 30, COMPLETES, role=LEECH)
async def file_is_that_of_the_torrent(case: SwarmCase) -> str:
    """Store the bytes of the torrent under its name.

    BEP 3: "The name key maps to a UTF-8 encoded string which is the suggested name to save the file
    (or directory) as."
    """
    await case.link_to(await case.seed())
    return await _downloaded(case, case.limit_s)
