"""Rules for Prometheus speak of metrics, labels and reasons that there are."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY, Histogram

from services.gateway.console.figures import LiveFigures
from services.ranking.stages import degraded
from shared.promises import PROMISES, Promise
from shared.runtime import metrics
from tests.servers import ROOT

(GROUP,) = yaml.safe_load((ROOT / "k8s/alerts.yaml").read_text())["groups"]
RULES: list[dict[str, Any]] = GROUP["rules"]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
ALERTS = [rule for rule in RULES if "alert" in rule]
LABELS = {
    "freshet_degraded_total": metrics.DEGRADED,
    "freshet_requests_total": metrics.REQUESTS,
    "freshet_request_milliseconds_bucket": metrics.REQUEST_MS,
    "freshet_http_requests_total": metrics.HTTP_REQUESTS,
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_speaks_of_metrics_that_there_are(rule: dict[str, Any]) -> None:
    names = set(re.findall(r"\bfreshet[\w:]*", rule["expr"]))
    there = RECORDED | {
        f"{family.name}{ending}"
        for family in REGISTRY.collect()
        for ending in ("", "_total", "_bucket")
    }
    assert names
    assert names <= there


def test_rules_select_by_labels_that_the_metrics_have() -> None:
    for rule in RULES:
        for name, selector in re.findall(r"(freshet_\w+)\{([^}]*)\}", rule["expr"]):
            for label in re.findall(r"(\w+)=~?\"", selector):
                assert label in LABELS[name]._labelnames


@pytest.mark.parametrize("promise", PROMISES.values(), ids=PROMISES)
def test_what_is_promised_has_an_alert_at_that_bound(promise: Promise) -> None:
    selected = f"{{{promise.label}}}" if promise.label else ""
    rate = f"rate({promise.metric}_bucket{selected}[5m])"
    bound = promise.within_ms / (1000 if promise.metric.endswith("_seconds") else 1)

    expr = f"histogram_quantile({promise.share:g}, sum by (le) ({rate})) > {bound:g}"

    assert expr in [alert["expr"] for alert in ALERTS]


def test_no_alert_watches_a_percentile_that_is_not_promised() -> None:
    watching = [alert for alert in ALERTS if "histogram_quantile" in alert["expr"]]

    assert len(watching) == len(PROMISES)


@pytest.mark.parametrize("promise", PROMISES.values(), ids=PROMISES)
def test_a_promise_lies_at_the_edge_of_a_bucket(promise: Promise) -> None:
    """So that whether it is kept is counted, not guessed."""
    (histogram,) = (
        each
        for each in vars(metrics).values()
        if isinstance(each, Histogram) and each._name == promise.metric
    )
    bound = promise.within_ms / (1000 if promise.metric.endswith("_seconds") else 1)

    assert bound in histogram._upper_bounds


def test_the_page_has_a_figure_for_each_promise() -> None:
    assert set(PROMISES) <= set(LiveFigures.__struct_fields__)
    for script in (ROOT / "services/gateway/console/static").rglob("*.js"):
        assert not re.search(r"(half|%) within \d+ m?s", script.read_text())  # told, not known


def test_every_reason_of_the_service_has_an_alert() -> None:
    patterns = [p for a in ALERTS for p in re.findall(r'reason=~"([^"]*)"', a["expr"])]
    reasons = {v for n, v in vars(degraded).items() if n.isupper() and isinstance(v, str)}
    unwatched = {r for r in reasons if not any(re.fullmatch(p, r) for p in patterns)}
    assert unwatched == {degraded.ITEM_WITHOUT_PICTURE, degraded.ITEM_WITHOUT_TEXT}  # the shop's
