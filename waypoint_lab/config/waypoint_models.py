"""Models of the settings object `waypoint`."""

from typing import Any

import msgspec

from waypoint_lab.config import types
from waypoint_lab.config.models import Model


class AutoscalingSettings(Model, frozen=True):
    """Number of the waypoint's replicas by the CPU that they use."""

    min: types.Replicas
    """Least replicas."""
    max: types.Replicas
    """Most replicas."""
    cpu_percent: types.CpuPercent = 80
    """CPU to aim at, in percent of the requested CPU."""


class AmountsSettings(Model, frozen=True):
    """Amounts of CPU and memory."""

    cpu: types.OptionalQuantity = ""
    """CPU, such as 500m; empty means the mesh's."""
    memory: types.OptionalQuantity = ""
    """Memory, such as 256Mi; empty means the mesh's."""


class ResourcesSettings(Model, frozen=True):
    """Requests and limits of the waypoint's proxy."""

    requests: AmountsSettings = AmountsSettings()
    """Amounts that a node must have free."""
    limits: AmountsSettings = AmountsSettings()
    """Amounts that the proxy may use."""


class DisruptionBudgetSettings(Model, frozen=True):
    """Replicas of the waypoint that may be evicted at a time. Exactly one of both is set."""

    min_available: types.Replicas | None = None
    """Replicas that are kept."""
    max_unavailable: types.Replicas | None = None
    """Replicas that may be evicted."""


class WaypointCanarySettings(Model, frozen=True):
    """A second waypoint that new connections migrate to."""

    name: types.Name
    """Name of its Gateway."""
    weight: types.WholePercent = 0
    """Percent of new connections that it gets."""
    revision: types.OptionalName = ""
    """Revision of Istio that programs it; empty means the namespace's."""


class WaypointSettings(Model, frozen=True):
    """The waypoint of the application's namespace."""

    name: types.Name = "waypoint"
    """Name of its Gateway."""
    namespace: types.OptionalName = ""
    """Namespace of its Gateway, which must exist; empty means the application's."""
    revision: types.OptionalName = ""
    """Revision of Istio that programs it; empty means the namespace's."""
    fail_closed: bool = False
    """Let the backends accept the waypoint's identity only, so that a missing waypoint denies."""
    replicas: types.Replicas | None = None
    """Number of its replicas, and of a canary waypoint's; not set means 1."""
    autoscaling: AutoscalingSettings | None = None
    """An autoscaler in place of `replicas`; it needs metrics of CPU in the cluster, which the embedded one lacks."""
    resources: ResourcesSettings = ResourcesSettings()
    """Requests and limits of its proxy."""
    disruption_budget: DisruptionBudgetSettings | None = None
    """Replicas that may be evicted at a time; not set means any number."""
    pod_labels: dict[types.Text, types.Text] = msgspec.field(default_factory=dict)
    """More labels of its Pods."""
    pod_annotations: dict[types.Text, types.Text] = msgspec.field(default_factory=dict)
    """More annotations of its Pods."""
    canary: WaypointCanarySettings | None = None
    """A second waypoint; not set means none."""

    @property
    def parameters(self) -> dict[str, Any]:
        """The settings of the waypoint's Pods that are set, by their names in Python."""
        names = ("replicas", "autoscaling", "resources", "disruption_budget", "pod_labels", "pod_annotations")
        default = WaypointSettings()
        return {name: getattr(self, name) for name in names if getattr(self, name) != getattr(default, name)}
