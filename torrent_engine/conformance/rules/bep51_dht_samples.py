"""Rules of samples of the torrents that a node knows (BEP 51)."""

from typing import Final

from torrent_engine.conformance.dht.dht_case import DhtCase, random_hash
from torrent_engine.conformance.dht.kit_node import KitNode
from torrent_engine.conformance.dht.krpc import ID_BYTES, KrpcMessage, NodeAddress, cut
from torrent_engine.conformance.errors import NotOfferedError
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
DHT: Final = Role.DHT
MAX_INTERVAL_S: Final = 21_600
TORRENTS: Final = 5
KEYS: Final = "sample_infohashes"


async def _sample(node: KitNode, to: NodeAddress) -> KrpcMessage:
    """Ask for samples. Raises NotOfferedError if there are none."""
    for _ in range(2):
        found = await node.try_asking(to, KEYS, {b"target": random_hash()})
        if found is not None and found.kind == b"r" and b"samples" in found.values:
            return found
    raise NotOfferedError("no answer has samples")


@rule("BEP51-SI-01", Level.SHOULD, 30, {"empty": P, "something": F}, role=DHT)
async def samples_of_an_empty_node(case: DhtCase) -> Outcome:
    """Answer with samples of no length while you know no torrent.

    BEP 51: "Nodes supporting this extension should always include the samples field in the
    response, even when it is zero-length."
    """
    node = await case.node()
    program = await case.start(node)
    found = await _sample(node, program.address)
    samples = found.text(b"samples")
    return Outcome("something" if samples else "empty", samples.hex())


@rule("BEP51-SI-02", Level.STATED, 30, {"right": P, "wrong": F}, role=DHT)
async def form_of_samples(case: DhtCase) -> Outcome:
    """Answer with whole hashes of torrents, their number, an interval, and nodes.

    BEP 51: "samples" is "N x 20 bytes"; "The target and nodes/nodes6 mechanic for iterative lookups
    is included"; "interval" is the time until samples change, at most 21,600 seconds, and "num" the
    number of torrents in the storage.
    """
    node, hashes = await case.node(), [random_hash() for _ in range(TORRENTS)]
    for each in hashes:
        await case.announce(node, each)
    found = await _sample(node, case.target)
    samples = found.text(b"samples")
    number, interval = found.values.get(b"num"), found.values.get(b"interval")
    is_right = (
        len(samples) % ID_BYTES == 0
        and isinstance(number, int)
        and number >= len(samples) // ID_BYTES
        and (interval is None or (isinstance(interval, int) and 0 <= interval <= MAX_INTERVAL_S))
        and b"nodes" in found.values
    )
    count = len(list(cut(samples, ID_BYTES)))
    return Outcome(
        "right" if is_right else "wrong", f"{count} of {number!r}, interval {interval!r}"
    )


@rule("BEP51-SI-03", Level.SHOULD, 30, {"the same": P, "another": N}, role=DHT)
async def samples_within_the_interval(case: DhtCase) -> str:
    """Give the same samples again until the interval is over.

    BEP 51: "The recomputation interval is indicated by the interval field in the response"; "the
    precomputed set will not change within that interval".
    """
    node = await case.node()
    program = await case.start(node)
    first, second = [await _sample(node, program.address) for _ in range(2)]
    is_same = first.text(b"samples") == second.text(b"samples")
    return "the same" if is_same else "another"
