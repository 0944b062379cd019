"""Check that the cluster enforces policies of layer 4."""

from waypoint_lab import kubectl
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import KubectlError

LIMIT_SECONDS = 15.0
# Istio's CNI agent writes it, and so does the embedded cluster, once a proxy of the node takes the Pod's connections.
CAPTURED = r"jsonpath={.items[*].metadata.annotations.ambient\.istio\.io/redirection}"


def warning(config: LabConfig) -> str:
    """Return one line if `waypoint.failClosed` is on and nothing enforces it; empty if a proxy of the node does."""
    if not config.waypoint.fail_closed:
        return ""
    ztunnel = ("get", "daemonsets", "--all-namespaces", "--selector=app=ztunnel", "--output=name")
    captured = ("get", "pods", f"--namespace={config.app.namespace}", f"--output={CAPTURED}")
    try:
        for what in (ztunnel, captured):
            if kubectl.run(config.target, *what, limit_seconds=LIMIT_SECONDS).strip():
                return ""
    except KubectlError as error:
        return f"waypoint-lab:waypoint.failClosed: not known if a ztunnel enforces it ({error})"
    missing = "the cluster has no ztunnel to enforce it, so traffic can bypass a missing waypoint"
    return f"waypoint-lab:waypoint.failClosed: {missing}"
