"""Rules of DHT nodes with two address families, and of the size of answers (BEP 32)."""

from typing import Final

from torrent_engine.conformance.bencoding import Bencodable
from torrent_engine.conformance.dht.dht_case import DhtCase, random_hash
from torrent_engine.conformance.errors import NotOfferedError, UndecidedError
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
DHT: Final = Role.DHT
WANTS: Final[tuple[list[Bencodable], ...]] = ([b"n4"], [b"n6"], [b"n4", b"n6"])
LONG: Final = 1024
PEERS: Final = 60
LONG_QUERIES: Final = (
    ("get_peers", b"info_hash", 0),
    ("get_peers", b"info_hash", 1),
    ("sample_infohashes", b"target", 0),
    ("find_node", b"target", 0),
)


@rule(
    "BEP32-V6-01",
    Level.SHOULD,
    15,
    {"as wanted": P, "no nodes6": N, "not as wanted": F},
    role=DHT,
)
async def wanted_families(case: DhtCase) -> Outcome:
    """Answer with the kinds of nodes that "want" asks for.

    BEP 32: a node "should include a "nodes" parameter if the request's "want" parameter contained
    the string "n4", and should include a "nodes6" parameter if the request's "want" parameter
    contained the string "n6"."
    """
    wrong: list[str] = []
    for want in WANTS:
        found = await case.ask("find_node", {b"target": random_hash(), b"want": want})
        has = {b"n4": b"nodes" in found.values, b"n6": b"nodes6" in found.values}
        wrong += [
            f"{kind.decode()} of {len(want)}"
            for kind, is_there in has.items()
            if is_there != (kind in want)
        ]
    if not wrong:
        return Outcome("as wanted")
    is_six = all(each.startswith("n6") for each in wrong)
    return Outcome("no nodes6" if is_six else "not as wanted", ", ".join(wrong))


@rule("BEP32-V6-02", Level.SHOULD, 15, {"nodes6": P, "nodes only": F}, role=DHT)
async def answers_over_ipv6(case: DhtCase) -> Outcome:
    """Answer a query over IPv6 with nodes of IPv6.

    BEP 32: "In the absence of a "want" parameter, the reply [...] should include "nodes6" if the
    request was sent over IPv6."
    """
    node = await case.node6()
    found = await node.try_asking(case.target6, "find_node", {b"target": random_hash()})
    if found is None:
        raise NotOfferedError("nobody answers over IPv6")
    return Outcome("nodes6" if b"nodes6" in found.values else "nodes only", repr(found.content))


@rule("BEP32-V6-03", Level.MUST, 20, {"one family": P, "both": F}, role=DHT)
async def peers_of_one_family(case: DhtCase) -> Outcome:
    """Name no peers of IPv6 to one who asks over IPv4.

    BEP 32: "must not send hybrid lists in a reply to an IPv4 request that doesn't contain a "want"
    parameter."
    """
    info_hash = random_hash()
    await case.announce(await case.node(), info_hash)
    six = await case.node6()
    got = await six.try_asking(case.target6, "get_peers", {b"info_hash": info_hash})
    if got is None:
        raise NotOfferedError("nobody answers over IPv6")
    arguments: dict[bytes, Bencodable] = {
        b"info_hash": info_hash,
        b"port": 6881,
        b"token": got.text(b"token"),
    }
    await six.try_asking(case.target6, "announce_peer", arguments)
    peers = await case.peers(info_hash)
    if not peers:
        raise UndecidedError("the announce was not accepted")
    lengths = sorted({len(each) for each in peers})
    return Outcome("one family" if lengths == [6] else "both", f"lengths {lengths}")


@rule("BEP32-V6-04", Level.MUST, 40, {"1,024 bytes or fewer": P, "more": F}, role=DHT)
async def longest_answers(case: DhtCase) -> Outcome:
    """Send no datagram with more than 1,024 bytes.

    BEP 32: "A node obeying this specification must not send UDP datagrams with a payload larger
    than 1024 octets"; a value of BEP 44 does not fit into that, so "get" is not asked.
    """
    info_hash, node = random_hash(), await case.node()
    for _ in range(PEERS):
        await case.announce(await case.node(), info_hash)
    await case.announce(node, info_hash)
    found = []
    for method, key, scrape in LONG_QUERIES:
        arguments: dict[bytes, Bencodable] = {
            key: info_hash,
            b"scrape": scrape,
            b"want": [b"n4", b"n6"],
        }
        answer = await node.try_asking(case.target, method, arguments)
        found += [] if answer is None else [answer]
    if not any(each.peers for each in found):
        raise UndecidedError("no peers were named")
    most = max(each.size for each in found)
    return Outcome("1,024 bytes or fewer" if most <= LONG else "more", f"{most} bytes")
