"""Read the requests of users to canary and baseline, from waypoints: by counters, and by access logs where they are on.

No request is sent.
"""

import math
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from waypoint_lab import kubectl
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import KubectlError
from waypoint_lab.measure import access_log, endpoint_counters
from waypoint_lab.measure.endpoint_counters import REFUSED, Counts, Destination
from waypoint_lab.measure.unpaired import Outcomes

ROLES = ("canary", "baseline")
UNREADABLE_SECONDS = 20.0  # a Pod that is replaced, or an API server that is busy
BOUND = "istio.io/WaypointBound"  # condition of a Service that a waypoint serves
OVERLAP_SECONDS = 5  # of two looks at a log, whose lines are written some time after the answer


class LoggedRequest(NamedTuple):
    """A request in an access log: its final answer, after all retries.

    Attributes:
        status: The HTTP status; 0 where the client got no answer.
        milliseconds: The latency, rounded down.
        failed: True where the status does not count as success.
    """

    status: int
    milliseconds: int
    failed: bool = False

    @property
    def seconds(self) -> float:
        """The latency; infinite where the client got no answer."""
        return self.milliseconds / 1000 if self.status else math.inf


@dataclass(frozen=True)
class TrafficBlock:
    """Requests that ended in one interval, by role.

    Attributes:
        tries: Tries at the endpoints, by the counters of Envoy; failures are errors of the server.
        logged: Requests to the Service, by access logs; None where these are off.
    """

    tries: Mapping[str, Outcomes]
    logged: Mapping[str, list[LoggedRequest]] | None = None


@dataclass
class LogReader:
    """Reader of the requests in access logs that are new since its last call."""

    config: LabConfig
    _addresses: tuple[str, ...] = ()
    _seen: set[str] = field(default_factory=set)
    _before: set[str] = field(default_factory=set)  # lines of the previous read, which a later one may have again
    _last: float = field(default_factory=time.monotonic)

    def __call__(self, pods: Collection[str]) -> dict[str, list[LoggedRequest]]:
        """Return the new requests in the logs of some Pods, by role. Raises KubectlError."""
        self._addresses = self._addresses or access_log.addresses(self.config)
        now = time.monotonic()
        window = int(now - self._last) + OVERLAP_SECONDS
        with ThreadPoolExecutor(endpoint_counters.THREADS) as pool:
            logs = list(pool.map(lambda pod: access_log.pod_log(self.config, pod, window), pods))
        lines = [line for text in logs for line in text.splitlines()]
        new = "\n".join(line for line in lines if line not in self._seen and line not in self._before)
        self._before, self._seen, self._last = self._seen, set(lines), now
        found: dict[str, list[LoggedRequest]] = {role: [] for role in ROLES}
        for one in access_log.requests(new, self._addresses):
            where = endpoint_counters.destination(one["cluster"])
            if where and (role := role_of(self.config, where)):
                failed = not self.config.app.request.succeeded(one["status"])
                found[role].append(LoggedRequest(int(one["status"]), int(one["milliseconds"]), failed))
        return found


def role_of(config: LabConfig, where: Destination) -> str:
    """Return the role of a destination: one of ROLES, or empty."""
    for role in ROLES:
        service = config.app.backends[role].service
        if where.host.startswith(f"{service}.{config.app.namespace}.") and where.port == config.app.port:
            return role
    return ""


def none_passed(config: LabConfig) -> str:
    """Return the line for a measurement without any request of users.

    Requests past the waypoint cannot be seen. Open connections keep their path, so those that are older than the
    waypoint go past it; the line has the time from which on connections pass it, where the Service tells.
    """
    app, since = config.app, ""
    with suppress(KubectlError), kubectl.readable("conditions of the Service"):
        found = kubectl.get(config.target, "service", app.service, "--namespace", app.namespace)
        for condition in found["status"]["conditions"]:
            if condition["type"] == BOUND:
                since = f" since {condition['lastTransitionTime']}"
    return (
        f"no request passed the waypoint, which serves {app.namespace}/{app.service}{since}; connections that are "
        f"older do not pass it: restart the clients that keep theirs"
    )


class TrafficReader:
    """Reader of the requests since its last call."""

    def __init__(self, config: LabConfig) -> None:
        """Read nothing yet."""
        self._config = config
        self._log = LogReader(config) if config.stages.access_log else None
        self._last: endpoint_counters.EndpointCounters | None = None
        self._at = time.monotonic()

    def read(self) -> TrafficBlock | None:
        """Return the new requests; None for the first call, and where the waypoints do not answer now.

        The next block has the requests since the last call that read the waypoints.

        Raises:
            KubectlError: A permission is missing, or nothing could be read for UNREADABLE_SECONDS; also where the
                waypoints have no running Pod so long.
        """
        config, last = self._config, self._last
        try:
            now = endpoint_counters.read(config.target, config.waypoint_namespace, list(config.waypoints))
            if not now.pods:
                raise KubectlError(f"waypoint {config.waypoint_namespace}/{config.waypoint.name} has no running Pod")
            logged = self._log(now.pods) if self._log else None
        except KubectlError as error:
            if REFUSED in str(error) or time.monotonic() - self._at > UNREADABLE_SECONDS:
                raise
            return None
        self._last, self._at = now, time.monotonic()
        if last is None:
            return None
        counts = dict.fromkeys(ROLES, Counts())
        for where, change in now.since(last).items():
            if role := role_of(config, where):
                counts[role] = counts[role].plus(change)
        tries = {role: Outcomes(found.completed, found.errors) for role, found in counts.items()}
        return TrafficBlock(tries, logged)
