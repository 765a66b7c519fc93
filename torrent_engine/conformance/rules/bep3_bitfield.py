"""Rules of bitfield and have (BEP 3) for a seed."""

from torrent_engine.conformance.case import CLOSED, IGNORED_OR_CLOSED, SILENT, Case
from torrent_engine.conformance.errors import UndecidedError
from torrent_engine.conformance.frames import EXTENDED, MAX_INDEX, Frame, FrameType, have, message
from torrent_engine.conformance.rule import rule
from torrent_engine.conformance.verdicts import Level, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL


@rule(
    "BEP3-BF-01",
    Level.STATED,
    10,
    {"first": P, "after an extended handshake": N, "after other messages": F, "none": F},
)
async def bitfield_comes_first(case: Case) -> str:
    """Send the bitfield as the first message.

    BEP 3: "'bitfield' is only ever sent as the first message."
    """
    peer = await case.greet(EXTENDED)
    await peer.wait_for(lambda each: each.number == FrameType.BITFIELD, case.limit_s)
    numbers = [each.number for each in peer.seen]
    if FrameType.BITFIELD not in numbers:
        return "none"
    before = set(numbers[: numbers.index(FrameType.BITFIELD)])
    if not before:
        return "first"
    is_usual = before == {FrameType.EXTENDED}
    return "after an extended handshake" if is_usual else "after other messages"


@rule(
    "BEP3-BF-02",
    Level.STATED,
    15,
    {"complete": P, "incomplete, with haves": N, "wrong length": F, "pieces missing": F},
)
async def bitfield_has_a_bit_for_each_piece(case: Case) -> str:
    """Send a bitfield of one bit for each piece, set for those you have.

    BEP 3: "a bitfield with each index that downloader has sent set to one and the rest set to
    zero".
    """
    count = case.torrent.piece_count
    frame, haves = await _announced(case)
    if len(frame.payload) != -(-count // 8):
        return "wrong length"
    bits = int.from_bytes(frame.payload, "big") >> (-count % 8)
    if bits == (1 << count) - 1:
        return "complete"
    for index in haves:
        bits |= 1 << (count - 1 - index)
    return "incomplete, with haves" if bits == (1 << count) - 1 else "pieces missing"


@rule("BEP3-BF-03", Level.STATED, 10, {"zero": P, "set": F})
async def spare_bits_are_zero(case: Case) -> str:
    """Leave the spare bits of the bitfield zero.

    BEP 3: "Spare bits at the end are set to zero."
    """
    frame, _ = await _announced(case)
    spare = (1 << (-case.torrent.piece_count % 8)) - 1
    return "set" if frame.payload and frame.payload[-1] & spare else "zero"


async def _announced(case: Case) -> tuple[Frame, list[int]]:
    """Return the bitfield, and the pieces that "have" names within a second after it."""
    peer = await case.greet()
    frame = await peer.wait_for(lambda each: each.number == FrameType.BITFIELD, case.limit_s)
    if frame is None:
        raise UndecidedError("no bitfield came")
    count = case.torrent.piece_count
    await peer.watch(1.0 * case.patience)
    haves = [each.words[0] for each in peer.seen if each.number == FrameType.HAVE]
    return frame, [index for index in haves if index < count]


@rule("BEP3-BF-04", Level.CONV, 5, {"both closed": P, "ignored": N})
async def bitfield_of_a_wrong_length(case: Case) -> str:
    """Close a connection with a bitfield that is a byte too short or too long.

    No BEP states it.
    """
    length = -(-case.torrent.piece_count // 8)
    reactions = []
    for wrong in (length - 1, length + 1):
        peer = await case.greet()
        await peer.send(message(FrameType.BITFIELD, bytes(wrong)), f"bitfield of {wrong} bytes")
        reactions.append(await case.reaction(peer))
        await peer.close()
    if reactions == [CLOSED, CLOSED]:
        return "both closed"
    return SILENT if SILENT in reactions else "ignored"


@rule("BEP3-BF-05", Level.ROBUST, 5, IGNORED_OR_CLOSED)
async def bitfield_with_a_spare_bit(case: Case) -> str:
    """Close or tolerate a bitfield with a spare bit set.

    BEP 3: "Spare bits at the end are set to zero"; what follows otherwise is not stated.
    """
    peer = await case.greet()
    bits = bytes(-(-case.torrent.piece_count // 8) - 1) + b"\x01"
    await peer.send(message(FrameType.BITFIELD, bits), "bitfield with a spare bit")
    return await case.reaction(peer)


@rule("BEP3-BF-06", Level.ROBUST, 5, IGNORED_OR_CLOSED)
async def second_bitfield(case: Case) -> str:
    """Close or take a bitfield that is not the first message.

    BEP 3: it "is only ever sent as the first message"; what follows otherwise is not stated.
    """
    peer = await case.greet()
    empty = message(FrameType.BITFIELD, bytes(-(-case.torrent.piece_count // 8)))
    await peer.send(empty + have(1) + empty, "bitfield, have 1, bitfield")
    return await case.reaction(peer)


@rule("BEP3-HV-01", Level.ROBUST, 5, IGNORED_OR_CLOSED)
async def have_of_no_piece(case: Case) -> str:
    """Close or ignore "have" with an index behind the last piece.

    No BEP states it.
    """
    peer = await case.greet()
    await peer.send(have(case.torrent.piece_count) + have(MAX_INDEX), "have 21, have 0xffffffff")
    return await case.reaction(peer)
