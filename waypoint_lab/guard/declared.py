"""Shares that a stack of the lab declares for the backends of its Service."""

from msgspec.structs import replace

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.guard.comparison import Expectation


def expectations(config: LabConfig) -> dict[str, Expectation]:
    """Return the declared share of the canary; none where users choose the canary, too, or it gets copies."""
    canary = config.canary
    if not config.stages.canary or canary.cohort or canary.session_affinity or canary.mirror_percent:
        return {}
    names = config.app.baseline.service, config.app.canary.service
    return {names[1]: Expectation(canary.weight / 100, frozenset(names))}


def services(config: LabConfig) -> frozenset[str]:
    """Return the Services that the application's routes may send requests to."""
    return frozenset(config.app.services) | _failing(config)


def moved(before: LabConfig | None, after: LabConfig) -> frozenset[str]:
    """Return the Services whose shares a change of the config moves; none where it moves none.

    Args:
        before: The config before; None where nothing was deployed.
        after: The config after.
    """
    return frozenset() if before is not None and _split(before) == _split(after) else services(after)


def falling(before: LabConfig | None, after: LabConfig) -> frozenset[str]:
    """Return the moved Services that may lose all requests.

    Affinity and mirroring take them from the baseline and the canary only, a raised weight from the baseline.

    Args:
        before: The config before; None where nothing was deployed.
        after: The config after.
    """
    if before is None or moved(replace(before, canary=replace(after.canary, cohort=before.canary.cohort)), after):
        return moved(before, after)
    if moved(replace(before, canary=replace(before.canary, weight=after.canary.weight)), after):
        return frozenset([after.app.baseline.service, after.app.canary.service])
    raised = after.canary.weight > before.canary.weight
    return moved(before, after) & {(after.app.baseline if raised else after.app.canary).service}


def _split(config: LabConfig) -> tuple[object, ...]:
    """Return all that decides how the routes split requests."""
    canary = config.canary
    chosen = canary.weight, canary.cohort, canary.session_affinity, canary.mirror_percent
    roles = {name: backend.service for name, backend in config.app.backends.items()}
    return chosen if config.stages.canary else None, config.backend_cohorts, roles, without_requests(config)


def without_requests(config: LabConfig) -> frozenset[str]:
    """Return the Services of the application to which no route sends requests."""
    if not config.stages.canary and not config.stages.premium:
        routed = {config.app.service}
    else:
        routed = {config.app.backends[name].service for name in config.backend_cohorts}
        if not config.stages.canary or config.canary.weight < 100:
            routed.add(config.app.baseline.service)
        canary = config.canary
        if config.stages.canary and any((canary.weight, canary.cohort, canary.session_affinity, canary.mirror_percent)):
            routed.add(config.app.canary.service)
    return services(config) - (_failing(config) or routed)


def _failing(config: LabConfig) -> frozenset[str]:
    """Return the Service that takes the backends' requests while a fault is at the upstream; none without one."""
    upstream = config.faulty and config.fault.at == "upstream"
    return frozenset([f"{config.rule_name}-upstream"] if upstream else [])
