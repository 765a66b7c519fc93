"""Rules of a client of trackers that name peers of IPv6, or are there (BEP 7, 15)."""

from collections.abc import Sequence

import anyio

from torrent_engine.conformance.errors import NotOfferedError
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.swarm.http_tracker import (
    KitPeerAddress,
    answer_with,
    packed_peers,
)
from torrent_engine.conformance.swarm.kit_seed import KitSeed
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.swarm.udp_tracker import (
    ANNOUNCE,
    CONNECT,
    KitUdpRequest,
    KitUdpTracker,
    announced,
    connected,
    parse_udp_announce,
)
from torrent_engine.conformance.swarm.visits import is_let_in, seed_of_ipv6
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, F = Verdict.PASS, Verdict.FAIL
DIALLED, NOT_DIALLED = "connected to", "not connected to"
SAME, OTHER = "the same key", "another key"


def _packed(seed: KitSeed) -> bytes:
    return packed_peers([KitPeerAddress(seed.address, seed.port, seed.peer_id)])


@rule(
    "BEP7-TK-13",
    Level.STATED,
    60,
    {DIALLED: P, NOT_DIALLED: F},
    role=Role.HTTP_TRACKER_CLIENT,
)
async def peers_of_ipv6(case: SwarmCase) -> str:
    """Connect to peers of IPv6 that a tracker names, if you use IPv6.

    BEP 7: "peers6. This key has the same layout as peers in compact mode, but instead of using 6
    bytes per endpoint, 18 bytes are used."
    """
    seed = await seed_of_ipv6(case)
    case.tracker.answer = answer_with(peers6=_packed(seed))
    await case.start()
    await case.announces()
    if await case.until(lambda: bool(seed.attempts), case.limit_s):
        return DIALLED
    if not await is_let_in(case, seed):
        raise NotOfferedError("it takes no connection over IPv6 either")
    return NOT_DIALLED


async def _start_twins(case: SwarmCase) -> KitUdpTracker:
    """Start with a tracker whose name has addresses of both families; return that of IPv6.

    Raises NotOfferedError.
    """
    case.program.has_ipv6 = True
    name, host, host6 = case.network.twins()
    first, second = case.udp_tracker, KitUdpTracker(case.log, anyio.current_time)
    port = await case.network.listen_udp(host, first.take)
    try:
        await case.network.listen_udp(host6, second.take, port)
    except OSError as error:
        raise NotOfferedError("this machine has no IPv6") from error
    await case.start_with(case.torrent.torrent_file(f"udp://{name}:{port}"))
    return second


@rule("BEP15-UT-09", Level.SHOULD, 60, {SAME: P, OTHER: F}, role=Role.UDP_TRACKER_CLIENT)
async def key_for_both_families(case: SwarmCase) -> Outcome:
    """Announce with the same key to both addresses of a tracker.

    BEP 15: "Clients that resolve hostnames to v4 and v6 and then announce to both should use the
    same key for both so that trackers that care about accurate statistics-keeping can match the two
    announces."
    """
    trackers = (case.udp_tracker, await _start_twins(case))
    await case.until(lambda: all(each.of(ANNOUNCE) for each in trackers), case.limit_s)
    found = [parse_udp_announce(each.of(ANNOUNCE)[0]) for each in trackers if each.of(ANNOUNCE)]
    keys = [each.key for each in found if each is not None]
    if len(keys) < len(trackers):
        raise NotOfferedError(f"it announces to {len(keys)} of two addresses of one name")
    is_same = keys[0] == keys[1]
    return Outcome(SAME if is_same else OTHER, f"{keys[0]:08x}, {keys[1]:08x}")


@rule(
    "BEP15-UT-10",
    Level.STATED,
    60,
    {DIALLED: P, NOT_DIALLED: F},
    role=Role.UDP_TRACKER_CLIENT,
)
async def peers_over_ipv6(case: SwarmCase) -> str:
    """Read peers of 18 bytes in the answer of a tracker that is asked over IPv6.

    BEP 15: "IPv6 announces have the same structure as v4 ones, including the used action number
    except that the stride size of <IP address, TCP port> pairs in the response is 18 bytes instead
    of 6."
    """
    seed = await seed_of_ipv6(case)

    def answer(tracker: KitUdpTracker, request: KitUdpRequest) -> Sequence[bytes]:
        if request.action == CONNECT:
            return (connected(request, tracker.new_connection()),)
        if request.action == ANNOUNCE:
            return (announced(request, tracker.interval_s, _packed(seed)),)
        return ()

    case.udp_tracker.answer = answer
    await case.start_udp(over_ipv6=True)
    if await case.until(lambda: bool(seed.attempts), case.limit_s):
        return DIALLED
    if not case.udp_tracker.of(ANNOUNCE):
        raise NotOfferedError("it announces to no tracker over IPv6")
    return NOT_DIALLED
