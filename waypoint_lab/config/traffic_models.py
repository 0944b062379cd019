"""Models of the settings objects `canary`, `fault` and `retries`."""

import hashlib
import json
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from waypoint_lab.config import types
from waypoint_lab.config.cohort_models import CohortSettings
from waypoint_lab.config.models import Model

TrafficApi = Literal["gateway-api", "virtual-service"]


def digest(text: str) -> str:
    """Return a digest that differs where the text does, for a record that others read; the text may be secret."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class PrometheusSettings(Model, frozen=True):
    """A Prometheus that answers for gate and promotion. Each query gives one number."""

    url: types.Address
    """Base address of the server."""
    requests: types.Text
    """Query of the number of requests that the other queries are based on."""
    success_rate: types.OptionalText = ""
    """Query of the success rate in percent; set where the gate has successRate, and only there."""
    p99: types.OptionalText = ""
    """Query of the 99th percentile in seconds; set where the gate has p99Seconds, and only there."""
    window_seconds: types.WindowSeconds = 60.0
    """Seconds that the queries look back, plus a scrape interval; a new weight passes only after them."""


class GateSettings(Model, frozen=True):
    """Thresholds that traffic must meet before an update of the canary succeeds; at least one is set."""

    success_rate: types.PositivePercent | None = None
    """Least success rate of all requests, in percent."""
    p99_seconds: types.P99Seconds | None = None
    """Most seconds of the 99th percentile."""
    p99_ratio: types.P99Ratio | None = None
    """Most times of the baseline's 99th percentile that the canary's may have; by evidence traffic, and logs."""
    latency_margin: types.LatencyMargin = 0.5
    """Percentage points of slow requests, beyond 1 %, that a promotion by the requests of users must not promote."""
    share: bool = False
    """Require the weight to lie within the interval of the canary's measured share."""
    minimum_requests: types.GateRequests = 500
    """Least number of requests; fewer do not pass."""
    seconds: types.GateSeconds = 30.0
    """Most seconds that the measurement takes."""
    prometheus: PrometheusSettings | None = None
    """The Prometheus of canary.evidence prometheus."""

    def document(self) -> dict[str, Any]:
        """Return the thresholds, and a digest of the Prometheus, for the record of a pass."""
        found = msgspec.to_builtins(self)
        del found["latencyMargin"]  # a promotion judges it, not the gate
        if self.prometheus:
            url = urlsplit(self.prometheus.url)
            address = url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()  # a new password is the same source
            found["prometheus"] = digest(json.dumps({**found["prometheus"], "url": address}, sort_keys=True))
        return {key: value for key, value in found.items() if value not in (None, False)}


class SessionAffinitySettings(Model, frozen=True):
    """Keep users that were sent to the canary there, by a cookie."""

    max_age_seconds: types.AffinitySeconds
    """Lifetime of the cookie."""


class CanarySettings(Model, frozen=True):
    """The canary: its share of the traffic, and the treatment of its requests."""

    weight: types.Weight = 20
    """Percent of the requests that go to the canary."""
    cohort: CohortSettings | None = None
    """Requests that all go to the canary, at any weight."""
    steps: types.Steps = (1, 5, 20, 50, 100)
    """Weights of a promotion, in order."""
    evidence: types.Evidence = ("probe",)
    """Sources that gate and promotion judge the canary by: requests of our own, those of users, or a Prometheus."""
    session_affinity: SessionAffinitySettings | None = None
    """Keep users that were sent to the canary there; not set means no affinity."""
    mirror_percent: types.Percent = 0
    """Percent of the requests that are copied to the canary, whose answers are dropped."""
    request_headers: dict[types.HeaderName, types.Text] = msgspec.field(default_factory=dict)
    """Headers that are set on each request to a backend."""
    response_headers: dict[types.HeaderName, types.Text] = msgspec.field(default_factory=dict)
    """Headers that each answer gets."""
    gate: GateSettings | None = None
    """Thresholds that traffic must meet before an update of the canary succeeds; not set means none."""


class DelaySettings(Model, frozen=True):
    """An injected delay."""

    seconds: types.DelaySeconds = 2.0
    """Length of the delay."""


class AbortSettings(Model, frozen=True):
    """An injected error."""

    percent: types.Percent = 50.0
    """Percent of the requests that get it."""
    status: types.Status = 503
    """Its HTTP status."""


class HeaderSettings(Model, frozen=True):
    """A header with an exact value."""

    name: types.HeaderName
    """Name of the header."""
    value: types.Text
    """Value of the header."""


class FaultSettings(Model, frozen=True):
    """The fault of the stages `delay` and `abort`."""

    at: Literal["waypoint", "upstream"] = "waypoint"
    """Origin of the fault: the waypoint's own filter, or a workload behind it that fails."""
    delay: DelaySettings = DelaySettings()
    """The delay of stage `delay`."""
    abort: AbortSettings = AbortSettings()
    """The error of stage `abort`."""
    header: HeaderSettings | None = None
    """Limit the fault to requests with this header; not set means all requests."""
    duration_seconds: types.FaultSeconds = 0.0
    """Seconds after which the fault expires; 0 means that it lasts until the next update."""
    start: types.OptionalText = ""
    """Any text; a new one starts a fault again that has expired."""

    @property
    def header_pair(self) -> tuple[str, str] | None:
        """Name, in lower case, and value of the header that limits the fault; None where there is none."""
        return (self.header.name.lower(), self.header.value) if self.header else None


class RetriesSettings(Model, frozen=True):
    """The retries of stage `retries`."""

    attempts: types.Attempts = 3
    """Retries after the first try."""
    per_try_timeout: types.Duration = "500ms"
    """Limit of each try."""
    writes: bool = False
    """Retry requests of other methods than GET, HEAD and OPTIONS, too."""
    backoff: types.OptionalDuration = ""
    """Base interval between tries; empty means Envoy's own 25ms."""
    budget_percent: types.Percent | None = None
    """Most retries at one moment, in percent of the active requests, at least 3; not set means no budget."""

    @property
    def per_try_seconds(self) -> float:
        """`per_try_timeout` in seconds."""
        return types.seconds(self.per_try_timeout)
