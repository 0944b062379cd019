"""Read the access logs of waypoints, which contain the requests and answers of each. Works on any cluster."""

import re
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from waypoint_lab import kubectl
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import KubectlError
from waypoint_lab.measure.request import agent as agent
from waypoint_lab.waiting import polls

LIMIT_SECONDS = 15.0  # pilot-agent has Envoy write its log every second
POLL_SECONDS = 0.2
GATEWAY_LABEL = "gateway.networking.k8s.io/gateway-name"
DELETED = "(NotFound): pods "  # a Pod that kubectl found was deleted before its log was read
NO_LOG = ("(BadRequest)", "(NotFound)")  # the container of a Pod has not started, or the Pod was evicted
# The text format of istiod: start, response flags, duration, user agent, upstream host and cluster, and the Service's
# own address.
_LINE = re.compile(
    r'^\[(?P<start>\d{4}-\d\d-\d\dT[\d:.]+Z)] "(?P<method>\S+) [^"]*" (?P<status>\d+) (?P<flags>\S+) .*? \d+ \d+ '
    r'(?P<milliseconds>\d+) \S+ "[^"]*" "(?P<agent>[^"]*)" "[^"]*" "[^"]*" "(?P<upstream>[^"]*)" (?P<cluster>\S+) \S+ '
    r"(?P<local>\S+) "
)
# Lines of pilot-agent and Envoy about themselves: text, JSON, or the YAML of a config
_OWN_LINE = re.compile(r'\d{4}-\d\d-\d\dT\S+\t|\d{4}/\d\d/\d\d |\{"level":|\s|$|- |\w+:( |$)')


def hosts(service: kubectl.Object) -> tuple[str, ...]:
    """Return the cluster IPs of a Service as Envoy logs them: of each family, those of IPv6 in brackets."""
    spec = service["spec"]
    return tuple(f"[{ip}]" if ":" in ip else ip for ip in spec.get("clusterIPs") or [spec["clusterIP"]])


def addresses(config: LabConfig) -> tuple[str, ...]:
    """Return the addresses of the Service, as its waypoint logs them.

    Raises:
        KubectlError: There is no such Service, or the cluster cannot be asked.
    """
    found = kubectl.get(config.target, "service", config.app.service, "--namespace", config.app.namespace)
    if not found:
        raise KubectlError(f"there is no Service {config.app.namespace}/{config.app.service}; set waypoint-lab:app")
    with kubectl.readable(f"Service {config.app.namespace}/{config.app.service}"):
        return tuple(f"{host}:{config.app.port}" for host in hosts(found))


def log(config: LabConfig, waypoint: str, seconds: int) -> str:
    """Return the log of all Pods of a waypoint over the last `seconds`; empty if it has none.

    Raises:
        KubectlError: The log cannot be read.
    """
    return selected(config.target, config.waypoint_namespace, f"{GATEWAY_LABEL}={waypoint}", seconds)


def selected(target: kubectl.ClusterAccess, namespace: str, selector: str, seconds: int) -> str:
    """Return the log of all Pods that a selector finds over the last `seconds`; empty if there are none.

    Where a Pod has no log, because it has not started or was evicted, the log of those that run is returned.

    Raises:
        KubectlError: The log cannot be read, or no Pod has one.
    """
    # Without --tail, kubectl prints ten lines of each Pod that a selector finds.
    chosen = ("--selector", selector, "--tail=-1", "--max-log-requests=50", f"--since={seconds}s")
    problem = ""
    for _ in polls(LIMIT_SECONDS, POLL_SECONDS):
        try:
            if not problem or DELETED in problem:  # the next list does not have the Pod
                return kubectl.run(target, "logs", "--namespace", namespace, *chosen)
            if (text := _running(target, namespace, selector, seconds)) is not None:
                return text
        except KubectlError as error:
            problem = str(error)
            if not any(reason in problem for reason in NO_LOG):
                raise
    raise KubectlError(problem)


def _running(target: kubectl.ClusterAccess, namespace: str, selector: str, seconds: int) -> str | None:
    """Return the log of the Pods that run; None where there are Pods and none of them runs. Raises KubectlError."""
    from waypoint_lab.measure.endpoint_counters import runs  # it imports the Pulumi SDK; only such a Pod pays for that

    pods = kubectl.items(target, "pods", "--namespace", namespace, f"--selector={selector}")
    with kubectl.readable(f"Pods of namespace {namespace}"):
        names = [item["metadata"]["name"] for item in pods if runs(item)]
    return "\n".join(_log(target, namespace, name, seconds) for name in names) if names or not pods else None


def pod_log(config: LabConfig, pod: str, seconds: int) -> str:
    """Return the log of one Pod of a waypoint over the last `seconds`. Raises KubectlError."""
    return _log(config.target, config.waypoint_namespace, pod, seconds)


def _log(target: kubectl.ClusterAccess, namespace: str, pod: str, seconds: int) -> str:
    return kubectl.run(target, "logs", "--namespace", namespace, pod, f"--since={seconds}s")


def requests(text: str, addresses: Collection[str] | None = None) -> Iterator[dict[str, str]]:
    """Yield the requests in a log: start, method, status, flags, milliseconds, agent, upstream, cluster and local.

    Args:
        text: The log.
        addresses: Addresses that the requests went to; None means any.
    """
    for line in text.splitlines():
        if (found := _LINE.match(line)) and (addresses is None or found["local"] in addresses):
            yield found.groupdict()


def unreadable(text: str) -> str:
    """Return why no request can be read from a log that has some; empty for any other log."""
    lines = [line for line in text.splitlines() if not _OWN_LINE.match(line)]
    if not lines or any(map(_LINE.match, lines)):
        return ""
    return "its access log is not in Istio's text format (meshConfig.accessLogEncoding TEXT, no accessLogFormat)"


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
    where = addresses(config)
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
