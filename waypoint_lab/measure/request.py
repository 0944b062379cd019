"""The requests of a probe, as the client script takes them."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from waypoint_lab.config.app_models import HeaderIdentify, Identify, JsonIdentify
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.stages.fault_outcomes import longest_seconds

AGENT = "waypoint-lab"  # user agent, which identifies these requests in an access log
WORKERS = 8
MOST_ROUNDS = 10_000_000
REQUEST_SECONDS = 15.0


@dataclass(frozen=True)
class Endpoint:
    """Requests to one Service: an empty name, method or path means the application's own.

    Without a user agent in `headers`, each request gets one of its own where the access log names the backends.
    """

    service: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = ""
    path: str = ""


@dataclass(frozen=True)
class Group:
    """Rounds of requests, each with one request to each endpoint.

    The first `fresh_workers` of the `workers` open a new connection for each request. Each worker first waits up to
    `warm_seconds` until all endpoints answer, and pauses `pause_seconds` after each round.
    """

    endpoints: tuple[Endpoint, ...] = (Endpoint(),)
    rounds: int = MOST_ROUNDS
    workers: int = WORKERS
    fresh_workers: int = 0
    pause_seconds: float = 0.0
    warm_seconds: float = 0.0


def agent() -> str:
    """Return a new user agent, which identifies the requests of one measurement."""
    return f"{AGENT}/{secrets.token_hex(4)}"


def _identity(identify: Identify, user_agent: str) -> dict[str, object]:
    """Return the property that identifies a backend, as the client script takes it."""
    if isinstance(identify, JsonIdentify):
        return {"json": identify.path.split(".")}
    return {"header": identify.name} if isinstance(identify, HeaderIdentify) else {"agent": user_agent}


def limit_seconds(config: LabConfig) -> float:
    """Return the limit of one request, in which a declared delay, or retries, have their time, too."""
    return REQUEST_SECONDS + longest_seconds(config)


def merged(config: LabConfig, more: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of the application's request with more of them, by names in lower case.

    Its cookies are kept beside another one, as browsers send them. Only a whole header `cookie`, which a fault or a
    cohort compares, replaces them.
    """
    own, given = ({name.lower(): value for name, value in some.items()} for some in (config.app.request.headers, more))
    cohorts = [*config.app.cohorts.values(), *filter(None, [config.canary.cohort])]
    whole = [config.fault.header_pair, *((one.header.lower(), one.value) for one in cohorts)]
    if "cookie" in own and "cookie" in given and ("cookie", given["cookie"]) not in whole:
        given["cookie"] = f"{own['cookie']}; {given['cookie']}"
    return {**own, **given}


def _endpoint(config: LabConfig, one: Endpoint) -> dict[str, object]:
    request = config.app.request
    own_agent = "user-agent" in one.headers
    return {
        "host": f"{one.service or config.app.service}.{config.app.namespace}",
        "port": config.app.port,
        "method": one.method or request.method,
        "path": one.path or request.path,
        "headers": {"user-agent": AGENT, **merged(config, one.headers)},
        "identity": _identity(config.app.identify, "" if own_agent else agent()),
    }


def task(config: LabConfig, group: Group) -> dict[str, object]:
    """Return a group with the application's own request where the group names none."""
    return {**vars(group), "endpoints": [_endpoint(config, one) for one in group.endpoints]}
