"""Rules of torrents with several trackers (BEP 12, 27)."""

from collections.abc import Sequence
from typing import Final

import anyio
from anyio.abc import ByteStream

from torrent_engine.conformance.errors import UndecidedError
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.swarm.http_tracker import KitHttpAnnounce, KitHttpTracker
from torrent_engine.conformance.swarm.kit_seed import SeedScript
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
CLIENT: Final = Role.HTTP_TRACKER_CLIENT
WATCH_S: Final = 5.0
STARTS: Final = 6


async def break_off(stream: ByteStream, _: KitHttpAnnounce, body: bytes) -> None:
    """Answer nothing: the connection is closed."""


async def _trackers(case: SwarmCase, count: int, *, dead: int = 0) -> list[KitHttpTracker]:
    """Return trackers, of which the first ``dead`` close every connection."""
    found = [await case.new_tracker() for _ in range(count)]
    for each in found[:dead]:
        each.respond = break_off
    return found


def _asked(trackers: Sequence[KitHttpTracker]) -> list[KitHttpTracker]:
    """Return those that were asked, in the order of their first announces."""
    some = [each for each in trackers if each.announces]
    return sorted(some, key=lambda each: each.announces[0].at)


async def _wait_for_any(case: SwarmCase, trackers: Sequence[KitHttpTracker]) -> None:
    if not await case.until(lambda: bool(_asked(trackers)), case.limit_s):
        raise UndecidedError("it announced nothing to the trackers of the list")


@rule("BEP12-TK-20", Level.STATED, 60, {"list only": P, "the other too": F}, role=CLIENT)
async def announce_beside_a_list(case: SwarmCase) -> str:
    """Use the trackers of "announce-list", and not that of "announce".

    BEP 12: "the client will ignore the "announce" key and only use the URLs in "announce-list"."
    """
    trackers = await _trackers(case, 1)
    await case.start(tiers=[trackers])
    await case.until(lambda: bool(_asked(trackers) or case.tracker.announces), case.limit_s)
    await anyio.sleep(WATCH_S)
    if not trackers[0].announces and not case.tracker.announces:
        raise UndecidedError("it announced nothing")
    return "the other too" if case.tracker.announces else "list only"


@rule(
    "BEP12-TK-21",
    Level.MUST,
    60,
    {"in order": P, "without waiting for the first": N, "never": F},
    role=CLIENT,
)
async def order_of_tiers(case: SwarmCase) -> str:
    """Try the next tier once all trackers of the one before failed.

    BEP 12: "all URLs in each tier must be checked before the client goes on to the next tier."
    """
    first, second, backup = await _trackers(case, 3, dead=2)
    await case.start(tiers=[[first, second], [backup]])
    if not await case.until(lambda: bool(backup.announces), case.limit_s):
        return "never"
    order = _asked([first, second, backup])
    is_last = len(order) == 3 and order[-1] is backup
    return "in order" if is_last else "without waiting for the first"


@rule(
    "BEP12-TK-22",
    Level.STATED,
    60,
    {"the one that answered": P, "another": N},
    role=CLIENT,
)
async def tracker_that_answered(case: SwarmCase) -> str:
    """Begin with the tracker of a tier that answered before.

    BEP 12: "if a connection with a tracker is successful, it will be moved to the front of the
    tier."
    """
    *dead, alive = await _trackers(case, 3, dead=2)
    seed = await case.seed()
    alive.peers = case.tracker.peers
    await case.start(tiers=[[*dead, alive]])
    if not await case.dials(seed, case.limit_s) or not await case.completes(case.limit_s):
        raise UndecidedError("the download did not complete")
    if not await case.until(lambda: alive.announces[-1].event == "completed", case.limit_s):
        raise UndecidedError("it announced no completion")
    since = alive.announces[0].at
    others = [each for tracker in dead for each in tracker.announces if each.at > since]
    return "another" if others else "the one that answered"


@rule("BEP12-TK-23", Level.STATED, 90, {"shuffled": P, "always the same": N}, role=CLIENT)
async def order_inside_a_tier(case: SwarmCase) -> Outcome:
    """Try the trackers of a tier in a random order.

    BEP 12: "the list will be shuffled when first read, and then parsed in order."
    """
    trackers = await _trackers(case, 4)
    firsts: set[str] = set()
    for _ in range(STARTS):
        for each in trackers:
            each.announces.clear()
        await case.start(tiers=[trackers])
        await _wait_for_any(case, trackers)
        firsts.add(_asked(trackers)[0].url)
        await case.end()
    name = "shuffled" if len(firsts) > 1 else "always the same"
    return Outcome(name, f"{len(firsts)} of {len(trackers)} were the first")


@rule("BEP27-PR-05", Level.MUST, 20, {"one": P, "several": F}, role=CLIENT)
async def trackers_of_a_private_torrent(case: SwarmCase) -> str:
    """Announce a private torrent to one tracker as long as that works.

    BEP 27: "each peer MUST use only one tracker at a time and only switch between trackers when the
    current tracker fails."
    """
    case.torrent = case.torrent.made_private()
    trackers = await _trackers(case, 2)
    await case.seed(SeedScript(unchokes=False))
    for each in trackers:
        each.peers = case.tracker.peers
    await case.start(tiers=[[each] for each in trackers])
    if not await case.until(lambda: bool(_asked(trackers)), case.limit_s):
        raise UndecidedError("it announced nothing")
    await case.until(lambda: len(_asked(trackers)) > 1, case.limit_s)
    return "several" if len(_asked(trackers)) > 1 else "one"
