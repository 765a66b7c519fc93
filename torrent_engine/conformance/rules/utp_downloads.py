"""Rules of a downloading program that connects over uTP (BEP 29), also when told to (BEP 55)."""

from typing import Final

import anyio

from torrent_engine.conformance.errors import NotOfferedError, UndecidedError
from torrent_engine.conformance.extensions import number_of
from torrent_engine.conformance.frames import extended
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.rules.bep10_leech import their_handshake
from torrent_engine.conformance.rules.bep11_leech import NAMING, NONSENSE
from torrent_engine.conformance.rules.bep55_holepunch import (
    CONNECT,
    ERROR,
    NAME,
    KitHolepunch,
    read_holepunch,
)
from torrent_engine.conformance.swarm.http_tracker import KitPeerAddress
from torrent_engine.conformance.swarm.kit_seed import SeedLink
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.swarm.utp_ear import UtpEar
from torrent_engine.conformance.swarm.visits import utp_ear, visit
from torrent_engine.conformance.utp.packets import SEQUENCES, VERSION
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
LEECH: Final = Role.LEECH
MORE_S: Final = 10.0
NUMBER_ONE: Final = "as the text has it"
ANOTHER_NUMBER: Final = "another first number"
WRONG_SYN: Final = "wrong fields"
WRONG_ID: Final = "another connection id"
IGNORED: Final = "ignored"
SILENT: Final = "silence"


@rule(
    "BEP29-UP-24",
    Level.STATED,
    60,
    {NUMBER_ONE: P, ANOTHER_NUMBER: P, WRONG_SYN: F, WRONG_ID: F},
    role=LEECH,
)
async def connection_over_utp(case: SwarmCase) -> Outcome:
    """Open a connection with a SYN, and send what follows with the next connection id.

    BEP 29: "The sequence number is initialized to 1. The connection ID is initialized to a random
    number. The syn packet is special, all subsequent packets sent on this connection (except for
    re-sends of the ST_SYN) are sent with the connection ID + 1." Most programs begin with a random
    number.
    """
    case.program.has_utp = True
    ear = await utp_ear(case)
    case.tracker.peers.append(KitPeerAddress(*ear.place, bytes(20)))
    seed = await case.seed(NAMING)
    await case.start()
    await case.until(lambda: bool(ear.syns), case.limit_s)
    if not ear.syns:
        if seed.attempts:
            raise NotOfferedError("it connects over TCP only")
        raise UndecidedError("it did not connect to a seed of the tracker's list")
    await case.until(lambda: bool(ear.others), MORE_S * case.patience)
    return _judged(ear)


def _judged(ear: UtpEar) -> Outcome:
    syn, following = ear.syns[0], (ear.syns[0].connection_id + 1) % SEQUENCES
    detail = f"{syn.describe()}, version {syn.version}"
    if syn.version != VERSION or syn.payload:
        return Outcome(WRONG_SYN, detail)
    opened = {(each.connection_id + 1) % SEQUENCES for each in ear.syns}
    if any(each.connection_id not in opened for each in ear.others):
        return Outcome(WRONG_ID, f"{detail}; then {ear.others[0].describe()}, not id {following}")
    return Outcome(NUMBER_ONE if syn.seq == 1 else ANOTHER_NUMBER, detail)


async def _relay(case: SwarmCase) -> SeedLink:
    """Start the program with uTP, and connect as one that may tell it to connect.

    Raises NotOfferedError.
    """
    case.program.has_utp = True
    relay = await case.seed(NAMING, is_listed=False)
    await case.start()
    await case.announces()
    link = await visit(case, relay)
    number_of(await their_handshake(case, link), NAME)
    return link


async def _tell(case: SwarmCase, link: SeedLink, place: tuple[str, int]) -> None:
    """Send the program a message to connect to a place. Raises NotOfferedError."""
    number = number_of(await their_handshake(case, link), NAME)
    data = KitHolepunch(CONNECT, place).encode()
    await link.peer.send(extended(number, data), f"connect to {place[0]}:{place[1]}")


@rule("BEP55-HP-07", Level.MUST, 10, {IGNORED: P, "connects again": F}, role=LEECH)
async def connect_to_a_peer_that_is_connected(case: SwarmCase) -> Outcome:
    """Ignore it when you are told to connect to a peer that is connected already.

    "If the receiving peer is already connected to the initiating peer, both of them MUST ignore the
    connect message silently."
    """
    other = await case.seed(NAMING)
    link = await _relay(case)
    await case.link_of(other)
    before = len(other.attempts)
    ear = await utp_ear(case, other.place)
    await _tell(case, link, other.place)
    await anyio.sleep(case.limit_s)
    if not other.links or other.links[0].peer.is_closed:
        raise UndecidedError("the connection with the peer ended")
    again = len(ear.syns) + len(other.attempts) - before
    return Outcome("connects again" if again else IGNORED, f"{again} times")


@rule("BEP55-HP-08", Level.STATED, 10, {"over uTP": P, "over TCP": N, "not": F}, role=LEECH)
async def connect_to_a_new_peer(case: SwarmCase) -> str:
    """Connect over uTP when you are told to connect to a peer.

    "Upon receiving the connect message, each peer initiates an uTP connection to the other peer."
    """
    link = await _relay(case)
    other = await case.seed(is_listed=False)
    ear = await utp_ear(case, other.place)
    await _tell(case, link, other.place)
    await case.until(lambda: bool(ear.syns), case.limit_s)
    if ear.syns:
        return "over uTP"
    return "over TCP" if other.attempts else "not"


@rule("BEP55-HP-09", Level.MUST, 5, {SILENT: P, "an error": F}, role=LEECH)
async def connect_to_nobody(case: SwarmCase) -> str:
    """Answer nothing when you are told to connect to where nobody can be.

    "If the receiving peer does not wish to connect to the initiating peer, it SHOULD ignore the
    connect message silently, and MUST NOT respond to the relaying peer with an error message."
    """
    link = await _relay(case)
    for place in (*NONSENSE, ("127.0.0.77", 0)):
        await _tell(case, link, place)
    await anyio.sleep(case.limit_s)
    found = (read_holepunch(each) for each in link.peer.seen)
    errors = [each for each in found if each is not None and each.kind == ERROR]
    return "an error" if errors else SILENT
