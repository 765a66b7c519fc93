"""Rules of the Fast extension (BEP 6) for a seed."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from torrent_engine.conformance.case import (
    CLOSED,
    GRACE_S,
    IGNORED_OR_CLOSED,
    REJECTED,
    RIGHT,
    SILENT,
    WRONG,
    Case,
    is_answer,
)
from torrent_engine.conformance.errors import NotOfferedError, UndecidedError
from torrent_engine.conformance.frames import (
    BLOCK_BYTES,
    EXTENDED,
    FAST,
    FAST_EXTENDED,
    HAVE_ALL,
    HAVE_NONE,
    NOT_INTERESTED,
    FrameType,
    cancel,
    have,
    message,
    piece,
    reject,
    request,
    with_words,
)
from torrent_engine.conformance.raw_peer import RawPeer
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.verdicts import Level, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
OPEN: Final = "left open"
CLOSES: Final = {CLOSED: P, OPEN: F}
EACH_ONCE: Final = {"each once": P, "fewer answers": F, "more answers": F, WRONG: F}
ANNOUNCES: Final = frozenset({FrameType.BITFIELD, FrameType.HAVE_ALL, FrameType.HAVE_NONE})
MANY: Final = 80
FLOOD: Final = 5_000
BlockStart = tuple[int, int]


async def fast_peer(case: Case, reserved: bytes = FAST) -> RawPeer:
    """Exchange handshakes with the bit set. Raises NotOfferedError, UndecidedError."""
    peer = await case.greet(reserved)
    if peer.greeting is None or not peer.greeting.reserved[7] & FAST[7]:
        raise NotOfferedError("the Fast extension is not offered")
    return peer


async def _unchoked_fast_peer(case: Case) -> RawPeer:
    peer = await fast_peer(case)
    await case.wait_unchoked(peer)
    return peer


@rule("BEP6-FE-01", Level.INFO, 10, {"offered": P})
async def fast_is_offered(case: Case) -> str:
    """Record whether the bit of the Fast extension is set."""
    await fast_peer(case)
    return "offered"


@rule("BEP6-FE-02", Level.MUST, 15, {"exactly one": P, "none": F, "more than one": F})
async def one_announcement_of_pieces(case: Case) -> Outcome:
    """Send exactly one of "have all", "have none" and bitfield.

    BEP 6: "Exactly one of Have All, Have None, or Have Bitfield MUST appear".
    """
    peer = await fast_peer(case, FAST_EXTENDED)
    await peer.wait_for(lambda each: each.number in ANNOUNCES, case.limit_s)
    await peer.watch(2.0 * case.patience)
    found = [each.describe() for each in peer.seen if each.number in ANNOUNCES]
    name = "more than one" if len(found) > 1 else "exactly one" if found else "none"
    return Outcome(name, ", ".join(found))


@rule(
    "BEP6-FE-03",
    Level.MUST,
    10,
    {"first": P, "after an extended handshake": N, "after other messages": F, "none": F},
)
async def announcement_of_pieces_comes_first(case: Case) -> str:
    """Send "have all", "have none" or the bitfield immediately after the handshake.

    BEP 6: it "MUST appear and only immediately after the handshake". BEP 10 wants the same place
    for its own handshake.
    """
    peer = await fast_peer(case, FAST_EXTENDED)
    await peer.wait_for(lambda each: each.number in ANNOUNCES, case.limit_s)
    numbers = [each.number for each in peer.seen]
    first = next((place for place, each in enumerate(numbers) if each in ANNOUNCES), None)
    if first is None:
        return "none"
    if not numbers[:first]:
        return "first"
    is_usual = set(numbers[:first]) == {FrameType.EXTENDED}
    return "after an extended handshake" if is_usual else "after other messages"


@rule("BEP6-FE-05", Level.MUST, 5, CLOSES)
async def have_all_without_fast(case: Case) -> str:
    """Close on "have all" when the extension is off.

    BEP 6: "When the fast extension is disabled, if a peer receives Have All or Have None then the
    peer MUST close the connection."
    """
    return await _after(case, await case.greet(), HAVE_ALL, "have all")


@rule("BEP6-FE-06", Level.MUST, 5, CLOSES)
async def have_none_without_fast(case: Case) -> str:
    """Close on "have none" when the extension is off.

    BEP 6: "When the fast extension is disabled, if a peer receives Have All or Have None then the
    peer MUST close the connection."
    """
    return await _after(case, await case.greet(), HAVE_NONE, "have none")


@rule("BEP6-FE-07", Level.MUST, 5, CLOSES)
async def suggest_without_fast(case: Case) -> str:
    """Close on "suggest piece" when the extension is off.

    BEP 6: "When the fast extension is disabled, if a peer receives a Suggest Piece message, the
    peer MUST close the connection."
    """
    return await _after(case, await case.greet(), with_words(FrameType.SUGGEST, 0), "suggest 0")


@rule("BEP6-FE-08", Level.MUST, 5, CLOSES)
async def reject_without_fast(case: Case) -> str:
    """Close on "reject request" when the extension is off.

    BEP 6: "If the fast extension is disabled and a peer receives a reject request then the peer
    MUST close the connection."
    """
    return await _after(case, await case.greet(), reject(0, 0), "reject 0 0")


@rule("BEP6-FE-09", Level.MUST, 5, CLOSES)
async def allowed_fast_without_fast(case: Case) -> str:
    """Close on "allowed fast" when the extension is off.

    BEP 6: "When the fast extension is disabled, if a peer recieves an Allowed Fast message then
    the peer MUST close the connection."
    """
    data = with_words(FrameType.ALLOWED_FAST, 0)
    return await _after(case, await case.greet(), data, "allowed fast 0")


async def _after(case: Case, peer: RawPeer, data: bytes, note: str) -> str:
    """Send a message after which the connection has to end; return whether it did."""
    await peer.send(data, note)
    return CLOSED if await peer.wait_closed(case.limit_s) else OPEN


@rule("BEP6-FE-10", Level.STATED, 20, {"none": P, "a message of the extension": F})
async def no_message_of_fast_without_its_bit(case: Case) -> Outcome:
    """Send no message of the extension to a peer that did not set its bit.

    BEP 6: "The extension is enabled only if both ends of the connection set this bit."
    """
    peer = await case.greet(EXTENDED)
    await case.reaction(peer)
    await case.ask_badly(peer, case.torrent.piece_count, 0, BLOCK_BYTES)
    strange = [each for each in peer.seen if 13 <= each.number <= 17]
    name = "a message of the extension" if strange else "none"
    return Outcome(name, ", ".join(each.describe() for each in strange[:3]))


@rule("BEP6-FE-11", Level.MUST, 30, EACH_ONCE)
async def every_request_has_one_answer(case: Case) -> Outcome:
    """Answer each of 80 requests exactly once, with the piece or a reject.

    BEP 6: "every request is guaranteed to result in EXACTLY ONE response which is either the
    corresponding reject or corresponding piece message".
    """
    peer = await _unchoked_fast_peer(case)
    places = _places(case, MANY)
    await peer.send(b"".join(request(*each) for each in places), f"{MANY} requests")
    return await _answered(case, peer, places)


@rule(
    "BEP6-FE-12",
    Level.MUST,
    10,
    {REJECTED: P, CLOSED: P, "data": F, SILENT: F, "rejected more than once": F},
)
async def wrong_request_is_rejected(case: Case) -> str:
    """Reject requests of a piece that does not exist and across the end of a piece, or close.

    BEP 6: "every request is guaranteed to result in EXACTLY ONE response".
    """
    begin = case.torrent.piece_bytes - BLOCK_BYTES // 2
    found = set()
    for index, offset in ((case.torrent.piece_count, 0), (2, begin)):
        peer = await _unchoked_fast_peer(case)
        answer = await case.ask_badly(peer, index, offset, BLOCK_BYTES)
        rejects = sum(is_answer(each, index, offset) for each in peer.seen)
        found.add("rejected more than once" if answer == REJECTED and rejects > 1 else answer)
        await peer.close()
    worst = [each for each in ("data", SILENT, "rejected more than once", CLOSED) if each in found]
    return worst[0] if worst else found.pop()


@rule("BEP6-FE-13", Level.SHOULD, 30, EACH_ONCE)
async def cancelled_requests_have_one_answer(case: Case) -> Outcome:
    """Answer each request that is cancelled, with the piece or a reject.

    BEP 6: "Even when a request is cancelled, the peer receiving the cancel should respond with
    either the corresponding reject or the corresponding piece".
    """
    peer = await _unchoked_fast_peer(case)
    places = _places(case, MANY)
    both = [*(request(*each) for each in places), *(cancel(*each) for each in places)]
    await peer.send(b"".join(both), f"{MANY} requests and their cancels")
    return await _answered(case, peer, places)


@rule("BEP6-FE-14", Level.MUST, 10, {"3": P, "2": N, "1": N, "0": F, "more": F, CLOSED: N})
async def equal_requests_have_an_answer_each(case: Case) -> str:
    """Answer three equal requests three times.

    BEP 6: "every request is guaranteed to result in EXACTLY ONE response".
    """
    peer = await _unchoked_fast_peer(case)
    await peer.send(request(2, 0) * 3, "three times request 2 0")
    count = (await _count_answers(case, peer, [(2, 0)] * 3))[2, 0]
    if not count and peer.is_closed:
        return CLOSED
    return str(count) if count <= 3 else "more"


@rule("BEP6-FE-15", Level.MUST, 120, EACH_ONCE)
async def choke_rejects_what_was_requested(case: Case) -> Outcome:
    """Answer every request that is outstanding when you choke: with a reject, or the piece.

    BEP 6: "If a peer sends a choke, it MUST reject all requests from the peer to whom the choke was
    sent except" those of the allowed fast set.
    """
    peer, places = await _choked_with_requests(case)
    return await _answered(case, peer, places)


@rule("BEP6-FE-16", Level.SHOULD, 120, {"choke first": P, "rejects first": N})
async def choke_comes_before_its_rejects(case: Case) -> str:
    """Send the choke before the rejects that go with it.

    BEP 6: "A peer SHOULD choke first and then reject requests so that the peer receiving the choke
    does not re-request the pieces."
    """
    peer, places = await _choked_with_requests(case)
    await _count_answers(case, peer, places)
    numbers = [each.number for each in peer.seen]
    if FrameType.REJECT not in numbers:
        raise UndecidedError("nothing was rejected")
    is_first = numbers.index(FrameType.CHOKE) < numbers.index(FrameType.REJECT)
    return "choke first" if is_first else "rejects first"


async def _choked_with_requests(case: Case) -> tuple[RawPeer, list[BlockStart]]:
    """Request much and lose interest in one segment: many programs choke such a peer."""
    peer = await _unchoked_fast_peer(case)
    places = _places(case, MANY)
    requests = b"".join(request(*each) for each in places)
    await peer.send(requests + NOT_INTERESTED, f"{MANY} requests, not interested")
    if not await peer.wait_for(lambda each: each.number == FrameType.CHOKE, case.limit_s):
        raise UndecidedError("never choked")
    before = [each.number for each in peer.seen]
    if before[: before.index(FrameType.CHOKE)].count(FrameType.PIECE) >= MANY:
        raise UndecidedError("choked when nothing was outstanding")
    return peer, places


@rule("BEP6-FE-17", Level.SHOULD, 15, {REJECTED: P, CLOSED: N, SILENT: F, RIGHT: F, WRONG: F})
async def request_while_choked_is_rejected(case: Case) -> str:
    """Reject the request of a peer that you choke.

    BEP 6: "If a peer receives a request from a peer its choking, the peer receiving the request
    SHOULD send a reject unless the piece is in the allowed fast set."
    """
    peer = await fast_peer(case)
    allowed = await allowed_pieces(case, peer, GRACE_S)
    index = next(each for each in range(case.torrent.piece_count) if each not in allowed)
    return await ask_while_choked(case, peer, index)


async def ask_while_choked(case: Case, peer: RawPeer, index: int) -> str:
    """Request a block and return what came. Raises UndecidedError if we are not choked."""
    answer = await case.ask(peer, index)
    if any(each.number == FrameType.UNCHOKE for each in peer.seen):
        raise UndecidedError("unchoked without being asked")
    return answer


@rule(
    "BEP6-FE-18",
    Level.ROBUST,
    20,
    {REJECTED: P, CLOSED: P, SILENT: P, "data": F, "more answers": F},
)
async def many_requests_while_choked(case: Case) -> Outcome:
    """Answer five thousand requests of a peer that you choke at most once each, or close.

    BEP 6: if "a peer receives an excessive number of requests from a peer it is choking", it "MAY
    close the connection rather than reject the request".
    """
    peer = await fast_peer(case)
    allowed = await allowed_pieces(case, peer, GRACE_S)
    index = next(each for each in range(case.torrent.piece_count) if each not in allowed)
    await peer.send(request(index, 0) * FLOOD, f"{FLOOD} times request {index} 0")
    await peer.watch(min(10.0, case.limit_s))
    numbers = Counter(each.number for each in peer.seen)
    if numbers[FrameType.UNCHOKE]:
        raise UndecidedError("unchoked without being asked")
    if numbers[FrameType.PIECE]:
        return Outcome("data")
    rejects = numbers[FrameType.REJECT]
    if rejects > FLOOD:
        return Outcome("more answers", str(rejects))
    name = CLOSED if peer.is_closed else REJECTED if rejects else SILENT
    return Outcome(name, f"{rejects} rejects")


@rule("BEP6-FE-19", Level.SHOULD, 5, CLOSES)
async def reject_of_no_request(case: Case) -> str:
    """Close on a reject of something that you never requested.

    BEP 6: "If a peer receives a reject for a request that was never sent then the peer SHOULD close
    the connection."
    """
    return await _after(case, await fast_peer(case), reject(0, 0), "reject 0 0")


@rule("BEP6-FE-20", Level.MUST, 5, CLOSES)
async def piece_that_nobody_requested(case: Case) -> str:
    """Close on a piece that you never requested.

    BEP 6: "if a peer receives a piece that was never requested, the peer MUST close the
    connection".
    """
    block = case.torrent.block(0, 0, BLOCK_BYTES)
    return await _after(case, await fast_peer(case), piece(0, 0, block), "piece 0 0")


@rule("BEP6-FE-22", Level.ROBUST, 5, IGNORED_OR_CLOSED)
async def late_have_none(case: Case) -> str:
    """Close or ignore "have none" after other messages.

    BEP 6: it comes "only immediately after the handshake"; what follows otherwise is not stated.
    """
    peer = await fast_peer(case)
    await peer.send(have(1) + HAVE_NONE, "have 1, have none")
    return await case.reaction(peer)


@rule("BEP6-FE-23", Level.ROBUST, 5, IGNORED_OR_CLOSED)
async def have_none_and_a_bitfield(case: Case) -> str:
    """Close on a bitfield after "have none", or take one of the two.

    BEP 6: "Exactly one" of them "MUST appear"; what follows otherwise is not stated.
    """
    peer = await fast_peer(case)
    bitfield = message(FrameType.BITFIELD, bytes(-(-case.torrent.piece_count // 8)))
    await peer.send(HAVE_NONE + bitfield, "have none, bitfield")
    return await case.reaction(peer)


@rule("BEP6-FE-24", Level.ROBUST, 5, IGNORED_OR_CLOSED)
async def suggestion_of_no_piece(case: Case) -> str:
    """Close or ignore "suggest piece" with an index behind the last piece.

    No BEP states it.
    """
    peer = await fast_peer(case)
    count = case.torrent.piece_count
    await peer.send(HAVE_NONE + with_words(FrameType.SUGGEST, count), f"have none, suggest {count}")
    return await case.reaction(peer)


def _places(case: Case, count: int) -> list[BlockStart]:
    """Return the first blocks of the torrent that are full."""
    size = case.torrent.piece_bytes
    return [divmod(number * BLOCK_BYTES, size) for number in range(count)]


async def _count_answers(
    case: Case, peer: RawPeer, places: Sequence[BlockStart]
) -> Counter[BlockStart]:
    """Wait until each request was answered or nothing comes any more; count the answers."""
    wanted = set(places)

    def found() -> Counter[BlockStart]:
        answers = (each for each in peer.seen if any(is_answer(each, *place) for place in wanted))
        return Counter((each.words[0], each.words[1]) for each in answers)

    quiet_s = 5.0 * case.patience
    while found().total() < len(places):
        if not await peer.watch_some(quiet_s):
            break
    await peer.watch(GRACE_S * case.patience)
    return found()


async def _answered(case: Case, peer: RawPeer, places: Sequence[BlockStart]) -> Outcome:
    """Return whether each request was answered exactly once, with right bytes or a reject."""
    counts = await _count_answers(case, peer, places)
    pieces = [each for each in peer.seen if each.number == FrameType.PIECE]
    if not all(case.is_right(each) for each in pieces):
        return Outcome(WRONG)
    detail = f"{counts.total()} answers, {len(pieces)} of them pieces"
    if any(count > 1 for count in counts.values()):
        return Outcome("more answers", detail)
    return Outcome("each once" if len(counts) == len(places) else "fewer answers", detail)


async def allowed_pieces(case: Case, peer: RawPeer, for_s: float) -> list[int]:
    """Say that we have nothing, and return the pieces that we may request while choked."""
    await peer.send(HAVE_NONE, "have none")
    await peer.watch(for_s * case.patience)
    frames = (each for each in peer.seen if each.number == FrameType.ALLOWED_FAST)
    return [each.words[0] for each in frames if each.words]
