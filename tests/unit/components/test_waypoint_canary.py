"""A second waypoint beside the first: what is registered for it, in which order, and what is refused."""

from typing import Any

import pulumi
import pytest

from components import Waypoint
from tests.unit.components.recording import Recording, run

PRIMARY, CANARY = "istio.io/use-waypoint", "istio.io/use-waypoint-canary"
WEIGHT = "istio.io/use-waypoint-canary-weight"
NEXT = "w-gateway-next"


def waypoint(**args: Any) -> Recording:
    given = {"namespace": "shop", "canary": {"gateway": "next", "weight": 20}, **args}
    return run(lambda: Waypoint("w", given))  # type: ignore[arg-type]


def alone(gateway: str, **args: Any) -> Recording:
    return run(lambda: Waypoint("w", {"namespace": "shop", "gateway": gateway, **args}))  # type: ignore[typeddict-item]


def targets(record: Recording, name: str) -> list[str]:
    return [ref["name"] for ref in record.inputs(name)["spec"]["targetRefs"]]


def test_waypoint_canary_adds_a_gateway_and_a_weight() -> None:
    assert waypoint().kinds() == {
        "w-gateway": "Gateway",
        "w-gateway-next": "Gateway",
        "w-enrollment": "NamespacePatch",
        "w-weight": "NamespacePatch",
    }
    assert alone("waypoint").kinds() == {"w-gateway": "Gateway", "w-enrollment": "NamespacePatch"}


def test_waypoint_canary_gateway_differs_only_in_its_name() -> None:
    record = waypoint(waypoint_for="all")
    first, second = record.inputs("w-gateway"), record.inputs("w-gateway-next")
    assert (first["metadata"].pop("name"), second["metadata"].pop("name")) == ("waypoint", "next")
    assert first == second
    assert first["metadata"]["labels"] == {"istio.io/waypoint-for": "all"}


def test_waypoint_canary_weight_is_a_patch_of_its_own() -> None:
    record = waypoint()
    assert record.inputs("w-enrollment")["metadata"] == {
        "name": "shop",
        "labels": {PRIMARY: "waypoint", CANARY: "next"},
    }
    assert record.inputs("w-weight")["metadata"] == {"name": "shop", "annotations": {WEIGHT: "20"}}


def test_waypoint_canary_weight_depends_on_labels_and_gateways() -> None:
    record = waypoint()
    assert record.needs("w-enrollment") == {"w-gateway", "w-gateway-next"}
    assert record.needs("w-weight") == {"w-enrollment"}


def test_waypoint_canary_hooks_run_before_labels_and_weight() -> None:
    record = waypoint()
    labels, weight = record.requests["w-enrollment"].hooks, record.requests["w-weight"].hooks
    assert list(labels.before_create) == ["w-rollout", "w-rollout-next", "w-drain"]
    assert list(labels.before_update) == ["w-rollout", "w-rollout-next", "w-drain"]
    assert (list(weight.before_create), list(weight.before_update)) == (["w-weight"], ["w-weight"])


def test_waypoint_without_canary_still_drains() -> None:
    record = alone("next")
    assert list(record.requests["w-enrollment"].hooks.before_update) == ["w-rollout-next", "w-drain"]
    assert record.inputs("w-enrollment")["metadata"] == {"name": "shop", "labels": {PRIMARY: "next"}}


@pytest.mark.parametrize(("canary", "text"), [({}, "0"), ({"weight": 0}, "0"), ({"weight": 100.0}, "100")])
def test_waypoint_canary_weight_defaults_to_0(canary: dict[str, Any], text: str) -> None:
    record = waypoint(canary={"gateway": "next", **canary})
    assert record.inputs("w-weight")["metadata"]["annotations"] == {WEIGHT: text}


def test_waypoint_canary_of_services_patches_each_service() -> None:
    record = waypoint(enroll="services", services=["cart", "till"])
    kinds = {"w-gateway": "Gateway", "w-gateway-next": "Gateway"}
    for service in ("cart", "till"):
        kinds |= {f"w-enrollment-{service}": "ServicePatch", f"w-weight-{service}": "ServicePatch"}
        quick = {"pulumi.com/skipAwait": "true"}
        place = {"name": service, "namespace": "shop", "annotations": quick}
        labels = {PRIMARY: "waypoint", CANARY: "next"}
        assert record.inputs(f"w-enrollment-{service}")["metadata"] == {**place, "labels": labels}
        assert record.inputs(f"w-weight-{service}")["metadata"] == {**place, "annotations": {**quick, WEIGHT: "20"}}
        assert record.needs(f"w-weight-{service}") == {f"w-enrollment-{service}"}
        assert list(record.requests[f"w-weight-{service}"].hooks.before_create) == [f"w-weight-{service}"]
    assert record.kinds() == kinds


def test_waypoint_canary_access_log_covers_both_gateways() -> None:
    record = waypoint(access_log=True)
    assert targets(record, "w-access-log") == ["waypoint", "next"]
    assert record.needs("w-access-log") == {"w-gateway", "w-gateway-next"}
    assert record.inputs("w-access-log")["spec"]["accessLogging"] == [{"providers": [{"name": "envoy"}]}]


def test_waypoint_revisions_are_set_per_gateway() -> None:
    def revisions(**args: Any) -> list[str | None]:
        record = waypoint(**args)
        return [record.inputs(name)["metadata"]["labels"].get("istio.io/rev") for name in ("w-gateway", NEXT)]

    newer = {"gateway": "next", "revision": "1-31-0"}
    assert revisions() == [None, None]
    assert revisions(canary=newer) == [None, "1-31-0"]
    assert revisions(revision="1-30-2") == ["1-30-2", None]
    assert revisions(revision="1-30-2", canary=newer) == ["1-30-2", "1-31-0"]


def test_waypoint_canary_as_primary_keeps_its_resource() -> None:
    before, after = waypoint(access_log=True), alone("next", access_log=True)
    assert before.inputs(NEXT) == after.inputs(NEXT)
    assert before.made[NEXT].typ == after.made[NEXT].typ
    assert set(after.kinds()) == {NEXT, "w-access-log-next", "w-enrollment"}


def test_waypoint_resources_have_no_aliases() -> None:
    for gateway, canary in (("blue", "next"), ("blue", "waypoint"), ("waypoint", "blue")):
        record = waypoint(gateway=gateway, canary={"gateway": canary}, access_log=True)
        assert {name: record.aliases(name) for name in record.made if record.aliases(name)} == {}


def test_waypoint_canary_with_the_default_name_keeps_its_resource() -> None:
    record = waypoint(gateway="blue", canary={"gateway": "waypoint", "weight": 5})
    assert record.inputs("w-gateway")["metadata"]["name"] == "waypoint"
    assert record.inputs("w-enrollment")["metadata"]["labels"] == {PRIMARY: "blue", CANARY: "waypoint"}


def test_waypoint_outputs_are_those_of_the_primary() -> None:
    seen: list[list[str]] = []

    def program() -> None:
        made = Waypoint("w", {"namespace": "shop", "gateway": "blue", "canary": {"gateway": "next", "weight": 100}})
        pulumi.Output.all(made.name, made.address, made.gateway_class).apply(seen.append)

    run(program)
    assert seen == [["blue", "10.96.0.9", "istio-waypoint"]]


def refused(**args: Any) -> tuple[list[str], Recording]:
    """Return the error, and the resources that were registered before it."""
    said: list[str] = []

    def program() -> None:
        try:
            Waypoint("w", {"namespace": "shop", **args})  # type: ignore[typeddict-item]
        except pulumi.RunError as error:
            said.append(str(error))

    return said, run(program)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"canary": {}}, "canary.gateway is missing: it must be given"),
        ({"canary": {"gateway": ""}}, 'canary.gateway is "": it must be a DNS label: at most 63 of a-z, 0-9 and -'),
        ({"canary": {"gateway": 5}}, "canary.gateway is 5: it must be text"),
        (
            {"canary": {"gateway": "next", "wait": 5}},
            "canary.wait is unknown: it must be weight",
        ),
        (
            {"canary": {"gateway": "waypoint"}},
            'canary.gateway is "waypoint": it must be another name than the primary\'s',
        ),
        (
            {"gateway": "blue", "canary": {"gateway": "blue"}},
            'canary.gateway is "blue": it must be another name than the primary\'s',
        ),
        (
            {"enroll": "nothing", "canary": {"gateway": "next"}},
            'canary is {"gateway": "next"}: it must be absent where enroll is nothing: no connections come to share',
        ),
        (
            {"waypoint_for": "workload", "canary": {"gateway": "next"}},
            'canary is {"gateway": "next"}: it must be absent with workload: Istio shares Services\' traffic only',
        ),
    ],
)
def test_waypoint_with_a_bad_canary_is_refused_before_registration(args: dict[str, Any], said: str) -> None:
    lines, record = refused(**args)
    assert lines == [f"Waypoint: {said}"]
    assert (record.made, record.hooks) == ({}, [])


@pytest.mark.parametrize(
    ("weight", "shown"),
    [(101, "101"), (-1, "-1"), (12.5, "12.5"), (101.0, "101"), (True, "true"), ("20", '"20"')],
)
def test_waypoint_with_a_bad_canary_weight_is_refused_before_registration(weight: object, shown: str) -> None:
    lines, record = refused(canary={"gateway": "next", "weight": weight})
    (line,) = lines
    assert line.startswith(f"Waypoint: canary.weight is {shown}: it must be a whole number")
    assert (record.made, record.hooks) == ({}, [])


def test_waypoint_with_a_canary_output_is_refused_in_one_line() -> None:
    def program() -> None:
        canary = {"gateway": pulumi.Output.from_input("next")}
        Waypoint("w", {"namespace": "shop", "canary": canary})  # type: ignore[typeddict-item]

    with pytest.raises(pulumi.RunError, match=r"^Waypoint: canary\.gateway is an output: it must be known when"):
        run(program)
