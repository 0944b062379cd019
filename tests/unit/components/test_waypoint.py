from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pulumi
import pytest

from components import FailClosed, L7Policy, Waypoint
from components._internal import gateway_cleanup
from components._internal.owners import OWNER
from tests.unit.components import recording
from tests.unit.components.recording import Recording, run


def waypoint(**args: Any) -> Recording:
    return run(lambda: Waypoint("w", {"namespace": "shop", **args}))  # type: ignore[typeddict-item]


def test_waypoint_gateway_listens_for_hbone_of_all_namespaces() -> None:
    record = waypoint()
    gateway = record.inputs("w-gateway")
    # A Gateway of an earlier version gets no annotation, which would replace its Pods.
    assert record.requests["w-gateway"].ignoreChanges == [f'metadata.annotations["{OWNER}"]']
    assert gateway["metadata"]["annotations"] == {
        "pulumi.com/waitFor": "condition=Programmed",
        OWNER: "waypoint-lab/test",
    }
    (listener,) = gateway["spec"]["listeners"]
    assert (listener["port"], listener["protocol"]) == (15008, "HBONE")
    assert listener["allowedRoutes"] == {"namespaces": {"from": "All"}}


def test_policies_and_the_access_log_name_their_stack() -> None:
    given: Any = {"namespace": "shop"}

    def program() -> None:
        Waypoint("w", {**given, "access_log": True})
        L7Policy("get", {**given, "services": ["cart"], "rules": [{"methods": ["GET"]}]})
        FailClosed("closed", {**given, "labels": {"app": "cart"}})

    record = run(program)
    for name in ("w-access-log", "get-policy", "closed-policy"):
        assert record.inputs(name)["metadata"]["annotations"] == {OWNER: "waypoint-lab/test"}


@pytest.mark.parametrize("second", [{}, {"gateway": "b", "canary": {"gateway": "waypoint", "weight": 0}}])
def test_two_waypoints_of_one_gateway_are_refused(second: Any) -> None:
    def program(namespace: str) -> None:
        Waypoint("w", {"namespace": "shop"})
        Waypoint("again", {"namespace": namespace, **second})

    run(lambda: program("other"))
    with pytest.raises(pulumi.RunError, match='gateway is "waypoint": it must be one that Waypoint w does not have in'):
        run(lambda: program("shop"))


def test_second_waypoint_of_a_gateway_in_a_namespace_that_is_an_output_registers_no_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def program() -> None:
        for name in ("w", "again"):
            Waypoint(name, {"namespace": pulumi.Output.from_input("shop"), "replicas": 2})

    record = Recording()
    monkeypatch.setattr(recording, "Recording", lambda: record)
    with pytest.raises(pulumi.RunError, match='gateway is "waypoint": it must be one that Waypoint w does not have in'):
        run(program)
    assert not {"again-gateway", "again-parameters"} & record.kinds().keys()


def test_waypoint_enrolls_a_namespace_by_its_label_alone() -> None:
    patch = waypoint().inputs("w-enrollment")
    assert patch["metadata"] == {"name": "shop", "labels": {"istio.io/use-waypoint": "waypoint"}}


def test_waypoint_enrolls_named_services() -> None:
    record = waypoint(enroll="services", services=["cart", "till"])
    assert record.kinds() == {
        "w-gateway": "Gateway",
        "w-enrollment-cart": "ServicePatch",
        "w-enrollment-till": "ServicePatch",
    }


def test_waypoint_enrolls_services_of_another_namespace() -> None:
    record = waypoint(enroll="services", services=["cart", "web/till"], canary={"gateway": "next", "weight": 5})
    home = {"istio.io/use-waypoint-namespace": "shop", "istio.io/use-waypoint-canary-namespace": "shop"}
    both = {"istio.io/use-waypoint": "waypoint", "istio.io/use-waypoint-canary": "next"}
    metadata = record.inputs("w-enrollment-web.till")["metadata"]
    assert (metadata["namespace"], metadata["name"], metadata["labels"]) == ("web", "till", {**both, **home})
    assert record.inputs("w-enrollment-cart")["metadata"]["labels"] == both
    assert record.inputs("w-weight-web.till")["metadata"]["namespace"] == "web"


@pytest.mark.parametrize("home", ["shop", pulumi.Output.from_input("shop")])
def test_waypoint_enrolls_other_namespaces(home: pulumi.Input[str]) -> None:
    record = run(lambda: Waypoint("w", {"namespace": home, "namespaces": ["web"]}))
    assert record.kinds() == {"w-gateway": "Gateway", "w-enrollment-web": "NamespacePatch"}
    assert record.inputs("w-enrollment-web")["metadata"] == {
        "name": "web",
        "labels": {"istio.io/use-waypoint": "waypoint", "istio.io/use-waypoint-namespace": "shop"},
    }


def test_waypoint_enrolls_its_own_namespace_beside_another() -> None:
    record = waypoint(namespaces=["shop", "web"])
    assert record.inputs("w-enrollment")["metadata"]["labels"] == {"istio.io/use-waypoint": "waypoint"}
    assert "w-enrollment-web" in record.made


def test_waypoint_enrolls_nothing() -> None:
    assert waypoint(enroll="nothing").kinds() == {"w-gateway": "Gateway"}


def test_waypoint_access_log_is_bound_to_the_gateway() -> None:
    spec = waypoint(access_log=True).inputs("w-access-log")["spec"]
    assert spec["targetRefs"] == [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"}]
    assert "selector" not in spec


def test_waypoint_outputs_are_name_address_and_class() -> None:
    seen: list[list[str]] = []

    def program() -> None:
        made = Waypoint("w", {"namespace": "shop"})
        pulumi.Output.all(made.name, made.address, made.gateway_class).apply(seen.append)

    run(program)
    assert seen == [["waypoint", "10.96.0.9", "istio-waypoint"]]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"waypoint_for": "pods"}, 'waypoint_for is "pods": it must be service or workload or all'),
        ({"enroll": "all"}, 'enroll is "all": it must be namespace or services or nothing'),
        ({"enroll": "services"}, r"services is \[\]: it must be a list of different names"),
        ({"services": ["a"]}, r'services is \["a"\]: it must be absent unless enroll is services'),
        ({"enroll": "services", "services": ["a/b/c"]}, 'services is "a/b/c": it must be a name, or NAMESPACE/NAME'),
        ({"enroll": "services", "services": ["/b"]}, 'services is "/b": it must be a name, or NAMESPACE/NAME'),
        ({"namespaces": []}, r"namespaces is \[\]: it must be a list of different names, at least one"),
        ({"namespaces": ["a/b"]}, 'namespaces is "a/b": it must be a DNS label'),
        ({"enroll": "nothing", "namespaces": ["a"]}, r'namespaces is \["a"\]: it must be absent unless enroll is'),
        ({"limit_seconds": 0}, "limit_seconds is 0: it must be a number from 1 to 3600"),
        ({"namespace": ""}, 'namespace is "": it must be a DNS label'),
    ],
)
def test_waypoint_with_bad_arguments_is_refused(args: dict[str, Any], said: str) -> None:
    with pytest.raises(pulumi.RunError, match=said):
        waypoint(**args)


@pytest.mark.parametrize(("given", "seconds"), [({}, "180s"), ({"limit_seconds": 10}, "10s")])
def test_waypoint_limit_applies_to_the_providers_wait(given: dict[str, Any], seconds: str) -> None:
    timeouts = waypoint(**given).requests["w-gateway"].customTimeouts
    assert (timeouts.create, timeouts.update) == (seconds, seconds)


def test_waypoint_limit_replaces_the_timeouts_of_the_callers_options() -> None:
    given: Any = {"namespace": "shop", "revision": "none", "limit_seconds": 10}
    options = pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(create="10m", update="10m"))
    timeouts = run(lambda: Waypoint("w", given, options)).requests["w-gateway"].customTimeouts
    assert (timeouts.create, timeouts.update) == ("10s", "10s")


@pytest.mark.parametrize(
    ("given", "places"),
    [({}, []), ({"enroll": "services", "services": ["cart"]}, ["cart"]), ({"enroll": "nothing"}, None)],
)
def test_waypoint_labels_of_other_tools_are_looked_for_before_its_gateway(
    given: dict[str, Any], places: list[str] | None
) -> None:
    with patch.object(gateway_cleanup, "hook", wraps=gateway_cleanup.hook) as hook:
        assert "w-collected" in waypoint(**given).requests["w-gateway"].hooks.before_create
    assert hook.call_args.args[3] == places


def test_waypoint_services_are_waited_for_after_each_label() -> None:
    record = waypoint(enroll="services", services=["cart", "till"])
    assert list(record.requests["w-enrollment-cart"].hooks.after_create) == ["w-synced-cart"]
    assert list(record.requests["w-enrollment-till"].hooks.after_update) == ["w-synced-till"]
    assert list(waypoint(waypoint_for="workload").requests["w-enrollment"].hooks.after_create) == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"services": "web", "enroll": "services"}, 'services is "web": it must be a list of text'),
        ({"namespace": 5}, "namespace is 5: it must be text"),
        ({"revision": 5}, "revision is 5: it must be text"),
        ({"canary": "next"}, 'canary is "next": it must be an object with the fields of CanaryWaypoint'),
        ({"access_log": "yes"}, 'access_log is "yes": it must be true or false'),
        ({"acces_log": True}, "acces_log is unknown: it must be access_log"),
        ({"kubeconfig": ["a"]}, r"kubeconfig is .*: it must be text"),
    ],
)
def test_waypoint_with_a_wrong_type_is_refused_in_one_line(args: dict[str, Any], said: str) -> None:
    with pytest.raises(pulumi.RunError, match=f"^Waypoint: {said}"):
        waypoint(**args)


def test_waypoint_passes_outputs_on() -> None:
    def program() -> None:
        output = pulumi.Output.from_input
        Waypoint("w", {"namespace": output("shop"), "revision": output("1-31-0"), "context": output("c")})

    record = run(program)
    assert record.inputs("w-gateway")["metadata"]["namespace"] == "shop"
    assert record.inputs("w-gateway")["metadata"]["labels"]["istio.io/rev"] == "1-31-0"
    assert record.inputs("w-enrollment")["metadata"]["name"] == "shop"


def test_fail_closed_passes_outputs_on_and_waits_for_status() -> None:
    def program() -> None:
        output = pulumi.Output.from_input
        FailClosed("f", {"namespace": output("shop"), "labels": {"app": output("cart")}, "waypoint": output("w")})

    record = run(program)
    spec = record.inputs("f-policy")["spec"]
    assert spec["selector"] == {"matchLabels": {"app": "cart"}}
    assert spec["rules"] == [{"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/w"]}}]}]
    assert list(record.requests["f-policy"].hooks.after_update) == ["f-fail-closed-synced"]


def policy(**args: Any) -> Recording:
    given = {"namespace": "shop", "services": ["cart"], **args}
    return run(lambda: L7Policy("p", given))  # type: ignore[arg-type]


def test_l7_policy_is_bound_to_its_services() -> None:
    rule = {
        "methods": ["GET"],
        "paths": ["/a*"],
        "hosts": ["h:80"],
        "headers": {"x": ["1"]},
        "principals": ["d/ns/n/sa/a"],
        "namespaces": ["n"],
    }
    spec = policy(rules=[rule]).inputs("p-policy")["spec"]
    assert spec == {
        "targetRefs": [{"group": "", "kind": "Service", "name": "cart"}],
        "action": "ALLOW",
        "rules": [
            {
                "from": [{"source": {"principals": ["d/ns/n/sa/a"], "namespaces": ["n"]}}],
                "to": [{"operation": {"methods": ["GET"], "paths": ["/a*"], "hosts": ["h:80"]}}],
                "when": [{"key": "request.headers[x]", "values": ["1"]}],
            }
        ],
    }


def test_l7_policy_that_refuses_all_needs_everything_true() -> None:
    for args in ({"rules": []}, {"rules": [{}], "action": "DENY"}):
        with pytest.raises(pulumi.RunError, match="unless everything is true"):
            policy(**args)
        assert policy(**args, everything=True).kinds() == {"p-policy": "AuthorizationPolicy"}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"rules": [], "action": "DENY"}, "DENY without rules refuses nothing"),
        ({"rules": [{"methods": []}]}, r"methods of rule 1 is \[\]"),
        ({"rules": [{"method": ["GET"]}]}, r"rules\[0\].method is unknown: it must be methods"),
        ({"rules": [{"methods": ["GET"]}], "services": []}, "services is"),
        ({"rules": [{"methods": ["GET"]}], "action": "AUDIT"}, "ALLOW or DENY"),
    ],
)
def test_l7_policy_with_bad_arguments_is_refused(args: dict[str, Any], said: str) -> None:
    with pytest.raises(pulumi.RunError, match=said):
        policy(**args)


def test_components_of_the_same_name_have_hooks_of_different_names() -> None:
    def program() -> None:
        Waypoint("shop", {"namespace": "shop", "access_log": True, "canary": {"gateway": "next"}})
        L7Policy("shop", {"namespace": "shop", "services": ["cart"], "rules": [{"methods": ["GET"]}]})
        FailClosed("shop", {"namespace": "shop", "labels": {"app": "cart"}})

    hooks = hook_names(program)
    assert sorted(set(hooks)) == sorted(hooks)


def hook_names(program: Callable[[], object]) -> list[str]:
    """Return the names of all hooks; unlike `run`, resources of different types may have the same name."""
    with patch.object(Recording, "new_resource", lambda _self, args: (args.name, dict(args.inputs))):
        return run(program).hooks
