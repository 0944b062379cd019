"""Check that the cluster enforces policies of layer 4."""

from waypoint_lab import kubectl
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import KubectlError

LIMIT_SECONDS = 15.0


def warning(config: LabConfig) -> str:
    """Return one line if `waypoint.failClosed` is on and no ztunnel enforces it; empty if one does.

    The embedded cluster has none: its node proxy carries traffic as ztunnel does, but enforces no policies.
    """
    if not config.waypoint.fail_closed:
        return ""
    what = ("get", "daemonsets", "--all-namespaces", "--selector=app=ztunnel", "--output=name")
    try:
        found = kubectl.run(config.target, *what, limit_seconds=LIMIT_SECONDS).strip()
    except KubectlError as error:
        return f"waypoint-lab:waypoint.failClosed: not known if a ztunnel enforces it ({error})"
    missing = "the cluster has no ztunnel to enforce it, so traffic can bypass a missing waypoint"
    return "" if found else f"waypoint-lab:waypoint.failClosed: {missing}"
