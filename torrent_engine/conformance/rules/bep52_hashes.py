"""Rules of programs that need hashes of pieces, which links of version 2 do not have (BEP 52)."""

from typing import Final

import anyio

from torrent_engine.conformance.errors import NotOfferedError, UndecidedError
from torrent_engine.conformance.hash_messages import HashQuestion
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.swarm.hashes import (
    HashAnswer,
    KitHashes,
    answer_rightly,
    answer_wrongly,
    reject_hashes,
)
from torrent_engine.conformance.swarm.kit_seed import KitSeed
from torrent_engine.conformance.swarm.metadata import KitMetadata
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.v2_torrents import v2_magnet, v2_torrent
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
WELL, LONG, ODD, NONE = "as it should be", "more than 512", "malformed", "none"
COMPLETE, STALLED = "complete", "not complete"
MOST: Final = 512
START_S: Final = 60.0
WINDOW_S: Final = 10.0
PER_S: Final = 10.0


async def _hash_seed(
    case: SwarmCase, answer: HashAnswer, *, is_listed: bool = True
) -> tuple[KitHashes, KitSeed]:
    """Let a seed listen that has the metadata, and answers requests of hashes in a way."""
    hashes = KitHashes(case.torrent, answer)
    script = hashes.added_to(KitMetadata(case.torrent).script())
    return hashes, await case.seed(script, is_listed=is_listed)


async def _start(case: SwarmCase) -> None:
    """Start the program with the link. Raises NotOfferedError if it takes none of version 2."""
    await case.start_magnet(v2_magnet(case.torrent))
    await case.until(
        lambda: bool(case.tracker.announces) or case.program.has_refused(), START_S * case.patience
    )
    if not case.tracker.announces:
        case.has_started = case.has_started and not case.program.has_refused()
        raise NotOfferedError("it takes no links of version 2")


def _kind(hashes: KitHashes, question: HashQuestion | None) -> str:
    """Return what a request is by the BEP."""
    if question is None or question.length < 2 or question.index % question.length:
        return ODD
    is_to_the_end = question.index + question.length == hashes.width(question)
    if question.length & (question.length - 1) and not is_to_the_end:
        return ODD
    return LONG if question.length > MOST else WELL


@rule("BEP52-HR-08", Level.MUST, 30, {WELL: P, LONG: N, ODD: F, NONE: F}, role=Role.MAGNET)
async def requests_of_hashes(case: SwarmCase) -> Outcome:
    """Request the hashes of pieces, by powers of two, and at multiples of that.

    BEP 52: "Index MUST be a multiple of length, this includes zero"; "Length MUST be
    equal-to-or-greater-than two and a power of two unless it gets truncated by the end of the
    layer. Length SHOULD NOT be greater than 512."
    """
    case.torrent = v2_torrent()
    hashes, _ = await _hash_seed(case, answer_rightly)
    await _start(case)
    await case.completes(case.limit_s)
    kinds = {_kind(hashes, each.question): each.question for each in hashes.requests}
    worst = next((kind for kind in (ODD, LONG, WELL) if kind in kinds), NONE)
    return Outcome(worst, f"{len(hashes.requests)} requests")


@rule("BEP52-HR-09", Level.STATED, 60, {COMPLETE: P, STALLED: F}, role=Role.MAGNET)
async def wrong_hashes(case: SwarmCase) -> str:
    """Use no hashes that do not lead to the root of a file, and ask another peer.

    BEP 52: the pieces root is "the root hash of a merkle tree", which hashes are checked with.
    """
    case.torrent = v2_torrent()
    wrong, _ = await _hash_seed(case, answer_wrongly)
    _, honest = await _hash_seed(case, answer_rightly, is_listed=False)
    await _start(case)
    if not await case.until(lambda: bool(wrong.requests), case.limit_s):
        raise UndecidedError("it requests no hashes")
    await case.introduce(honest)
    return COMPLETE if await case.completes(case.limit_s) else STALLED


@rule("BEP52-HR-10", Level.ROBUST, 20, {"seldom": P, "all the time": F}, role=Role.MAGNET)
async def hashes_that_are_rejected(case: SwarmCase) -> Outcome:
    """Do not ask a peer that rejects all requests of hashes more than ten times a second.

    Nobody states it; a reject says that the peer "will not service a hash request" (BEP 52).
    """
    case.torrent = v2_torrent()
    hashes, _ = await _hash_seed(case, reject_hashes)
    await _start(case)
    if not await case.until(lambda: bool(hashes.requests), case.limit_s):
        raise UndecidedError("it requests no hashes")
    await anyio.sleep(WINDOW_S)
    rate = len(hashes.requests) / WINDOW_S
    return Outcome("all the time" if rate > PER_S else "seldom", f"{rate:.1f} a second")
