"""The local overlay on a real control plane: admitted as restricted, Ready, reachable, drained."""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.cluster.conftest import ControlPlane
from tests.contract.dockerfile import ROOT, stages
from tests.contract.service_settings import check_environment

pytestmark = pytest.mark.cluster

BASE = ROOT / "k8s" / "base"
SERVICES = ("sessions", "embedding", "ranking", "gateway")
WITH_SNAPSHOTS = SERVICES[:3]
PORTS = {
    "sessions": {9101},
    "embedding": {50061, 9102},
    "ranking": {50051, 9103},
    "gateway": {8080, 9104},
    "kafka": {9092},
    "redis": {6379},
}
IMAGES = stages((ROOT / "deploy" / "Dockerfile").read_text())


def until(condition: Callable[[], object], what: str, within_s: float = 60) -> None:
    """Ask again and again. The control plane decides when; every wait has its bound."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {within_s:g} s"
        time.sleep(0.2)


def documents(rendered: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(rendered))


def workload(rendered: str, name: str) -> dict[str, Any]:
    """Return a fresh copy of a Deployment or StatefulSet."""
    kinds = ("Deployment", "StatefulSet")
    (found,) = (
        each
        for each in documents(rendered)
        if each["kind"] in kinds and each["metadata"]["name"] == name
    )
    return copy.deepcopy(found)


def test_snapshots_in_an_object_store_are_let_out_to_by_every_service_and_nothing_else_is(
    applied: ControlPlane, tmp_path: Path
) -> None:
    overlay = {
        "resources": [os.path.relpath(BASE, tmp_path)],
        "components": [os.path.relpath(ROOT / "k8s/components/object-store", tmp_path)],
    }
    (tmp_path / "kustomization.yaml").write_text(json.dumps(overlay))
    before = documents(applied.kubectl("kustomize", str(BASE)))
    (policy,) = (
        each
        for each in documents(applied.kubectl("kustomize", str(tmp_path)))
        if each not in before
    )
    kubernetes_validate.validate(policy, "1.37", strict=True)
    (selected,) = policy["spec"]["podSelector"]["matchExpressions"]
    assert set(selected["values"]) == set(WITH_SNAPSHOTS)
    (egress,) = policy["spec"]["egress"]
    assert egress["ports"] == [{"port": 443, "protocol": "TCP"}]
    assert {"169.254.0.0/16", "10.0.0.0/8"} <= set(egress["to"][0]["ipBlock"]["except"])
    applied.kubectl(
        *("apply", "--server-side", "--validate=strict", "--dry-run=server", "-f", "-"),
        text=json.dumps(policy),
    )


def test_training_by_night_is_admitted_as_restricted_and_publishes_without_torch(
    applied: ControlPlane, rendered: str, tmp_path: Path
) -> None:
    overlay = {
        "namespace": "freshet",
        "resources": [os.path.relpath(BASE, tmp_path)],
        "components": [os.path.relpath(ROOT / "k8s/components/training", tmp_path)],
    }
    (tmp_path / "kustomization.yaml").write_text(json.dumps(overlay))
    base = documents(applied.kubectl("kustomize", str(BASE)))
    named = {(each["kind"], each["metadata"]["name"]) for each in (*base, *documents(rendered))}
    added = {
        each["kind"]: each
        for each in documents(applied.kubectl("kustomize", str(tmp_path)))
        if (each["kind"], each["metadata"]["name"]) not in named
    }
    assert set(added) == {"ServiceAccount", "CronJob", "NetworkPolicy"}, "not in the overlay itself"
    for each in added.values():
        for version in ("1.34", "1.37"):
            kubernetes_validate.validate(each, version, strict=True)
    dry = ("apply", "--server-side", "--validate=strict", "--dry-run=server", "-f", "-")
    applied.kubectl(*dry, text="---\n".join(map(json.dumps, added.values())))
    template = added["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]
    ours = workload(rendered, "embedding")["spec"]["template"]["spec"]
    assert template["spec"]["securityContext"] == ours["securityContext"]
    (train,), (publish,) = template["spec"]["initContainers"], template["spec"]["containers"]
    for container in (train, publish):
        assert container["securityContext"] == ours["containers"][0]["securityContext"]
    assert {train["image"].split(":")[0], publish["image"].split(":")[0]} == {
        "freshet/training",
        "freshet/tools",
    }
    assert publish["args"][:2] == ["models", "publish"]
    assert "--force" not in publish["args"], "only past the gate"
    folder = publish["args"][2]
    assert folder in train["args"]
    bundles = IMAGES["tools"].env()["FRESHET_BUNDLES"]
    (mounted,) = (m for m in publish["volumeMounts"] if m["name"] == "snapshots")
    assert bundles.startswith(f"{mounted['mountPath']}/")
    accounts = applied.kubectl(
        "apply", "--server-side", "-f", "-", text=json.dumps(added["ServiceAccount"])
    )
    assert "training" in accounts
    pod = {"apiVersion": "v1", "kind": "Pod", **template}
    pod["metadata"] = {**template["metadata"], "name": "training", "namespace": "freshet"}
    applied.kubectl(*dry, text=json.dumps(pod))


@pytest.mark.parametrize("version", ["1.34", "1.37"])
def test_every_manifest_is_valid_under_the_strict_schema(rendered: str, version: str) -> None:
    objects = documents(rendered)
    assert len(objects) > 20
    for each in objects:
        kubernetes_validate.validate(each, version, strict=True)


def test_the_strict_schema_would_refuse_an_unknown_field(rendered: str) -> None:
    bad = workload(rendered, "ranking")
    bad["spec"]["template"]["spec"]["enableServiceLink"] = False
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(bad, "1.34", strict=True)


def test_every_pod_is_admitted_and_becomes_ready(applied: ControlPlane) -> None:
    names = {"sessions-0", "sessions-1", "embedding-0", "kafka-0", "redis-0"}

    def ready() -> bool:
        pods = applied.get("pods")
        conditions = [
            condition["status"] == "True"
            for pod in pods
            for condition in pod["status"].get("conditions", [])
            if condition["type"] == "Ready"
        ]
        found = {pod["metadata"]["name"] for pod in pods}
        scaled = [name.split("-")[0] for name in found - names]
        wanted = ["gateway"] * 2 + ["ranking"] * 2
        return names <= found and sorted(scaled) == wanted and conditions == [True] * 9

    until(ready, "nine Ready pods, two each of ranking and the gateway")
    refusals = [
        event["message"]
        for event in applied.get("events", "--field-selector", "reason=FailedCreate")
    ]
    assert refusals == []


def endpoints(cluster: ControlPlane, name: str) -> tuple[int, set[int]]:
    """Return how many ready addresses a Service has, and its ports."""
    slices = cluster.get("endpointslices", "--selector", f"kubernetes.io/service-name={name}")
    ready = [
        address
        for each in slices
        for endpoint in each["endpoints"] or []
        if endpoint["conditions"]["ready"]
        for address in endpoint["addresses"]
    ]
    return len(ready), {port["port"] for each in slices for port in each["ports"] or []}


def test_services_are_headless_and_have_the_pods_as_endpoints(applied: ControlPlane) -> None:
    counts = {"sessions": 2, "embedding": 1, "ranking": 2, "gateway": 2, "kafka": 1, "redis": 1}
    wanted = {name: (count, PORTS[name]) for name, count in counts.items()}
    until(lambda: {name: endpoints(applied, name) for name in wanted} == wanted, f"{wanted}")
    for service in applied.get("services"):
        assert service["spec"]["clusterIP"] == "None"


def test_ranking_is_spread_over_zones_and_never_scaled_below_two(applied: ControlPlane) -> None:
    until(lambda: len(pods_of(applied, "ranking")) == 2, "two pods of ranking")
    until(
        lambda: len({pod["spec"].get("nodeName") for pod in pods_of(applied, "ranking")}) == 2,
        "ranking on two nodes",
    )
    scalers = applied.get("horizontalpodautoscalers")
    assert {scaler["metadata"]["name"] for scaler in scalers} == {"ranking", "gateway"}
    assert {scaler["spec"]["minReplicas"] for scaler in scalers} == {2}


def pods_of(cluster: ControlPlane, name: str) -> list[dict[str, Any]]:
    return cluster.get("pods", "--selector", f"app.kubernetes.io/name={name}")


def test_a_drain_takes_one_pod_of_a_service_at_a_time(applied: ControlPlane) -> None:
    until(
        lambda: all(
            budget["status"].get("disruptionsAllowed") == 1
            for budget in applied.get("poddisruptionbudgets")
        ),
        "one disruption allowed in each budget",
    )
    budgets = applied.get("poddisruptionbudgets")
    assert {budget["metadata"]["name"] for budget in budgets} == set(SERVICES)
    first, second = (pod["metadata"]["name"] for pod in pods_of(applied, "sessions"))
    nodes = [node["metadata"]["name"] for node in applied.get("nodes")]
    applied.kubectl("cordon", *nodes)  # nobody can take the first one's place yet
    try:
        assert evict(applied, first) == ""
        assert "disruption budget" in evict(applied, second)
    finally:
        applied.kubectl("uncordon", *nodes)
    until(
        lambda: budget_of(applied, "sessions")["status"]["disruptionsAllowed"] == 1,
        "sessions whole again",
    )


def budget_of(cluster: ControlPlane, name: str) -> dict[str, Any]:
    (found,) = (
        budget
        for budget in cluster.get("poddisruptionbudgets")
        if budget["metadata"]["name"] == name
    )
    return found


def evict(cluster: ControlPlane, pod: str) -> str:
    """Ask for an eviction; returns the refusal, empty when it was granted."""
    path = f"/api/v1/namespaces/freshet/pods/{pod}/eviction"
    body = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}})
    answer = cluster.kubectl("create", "--raw", path, "-f", "-", text=body, check=False)
    return "" if '"Success"' in answer else answer


@pytest.mark.parametrize("name", [*SERVICES, "kafka", "redis"])
def test_a_pod_that_is_not_restricted_would_be_refused(
    applied: ControlPlane, rendered: str, name: str
) -> None:
    whole = workload(rendered, name)["spec"]
    pod = {"apiVersion": "v1", "kind": "Pod", **whole["template"]}
    pod["metadata"]["name"] = "careless"
    for claim in whole.get("volumeClaimTemplates", []):
        pod["spec"].setdefault("volumes", []).append(
            {"name": claim["metadata"]["name"], "emptyDir": {}}
        )
    assert "serverside-applied" in applied.kubectl(
        "apply", "--server-side", "--dry-run=server", "-f", "-", text=yaml.safe_dump(pod)
    )
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    refusal = applied.refuse(yaml.safe_dump(pod))
    assert 'violates PodSecurity "restricted' in refusal
    assert "allowPrivilegeEscalation" in refusal


def test_the_server_would_refuse_an_unknown_field(applied: ControlPlane, rendered: str) -> None:
    bad = workload(rendered, "ranking")
    bad["spec"]["template"]["spec"]["enableServiceLink"] = False
    refusal = applied.refuse(yaml.safe_dump(bad))
    assert "enableServiceLink" in refusal


def test_no_pod_holds_a_token_or_a_writable_root(rendered: str) -> None:
    for name in PORTS:
        pod = workload(rendered, name)["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert {"requests", "limits"} <= set(container["resources"])
            assert "livenessProbe" in container
            assert "readinessProbe" in container


def test_nothing_is_let_in_or_out_but_by_a_policy(rendered: str) -> None:
    policies = {
        each["metadata"]["name"]: each["spec"]
        for each in documents(rendered)
        if each["kind"] == "NetworkPolicy"
    }
    assert policies["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    (rule,) = policies["embedding"]["egress"]
    blocked = rule["to"][0]["ipBlock"]["except"]
    assert {"10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16"} <= set(blocked)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_knows_every_variable_it_is_given_and_starts_with_it(
    rendered: str, name: str
) -> None:
    check_environment(name, IMAGES[name].env() | given_to(rendered, name))


def given_to(rendered: str, name: str) -> dict[str, str]:
    """Return the variables of a service's container."""
    container = workload(rendered, name)["spec"]["template"]["spec"]["containers"][0]
    maps = {
        each["metadata"]["name"]: each["data"]
        for each in documents(rendered)
        if each["kind"] == "ConfigMap"
    }
    configured: dict[str, str] = maps[container["envFrom"][0]["configMapRef"]["name"]]
    own = {each["name"]: each.get("value", "pod-0") for each in container.get("env", [])}
    return configured | own


@pytest.mark.parametrize("name", SERVICES)
def test_a_pod_finds_its_certificate_and_tokens_and_is_probed_by_https(
    rendered: str, name: str
) -> None:
    pod = workload(rendered, name)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    secrets = {
        each["metadata"]["name"]: each["data"]
        for each in documents(rendered)
        if each["kind"] == "Secret"
    }
    assert {secret: set(data) for secret, data in secrets.items()} == {
        "freshet-tls": {"tls.crt", "tls.key", "ca.crt"},
        "freshet-tokens": {"tokens", "ranking", "gateway"},
    }
    mounted = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    files = set()
    for volume in pod["volumes"]:
        if "secret" in volume:
            secret = volume["secret"]
            keys = [item["path"] for item in secret.get("items", [])]
            for key in keys or secrets[secret["secretName"]]:
                files.add(f"{mounted[volume['name']]}/{key}")
    given = given_to(rendered, name)
    named = {key: value for key, value in given.items() if key.startswith("FRESHET_T")}
    assert {value for key, value in named.items() if key.endswith("_FILE")} <= files
    assert {"FRESHET_TLS_CERT_FILE", "FRESHET_TLS_KEY_FILE", "FRESHET_TOKENS_FILE"} <= set(named)
    assert {"FRESHET_TLS_CA_FILE", "FRESHET_TOKEN"} <= set(named) or name != "ranking"
    assert not any("ranking" in file for file in files)  # its token is nobody else's
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["scheme"] == "HTTPS"


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_listens_where_its_image_and_its_service_say(rendered: str, name: str) -> None:
    container = workload(rendered, name)["spec"]["template"]["spec"]["containers"][0]
    exposed = IMAGES[name].last("EXPOSE")
    assert exposed is not None
    ports = {port["containerPort"] for port in container["ports"]}
    assert ports == PORTS[name] == {int(port) for port in exposed.split()}
    assert container["image"] == f"freshet/{name}:0.2.0"
