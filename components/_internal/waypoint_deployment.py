"""Waits for the objects that istiod creates with a waypoint's parameters."""

import json
from collections.abc import Mapping
from typing import Any

import pulumi

from . import waits
from .waits import Access, Session
from .waypoint_parameters import AUTOSCALER, BUDGET, DEPLOYMENT, STAMP, Parameters, without_replicas

_KINDS = {AUTOSCALER: "horizontalpodautoscaler", BUDGET: "poddisruptionbudget"}
_REASON = "if istiod refuses them, its log has the reason"


async def settle(session: Session, gateway: str, wanted: Parameters | None) -> None:
    """Wait until a waypoint's objects are those of its parameters, and its Deployment is rolled out.

    istiod does not delete an autoscaler or a budget whose parameters are gone, so that is done here.

    Args:
        session: kubectl in the waypoint's namespace.
        gateway: Name of the waypoint's Gateway.
        wanted: The parameters; None where it has none any more.
    """

    async def check() -> str:
        deployment = await session.get("deployment", gateway)
        if _stamp(deployment) != (wanted.name if wanted else ""):
            return f"Deployment {gateway} does not have the declared parameters; {_REASON}"
        for key, kind in _KINDS.items():
            if wanted and key in wanted.overlays:
                if why := await _lack(session, gateway, kind, wanted):
                    return why
            elif await _deleted(session, gateway, kind) and key == AUTOSCALER and not _replicas(wanted):
                # The number that the autoscaler chose would be kept: istiod sets none.
                await session.run("scale", f"deployment/{gateway}", "--replicas=1")
                return f"Deployment {gateway} is scaled to 1 replica"
        if wanted and wanted.bounds:
            least, most = wanted.bounds
            if not least <= (there := deployment["spec"].get("replicas", 1)) <= most:
                return f"the autoscaler of Deployment {gateway} has set {there} replicas, not {least} to {most}"
        why = waits.rollout_problem(deployment)
        return f"Deployment {gateway}: {why}" if why else ""

    await session.until(check)


async def report_metrics(session: Session, gateway: str, wanted: Parameters | None) -> None:
    """Warn where an autoscaler has no metrics of CPU to decide by."""
    if wanted and wanted.bounds and (await session.done("get", "--raw=/apis/metrics.k8s.io/v1beta1")).returncode:
        pulumi.warn(
            f"waypoint {gateway}: the cluster has no metrics of CPU (metrics.k8s.io), so its autoscaler keeps "
            f"{wanted.bounds[0]} replicas; install metrics-server"
        )


def _stamp(item: Mapping[str, Any]) -> str:
    return str((item["metadata"].get("annotations") or {}).get(STAMP, ""))


def _replicas(wanted: Parameters | None) -> bool:
    return bool(wanted and "replicas" in wanted.overlays[DEPLOYMENT].get("spec", {}))


async def _find(session: Session, gateway: str, kind: str) -> dict[str, Any] | None:
    listed = await session.get(kind, f"--field-selector=metadata.name={gateway}")
    return next(iter(listed["items"]), None)


async def _lack(session: Session, gateway: str, kind: str, wanted: Parameters) -> str:
    """Return why an autoscaler or a budget is not as wanted; empty if it is."""
    item = await _find(session, gateway, kind)
    there = item is not None and _stamp(item) == wanted.name
    return "" if there else f"the {kind} of waypoint {gateway} does not have the declared parameters; {_REASON}"


async def _deleted(session: Session, gateway: str, kind: str) -> bool:
    """Delete an autoscaler or a budget that istiod made for earlier parameters; return True if there was one."""
    item = await _find(session, gateway, kind)
    if item is None or not _stamp(item):
        return False
    await session.run("delete", kind, gateway, "--ignore-not-found")
    return True


async def release(session: Session, gateway: str) -> None:
    """Set the replicas in a waypoint's parameters to 0: istiod would undo a change of the Deployment alone."""
    found = await session.get("gateways.gateway.networking.k8s.io", f"--field-selector=metadata.name={gateway}")
    for item in found["items"]:
        name = ((item["spec"].get("infrastructure") or {}).get("parametersRef") or {}).get("name", "")
        if name and (data := without_replicas((await session.get("configmap", name)).get("data") or {})):
            await session.run("patch", "configmap", name, "--type=merge", f"--patch={json.dumps({'data': data})}")


def hooks(name: str, cluster: Access, wanted: Parameters | None, limit: float) -> pulumi.ResourceHookBinding:
    """Return the hooks after a Gateway is written that wait until its objects are those of `wanted`."""

    async def after(args: pulumi.ResourceHookArgs) -> None:
        document, old = await waits.plain(args.new_inputs), await waits.plain(args.old_inputs)
        if not wanted and not ((old or {}).get("spec") or {}).get("infrastructure"):
            return
        session, gateway = Session.of(cluster, document, limit), document["metadata"]["name"]
        await settle(session, gateway, wanted)
        await report_metrics(session, gateway, wanted)

    last = pulumi.ResourceHook(name, after)
    return pulumi.ResourceHookBinding(after_create=[last] if wanted else [], after_update=[last])
