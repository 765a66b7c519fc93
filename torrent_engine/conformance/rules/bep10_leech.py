"""Rules of the extension protocol (BEP 10) for a downloading program."""

from typing import Final

import anyio

from torrent_engine.conformance.bencoding import Bencodable
from torrent_engine.conformance.errors import NotOfferedError, UndecidedError
from torrent_engine.conformance.extensions import (
    Dictionary,
    content_of,
    is_handshake,
    number_of,
    own_handshake,
)
from torrent_engine.conformance.frames import EXTENDED, FrameType
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.swarm.kit_seed import (
    AskedBlock,
    LinkFunction,
    SeedLink,
    SeedScript,
)
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
LEECH: Final = Role.LEECH
PEX_ID: Final = 5
METADATA_ID: Final = 6
HANDSHAKE_S: Final = 10.0
SLOW_S: Final = 0.2


def say(**keys: Bencodable) -> LinkFunction:
    """Return what sends an extended handshake with such keys beside "m"."""

    async def greet(link: SeedLink) -> None:
        await link.peer.send(own_handshake({}, **keys), f"extended handshake {keys}")

    return greet


async def their_handshake(case: SwarmCase, link: SeedLink) -> Dictionary:
    """Wait for their extended handshake. Raises NotOfferedError, UndecidedError."""
    if not link.is_extended:
        raise NotOfferedError("the extension protocol is not offered")

    def is_there() -> bool:
        return any(map(is_handshake, link.peer.seen))

    if not await case.until(is_there, HANDSHAKE_S):
        raise UndecidedError("no extended handshake came")
    return content_of(next(filter(is_handshake, link.peer.seen)))


@rule("BEP10-EX-06", Level.STATED, 15, {"its port": P, "another": F}, role=LEECH)
async def listening_port_is_told(case: SwarmCase) -> Outcome:
    """Name the port that you listen at, if you name one.

    BEP 10, p: "Local TCP listen port. Allows each side to learn about the TCP port number of the
    other side."
    """
    link = await case.link_to(await case.seed(SeedScript(reserved=EXTENDED)))
    port = (await their_handshake(case, link)).get(b"p")
    if port is None:
        raise NotOfferedError("no p")
    return Outcome("its port" if port == case.program.port else "another", f"{port!r}")


@rule(
    "BEP10-EX-14", Level.SHOULD, 150, {"same number": P, "other number": F, "none": F}, role=LEECH
)
async def numbers_are_added(case: SwarmCase) -> Outcome:
    """Keep the numbers of the first handshake when a second one names other extensions.

    BEP 10: "it should note that the m dictionary is additive. It's enough that it contains the
    actual CHANGES to the extension list."
    """

    async def greet_twice(link: SeedLink) -> None:
        await link.peer.send(own_handshake({b"ut_pex": PEX_ID}), "handshake with ut_pex")
        await anyio.sleep(1.0)
        await link.peer.send(own_handshake({b"ut_metadata": METADATA_ID}), "with ut_metadata")

    some = range(case.torrent.piece_count // 2)  # a finished download leaves its seeds
    script = SeedScript(reserved=EXTENDED, pieces=some, unchokes=False, after_greeting=greet_twice)
    seed = await case.seed(script)
    named = SeedScript(reserved=EXTENDED, pieces=some, unchokes=False, after_greeting=say())
    await case.seed(named)
    link = await case.link_to(seed)
    number_of(await their_handshake(case, link), b"ut_pex")

    def numbers() -> set[int]:
        found = link.frames(FrameType.EXTENDED)
        return {each.payload[0] for each in found if each.payload} - {0}

    await case.until(lambda: bool(numbers()) or link.peer.is_closed, case.limit_s)
    if link.peer.is_closed and not numbers():
        raise UndecidedError("it closed the connection")
    name = "same number" if numbers() == {PEX_ID} else "other number"
    return Outcome(name if numbers() else "none", str(numbers()))


@rule("BEP10-EX-21", Level.CONV, 30, {"one": P, "up to 5": N, "more": F}, role=LEECH)
async def reqq_of_one(case: SwarmCase) -> Outcome:
    """Have no more requests outstanding than the peer says it supports.

    BEP 10, reqq: "the number of outstanding request messages this client supports without dropping
    any."
    """
    waiting: list[AskedBlock] = []
    most = 0

    async def queue(_: SeedLink, asked: AskedBlock) -> None:
        nonlocal most
        waiting.append(asked)
        most = max(most, len(waiting))

    async def greet_and_answer(link: SeedLink) -> None:
        await say(reqq=1)(link)
        await anyio.sleep(1.0)
        await link.unchoke()
        while True:
            await anyio.sleep(SLOW_S)
            if waiting:
                await link.send_block(waiting.pop(0))

    script = SeedScript(
        reserved=EXTENDED, unchokes=False, answer=queue, after_greeting=greet_and_answer
    )
    seed = await case.seed(script)
    link = await case.first_request(seed)
    await their_handshake(case, link)
    await case.until(lambda: len(seed.requests) > 10 or most > 5, case.limit_s)
    return Outcome("one" if most <= 1 else "up to 5" if most <= 5 else "more", f"{most} at once")


@rule("BEP10-EX-22", Level.ROBUST, 60, {"requests": P, "none": F}, role=LEECH)
async def odd_reqq(case: SwarmCase) -> Outcome:
    """Request of peers whose "reqq" is zero, negative, or huge.

    No BEP states it.
    """
    odd = (0, -5, 2**40)
    scripts = [SeedScript(reserved=EXTENDED, after_greeting=say(reqq=each)) for each in odd]
    third = case.torrent.piece_count // len(odd)
    seeds = [
        await case.seed(
            SeedScript(
                reserved=EXTENDED,
                after_greeting=each.after_greeting,
                pieces=range(number * third, (number + 1) * third),
            )
        )
        for number, each in enumerate(scripts)
    ]
    await case.start()
    links = [await case.link_of(each) for each in seeds]
    await their_handshake(case, links[0])
    await case.until(lambda: all(each.requests for each in seeds), case.limit_s)
    silent = [reqq for reqq, seed in zip(odd, seeds, strict=True) if not seed.requests]
    return Outcome("none" if silent else "requests", f"none with {silent}" if silent else "")
