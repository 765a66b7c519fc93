"""Rules of the HTTP that trackers speak: redirects, encodings, and answers without end.

No BEP says which part of HTTP a client has to know.
"""

import gzip
from typing import Final

from anyio.abc import ByteStream

from torrent_engine.conformance.errors import UndecidedError
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.swarm.http_tracker import (
    KitHttpAnnounce,
    ResponseFunction,
    http_response,
)
from torrent_engine.conformance.swarm.kit_seed import SeedScript
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
CLIENT: Final = Role.HTTP_TRACKER_CLIENT
STATUSES: Final = (301, 302, 307)
CHUNK: Final = bytes(65_536)
MAX_BYTES: Final = 256 * 1024 * 1024  # several times what sockets of the system hold
BLANK: Final = b"\r\n\r\n"


@rule("BEP3-TK-16", Level.CONV, 60, {"followed": P, "not followed": F}, role=CLIENT)
async def redirects(case: SwarmCase) -> str:
    """Follow redirects with the statuses 301, 302 and 307.

    No BEP states it. Each path ends with "announce": some programs ask their own machine
    for nothing else.
    """
    places = ["/announce", *(f"/{status}/announce" for status in STATUSES)]

    async def respond(stream: ByteStream, announce: KitHttpAnnounce, body: bytes) -> None:
        number = places.index(announce.path) if announce.path in places else len(STATUSES)
        if number == len(STATUSES):
            await stream.send(http_response(body))
            return
        place = f"{places[number + 1]}?{announce.raw_query}"
        head = f"HTTP/1.1 {STATUSES[number]} Moved\r\nLocation: {place}\r\nContent-Length: 0\r\n"
        await stream.send(head.encode() + b"Connection: close" + BLANK)

    seed = await case.seed(SeedScript(unchokes=False))
    case.tracker.respond = respond
    await case.start()
    return "followed" if await case.dials(seed, case.limit_s) else "not followed"


async def _in_chunks(stream: ByteStream, _: KitHttpAnnounce, body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close" + BLANK
    chunks = (b"%x\r\n%b\r\n" % (len(each), each) for each in (body[:7], body[7:]))
    await stream.send(head + b"".join(chunks) + b"0" + BLANK)


async def _until_the_end(stream: ByteStream, _: KitHttpAnnounce, body: bytes) -> None:
    await stream.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain" + BLANK + body)


async def _zipped(stream: ByteStream, announce: KitHttpAnnounce, body: bytes) -> None:
    if b"gzip" not in announce.head.lower():
        await stream.send(http_response(body))
        return
    packed = gzip.compress(body)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n" % len(packed)
    await stream.send(head + b"Connection: close" + BLANK + packed)


FORMS: Final[dict[str, ResponseFunction]] = {
    "chunked": _in_chunks,
    "HTTP/1.0 without a length": _until_the_end,
    "gzip": _zipped,
}


@rule("BEP3-TK-17", Level.CONV, 90, {"understood": P, "not understood": F}, role=CLIENT)
async def forms_of_an_answer(case: SwarmCase) -> Outcome:
    """Read answers in chunks, answers that end with the connection, and zipped ones if asked for.

    No BEP states it.
    """
    for name, respond in FORMS.items():
        seed = await case.seed(SeedScript(unchokes=False))
        case.tracker.respond = respond
        await case.start()
        if not await case.dials(seed, case.limit_s / len(FORMS)):
            return Outcome("not understood", name)
        await case.end()
    return Outcome("understood")


@rule("BEP3-TK-18", Level.ROBUST, 60, {"cut off": P, "read to the end": N}, role=CLIENT)
async def answer_without_end(case: SwarmCase) -> Outcome:
    """Stop reading an answer that does not end.

    No BEP states it; 256 MiB are sent, and memory that grows with them is a crash.
    """
    sent: list[int] = []

    async def respond(stream: ByteStream, _: KitHttpAnnounce, body: bytes) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain" + BLANK)
        sent.append(0)
        place = len(sent) - 1  # of this answer: there is another for each announce
        while sent[place] < MAX_BYTES:
            await stream.send(CHUNK)
            sent[place] += len(CHUNK)
        is_read.append(True)

    is_read: list[bool] = []
    case.tracker.respond = respond
    await case.start()
    await case.announces()
    if await case.until(lambda: bool(is_read), case.limit_s):
        return Outcome("read to the end")
    if not case.program.is_running():
        raise UndecidedError("the program ended")
    return Outcome("cut off", f"after {max(sent)} bytes")
