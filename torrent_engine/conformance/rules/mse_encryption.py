"""Rules of message stream encryption for a seed: the kit connects.

No BEP has it; quoted is "Message Stream Encryption" of the Azureus wiki.
"""

import os
from dataclasses import replace
from typing import Final

from torrent_engine.conformance.case import CLOSED, RIGHT, SILENT, WORKS, WRONG, Case
from torrent_engine.conformance.errors import NotOfferedError
from torrent_engine.conformance.frames import BLOCK_BYTES, HEADER
from torrent_engine.conformance.mse import (
    KEY_BYTES,
    MAX_PAD_BYTES,
    PLAIN_TEXT,
    PRIME,
    RC4,
    MseAnswer,
    MseOffer,
    encrypt,
)
from torrent_engine.conformance.raw_peer import RawPeer
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.verdicts import Level, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
ODD_METHOD: Final = 0x80000000
OTHER_HASH: Final = bytes(range(20))
MEASURED: Final = 12
NO_ANSWER: Final = "no answer"
NOT_OFFERED: Final = "selects what was not offered"
WORKING: Final = {WORKS: P, NO_ANSWER: F, NOT_OFFERED: F, CLOSED: F, SILENT: F, WRONG: F}
REFUSED: Final = {CLOSED: P, SILENT: P, "answers": F}
ODD_KEYS: Final = (0, 1, PRIME - 1, PRIME, 2 ** (8 * KEY_BYTES) - 1)


def _offer(case: Case, provide: int = PLAIN_TEXT | RC4) -> MseOffer:
    return MseOffer(case.torrent.info_hash, provide)


async def _make(case: Case, offer: MseOffer, limit_s: float) -> tuple[RawPeer, MseAnswer | None]:
    """Connect from a new address and make an offer."""
    peer = await case.connect(another_address=True)
    return peer, await encrypt(peer, offer, limit_s)


async def _reaction(case: Case, offer: MseOffer) -> str:
    """Make an offer, exchange handshakes inside, and return whether the connection works.

    Once more if it is closed: Transmission 3.00 closes one of some dozens of good offers.
    """
    found = await _reaction_once(case, offer)
    return await _reaction_once(case, offer) if found == CLOSED else found


async def _reaction_once(case: Case, offer: MseOffer) -> str:
    peer = await case.connect(another_address=True)
    greeting = case.greeting(peer)
    inside = offer.first_data == INSIDE
    data = greeting if inside else b""
    answer = await encrypt(peer, replace(offer, first_data=data), case.limit_s)
    if answer is None:
        return CLOSED if peer.is_closed else NO_ANSWER
    if answer.selected not in {PLAIN_TEXT, RC4} or not answer.selected & offer.provide:
        return NOT_OFFERED
    if not inside:
        await peer.send(greeting, "handshake")
    theirs = await peer.receive_greeting(case.limit_s)
    if theirs is None:
        return CLOSED if peer.is_closed else SILENT
    return await case.reaction(peer) if theirs.header == HEADER else WRONG


INSIDE: Final = b"handshake"
"""Stands for the handshake as the first data of an offer."""


async def _need_encryption(case: Case) -> None:
    """Raise NotOfferedError if the usual offer is closed, twice."""
    for _ in range(2):
        peer, answer = await _make(case, _offer(case), case.limit_s)
        await peer.close()
        if answer is not None:
            return
    raise NotOfferedError("encrypted connections are not answered")


@rule("MSE-EN-01", Level.CONV, 10, {WORKS: P, CLOSED: N, SILENT: F, WRONG: F})
async def plain_connections(case: Case) -> str:
    """Accept connections without encryption.

    No BEP states it; programs may be told to refuse them.
    """
    peer = await case.connect()
    await peer.send(case.greeting(peer), "handshake")
    if await peer.receive_greeting(case.limit_s) is None:
        return CLOSED if peer.is_closed else SILENT
    return await case.reaction(peer)


@rule("MSE-EN-02", Level.CONV, 15, WORKING)
async def offer_of_rc4(case: Case) -> str:
    """Take an offer of RC4 with the handshake inside.

    "ENCRYPT(VC, crypto_provide, len(PadC), PadC, len(IA)), ENCRYPT(IA)".
    """
    await _need_encryption(case)
    return await _reaction(case, replace(_offer(case, RC4), first_data=INSIDE))


@rule("MSE-EN-03", Level.CONV, 15, WORKING)
async def offer_of_both(case: Case) -> str:
    """Select one of two methods, and go on with it.

    "ENCRYPT(VC, crypto_select, len(padD), padD), ENCRYPT2(Payload Stream)".
    """
    await _need_encryption(case)
    return await _reaction(case, replace(_offer(case), first_data=INSIDE))


@rule("MSE-EN-04", Level.CONV, 15, {**WORKING, CLOSED: N, NO_ANSWER: N})
async def offer_of_plain_text(case: Case) -> str:
    """Select plain text if nothing else is offered, or close.

    "if none of the crypto_provide options are supported" the connection may be closed.
    """
    await _need_encryption(case)
    return await _reaction(case, replace(_offer(case, PLAIN_TEXT), first_data=INSIDE))


async def _of_two(case: Case, first: MseOffer, second: MseOffer) -> str:
    """Return the reaction to the first offer that does not work, or that all do."""
    await _need_encryption(case)
    for each in (first, second):
        if (found := await _reaction(case, each)) != WORKS:
            return found
    return WORKS


@rule("MSE-EN-05", Level.CONV, 15, WORKING)
async def padding_behind_the_key(case: Case) -> str:
    """Find the offer behind no padding, and behind 512 bytes of it.

    "Since the length of PadA and PadB are unknown B will be able to resynchronize on HASH('req1',
    S)".
    """
    offer = replace(_offer(case), first_data=INSIDE)
    return await _of_two(case, offer, replace(offer, pad_a=os.urandom(MAX_PAD_BYTES)))


@rule("MSE-EN-06", Level.CONV, 15, WORKING)
async def padding_in_the_offer(case: Case) -> str:
    """Take offers with no PadC and with one of 512 bytes, and without first data.

    PadC is "reserved for future extensions to the handshake", 0 to 512 bytes; IA may be empty.
    """
    offer = _offer(case)
    return await _of_two(case, offer, replace(offer, pad_c=bytes(MAX_PAD_BYTES)))


@rule("MSE-EN-07", Level.ROBUST, 45, {CLOSED: P, SILENT: N, "answers": F})
async def padding_without_end(case: Case) -> str:
    """Close when the offer does not come.

    "if A didn't send the correct S hash within 628 bytes after the connection start".
    """
    await _need_encryption(case)
    peer = await case.connect(another_address=True)
    await peer.send(os.urandom(KEY_BYTES + 2_000), "2,096 random bytes")
    await peer.receive_bytes(KEY_BYTES + MAX_PAD_BYTES + 1, case.limit_s)
    if peer.early_bytes > KEY_BYTES + MAX_PAD_BYTES:
        return "answers"
    return CLOSED if peer.is_closed else SILENT


async def _refusal(case: Case, *offers: MseOffer) -> str:
    """Make offers that nobody may take; return what came."""
    await _need_encryption(case)
    found = CLOSED
    for each in offers:
        peer, answer = await _make(case, each, case.limit_s)
        if answer is not None:
            return "answers"
        found = found if peer.is_closed else SILENT
    return found


@rule("MSE-EN-08", Level.CONV, 5, REFUSED)
async def offer_for_an_unknown_torrent(case: Case) -> str:
    """Take no offer for an info-hash that you do not have.

    "if A didn't send a supported SKEY hash after the S hash".
    """
    return await _refusal(case, replace(_offer(case), info_hash=OTHER_HASH))


@rule("MSE-EN-09", Level.ROBUST, 5, {WORKS: P, WRONG: F, CLOSED: F, SILENT: F})
async def odd_public_keys(case: Case) -> str:
    """Survive public keys that nobody has: 0, 1, P - 1, P, and all ones.

    Nobody states what follows; another connection works afterwards.
    """
    await _need_encryption(case)
    for each in ODD_KEYS:
        key = each.to_bytes(KEY_BYTES, "big")
        peer, _ = await _make(case, replace(_offer(case), key=key), 1.0)
        await peer.close()
    return await case.reaction(await case.greet())


@rule("MSE-EN-10", Level.CONV, 5, REFUSED)
async def offer_of_nothing(case: Case) -> str:
    """Take no offer of no method, or of one that you do not know.

    "if none of the crypto_provide options are supported or the bitfield is zeroed".
    """
    return await _refusal(case, _offer(case, 0), _offer(case, ODD_METHOD))


@rule("MSE-EN-11", Level.CONV, 5, REFUSED)
async def offer_with_a_wrong_constant(case: Case) -> str:
    """Take no offer whose verification constant is wrong.

    "if VC can't be decoded correctly after the SKEY hash".
    """
    return await _refusal(case, replace(_offer(case), constant=b"\1" * 8))


@rule("MSE-EN-12", Level.CONV, 5, {**REFUSED, "answers": N})
async def padding_that_is_too_long(case: Case) -> str:
    """Take no offer with a PadC of more than 512 bytes.

    The lengths of the paddings are 0 to 512.
    """
    pad = bytes(MAX_PAD_BYTES + 1)
    huge = replace(_offer(case), pad_c=pad, pad_c_length=0xFFFF)
    return await _refusal(case, replace(_offer(case), pad_c=pad), huge)


@rule(
    "MSE-EN-13", Level.CONV, 30, {"they vary": P, "always the same": N, "too long": F, NO_ANSWER: F}
)
async def own_padding(case: Case) -> Outcome:
    """Send paddings of random lengths up to 512 bytes.

    PadB: "Random data with a random length of 0 to 512 bytes"; PadD may be empty.
    """
    await _need_encryption(case)
    lengths = []
    for _ in range(MEASURED):
        peer, answer = await _make(case, _offer(case), case.limit_s)
        await peer.close()
        if answer is None:
            return Outcome(NO_ANSWER)
        lengths.append((answer.pad_b, answer.pad_d))
    longest = max(max(each) for each in lengths)
    if longest > MAX_PAD_BYTES:
        return Outcome("too long", f"{longest} bytes")
    detail = f"PadB of {min(lengths)[0]} to {max(lengths)[0]} bytes"
    return Outcome("they vary" if len(set(lengths)) > 1 else "always the same", detail)


@rule("MSE-EN-14", Level.CONV, 30, WORKING)
async def offer_byte_by_byte(case: Case) -> str:
    """Take an offer that comes one byte at a time.

    Nobody states where segments end.
    """
    await _need_encryption(case)
    return await _reaction(case, replace(_offer(case), pause_s=0.002))


@rule("MSE-EN-18", Level.CONV, 60, {RIGHT: P, WRONG: F, NO_ANSWER: F, SILENT: F, CLOSED: F})
async def long_encrypted_stream(case: Case) -> str:
    """Send right data for as long as a connection with RC4 lasts.

    "ENCRYPT2(Payload Stream)".
    """
    await _need_encryption(case)
    peer, answer = await _make(case, _offer(case, RC4), case.limit_s)
    if answer is None:
        return NO_ANSWER
    await peer.send(case.greeting(peer), "handshake")
    await case.expect_greeting(peer)
    await case.wait_unchoked(peer)
    for index in range(case.torrent.piece_count):
        for begin in range(0, case.torrent.piece_length(index), BLOCK_BYTES):
            length = min(BLOCK_BYTES, case.torrent.piece_length(index) - begin)
            if (found := await case.ask(peer, index, begin, length)) != RIGHT:
                return found
    return RIGHT
