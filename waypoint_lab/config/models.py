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
    """Allow only the method of `app.request`, by an AuthorizationPolicy of the waypoint."""
    canary: bool = False
    """Send a weight of the requests to the canary."""
    premium: bool = False
    """Send each cohort of `app.cohorts` to a backend of its own."""
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

    kubeconfig: types.OptionalFile = ""
    """Path of a kubeconfig, relative to the project; empty means the one of the environment."""
    context: types.OptionalText = ""
    """Context in the kubeconfig; empty means its current one."""
    kind: ClassVar[str] = "existing"


class KindTarget(Model, frozen=True, tag_field="kind", tag="kind"):
    """A cluster that the stack creates by kind, with Docker or Podman."""

    name: types.Name = "waypoint-lab"
    """Name of the cluster."""
    config_file: types.OptionalFile = ""
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


class NotifySettings(Model, frozen=True):
    """Notifications of decisions by `lab canary` and `lab waypoint`."""

    webhook: types.OptionalAddress = ""
    """Address that gets one JSON document for each decision; best set with --secret. Empty means none."""
