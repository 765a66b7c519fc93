"""Rules of a program that seeds torrents of version 2, hybrids, and torrents with pads.

Source: BEP 47, 52.
"""

from typing import Final

from torrent_engine.conformance.case import (
    CLOSED,
    IGNORED_OR_CLOSED,
    REJECTED,
    RIGHT,
    SILENT,
    WRONG,
    Case,
)
from torrent_engine.conformance.errors import UndecidedError
from torrent_engine.conformance.frames import (
    BLOCK_BYTES,
    FAST,
    HEADER,
    PLAIN,
    Frame,
    FrameType,
    HandshakeBytes,
    message,
    request,
)
from torrent_engine.conformance.hash_messages import (
    HASH_REJECT,
    HASH_REQUEST,
    HASHES,
    HashQuestion,
    layers_of,
    right_hashes,
)
from torrent_engine.conformance.raw_peer import RawPeer
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.samples import LONG_FILE
from torrent_engine.conformance.verdicts import Level, SampleName, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
UPGRADE: Final = bytes([0, 0, 0, 0, 0, 0, 0, 0x10])
NEW, OLD, OTHER = "hash of version 2", "hash of version 1", "another hash"
ANSWERS: Final = {RIGHT: P, REJECTED: F, WRONG: F, SILENT: F, CLOSED: F}
"""Table of questions that have to be answered with hashes."""
UNPROVEN: Final = "right bytes without a proof"
MOST_HASHES: Final = 512
PADDED_FILE: Final = "deep/first.bin"
SHORT_FILE: Final = "one.bin"


async def _answered_hash(case: Case, info_hash: bytes, reserved: bytes = PLAIN) -> str:
    """Send a handshake with an info-hash; return which one the answer has."""
    peer = await case.connect()
    await peer.send(HandshakeBytes(HEADER, reserved, info_hash, peer.peer_id).encode(), "handshake")
    greeting = await peer.receive_greeting(case.limit_s)
    if greeting is None:
        return CLOSED if peer.is_closed else SILENT
    names = dict.fromkeys(case.torrent.info_hashes[1:], OLD)
    names[case.torrent.info_hashes[0]] = NEW
    return names.get(greeting.info_hash, OTHER)


@rule(
    "BEP52-HS-01",
    Level.STATED,
    10,
    {NEW: P, OTHER: F, CLOSED: F, SILENT: F},
    sample=SampleName.V2,
)
async def handshake_of_version_2(case: Case) -> str:
    """Answer a handshake for a torrent of version 2 with the same 20 bytes of its hash.

    BEP 52: "Next comes the 20 byte truncated infohash. If both sides don't send the same value,
    they sever the connection."
    """
    return await _answered_hash(case, case.torrent.info_hash)


@rule(
    "BEP52-HS-02",
    Level.STATED,
    10,
    {NEW: P, OLD: N, OTHER: F, CLOSED: F, SILENT: F},
    sample=SampleName.HYBRID,
)
async def handshake_that_offers_version_2(case: Case) -> str:
    """Answer the hash of version 1 and the bit for version 2 with the hash of version 2.

    BEP 52: "The remote peer may then respond with the new infohash to upgrade the connect to the
    new format."
    """
    return await _answered_hash(case, case.torrent.info_hash, UPGRADE)


@rule(
    "BEP52-HS-03",
    Level.STATED,
    10,
    {OLD: P, NEW: F, OTHER: F, CLOSED: F, SILENT: F},
    sample=SampleName.HYBRID,
)
async def handshake_of_version_1_for_a_hybrid(case: Case) -> str:
    """Answer the hash of version 1 without the bit for version 2 with the same hash.

    BEP 52: a peer that sends the SHA-1 info-hash "can set the 4th most significant bit in the last
    byte of the reserved bitfield to indicate that it also supports the new format"; this one does
    not.
    """
    return await _answered_hash(case, case.torrent.info_hash)


class _File:
    """A file of the torrent, and its tree."""

    def __init__(self, case: Case, path: str) -> None:
        torrent = case.torrent
        self.data = torrent.stored_files()[f"{torrent.name}/{path}"]
        self.layers = layers_of(self.data)
        self.root = self.layers[-1][0]
        numbers = {name: number for number, (name, _) in enumerate(torrent.files)}
        self.pieces = torrent.file_pieces(numbers[path])
        self.piece_layer = (torrent.piece_bytes // BLOCK_BYTES).bit_length() - 1

    def question(self, base: int, index: int, length: int, proof: int = 0) -> HashQuestion:
        """Return a question about hashes of this file."""
        return HashQuestion(self.root, base, index, length, proof)

    def all_pieces(self) -> HashQuestion:
        """Return the question about the hashes of all pieces, filled up to a power of two."""
        return self.question(self.piece_layer, 0, len(self.layers[self.piece_layer]))

    def judge(self, question: HashQuestion, payload: bytes) -> str:
        """Return whether the payload of an answer is right."""
        wanted = right_hashes(self.layers, question)
        is_right = wanted is not None and payload == question.payload + b"".join(wanted)
        return RIGHT if is_right else WRONG


async def _ask(case: Case, peer: RawPeer, question: HashQuestion, file: _File | None = None) -> str:
    """Send a question, and return what came for it."""
    numbers = (question.base, question.index, question.length, question.proof)
    await peer.send(question.request(), f"hash request {numbers}")
    return await _answer(case, peer, question, file)


async def _answer(case: Case, peer: RawPeer, question: HashQuestion, file: _File | None) -> str:
    """Return what came for a question that was sent, or comes."""

    def fits(frame: Frame) -> bool:
        is_answer = frame.number in {HASHES, HASH_REJECT}
        return is_answer and frame.payload.startswith(question.payload)

    frame = next(filter(fits, peer.seen), None) or await peer.wait_for(fits, case.limit_s)
    if frame is None:
        return CLOSED if peer.is_closed else SILENT
    if frame.number == HASH_REJECT:
        return REJECTED if frame.payload == question.payload else WRONG
    return file.judge(question, frame.payload) if file is not None else WRONG


@rule("BEP52-HR-01", Level.MUST, 10, ANSWERS, sample=SampleName.V2)
async def hashes_of_pieces(case: Case) -> str:
    """Answer a request for the hashes of all pieces of a file with those.

    BEP 52: "Clients must be able to service requests for hash blocks covering pieces which they
    have announced through bitfield or have messages."
    """
    file = _File(case, PADDED_FILE)
    peer = await case.unchoked(FAST)
    return await _ask(case, peer, file.all_pieces(), file)


@rule("BEP52-HR-02", Level.MUST, 10, {**ANSWERS, UNPROVEN: N}, sample=SampleName.V2)
async def hashes_with_a_proof(case: Case) -> str:
    """Answer a request for half of a layer with its hashes and the uncles up to the root.

    BEP 52: "Hashes starts with the base layer and ends with the uncle hash closest to the root."
    """
    file = _File(case, LONG_FILE)
    base = file.piece_layer
    proof = len(file.layers) - base - 2
    peer = await case.unchoked(FAST)
    question = file.question(base, MOST_HASHES, MOST_HASHES, proof)
    found = await _ask(case, peer, question, file)
    if found != REJECTED:
        return found
    question = file.question(base, MOST_HASHES, MOST_HASHES)
    return UNPROVEN if await _ask(case, peer, question, file) == RIGHT else REJECTED


@rule("BEP52-HR-03", Level.MUST, 10, ANSWERS, sample=SampleName.V2)
async def leaves_of_a_block(case: Case) -> str:
    """Answer a request for the leaves of a piece that follows one for a block of it.

    BEP 52: "Clients MUST NOT reject a hash request with a base layer of zero if it immediately
    follows a request for one of the chunks in the requested range and the client services the
    chunk request with a piece message."
    """
    file = _File(case, LONG_FILE)
    number, blocks = 3, case.torrent.piece_bytes // BLOCK_BYTES
    question = file.question(0, number * blocks, blocks)
    peer = await case.unchoked(FAST)
    index = file.pieces[number]
    await peer.send(request(index, 0) + question.request(), "request and hash request")
    if await case.answer(peer, index, 0) != RIGHT:
        raise UndecidedError("the block did not come")
    return await _answer(case, peer, question, file)


@rule(
    "BEP52-HR-04",
    Level.MUST,
    10,
    {REJECTED: P, CLOSED: N, SILENT: F, WRONG: F},
    sample=SampleName.V2,
)
async def questions_without_an_answer(case: Case) -> Outcome:
    """Reject requests for hashes of an unknown file, behind the last, and for none.

    BEP 52: "Hash requests MUST be answered with either a 'hashes' or 'hash reject' message";
    the latter "have the same payload as 'hash request' messages".
    """
    file = _File(case, LONG_FILE)
    base = file.piece_layer
    questions = {
        "unknown root": HashQuestion(bytes(32), base, 0, 2),
        "index behind the last": file.question(base, 64 * MOST_HASHES, MOST_HASHES),
        "length 0": file.question(base, 0, 0),
    }
    found = Outcome(REJECTED)
    for name, question in questions.items():
        peer = await case.greet(FAST, another_address=True)
        outcome = await _ask(case, peer, question)
        if outcome not in {REJECTED, CLOSED}:
            return Outcome(outcome, name)
        if outcome == CLOSED:
            found = Outcome(CLOSED, name)
    return found


@rule("BEP52-HR-05", Level.MUST, 10, {**ANSWERS, REJECTED: N}, sample=SampleName.V2)
async def hashes_while_choked(case: Case) -> str:
    """Answer a request for hashes of a peer that is choked.

    BEP 52: "Hash requests may be sent to a peer regardless of its choke state"; they "MUST be
    answered with either a 'hashes' or 'hash reject' message".
    """
    file = _File(case, PADDED_FILE)
    peer = await case.greet(FAST)
    found = await _ask(case, peer, file.all_pieces(), file)
    numbers = [each.number for each in peer.seen if each.number in {FrameType.UNCHOKE, HASHES}]
    if peer.is_unchoked and numbers[0] != HASHES:
        raise UndecidedError("it unchokes peers that want nothing")
    return found


@rule(
    "BEP52-HR-06", Level.ROBUST, 5, {**IGNORED_OR_CLOSED, "hashes for it": N}, sample=SampleName.V2
)
async def hash_requests_of_a_wrong_length(case: Case) -> str:
    """Ignore a request for hashes that is a byte too short or too long, or close.

    Nobody states it; the message has 48 bytes (BEP 52).
    """
    question = _File(case, PADDED_FILE).all_pieces()
    found = ""
    for payload in (question.payload[:-1], question.payload + b"\0"):
        peer = await case.greet(FAST, another_address=True)
        await peer.send(message(HASH_REQUEST, payload), f"hash request of {len(payload)} bytes")
        found = await case.reaction(peer)
        if any(each.number == HASHES for each in peer.seen):
            return "hashes for it"
        if found not in {CLOSED, "goes on"}:
            break
    return found


@rule(
    "BEP52-RQ-02",
    Level.CONV,
    10,
    {RIGHT: P, REJECTED: N, WRONG: F, CLOSED: F, SILENT: F},
    sample=SampleName.V2,
)
async def request_behind_a_file(case: Case) -> str:
    """Answer a request for what follows a file in its last piece with zeros.

    BEP 52: "The last piece of each file may be shorter than the specified piece length, resulting
    in an alignment gap." Programs ask for it, and expect zeros.
    """
    peer = await case.unchoked(FAST)
    index = _File(case, SHORT_FILE).pieces[0]
    return await case.ask(peer, index, BLOCK_BYTES)


@rule(
    "BEP47-PF-03",
    Level.MUST,
    10,
    {RIGHT: P, REJECTED: F, WRONG: F, CLOSED: F, SILENT: F},
    sample=SampleName.PADDED,
)
async def request_inside_a_pad(case: Case) -> str:
    """Answer a request for a part of a pad with zeros.

    BEP 47: clients should avoid such requests, "But for backwards-compatibility they must service
    such requests."
    """
    peer = await case.unchoked(FAST)
    piece = _File(case, PADDED_FILE).pieces[-1]
    return await case.ask(peer, piece, 2 * BLOCK_BYTES)
