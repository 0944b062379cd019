import asyncio
import json
import subprocess
from decimal import Decimal
from typing import Any

import pulumi
import pytest

from components import Waypoint
from components._internal import waits, waypoint_deployment, waypoint_parameters
from components._internal.owners import OWNER
from components._internal.waits import Access, Session
from components._internal.waypoint_parameters import STAMP
from tests.unit.components.recording import Recording, run


def waypoint(**args: Any) -> Recording:
    return run(lambda: Waypoint("w", {"namespace": "shop", **args}))  # type: ignore[typeddict-item]


def overlays(record: Recording, name: str = "w-parameters") -> dict[str, Any]:
    return {key: json.loads(text) for key, text in record.inputs(name)["data"].items()}


def test_waypoint_without_parameters_has_no_config_map() -> None:
    record = waypoint()
    assert record.kinds() == {"w-gateway": "Gateway", "w-enrollment": "NamespacePatch"}
    assert "infrastructure" not in record.inputs("w-gateway")["spec"]


def test_waypoint_gateway_depends_on_its_parameters() -> None:
    record = waypoint(replicas=2)
    name = record.inputs("w-parameters")["metadata"]["name"]
    assert record.inputs("w-gateway")["spec"]["infrastructure"] == {
        "parametersRef": {"group": "", "kind": "ConfigMap", "name": name}
    }
    assert "w-parameters" in record.needs("w-gateway")
    assert overlays(record) == {"deployment": {"metadata": {"annotations": {STAMP: name}}, "spec": {"replicas": 2}}}


def test_waypoint_parameters_of_another_stack_are_not_taken_over() -> None:
    record = waypoint(replicas=2, canary={"gateway": "next"})
    for suffix in ("", "-next"):
        config_map = record.inputs(f"w-parameters{suffix}")["metadata"]
        assert config_map["annotations"] == {OWNER: "waypoint-lab/test"}
        for name in ("w-parameters", "w-gateway"):
            assert f"w-untaken{suffix}" in record.requests[f"{name}{suffix}"].hooks.before_create


def test_waypoint_parameters_name_follows_their_content() -> None:
    names = [waypoint(replicas=count).inputs("w-parameters")["metadata"]["name"] for count in (2, 2, 3)]
    assert names[0] == names[1]
    assert names[0] != names[2]


def test_waypoint_canary_gets_the_parameters_too() -> None:
    record = waypoint(replicas=2, canary={"gateway": "next"})
    assert overlays(record, "w-parameters-next")["deployment"]["spec"] == {"replicas": 2}
    assert record.inputs("w-parameters-next")["metadata"]["name"].startswith("next-parameters-")


def test_waypoint_autoscaling_aims_at_80_percent_unless_given() -> None:
    (metric,) = overlays(waypoint(autoscaling={"min": 2, "max": 5}))["horizontalPodAutoscaler"]["spec"]["metrics"]
    assert metric["resource"]["target"]["averageUtilization"] == 80


def test_waypoint_parameters_have_the_keys_of_istiod() -> None:
    found = overlays(
        waypoint(
            autoscaling={"min": 2, "max": 5, "cpu_percent": 70},
            resources={"requests": {"cpu": "200m"}, "limits": {"memory": "1Gi"}},
            disruption_budget={"min_available": 1},
            pod_labels={"team": "edge"},
            pod_annotations={"example.com/note": "any text: 1"},
        )
    )
    target = {"type": "Utilization", "averageUtilization": 70}
    assert found["horizontalPodAutoscaler"]["spec"] == {
        "minReplicas": 2,
        "maxReplicas": 5,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }
    assert found["podDisruptionBudget"]["spec"] == {"minAvailable": 1}
    assert found["deployment"]["spec"] == {
        "template": {
            "metadata": {"labels": {"team": "edge"}, "annotations": {"example.com/note": "any text: 1"}},
            "spec": {
                "containers": [
                    {
                        "name": "istio-proxy",
                        "resources": {"requests": {"cpu": "200m"}, "limits": {"memory": "1Gi"}},
                    }
                ]
            },
        }
    }


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"replicas": 0}, "replicas is 0: it must be a whole number from 1 to 1000"),
        ({"replicas": "2"}, 'replicas is "2": it must be a whole number'),
        (
            {"replicas": 2, "autoscaling": {"min": 1, "max": 2}},
            "replicas is 2: it must be absent with autoscaling, which chooses their number",
        ),
        ({"autoscaling": {"min": 3, "max": 2}}, "autoscaling.max is 2: it must be autoscaling.min, 3, or more"),
        ({"autoscaling": {"max": 2}}, "autoscaling.min is missing: it must be given"),
        (
            {"autoscaling": {"min": 1, "max": 2, "cpu_percents": 5}},
            "autoscaling.cpu_percents is unknown: it must be cpu_percent",
        ),
        (
            {"autoscaling": {"min": 1, "max": 2, "cpu_percent": 0}},
            "autoscaling.cpu_percent is 0: it must be a whole number from 1 to 1000",
        ),
        ({"resources": {"requests": {"memory": "512m"}}}, 'resources.requests.memory is "512m": it must be a quantity'),
        ({"resources": {"limits": {"cpu": "1Gi"}}}, 'resources.limits.cpu is "1Gi": it must be a quantity'),
        ({"resources": {"limits": {"cpu": "much"}}}, 'resources.limits.cpu is "much": it must be a quantity'),
        (
            {"resources": {"requests": {"cpu": "1.5"}, "limits": {"cpu": "1"}}},
            'resources.requests.cpu is "1.5": it must be at most the limit, 1',
        ),
        ({"resources": {"requests": {"gpu": "1"}}}, "resources.requests.gpu is unknown"),
        ({"disruption_budget": {}}, "disruption_budget is {}: it must be an object with min_available or max"),
        (
            {"disruption_budget": {"min_available": 1, "max_unavailable": 1}},
            "disruption_budget is .*: it must be either min_available or max_unavailable",
        ),
        (
            {"disruption_budget": {"min_available": 1}},
            "disruption_budget.min_available is 1: it must be below the least number of replicas, 1",
        ),
        ({"pod_labels": {"a b": "c"}}, 'a name in pod_labels is "a b": it must be a name as Kubernetes allows it'),
        ({"pod_labels": {"a": "b c"}}, 'pod_labels.a is "b c": it must be at most 63 letters'),
        (
            {"pod_labels": {"gateway.networking.k8s.io/gateway-name": "x"}},
            "a name in pod_labels is .*: it must be another name: istiod sets this one",
        ),
        ({"pod_annotations": {"istio.io/rev": "x"}}, "a name in pod_annotations is .*: it must be another name"),
    ],
)
def test_waypoint_with_bad_parameters_is_refused_in_one_line(args: dict[str, Any], said: str) -> None:
    with pytest.raises(pulumi.RunError, match=f"^Waypoint: {said}") as caught:
        waypoint(**args)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", "1"),
        ("500m", "0.5"),
        ("1.5Gi", str(1.5 * 1024**3)),
        ("2e3", "2000"),
        ("128M", "128000000"),
        ("1E", "1e18"),
        ("-1", None),
        ("1 Gi", None),
        ("", None),
        ("1gi", None),
    ],
)
def test_amount_reads_quantities_of_kubernetes(text: str, number: str | None) -> None:
    assert waypoint_parameters.amount(text) == (None if number is None else Decimal(number))


def test_without_replicas_keeps_the_rest() -> None:
    made = waypoint_parameters.build({"deployment": {"replicas": 2, "template": {}}, "podDisruptionBudget": {}}, "w")
    assert made
    data = made.config_map("shop")["data"]
    changed = waypoint_parameters.without_replicas(data)
    assert changed
    assert json.loads(changed["deployment"])["spec"] == {"replicas": 0, "template": {}}
    assert changed["podDisruptionBudget"] == data["podDisruptionBudget"]


@pytest.mark.parametrize("data", [{}, {"deployment": "spec: {replicas: 2}"}, {"deployment": '{"spec": {}}'}])
def test_without_replicas_is_none_if_replicas_are_unset(data: dict[str, str]) -> None:
    assert waypoint_parameters.without_replicas(data) is None


class Cluster:
    """Objects by kind, as istiod would create them; `writes` are the commands that change something."""

    def __init__(self, **items: Any) -> None:
        self.items = items
        self.writes: list[str] = []
        self.metrics = True

    def __call__(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        _, _, verb, _, _, *rest = command
        if verb != "get":
            self.writes.append(" ".join([verb, *rest]))
            if verb == "delete":
                del self.items[rest[0]]
            return subprocess.CompletedProcess(command, 0, "", "")
        if rest[0].startswith("--raw"):
            return subprocess.CompletedProcess(command, 0 if self.metrics else 1, "{}", "")
        found = self.items.get(rest[0])
        answer = {"items": [found] if found else []} if "--field-selector" in rest[1] else found
        return subprocess.CompletedProcess(command, 0, json.dumps(answer), "")

    def session(self, limit_seconds: float = 0.05) -> Session:
        return Session(Access(), "shop", limit_seconds, self)


def made(stamp: str, replicas: int = 1) -> dict[str, Any]:
    status = {"observedGeneration": 1, "updatedReplicas": replicas, "availableReplicas": replicas}
    annotations = {STAMP: stamp} if stamp else {}
    metadata = {"name": "w", "generation": 1, "annotations": annotations}
    return {"metadata": metadata, "spec": {"replicas": replicas}, "status": status}


def wanted(**args: Any) -> waypoint_parameters.Parameters:
    found = waypoint_parameters.build(waypoint_parameters.check("W", args), "w")
    assert found
    return found


def test_settle_waits_for_the_deployment_with_the_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "POLL_SECONDS", 0.001)
    two = wanted(replicas=2)
    asyncio.run(waypoint_deployment.settle(Cluster(deployment=made(two.name, 2)).session(), "w", two))
    with pytest.raises(RuntimeError, match="Deployment w does not have the declared parameters; if istiod refuses"):
        asyncio.run(waypoint_deployment.settle(Cluster(deployment=made("old", 2)).session(), "w", two))


def test_settle_deletes_the_autoscaler_of_earlier_parameters() -> None:
    two = wanted(replicas=2)
    cluster = Cluster(deployment=made(two.name, 2), horizontalpodautoscaler=made("old"))
    asyncio.run(waypoint_deployment.settle(cluster.session(), "w", two))
    assert cluster.writes == ["delete horizontalpodautoscaler w --ignore-not-found"]


def test_settle_without_parameters_deletes_its_own_objects_only() -> None:
    cluster = Cluster(deployment=made(""), poddisruptionbudget=made("old"), horizontalpodautoscaler=made(""))
    asyncio.run(waypoint_deployment.settle(cluster.session(), "w", None))
    assert cluster.writes == ["delete poddisruptionbudget w --ignore-not-found"]


def test_settle_waits_for_the_least_replicas_of_the_autoscaler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "POLL_SECONDS", 0.001)
    scaled = wanted(autoscaling={"min": 2, "max": 3})
    cluster = Cluster(deployment=made(scaled.name, 1), horizontalpodautoscaler=made(scaled.name))
    with pytest.raises(RuntimeError, match="the autoscaler of Deployment w has set 1 replicas, not 2 to 3"):
        asyncio.run(waypoint_deployment.settle(cluster.session(), "w", scaled))


def test_settle_without_autoscaler_and_replicas_scales_to_one() -> None:
    cluster = Cluster(deployment=made("", 1), horizontalpodautoscaler=made("old"))
    asyncio.run(waypoint_deployment.settle(cluster.session(5), "w", None))
    assert cluster.writes == [
        "delete horizontalpodautoscaler w --ignore-not-found",
        "scale deployment/w --replicas=1",
    ]


@pytest.mark.parametrize(("metrics", "count"), [(False, 1), (True, 0)])
def test_report_metrics_warns_where_the_autoscaler_has_none(
    monkeypatch: pytest.MonkeyPatch, metrics: bool, count: int
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(pulumi, "warn", lines.append)
    cluster = Cluster()
    cluster.metrics = metrics
    asyncio.run(waypoint_deployment.report_metrics(cluster.session(), "w", wanted(autoscaling={"min": 2, "max": 3})))
    asyncio.run(waypoint_deployment.report_metrics(cluster.session(), "w", wanted(replicas=2)))
    assert [line.split(" (")[0] for line in lines] == ["waypoint w: the cluster has no metrics of CPU"] * count


def test_release_sets_the_replicas_in_the_parameters_to_zero() -> None:
    two = wanted(replicas=2)
    gateway = {"spec": {"infrastructure": {"parametersRef": {"name": two.name}}}}
    cluster = Cluster(**{"gateways.gateway.networking.k8s.io": gateway, "configmap": two.config_map("shop")})
    asyncio.run(waypoint_deployment.release(cluster.session(), "w"))
    (line,) = cluster.writes
    assert line.startswith(f"patch configmap {two.name} --type=merge --patch=")
    assert '\\"replicas\\": 0' in line


def test_release_without_parameters_changes_nothing() -> None:
    cluster = Cluster(**{"gateways.gateway.networking.k8s.io": {"spec": {}}})
    asyncio.run(waypoint_deployment.release(cluster.session(), "w"))
    assert cluster.writes == []
