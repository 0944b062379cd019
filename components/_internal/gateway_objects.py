"""Objects of a waypoint: its Gateway and its access log."""

from typing import Any

import pulumi

from . import objects, owners

GROUP = "gateway.networking.k8s.io"
# istiod copies annotations of a Gateway to its Pods, so one that exists without an owner would be rolled out anew.
KEPT = [f'metadata.annotations["{owners.OWNER}"]']


def gateway(
    namespace: pulumi.Input[str], name: str, scope: str, revision: pulumi.Input[str], parameters: str = ""
) -> dict[str, Any]:
    """Return a waypoint's Gateway.

    Args:
        namespace: Its namespace.
        name: Its name.
        scope: Value of the label `istio.io/waypoint-for`.
        revision: Revision of Istio; empty means the namespace's.
        parameters: ConfigMap that istiod merges into the objects that it creates; empty means none.
    """
    ref = {"parametersRef": {"group": "", "kind": "ConfigMap", "name": parameters}}
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "Gateway",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"istio.io/waypoint-for": scope, **({"istio.io/rev": revision} if revision != "" else {})},
            "annotations": {**objects.wait_for("condition=Programmed"), **owners.annotation()},
        },
        "spec": {
            "gatewayClassName": "istio-waypoint",
            **({"infrastructure": ref} if parameters else {}),
            "listeners": [
                {
                    "name": "mesh",
                    "port": 15008,
                    "protocol": "HBONE",
                    "allowedRoutes": {"namespaces": {"from": "All"}},
                }
            ],
        },
    }


def telemetry(namespace: pulumi.Input[str], gateways: list[str]) -> dict[str, Any]:
    """Return the Telemetry that logs each request through `gateways`, by the mesh's provider `envoy`."""
    return {
        "apiVersion": "telemetry.istio.io/v1",
        "kind": "Telemetry",
        "metadata": {
            "name": f"{gateways[0]}-access-logging",
            "namespace": namespace,
            "annotations": owners.annotation(),
        },
        "spec": {
            "targetRefs": [{"group": GROUP, "kind": "Gateway", "name": gateway} for gateway in gateways],
            "accessLogging": [{"providers": [{"name": "envoy"}]}],
        },
    }


def address(status: Any) -> str:
    """Return the address in a Gateway's status; empty where there is none."""
    addresses = (status or {}).get("addresses") or [{}]
    return str(addresses[0].get("value", ""))
