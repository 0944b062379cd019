"""Check settings that depend on each other."""

from waypoint_lab.config.app_models import ROLES, AccessLogIdentify, AppSettings
from waypoint_lab.config.cohort_models import CohortSettings
from waypoint_lab.config.decode import PROJECT, fields
from waypoint_lab.config.models import StagesSettings
from waypoint_lab.config.traffic_models import CanarySettings, FaultSettings, GateSettings
from waypoint_lab.config.waypoint_models import WaypointSettings
from waypoint_lab.errors import ConfigError
from waypoint_lab.masking import SECRET

TOGGLES: tuple[str, ...] = tuple(fields(StagesSettings))
NEEDS: dict[str, tuple[str, ...]] = {name: ("waypoint",) for name in TOGGLES if name != "waypoint"}
MOST_BACKENDS = 15  # an AuthorizationPolicy has 16 targets, the application's Service among them
_ROUTES, _FAULTS = ("canary", "premium"), ("delay", "abort", "retries")
# With the Gateway API, routes and faults are two objects, and one hides the other.
EXCLUDES: dict[str, tuple[str, ...]] = {**dict.fromkeys(_ROUTES, _FAULTS), **dict.fromkeys(_FAULTS, _ROUTES)}


def check(
    stages: StagesSettings,
    app: AppSettings,
    waypoint: WaypointSettings,
    canary: CanarySettings,
    fault: FaultSettings,
    *,
    exclusive: bool,
) -> None:
    """Check the settings that depend on each other.

    Args:
        stages: The toggles.
        app: The application.
        waypoint: The waypoint.
        canary: The canary.
        fault: The fault.
        exclusive: Routes and faults are two objects, which exclude each other.

    Raises:
        ConfigError: Two settings do not go together; the message names both.
    """
    for why in (
        _stages(stages.on, exclusive=exclusive),
        _app(app),
        _backends(stages, app, waypoint),
        _cohorts(stages, app, canary.cohort),
        _fault(stages, app, fault),
        _gateways(app, waypoint),
        _identify(stages, app),
        _canary(stages, canary),
        _evidence(stages, canary),
        _gate(canary.gate) if canary.gate else "",
        _waypoint(waypoint),
    ):
        if why:
            raise ConfigError(f"{PROJECT}:{why}")


def _stages(on: frozenset[str], *, exclusive: bool) -> str:
    for toggle in (name for name in TOGGLES if name in on):
        for need in NEEDS.get(toggle, ()):
            if need not in on:
                return f"stages.{toggle}: it needs stages.{need}, which is off; turn {need} on or {toggle} off"
        for other in EXCLUDES.get(toggle, ()) if exclusive else ():
            if other in on:
                return (
                    f"stages.{toggle}: it excludes stages.{other}, because on one Service an HTTPRoute hides a "
                    f"VirtualService; turn one of the two off, or set trafficApi to virtual-service"
                )
    return ""


def _app(app: AppSettings) -> str:
    default = AppSettings()
    same = [name for name in ("backends", "request") if getattr(app, name) == getattr(default, name)]
    if app.service == default.service or not same:
        return ""
    names = " and ".join(f"app.{name}" for name in same)
    verb = "are" if len(same) > 1 else "is"
    return f"app.service: it is {app.service}, but {names} {verb} still of {default.service}; set {names}"


def _backends(stages: StagesSettings, app: AppSettings, waypoint: WaypointSettings) -> str:
    missing = next((role for role in ROLES if role not in app.backends), "")
    if missing:
        return f"app.backends.{missing}: it is missing; use a map of settings"
    if len(app.backends) > MOST_BACKENDS:
        return f"app.backends: it has {len(app.backends)} backends; use at most {MOST_BACKENDS}"
    twice = next((name for name in app.services if app.services.count(name) > 1), "")
    if twice:
        return f"app.backends: Service {twice} is named twice; give the application and each backend one of its own"
    if waypoint.fail_closed and not app.common_labels:
        return (
            "waypoint.failClosed: it needs a label that the Pods of all backends have; "
            "set app.backends with selectors that share one"
        )
    return ""


def _cohort(name: str, cohort: CohortSettings, app: AppSettings) -> str:
    if cohort.problem:
        return f"{name}: {cohort.problem}"
    if cohort.matches(app.request.method, app.request.path, app.request.headers):
        return f"{name}: app.request is in this cohort, too, so others cannot be measured; change one of both"
    return ""


def _cohorts(stages: StagesSettings, app: AppSettings, canary: CohortSettings | None) -> str:
    named = {f"app.cohorts.{backend}": cohort for backend, cohort in app.cohorts.items()}
    if canary:
        named["canary.cohort"] = canary
    why = next(filter(None, (_cohort(name, cohort, app) for name, cohort in named.items())), "")
    role = next((role for role in ROLES if role in app.cohorts), "")
    if role:
        return f"app.cohorts.{role}: {role} gets the others; use canary.cohort, or name another backend"
    if why or not stages.premium:
        return why
    if not app.cohorts:
        return "stages.premium: it needs app.cohorts, which is empty; add a cohort or turn premium off"
    unknown = next((backend for backend in app.cohorts if backend not in app.backends), "")
    if unknown:
        return f"app.cohorts.{unknown}: there is no app.backends.{unknown}; set it, or turn stages.premium off"
    names: dict[str, str] = {}
    for name, cohort in named.items() if stages.canary else [*named.items()][: len(app.cohorts)]:
        if str(cohort) in names and cohort.value != SECRET:
            return f"{name}: it matches the same requests as {names[str(cohort)]}; use another one"
        names[str(cohort)] = name
    return ""


def _fault(stages: StagesSettings, app: AppSettings, fault: FaultSettings) -> str:
    if fault.header is None or not (stages.delay or stages.abort):
        return ""
    if CohortSettings(header=fault.header.name, value=fault.header.value).matches("", "", app.request.headers):
        return "fault.header: app.request has this header, too, so others cannot be measured; change one of both"
    return ""


def _identify(stages: StagesSettings, app: AppSettings) -> str:
    on = {"baseline": stages.canary or stages.premium, "canary": stages.canary}
    on |= dict.fromkeys(app.cohorts, stages.premium)
    wanted = [backend for backend, used in on.items() if used]
    if not wanted:
        return ""
    default = AppSettings()
    if app.service != default.service and app.identify == default.identify:
        return f"app.identify: it is still of {default.service}; set app.identify, such as kind: accessLog"
    if isinstance(app.identify, AccessLogIdentify):
        if not stages.access_log:
            return "app.identify.kind: accessLog needs stages.accessLog, which is off; turn it on, or use another kind"
        cohorts = {name: cohort.header.lower() for name, cohort in app.cohorts.items() if stages.premium}
        agent = next((name for name, header in cohorts.items() if header == "user-agent"), "")
        why = "app.identify.kind accessLog gives each request another one; use another kind, or another header"
        return f"app.cohorts.{agent}.header: {why}" if agent else ""
    values = {backend: app.identify.value(backend) for backend in wanted}
    for backend, value in values.items():
        if not value:
            return f"app.identify.values.{backend}: it is missing; add the value of this backend"
    known = [value for value in values.values() if value != SECRET]
    if len(set(known)) < len(known):
        return f"app.identify.values: {', '.join(values)} must differ; give each a value of its own"
    return ""


def _gateways(app: AppSettings, waypoint: WaypointSettings) -> str:
    """Return the problem if a Gateway, which has a Service of its name, has the name of another one."""
    owners: dict[str, str] = {}
    if waypoint.namespace in ("", app.namespace):
        owners |= {backend.service: f"app.backends.{role}" for role, backend in app.backends.items()}
        owners[app.service] = "app.service"
    canary = waypoint.canary.name if waypoint.canary else ""
    for setting, name in (("waypoint.name", waypoint.name), ("waypoint.canary.name", canary)):
        if name in owners:
            return f"{setting}: {name} is {owners[name]}, too; use another name"
        owners[name] = setting
    return ""


def _canary(stages: StagesSettings, canary: CanarySettings) -> str:
    extras = {
        "mirrorPercent": canary.mirror_percent,
        "requestHeaders": canary.request_headers,
        "responseHeaders": canary.response_headers,
        "sessionAffinity": canary.session_affinity,
    }
    found = next((name for name, value in extras.items() if value), "")
    if found and not stages.canary:
        return f"canary.{found}: it needs stages.canary, which is off; turn it on"
    return ""


def _evidence(stages: StagesSettings, canary: CanarySettings) -> str:
    gate = canary.gate
    if ("prometheus" in canary.evidence) != bool(gate and gate.prometheus):
        return "canary.evidence: prometheus goes with canary.gate.prometheus; set both or none"
    if gate is None:
        return ""
    if gate.p99_ratio is not None and "traffic" not in canary.evidence:
        return "canary.gate.p99Ratio: only traffic can measure it; unset it, or add traffic to canary.evidence"
    timed = {"p99Seconds": gate.p99_seconds, "p99Ratio": gate.p99_ratio}
    found = next((name for name, value in timed.items() if value is not None), "")
    if found and "traffic" in canary.evidence and not stages.access_log:
        return f"canary.gate.{found}: with canary.evidence traffic it needs stages.accessLog, which is off; turn it on"
    if gate.share and "probe" not in canary.evidence:
        return "canary.gate.share: only the probe can measure it; unset it, or add probe to canary.evidence"
    return ""


def _gate(gate: GateSettings) -> str:
    if gate.success_rate is None and gate.p99_seconds is None and gate.p99_ratio is None and not gate.share:
        return "canary.gate: it has no threshold; set successRate, p99Seconds, p99Ratio or share"
    source = gate.prometheus
    if source is None:
        return ""
    if (gate.success_rate is None) != (not source.success_rate):
        return "canary.gate.prometheus.successRate: it goes with canary.gate.successRate; set both or none"
    if (gate.p99_seconds is None) != (not source.p99):
        return "canary.gate.prometheus.p99: it goes with canary.gate.p99Seconds; set both or none"
    return ""


def _waypoint(waypoint: WaypointSettings) -> str:
    scaler, budget = waypoint.autoscaling, waypoint.disruption_budget
    if scaler and waypoint.replicas:
        return "waypoint.replicas: it excludes waypoint.autoscaling, which chooses the number; unset one of both"
    if scaler and scaler.max < scaler.min:
        return f"waypoint.autoscaling.max: {scaler.max} is below waypoint.autoscaling.min, {scaler.min}; raise it"
    if budget is None:
        return ""
    if (budget.min_available is None) == (budget.max_unavailable is None):
        return "waypoint.disruptionBudget: set either minAvailable or maxUnavailable"
    least = scaler.min if scaler else waypoint.replicas or 1
    if budget.min_available and budget.min_available >= least:
        return (
            f"waypoint.disruptionBudget.minAvailable: {budget.min_available} of {least} replicas lets no node be "
            f"drained; use less, or more replicas"
        )
    return ""
