"""Wait until the waypoints have closed the connections of listeners that Envoy has replaced.

A change of the access log replaces all listeners of a waypoint. Envoy closes their connections at the end of its drain
time, which is 45 s in Istio; requests that are under way then fail. Routes, faults and policies do not replace them.
"""

from collections.abc import Callable

from waypoint_lab import kubectl
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.measure import envoy_config
from waypoint_lab.waiting import polls

LIMIT_SECONDS = 90.0
POLL_SECONDS = 1.0


def wait(config: LabConfig, report: Callable[[str], None]) -> None:
    """Wait until no Pod of the waypoints has a draining listener; report the wait, and a limit that is reached.

    Args:
        config: The deployed configuration.
        report: Shows one line.

    Raises:
        KubectlError: A waypoint cannot be asked.
    """
    pods: list[str] = []
    for number, _ in enumerate(polls(LIMIT_SECONDS, POLL_SECONDS)):
        pods = _draining(config)
        if not pods:
            return
        if number == 0:
            report(f"waiting until Envoy has closed connections of former listeners, 45 s by default: {_names(pods)}")
    report(
        f"former listeners still have connections after {LIMIT_SECONDS:g} s; requests on them may fail: {_names(pods)}"
    )


def _draining(config: LabConfig) -> list[str]:
    names = config.waypoints if config.stages.waypoint else []
    with kubectl.readable("config dump of Envoy"):
        found = [one for name in names for one in envoy_config.dumps(config, name)]
        return [pod for pod, dump in found if any("draining_state" in listener for listener in dump.get("configs", []))]


def _names(pods: list[str]) -> str:
    return ", ".join(f"Pod {pod}" for pod in pods)
