"""Rules on injected faults."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .objects import Findings, Object, Settings, World, in_production, seconds
from .routes import rules_of

DURATION = "waypoint-lab/fault-seconds"  # annotation: how long a fault may stay
_ENVOY_FAULT = "filters.http.fault.v3.HTTPFault"


class Fault(NamedTuple):
    """One injected fault: the share of requests it aborts, in percent, and by how much it delays."""

    abort_percent: float
    delay_seconds: float


def faults(item: Object) -> Iterator[Fault]:
    """The faults that a VirtualService injects, or that a ConfigMap carries in Envoy's own configuration."""
    if item.base == "VirtualService":
        for rule in rules_of(item):
            if fault := rule.get("fault"):
                abort, delay = fault.get("abort"), fault.get("delay") or {}
                # Source: Istio, HTTPFaultInjection: without a percentage, all requests are aborted.
                share = (abort.get("percentage") or {}).get("value", 100) if abort else 0
                yield Fault(share, seconds(delay.get("fixedDelay")))
    elif item.base == "ConfigMap":
        for text in (item.properties.get("data") or {}).values():
            for found in _envoy_faults(str(text)):
                percentage = found.get("abort", {}).get("percentage", {})
                share = percentage.get("numerator", 0) * _SCALE[percentage.get("denominator", "HUNDRED")]
                yield Fault(share, seconds(found.get("delay", {}).get("fixed_delay")))


_SCALE = {"HUNDRED": 1.0, "TEN_THOUSAND": 0.01, "MILLION": 0.0001}  # Source: Envoy, FractionalPercent


def _envoy_faults(text: str) -> Iterator[Mapping[str, Any]]:
    if _ENVOY_FAULT not in text:
        return
    found: list[Mapping[str, Any]] = []

    def look(node: dict[str, Any]) -> dict[str, Any]:
        if str(node.get("@type", "")).endswith(_ENVOY_FAULT):
            found.append(node)
        return node

    try:
        json.loads(text, object_hook=look)
    except ValueError:
        return  # not JSON: somebody's text about the filter
    yield from found


def fault_limits(world: World, settings: Settings) -> Findings:
    """Injected faults stay within `maxPercent` (aborts), `maxDelaySeconds` and `maxSeconds` (how long they stay).

    How long a fault stays is the annotation `waypoint-lab/fault-seconds`; `requireDuration` refuses faults without it.
    """
    percent, delay = settings["maxPercent"], settings["maxDelaySeconds"]
    for item in world.own("VirtualService", "ConfigMap"):
        found = list(faults(item))
        for fault in found:
            if fault.abort_percent > percent:
                yield item, f"aborts {fault.abort_percent:g} % of requests; the limit is {percent:g} %"
            if fault.delay_seconds > delay:
                yield item, f"delays by {fault.delay_seconds:g} s; the limit is {delay:g} s"
        if found and (problem := _duration_problem(item, settings)):
            yield item, problem


def _duration_problem(item: Object, settings: Settings) -> str:
    limit, text = settings["maxSeconds"], item.annotations.get(DURATION)
    if text is None:
        # The failing workload behind a waypoint goes with the rule that leads to it, and has no end of its own.
        required = settings["requireDuration"] and item.base == "VirtualService"
        return f"has a fault without the annotation {DURATION}" if required else ""
    try:
        stays = float(text)
    except ValueError:
        return f"annotation {DURATION} is {text!r}, not a number of seconds"
    # Not `stays > limit`: that would let a NaN pass.
    return "" if 0 < stays <= limit else f"its fault stays {stays:g} s; allowed are more than 0 s, at most {limit:g} s"


def no_faults_in_production(world: World, settings: Settings) -> Findings:
    """No fault is injected in stacks named in `stacks`, nor in namespaces with a label of `namespaceLabels`."""
    for item in world.own("VirtualService", "ConfigMap"):
        if any(faults(item)) and (why := in_production(world, settings, item.namespace)):
            yield item, f"injects a fault, and {why}"
