"""The configuration of a stack: one frozen object, read from Pulumi's config or from the stack's file."""

import json
from collections.abc import Mapping

import msgspec

from waypoint_lab.config import combinations
from waypoint_lab.config.app_models import PRODUCTPAGE, AppSettings, Client, PodClient
from waypoint_lab.config.cohort_models import CohortSettings
from waypoint_lab.config.decode import PROJECT, read
from waypoint_lab.config.models import (
    EmbeddedTarget,
    Model,
    NotifySettings,
    StagesSettings,
    Target,
)
from waypoint_lab.config.traffic_models import CanarySettings, FaultSettings, RetriesSettings, TrafficApi
from waypoint_lab.config.waypoint_models import WaypointSettings

__all__ = ["PROJECT", "PROMOTION", "SKIP_GATE", "LabConfig"]
SKIP_GATE = "WAYPOINT_LAB_SKIP_GATE"  # set in the environment of an update that must not be measured
PROMOTION = "WAYPOINT_LAB_PROMOTION"  # set in the environment of an update whose users' requests a promotion judges


class LabConfig(Model, frozen=True):
    """All settings of a stack, in nine objects. Paths are relative to the project."""

    stages: StagesSettings = StagesSettings()
    """Toggles: which stages are on."""
    target: Target = EmbeddedTarget()
    """The cluster."""
    app: AppSettings = AppSettings()
    """The application whose traffic is managed."""
    waypoint: WaypointSettings = WaypointSettings()
    """The waypoint of the namespace."""
    canary: CanarySettings = CanarySettings()
    """The canary: its share of the traffic, and the treatment of its requests."""
    fault: FaultSettings = FaultSettings()
    """The fault of the stages `delay` and `abort`."""
    retries: RetriesSettings = RetriesSettings()
    """The retries of stage `retries`."""
    notify: NotifySettings = NotifySettings()
    """Notifications of decisions by `lab canary` and `lab waypoint`."""
    traffic_api: TrafficApi = "gateway-api"
    """API of the Service's routes. With virtual-service one object owns canary and fault, so that both can be on."""

    @property
    def client(self) -> Client:
        """The Pod that sends the measured requests."""
        if self.app.client:
            return self.app.client
        ours = self.target.kind == "embedded" and self.is_bookinfo
        return PRODUCTPAGE if ours else PodClient(namespace=self.app.namespace)

    @property
    def canary_cohort(self) -> CohortSettings | None:
        """The cohort whose requests all go to the canary; None where stage `canary` is off."""
        return self.canary.cohort if self.stages.canary else None

    @property
    def backend_cohorts(self) -> dict[str, CohortSettings]:
        """The cohorts by the backend that each gets; none where stage `premium` is off."""
        return self.app.cohorts if self.stages.premium else {}

    @property
    def waypoints(self) -> dict[str, float]:
        """The waypoints by name, each with the share of new connections (0 to 1) that it gets."""
        canary = self.waypoint.canary
        if canary is None:
            return {self.waypoint.name: 1.0}
        return {self.waypoint.name: 1 - canary.weight / 100, canary.name: canary.weight / 100}

    @property
    def waypoint_namespace(self) -> str:
        """Namespace of the waypoints."""
        return self.waypoint.namespace or self.app.namespace

    @property
    def namespaces(self) -> list[str]:
        """Namespaces that the stack changes: the application's, and the waypoints' if it is another one."""
        return [*dict.fromkeys((self.app.namespace, self.waypoint_namespace))]

    @property
    def uses_virtual_service(self) -> bool:
        """True where one VirtualService owns all of the Service's traffic."""
        return self.traffic_api == "virtual-service"

    @property
    def faulty(self) -> bool:
        """True where a delay or an abort is on."""
        return self.stages.delay or self.stages.abort

    @property
    def installs_bookinfo(self) -> bool:
        """True where the stack installs bookinfo."""
        default = self.target.kind == "kind" and self.is_bookinfo
        return default if self.app.deploy_bookinfo is None else self.app.deploy_bookinfo

    @property
    def is_bookinfo(self) -> bool:
        """True where the application is bookinfo, the default."""
        return self.app.service == AppSettings().service

    @property
    def l7_policy_name(self) -> str:
        """Name of the AuthorizationPolicy of stage `l7Policy`."""
        return f"{self.app.service}-l7-policy"

    @property
    def rule_name(self) -> str:
        """Name of the VirtualService that carries the fault."""
        return f"{self.app.service}-{'traffic' if self.uses_virtual_service else 'fault'}"

    def with_cohort(self, text: str) -> "LabConfig":
        """Return the config with another cohort of the canary, given as text such as `cookie:NAME=VALUE`.

        Raises:
            ConfigError: The text is not that of a cohort, or the cohort does not go with other settings.
        """
        cohort = read(CohortSettings, CohortSettings.given(text), "canary.cohort")
        config = msgspec.structs.replace(self, canary=msgspec.structs.replace(self.canary, cohort=cohort))
        config._check()
        return config

    def _check(self) -> None:
        parts = (self.stages, self.app, self.waypoint, self.canary, self.fault)
        combinations.check(*parts, exclusive=not self.uses_virtual_service)

    @classmethod
    def from_mapping(cls, given: Mapping[str, object]) -> "LabConfig":
        """Read the settings objects of a stack.

        Args:
            given: The objects by name, without the project's name.

        Raises:
            ConfigError: A setting is unknown or not valid, or settings exclude each other.
        """
        config: LabConfig = read(cls, given, "")
        config._check()
        return config

    @classmethod
    def from_stack(cls, config: Mapping[str, object]) -> "LabConfig":
        """Read a stack's whole config, whose keys carry their project; other projects' keys are ignored.

        Raises:
            ConfigError: As `from_mapping`.
        """
        prefix = f"{PROJECT}:"
        return cls.from_mapping({key[len(prefix) :]: parsed(v) for key, v in config.items() if key.startswith(prefix)})


def parsed(value: object) -> object:
    """Parse an object that Pulumi holds as JSON text; return other values as they are."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
