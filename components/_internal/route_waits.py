"""Waits of routes, as resource hooks. They take names from the route's own inputs, where outputs are known."""

from collections.abc import Iterator, Mapping
from typing import Any

import pulumi

from . import fault_expiry as expiry
from . import waits
from .traffic import FaultSettings


def backends(name: str, target: waits.Target, limit_seconds: float) -> pulumi.ResourceHook:
    """Return a hook that waits until each backend of a route has a ready Pod."""

    async def wait(args: pulumi.ResourceHookArgs) -> None:
        inputs = args.new_inputs or {}
        services = sorted(set(services_of(inputs["spec"])))
        what = waits.slices(inputs["metadata"]["namespace"], services)
        await waits.wait(target, what, waits.endpoints_problem(services), limit_seconds)

    return pulumi.ResourceHook(f"{name}-backends", wait)


def served(name: str, target: waits.Target, limit_seconds: float) -> pulumi.ResourceHook:
    """Return a hook that waits until the generation of an HTTPRoute that was just written is served."""

    async def wait(args: pulumi.ResourceHookArgs) -> None:
        metadata = (args.new_inputs or {})["metadata"]
        what = waits.one("httproute", metadata["namespace"], metadata["name"])
        await waits.wait(target, what, waits.route_problem, limit_seconds)

    return pulumi.ResourceHook(f"{name}-served", wait)


def fault_expiry(name: str, target: waits.Target, fault: FaultSettings, limit_seconds: float) -> pulumi.ResourceHook:
    """Return a hook for before a fault is written: the Job that ends it must run."""

    async def wait(args: pulumi.ResourceHookArgs) -> None:
        what = waits.one("job", (args.new_inputs or {})["metadata"]["namespace"], expiry.job_name(name, fault))
        await waits.wait(target, what, expiry.running_problem, limit_seconds)

    return pulumi.ResourceHook(f"{name}-fault-expiry-ready", wait)


def services_of(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield the backends in the spec of an HTTPRoute or a VirtualService."""
    for rule in spec.get("rules", []):
        yield from (ref["name"] for ref in rule["backendRefs"])
    for rule in spec.get("http", []):
        yield from (entry["destination"]["host"].partition(".")[0] for entry in rule["route"])
