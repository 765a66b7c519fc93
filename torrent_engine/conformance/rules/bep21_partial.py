"""Rules of downloads of some files only (BEP 21), and of private torrents that change trackers."""

from typing import Final

import anyio

from torrent_engine.conformance.errors import NotOfferedError, UndecidedError
from torrent_engine.conformance.extensions import content_of, is_handshake
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.rules.bep12_tiers import break_off
from torrent_engine.conformance.swarm.http_tracker import answer_with
from torrent_engine.conformance.swarm.kit_seed import KitSeed
from torrent_engine.conformance.swarm.metadata import KitMetadata
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.torrent_set import multi_torrent
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F, U = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL, Verdict.UNSUPPORTED
INTERVAL_S: Final = 12
SETTLE_S: Final = 5.0
FIRST: Final = "multi/first.bin"
LAST: Final = "multi/last.bin"


async def _partial_seed(case: SwarmCase) -> KitSeed:
    """Let the program download the first file only. Raises NotOfferedError, UndecidedError."""
    case.torrent = multi_torrent()
    case.tracker.answer = answer_with(interval=INTERVAL_S)
    seed = await case.seed(KitMetadata(case.torrent).script())
    await case.start_magnet(f"{case.torrent.magnet()}&so=0")
    wanted = set(case.torrent.file_pieces(0))

    def has_asked() -> bool:
        return wanted <= {each.index for each in seed.requests}

    if not await case.until(has_asked, case.limit_s):
        raise UndecidedError("it does not request the file that the link selects")
    await anyio.sleep(SETTLE_S)
    if {each.index for each in seed.requests} > wanted:
        raise NotOfferedError("it downloads all files")
    return seed


@rule("BEP21-PS-03", Level.MUST, 90, {"paused": P, "without": F}, role=Role.MAGNET)
async def announces_of_a_partial_seed(case: SwarmCase) -> Outcome:
    """Announce "paused" as long as you have all that you want, and not everything.

    BEP 21: "In order to tell the tracker that a peer is a partial seed, it MUST send an
    event=paused parameter in every announce while it is a partial seed."
    """
    await _partial_seed(case)
    before = len(case.tracker.announces)
    announces = case.tracker.announces
    if not await case.until(lambda: len(announces) > before, case.limit_s):
        raise UndecidedError("it announces no more")
    event = announces[before].event
    return Outcome("paused" if event == "paused" else "without", f"event {event!r}")


@rule(
    "BEP21-PS-04",
    Level.SHOULD,
    60,
    {"upload_only": P, "not interested": N, "neither": F},
    role=Role.MAGNET,
)
async def handshake_of_a_partial_seed(case: SwarmCase) -> str:
    """Say that you are not interested any more when you have all that you want.

    BEP 21: "A peer that is a partial seed SHOULD include an extra header in the extension
    handshake, 'upload_only'."
    """
    seed = await _partial_seed(case)
    link = seed.links[0]

    def values() -> list[object]:
        shakes = [each for each in link.peer.seen if is_handshake(each)]
        return [content_of(each).get(b"upload_only") for each in shakes]

    if await case.until(lambda: 1 in values(), SETTLE_S * case.patience):
        return "upload_only"
    return "neither" if link.is_interested else "not interested"


@rule("BEP27-PR-06", Level.MUST, 90, {"disconnects": P, "stays": N}, role=Role.HTTP_TRACKER_CLIENT)
async def another_tracker_of_a_private_torrent(case: SwarmCase) -> str:
    """Disconnect from the peers of a private torrent when another tracker takes over.

    "When switching between trackers, the peer MUST disconnect from all current peers and connect
    only to those provided from the new tracker."
    """
    case.torrent = case.torrent.made_private()
    first, second = await case.new_tracker(), await case.new_tracker()
    first.answer = second.answer = answer_with(interval=INTERVAL_S)
    seed = await case.seed(KitMetadata(case.torrent).script(unchokes=False))
    first.peers = case.tracker.peers
    await case.start(tiers=[[first], [second]])
    link = await case.link_of(seed)
    first.respond = break_off
    if not await case.until(lambda: bool(second.announces), case.limit_s):
        raise UndecidedError("it does not ask the other tracker")
    is_gone = await case.until(lambda: link.peer.is_closed, SETTLE_S * case.patience)
    return "disconnects" if is_gone else "stays"
