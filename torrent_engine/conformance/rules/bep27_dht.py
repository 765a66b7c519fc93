"""Rules of private torrents in the DHT (BEP 27)."""

from typing import Final

import anyio

from torrent_engine.conformance.dht.dht_case import DhtCase
from torrent_engine.conformance.errors import UndecidedError
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.torrent_set import basic_torrent
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, F = Verdict.PASS, Verdict.FAIL
WATCH_S: Final = 30.0


@rule("BEP27-PR-01", Level.MUST, 40, {"not looked up": P, "looked up": F}, role=Role.DHT)
async def private_torrent(case: DhtCase) -> Outcome:
    """Look up and announce no private torrent in the DHT.

    BEP 27: "When a BitTorrent client obtains a metainfo file containing the "private=1" key-value
    pair, it MUST ONLY announce itself to the private tracker".
    """
    node = await case.node()
    program = await case.start_quietly(node, torrent=basic_torrent().made_private())
    await anyio.sleep(WATCH_S * case.patience)
    if not program.is_running():
        raise UndecidedError("the program ended")
    info_hash = program.torrent.info_hash
    asked = [each for each in node.queries if each.argument(b"info_hash") == info_hash]
    return Outcome("looked up" if asked else "not looked up", f"{len(node.queries)} queries")
