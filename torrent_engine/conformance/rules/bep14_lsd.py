"""Rules of local service discovery (BEP 14), also of private torrents (BEP 27)."""

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import anyio

from torrent_engine.conformance.errors import NotOfferedError, UndecidedError
from torrent_engine.conformance.lab import OTHER_NETWORK
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.swarm.kit_seed import KitSeed
from torrent_engine.conformance.swarm.lsd import END, KitLsd, LsdPacket, lsd_announce
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
LSD: Final = Role.LSD
DIALLED, NOT_DIALLED = "dialled", "not dialled"
START_S: Final = 60.0
AGAIN_S: Final = 4.0
WATCH_S: Final = 12.0
MINUTE_S, OFTEN_S, USUAL_S = 59.0, 10.0, 360.0


async def _join(case: SwarmCase) -> KitLsd:
    """Join the local network, with a torrent that no other case has: all hear everybody."""
    case.torrent = case.torrent.with_info(x_case=random.randbytes(8).hex().encode())  # noqa: S311
    return await case.locals()


async def _first(case: SwarmCase, *, within_s: float = 0.0) -> tuple[KitLsd, LsdPacket]:
    """Start the program, and wait for an announce. Raises NotOfferedError if none comes."""
    lsd = await _join(case)
    await case.start()
    info_hash = case.torrent.info_hash
    if not await case.until(lambda: bool(lsd.of(info_hash)), within_s or START_S * case.patience):
        raise NotOfferedError("it announces nothing on the local network")
    return lsd, lsd.of(info_hash)[0]


@rule("BEP14-LS-01", Level.STATED, 330, {"well-formed": P, "malformed": F}, role=LSD)
async def form_of_local_announces(case: SwarmCase) -> Outcome:
    """Send announces with the request line, Host, Port and Infohash to the group.

    BEP 14: "A LSD announce is formatted as follows: BT-SEARCH * HTTP/1.1".
    """
    _, packet = await _first(case, within_s=case.limit_s)
    name = "well-formed" if packet.is_well_formed() else "malformed"
    return Outcome(name, repr(packet.data))


@rule("BEP14-LS-02", Level.STATED, 330, {"its port": P, "another": F, "no end": F}, role=LSD)
async def port_of_local_announces(case: SwarmCase) -> Outcome:
    """Announce the port where you listen, and end with an empty line.

    BEP 14: "port on which the bittorrent client is listening in base-10, ascii".
    """
    _, packet = await _first(case, within_s=case.limit_s)
    if not packet.data.endswith(END):
        return Outcome("no end", repr(packet.data[-8:]))
    port = packet.value(b"port")
    return Outcome("its port" if port == b"%d" % case.program.port else "another", repr(port))


@rule("BEP14-LS-03", Level.SHOULD, 430, {"each five minutes": P, "else": N, "often": F}, role=LSD)
async def rate_of_local_announces(case: SwarmCase) -> Outcome:
    """Announce every five minutes, and not more than once a minute.

    BEP 14: a client "should send a LSD announce every 5 minutes on each interface"; it "should send
    no more than 1 announce per minute".
    """
    lsd, first = await _first(case)
    await anyio.sleep(case.limit_s)
    times = [each.at for each in lsd.of(case.torrent.info_hash)]
    gaps = [after - before for before, after in pairwise(times)]
    detail = f"{len(times)} announces, {', '.join(f'{each:.0f} s' for each in gaps)}"
    if any(each < OFTEN_S for each in gaps):
        return Outcome("often", detail)
    is_repeated = any(first.at + MINUTE_S < each <= first.at + USUAL_S for each in times)
    is_seldom = all(each >= MINUTE_S for each in gaps)
    return Outcome("each five minutes" if is_repeated and is_seldom else "else", detail)


async def _seed(case: SwarmCase, address: str = "") -> KitSeed:
    """Let a seed listen that only announces on the local network name."""
    return await case.seed(is_listed=False, address=address)


async def _tell(
    case: SwarmCase, lsd: KitLsd, seed: KitSeed, data: bytes, *, is_unicast: bool = False
) -> str:
    """Send a packet a few times; return whether a seed is dialled then."""
    for _ in range(3):
        await lsd.send(data, seed.address, is_unicast=is_unicast)
        if await case.until(lambda: bool(seed.attempts), AGAIN_S * case.patience):
            return DIALLED
    return DIALLED if await case.dials(seed, WATCH_S * case.patience) else NOT_DIALLED


@rule("BEP14-LS-04", Level.STATED, 30, {DIALLED: P, NOT_DIALLED: F}, role=LSD)
async def announce_of_a_neighbour(case: SwarmCase) -> str:
    """Connect to a neighbour that announces the torrent.

    BEP 14: "On receiving a LSD announce a client will have to determine the IP address on which the
    remote client can be contacted based on the UDP source address."
    """
    lsd, _ = await _first(case)
    seed = await _seed(case)
    return await _tell(case, lsd, seed, lsd_announce(seed.port, [case.torrent.info_hash]))


@rule("BEP14-LS-05", Level.STATED, 30, {NOT_DIALLED: P, DIALLED: F}, role=LSD)
async def announce_of_its_own(case: SwarmCase) -> str:
    """Take no notice of an announce with your own cookie.

    BEP 14: "opaque value, allowing the sending client to filter out its own announces if it
    receives them via multicast loopback".
    """
    lsd, packet = await _first(case)
    cookie = packet.value(b"cookie")
    if not cookie:
        raise NotOfferedError("it sends no cookie")
    seed = await _seed(case)
    data = lsd_announce(seed.port, [case.torrent.info_hash], cookie=cookie)
    return await _tell(case, lsd, seed, data)


@rule("BEP14-LS-06", Level.SHOULD, 40, {DIALLED: P, "first hash only": N, "neither": F}, role=LSD)
async def announce_of_several_torrents(case: SwarmCase) -> str:
    """Take announces with several hashes, and with headers that you do not know.

    BEP 14: "An announce may contain multiple, consecutive Infohash headers to announce the
    participation in more than one torrent"; "any additional headers that not understood by a client
    should be ignored".
    """
    lsd, _ = await _first(case)
    seed, info_hash, more = await _seed(case), case.torrent.info_hash, b"X-Kit: one\r\n"
    both = lsd_announce(seed.port, [bytes(20), info_hash], more=more)
    if await _tell(case, lsd, seed, both) == DIALLED:
        return DIALLED
    one = lsd_announce(seed.port, [info_hash], more=more)
    return "first hash only" if await _tell(case, lsd, seed, one) == DIALLED else "neither"


def _junk(info_hash: bytes, port: int) -> Sequence[bytes]:
    """Return packets that nobody can use."""
    return (
        b"\0" * 60_000,
        b"BT-SEARCH * HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        lsd_announce(0, [info_hash]),
        lsd_announce(70_000, [info_hash]),
        lsd_announce("x" * 500, [info_hash]),
        lsd_announce(port, [info_hash.hex()[:-1]]),
        lsd_announce(port, [], more=b"Infohash:\r\n" * 60),
        lsd_announce(port, [info_hash], host="")[:-4],
    )


@rule("BEP14-LS-07", Level.ROBUST, 30, {DIALLED: P, NOT_DIALLED: F}, role=LSD)
async def packets_that_make_no_sense(case: SwarmCase) -> str:
    """Go on after packets that make no sense.

    Nobody states it.
    """
    lsd, _ = await _first(case)
    seed, strange = await _seed(case), await _seed(case)
    for each in _junk(case.torrent.info_hash, strange.port):
        await lsd.send(each, strange.address)
    return await _tell(case, lsd, seed, lsd_announce(seed.port, [case.torrent.info_hash]))


@rule("BEP14-LS-08", Level.ROBUST, 30, {NOT_DIALLED: P, DIALLED: N}, role=LSD)
async def announce_of_another_network(case: SwarmCase) -> str:
    """Take no announce that comes to you alone, from another network.

    Nobody states it; the groups are those of one site (BEP 14).
    """
    lsd, _ = await _first(case)
    seed = await _seed(case, f"{OTHER_NETWORK}.0.0.2")
    data = lsd_announce(seed.port, [case.torrent.info_hash])
    return await _tell(case, lsd, seed, data, is_unicast=True)


@rule("BEP14-LS-09", Level.STATED, 60, {"both groups": P, "malformed": F}, role=LSD)
async def group_of_ipv6(case: SwarmCase) -> Outcome:
    """Announce to the group of IPv6, too.

    BEP 14: "LSD uses the following multicast groups: A) 239.192.152.143:6771 (org-local) and B)
    [ff15::efc0:988f]:6771 (site-local)".
    """
    lsd, _ = await _first(case)
    info_hash = case.torrent.info_hash
    if not await case.until(lambda: bool(lsd.of(info_hash, is_ipv6=True)), case.limit_s):
        raise NotOfferedError("it announces nothing to the group of IPv6")
    packet = lsd.of(info_hash, is_ipv6=True)[0]
    name = "both groups" if packet.is_well_formed() else "malformed"
    return Outcome(name, repr(packet.data))


@rule("BEP27-PR-02", Level.MUST, 60, {"not announced": P, "announced": F}, role=LSD)
async def private_torrent_on_the_local_network(case: SwarmCase) -> Outcome:
    """Announce no private torrent on the local network.

    BEP 27: "When a BitTorrent client obtains a metainfo file containing the "private=1" key-value
    pair, it MUST ONLY announce itself to the private tracker".
    """
    lsd = await _join(case)
    case.torrent = case.torrent.with_info(private=1)
    await case.start()
    if not await case.until(lambda: bool(case.tracker.announces), START_S * case.patience):
        raise UndecidedError("it announced nothing to its tracker")
    await anyio.sleep(case.limit_s)
    found = lsd.of(case.torrent.info_hash)
    return Outcome("announced" if found else "not announced", f"{len(lsd.packets)} packets")
