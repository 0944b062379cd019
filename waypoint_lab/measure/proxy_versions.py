"""Versions of Istio and Envoy, from a Pod of a waypoint."""

import json
from collections.abc import Iterable

from waypoint_lab import kubectl
from waypoint_lab.errors import KubectlError
from waypoint_lab.kubectl import ClusterAccess
from waypoint_lab.measure.endpoint_counters import GATEWAY_LABEL

LIMIT_SECONDS = 20.0
UNKNOWN = "unknown"
ISTIO = "Istio"


def read(target: ClusterAccess, namespace: str, waypoints: Iterable[str]) -> dict[str, str]:
    """Return the versions by name; UNKNOWN where no Pod reports them.

    Args:
        target: The cluster.
        namespace: Namespace of the waypoints.
        waypoints: Names of their Gateways.
    """
    found = {ISTIO: UNKNOWN, "Envoy": UNKNOWN}
    try:
        chosen = ("--selector", f"{GATEWAY_LABEL} in ({','.join(waypoints)})", "--field-selector=status.phase=Running")
        pods = kubectl.items(target, "pods", "--namespace", namespace, *chosen)
        with kubectl.readable("versions of the waypoint"):
            where = ("exec", "--namespace", namespace, pods[0]["metadata"]["name"], "--", "pilot-agent")
            info = json.loads(kubectl.run(target, *where, "request", "GET", "server_info", limit_seconds=LIMIT_SECONDS))
            found["Envoy"] = info["version"].split("/")[1]
            text = kubectl.run(target, *where, "version", "--output=json", limit_seconds=LIMIT_SECONDS)
            found[ISTIO] = json.loads(text)["clientVersion"]["version"]
    except KubectlError:
        pass
    return found
