"""Rules of message framing (BEP 3) for a seed."""

import random
from typing import Final

import anyio

from torrent_engine.conformance.case import (
    CLOSED,
    IGNORED_OR_CLOSED,
    RIGHT,
    SILENT,
    WORKS,
    WRONG,
    Case,
    is_answer,
)
from torrent_engine.conformance.frames import (
    INTERESTED,
    KEEPALIVE,
    MAX_INDEX,
    NOT_INTERESTED,
    FrameType,
    have,
    message,
    request,
)
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.verdicts import Level, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
MIB: Final = 1024 * 1024
HUGE: Final = 20 * MIB
KEEPALIVE_S: Final = 125.0
TEN: Final = 10
TWO_MINUTES_S: Final = 120.0


@rule("BEP3-FR-01", Level.STATED, 5, {WORKS: P, CLOSED: F})
async def keepalives_are_ignored(case: Case) -> str:
    """Ignore keepalives, ten in a row too.

    BEP 3: "Messages of length zero are keepalives, and ignored."
    """
    peer = await case.greet()
    await peer.send(KEEPALIVE * 10, "ten keepalives")
    return await case.reaction(peer)


@rule("BEP3-FR-02", Level.STATED, 180, {"keepalive": P, CLOSED: N, "none": F})
async def keepalive_comes_every_two_minutes(case: Case) -> str:
    """Send a keepalive every two minutes when there is nothing else to send.

    BEP 3: "Keepalives are generally sent once every two minutes".
    """
    peer = await case.greet()
    start = anyio.current_time()
    while (left := start + case.limit_s - anyio.current_time()) > 0 and not peer.is_closed:
        await peer.send(KEEPALIVE, "keepalive")
        if await peer.wait_for(lambda each: each.number < 0, min(left, 45 * case.patience)):
            took = anyio.current_time() - start
            return "keepalive" if took <= KEEPALIVE_S * case.patience else "none"
    return CLOSED if peer.is_closed else "none"


@rule("BEP3-FR-03", Level.CONV, 5, {WORKS: P, CLOSED: N, WRONG: F})
async def unknown_message_is_ignored(case: Case) -> str:
    """Ignore a message with an unknown number.

    No BEP states it; extensions before BEP 10 relied on it.
    """
    peer = await case.greet()
    await peer.send(message(25, b"abc"), "message 25")
    return await case.reaction(peer)


@rule(
    "BEP3-FR-04",
    Level.ROBUST,
    15,
    {"closed in 5 s": P, "closed later": N, "left open": N, "memory grew": F},
    is_destructive=True,
)
async def length_of_four_gib_is_refused(case: Case) -> Outcome:
    """Close a connection that announces a message of 4 GiB; take no memory for it.

    No BEP states it.
    """
    return await _after_a_long_prefix(case, MAX_INDEX, peer_closes_in=5 * case.patience)


@rule(
    "BEP3-FR-05",
    Level.ROBUST,
    20,
    {"closed in 5 s": P, "closed later": P, "left open": N, "memory grew": F},
    is_destructive=True,
)
async def length_of_twenty_mib_is_refused(case: Case) -> Outcome:
    """Close a connection that announces a message of 20 MiB; take no memory for it.

    No BEP states it.
    """
    return await _after_a_long_prefix(case, HUGE, peer_closes_in=5 * case.patience)


async def _after_a_long_prefix(case: Case, length: int, *, peer_closes_in: float) -> Outcome:
    peer = await case.greet()
    before = case.subject.rss_bytes()
    await peer.send(length.to_bytes(4, "big") + b"\x07", f"length {length}, number 7")
    if await peer.wait_closed(peer_closes_in):
        return Outcome("closed in 5 s")
    end = anyio.current_time() + case.limit_s - peer_closes_in
    while anyio.current_time() < end and not peer.is_closed:
        await peer.send(b"x")
        await peer.watch(1.0)
    grown = (case.subject.rss_bytes() or 0) - (before or 0)
    if before is not None and grown > HUGE * 3 // 4:
        return Outcome("memory grew", f"by {grown // MIB} MiB")
    return Outcome("closed later" if peer.is_closed else "left open")


@rule("BEP3-FR-06", Level.ROBUST, 5, IGNORED_OR_CLOSED)
async def have_of_three_bytes(case: Case) -> str:
    """Close or ignore "have" with three bytes.

    No BEP states what follows; BEP 3: its payload "is a single number".
    """
    peer = await case.greet()
    await peer.send(message(FrameType.HAVE, bytes(3)), "have of 3 bytes")
    return await case.reaction(peer)


@rule("BEP3-FR-07", Level.ROBUST, 5, IGNORED_OR_CLOSED)
async def payload_where_there_is_none(case: Case) -> str:
    """Close or ignore "choke" and "interested" with a payload.

    BEP 3: they "have no payload"; what follows is not stated.
    """
    peer = await case.greet()
    await peer.send(message(FrameType.INTERESTED, b"12345"), "interested with 5 bytes")
    await peer.send(message(FrameType.CHOKE, b"x"), "choke with 1 byte")
    return await case.reaction(peer)


@rule("BEP3-FR-08", Level.ROBUST, 5, {"no data": P, "data": F})
async def request_of_a_wrong_length(case: Case) -> str:
    """Send no data for a request of 11 or 13 bytes.

    No BEP states what follows.
    """
    for length in (11, 13):
        peer = await case.unchoked()
        payload = (request(2, 0)[5:] + b"\0")[:length]
        await peer.send(message(FrameType.REQUEST, payload), f"request of {length} bytes")
        await case.reaction(peer)
        if any(is_answer(each, 2, 0) and each.number == FrameType.PIECE for each in peer.seen):
            return "data"
        await peer.close()
    return "no data"


@rule("BEP3-FR-09", Level.ROBUST, 10, {RIGHT: P, WRONG: F, CLOSED: F, SILENT: F})
async def thousand_messages_in_one_segment(case: Case) -> str:
    """Take a thousand messages that come at once, and one that is cut in the middle.

    No BEP states it: TCP has no message boundaries.
    """
    peer = await case.unchoked()
    many = b"".join(have(number % 10) if number % 2 else KEEPALIVE for number in range(1_000))
    last = request(3, 0)
    await peer.send(many + last[:9], "1,000 messages and a half")
    await anyio.sleep(0.2)
    await peer.send(last[9:], "the other half: request 3 0")
    return await case.answer(peer, 3, 0)


@rule("BEP3-FR-10", Level.ROBUST, 10, {RIGHT: P, WRONG: F, CLOSED: F, SILENT: F})
async def length_in_two_segments(case: Case) -> str:
    """Take a length that comes in two segments, two seconds apart.

    No BEP states it: TCP has no message boundaries.
    """
    peer = await case.unchoked()
    data = request(4, 0)
    await peer.send(data[:2], "2 bytes of a length")
    await anyio.sleep(2.0)
    await peer.send(data[2:], "the rest of request 4 0")
    return await case.answer(peer, 4, 0)


@rule(
    "BEP3-FR-11",
    Level.ROBUST,
    20,
    {CLOSED: P, "left open": P},
    is_alone=True,
    is_destructive=True,
)
async def random_bytes_do_no_harm(case: Case) -> str:
    """Survive ten megabytes of random bytes after the handshake.

    No BEP states it; the sanity case shows what is left.
    """
    peer = await case.greet()
    noise = random.Random("noise")  # noqa: S311 - the same bytes every time
    with anyio.move_on_after(case.limit_s):
        for _ in range(160):
            if peer.is_closed:
                break
            await peer.send(noise.randbytes(65_536), "64 KiB of random bytes")
    return CLOSED if await peer.wait_closed(1.0) else "left open"


@rule("BEP3-FR-12", Level.ROBUST, 15, {"served": P, "starved": F}, is_alone=True)
async def keepalive_flood_starves_nobody(case: Case) -> str:
    """Serve another peer while one sends fifty thousand keepalives a second.

    No BEP states it.
    """
    flooder = await case.greet()
    other = await case.connect(another_address=True)
    await other.send(case.greeting(other), "handshake")
    await case.expect_greeting(other)
    await case.wait_unchoked(other)
    answers = []

    async def flood() -> None:
        for _ in range(20):
            await flooder.send(KEEPALIVE * 5_000, "5,000 keepalives")
            await anyio.sleep(0.1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(flood)
        await anyio.sleep(0.5)
        with anyio.move_on_after(5.0 * case.patience):
            answers.append(await case.ask(other))
    return "served" if answers == [RIGHT] else "starved"


@rule("BEP3-CI-05", Level.MUST, 15, {"never": P, "interested": F})
async def a_seed_is_not_interested(case: Case) -> str:
    """Never be interested when you have everything.

    BEP 3: "whenever a downloader doesn't have something they currently would ask a peer for in
    unchoked, they must express lack of interest".
    """
    peer = await case.greet()
    await peer.send(have(0), "have 0")
    frame = await peer.wait_for(lambda each: each.number == FrameType.INTERESTED, case.limit_s)
    return "interested" if frame else "never"


@rule(
    "BEP3-CI-06",
    Level.STATED,
    60,
    {"unchoked in 30 s": P, "unchoked in 60 s": N, "not unchoked": Verdict.INCONCLUSIVE},
)
async def interested_peer_is_unchoked(case: Case) -> Outcome:
    """Unchoke an interested peer within a round or two while slots are free.

    BEP 3: "only changing who's choked once every ten seconds"; "at any one time there is a single
    peer which is unchoked regardless of its upload rate".
    """
    peer = await case.greet()
    start = anyio.current_time()
    await peer.send(INTERESTED, "interested")
    if not await peer.wait_for(lambda each: each.number == FrameType.UNCHOKE, case.limit_s):
        return Outcome("not unchoked")
    took = anyio.current_time() - start
    name = "unchoked in 30 s" if took <= 30 * case.patience else "unchoked in 60 s"
    return Outcome(name, f"after {took:.1f} s")


@rule("BEP3-CI-07", Level.INFO, 15, {"stays choked": P, "unchoked": P})
async def peer_without_interest(case: Case) -> str:
    """Record whether a peer that is not interested is unchoked."""
    peer = await case.greet()
    frame = await peer.wait_for(lambda each: each.number == FrameType.UNCHOKE, case.limit_s)
    return "unchoked" if frame else "stays choked"


@rule("BEP3-CI-10", Level.ROBUST, 10, {"bounded": P, "more unchokes than changes": F, CLOSED: P})
async def interest_that_flickers(case: Case) -> str:
    """Answer a thousand changes of interest with no more unchokes.

    No BEP states it.
    """
    peer = await case.greet()
    await peer.send((INTERESTED + NOT_INTERESTED) * 1_000, "1,000 changes of interest")
    await peer.watch(min(5.0 * case.patience, case.limit_s))
    if peer.is_closed:
        return CLOSED
    unchokes = sum(each.number == FrameType.UNCHOKE for each in peer.seen)
    return "bounded" if unchokes <= 2_000 else "more unchokes than changes"


@rule("BEP3-CI-12", Level.INFO, 150, {"recorded": P})
async def changes_of_unchoked_peers(case: Case) -> Outcome:
    """Record how often ten interested peers are choked and unchoked in two minutes.

    BEP 3: a good algorithm "should avoid choking and unchoking quickly, known as 'fibrillation'".
    """
    peers = [await case.greet(another_address=True) for _ in range(TEN)]
    async with anyio.create_task_group() as tasks:
        for each in peers:
            await each.send(INTERESTED, "interested")
            tasks.start_soon(each.watch, TWO_MINUTES_S)
    kinds = {FrameType.CHOKE, FrameType.UNCHOKE}
    counts = [sum(frame.number in kinds for frame in each.seen) for each in peers]
    return Outcome("recorded", f"{counts} changes in {TWO_MINUTES_S:.0f} s")
