"""Rules of requests to a seed (BEP 3)."""

from typing import Final

import anyio

from torrent_engine.conformance.bencoding import parse_dictionary
from torrent_engine.conformance.case import (
    CLOSED,
    REJECTED,
    RIGHT,
    SILENT,
    WORKS,
    WRONG,
    Case,
)
from torrent_engine.conformance.errors import KitBencodeError, NotOfferedError, UndecidedError
from torrent_engine.conformance.frames import (
    BLOCK_BYTES,
    EXTENDED,
    FAST,
    FrameType,
    bencoded_payload,
    cancel,
    request,
)
from torrent_engine.conformance.raw_peer import RawPeer
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.verdicts import Level, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
NO_DATA: Final = {CLOSED: P, REJECTED: P, SILENT: N, "data": F}
MANY: Final = 250
SMALL_BYTES: Final = 512  # so that there are 2,560 different requests
MAX_REQQ: Final = 2_400  # ours: with a hundred more there are still different requests
MIB: Final = 1024 * 1024


@rule("BEP3-RQ-01", Level.STATED, 15, {RIGHT: P, WRONG: F, REJECTED: F, SILENT: F, CLOSED: F})
async def block_is_served(case: Case) -> str:
    """Answer a request with the block that it names.

    BEP 3: "'piece' messages contain an index, begin, and piece."
    """
    return await case.ask(await case.unchoked())


@rule("BEP3-RQ-02", Level.STATED, 10, {RIGHT: P, WRONG: F, REJECTED: N, SILENT: N, CLOSED: N})
async def part_of_a_block_is_served(case: Case) -> str:
    """Serve any range of a piece that is not too long.

    BEP 3: begin and length "are byte offsets. Length is generally a power of two".
    """
    return await case.ask(await case.unchoked(), 0, 100, 1_000)


@rule("BEP3-RQ-03", Level.STATED, 10, {RIGHT: P, WRONG: F, REJECTED: F, SILENT: F, CLOSED: F})
async def last_block_is_short(case: Case) -> str:
    """Serve the last block with the length that is left of it.

    BEP 3: "a power of two unless it gets truncated by the end of the file".
    """
    last = case.torrent.piece_count - 1
    begin = case.torrent.piece_length(last) // BLOCK_BYTES * BLOCK_BYTES
    left = case.torrent.piece_length(last) - begin
    return await case.ask(await case.unchoked(), last, begin, left)


@rule(
    "BEP3-RQ-04",
    Level.STATED,
    10,
    {CLOSED: P, "served": N, SILENT: N, REJECTED: N, WRONG: F},
)
async def long_request_ends_the_connection(case: Case) -> str:
    """Close a connection that requests more than 16 KiB at once.

    BEP 3: "All current implementations use 2^14 (16 kiB), and close connections which request an
    amount greater than that."
    """
    return await _ask_for_32_kib(case, await case.unchoked())


@rule(
    "BEP3-RQ-05",
    Level.STATED,
    10,
    {REJECTED: P, CLOSED: P, "served": N, WRONG: F, SILENT: F},
)
async def long_request_is_rejected_with_fast(case: Case) -> str:
    """Reject a request of more than 16 KiB, or close, when the Fast extension is on.

    BEP 6: "every request is guaranteed to result in EXACTLY ONE response".
    """
    peer = await case.unchoked(FAST)
    _must_have_fast(peer)
    return await _ask_for_32_kib(case, peer)


async def _ask_for_32_kib(case: Case, peer: RawPeer) -> str:
    answer = await case.ask_badly(peer, 2, 0, 2 * BLOCK_BYTES)
    if answer != "data":
        return answer
    pieces = [each for each in peer.seen if each.number == FrameType.PIECE and each.words[0] == 2]
    is_right = all(case.is_right(each) for each in pieces)
    return "served" if is_right else WRONG


def _must_have_fast(peer: RawPeer) -> None:
    if peer.greeting is None or not peer.greeting.reserved[7] & FAST[7]:
        raise NotOfferedError("the Fast extension is not offered")


@rule("BEP3-RQ-06", Level.ROBUST, 10, NO_DATA)
async def request_of_more_than_128_kib(case: Case) -> str:
    """Send no data for a request of more than 128 KiB.

    No BEP states this limit.
    """
    return await case.ask_badly(await case.unchoked(), 2, 0, 131_073)


@rule("BEP3-RQ-07", Level.ROBUST, 10, NO_DATA)
async def request_of_no_piece(case: Case) -> str:
    """Send no data for a request of a piece that does not exist.

    No BEP states what follows.
    """
    return await case.ask_badly(await case.unchoked(), case.torrent.piece_count, 0, BLOCK_BYTES)


@rule("BEP3-RQ-08", Level.ROBUST, 10, NO_DATA)
async def request_across_the_end_of_a_piece(case: Case) -> str:
    """Send no data for a request that ends behind its piece.

    No BEP states what follows.
    """
    begin = case.torrent.piece_bytes - BLOCK_BYTES // 2
    return await case.ask_badly(await case.unchoked(), 2, begin, BLOCK_BYTES)


@rule("BEP3-RQ-09", Level.ROBUST, 10, NO_DATA)
async def request_across_the_end_of_the_payload(case: Case) -> str:
    """Send no data for a request that ends behind the last byte.

    No BEP states what follows.
    """
    last = case.torrent.piece_count - 1
    begin = case.torrent.piece_length(last) // BLOCK_BYTES * BLOCK_BYTES
    return await case.ask_badly(await case.unchoked(), last, begin, BLOCK_BYTES)


@rule("BEP3-RQ-10", Level.ROBUST, 10, {CLOSED: P, REJECTED: P, SILENT: P, "data": N})
async def request_of_nothing(case: Case) -> str:
    """Send no piece for a request of length 0.

    No BEP states it.
    """
    return await case.ask_badly(await case.unchoked(), 2, 0, 0)


@rule("BEP3-RQ-11", Level.ROBUST, 10, NO_DATA)
async def request_whose_end_overflows(case: Case) -> str:
    """Send no data for a request whose begin and length add up to more than 32 bits.

    No BEP states it; a program that adds in 32 bits serves bytes of another place.
    """
    return await case.ask_badly(await case.unchoked(), 2, 0xFFFF_C000, BLOCK_BYTES)


@rule("BEP3-RQ-12", Level.STATED, 10, {SILENT: P, CLOSED: N, WRONG: F, RIGHT: F, REJECTED: F})
async def nothing_is_served_while_choked(case: Case) -> str:
    """Send no data to a choked peer.

    BEP 3: "Choking is a notification that no data will be sent until unchoking happens."
    """
    peer = await case.greet()
    answer = await case.ask(peer)
    if peer.is_unchoked or any(each.number == FrameType.UNCHOKE for each in peer.seen):
        raise UndecidedError("unchoked without being asked")
    return answer


@rule("BEP3-RQ-14", Level.CONV, 30, {"all": P, "fewer": F})
async def many_requests_at_once(case: Case) -> Outcome:
    """Answer 250 requests that come at once.

    No BEP states the number; it is what programs take for granted (BEP 10, "reqq": 250).
    """
    peer = await case.unchoked()
    right = await _flood(case, peer, MANY)
    return Outcome("all" if right == MANY else "fewer", f"{right} of {MANY}")


@rule("BEP3-RQ-15", Level.CONV, 30, {"as many as promised": P, "fewer": F})
async def as_many_requests_as_promised(case: Case) -> Outcome:
    """Answer as many outstanding requests as you announce.

    BEP 10, reqq: "the number of outstanding request messages this client supports without dropping
    any".
    """
    peer = await case.greet(EXTENDED)
    frame = await peer.wait_for(lambda each: each.number == FrameType.EXTENDED, case.limit_s / 3)
    promised = _reqq(bencoded_payload(frame)) if frame else None
    if promised is None:
        raise NotOfferedError("no reqq")
    await case.wait_unchoked(peer)
    right = await _flood(case, peer, promised + 100)
    name = "as many as promised" if right >= promised else "fewer"
    return Outcome(name, f"{right}, reqq {promised}")


def _reqq(payload: bytes) -> int | None:
    try:
        value = parse_dictionary(payload).get(b"reqq")
    except KitBencodeError:
        return None
    return value if isinstance(value, int) and 0 < value <= MAX_REQQ else None


async def _flood(case: Case, peer: RawPeer, count: int) -> int:
    """Send different requests in one segment; return how many right blocks came."""
    per_piece = case.torrent.piece_bytes // SMALL_BYTES
    full = (case.torrent.piece_count - 1) * per_piece
    places = [divmod(number % full, per_piece) for number in range(count)]
    data = b"".join(request(index, block * SMALL_BYTES, SMALL_BYTES) for index, block in places)
    await peer.send(data, f"{count} requests")
    right = 0
    while right < count:
        frame = await peer.wait_for(
            lambda each: each.number == FrameType.PIECE, 5.0 * case.patience
        )
        if frame is None:
            break
        right += case.is_right(frame, SMALL_BYTES)
    return right


@rule("BEP3-RQ-16", Level.STATED, 10, {WORKS: P, CLOSED: F, WRONG: F})
async def cancels_are_taken(case: Case) -> str:
    """Take cancels of requests that are under way.

    BEP 3: "'cancel' messages have the same payload as request messages."
    """
    peer = await case.unchoked()
    places = [(index, begin) for index in range(1, 14) for begin in range(0, 65_536, BLOCK_BYTES)]
    requests = b"".join(request(*place) for place in places[:50])
    cancels = b"".join(cancel(*place) for place in places[:50])
    await peer.send(requests + cancels, "50 requests and their cancels")
    return await case.reaction(peer)


@rule("BEP3-RQ-17", Level.ROBUST, 5, {WORKS: P, CLOSED: N})
async def cancel_of_nothing(case: Case) -> str:
    """Ignore the cancel of a request that was never made.

    No BEP states it: a cancel may cross the piece that it is about.
    """
    peer = await case.greet()
    await peer.send(cancel(0, 0), "cancel 0 0")
    return await case.reaction(peer)


@rule("BEP3-RQ-18", Level.INFO, 10, {"1": P, "2": P, "3": P, "0": P})
async def three_equal_requests(case: Case) -> str:
    """Record how many pieces three equal requests get without the Fast extension."""
    peer = await case.unchoked()
    await peer.send(request(2, 0) * 3, "three times request 2 0")
    await peer.watch(3.0 * case.patience)
    return str(sum(each.number == FrameType.PIECE for each in peer.seen))


@rule(
    "BEP3-RQ-19",
    Level.ROBUST,
    75,
    {"served": P, "not served": F, "memory grew": F},
    is_alone=True,
)
async def peer_that_does_not_read(case: Case) -> Outcome:
    """Serve others, with little memory, while a peer requests and does not read.

    No BEP states it.
    """
    idle = await case.unchoked()
    before = case.subject.rss_bytes()
    blocks = [request(number % 20, 0) for number in range(500)]
    await idle.send(b"".join(blocks), "500 requests, and nothing is read")
    await anyio.sleep(60.0)
    other = await case.connect(another_address=True)
    await other.send(case.greeting(other), "handshake")
    await case.expect_greeting(other)
    if await case.reaction(other) != WORKS:
        return Outcome("not served")
    grown = (case.subject.rss_bytes() or 0) - (before or 0)
    if before is not None and grown > 20 * MIB:
        return Outcome("memory grew", f"by {grown // MIB} MiB")
    return Outcome("served")


@rule("BEP3-RQ-20", Level.ROBUST, 60, {"right": P, CLOSED: P, WRONG: F})
async def peer_that_reads_a_byte_a_second(case: Case) -> str:
    """Send the right blocks to a peer that reads a byte a second, or close.

    No BEP states it.
    """
    peer = await case.unchoked()
    requests = [request(number % 20, number // 20 * BLOCK_BYTES) for number in range(60)]
    await peer.send(b"".join(requests), "60 requests")
    for _ in range(30):
        await peer.receive_a_little(1)
        await anyio.sleep(1.0)
    await peer.watch(10.0 * case.patience)
    pieces = [each for each in peer.seen if each.number == FrameType.PIECE]
    if not all(case.is_right(each, BLOCK_BYTES) for each in pieces):
        return WRONG
    return CLOSED if peer.is_closed else "right"
