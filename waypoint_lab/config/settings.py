"""The stack's configuration, read once into one frozen object."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from waypoint_lab.config.gate import GateSettings
from waypoint_lab.config.readers import (
    PROJECT,
    bad,
    decimal,
    did_you_mean,
    duration,
    gate,
    header,
    header_text,
    name,
    one_of,
    optional,
    optional_decimal,
    optional_duration,
    optional_name,
    promote_steps,
    seconds,
    source,
    stages,
    text,
    truth,
    truth_or_auto,
    weight,
    whole,
)
from waypoint_lab.config.weights import parts
from waypoint_lab.errors import ConfigError
from waypoint_lab.stages import table

__all__ = ["KEYS", "PROJECT", "LabConfig"]

# key in the stack's config -> (field, how it is read)
KEYS: dict[str, tuple[str, Callable[[str, object], Any]]] = {
    "stages": ("stages", stages),
    "canaryWeight": ("canary_weight", weight),
    "canaryCohort": ("canary_cohort", header_text),
    "promoteSteps": ("promote_steps", promote_steps),
    "gate": ("gate", gate),
    "faultPercent": ("fault_percent", decimal(0, 100)),
    "faultStatus": ("fault_status", whole(200, 599)),
    "delaySeconds": ("delay_seconds", decimal(0.001, 300)),
    "retryAttempts": ("retry_attempts", whole(1, 20)),
    "perTryTimeout": ("per_try_timeout", duration),
    "premiumUser": ("premium_user", text),
    "faultAt": ("fault_at", one_of("waypoint", "upstream")),
    "owner": ("owner", one_of("separate", "combined")),
    "faultSeconds": ("fault_seconds", decimal(0, 3600)),
    "faultStart": ("fault_start", optional),
    "faultHeader": ("fault_header", header),
    "faultSource": ("fault_source", source),
    "retryWrites": ("retry_writes", truth),
    "retryBackoff": ("retry_backoff", optional_duration),
    "retryBudgetPercent": ("retry_budget_percent", optional_decimal(0, 100)),
    "requestTimeout": ("request_timeout", optional_duration),
    "mirrorPercent": ("mirror_percent", decimal(0, 100)),
    "requestHeader": ("request_header", header),
    "responseHeader": ("response_header", header),
    "stickySeconds": ("sticky_seconds", whole(0, 31_536_000)),
    "waypointName": ("waypoint_name", name),
    "waypointRevision": ("waypoint_revision", optional_name),
    "waypointCanary": ("waypoint_canary", optional_name),
    "waypointCanaryRevision": ("waypoint_canary_revision", optional_name),
    "waypointCanaryWeight": ("waypoint_canary_weight", whole(0, 100)),
    "failClosed": ("fail_closed", truth),
    "namespace": ("namespace", name),
    "service": ("service", name),
    "port": ("port", whole(1, 65535)),
    "clientNamespace": ("client_namespace", name),
    "clientWorkload": ("client_workload", text),
    "deployBookinfo": ("deploy_bookinfo", truth_or_auto),
    "target": ("target", one_of("embedded", "kind", "existing")),
    "kubeconfig": ("kubeconfig", optional),
    "context": ("context", optional),
    "kindName": ("kind_name", name),
    "kindConfig": ("kind_config", optional),
    "istioHub": ("istio_hub", text),
    "istioTag": ("istio_tag", text),
}


@dataclass(frozen=True)
class LabConfig:
    """All that a stack may set. Percentages and weights are 0 to 100, `delay_seconds` seconds.

    `stages` are the toggles that are on. `canary_cohort` is a header as NAME=VALUE, or empty. `fault_seconds` of 0
    means until the next update. Empty `kubeconfig` and
    `context` mean the ambient ones; a relative path is relative to the project.
    """

    stages: frozenset[str] = field(default_factory=frozenset)
    canary_weight: float = 20
    canary_cohort: str = ""
    promote_steps: tuple[float, ...] = (1, 5, 20, 50, 100)
    gate: GateSettings | None = None
    fault_percent: float = 50.0
    fault_status: int = 503
    delay_seconds: float = 2.0
    retry_attempts: int = 3
    per_try_timeout: str = "500ms"
    premium_user: str = "premium-user"
    fault_at: str = "waypoint"
    owner: str = "separate"
    fault_seconds: float = 0.0
    fault_start: str = ""
    fault_header: tuple[str, str] | None = None
    fault_source: str = ""
    retry_writes: bool = False
    retry_backoff: str = ""
    retry_budget_percent: float | None = None
    request_timeout: str = ""
    mirror_percent: float = 0.0
    request_header: tuple[str, str] | None = None
    response_header: tuple[str, str] | None = None
    sticky_seconds: int = 0
    waypoint_name: str = "waypoint"
    waypoint_revision: str = ""
    waypoint_canary: str = ""
    waypoint_canary_revision: str = ""
    waypoint_canary_weight: int = 0
    fail_closed: bool = False
    namespace: str = "bookinfo-backends"
    service: str = "reviews"
    port: int = 9080
    client_namespace: str = "bookinfo-frontends"
    client_workload: str = "deploy/productpage-v1"
    deploy_bookinfo: bool = False
    target: str = "embedded"
    kubeconfig: str = ""
    context: str = ""
    kind_name: str = "waypoint-lab"
    kind_config: str = ""
    istio_hub: str = "docker.io/istio"
    istio_tag: str = "1.31.0"

    def on(self, toggle: str) -> bool:
        """Whether a stage's toggle is on."""
        return toggle in self.stages

    @property
    def canary_parts(self) -> tuple[int, int]:
        """Whole weights of baseline and canary: of 100 together, or of a power of ten above for decimals."""
        return parts(self.canary_weight)

    @property
    def canary_header(self) -> tuple[str, str] | None:
        """Name and value of the header whose requests all go to the canary; None where there is none."""
        name, _, value = self.canary_cohort.partition("=")
        return (name, value) if name and self.on("canary") else None

    @property
    def waypoints(self) -> dict[str, float]:
        """The waypoints by name, each with the share of new connections (0 to 1) that it gets."""
        second = self.waypoint_canary_weight / 100
        return {self.waypoint_name: 1 - second, **({self.waypoint_canary: second} if self.waypoint_canary else {})}

    @property
    def per_try_seconds(self) -> float:
        """`per_try_timeout` in seconds."""
        return seconds(self.per_try_timeout)

    @property
    def combined(self) -> bool:
        """Whether one component owns all of the Service's traffic."""
        return self.owner == "combined"

    @property
    def faulty(self) -> bool:
        """Whether a delay or an abort is on."""
        return self.on("delay") or self.on("abort")

    @property
    def rule_name(self) -> str:
        """Name of the VirtualService that carries the fault."""
        return f"{self.service}-{'traffic' if self.combined else 'fault'}"

    @classmethod
    def from_mapping(cls, given: Mapping[str, object]) -> "LabConfig":
        """Reads keys as a stack has them, without the project's name; raw strings and typed values both do.

        Raises ConfigError with one line for an unknown key, a value of a wrong type or range, and toggles that cannot
        be on together.
        """
        for key in given:
            if key not in KEYS:
                raise ConfigError(f"{PROJECT}:{key} is not a setting{did_you_mean(key, list(KEYS))}")
        read = {KEYS[key][0]: KEYS[key][1](key, value) for key, value in given.items()}
        target = read.get("target", "embedded")
        for key in ("kubeconfig", "context"):
            if read.get(key) and target != "existing":
                raise ConfigError(f"{PROJECT}:{key} is for clusters of your own: set {PROJECT}:target to existing")
        if target == "kind":
            read["kubeconfig"] = f".lab/kind/{read.get('kind_name', cls.kind_name)}.kubeconfig"
        if read.get("deploy_bookinfo") is None:
            read["deploy_bookinfo"] = target == "kind"
        config = cls(**read)
        if why := table.problem(config.stages, exclusive=not config.combined):
            raise ConfigError(why)
        extra = config.mirror_percent or config.request_header or config.response_header or config.sticky_seconds
        if extra and not config.on("canary"):
            names = "mirrorPercent, requestHeader, responseHeader and stickySeconds"
            raise ConfigError(f"{PROJECT}: {names} need stages.canary, which is off")
        if config.waypoint_canary == config.waypoint_name:
            raise bad("waypointCanary", config.waypoint_canary, "another name than waypointName's")
        if config.waypoint_canary_revision and not config.waypoint_canary:
            want = "empty, as waypointCanary names no second waypoint"
            raise bad("waypointCanaryRevision", config.waypoint_canary_revision, want)
        if config.waypoint_canary_weight and not config.waypoint_canary:
            want = "0, as waypointCanary names no second waypoint"
            raise bad("waypointCanaryWeight", config.waypoint_canary_weight, want)
        return config

    @classmethod
    def from_stack(cls, config: Mapping[str, object]) -> "LabConfig":
        """Reads a stack's full config, whose keys carry their namespace; what is not the lab's is left alone."""
        prefix = f"{PROJECT}:"
        return cls.from_mapping({key[len(prefix) :]: value for key, value in config.items() if key.startswith(prefix)})
