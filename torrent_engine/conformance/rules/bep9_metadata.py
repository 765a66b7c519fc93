"""Rules of the metadata extension (BEP 9) for a seed."""

import hashlib
from typing import Final

from torrent_engine.conformance.bencoding import Bencodable, bencode
from torrent_engine.conformance.case import (
    CLOSED,
    GRACE_S,
    IGNORED_OR_CLOSED,
    REJECTED,
    RIGHT,
    SILENT,
    WORKS,
    WRONG,
    Case,
)
from torrent_engine.conformance.errors import NotOfferedError
from torrent_engine.conformance.extensions import (
    DATA,
    METADATA_PIECE_BYTES,
    OWN_METADATA_ID,
    REJECT,
    KitMetadataMessage,
    KitMetadataPeer,
    metadata_peer,
    metadata_request,
    read_metadata,
)
from torrent_engine.conformance.frames import extended
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.verdicts import Level, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
SERVED: Final = {RIGHT: P, WRONG: F, REJECTED: F, SILENT: F, CLOSED: F}
FAR_PIECE: Final = 99
MANY: Final = 61
STRANGE_TYPE: Final = 77
OTHER_PIECE: Final = "data of another piece"


@rule("BEP9-MD-01", Level.STATED, 10, {"right": P, "wrong": F})
async def metadata_size_is_right(case: Case) -> Outcome:
    """Announce the length of the info dictionary.

    BEP 9, metadata_size: "an integer value of the number of bytes of the metadata".
    """
    found = await metadata_peer(case)
    size = found.content.get(b"metadata_size")
    if size is None:
        raise NotOfferedError("no metadata_size")
    return Outcome("right" if size == len(case.torrent.info) else "wrong", repr(size))


@rule("BEP9-MD-02", Level.STATED, 15, SERVED)
async def first_piece_of_metadata(case: Case) -> str:
    """Serve 16 KiB of metadata, with its number and the size of all.

    BEP 9: "If it is not the last piece of the metadata, it MUST be 16kiB."
    """
    return await (await metadata_peer(case)).ask(0)


@rule("BEP9-MD-03", Level.STATED, 15, SERVED)
async def last_piece_of_metadata(case: Case) -> str:
    """Serve what is left as the last piece of metadata.

    BEP 9: "All blocks are 16KiB except the last block which may be smaller."
    """
    return await (await metadata_peer(case)).ask(_count(case) - 1)


def _count(case: Case) -> int:
    return -(-len(case.torrent.info) // METADATA_PIECE_BYTES)


@rule("BEP9-MD-04", Level.MUST, 15, {RIGHT: P, WRONG: F, "not all": F})
async def metadata_has_the_info_hash(case: Case) -> str:
    """Serve metadata that has the info-hash.

    BEP 9: "A peer MUST verify that any piece it sends passes the info-hash verification."
    """
    found = await metadata_peer(case)
    parts = []
    for piece in range(_count(case)):
        await found.request(piece)
        answer = await found.receive()
        if answer is None or answer.kind != DATA:
            return "not all"
        parts.append(answer.data)
    digest = hashlib.sha1(b"".join(parts), usedforsecurity=False).digest()
    return RIGHT if digest == case.torrent.info_hash else WRONG


@rule("BEP9-MD-05", Level.MUST, 10, {RIGHT: P, WRONG: F, "not both": F})
async def answer_names_its_piece(case: Case) -> str:
    """Answer with the number of the piece that was requested.

    BEP 9: "The response MUST have the same piece as the request did."
    """
    found = await metadata_peer(case)
    first, last = metadata_request(found.number, 1), metadata_request(found.number, 0)
    await found.peer.send(first + last, "metadata requests 1, 0")
    answers = [each for each in [await found.receive(), await found.receive()] if each]
    if any(not found.is_right(each, each.piece) for each in answers if each.kind == DATA):
        return WRONG
    return RIGHT if {each.piece for each in answers} == {0, 1} else "not both"


@rule(
    "BEP9-MD-06",
    Level.CONV,
    10,
    {REJECTED: P, "rejected with another piece": F, SILENT: N, CLOSED: F, "data": F},
)
async def piece_of_metadata_that_does_not_exist(case: Case) -> str:
    """Reject a request of a piece behind the last.

    BEP 9: "The response to this message" is "either a reject or a data message"; that of a piece
    that does not exist is not stated.
    """
    found = await metadata_peer(case)
    await found.request(FAR_PIECE)
    answer = await found.receive()
    if answer is None:
        return CLOSED if found.peer.is_closed else SILENT
    if answer.kind != REJECT:
        return "data"
    return REJECTED if answer.piece == FAR_PIECE else "rejected with another piece"


@rule("BEP9-MD-07", Level.ROBUST, 10, {**IGNORED_OR_CLOSED, OTHER_PIECE: N, "wrong data": F})
async def piece_of_metadata_that_is_no_number(case: Case) -> str:
    """Reject, ignore or close on a piece that is negative, huge, or a string.

    No BEP states what follows; a program that cuts numbers to 32 bits serves another piece.
    """
    pieces: tuple[Bencodable, ...] = (-1, 2**40, b"zero")
    reactions = [await _after_request_of(case, each) for each in pieces]
    order = ("wrong data", OTHER_PIECE, WRONG, SILENT, CLOSED, WORKS)
    return next(each for each in order if each in reactions)


async def _after_request_of(case: Case, piece: Bencodable) -> str:
    found = await metadata_peer(case, another_address=True)
    await found.request(piece)
    reaction = await case.reaction(found.peer)
    served = [each for each in _messages(found) if each.kind == DATA]
    await found.peer.close()
    if served:
        are_right = all(found.is_right(each, each.piece) for each in served)
        return OTHER_PIECE if are_right else "wrong data"
    return reaction


@rule("BEP9-MD-08", Level.MUST, 5, {WORKS: P, CLOSED: F, "answered": F})
async def unknown_type_is_ignored(case: Case) -> str:
    """Ignore a message of a type that you do not know.

    BEP 9: "In order to support future extensability, an unrecognized message ID MUST be ignored."
    """
    found = await metadata_peer(case)
    content: Bencodable = {b"msg_type": STRANGE_TYPE, b"piece": 0}
    await found.peer.send(extended(found.number, bencode(content)), "msg_type 77")
    reaction = await case.reaction(found.peer)
    await found.peer.watch(GRACE_S * case.patience)
    return "answered" if _messages(found) else reaction


@rule("BEP9-MD-09", Level.CONV, 10, SERVED)
async def unknown_keys_of_a_request_are_ignored(case: Case) -> str:
    """Answer a request that has keys you do not know.

    No BEP states it.
    """
    return await (await metadata_peer(case)).ask(0, xx_unknown=[1, b"two"], zz=3)


@rule(
    "BEP9-MD-10",
    Level.CONV,
    15,
    {"all": P, "some, and rejects": P, "some, then silence": N, CLOSED: F, "nothing": F},
)
async def flood_of_metadata_requests(case: Case) -> Outcome:
    """Serve requests that come at once, up to a limit, and reject the others.

    BEP 9: "Clients MAY implement flood protection by rejecting request messages after a certain
    number of them have been served."
    """
    found = await metadata_peer(case)
    many = (metadata_request(found.number, number % _count(case)) for number in range(MANY))
    await found.peer.send(b"".join(many), f"{MANY} metadata requests")
    kinds: list[int] = []
    while len(kinds) < MANY and (answer := await found.receive()) is not None:
        kinds.append(answer.kind)
    served, rejected = kinds.count(DATA), kinds.count(REJECT)
    detail = f"{served} pieces, {rejected} rejects"
    if found.peer.is_closed:
        return Outcome(CLOSED, detail)
    if not served:
        return Outcome("nothing", detail)
    if served + rejected < MANY:
        return Outcome("some, then silence", detail)
    return Outcome("some, and rejects" if rejected else "all", detail)


def _messages(found: KitMetadataPeer) -> list[KitMetadataMessage]:
    messages = (read_metadata(each, OWN_METADATA_ID) for each in found.peer.seen)
    return [each for each in messages if each is not None]
