"""Rules of a downloading program: handshake, interest, choking, have (BEP 3)."""

from typing import Final

import anyio

from torrent_engine.conformance.frames import FrameType, have, request
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.rules.bep3_leech import answer_nothing
from torrent_engine.conformance.swarm.http_tracker import listed_answer
from torrent_engine.conformance.swarm.kit_seed import AskedBlock, SeedLink, SeedScript
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
LEECH: Final = Role.LEECH
OTHER_ID: Final = b"-TC0100-another12345"
OTHER_HASH: Final = bytes(range(20))
UNDER_WAY_S: Final = 2.0  # what was sent before the choke came
SLOW_S: Final = 0.2
PIPELINE: Final = 5


@rule("BEP3-HS-11", Level.STATED, 15, {"closed": P, "goes on": N}, role=LEECH)
async def peer_with_another_id(case: SwarmCase) -> str:
    """Close a connection whose peer id is not the one that the tracker gave.

    BEP 3: "If the receiving side's peer id doesn't match the one the initiating side expects, it
    severs the connection."
    """
    case.tracker.answer = listed_answer
    seed = await case.seed(SeedScript(answers_as=OTHER_ID))
    link = await case.link_to(seed)
    await case.until(lambda: link.peer.is_closed, case.limit_s)
    return "goes on" if seed.requests or not link.peer.is_closed else "closed"


@rule("BEP3-HS-12", Level.STATED, 10, {"closed": P, "messages follow": F, "open": F}, role=LEECH)
async def peer_with_another_info_hash(case: SwarmCase) -> str:
    """Close a connection whose other side answers with another info-hash.

    BEP 3: "If both sides don't send the same value, they sever the connection."
    """
    script = SeedScript(info_hash=OTHER_HASH, announces=False)
    link = await case.link_to(await case.seed(script))
    is_closed = await case.until(lambda: link.peer.is_closed, case.limit_s)
    if link.peer.seen:
        return "messages follow"
    return "closed" if is_closed else "open"


@rule("BEP3-HS-15", Level.STATED, 30, {"equal": P, "different": F}, role=LEECH)
async def peer_id_is_that_of_the_announce(case: SwarmCase) -> Outcome:
    """Send the peer id in the handshake that the tracker was told.

    BEP 3: "the 20-byte peer id which is reported in tracker requests".
    """
    link = await case.link_to(await case.seed())
    told = case.tracker.announces[0].value("peer_id")
    sent = link.peer.greeting.peer_id if link.peer.greeting else b""
    return Outcome("equal" if told == sent else "different", f"{told!r} and {sent!r}")


@rule("BEP3-BF-07", Level.STATED, 10, {"none": P, "zeros": P, "bits": F}, role=LEECH)
async def empty_bitfield(case: SwarmCase) -> str:
    """Send no bitfield, or one of zeros, while you have nothing.

    BEP 3: "Downloaders which don't have anything yet may skip the 'bitfield' message."
    """
    link = await case.link_to(await case.seed(SeedScript(unchokes=False)))
    await case.until(lambda: link.is_interested, case.limit_s)
    found = link.frames(FrameType.BITFIELD)
    if not found:
        return "none"
    return "bits" if any(found[0].payload) else "zeros"


@rule("BEP3-BF-08", Level.ROBUST, 15, {"interested": P, "not interested": F}, role=LEECH)
async def have_without_a_bitfield(case: SwarmCase) -> str:
    """Be interested in a peer that sends "have" and no bitfield.

    BEP 3: a peer "may skip the 'bitfield' message".
    """

    async def send_have(link: SeedLink) -> None:
        await link.peer.send(have(3), "have 3")

    script = SeedScript(pieces=(), announces=False, unchokes=False, after_greeting=send_have)
    link = await case.link_to(await case.seed(script))
    is_interested = await case.until(lambda: link.is_interested, case.limit_s)
    return "interested" if is_interested else "not interested"


@rule("BEP3-HV-02", Level.STATED, 60, {"all": P, "some": N, "none": F}, role=LEECH)
async def pieces_are_announced(case: SwarmCase) -> Outcome:
    """Announce each piece to a peer that has nothing.

    BEP 3: "When a peer finishes downloading a piece and checks that the hash matches, it announces
    that it has that piece to all of its peers."
    """
    watcher = await case.seed(SeedScript(pieces=()))
    link = await case.link_to(watcher)
    await case.introduce(await case.seed(is_listed=False))
    await case.completes(case.limit_s)
    count = case.torrent.piece_count

    def announced() -> set[int]:
        return {each.words[0] for each in link.frames(FrameType.HAVE) if each.words}

    await case.until(lambda: len(announced()) >= count, UNDER_WAY_S)
    found = len(announced())
    name = "all" if found == count else "some" if found else "none"
    return Outcome(name, f"{found} of {count}")


@rule("BEP3-CI-01", Level.STATED, 8, {"none": P, "requests": F}, role=LEECH)
async def nothing_is_requested_while_choked(case: SwarmCase) -> Outcome:
    """Request nothing of a peer that chokes you.

    BEP 3: "Data transfer takes place whenever one side is interested and the other side is not
    choking."
    """
    seed = await case.seed(SeedScript(unchokes=False))
    await case.link_to(seed)
    await anyio.sleep(case.limit_s)
    return Outcome("requests" if seed.requests else "none", str(len(seed.requests)))


@rule("BEP3-CI-02", Level.STATED, 25, {"interested": P, "not interested": F}, role=LEECH)
async def interest_is_told(case: SwarmCase) -> str:
    """Say that you are interested in a peer that has what you lack.

    BEP 3: "Interest state must be kept up to date at all times".
    """
    link = await case.link_to(await case.seed(SeedScript(unchokes=False)))
    is_interested = await case.until(lambda: link.is_interested, case.limit_s)
    return "interested" if is_interested else "not interested"


@rule("BEP3-CI-03", Level.MUST, 30, {"not interested": P, "interested": F}, role=LEECH)
async def interest_ends(case: SwarmCase) -> str:
    """Lose interest in a peer when it has nothing any more that you lack, or close.

    BEP 3: "whenever a downloader doesn't have something they currently would ask a peer for in
    unchoked, they must express lack of interest".
    """
    part = await case.seed(SeedScript(pieces=(0, 1), unchokes=False))
    link = await case.link_to(part)
    await case.until(lambda: link.is_interested, case.limit_s)
    await case.introduce(await case.seed(is_listed=False))
    await case.completes()
    ended = await case.until(lambda: link.peer.is_closed or not link.is_interested, case.limit_s)
    return "not interested" if ended else "interested"


@rule(
    "BEP3-CI-08",
    Level.STATED,
    60,
    {"after the unchoke": P, "while choked": F, "never": F},
    role=LEECH,
)
async def requests_come_again_after_a_choke(case: SwarmCase) -> str:
    """Forget requests when you are choked, and make them again after the unchoke.

    BEP 3: "Choking is a notification that no data will be sent until unchoking happens." Without
    the Fast extension it rejects what is outstanding.
    """
    seed = await case.seed(SeedScript(answer=answer_nothing))
    link = await case.first_request(seed)
    await link.choke()
    await anyio.sleep(UNDER_WAY_S)
    before = len(link.requests)
    await anyio.sleep(UNDER_WAY_S)
    if len(link.requests) > before:
        return "while choked"
    await link.unchoke()
    is_again = await case.until(lambda: len(link.requests) > before, case.limit_s)
    return "after the unchoke" if is_again else "never"


@rule("BEP3-CI-09", Level.SHOULD, 10, {"5 or more": P, "2 to 4": N, "1": F}, role=LEECH)
async def requests_are_pipelined(case: SwarmCase) -> Outcome:
    """Have several requests outstanding.

    BEP 3: "downloaders should keep several piece requests queued up at once in order to get good
    TCP performance (this is called 'pipelining'.)"
    """
    most = 0
    waiting: list[AskedBlock] = []

    async def queue(_: SeedLink, asked: AskedBlock) -> None:
        nonlocal most
        waiting.append(asked)
        most = max(most, len(waiting))

    async def answer_slowly(link: SeedLink) -> None:
        while True:
            await anyio.sleep(SLOW_S)
            if waiting:
                await link.send_block(waiting.pop(0))

    seed = await case.seed(SeedScript(answer=queue, after_greeting=answer_slowly))
    await case.first_request(seed)
    await case.until(lambda: most >= PIPELINE, case.limit_s)
    name = "5 or more" if most >= PIPELINE else "2 to 4" if most >= 2 else "1"
    return Outcome(name, f"{most} outstanding")


@rule("BEP3-CI-11", Level.ROBUST, 60, {"complete": P, "not complete": F}, role=LEECH)
async def chokes_that_flicker(case: SwarmCase) -> str:
    """Complete after two hundred chokes and unchokes in a row.

    No BEP states it.
    """

    async def flicker(link: SeedLink) -> None:
        for _ in range(200):
            await link.unchoke()
            await link.choke()
        await link.unchoke()

    await case.link_to(await case.seed(SeedScript(after_greeting=flicker)))
    return "complete" if await case.completes(case.limit_s) else "not complete"


@rule("BEP3-RQ-13", Level.ROBUST, 8, {"no data": P, "data": F}, role=LEECH)
async def request_of_a_piece_that_is_not_there(case: SwarmCase) -> str:
    """Send no data of a piece that you do not have.

    No BEP states what follows such a request.
    """

    async def ask(link: SeedLink) -> None:
        await link.peer.send(request(5, 0), "request 5 0")

    script = SeedScript(after_greeting=ask, unchokes=False)
    link = await case.link_to(await case.seed(script))
    await anyio.sleep(case.limit_s)
    return "data" if link.frames(FrameType.PIECE) else "no data"
