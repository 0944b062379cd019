"""A kernel that cannot enforce policies of layer 4: new ones are refused, and the status of earlier ones says so."""

import asyncio
import logging

from embedded.control_plane import admission, istio
from embedded.kube import FAULTS, Informer, Kube, Object, now

POLICIES = "/apis/security.istio.io/v1/authorizationpolicies"
RETRY_SECONDS = 0.5
NOT_ENFORCED = "NotEnforced"
log = logging.getLogger(__name__)


async def refuse(kube: Kube, reason: str) -> None:
    """Have the API server refuse policies of layer 4, for `reason`, or accept them; retry until it answers."""
    while True:
        try:
            for item in admission.without_layer_4(reason):
                if reason:
                    await kube.apply(istio.path_of(item), item, manager=istio.MANAGER)
                else:
                    await kube.delete(istio.path_of(item))
            return
        except FAULTS as error:
            log.info("retrying the refusal of policies: %s", error)
            await asyncio.sleep(RETRY_SECONDS)


def corrected(policy: Object, reason: str) -> list[Object] | None:
    """Return the conditions of a policy with ZtunnelAccepted False for `reason`; None if they are right.

    Args:
        policy: An AuthorizationPolicy.
        reason: The reason why this machine does not enforce it.
    """
    rows: list[Object] = (policy.get("status") or {}).get("conditions") or []
    false = {
        "type": admission.ZTUNNEL_ACCEPTED,
        "status": "False",
        "reason": NOT_ENFORCED,
        "message": f"nothing enforces this policy on this machine ({reason})",
        "observedGeneration": policy["metadata"].get("generation", 1),
        "lastTransitionTime": now(),
    }

    def wrong(row: Object) -> bool:
        earlier = row.get("reason") == NOT_ENFORCED and row.get("message") != false["message"]
        return row.get("type") == admission.ZTUNNEL_ACCEPTED and (row.get("status") == "True" or earlier)

    return [false if wrong(row) else row for row in rows] if any(map(wrong, rows)) else None


async def correct_status(kube: Kube, reason: str) -> None:
    """Correct the status of every policy that istiod calls enforced, without end; see `corrected`."""
    changed = asyncio.Event()
    informer = Informer(kube, POLICIES, lambda _event, _object: changed.set())
    watch = asyncio.create_task(informer.run())
    try:
        while True:
            await changed.wait()
            changed.clear()
            for policy in list(informer.items.values()):
                if rows := corrected(policy, reason):
                    await _write(kube, policy["metadata"], rows, changed)
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


async def _write(kube: Kube, meta: Object, rows: list[Object], failed: asyncio.Event) -> None:
    path = f"/apis/security.istio.io/v1/namespaces/{meta['namespace']}/authorizationpolicies/{meta['name']}/status"
    body = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "status": {"conditions": rows}}
    try:
        await kube.patch(path, body)
    except FAULTS as error:  # also where it has changed or is gone meanwhile
        log.info("status of policy %s/%s not written yet: %s", meta["namespace"], meta["name"], error)
        await asyncio.sleep(RETRY_SECONDS)
        failed.set()
