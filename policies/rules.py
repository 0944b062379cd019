"""The rules as pure functions: objects of a stack in, one line per violation out. Nothing here knows of Pulumi."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LABEL, _LABEL_NAMESPACE = "istio.io/use-waypoint", "istio.io/use-waypoint-namespace"
_TARGETED = ("AuthorizationPolicy", "RequestAuthentication", "Telemetry", "WasmPlugin")


@dataclass(frozen=True)
class Object:
    """A Kubernetes object of the stack, by its Pulumi type and inputs."""

    kind: str
    properties: Mapping[str, Any]

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Its metadata, empty where it has none."""
        return self.properties.get("metadata") or {}

    @property
    def spec(self) -> Mapping[str, Any]:
        """Its spec, empty where it has none."""
        return self.properties.get("spec") or {}

    @property
    def namespace(self) -> str:
        """The namespace it is in."""
        return str(self.metadata.get("namespace") or "default")

    @property
    def title(self) -> str:
        """How a message calls it."""
        return f"{self.kind} {self.namespace}/{self.metadata.get('name', '')}"


Objects = Sequence[Object]
Settings = Mapping[str, Any]
Rule = Callable[[Objects, Settings], Iterator[str]]


def of_kind(objects: Objects, *kinds: str) -> Iterator[Object]:
    """Those of `kinds`; a Patch counts as the kind that it patches."""
    return (item for item in objects if item.kind.removesuffix("Patch") in kinds)


def weights_add_up(objects: Objects, settings: Settings) -> Iterator[str]:
    """Where several backends share a rule, their weights make up `total`; someone answers in every rule."""
    total = settings.get("total", 100)
    for route in of_kind(objects, "HTTPRoute"):
        for number, rule in enumerate(route.spec.get("rules") or [], 1):
            weights = [ref.get("weight", 1) for ref in rule.get("backendRefs") or []]
            if not weights:
                continue  # a redirect has no backends
            if sum(weights) <= 0:
                yield f"{route.title}: rule {number} has no weight above 0, so every request fails"
            elif len(weights) > 1 and sum(weights) != total:
                yield f"{route.title}: weights of rule {number} add up to {sum(weights):g}, not to {total:g}"


def one_owner_per_service(objects: Objects, _settings: Settings) -> Iterator[str]:
    """No HTTPRoute and VirtualService on one Service: the route's catch-all hides the fault."""
    routed = {
        (parent.get("namespace") or route.namespace, parent.get("name")): route
        for route in of_kind(objects, "HTTPRoute")
        for parent in route.spec.get("parentRefs") or []
        if parent.get("kind") == "Service"
    }
    for rule in of_kind(objects, "VirtualService"):
        for host in rule.spec.get("hosts") or []:
            name, namespace, *_ = [*str(host).split("."), rule.namespace]
            if route := routed.get((namespace, name)):
                yield f"{rule.title}: {route.title} has Service {namespace}/{name} already, and hides this one"


def target_refs_only(objects: Objects, _settings: Settings) -> Iterator[str]:
    """Where a waypoint is, policies are bound by targetRefs: it ignores what a selector picks."""
    places = {
        item.namespace for item in of_kind(objects, "Gateway") if item.spec.get("gatewayClassName") == "istio-waypoint"
    }
    for policy in of_kind(objects, *_TARGETED):
        if policy.namespace in places and policy.spec.get("selector"):
            yield f"{policy.title}: has a selector, which a waypoint ignores; bind it by targetRefs"


def fault_limits(objects: Objects, settings: Settings) -> Iterator[str]:
    """Injected faults stay within `maxPercent`, aborts alone, and `maxDelaySeconds`."""
    percent, delay = settings.get("maxPercent", 100), settings.get("maxDelaySeconds", 10)
    for item, abort_share, delay_seconds in _faults(objects):
        if abort_share > percent:
            yield f"{item.title}: aborts {abort_share:g} % of requests; the limit is {percent:g} %"
        if delay_seconds > delay:
            yield f"{item.title}: delays by {delay_seconds:g} s; the limit is {delay:g} s"


def _faults(objects: Objects) -> Iterator[tuple[Object, float, float]]:
    for item in of_kind(objects, "VirtualService"):
        for rule in item.spec.get("http") or []:
            fault = rule.get("fault") or {}
            abort, delay = fault.get("abort"), fault.get("delay") or {}
            share = (abort.get("percentage") or {}).get("value", 100) if abort else 0
            yield item, share, _seconds(delay.get("fixedDelay", "0s"))
    for item in of_kind(objects, "ConfigMap"):  # a failing upstream carries its faults in Envoy's own configuration
        for text in (item.properties.get("data") or {}).values():
            for fault in _envoy_faults(text):
                share = fault.get("abort", {}).get("percentage", {}).get("numerator", 0) / 10_000
                yield item, share, _seconds(fault.get("delay", {}).get("fixed_delay", "0s"))


def _envoy_faults(text: str) -> Iterator[Mapping[str, Any]]:
    if "filters.http.fault.v3.HTTPFault" not in text:
        return
    found: list[Mapping[str, Any]] = []

    def look(node: dict[str, Any]) -> dict[str, Any]:
        if str(node.get("@type", "")).endswith("filters.http.fault.v3.HTTPFault"):
            found.append(node)
        return node

    json.loads(text, object_hook=look)
    yield from found


def _seconds(text: str) -> float:
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)(ms|s|m|h)", text))


def enrolled_with_its_gateway(objects: Objects, _settings: Settings) -> Iterator[str]:
    """A label that enrols names a waypoint of this stack: one that is missing lets traffic past every policy."""
    gateways = {(item.namespace, item.metadata.get("name")) for item in of_kind(objects, "Gateway")}
    for item in of_kind(objects, "Namespace", "Service"):
        labels = item.metadata.get("labels") or {}
        waypoint = labels.get(_LABEL)
        if waypoint in (None, "none"):
            continue
        is_namespace = item.kind.startswith("Namespace")
        own = str(item.metadata.get("name")) if is_namespace else item.namespace
        place = labels.get(_LABEL_NAMESPACE, own)
        if (place, waypoint) not in gateways:
            yield f"{item.kind} {item.metadata.get('name')}: enrolled in {place}/{waypoint} without a Gateway"


RULES: Mapping[str, Rule] = {
    "weights-add-up": weights_add_up,
    "one-owner-per-service": one_owner_per_service,
    "target-refs-only": target_refs_only,
    "fault-limits": fault_limits,
    "enrolled-with-its-gateway": enrolled_with_its_gateway,
}
