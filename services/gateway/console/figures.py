"""Make figures of the moment from the services' counters: rates, percentiles, lags. Pure.

A sample is what `/metrics` of all services says together at one time; figures are the difference of
two samples, so they tell of the time between them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec
from prometheus_client.parser import text_string_to_metric_families

PREFIX: Final = "freshet_"
ADDED_UP: Final = ("_total", "_bucket", "_sum", "_count")  # over instances; of others the most

Labels = tuple[tuple[str, str], ...]


class MetricsSample(NamedTuple):
    """Values by metric and labels at one time."""

    at_s: float
    values: Mapping[tuple[str, Labels], float]
    away: tuple[str, ...] = ()  # services whose metrics did not come


class Percentiles(msgspec.Struct, frozen=True):
    """Of times in ms; None where nothing happened."""

    p50: float | None = None
    p99: float | None = None


class LiveFigures(msgspec.Struct, frozen=True):
    """What the page plots of one moment. Times are ms, shares lie in 0 to 1."""

    at_ms: int
    away: tuple[str, ...]
    events_per_s: float
    lists_per_s: float
    items_per_s: float
    event_to_state: Percentiles
    item_to_vector: Percentiles
    list_ms: Percentiles
    stages: dict[str, float]  # mean ms by stage
    lag: dict[str, float]  # records by partition of clicks, and by topic
    sources: dict[str, float]  # share of candidates by source
    degraded: float | None  # share of lists; None without any
    degraded_by: dict[str, float]  # replies a second, by what was left out
    items: float
    snapshot_age_s: float | None
    dead_letters: dict[str, float]  # since the services began, by `service: class`


def sample_of(at_s: float, texts: Iterable[str], away: tuple[str, ...] = ()) -> MetricsSample:
    """Return the sample that services' metrics pages make together, Prometheus' text format."""
    values: dict[tuple[str, Labels], float] = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            if not family.name.startswith(PREFIX):
                continue
            for name, labels, value, *_ in family.samples:
                key = name, tuple(sorted(labels.items()))
                if name.endswith(ADDED_UP):
                    values[key] = values.get(key, 0.0) + value
                else:
                    values[key] = max(values.get(key, value), value)
    return MetricsSample(at_s, values, away)


def figures(now: MetricsSample, before: MetricsSample, at_ms: int) -> LiveFigures:
    """Return what happened between two samples, and what stands at the later one."""
    change = _Change(now, before)
    proposed = {
        source: added
        for (stage, source), added in change.by("freshet_candidates_total", "stage", "part").items()
        if stage == "candidates" and added > 0
    }
    lists = change.total("freshet_requests_total", ("method", "Recommend"))
    left_out = {
        name: n for (name,), n in change.by("freshet_degraded_total", "reason").items() if n
    }
    made_s = _value(now, "freshet_snapshot_created_timestamp_seconds")
    all_proposed = sum(proposed.values())
    return LiveFigures(
        at_ms=at_ms,
        away=now.away,
        events_per_s=change.rate(change.total("freshet_events_folded_total")),
        lists_per_s=change.rate(lists),
        items_per_s=change.rate(change.total("freshet_items_encoded_total")),
        event_to_state=change.percentiles("freshet_event_to_state_seconds", 1e3),
        item_to_vector=change.percentiles("freshet_item_to_vector_seconds", 1e3),
        list_ms=change.percentiles("freshet_request_milliseconds", 1, ("method", "Recommend")),
        stages=change.means("freshet_stage_milliseconds", "stage"),
        lag=_lags(now),
        sources={name: added / all_proposed for name, added in proposed.items()},
        degraded=min(1.0, max(left_out.values(), default=0.0) / lists) if lists else None,
        degraded_by={name: change.rate(n) for name, n in left_out.items()},
        items=_value(now, "freshet_catalogue_items") or 0.0,
        snapshot_age_s=max(0.0, at_ms / 1e3 - made_s) if made_s else None,
        dead_letters={
            ": ".join(value for _, value in sorted(labels, reverse=True)): count
            for (name, labels), count in now.values.items()
            if name == "freshet_dead_letters_total" and count
        },
    )


class _Change:
    """What counters counted between two samples; a service that began anew counts from zero."""

    def __init__(self, now: MetricsSample, before: MetricsSample) -> None:
        self._now, self._before = now, before
        self._took_s = max(1e-3, now.at_s - before.at_s)
        names: dict[str, list[tuple[Labels, float]]] = defaultdict(list)
        for (name, labels), value in now.values.items():
            earlier = before.values.get((name, labels), 0.0)
            names[name].append((labels, value - earlier if value >= earlier else value))
        self._names = names

    def rate(self, count: float) -> float:
        """Return how many that is a second."""
        return count / self._took_s

    def total(self, name: str, label: tuple[str, str] | None = None) -> float:
        """Return what a counter counted, of one label or all."""
        return sum(n for labels, n in self._names[name] if label is None or label in labels)

    def by(self, name: str, *by: str) -> dict[tuple[str, ...], float]:
        """Return what a counter counted by some labels."""
        found: dict[tuple[str, ...], float] = defaultdict(float)
        for labels, count in self._names[name]:
            shown = dict(labels)
            found[tuple(shown.get(each, "") for each in by)] += count
        return found

    def means(self, name: str, by: str) -> dict[str, float]:
        """Return a histogram's means by a label."""
        counts = self.by(f"{name}_count", by)
        return {
            label: total / counts[(label,)]
            for (label,), total in self.by(f"{name}_sum", by).items()
            if counts[(label,)]
        }

    def percentiles(
        self, name: str, scale: float, label: tuple[str, str] | None = None
    ) -> Percentiles:
        """Return a histogram's percentiles, within a bucket as if all lay evenly."""
        buckets: dict[float, float] = defaultdict(float)
        for labels, count in self._names[f"{name}_bucket"]:
            if label is None or label in labels:
                buckets[float(dict(labels)["le"])] += count
        return Percentiles(*(_percentile(buckets, share, scale) for share in (0.5, 0.99)))


def _percentile(buckets: Mapping[float, float], share: float, scale: float) -> float | None:
    total = buckets.get(math.inf, 0.0)
    if not total:
        return None
    below, low = 0.0, 0.0
    for high in sorted(buckets):
        if buckets[high] >= share * total:
            if high == math.inf:
                return low * scale
            within = (share * total - below) / (buckets[high] - below)
            return (low + (high - low) * within) * scale
        below, low = buckets[high], high
    return None


def _lags(sample: MetricsSample) -> dict[str, float]:
    names = {
        "freshet_sessions_lag_records": "clicks",
        "freshet_embedding_lag_records": "",
        "freshet_catalogue_lag_records": "item-vectors",
    }
    return {
        " ".join(filter(None, (names[name], *(value for _, value in labels)))): value
        for (name, labels), value in sample.values.items()
        if name in names
    }


def _value(sample: MetricsSample, name: str) -> float | None:
    return sample.values.get((name, ()))
