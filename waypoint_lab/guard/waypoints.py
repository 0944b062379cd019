"""Waypoints of a namespace, and the state of their Envoys."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

from components._internal import envoy
from waypoint_lab import kubectl
from waypoint_lab.errors import GuardError, KubectlError
from waypoint_lab.guard import routes
from waypoint_lab.guard.observation import BrokenRoute, WaypointState
from waypoint_lab.kubectl import ClusterAccess
from waypoint_lab.measure.endpoint_counters import GATEWAY_LABEL, THREADS, Destination

CLASSES = ("istio-waypoint",)
DUMP_SECONDS = 20.0
# Source: istio, pkg/bootstrap/config.go: these counters are kept whatever statistics a mesh keeps.
DENIED = "stats?filter=rbac.denied$"
_DENIED = re.compile(r"rbac\.denied: (\d+)$", re.MULTILINE)


class Waypoints:
    """The waypoints of one namespace."""

    def __init__(self, target: ClusterAccess, namespace: str) -> None:
        """Look up the Gateways.

        Args:
            target: The cluster.
            namespace: The namespace.

        Raises:
            GuardError: The namespace has no waypoint.
            KubectlError: The cluster does not answer.
        """
        self.target, self.namespace = target, namespace
        gateways = kubectl.items(target, "gateways.gateway.networking.k8s.io", "--namespace", namespace)
        with kubectl.readable(f"Gateways of namespace {namespace}"):
            self.names = sorted(
                item["metadata"]["name"] for item in gateways if item["spec"]["gatewayClassName"] in CLASSES
            )
        if not self.names:
            raise GuardError(
                f"namespace {namespace}: it has no waypoint, so no requests can be counted; "
                "name another by --namespace, or run `istioctl waypoint apply`"
            )

    def pods(self) -> list[str]:
        """Return the names of the running Pods. Raises KubectlError."""
        selector = f"{GATEWAY_LABEL} in ({','.join(self.names)})"
        where = ("--namespace", self.namespace, "--field-selector=status.phase=Running")
        found = kubectl.items(self.target, "pods", *where, f"--selector={selector}")
        with kubectl.readable(f"Pods of the waypoints of namespace {self.namespace}"):
            return [item["metadata"]["name"] for item in found if not item["metadata"].get("deletionTimestamp")]

    def _ask(self, pod: str, path: str) -> str:
        command = ("exec", "--namespace", self.namespace, pod, "--", "pilot-agent", "request", "GET", path)
        return kubectl.run(self.target, *command, limit_seconds=DUMP_SECONDS)

    def ask(self, path: str) -> dict[str, str]:
        """Return the answers of the admin interface of each Pod. Raises KubectlError."""
        pods = self.pods()
        with ThreadPoolExecutor(THREADS) as pool:
            return dict(zip(pods, pool.map(lambda pod: self._ask(pod, path), pods), strict=True))

    def updates(self) -> dict[str, envoy.Updates]:
        """Return the updates by istiod that each Pod has processed. Raises KubectlError."""
        return {pod: envoy.updates(text) for pod, text in self.ask(envoy.UPDATES).items()}

    def state(self) -> WaypointState:
        """Return the configuration of all Pods.

        Raises:
            KubectlError: A Pod cannot be asked, or there is none.
        """
        pods = self.pods()
        if not pods:
            raise KubectlError(f"namespace {self.namespace}: no Pod of {', '.join(self.names)} runs")
        with ThreadPoolExecutor(THREADS) as pool:
            states = list(pool.map(self._state, pods))
        return WaypointState(
            {pod: message for state in states for pod, message in state.rejections.items()},
            frozenset[BrokenRoute]().union(*(state.broken for state in states)),
            frozenset[Destination]().union(*(state.services for state in states)),
            [group for state in states for group in state.groups],
            sum(state.refused for state in states),
        )

    def _state(self, pod: str) -> WaypointState:
        with kubectl.readable(f"Envoy of {self.namespace}/{pod}"):
            dump, clusters = (json.loads(self._ask(pod, path)) for path in (envoy.DUMP, envoy.REQUESTS))
            found = list(routes.routes(dump))
            message = envoy.rejection(dump)
            return WaypointState(
                {pod: message} if message else {},
                frozenset(routes.broken(found, routes.ready(clusters))),
                frozenset(route.service for route in found),
                routes.groups(found),
                sum(map(int, _DENIED.findall(self._ask(pod, DENIED)))),
            )
