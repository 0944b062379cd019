"""Attribute the answers of a probe to the backends, by `app.identify`."""

import time
from collections import Counter
from collections.abc import Sequence

from waypoint_lab.config.app_models import AccessLogIdentify
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ProbeError
from waypoint_lab.measure import access_log, client
from waypoint_lab.measure.client import PROBE_SECONDS, Answer, Group
from waypoint_lab.waiting import polls

NOT_LOGGED = "not logged"
MOST_SHOWN = 3


def send(config: LabConfig, groups: Sequence[Group], seconds: float = PROBE_SECONDS) -> list[list[Answer]]:
    """Send requests as `client.send` does, and name the backend of each answer.

    Raises:
        KubectlError: kubectl is missing, or an access log cannot be read.
        ProbeError: The Pod cannot send requests.
    """
    began = time.monotonic()
    found = client.send(config, groups, seconds)
    if not isinstance(config.app.identify, AccessLogIdentify) or not config.stages.access_log:
        return found
    agents = {one.identity for answers in found for one in answers if one.identity and one.proxied}
    backends = _logged(config, agents, began) if agents else {}
    return [[one._replace(identity=backends.get(one.identity, NOT_LOGGED)) for one in answers] for answers in found]


def _logged(config: LabConfig, agents: set[str], began: float) -> dict[str, str]:
    """Return the backend of each user agent, once all are logged or the limit of the access log has passed."""
    names = {backend.service: name for name, backend in config.app.backends.items()}
    found: dict[str, str] = {}
    for _ in polls(access_log.LIMIT_SECONDS, access_log.POLL_SECONDS):
        window = int(time.monotonic() - began) + 5
        for waypoint in config.waypoints:
            for one in access_log.requests(access_log.log(config, waypoint, window)):
                if one["agent"] in agents:
                    service = _service(one["cluster"])
                    found[one["agent"]] = names.get(service, service)
        if len(found) == len(agents):
            break
    return found


def _service(cluster: str) -> str:
    """Return the Service of a cluster such as `inbound-vip|80|http|shop.default.svc.cluster.local`."""
    return cluster.rpartition("|")[2].split(".")[0]


def check_identities(config: LabConfig, answers: Sequence[Answer]) -> None:
    """Check that `app.identify` names a backend of at least one answer.

    Raises:
        ProbeError: There are successful answers, and none has a known value.
    """
    values = {config.app.identify.value(name) for name in config.app.backends}
    seen = Counter(one.identity for one in answers if one.succeeded)
    if not seen or values & seen.keys():
        return
    shown = ", ".join(repr(value) for value, _ in seen.most_common(MOST_SHOWN))
    raise ProbeError(
        f"waypoint-lab:app.identify: none of {seen.total()} answers names a backend, they have {shown}; "
        f"set app.identify to what the application answers"
        if not isinstance(config.app.identify, AccessLogIdentify)
        else f"waypoint-lab:app.identify: the access log names no backend for {seen.total()} answers, it has {shown}; "
        f"use Istio's text format of the log, or another kind"
    )
