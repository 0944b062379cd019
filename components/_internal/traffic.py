"""Model of one Service's traffic, made by `traffic_parser`, rendered by `http_route` and `virtual_service`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi

from ..types import Backend, HeaderChanges, Mirror, Retries
from . import cohorts, http_text, objects
from .cohorts import CohortRule


@dataclass(frozen=True)
class FaultSettings:
    """Delay, abort or both: milliseconds and status are 0 where there is none; percentages are 0 to 100.

    `headers` limits the fault to requests with these values. `failing` is the Service of the workload that fails in
    front of `baseline`; both are empty where the waypoint injects the fault. `id` is empty where the fault does not
    expire by itself; `expired` is true once it has.
    """

    delay_milliseconds: int
    delay_percent: float
    abort_status: int
    abort_percent: float
    headers: Mapping[str, str]
    baseline: str = ""
    failing: str = ""
    id: str = ""
    seconds: float = 0
    expired: bool = False
    image: str = ""


@dataclass(frozen=True)
class AffinityCookie:
    """Cookie that keeps a user on `backend` for `seconds`, or until the rollout with the identity `rollout` ends."""

    backend: Backend
    name: str
    seconds: int
    rollout: pulumi.Input[str] = ""

    @property
    def prefix(self) -> str:
        """Start of the cookie, before the identity of the rollout."""
        return f"{self.name}={self.backend['name']}."

    @property
    def set_cookie(self) -> pulumi.Input[str]:
        """Value of the header `set-cookie`, as Envoy takes it."""
        attributes = f"; Path=/; Max-Age={self.seconds}; HttpOnly; SameSite=Lax"
        return objects.applied(self.rollout, lambda text: http_text.literal(f"{self.prefix}{text}{attributes}"))

    @property
    def pattern(self) -> pulumi.Input[str]:
        """Regular expression for the header `cookie` of such a user."""
        return objects.applied(self.rollout, lambda text: cohorts.cookie_pattern(self.prefix + text))


@dataclass(frozen=True)
class Traffic:
    """Declared traffic of a Service's port. Every optional field of the dictionaries inside has a value.

    Backends with weight 0 are left out; weights are whole numbers. Names may be outputs. `split` is true if backends
    are declared; otherwise the Service itself is the only one. `headers` limits everything to requests with these
    values. Timeouts are milliseconds, 0 for none.
    """

    component: str
    namespace: pulumi.Input[str]
    service: pulumi.Input[str]
    port: int
    domain: str
    split: bool
    backends: Sequence[Backend]
    cohorts: Sequence[CohortRule]
    headers: Mapping[str, str]
    mirrors: Sequence[Mirror]
    changes: Mapping[str, HeaderChanges] = field(default_factory=dict)  # by `request` and `response`
    affinity: AffinityCookie | None = None
    fault: FaultSettings | None = None
    retries: Retries | None = None
    timeout: int = 0
    try_timeout: int = 0

    @property
    def failing_port(self) -> int:
        """Port of the failing workload's Service: that of the backend that it stands for."""
        ports = [each["port"] for each in self.backends if self.fault and each["name"] == self.fault.baseline]
        return ports[0] if ports else self.port
