"""Short ways to make the families of metrics, each with our prefix."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from torrent_engine.daemon.engine_port.durations import BOUNDS_S, Durations

PREFIX: Final = "torrent_engine_"


def gauge(name: str, text: str, value: float) -> Metric:
    """Return one number that may fall."""
    return GaugeMetricFamily(f"{PREFIX}{name}", text, value=value)


def counter(name: str, text: str, value: float) -> Metric:
    """Return one number that only grows; the library adds ``_total``."""
    return CounterMetricFamily(f"{PREFIX}{name}", text, value=value)


def gauges(name: str, text: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    """Return numbers that may fall, by one label."""
    return gauges_of(name, text, (label,), (((key,), value) for key, value in values))


def gauges_of(
    name: str, text: str, labels: tuple[str, ...], values: Iterable[tuple[Sequence[str], float]]
) -> Metric:
    """Return numbers that may fall, by labels."""
    return _filled(GaugeMetricFamily(f"{PREFIX}{name}", text, labels=labels), values)


def counters(
    name: str, text: str, labels: tuple[str, ...], values: Iterable[tuple[Sequence[str], float]]
) -> Metric:
    """Return numbers that only grow, by labels."""
    return _filled(CounterMetricFamily(f"{PREFIX}{name}", text, labels=labels), values)


def _filled(
    family: GaugeMetricFamily | CounterMetricFamily, values: Iterable[tuple[Sequence[str], float]]
) -> Metric:
    for keys, value in values:
        family.add_metric(keys, value)
    return family


def histograms(name: str, text: str, label: str, values: Mapping[str, Durations]) -> Metric:
    """Return times, by one label."""
    family = HistogramMetricFamily(f"{PREFIX}{name}", text, labels=(label,))
    bounds = [*(f"{each:g}" for each in BOUNDS_S), "+Inf"]
    for key, durations in sorted(values.items()):
        buckets = list(zip(bounds, accumulate(durations.counts), strict=True))
        family.add_metric((key,), buckets, durations.total_s)
    return family
