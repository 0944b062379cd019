"""Read the access logs of waypoints, which contain the requests and answers of each. Works on any cluster."""

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping

from waypoint_lab import kubectl
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import KubectlError
from waypoint_lab.measure.request import agent as agent
from waypoint_lab.waiting import polls

LIMIT_SECONDS = 15.0  # pilot-agent has Envoy write its log every second
POLL_SECONDS = 0.2
GATEWAY_LABEL = "gateway.networking.k8s.io/gateway-name"
# The text format of istiod: start, response flags, duration, user agent, upstream host and cluster, and the Service's
# own address.
_LINE = re.compile(
    r'^\[(?P<start>\d{4}-\d\d-\d\dT[\d:.]+Z)] "(?P<method>\S+) [^"]*" (?P<status>\d+) (?P<flags>\S+) .*? \d+ \d+ '
    r'(?P<milliseconds>\d+) \S+ "[^"]*" "(?P<agent>[^"]*)" "[^"]*" "[^"]*" "(?P<upstream>[^"]*)" (?P<cluster>\S+) \S+ '
    r"(?P<local>\S+) "
)


def address(config: LabConfig) -> str:
    """Return the address of the Service, as its waypoint logs it.

    Raises:
        KubectlError: There is no such Service, or the cluster cannot be asked.
    """
    found = kubectl.get(config.target, "service", config.app.service, "--namespace", config.app.namespace)
    if not found:
        raise KubectlError(f"there is no Service {config.app.namespace}/{config.app.service}; set waypoint-lab:app")
    with kubectl.readable(f"Service {config.app.namespace}/{config.app.service}"):
        return f"{found['spec']['clusterIP']}:{config.app.port}"


def log(config: LabConfig, waypoint: str, seconds: int) -> str:
    """Return the log of all Pods of a waypoint over the last `seconds`; empty if it has none.

    Raises:
        KubectlError: The log cannot be read.
    """
    return selected(config.target, config.waypoint_namespace, f"{GATEWAY_LABEL}={waypoint}", seconds)


def selected(target: kubectl.ClusterAccess, namespace: str, selector: str, seconds: int) -> str:
    """Return the log of all Pods that a selector finds over the last `seconds`; empty if there are none.

    Raises:
        KubectlError: The log cannot be read.
    """
    # Without --tail, kubectl prints ten lines of each Pod that a selector finds.
    chosen = ("--selector", selector, "--tail=-1", "--max-log-requests=50", f"--since={seconds}s")
    problem = KubectlError("kubectl logs: no answer")
    for _ in polls(LIMIT_SECONDS, POLL_SECONDS):
        try:
            return kubectl.run(target, "logs", "--namespace", namespace, *chosen)
        except KubectlError as error:
            # A Pod that kubectl found was deleted before its log was read; the next list does not have it.
            if "(NotFound): pods " not in str(error):
                raise
            problem = error
    raise problem


def pod_log(config: LabConfig, pod: str, seconds: int) -> str:
    """Return the log of one Pod of a waypoint over the last `seconds`. Raises KubectlError."""
    return kubectl.run(config.target, "logs", "--namespace", config.waypoint_namespace, pod, f"--since={seconds}s")


def requests(text: str, address: str = "") -> Iterator[dict[str, str]]:
    """Yield the requests in a log: start, method, status, flags, milliseconds, agent, upstream, cluster and local.

    Args:
        text: The log.
        address: Address that the requests went to; empty means any.
    """
    for line in text.splitlines():
        if (found := _LINE.match(line)) and address in ("", found["local"]):
            yield found.groupdict()


def answers(config: LabConfig, agent: str, sent: int, began: float) -> dict[str, Counter[str]]:
    """Return the statuses that each waypoint logged for the requests of one user agent.

    Wait until all of them are logged, at most LIMIT_SECONDS.

    Args:
        config: The waypoints.
        agent: The user agent.
        sent: Number of requests.
        began: Start of the first request, by the monotonic clock.

    Raises:
        KubectlError: A log cannot be read.
    """
    where = address(config)
    found: dict[str, Counter[str]] = {}
    for _ in polls(LIMIT_SECONDS, POLL_SECONDS):
        window = int(time.monotonic() - began) + 5
        found = {
            name: Counter(one["status"] for one in requests(log(config, name, window), where) if one["agent"] == agent)
            for name in config.waypoints
        }
        if sum(counter.total() for counter in found.values()) >= sent:
            break
    return found


def totals(answers: Mapping[str, Counter[str]]) -> Counter[str]:
    """Return the number of requests that each waypoint took."""
    return Counter({name: statuses.total() for name, statuses in answers.items()})
