"""The numbers of what the daemon itself does: HTTP, streams, hooks, folders, lists, disks."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import Metric

from torrent_engine.daemon.metrics.families import (
    counter,
    counters,
    gauge,
    gauges,
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
    banned = {("hash",): counts.get("peer_banned", 0)}
    banned["web_seed",] = counts.get("web_seed_banned", 0)
    yield counters("peers_banned", "Bans for wrong data.", ("source",), banned.items())
    refused = (((source,), count) for source, count in context.state.total_facts.refused)
    yield counters("peers_blocked", "Peers that were refused.", ("source",), refused)
    connected = {(way,): counts.get(way, 0) for way in ("incoming", "outgoing")}
    yield counters(
        "peers_connected", "Handshakes that were completed.", ("direction",), connected.items()
    )
    times = context.port.events.announce_times
    yield histograms("tracker_announce_seconds", "Time of an announce.", "scheme", times)


def disk_numbers(context: "DaemonContext") -> Iterator[Metric]:
    """Yield what concerns the disks, but for their free space."""
    facts = context.state.total_facts
    yield gauge("disk_queue_bytes", "Received and not written.", facts.disk_queue_bytes)
    errors = (((kind,), count) for kind, count in facts.disk_errors)
    yield counters("disk_errors", "Failures of disks.", ("kind",), errors)
    yield counter("hash_check_bytes", "Bytes of checked pieces.", facts.checked_bytes)
