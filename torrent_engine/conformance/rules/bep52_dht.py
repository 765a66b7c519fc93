"""Rules of hybrids in the DHT (BEP 52)."""

from torrent_engine.conformance.dht.dht_case import DhtCase
from torrent_engine.conformance.errors import NotOfferedError
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.v2_torrents import v2_torrent
from torrent_engine.conformance.verdicts import Level, Role, Verdict


@rule(
    "BEP52-AN-02",
    Level.CONV,
    60,
    {"both": Verdict.PASS, "one": Verdict.NON_STRICT},
    role=Role.DHT,
)
async def lookups_of_a_hybrid(case: DhtCase) -> Outcome:
    """Look both hashes of a hybrid up.

    BEP 52: "Implementations supporting both formats can join both swarms by calculating the new and
    old infohashes".
    """
    torrent, node = v2_torrent(is_hybrid=True), await case.node()
    await case.start_quietly(node, torrent=torrent)
    wanted = set(torrent.info_hashes)

    def found() -> set[bytes]:
        asked = {each.argument(b"info_hash") for each in node.queries}
        return asked & wanted

    is_both = await case.until(lambda: found() == wanted, case.limit_s)
    if not found():
        raise NotOfferedError("it looks up neither hash of a hybrid")
    return Outcome("both" if is_both else "one", f"{len(found())} hashes")
