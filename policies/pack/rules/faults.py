"""Rules on injected faults."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..fields import Fields, fields, number, text
from ..mesh import production_reason, seconds, service_of
from ..resources import ClusterSnapshot, Parameters, Resource, Violations
from .routes import destinations, rules_of, services_of

DURATION = "waypoint-lab/fault-seconds"  # annotation: seconds after which a fault expires
_ENVOY_FAULT = "filters.http.fault.v3.HTTPFault"
_DENOMINATORS = {"HUNDRED": 1.0, "TEN_THOUSAND": 0.01, "MILLION": 0.0001}  # Source: Envoy, FractionalPercent


class InjectedFault(NamedTuple):
    """An injected fault: percent of requests that it aborts, its delay in seconds, and the percent that it delays."""

    abort_percent: float
    delay_seconds: float
    delay_percent: float
    limits_responses: bool = False  # their rate, by Envoy


def injected_faults(item: Resource) -> Iterator[InjectedFault]:
    """Yield the faults of a VirtualService, or of Envoy configuration in a ConfigMap."""
    if item.base == "VirtualService":
        for rule in rules_of(item):
            if fault := fields(rule, "fault"):
                # Source: Istio, HTTPFaultInjection: without a percentage, all requests are aborted.
                percent = number(fault, "abort", "percentage", "value", default=100) if fields(fault, "abort") else 0
                delayed = number(fault, "delay", "percentage", "value", default=100) if fields(fault, "delay") else 0
                yield InjectedFault(percent, seconds(text(fault, "delay", "fixedDelay")), delayed)
    elif item.base == "ConfigMap":
        for document in fields(item.properties, "data").values():
            for fault in _envoy_faults(str(document)):
                scale = _DENOMINATORS.get(text(fault, "abort", "percentage", "denominator"), 1.0)
                percent = number(fault, "abort", "percentage", "numerator") * scale
                delayed = (
                    number(fault, "delay", "percentage", "numerator", default=100) if fields(fault, "delay") else 0
                )
                limits = bool(fields(fault, "response_rate_limit"))
                yield InjectedFault(percent, seconds(text(fault, "delay", "fixed_delay")), delayed, limits)


def _envoy_faults(document: str) -> list[Fields]:
    found: list[Fields] = []

    def collect(node: dict[str, Any]) -> dict[str, Any]:
        if text(node, "@type").endswith(_ENVOY_FAULT):
            found.append(node)
        return node

    if _ENVOY_FAULT in document:
        try:
            json.loads(document, object_hook=collect)
        except (ValueError, RecursionError):
            return []  # not a configuration, but text about the filter
    return found


def fault_limits(snapshot: ClusterSnapshot, parameters: Parameters) -> Violations:
    """Check faults against `maxPercent` (aborts), `maxDelaySeconds` and `maxSeconds` (time until they expire).

    The annotation `waypoint-lab/fault-seconds` is the time until a fault expires. With `requireDuration` each fault
    needs it.
    """
    percent, delay = parameters["maxPercent"], parameters["maxDelaySeconds"]
    for item in snapshot.own("VirtualService", "ConfigMap"):
        faults = list(injected_faults(item))
        for fault in faults:
            if fault.abort_percent > percent:
                yield item, f"aborts {fault.abort_percent:g} % of requests; the limit is {percent:g} %"
            if fault.delay_seconds > delay:
                yield item, f"delays by {fault.delay_seconds:g} s; the limit is {delay:g} s"
        if faults and (problem := _duration_problem(item, parameters)):
            yield item, problem


def _duration_problem(item: Resource, parameters: Parameters) -> str:
    limit, written = parameters["maxSeconds"], item.annotations.get(DURATION)
    if written is None:
        # The failing workload behind a waypoint is removed with the rule that leads to it.
        required = parameters["requireDuration"] and item.base == "VirtualService"
        return f"has a fault without the annotation {DURATION}" if required else ""
    try:
        duration = float(str(written))
    except ValueError:
        return f"annotation {DURATION} is {written!r}, not a number of seconds"
    if 0 < duration <= limit:  # false for NaN
        return ""
    return f"its fault lasts {duration:g} s; the limit is more than 0 s and at most {limit:g} s"


def no_faults_in_production(snapshot: ClusterSnapshot, parameters: Parameters) -> Violations:
    """Check that no fault is injected in stacks of `stacks`, or in namespaces with a label of `namespaceLabels`.

    A fault is in the namespace of its resource, of the Services that it is for, and of their backends. One of 0 % of
    the requests is none.
    """
    for item in snapshot.own("VirtualService", "ConfigMap"):
        faults = injected_faults(item)
        if any(fault.abort_percent > 0 or fault.delay_percent > 0 or fault.limits_responses for fault in faults):
            reasons = (production_reason(snapshot, parameters, name) for name in _namespaces(item))
            if reason := next(filter(None, reasons), ""):
                yield item, f"injects a fault, and {reason}"


def _namespaces(item: Resource) -> Iterator[str]:
    """Yield the namespaces of a resource with a fault, and of the Services that the fault is for."""
    yield item.namespace
    if item.base == "VirtualService":
        yield from (namespace for namespace, _name in services_of(item))
        for destination in (each for rule in rules_of(item) if fields(rule, "fault") for each in destinations(rule)):
            if service := service_of(text(destination, "host"), item.namespace):
                yield service[0]
