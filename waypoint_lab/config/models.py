"""Models of the settings objects `stages`, `target`, `app` and `notify`. Defaults are in the models and nowhere else.

The text below each field is its row in docs/configuration.md; its type defines the valid values.
"""

from typing import ClassVar

import msgspec

from waypoint_lab.config import types


class Model(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of all models: frozen, camelCase in YAML and snake_case in Python."""


class StagesSettings(Model, frozen=True):
    """Toggles: which stages are on."""

    waypoint: bool = False
    """Send the namespace's traffic through a waypoint. All other stages need it."""
    access_log: bool = False
    """Log each request in the waypoint."""
    l7_policy: bool = False
    """Allow only GET, by an AuthorizationPolicy of the waypoint."""
    canary: bool = False
    """Send a weight of the requests to the canary."""
    premium: bool = False
    """Send one user group to a backend of its own."""
    delay: bool = False
    """Delay requests."""
    abort: bool = False
    """Answer a share of the requests with an error."""
    retries: bool = False
    """Retry requests that failed."""

    @property
    def on(self) -> frozenset[str]:
        """Names of the toggles that are on, as the config writes them."""
        return frozenset(name for name, state in msgspec.to_builtins(self).items() if state)


class EmbeddedTarget(Model, frozen=True, tag_field="kind", tag="embedded"):
    """The cluster that `lab up` starts."""

    kubeconfig: ClassVar[str] = ""
    context: ClassVar[str] = ""
    kind: ClassVar[str] = "embedded"


class ExistingTarget(Model, frozen=True, tag_field="kind", tag="existing"):
    """A cluster of your own."""

    kubeconfig: types.OptionalText = ""
    """Path of a kubeconfig, relative to the project; empty means the one of the environment."""
    context: types.OptionalText = ""
    """Context in the kubeconfig; empty means its current one."""
    kind: ClassVar[str] = "existing"


class KindTarget(Model, frozen=True, tag_field="kind", tag="kind"):
    """A cluster that the stack creates by kind, with Docker or Podman."""

    name: types.Name = "waypoint-lab"
    """Name of the cluster."""
    config_file: types.OptionalText = ""
    """Path of a config file of kind, relative to the project; empty means one node."""
    istio_hub: types.Text = "docker.io/istio"
    """Registry of Istio's images."""
    istio_tag: types.Text = "1.31.0"
    """Version of Istio's images."""
    context: ClassVar[str] = ""
    kind: ClassVar[str] = "kind"

    @property
    def kubeconfig(self) -> str:
        """Path of the kubeconfig file that the stack writes, relative to the project."""
        return f".lab/kind/{self.name}.kubeconfig"


Target = EmbeddedTarget | ExistingTarget | KindTarget


class CohortSettings(Model, frozen=True):
    """A group of users: requests with this header and this exact value."""

    header: types.HeaderName
    """Name of the header."""
    value: types.Text
    """Value of the header."""

    @property
    def pair(self) -> tuple[str, str]:
        """Name, in lower case, and value of the header."""
        return self.header.lower(), self.value

    def __str__(self) -> str:
        """Return NAME=VALUE."""
        return "=".join(self.pair)


class ClientSettings(Model, frozen=True):
    """The workload whose Pod sends the measured requests."""

    namespace: types.Name = "bookinfo-frontends"
    """Its namespace."""
    workload: types.Text = "deploy/productpage-v1"
    """The workload as `kubectl exec` takes it."""


class BackendSettings(Model, frozen=True):
    """A Service of one version, which the stack creates."""

    service: types.Name
    """Name of the Service."""
    selector: dict[str, types.Text]
    """Labels of the Pods behind it."""


class BackendsSettings(Model, frozen=True):
    """The backends of the Service's routes, by role."""

    baseline: BackendSettings = BackendSettings(
        service="reviews-baseline", selector={"app": "reviews", "version": "v1"}
    )
    """The version that serves production now."""
    canary: BackendSettings = BackendSettings(service="reviews-stable", selector={"app": "reviews", "version": "v3"})
    """The version that is being rolled out."""
    premium: BackendSettings = BackendSettings(service="reviews-premium", selector={"app": "reviews", "version": "v2"})
    """The version for the premium cohort."""

    @property
    def by_role(self) -> dict[str, BackendSettings]:
        """The backends by role, in a fixed order."""
        return {"baseline": self.baseline, "premium": self.premium, "canary": self.canary}

    @property
    def common_labels(self) -> dict[str, str]:
        """Labels that the Pods of all backends have."""
        first, *others = (backend.selector.items() for backend in self.by_role.values())
        return dict(item for item in first if all(item in other for other in others))


class RequestSettings(Model, frozen=True):
    """The request that is sent in order to measure."""

    path: types.Text = "/reviews/0"
    """Its path."""


class IdentifySettings(Model, frozen=True):
    """The value in an answer's JSON that tells the backend."""

    json: types.Text = "reviews.0.rating.color"
    """Path of the value: keys and indexes, separated by dots."""
    baseline: types.Text = "none"
    """Value of the baseline; none means that the value is missing."""
    canary: types.Text = "red"
    """Value of the canary."""
    premium: types.Text = "black"
    """Value of the backend `premium`."""


class AppSettings(Model, frozen=True):
    """The application whose traffic is managed."""

    namespace: types.Name = "bookinfo-backends"
    """Namespace of the Service; its traffic goes through the waypoint."""
    service: types.Name = "reviews"
    """The Service whose traffic is managed."""
    port: types.Port = 9080
    """Port of the Service."""
    client: ClientSettings = ClientSettings()
    """The workload whose Pod sends the measured requests."""
    request: RequestSettings = RequestSettings()
    """The request that is sent in order to measure."""
    identify: IdentifySettings = IdentifySettings()
    """The value in an answer's JSON that tells the backend."""
    premium: CohortSettings = CohortSettings(header="end-user", value="premium-user")
    """The cohort of stage `premium`."""
    backends: BackendsSettings = BackendsSettings()
    """The Services of single versions."""
    request_timeout: types.OptionalDuration = ""
    """Limit of a request with all its tries, while a route, a fault or retries are on; empty means none."""
    deploy_bookinfo: bool | None = None
    """Let the stack install bookinfo; not set means that it does so with target kind only."""


class NotifySettings(Model, frozen=True):
    """Notifications of decisions by `lab canary` and `lab waypoint`."""

    webhook: types.OptionalAddress = ""
    """Address that gets one JSON document for each decision; best set with --secret. Empty means none."""
