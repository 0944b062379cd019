"""Services and backends of a snapshot, from a window of traffic and the declared and live routes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.live.envoy_state import Routes, ServiceRoutes
from waypoint_lab.live.model import BackendTraffic, Estimate, Service, Totals
from waypoint_lab.live.objects import RouteTarget, Weights
from waypoint_lab.live.window import Logged, Window
from waypoint_lab.measure.endpoint_counters import Counts
from waypoint_lab.measure.statistics import binomial_interval, quantiles

COUNTERS, ACCESS_LOG = "counters", "access log"


@dataclass
class Declared:
    """The routes that the API server has.

    Attributes:
        weights: Percent of the requests by backend, of each Service; port 0 means any port.
        mirrored: Services that a route copies requests to.
        addresses: Cluster IPs of each Service, as Envoy logs them.
    """

    weights: dict[RouteTarget, Weights] = field(default_factory=dict)
    mirrored: set[tuple[str, str]] = field(default_factory=set)
    addresses: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    def split(self, service: RouteTarget) -> dict[RouteTarget, float]:
        """Return the declared percent of a Service's requests by backend; empty where no rule for all is known."""
        found = self.weights.get(service) or self.weights.get(service._replace(port=0)) or {}
        return {one if one.port else one._replace(port=service.port): weight for one, weight in found.items()}


def estimate(hits: int, requests: int) -> Estimate | None:
    """Return a share with its interval; None without requests."""
    if not requests:
        return None
    interval = binomial_interval(hits, requests)
    return Estimate(value=hits / requests, low=interval.low, high=interval.high)


def roles(config: LabConfig) -> dict[tuple[str, str], str]:
    """Return the role of each Service that the config names as a backend."""
    named = config.app.backends
    return {(backend.service, config.app.namespace): role for role, backend in named.items()}


def split(config: LabConfig, where: RouteTarget, declared: Declared) -> dict[RouteTarget, float]:
    """Return the declared percent of a Service's requests by backend, those of weight 0 included.

    The program leaves the canary out of the route at 0 %, and the baseline at 100 %; the config names both.
    """
    found, app = declared.split(where), config.app
    if not (found and config.stages.canary and (where.name, where.namespace) == (app.service, app.namespace)):
        return found
    both = {RouteTarget(one.service, app.namespace, where.port): 0.0 for one in (app.baseline, app.canary)}
    return both | found


def _with_split(routes: ServiceRoutes, weights: Weights, known: Sequence[tuple[str, str]]) -> ServiceRoutes:
    """Return the routes with all backends of the split, in the order of the config's backends."""
    if not routes.weights:
        return routes
    found = sorted(
        {**dict.fromkeys(weights), **dict.fromkeys(routes.backends)},
        key=lambda one: known.index(place) if (place := (one.name, one.namespace)) in known else len(known),
    )
    return replace(routes, weights={**dict.fromkeys(weights, 0.0), **routes.weights}, backends=tuple(found))


def services(config: LabConfig, live: Routes, declared: Declared, window: Window, now: float) -> tuple[Service, ...]:
    """Return the Services: the stack's own first, then those with a split, then by requests.

    A Service that is a backend of another one, and has itself as its only backend, is not listed.

    Args:
        config: The stack's config.
        live: Routes of the waypoint's Envoy.
        declared: Routes of the API server.
        window: The traffic.
        now: The present time by the monotonic clock.
    """
    lines, counts = window.lines(now), window.counts
    splits, known = {where: split(config, where, declared) for where in live}, [*roles(config)]
    live = {where: _with_split(routes, splits[where], known) for where, routes in live.items()}
    elsewhere = {one for where, routes in live.items() for one in routes.backends if one != where}
    found = [
        _service(config, where, routes, splits[where], declared, window, counts, lines, now)
        for where, routes in live.items()
        if len(routes.backends) > 1 or where not in elsewhere
    ]
    own = (config.app.service, config.app.namespace)
    found.sort(key=lambda one: ((one.name, one.namespace) != own, len(one.backends) < 2, -one.requests, one.name))
    return tuple(found)


def _rounded(weight: float | None) -> float | None:
    """Return a weight without the last digits, in which `100 * (w / n)` of Envoy differs from `100 * w / n`."""
    return None if weight is None else round(weight, 6)


def _service(
    config: LabConfig,
    where: RouteTarget,
    routes: ServiceRoutes,
    weights: Weights,
    declared: Declared,
    window: Window,
    counts: Mapping[RouteTarget, Counts],
    lines: Sequence[Logged],
    now: float,
) -> Service:
    addresses = [f"{host}:{where.port}" for host in declared.addresses.get((where.name, where.namespace), ())]
    mine = [one for one in lines if one.address in addresses]
    others = any(one.backend in routes.backends and one.address not in addresses for one in lines)
    mirrored = any((one.name, one.namespace) in declared.mirrored for one in routes.backends)
    by_log = bool(mine) and (others or mirrored)
    seconds = max(now - (window.lines_began if by_log else window.began), 0.001)
    asked = {
        one: sum(line.backend == one for line in mine) if by_log else counts.get(one, Counts()).requests
        for one in routes.backends
    }
    total, known = sum(asked.values()), roles(config)
    backends = []
    for one in routes.backends:
        answered = [line for line in mine if line.backend == one]
        tries = counts.get(one, Counts())
        fine, ended = tries.successes, tries.completed
        if by_log:
            fine, ended = sum(0 < line.status < 500 for line in answered), len(answered)
        latencies = quantiles([line.seconds for line in answered if line.status])
        sum_of = window.totals.get(one, Counts())
        backends.append(
            BackendTraffic(
                name=one.title,
                namespace=one.namespace,
                port=one.port,
                role=known.get((one.name, one.namespace), ""),
                weight=_rounded(weights.get(one) if declared.weights else routes.weights.get(one)),
                live_weight=_rounded(routes.weights.get(one)),
                requests=asked[one],
                active=window.active.get(one, 0),
                share=estimate(asked[one], total),
                rate=asked[one] / seconds,
                success=estimate(fine, ended),
                p50_seconds=latencies.get("p50"),
                p99_seconds=latencies.get("p99"),
                total=Totals(requests=sum_of.requests, successes=sum_of.successes, errors=sum_of.errors),
            )
        )
    answers = Counter(f"{one.status} {one.flags}".strip() for one in mine if one.backend is None)
    return Service(
        name=where.name,
        namespace=where.namespace,
        port=where.port,
        source=ACCESS_LOG if by_log else COUNTERS,
        requests=total + answers.total(),
        rate=(total + answers.total()) / seconds,
        own_answers=dict(sorted(answers.items())),
        backends=tuple(backends),
    )
