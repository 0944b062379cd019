"""Models of the settings object `app`. Bookinfo is its default and nothing more."""

import msgspec

from waypoint_lab.config import types
from waypoint_lab.config.cohort_models import CohortSettings
from waypoint_lab.config.models import Model


class WorkloadClient(Model, frozen=True, tag_field="kind", tag="workload"):
    """A workload of the user's, whose Pod has python3."""

    namespace: types.Name
    """Its namespace."""
    workload: types.Text
    """The workload as `kubectl exec` takes it."""

    def __str__(self) -> str:
        """Return the workload and its namespace."""
        return f"{self.workload} in {self.namespace}"


class PodClient(Model, frozen=True, tag_field="kind", tag="pod"):
    """A Pod that a command creates, and deletes when it ends."""

    namespace: types.Name
    """Its namespace."""
    service_account: types.Name = "default"
    """Its ServiceAccount, which is its identity in the mesh."""
    image: types.Text = "docker.io/library/python:3.13.7-slim"
    """Its image, which has python3."""

    def __str__(self) -> str:
        """Return the kind and the namespace."""
        return f"probe Pod in {self.namespace}"


Client = WorkloadClient | PodClient


class BackendSettings(Model, frozen=True):
    """A Service of one version: an existing one, or one that the stack creates for the Pods with some labels."""

    service: types.Name
    """Name of the Service."""
    selector: dict[str, types.Text] = msgspec.field(default_factory=dict)
    """Labels of the Pods behind it; empty means that the Service exists already."""


class RequestSettings(Model, frozen=True):
    """The request that is sent in order to measure, and the answers that count as success."""

    method: types.Method = "GET"
    """Its method."""
    path: types.RequestPath = "/reviews/0"
    """Its path, with the query if there is one."""
    headers: dict[types.HeaderName, types.Text] = msgspec.field(default_factory=dict)
    """Headers that it has."""
    success: types.Statuses = ("200-399",)
    """Statuses of the answers that count as success."""

    @property
    def success_ranges(self) -> types.Ranges:
        """The first and the last status of each range that counts as success."""
        return types.ranges(self.success)

    def succeeded(self, status: str) -> bool:
        """Return True for a status that counts as success; text that is no status does not."""
        return status.isdigit() and types.within(int(status), self.success_ranges)


class JsonIdentify(Model, frozen=True, tag_field="kind", tag="json"):
    """A value in the answer's JSON names the backend."""

    path: types.Text
    """Path of the value: keys and indexes, separated by dots."""
    values: dict[types.Name, types.Text]
    """Value of each backend; none means that the value is missing."""

    def value(self, backend: str) -> str:
        """Return the value of a backend; empty if it has none."""
        return self.values.get(backend, "")


class HeaderIdentify(Model, frozen=True, tag_field="kind", tag="header"):
    """A header of the answer names the backend."""

    name: types.HeaderName
    """Name of the header."""
    values: dict[types.Name, types.Text]
    """Value of each backend; none means that the header is missing."""

    def value(self, backend: str) -> str:
        """Return the value of a backend; empty if it has none."""
        return self.values.get(backend, "")


class AccessLogIdentify(Model, frozen=True, tag_field="kind", tag="accessLog"):
    """The waypoint's access log names the backend of each request, by a user agent of its own. Any Service has it."""

    def value(self, backend: str) -> str:
        """Return the name of the backend, which the log gives."""
        return backend


Identify = JsonIdentify | HeaderIdentify | AccessLogIdentify
PRODUCTPAGE = WorkloadClient(namespace="bookinfo-frontends", workload="deploy/productpage-v1")
ROLES = ("baseline", "canary")  # backends that every application has
BOOKINFO = {
    "baseline": BackendSettings(service="reviews-baseline", selector={"app": "reviews", "version": "v1"}),
    "premium": BackendSettings(service="reviews-premium", selector={"app": "reviews", "version": "v2"}),
    "canary": BackendSettings(service="reviews-stable", selector={"app": "reviews", "version": "v3"}),
}
BOOKINFO_COHORTS = {"premium": CohortSettings(header="end-user", value="premium-user")}
BOOKINFO_COLORS = JsonIdentify(
    path="reviews.0.rating.color", values={"baseline": "none", "canary": "red", "premium": "black"}
)


class AppSettings(Model, frozen=True):
    """The application whose traffic is managed."""

    namespace: types.Name = "bookinfo-backends"
    """Namespace of the Service; its traffic goes through the waypoint."""
    service: types.Name = "reviews"
    """The Service whose traffic is managed."""
    port: types.Port = 9080
    """Port of the Service."""
    client: Client | None = None
    """Sender of the measured requests; not set means a probe Pod, or bookinfo's own client for bookinfo."""
    request: RequestSettings = RequestSettings()
    """The request that is sent in order to measure, and the answers that count as success."""
    identify: Identify = BOOKINFO_COLORS
    """Property of an answer that names its backend."""
    backends: dict[types.Name, BackendSettings] = msgspec.field(default_factory=lambda: {**BOOKINFO})
    """The Services of single versions: `baseline` (serves production now), `canary` (is rolled out), and others by
    names of your own. A map that is given has none of the default backends."""
    cohorts: dict[types.Name, CohortSettings] = msgspec.field(default_factory=lambda: {**BOOKINFO_COHORTS})
    """The cohorts of stage `premium`, each by the name of the backend that it gets. A map that is given has none of
    the default cohorts."""
    request_timeout: types.OptionalDuration = ""
    """Limit of a request with all its tries, while a route, a fault or retries are on; empty means none."""
    deploy_bookinfo: bool | None = None
    """Let the stack install bookinfo; not set means for bookinfo on target kind only."""

    @property
    def baseline(self) -> BackendSettings:
        """The backend that serves production now."""
        return self.backends["baseline"]

    @property
    def canary(self) -> BackendSettings:
        """The backend that is being rolled out."""
        return self.backends["canary"]

    @property
    def services(self) -> list[str]:
        """Names of the application's Service and of its backends."""
        return [self.service, *(backend.service for backend in self.backends.values())]

    @property
    def common_labels(self) -> dict[str, str]:
        """Labels that the Pods of all backends have; empty if a backend has no selector."""
        first, *others = (backend.selector.items() for backend in self.backends.values())
        return dict(item for item in first if all(item in other for other in others))
