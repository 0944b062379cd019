"""Expectations of the traffic under a configuration: the rows that are measured and judged."""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from waypoint_lab.config.cohort_models import CohortSettings
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.config.types import Ranges, within
from waypoint_lab.stages.fault_outcomes import (
    SLACK_SECONDS,
    canary_share,
    failing,
    never_in_time,
    out_of_time,
    retried,
)

CONFIDENCE = 0.9999  # a run judges about ten such shares: at 99 % one run in ten would fail by chance
MOST_REQUESTS = 20_000  # for one share; a share that needs more is inconclusive
SHARE_REQUESTS = 3000  # tells 20 % from 25 % at 99.99 % confidence in more than 99 of 100 runs
ALL_REQUESTS = 500  # for a share of 0 or 1
DELAY_REQUESTS = 60  # each takes seconds
DELAYED_SHARE_REQUESTS = 400  # with a delay on each answer a large sample would take minutes
COOKIE = "waypoint-lab-backend"  # of session affinity
WITH_COOKIE = ("cookie", COOKIE)  # stands for the rollout's own cookie, whose value only the waypoint knows


class Measure(StrEnum):
    """Measured property of an answer."""

    STATUS = "status"  # the HTTP status; `value` is the number as text
    IDENTITY = "identity"  # the value that identifies the backend
    PROXIED = "proxied"  # "yes" if the request went through a waypoint, else "no"
    WAYPOINT = "waypoint"  # the waypoint that took the request; each request opens a connection
    ANSWERED = "answered"  # the HTTP status from waypoint `through`; each request opens a connection
    SECONDS = "seconds"  # the latency: between `low` and `high`
    LATE = "late"  # "yes" if the answer took `low` seconds or more, else "no"


@dataclass(frozen=True)
class Expect:
    """One expectation.

    Of `requests` requests of this kind, the share `share` (0 to 1) must have `value`, or with `most`, a share from
    `share` to `most`; for SECONDS the median must lie between `low` and `high`.
    """

    what: str
    measure: Measure
    value: str = ""
    share: float = 1.0
    method: str = ""  # empty means the application's own
    header: tuple[str, str] | None = None
    requests: int = ALL_REQUESTS
    low: float = 0.0
    high: float = 0.0
    through: str = ""  # the waypoint whose answers are measured, for ANSWERED
    path: str = ""  # empty means the application's own
    success: Ranges = ()  # the statuses that are met in place of `value`
    most: float = 0.0  # above `share` where no single share is known

    def met_by(self, value: str) -> bool:
        """Return True for an observed value that the expectation is about."""
        if not self.success:
            return value == self.value
        return value.isdigit() and within(int(value), self.success)


def _success(config: LabConfig) -> Ranges:
    return config.app.request.success_ranges


def waypoint(config: LabConfig) -> tuple[Expect, ...]:
    """Return the expectations of stage `waypoint`: each request goes through it, and is answered."""
    # An injected abort is answered without an upstream, and a policy may refuse: both are judged by their own rows.
    if config.stages.delay or config.stages.abort or config.stages.retries:
        return ()
    either = "either waypoint" if config.waypoint.canary else "the waypoint"
    return (
        Expect("answered", Measure.STATUS, success=_success(config)),
        Expect(f"through {either}", Measure.PROXIED, "yes"),
        *(migration(config) if config.waypoint.canary else ()),
    )


def migration(config: LabConfig) -> tuple[Expect, ...]:
    """Return the expectations of a migration: the share of new connections of the waypoint canary."""
    name = config.waypoint.canary.name if config.waypoint.canary else config.waypoint.name
    share = config.waypoints[name]
    requests = _sample(config, share)
    # The waypoint logs injected answers, too, so faults do not change the share.
    found = [Expect(f"through {name}", Measure.WAYPOINT, name, share, requests=requests)]
    if share and not (config.faulty or config.stages.retries):
        least = max(1, int(requests * share / 2))  # half of the expected number
        found.append(
            Expect(f"answered by {name}", Measure.ANSWERED, requests=least, through=name, success=_success(config))
        )
    return tuple(found)


def l7_policy(config: LabConfig) -> tuple[Expect, ...]:
    """Return the expectations of stage `l7Policy`: only the method of the application's request is allowed."""
    own, other = config.app.request.method, refused_method(config)
    denied = Expect(f"{other} refused", Measure.STATUS, "403", method=other, requests=200)
    if config.stages.abort or config.stages.delay:
        return (denied,)
    return (Expect(f"{own} allowed", Measure.STATUS, success=_success(config), requests=200), denied)


def refused_method(config: LabConfig) -> str:
    """Return a method that the application's request does not have, and that stage `l7Policy` refuses."""
    return "DELETE" if config.app.request.method != "DELETE" else "GET"


def least_requests(share: float) -> int:
    """Return the least number of requests that tells a share (between 0 and 1) from none and from all.

    Without a single hit, the interval of so many requests ends below the share.
    """
    return math.ceil(math.log((1 - CONFIDENCE) / 2) / math.log1p(-min(share, 1 - share)))


def _sample(config: LabConfig, share: float) -> int:
    split = 0 < share < 1
    if config.stages.delay:
        return DELAYED_SHARE_REQUESTS if split else DELAY_REQUESTS
    return ALL_REQUESTS if not split else min(max(SHARE_REQUESTS, least_requests(share)), MOST_REQUESTS)


def _share(share: float) -> float:
    """Return a computed share without the noise of floating point: 0 to 1."""
    return min(1.0, max(0.0, round(share, 9)))


def _shares(config: LabConfig, what: str) -> tuple[Expect, ...]:
    if never_in_time(config):
        return ()
    weight, (least, most) = canary_share(config), failing(config)
    # The waypoint's own abort hits both backends, a failing workload only the baseline.
    canary = _share(weight * (1 - least) if config.fault.at == "waypoint" else weight)
    shares = {"canary": (canary, canary), "baseline": (_share(1 - most - canary), _share(1 - least - canary))}
    found = []
    for role, (low, high) in shares.items():
        value, requests = config.app.identify.value(role), _sample(config, low)
        found.append(_ranged(Expect(f"{what} to the {role}", Measure.IDENTITY, value, low, requests=requests), high))
    return tuple(found)


def _ranged(expect: Expect, most: float) -> Expect:
    """Return the expectation of a share up to `most`, which its text names where it is more than the least share."""
    return replace(expect, what=f"{expect.what}, up to {100 * most:g} %", most=most) if most > expect.share else expect


def _no_failures(config: LabConfig) -> tuple[Expect, ...]:
    if config.stages.abort or never_in_time(config):
        return ()
    return (Expect("no failures", Measure.STATUS, success=_success(config), requests=_sample(config, 1)),)


def canary(config: LabConfig) -> tuple[Expect, ...]:
    """Return the expectations of stage `canary`: the split equals the weight, and no request fails."""
    return (*_shares(config, "everyone"), *_session_affinity(config), *_no_failures(config))


def _session_affinity(config: LabConfig) -> tuple[Expect, ...]:
    if not config.canary.session_affinity or not config.canary.weight or config.faulty:
        return ()
    return (
        Expect(
            "with the cookie to the canary",
            Measure.IDENTITY,
            config.app.identify.value("canary"),
            header=WITH_COOKIE,
        ),
    )


def premium(config: LabConfig) -> tuple[Expect, ...]:
    """Return the expectations of stage `premium`: each cohort gets its backend, and others keep the split."""
    cohorts = (_cohort(config, cohort, backend) for backend, cohort in config.backend_cohorts.items())
    return (*cohorts, *_shares(config, "others"), *_no_failures(config))


def _cohort(config: LabConfig, cohort: CohortSettings, backend: str) -> Expect:
    method, path, headers = cohort.request(config.app.request.method, config.app.request.path)
    header, what = next(iter(headers.items()), None), f"{cohort.value or cohort} to {backend}"
    share = 1.0 if config.fault.at == "upstream" else _share(1 - failing(config, header)[0])
    requests, identity = _sample(config, share), config.app.identify.value(backend)
    return Expect(what, Measure.IDENTITY, identity, share, method, header, requests, path=path)


def delay(config: LabConfig) -> tuple[Expect, ...]:
    """Return the expectations of stage `delay`: latency and success of requests with and without the delay."""
    stages, upstream = config.stages, config.fault.at == "upstream"
    if never_in_time(config):
        return failures(config)
    if stages.abort and retried(config) and upstream:
        return ()
    low, header = config.fault.delay.seconds, config.fault.header_pair
    others = Expect("others 0 s later", Measure.SECONDS, high=min(SLACK_SECONDS, low), requests=DELAY_REQUESTS)
    late = replace(others, what=f"{low:g} s later", low=low, high=low + SLACK_SECONDS, header=header)
    if upstream and canary_share(config):  # only the baseline is delayed: the median depends on the weight
        share = _share(1 - canary_share(config))
        late = Expect(f"delayed by {low:g} s", Measure.LATE, "yes", share, header=header, low=0.9 * low)
        most = share if low > SLACK_SECONDS else 1.0  # others may take as long as a short delay
        enough = least_requests(share) if 0 < share < 1 else 0  # the rows of the backends judge the weight
        late = _ranged(replace(late, requests=min(max(DELAY_REQUESTS, enough), DELAYED_SHARE_REQUESTS)), most)
    pairs = [(late, others)]  # of the delayed requests, and of others
    if not stages.abort:
        success = Expect("others answered", Measure.STATUS, success=_success(config), requests=DELAY_REQUESTS)
        pairs.append((replace(success, what=f"answered after {low:g} s", header=header), success))
    return tuple(one for pair in pairs for one in (pair if header else pair[:1]))


def failures(config: LabConfig) -> tuple[Expect, ...]:
    """Return the expectations of the stages `abort` and `retries`: the share of failures that is left.

    They are those of stage `delay`, too, where each request times out.
    """
    header = config.fault.header_pair
    others = (Expect("no failures of others", Measure.STATUS, success=_success(config)),) if header else ()
    if never_in_time(config):
        late = 1 - canary_share(config)
        requests = _sample(config, late)
        return (Expect("each try out of time", Measure.STATUS, "504", late, header=header, requests=requests), *others)
    if not config.stages.abort:
        return (Expect("answered", Measure.STATUS, success=_success(config), requests=_sample(config, 1)),)
    (least, most), status = failing(config, header), config.fault.abort.status
    found = Expect("failures", Measure.STATUS, str(status), least, header=header, requests=_sample(config, least))
    if most > least and out_of_time(config):  # the limit of the request answers 504
        found = replace(found, success=((status, status), (504, 504)))
    return (_ranged(found, most), *others)


def cleanup(config: LabConfig) -> tuple[Expect, ...]:
    """Return the expectations of a stack with no stage on: no waypoint carries the traffic."""
    return (
        Expect("answered", Measure.STATUS, success=_success(config)),
        Expect("not through a waypoint", Measure.PROXIED, "no"),
    )
