"""Rules of nodes that are lied to, or used against others (BEP 5, 33)."""

from typing import TYPE_CHECKING, Final

from torrent_engine.conformance.dht.dht_case import DhtCase, random_hash
from torrent_engine.conformance.dht.krpc import query
from torrent_engine.conformance.errors import UndecidedError
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.verdicts import Level, Role, Verdict

if TYPE_CHECKING:
    from torrent_engine.conformance.bencoding import Bencodable

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
DHT: Final = Role.DHT
PORTS: Final = 60
FEW: Final = 10


@rule("BEP5-DT-25", Level.MUST, 30, {"one": P, "ten or fewer": N, "more": F}, role=DHT)
async def many_ports_of_one_address(case: DhtCase) -> Outcome:
    """Name one peer of an address, however many ports it announces.

    BEP 33: "Nodes must store peer information as sets of unique IPs for each infohash."
    """
    node, info_hash = await case.node(), random_hash()
    token = await case.token(node, info_hash)
    for port in range(10_000, 10_000 + PORTS):
        arguments: dict[bytes, Bencodable] = {
            b"id": node.node_id,
            b"info_hash": info_hash,
            b"port": port,
            b"token": token,
        }
        data = query(b"p%d" % port, "announce_peer", arguments)
        await node.send(data, case.target)
        await case.until(lambda: False, 0.05)
    count = len(set(await case.peers(info_hash)))
    if not count:
        raise UndecidedError("no announce was accepted")
    name = "one" if count == 1 else "ten or fewer" if count <= FEW else "more"
    return Outcome(name, f"{count} of {PORTS}")


QUERIES: Final = (
    ("ping", ()),
    ("find_node", (b"target",)),
    ("get_peers", (b"info_hash",)),
    ("get", (b"target",)),
    ("sample_infohashes", (b"target",)),
)


@rule(
    "BEP5-DT-27",
    Level.ROBUST,
    20,
    {"10 times or less": P, "20 times or less": N, "more": F},
    role=DHT,
)
async def size_of_answers(case: DhtCase) -> Outcome:
    """Send an address that may be forged little more than what came from it.

    No BEP states it.
    """
    most, what = 0.0, ""
    for method, keys in QUERIES:
        node = await case.node()
        arguments: dict[bytes, Bencodable] = {b"id": node.node_id, b"want": [b"n4", b"n6"]}
        arguments |= dict.fromkeys(keys, random_hash())
        data = query(b"am", method, arguments)
        answer = await node.try_sending(case.target, data, b"am")
        ratio = answer.size / len(data) if answer is not None else 0.0
        if ratio > most:
            most, what = ratio, method
    if not what:
        raise UndecidedError("nothing was answered")
    name = "10 times or less" if most <= 10 else "20 times or less" if most <= 20 else "more"
    return Outcome(name, f"{most:.1f} times, {what}")
