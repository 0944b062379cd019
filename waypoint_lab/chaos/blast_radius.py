"""Blast radius: the requests that a declared fault can hit, and objects in the cluster that hide the fault."""

from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase

from waypoint_lab import kubectl
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.kubectl import Object
from waypoint_lab.measure import access_log
from waypoint_lab.measure.request import AGENT
from waypoint_lab.stages import fault_expiry
from waypoint_lab.stages.fault_outcomes import canary_share

WINDOW_SECONDS = 60


@dataclass(frozen=True)
class ObservedTraffic:
    """Number of other clients' requests in the waypoint's log of WINDOW_SECONDS; `hit` is the number with the fault."""

    requests: int
    hit: int


def described(config: LabConfig) -> list[str]:
    """Return one line for each effect of the declared fault, with the requests that it hits; empty without a fault."""
    if not config.faulty:
        return []
    who = f"requests to {config.app.namespace}/{config.app.service}:{config.app.port}"
    if config.fault.header_pair:
        who += f" with the header {config.fault.header_pair[0]}: {config.fault.header_pair[1]}"
    where = "the waypoint"
    if config.fault.at == "upstream":
        where = f"a workload in front of {config.app.baseline.service}"
        canary = config.canary.weight if config.stages.canary else 0
        who += f", those {100 - canary} % of them that go to {config.app.baseline.service}" if canary else ""
    lines = []
    if config.stages.delay:
        lines.append(f"{who}: all are delayed by {config.fault.delay.seconds:g} s by {where}")
    if config.stages.abort:
        lines.append(
            f"{who}: {config.fault.abort.percent:g} % are answered with {config.fault.abort.status} by {where}"
        )
    if config.stages.retries:
        tries = "of every method" if config.retries.writes else "of GET, HEAD and OPTIONS"
        retried = "not retried" if config.fault.at == "waypoint" else f"retried {config.retries.attempts} times"
        lines.append(f"failures {tries} are {retried}")
    length = (
        f"{config.fault.duration_seconds:g} s, then a Job in the cluster removes it"
        if config.fault.duration_seconds
        else ""
    )
    lines.append(f"it lasts {length or 'until an update removes it'}")
    return lines


def no_effect(config: LabConfig) -> list[str]:
    """Return the settings by which the declared fault would hit no request."""
    found = []
    if config.stages.abort and not config.stages.delay and not config.fault.abort.percent:
        found.append("fault.abort.percent is 0")
    if config.fault.at == "upstream" and canary_share(config) == 1:
        found.append(f"no request goes to {config.app.baseline.service}, where the failing workload is")
    return found


@kubectl.readable("objects of the fault")
def obstacles(config: LabConfig) -> list[str]:
    """Return the reasons why the declared fault would hit no request; empty if it can hit some.

    Raises:
        ConfigError: The record of expired faults cannot be read.
        KubectlError: The cluster does not answer.

    Source: istiod's waypointInboundRoute: rules of several owners follow each other, and a catch-all hides the rest.
    """
    if not config.faulty:
        return ["no fault is declared: turn on stages.delay or stages.abort"]
    found = no_effect(config)
    if fault_expiry.fault_id(config) in fault_expiry.RecordReader(config).result():
        found.append("the fault has expired; set another fault.start to start it again")
    inside = ("-n", config.app.namespace)
    service = kubectl.get(config.target, "service", config.app.service, *inside)
    if not service:
        return [*found, f"there is no Service {config.app.namespace}/{config.app.service}"]
    ports = [port["port"] for port in service["spec"].get("ports", [])]
    if config.app.port not in ports:
        found.append(f"{config.app.service} has no port {config.app.port}, but {', '.join(map(str, ports))}")
    if service["metadata"].get("labels", {}).get("istio.io/use-waypoint") == "none":
        found.append(f"Service {config.app.service} bypasses the waypoint by its label istio.io/use-waypoint: none")
    routes = kubectl.items(config.target, "httproutes.gateway.networking.k8s.io", *inside)
    found += [f"HTTPRoute {name} on the Service hides it" for name in others(config, routes)]
    rules = kubectl.items(config.target, "virtualservices.networking.istio.io", *inside)
    return found + [f"VirtualService {name} has the same host and may hide it" for name in others(config, rules)]


def others(config: LabConfig, items: list[Object]) -> list[str]:
    """Return the HTTPRoutes and VirtualServices that route the Service's port.

    Except the stack's own VirtualServices, and its own HTTPRoute where the next update removes that.
    """
    from components._internal import owners  # it imports the Pulumi SDK; only `lab chaos` pays for that

    app = config.app
    own = {("VirtualService", f"{app.service}-{end}") for end in ("fault", "traffic")}
    own |= {("HTTPRoute", app.service)} if config.uses_virtual_service else set()
    return [
        item["metadata"]["name"]
        for item in items
        if (item["kind"], item["metadata"]["name"]) not in own
        if any(
            fnmatchcase(app.service, name) and port in (0, app.port)
            for name, port in owners.bound_ports(item, app.namespace)
        )
    ]


def traffic(config: LabConfig) -> ObservedTraffic | str:
    """Count other clients' recent requests in the waypoint's access log. Return the reason where they are not known.

    Raises:
        KubectlError: The log cannot be read.
    """
    if not config.stages.access_log:
        return "stages.accessLog is off"
    where, failing = access_log.addresses(config), f"{config.rule_name}-upstream"
    logs = {name: access_log.log(config, name, WINDOW_SECONDS) for name in config.waypoints}
    for name, log in logs.items():
        if why := access_log.unreadable(log):
            return f"waypoint {name}: {why}"
    counts = [counted(log, where, failing) for log in logs.values()]
    return ObservedTraffic(sum(one.requests for one in counts), sum(one.hit for one in counts))


def counted(log: str, addresses: Collection[str], failing: str) -> ObservedTraffic:
    """Count the requests to `addresses` in an access log, without the lab's own.

    Args:
        log: The log.
        addresses: Addresses of the Service.
        failing: Service of the failing workload, whose requests are hit.

    Source: Envoy's response flags: FI is an injected abort, DI an injected delay. Both count as hit.
    """
    others = [match for match in access_log.requests(log, addresses) if not match["agent"].startswith(AGENT)]
    hit = [
        match for match in others if {"FI", "DI"} & set(match["flags"].split(",")) or f"|{failing}." in match["cluster"]
    ]
    return ObservedTraffic(len(others), len(hit))
