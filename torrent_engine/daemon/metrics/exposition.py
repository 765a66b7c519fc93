"""The daemon's numbers as Prometheus' text format or OpenMetrics.

No label names a torrent or a tracker, but in the numbers of each torrent.
"""

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

import anyio.to_thread
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from torrent_engine import __version__
from torrent_engine.base.errors import ClosedError
from torrent_engine.daemon.metrics.families import (
    PREFIX,
    counter,
    counters,
    gauge,
    gauges,
    gauges_of,
)
from torrent_engine.daemon.metrics.service_numbers import (
    disk_numbers,
    http_numbers,
    swarm_numbers,
    work_numbers,
)
from torrent_engine.daemon.state.rows import StateRow, TorrentStatus
from torrent_engine.service.loop import loop_name

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

CACHE_S: Final = 1.0
MAX_CATEGORIES: Final = 100
OTHER: Final = "other"


class Expositions:
    """What is told of the daemon, and of each torrent."""

    def __init__(self, context: "DaemonContext") -> None:
        """Have registries of our own; nothing is in the library's global one."""
        self.general = Exposition(GeneralNumbers(context), with_process=True)
        self.each_torrent = Exposition(EachTorrent(context))


class Exposition:
    """A registry of its own, whose text is kept for a second."""

    def __init__(
        self, collector: "GeneralNumbers | EachTorrent", *, with_process: bool = False
    ) -> None:
        self._collector = collector
        self._registry = CollectorRegistry()
        self._registry.register(collector)
        if with_process:
            ProcessCollector(registry=self._registry)
            PlatformCollector(registry=self._registry)
        self._kept: dict[str, tuple[float, bytes]] = {}

    async def answer(self, request: Request) -> Response:
        """Return the numbers in the format that the client takes."""
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        made_s, body = self._kept.get(media_type, (-CACHE_S, b""))
        if time.monotonic() - made_s >= CACHE_S:
            self._collector.look()
            body = await anyio.to_thread.run_sync(encode, self._registry)
            self._kept[media_type] = (time.monotonic(), body)
        return Response(body, headers={"Content-Type": media_type})


class GeneralNumbers(Collector):
    """What concerns all torrents; looked at in the event loop, encoded in a thread."""

    def __init__(self, context: "DaemonContext") -> None:
        self._context = context
        self._began_s = time.time()
        self._metrics: list[Metric] = []

    def look(self) -> None:
        """Take the present numbers."""
        self._metrics = [
            *self._process(),
            *self._torrents(),
            *self._payload(),
            *self._rates(),
            *self._network(),
            *self._jobs(),
            *http_numbers(self._context),
            *work_numbers(self._context),
            *disk_numbers(self._context),
            *swarm_numbers(self._context),
        ]

    def collect(self) -> Iterable[Metric]:
        """Return what the last look saw."""
        return self._metrics

    def _process(self) -> Iterator[Metric]:
        labels = {
            "version": __version__,
            "python": platform.python_version(),
            "loop": loop_name(),
        }
        info = GaugeMetricFamily(f"{PREFIX}build_info", "What runs.", labels=tuple(labels))
        info.add_metric(tuple(labels.values()), 1)
        yield info
        yield gauge("up_since_seconds", "Start of the process, Unix time.", self._began_s)
        state = self._context.state
        sessions = state.totals.ever.sessions
        yield counter("starts", "Starts of the daemon.", sessions)
        lag = state.total_facts.loop_lag_s
        yield gauge("loop_lag_seconds", "Longest stall of the loop in a minute.", lag)

    def _torrents(self) -> Iterator[Metric]:
        rows = self._context.state.torrents.rows()
        by_status = Counter(row.status for row in rows)
        yield gauges(
            "torrents",
            "Torrents by what they do.",
            "status",
            ((status.value, by_status[status]) for status in TorrentStatus),
        )
        by_category = Counter(row.user.category for row in rows)
        shown = dict(by_category.most_common(MAX_CATEGORIES))
        if rest := len(rows) - sum(shown.values()):
            shown[OTHER] = shown.get(OTHER, 0) + rest
        yield gauges("torrents_by_category", "Torrents by category.", "category", shown.items())
        resting = self._context.state.total_facts.resting
        yield gauge("torrents_resting", "Torrents without a task.", resting)
        queued = Counter(row.status for row in rows)
        waiting = {
            "download": queued[TorrentStatus.DOWNLOAD_QUEUED],
            "seed": queued[TorrentStatus.SEED_QUEUED],
            "check": queued[TorrentStatus.CHECK_QUEUED],
        }
        yield gauges("queue_waiting", "Torrents that the queue holds.", "kind", waiting.items())
        wasted = sum(row.progress.wasted_bytes for row in rows)
        yield gauge("wasted_bytes_ever", "Bytes that were thrown away.", wasted)
        thrown = self._context.state.totals.wasted_bytes
        yield counter("wasted_bytes", "Bytes thrown away since the start.", thrown)
        failed = sum(row.progress.failed_bytes for row in rows)
        yield gauge("hash_failed_bytes_ever", "Bytes that failed their hash.", failed)

    def _payload(self) -> Iterator[Metric]:
        totals = self._context.state.totals
        now, ever = totals.current, totals.ever
        counted = self._context.state.counters
        for name, count in (
            ("added", now.torrents_added),
            ("removed", counted.torrents_removed),
            ("completed", counted.torrents_completed),
        ):
            yield counter(f"torrents_{name}", f"Torrents {name} since the start.", count)
        for name, since_start, in_all in (
            ("downloaded", now.downloaded_bytes, ever.downloaded_bytes),
            ("uploaded", now.uploaded_bytes, ever.uploaded_bytes),
        ):
            yield counter(f"payload_{name}_bytes", f"Payload {name} since the start.", since_start)
            yield gauge(f"payload_{name}_bytes_ever", f"Payload {name} in all.", in_all)

    def _rates(self) -> Iterator[Metric]:
        totals, limits = self._context.state.total_facts, self._context.settings().limits
        yield gauge("download_rate_bytes", "Bytes a second.", totals.download_bytes_per_s)
        yield gauge("upload_rate_bytes", "Bytes a second.", totals.upload_bytes_per_s)
        told = {
            ("download", "normal"): limits.download_kb_s,
            ("upload", "normal"): limits.upload_kb_s,
            ("download", "alt"): limits.alt_download_kb_s,
            ("upload", "alt"): limits.alt_upload_kb_s,
        }
        rates = ((keys, limit * 1_000) for keys, limit in told.items())
        text = "Limit in bytes a second; 0 is none."
        yield gauges_of("rate_limit_bytes", text, ("direction", "mode"), rates)
        yield gauge("alt_speed_active", "Alternative rates are on.", int(limits.alt_enabled))

    def _network(self) -> Iterator[Metric]:
        totals = self._context.state.total_facts
        kinds = ("transport", "encryption")
        yield gauges_of("peers", "Connected peers.", kinds, totals.links)
        yield gauge("connections", "Connections to peers.", totals.connections)
        limit = self._context.settings().limits.peers
        yield gauge("connection_limit", "Connections that are allowed.", limit)
        try:
            network = self._context.port.engine.network()
        except ClosedError:
            return
        nodes = network.dht_by_family
        yield gauges("dht_nodes", "Nodes of the DHT that answer.", "family", nodes)
        queries = (((kind,), count) for kind, count in network.dht_queries)
        yield counters("dht_queries", "Queries of the DHT.", ("kind",), queries)
        dials = (((result,), count) for result, count in network.dials)
        yield counters("connection_attempts", "Ways to dial that were tried.", ("result",), dials)
        yield gauges("port_mapped", "The router has opened it.", "protocol", network.mapped)
        seen = network.incoming_by_family
        yield gauges("incoming_seen", "Unix time of the last incoming peer.", "family", seen)

    def _jobs(self) -> Iterator[Metric]:
        counts = Counter((job.kind, job.status) for job in self._context.state.jobs)
        jobs = sorted(counts.items())
        yield gauges_of("jobs", "Jobs that are shown.", ("kind", "status"), jobs)


_EACH: Final[tuple[tuple[str, str, Callable[[StateRow], float]], ...]] = (
    ("torrent_progress", "Of what is wanted, 0 to 1.", lambda row: row.fraction),
    ("torrent_size_bytes", "Wanted bytes.", lambda row: row.progress.wanted_bytes),
    ("torrent_downloaded_bytes", "In all.", lambda row: row.progress.all_downloaded_bytes),
    ("torrent_uploaded_bytes", "In all.", lambda row: row.progress.all_uploaded_bytes),
    ("torrent_ratio", "Uploaded over downloaded.", lambda row: row.progress.ratio),
    ("torrent_peers", "Connected peers.", lambda row: row.rates.peers),
    ("torrent_download_rate_bytes", "A second.", lambda row: row.rates.download_bytes_per_s),
    ("torrent_upload_rate_bytes", "A second.", lambda row: row.rates.upload_bytes_per_s),
)


class EachTorrent(Collector):
    """The numbers of each torrent."""

    def __init__(self, context: "DaemonContext") -> None:
        self._context = context
        self._rows: list[StateRow] = []

    def look(self) -> None:
        """Take the present rows, which do not change."""
        self._rows = self._context.state.torrents.rows()

    def collect(self) -> Iterable[Metric]:
        """Yield the numbers of the last look."""
        named = self._context.settings().metrics.names
        labels = ("hash", "category", "name") if named else ("hash", "category")
        for metric, text, value in _EACH:
            family = GaugeMetricFamily(f"{PREFIX}{metric}", text, labels=labels)
            for row in self._rows:
                known = (row.hash, row.user.category, row.name)
                family.add_metric(known[: len(labels)], value(row))
            yield family
