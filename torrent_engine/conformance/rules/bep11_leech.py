"""Rules of a download for peers that others name (BEP 11), and for private torrents (BEP 27)."""

from typing import Final

import anyio

from torrent_engine.conformance.bencoding import bencode
from torrent_engine.conformance.extensions import Dictionary, number_of, own_handshake
from torrent_engine.conformance.frames import EXTENDED, Frame, FrameType, extended
from torrent_engine.conformance.raw_peer import RawPeer
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.rules.bep10_leech import their_handshake
from torrent_engine.conformance.rules.bep55_holepunch import NAME as HOLEPUNCH
from torrent_engine.conformance.rules.bep55_holepunch import OWN_ID as HOLEPUNCH_ID
from torrent_engine.conformance.swarm.http_tracker import KitPeerAddress, packed_peers
from torrent_engine.conformance.swarm.kit_seed import SeedLink, SeedScript
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
LEECH: Final = Role.LEECH
PEX: Final = b"ut_pex"
PEX_ID: Final = 5
REACHABLE: Final = b"\x10"
MANY: Final = 150
MESSAGES: Final = 5
MAX_DIALS: Final = 50
DIALLED, NOT_DIALLED = "dialled", "not dialled"
SILENT: Final = "silence"
NONSENSE: Final = (("224.0.0.1", 6_881), ("255.255.255.255", 6_881), ("0.0.0.0", 6_881))  # noqa: S104
"""A group, everybody, and nobody."""


def names_of(*places: tuple[str, int]) -> bytes:
    """Return the content of a message that adds peers."""
    added = packed_peers([KitPeerAddress(host, port, b"") for host, port in places])
    content: Dictionary = {b"added": added, b"added.f": REACHABLE * len(places)}
    return bencode(content)


async def _greet(link: SeedLink) -> None:
    data = own_handshake({PEX: PEX_ID, HOLEPUNCH: HOLEPUNCH_ID})
    await link.peer.send(data, "extended handshake")


NAMING: Final = SeedScript(reserved=EXTENDED, pieces=(), after_greeting=_greet)
"""Of a peer without pieces, which others have to make up for."""


async def _leave(_: RawPeer) -> bool:
    return False


LEAVING: Final = SeedScript(before_greeting=_leave)
"""Of a peer that ends each connection: so many at a time are more than some programs have."""


async def _name(case: SwarmCase, link: SeedLink, *places: tuple[str, int]) -> None:
    """Send a message of peer exchange. Raises NotOfferedError."""
    number = number_of(await their_handshake(case, link), PEX)
    await link.peer.send(extended(number, names_of(*places)), f"ut_pex: {places}")


@rule("BEP11-PX-13", Level.STATED, 60, {DIALLED: P, NOT_DIALLED: F}, role=LEECH)
async def peer_that_another_names(case: SwarmCase) -> str:
    """Connect to a peer that another one has named, if you have too few.

    "Peer Exchange (PEX) provides an alternative peer discovery mechanism for swarms".
    """
    link = await case.link_to(await case.seed(NAMING))
    other = await case.seed(is_listed=False)
    await _name(case, link, other.place)
    return DIALLED if await case.dials(other, case.limit_s) else NOT_DIALLED


@rule(
    "BEP11-PX-14",
    Level.ROBUST,
    60,
    {"only the new one": P, NOT_DIALLED: N, "one that is connected": F},
    role=LEECH,
)
async def places_that_nobody_has(case: SwarmCase) -> str:
    """Take what makes sense of a message that names odd places, your own and one you have.

    "Data exchanged via PEX messages should be considered untrusted and potentially malicious."
    """
    first = await case.seed(NAMING)
    link = await case.link_to(first)
    other = await case.seed(is_listed=False)
    own = (link.peer.address, case.program.port)
    places = (*NONSENSE, (other.address, 0), own, first.place, other.place)
    await _name(case, link, *places)
    is_dialled = await case.dials(other, case.limit_s)
    if len(first.attempts) > 1:
        return "one that is connected"
    return "only the new one" if is_dialled else NOT_DIALLED


@rule("BEP11-PX-12", Level.ROBUST, 10, {"50 or fewer": P, "more": N}, role=LEECH)
async def many_names_at_once(case: SwarmCase) -> Outcome:
    """Connect to few peers at a time, whatever number of them one peer names.

    BEP 11 warns of names that are to make many programs connect to one place; how many connections
    are too many is stated nowhere.
    """
    link = await case.link_to(await case.seed(NAMING))
    others = [await case.seed(NAMING, is_listed=False) for _ in range(MANY)]
    places = [each.place for each in others]
    for start in range(0, MANY, MANY // MESSAGES):
        await _name(case, link, *places[start : start + MANY // MESSAGES])
    await anyio.sleep(case.limit_s)
    count = sum(bool(each.attempts) for each in others)
    return Outcome("more" if count > MAX_DIALS else "50 or fewer", f"{count} of {MANY}")


@rule("BEP11-PX-16", Level.SHOULD, 90, {"among them": P, "last": N, NOT_DIALLED: F}, role=LEECH)
async def names_of_one_source(case: SwarmCase) -> Outcome:
    """Connect to peers that others name before all those of one that names many.

    BEP 11: "clients should avoid obtaining all their connection candidates from a single PEX
    source".
    """
    first, beside = await case.seed(NAMING), await case.seed(NAMING)
    link = await case.link_to(first)
    second = await case.link_of(beside)
    many = [await case.seed(LEAVING, is_listed=False) for _ in range(MANY)]
    other = await case.seed(LEAVING, is_listed=False)
    await their_handshake(case, second)
    places = [each.place for each in many]
    for start in range(0, MANY, MANY // MESSAGES):
        await _name(case, link, *places[start : start + MANY // MESSAGES])
    await _name(case, second, other.place)
    if not await case.dials(other, case.limit_s):
        return Outcome(NOT_DIALLED)
    before = sum(bool(each.attempts) and each.attempts[0] <= other.attempts[0] for each in many)
    return Outcome("last" if before == MANY else "among them", f"after {before} of {MANY}")


def is_pex(frame: Frame) -> bool:
    """Return whether a message names peers to the kit."""
    return frame.number == FrameType.EXTENDED and frame.payload[:1] == bytes([PEX_ID])


@rule(
    "BEP27-PR-03",
    Level.MUST,
    75,
    {"not offered": P, "offered, but silent": N, "names peers": F},
    role=LEECH,
)
async def peer_exchange_of_a_private_torrent(case: SwarmCase) -> str:
    """Name no peers of a private torrent to others.

    "When a BitTorrent client obtains a metainfo file containing the "private=1" key-value pair, it
    MUST ONLY announce itself to the private tracker, and MUST ONLY initiate connections to peers
    returned from the private tracker."
    """
    case.torrent = case.torrent.made_private()
    seed, other = await case.seed(NAMING), await case.seed(NAMING)
    link = await case.link_to(seed)
    await case.link_of(other)
    content = await their_handshake(case, link)
    numbers = content.get(b"m")
    is_offered = isinstance(numbers, dict) and numbers.get(PEX) not in {None, 0}
    if await case.until(lambda: any(map(is_pex, link.peer.seen)), case.limit_s):
        return "names peers"
    return "offered, but silent" if is_offered else "not offered"


@rule("BEP27-PR-04", Level.MUST, 20, {NOT_DIALLED: P, DIALLED: F}, role=LEECH)
async def peers_of_a_private_torrent(case: SwarmCase) -> str:
    """Connect to no peer of a private torrent that its tracker has not named.

    "MUST ONLY initiate connections to peers returned from the private tracker."
    """
    case.torrent = case.torrent.made_private()
    link = await case.link_to(await case.seed(NAMING))
    content = await their_handshake(case, link)
    numbers = content.get(b"m")
    number = numbers.get(PEX) if isinstance(numbers, dict) else None
    other = await case.seed(is_listed=False)
    data = extended(number if isinstance(number, int) and number else 1, names_of(other.place))
    await link.peer.send(data, "ut_pex")
    return DIALLED if await case.dials(other, case.limit_s) else NOT_DIALLED
