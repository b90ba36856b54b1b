"""Rules for Prometheus speak of metrics, labels and reasons that there are."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from services.ranking.stages import degraded
from shared.runtime import metrics
from tests.servers import ROOT

(GROUP,) = yaml.safe_load((ROOT / "k8s/alerts.yaml").read_text())["groups"]
RULES: list[dict[str, Any]] = GROUP["rules"]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
ALERTS = [rule for rule in RULES if "alert" in rule]
LABELS = {
    "freshet_degraded_total": metrics.DEGRADED,
    "freshet_requests_total": metrics.REQUESTS,
    "freshet_http_requests_total": metrics.HTTP_REQUESTS,
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_speaks_of_metrics_that_there_are(rule: dict[str, Any]) -> None:
    names = set(re.findall(r"\bfreshet[\w:]*", rule["expr"]))
    there = RECORDED | {
        sample for family in REGISTRY.collect() for sample in (family.name, f"{family.name}_total")
    }
    assert names
    assert names <= there


def test_rules_select_by_labels_that_the_metrics_have() -> None:
    for rule in RULES:
        for name, selector in re.findall(r"(freshet_\w+)\{([^}]*)\}", rule["expr"]):
            for label in re.findall(r"(\w+)=~?\"", selector):
                assert label in LABELS[name]._labelnames


def test_every_reason_of_the_service_has_an_alert() -> None:
    patterns = [p for a in ALERTS for p in re.findall(r'reason=~"([^"]*)"', a["expr"])]
    reasons = {v for n, v in vars(degraded).items() if n.isupper() and isinstance(v, str)}
    unwatched = {r for r in reasons if not any(re.fullmatch(p, r) for p in patterns)}
    assert unwatched == {degraded.ITEM_WITHOUT_PICTURE, degraded.ITEM_WITHOUT_TEXT}  # the shop's
