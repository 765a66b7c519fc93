"""Rules of magnet links whose torrent proves to be private (BEP 27)."""

from typing import Final

from torrent_engine.conformance.errors import UndecidedError
from torrent_engine.conformance.frames import extended
from torrent_engine.conformance.rule import rule
from torrent_engine.conformance.rules.bep10_leech import their_handshake
from torrent_engine.conformance.rules.bep11_leech import PEX, PEX_ID, is_pex, names_of
from torrent_engine.conformance.swarm.metadata import KitMetadata
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, F = Verdict.PASS, Verdict.FAIL
SOME: Final = range(10)
"""The pieces that the kit has: the download does not end, and the connections stay."""
NEITHER: Final = "neither"
NAMES: Final = "names peers"
CONNECTS: Final = "connects to those named"


@rule("BEP27-PR-07", Level.CONV, 75, {NEITHER: P, NAMES: F, CONNECTS: F}, role=Role.MAGNET)
async def link_of_a_private_torrent(case: SwarmCase) -> str:
    """Exchange no peers any more once metadata says that the torrent is private.

    BEP 27 speaks of a metainfo file; of links nobody states it. "it MUST ONLY announce itself to
    the private tracker, and MUST ONLY initiate connections to peers returned from the private
    tracker."
    """
    case.torrent = case.torrent.made_private()
    scripts = [
        KitMetadata(case.torrent, numbers={PEX: PEX_ID}).script(pieces=SOME) for _ in range(2)
    ]
    seeds = [await case.seed(each) for each in scripts]
    await case.start_magnet()
    links = [await case.link_of(each) for each in seeds]
    if not await case.until(lambda: any(each.requests for each in seeds), case.limit_s):
        raise UndecidedError("it requested nothing after the metadata")
    other = await case.seed(is_listed=False)
    numbers = (await their_handshake(case, links[0])).get(b"m")
    number = numbers.get(PEX) if isinstance(numbers, dict) else None
    data = extended(number if isinstance(number, int) and number else PEX_ID, names_of(other.place))
    await links[0].peer.send(data, "ut_pex")
    before = [len(each.peer.seen) for each in links]

    def has_named() -> bool:
        pairs = zip(links, before, strict=True)
        return any(is_pex(frame) for link, start in pairs for frame in link.peer.seen[start:])

    await case.until(lambda: has_named() or bool(other.attempts), case.limit_s)
    if other.attempts:
        return CONNECTS
    return NAMES if has_named() else NEITHER
