"""The page of metrics, as prometheus_client writes it. Imported when it is asked for: that costs 120 ms."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from agent_messaging_db.histogram import Distribution
from agent_messaging_mcp.metrics import FAMILIES, Family, Reading


def render(reading: Reading) -> tuple[bytes, str]:
    """The page, and its content type. The process's own numbers (`process_*`) are on it too, where the system
    tells them.
    """
    registry = CollectorRegistry()
    registry.register(Page(reading))
    ProcessCollector(registry=registry)
    return generate_latest(registry), CONTENT_TYPE_LATEST


class Page(Collector):
    """All families, as one reading has them."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[Metric]:
        for family in FAMILIES:
            yield _filled(family, self._reading)


def _filled(family: Family, reading: Reading) -> Metric:
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.full_name, family.help, labels=family.labels)
        for labels, value in family.read(reading):
            assert isinstance(value, Distribution)  # noqa: S101 - FAMILIES says so
            histogram.add_metric(labels, buckets=_buckets(value), sum_value=value.total)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.full_name, family.help, labels=family.labels)
    for labels, value in family.read(reading):
        assert not isinstance(value, Distribution)  # noqa: S101
        metric.add_metric(labels, value)
    return metric


def _buckets(value: Distribution) -> list[tuple[str, float]]:
    bounds = [*(repr(float(bound)) for bound in value.bounds), "+Inf"]
    return list(zip(bounds, accumulate(value.counts), strict=True))
