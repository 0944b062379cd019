"""Whether anything in the cluster enforces policies of layer 4."""

import shutil
import subprocess

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.measure.probe import kubectl

LIMIT_SECONDS = 15


def warning(config: LabConfig) -> str:
    """One line where `failClosed` is on, and no ztunnel is there to enforce it; empty where one is.

    The embedded cluster has none: its node proxy carries traffic as ztunnel does, and knows no policies.
    """
    if not config.waypoint.fail_closed or shutil.which("kubectl") is None:
        return ""
    command = ("--request-timeout=10s", "get", "daemonsets", "--all-namespaces", "--selector=app=ztunnel", "-o", "name")
    try:
        done = subprocess.run(
            kubectl(config, *command), capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return "failClosed: the cluster did not say whether it has a ztunnel, which alone enforces it"
    if done.returncode == 0 and done.stdout.strip():
        return ""
    return (
        "failClosed: no ztunnel is in this cluster, so nothing enforces it: a missing waypoint still lets traffic past"
    )
