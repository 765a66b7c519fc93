"""Reasons why a torrent is idle, and problems of its trackers, as text."""

from typing import TYPE_CHECKING, Final

from torrent_engine.codec.paths import escape_for_terminal
from torrent_engine.engine.states import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torrent_engine.engine.session.session import Session
    from torrent_engine.engine.stats import PeerStats, SessionStats, TrackerStatus
    from torrent_engine.net.dht.service import DhtService

_LOOKING: Final = frozenset({State.DOWNLOADING, State.FETCHING_METADATA})
_ASKING: Final = frozenset({*_LOOKING, State.SEEDING})
QUEUED: Final = "queued: waits for its turn"


def problem_of(session: "Session", stats: "SessionStats") -> str:
    """Return why nothing moves and what trackers say, safe for a terminal; "" if all is well."""
    if stats.state is State.ERROR:
        return (
            escape_for_terminal(str(session.error).strip())
            if session.error is not None
            else "in error"
        )
    if stats.state is State.PAUSED and session.is_held:
        return QUEUED
    reasons = [idle_reason(stats, session.peers()), tracker_problem(session.trackers())]
    reasons = reasons if stats.state in _ASKING else []
    return _line("; ".join(filter(None, reasons)))


def idle_reason(stats: "SessionStats", peers: "Sequence[PeerStats]") -> str:
    """Return why nothing is downloaded; "" if something is, or need not be."""
    if stats.state not in _LOOKING or stats.download_bytes_per_s >= 1:
        return ""
    if not stats.peers:
        return _lonely(stats)
    if stats.state is State.FETCHING_METADATA:
        return "no peer has sent the metadata yet"
    if not any(peer.am_interested for peer in peers):
        return f"{_peers(stats.peers)} connected, none has what is missing"
    if all(peer.peer_choking for peer in peers if peer.am_interested):
        return (
            f"choked by all {stats.peers} peers" if stats.peers > 1 else "choked by the only peer"
        )
    return "waiting for the peers' data"


def _lonely(stats: "SessionStats") -> str:
    if stats.connecting:
        return f"connecting to {_peers(stats.connecting)}"
    known = sum(source.candidates for source in stats.sources.values())
    if known:
        return f"no peers connected, {known:,} known: waiting for the next dial"
    return "no peers found yet"


def tracker_problem(trackers: "Sequence[TrackerStatus]") -> str:
    """Return that all trackers failed, or what one that answers warns of; "" if all is well."""
    asked = [each for each in trackers if each.tier >= 0]
    failed = [each for each in asked if each.failures]
    if failed and len(failed) == len(asked):
        names = "the tracker" if len(asked) == 1 else f"all {len(asked)} trackers"
        return f"{names} failed: {failed[0].message}"
    warnings = (each.message for each in asked if each.message and not each.failures)
    warning = next(warnings, "")
    return f"the tracker says: {warning}" if warning else ""


def dht_state(dht: "DhtService | None") -> str:
    """Return how many nodes the DHT has; "" if it is off."""
    if dht is None:
        return ""
    return f"DHT nodes {dht.node_count:,}" if dht.node_count else "DHT has no nodes yet"


def _peers(count: int) -> str:
    return f"{count:,} peer{'s' * (count != 1)}"


def _line(text: str) -> str:
    return escape_for_terminal(" ".join(text.split()))
