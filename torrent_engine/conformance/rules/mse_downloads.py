"""Rules of message stream encryption for a downloading program: it connects to the kit.

No BEP has it; quoted is "Message Stream Encryption" of the Azureus wiki.
"""

import os
from dataclasses import dataclass, field
from typing import Final

from torrent_engine.conformance.case import CLOSED, WORKS
from torrent_engine.conformance.errors import NotOfferedError, UndecidedError
from torrent_engine.conformance.frames import HEADER
from torrent_engine.conformance.mse import KEY_BYTES, MAX_PAD_BYTES, RC4
from torrent_engine.conformance.mse_answers import answer_offer, go_on_encrypted, take_offer
from torrent_engine.conformance.raw_peer import RawPeer
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.swarm.kit_seed import GREETING_S, SeedScript
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
LEECH: Final = Role.LEECH
NOT_A_METHOD: Final = 0x4
NOISE_BYTES: Final = KEY_BYTES + MAX_PAD_BYTES + 1_000
GOES_ON: Final = "goes on all the same"
STAYS_OPEN: Final = "stays open"


@dataclass
class DialJudge:
    """What a seed of the kit sees of connections before their handshake."""

    limit_s: float
    info_hash: bytes
    takes_plain: bool = False
    """After one with encryption."""
    reply: int | None = RC4
    """The method that it selects; None: it closes."""
    constant_comes: bool = True
    """The constant that shows where the encrypted part begins is sent."""
    is_judging: bool = False
    """Watches what follows the reply, instead of going on with it."""
    plain: int = 0
    """Number of connections without encryption."""
    fallbacks: int = 0
    """Number of these after one with encryption."""
    encrypted: int = 0
    found: list[str] = field(default_factory=list)
    """What followed each reply."""

    async def meet(self, peer: RawPeer) -> bool:
        """Take one connection; return whether there is to be a handshake."""
        start = await peer.receive_bytes(len(HEADER), GREETING_S)
        if len(start) < len(HEADER):
            return False
        if start == HEADER:
            self.plain += 1
            self.fallbacks += bool(self.encrypted)
            return self.takes_plain and bool(self.encrypted)
        self.encrypted += 1
        return self.reply is not None and await self._reply(peer, self.reply)

    async def _reply(self, peer: RawPeer, selected: int) -> bool:
        offer = await take_offer(peer, self.info_hash, self.limit_s)
        if offer is None:
            return False
        if not self.constant_comes:
            await peer.send(os.urandom(NOISE_BYTES), "MSE: noise")
        else:
            await answer_offer(peer, offer, selected)
        if self.is_judging:
            self.found.append(await self._reaction(peer, offer.end))
            return False
        go_on_encrypted(peer, offer)
        return True

    async def _reaction(self, peer: RawPeer, end: int) -> str:
        """Return what follows: more bytes, the end of the connection, or nothing."""
        if len(await peer.receive_bytes(end + 1, self.limit_s)) > end:
            return GOES_ON
        return CLOSED if peer.is_closed else STAYS_OPEN

    def need_encryption(self) -> None:
        """Raise NotOfferedError if nobody tried it, UndecidedError if nobody connected."""
        if self.encrypted:
            return
        if self.plain:
            raise NotOfferedError("it connects without encryption only")
        raise UndecidedError("it did not connect to a seed of the tracker's list")


def _judge(case: SwarmCase) -> DialJudge:
    """Return what sees the connections of a program that tries encryption first."""
    case.program.has_encryption = True
    return DialJudge(case.limit_s, case.torrent.info_hash)


@rule("MSE-EN-15", Level.CONV, 60, {WORKS: P, "does not complete": F}, role=LEECH)
async def download_with_encryption(case: SwarmCase) -> Outcome:
    """Go on with RC4 where you connect and the other side selects it.

    "ENCRYPT(VC, crypto_select, len(padD), padD), ENCRYPT2(Payload Stream)".
    """
    judge = _judge(case)
    await case.seed(SeedScript(before_greeting=judge.meet))
    await case.start()
    await case.until(lambda: bool(judge.encrypted), 2 * case.limit_s)
    is_complete = bool(judge.encrypted) and await case.completes()
    judge.need_encryption()
    detail = f"{judge.encrypted} encrypted, {judge.plain} plain connections"
    return Outcome(WORKS if is_complete else "does not complete", detail)


@rule("MSE-EN-16", Level.CONV, 60, {"tries plain": P, "encrypted only": N}, role=LEECH)
async def seed_without_encryption(case: SwarmCase) -> str:
    """Connect again without encryption to a peer that closed a connection with it.

    Nobody states it; a program that requires encryption is right not to.
    """
    judge = _judge(case)
    judge.reply, judge.takes_plain = None, True
    await case.seed(SeedScript(before_greeting=judge.meet))
    await case.start()
    await case.until(lambda: bool(judge.encrypted), 2 * case.limit_s)
    judge.need_encryption()
    await case.until(lambda: judge.fallbacks > 0, case.limit_s)
    return "tries plain" if judge.fallbacks else "encrypted only"


@rule(
    "MSE-EN-17",
    Level.ROBUST,
    30,
    {CLOSED: P, STAYS_OPEN: N, GOES_ON: F},
    role=LEECH,
)
async def wrong_answers_to_an_offer(case: SwarmCase) -> Outcome:
    """Close when a method is selected that was not offered, or when no constant comes.

    "5 (termination by A)": "if VC can't be decoded correctly", "if the selected crypto method
    wasn't provided".
    """
    first, second = _judge(case), _judge(case)
    for each in (first, second):
        each.is_judging = True
        await case.seed(SeedScript(before_greeting=each.meet))
    first.reply, second.constant_comes = NOT_A_METHOD, False
    await case.start()
    await case.until(lambda: bool(first.found and second.found), 3 * case.limit_s)
    for each in (first, second):
        each.need_encryption()
    if not first.found or not second.found:
        raise UndecidedError("it made no offer to one of two seeds")
    found = (first.found[0], second.found[0])
    detail = f"method {NOT_A_METHOD}: {found[0]}; no constant: {found[1]}"
    worst = next((each for each in (GOES_ON, STAYS_OPEN) if each in found), CLOSED)
    return Outcome(worst, detail)
