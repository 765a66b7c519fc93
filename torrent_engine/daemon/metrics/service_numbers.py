"""The numbers of what the daemon itself does: HTTP, streams, hooks, folders, lists, disks."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import Metric

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.daemon.metrics.families import (
    counter,
    counters,
    gauge,
    gauges,
    gauges_of,
    histograms,
)

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext


def http_numbers(context: "DaemonContext") -> Iterator[Metric]:
    """Yield what concerns requests and their answers."""
    counted = context.state.counters
    yield counters(
        "http_requests", "Answers by interface.", ("api", "class"), sorted(counted.requests.items())
    )
    yield histograms(
        "http_request_seconds", "Until the answer began.", "api", counted.request_times
    )
    yield gauge("http_connections", "Clients that are connected.", context.connections())
    yield gauge("sse_clients", "Streams of events.", counted.event_streams.total())
    yield gauge("stream_readers", "Files that players read.", counted.stream_readers)
    yield counter("stream_bytes", "Bytes that players were sent.", counted.stream_bytes)
    failures = {(kind,): count for kind, count in context.lockout.failures.items()}
    yield counters("auth_failures", "Wrong credentials.", ("kind",), failures.items())


def work_numbers(context: "DaemonContext") -> Iterator[Metric]:
    """Yield what concerns background work."""
    counted = context.state.counters
    yield counters("hooks", "Runs of hooks.", ("event", "result"), sorted(counted.hooks.items()))
    yield histograms("hook_seconds", "Time of a run.", "event", counted.hook_times)
    watched = {(result,): count for result, count in counted.watched_files.items()}
    yield counters("watch_files", "Files of watched folders.", ("result",), watched.items())
    yield counter(
        "restarts", "Times that the engine was opened again.", max(counted.engine_starts - 1, 0)
    )
    background = context.background
    if background is None:
        return
    disks = ((each.folder, each.free_bytes) for each in background.disks.disks)
    yield gauges("disk_free_bytes", "Free space, by a folder of each disk.", "root", disks)
    statuses = background.lists.statuses.values()
    yield gauge("blocklist_rules", "Ranges that are refused.", sum(s.ranges for s in statuses))
    checked = [each.checked_at for each in statuses if each.checked_at]
    if checked:
        age_s = max(time.time() - min(checked), 0.0)
        yield gauge("blocklist_age_seconds", "Since the oldest list was asked for.", age_s)


def swarm_numbers(context: "DaemonContext") -> Iterator[Metric]:
    """Yield what concerns peers and trackers."""
    counts = context.port.events.counts
    announces = {(result,): counts.get(f"announce_{result}", 0) for result in ("ok", "failed")}
    yield counters(
        "tracker_announces", "Announces, by how they ended.", ("result",), announces.items()
    )
    yield counter("hash_failures", "Pieces that failed their hash.", counts.get("hash_failed", 0))
    banned = {("peer",): counts.get("peer_banned", 0)}
    banned["web_seed",] = counts.get("web_seed_banned", 0)
    yield counters("peers_banned", "Bans for wrong data.", ("source",), banned.items())
    connected = {(way,): counts.get(way, 0) for way in ("incoming", "outgoing")}
    yield counters(
        "peers_connected", "Handshakes that were completed.", ("direction",), connected.items()
    )
    found: Counter[tuple[str, str]] = Counter()
    for row in context.state.torrents.rows():
        if row.rates.peers:
            try:
                peers = context.port.torrents.peers(row.info_hash)
            except TorrentEngineError:
                continue  # removed meanwhile
            found.update((each.transport, each.encryption) for each in peers)
    yield gauges_of(
        "peers_by_kind", "Connected peers.", ("transport", "encryption"), sorted(found.items())
    )
