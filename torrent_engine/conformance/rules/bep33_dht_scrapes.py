"""Rules of scrapes of the DHT (BEP 33)."""

import hashlib
import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from torrent_engine.conformance.dht.dht_case import DhtCase, random_hash
from torrent_engine.conformance.dht.kit_node import KitNode
from torrent_engine.conformance.errors import NotOfferedError, UndecidedError
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.verdicts import Level, Role, Verdict

if TYPE_CHECKING:
    from torrent_engine.conformance.bencoding import Bencodable

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
DHT: Final = Role.DHT
FILTER_BYTES: Final = 256
FILTER_BITS: Final = FILTER_BYTES * 8
SOME: Final = 10


def bloom_filter(hosts: Iterable[str]) -> bytes:
    """Return the filter of BEP 33 with these addresses in it."""
    bits = 0
    for host in hosts:
        digest = hashlib.sha1(ipaddress.ip_address(host).packed, usedforsecurity=False).digest()
        for start in (0, 2):
            bits |= 1 << int.from_bytes(digest[start : start + 2], "little") % FILTER_BITS
    return bits.to_bytes(FILTER_BYTES, "little")


async def _announced(case: DhtCase, info_hash: bytes) -> tuple[list[KitNode], list[KitNode]]:
    """Announce seeds and others; return the nodes that did."""
    seeds = [await case.node() for _ in range(SOME)]
    others = [await case.node() for _ in range(SOME)]
    for each in seeds:
        await case.announce(each, info_hash, seed=1)
    for each in others:
        await case.announce(each, info_hash)
    return seeds, others


@rule("BEP33-SC-01", Level.MUST, 40, {"right": P, "other bits": F}, role=DHT)
async def filters_of_a_scrape(case: DhtCase) -> Outcome:
    """Answer a scrape with two filters, of the seeds and of the others.

    BEP 33: "then it must add two fields to the "r" dictionary in the response"; "Each field must be
    256 bytes in size". The one who asks has announced before, so that its address is no forged one.
    """
    info_hash = random_hash()
    seeds, others = await _announced(case, info_hash)
    arguments: dict[bytes, Bencodable] = {b"info_hash": info_hash, b"scrape": 1}
    found = await others[0].ask(case.target, "get_peers", arguments)
    if b"BFsd" not in found.values and b"BFpe" not in found.values:
        raise NotOfferedError("it sends no filters")
    wanted = [bloom_filter(each.address[0] for each in some) for some in (seeds, others)]
    is_right = [found.text(key) for key in (b"BFsd", b"BFpe")] == wanted
    return Outcome("right" if is_right else "other bits")


@rule("BEP33-SC-02", Level.SHOULD, 40, {"no seeds": P, "seeds too": N}, role=DHT)
async def peers_that_are_no_seeds(case: DhtCase) -> Outcome:
    """Name peers that are no seeds to one who asks for them.

    BEP 33: "If "noseed" is set to 1 in the request then the responding node should try to fill the
    values list with non-seed items on a best-effort basis."
    """
    info_hash = random_hash()
    seeds, others = await _announced(case, info_hash)
    arguments: dict[bytes, Bencodable] = {b"info_hash": info_hash, b"noseed": 1}
    found = await others[0].ask(case.target, "get_peers", arguments)
    if not found.peers:
        raise UndecidedError("no peers were named")
    hosts = {str(ipaddress.ip_address(each[:4])) for each in found.peers}
    named = [each for each in seeds if each.address[0] in hosts]
    detail = f"{len(named)} seeds among {len(hosts)}"
    return Outcome("seeds too" if named else "no seeds", detail)
