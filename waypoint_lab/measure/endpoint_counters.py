"""Read the counters that the Envoys of waypoints keep of each endpoint: evidence that sends no request.

A counter counts tries. A request that the waypoint retries is an error of each endpoint that failed it, and a success
of the one that answered; all tries of a request go to one backend. Copies of mirrored requests count for the backend
that gets them. Answers of Envoy itself (no endpoint, a fault, a refusal) count for no endpoint.

Source: Envoy, admin interface, /clusters?format=json; no stats matcher hides these counters.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from components._internal import envoy
from waypoint_lab import kubectl
from waypoint_lab.errors import KubectlError
from waypoint_lab.kubectl import ClusterAccess, Object

GATEWAY_LABEL = "gateway.networking.k8s.io/gateway-name"
CONTAINER = "istio-proxy"
LIMIT_SECONDS = 20.0
THREADS = 4
REFUSED = "is forbidden"


class Destination(NamedTuple):
    """A port of a Service that a waypoint sends requests to, or a subset of its Pods."""

    host: str
    port: int
    subset: str = ""

    @property
    def service(self) -> str:
        """Name of the Service, without its namespace."""
        return self.host.partition(".")[0]

    def named(self, name: str) -> bool:
        """Return True if `name` is the Service's name, alone or with more of the host."""
        return self.host == name or self.host.startswith(f"{name}.")

    def __str__(self) -> str:
        """Return NAME:PORT, with the subset after the name."""
        return f"{self.service}{'/' if self.subset else ''}{self.subset}:{self.port}"


class Counts(NamedTuple):
    """Tries at one endpoint, or at all endpoints of a destination.

    Attributes:
        requests: Tries that were sent.
        successes: Answers below 500.
        errors: Answers from 500, connections that failed, resets and timeouts.
        active: Tries that wait for an answer now.
    """

    requests: int = 0
    successes: int = 0
    errors: int = 0
    active: int = 0

    @property
    def completed(self) -> int:
        """Tries with a result: not those that wait, nor those whose client has left."""
        return self.successes + self.errors

    def plus(self, other: "Counts") -> "Counts":
        """Return the sum."""
        return Counts(*(one + more for one, more in zip(self, other, strict=True)))

    def since(self, earlier: "Counts") -> "Counts":
        """Return the tries since `earlier`; all of them where a counter fell, because it has started anew."""
        past = (earlier.requests, earlier.successes, earlier.errors, 0)
        changes = [now - then for now, then in zip(self, past, strict=True)]
        return self if min(changes) < 0 else Counts(*changes)


Endpoints = Mapping[Destination, Mapping[str, Counts]]


@dataclass(frozen=True)
class EndpointCounters:
    """Counters of all Pods of the waypoints at one time: by Pod, destination and address of the endpoint."""

    pods: Mapping[str, Endpoints]

    def since(self, earlier: "EndpointCounters") -> dict[Destination, Counts]:
        """Return the tries at each destination since `earlier`.

        A Pod or an endpoint that `earlier` does not have counts whole. A Pod or an endpoint that has gone adds nothing:
        its tries after the last snapshot that has it are lost, so snapshots are taken at short intervals.
        """
        found: dict[Destination, Counts] = defaultdict(Counts)
        for pod, endpoints in self.pods.items():
            before = earlier.pods.get(pod, {})
            for destination, now in endpoints.items():
                known = before.get(destination, {})
                for address, counts in now.items():
                    change = counts.since(known.get(address, Counts()))
                    found[destination] = found[destination].plus(change)
        return dict(found)


def destination(cluster: str) -> Destination | None:
    """Return the destination of one of Envoy's clusters; None for a cluster of another kind.

    Source: istio, model.BuildSubsetKey: DIRECTION|PORT|SUBSET|HOST; subsets of a waypoint are `http`, `tcp` or
    `http/NAME`.
    """
    direction, _, rest = cluster.partition("|")
    port, _, rest = rest.partition("|")
    subset, _, host = rest.partition("|")
    if direction not in ("inbound-vip", "outbound") or not port.isdigit() or not host:
        return None
    protocol, _, name = subset.partition("/")
    return Destination(host, int(port), name if protocol in ("http", "tcp") else subset)


def endpoints(clusters: Object) -> dict[Destination, dict[str, Counts]]:
    """Return the counters in an answer of `/clusters?format=json`, by destination and address."""
    found: dict[Destination, dict[str, Counts]] = {}
    for item in clusters.get("cluster_statuses", []):
        if (where := destination(item["name"])) is None:
            continue
        known = found.setdefault(where, {})
        for host in item.get("host_statuses", []):
            stats = {stat["name"]: int(stat.get("value", 0)) for stat in host.get("stats", [])}
            counts = Counts(*(stats.get(f"rq_{name}", 0) for name in ("total", "success", "error", "active")))
            address = json.dumps(host.get("address"), sort_keys=True)
            known[address] = known.get(address, Counts()).plus(counts)
    return found


def read(target: ClusterAccess, namespace: str, waypoints: Sequence[str]) -> EndpointCounters:
    """Read the counters of each Pod of some waypoints, Pods that are draining included.

    Args:
        target: The cluster.
        namespace: Namespace of the waypoints.
        waypoints: Names of their Gateways.

    Raises:
        KubectlError: A Pod whose Envoy runs cannot be asked. Compare the next snapshot with the last one that was read.
    """
    selector = f"{GATEWAY_LABEL} in ({','.join(waypoints)})"
    try:
        pods = kubectl.items(target, "pods", "--namespace", namespace, f"--selector={selector}")
        with kubectl.readable(f"Pods of the waypoints of namespace {namespace}"):
            names = [item["metadata"]["name"] for item in pods if runs(item)]
        with ThreadPoolExecutor(THREADS) as pool:
            answers = list(pool.map(lambda name: _pod(target, namespace, name), names))
    except KubectlError as error:
        raise explained(error, namespace) from None
    return EndpointCounters({name: found for name, found in zip(names, answers, strict=True) if found is not None})


def _pod(target: ClusterAccess, namespace: str, pod: str) -> Endpoints | None:
    """Return the counters of one Pod; None where its Envoy has ended, or has not started yet."""
    where = ("--namespace", namespace, pod)
    command = ("exec", *where, f"--container={CONTAINER}", "--", "pilot-agent", "request", "GET", envoy.REQUESTS)
    try:
        text = kubectl.run(target, *command, limit_seconds=LIMIT_SECONDS)
    except KubectlError as error:
        # An Envoy that could answer must not be left out: its next counters would be taken for new ones.
        if REFUSED not in str(error) and not runs(kubectl.get(target, "pod", *where)):
            return None
        raise
    with kubectl.readable(f"counters of {namespace}/{pod}"):
        return endpoints(json.loads(text))


def runs(pod: Object) -> bool:
    """Return True where the container of Envoy runs and has passed its startup probe."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return any(
        item["name"] == CONTAINER and "running" in (item.get("state") or {}) and item.get("started") is not False
        for item in statuses
    )


def explained(error: KubectlError, namespace: str) -> KubectlError:
    """Return the error with the permission that is missing, where it is one."""
    if REFUSED not in str(error):
        return error
    return KubectlError(
        f"waypoints of namespace {namespace}: their counters cannot be read ({error}); grant `get` and `list` on "
        f"pods and `create` on pods/exec there"
    )
