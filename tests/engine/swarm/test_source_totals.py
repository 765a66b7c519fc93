"""What came from peers of each source."""

import random
from dataclasses import dataclass, replace
from typing import Any

from torrent_engine.base.config import PoolConfig
from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.cli.output.records import event_record
from torrent_engine.engine.events import StatsUpdated
from torrent_engine.engine.runs.run_stats import idle_stats
from torrent_engine.engine.states import State
from torrent_engine.engine.stats import SOURCE_NAMES, SourceCounts
from torrent_engine.engine.swarm.source_totals import SourceTotals
from torrent_engine.policy.peers.candidates import CandidateList, Source


def address(number: int) -> PeerAddress:
    return PeerAddress(f"8.0.0.{number}", 6881)


@dataclass(eq=False)
class FakePeer:
    """As much of a peer as is counted."""

    address: PeerAddress
    source: Source
    is_incoming: bool
    downloaded_bytes: int


def peer(number: int, source: Source, downloaded_bytes: int = 0) -> Any:
    return FakePeer(
        address=address(number),
        source=source,
        is_incoming=source is Source.INCOMING,
        downloaded_bytes=downloaded_bytes,
    )


def world() -> tuple[CandidateList, SourceTotals]:
    candidates = CandidateList(PoolConfig(), random.Random(1))
    return candidates, SourceTotals(candidates)


def test_every_source_has_its_counts_before_anything_came() -> None:
    _, totals = world()
    assert totals.counts() == dict.fromkeys(SOURCE_NAMES, SourceCounts())


def test_an_address_counts_for_all_who_named_it_and_its_bytes_for_the_first() -> None:
    candidates, totals = world()
    candidates.add(address(1), Source.PEX, now=0)
    candidates.add(address(1), Source.TRACKER, now=0)
    candidates.add(address(2), Source.TRACKER, now=0)
    totals.joined(peer(1, candidates.sources(address(1)), downloaded_bytes=70))
    counts = totals.counts()
    assert counts["pex"] == SourceCounts(candidates=1, connected=1, downloaded_bytes=70)
    assert counts["tracker"] == SourceCounts(candidates=2)


def test_bytes_stay_when_a_peer_has_left() -> None:
    _, totals = world()
    one, other = peer(1, Source.INCOMING, 10), peer(2, Source.INCOMING, 5)
    for each in (one, other):
        totals.joined(each)
    one.downloaded_bytes += 1
    totals.left(one)
    totals.left(one)
    one.downloaded_bytes += 1000
    assert totals.counts()["incoming"] == SourceCounts(connected=1, downloaded_bytes=16)


def test_web_seeds_count_beside_peers() -> None:
    _, totals = world()
    totals.web_seeds = SourceCounts(3, 2, 300)
    assert totals.counts()["web_seed"] == SourceCounts(3, 2, 300)


def test_a_peer_that_is_no_candidate_any_more_counts_for_what_it_was_dialled_for() -> None:
    _, totals = world()
    totals.joined(peer(1, Source.DHT | Source.PEX))
    totals.joined(peer(2, Source(0)))
    counts = totals.counts()
    assert counts["dht"].connected == counts["incoming"].connected == 1


def test_counts_by_source_are_printed_as_json() -> None:
    counts = {"pex": SourceCounts(1, 2, 3)}
    info_hash = InfoHash(b"i" * 20)
    stats = replace(idle_stats(State.SEEDING, "one", None), sources=counts)
    event = StatsUpdated(info_hash, stats)
    shown = {"pex": {"candidates": 1, "connected": 2, "downloaded_bytes": 3}}
    assert event_record(event, time_s=1.0)["sources"] == shown
