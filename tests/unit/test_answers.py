"""Answers of kubectl and of Envoy, of any shape: a reader returns, or its caller has one line for it."""

import asyncio
import atexit
import copy
import json
import re
from collections.abc import Callable
from contextlib import suppress
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from components._internal import enrollment, envoy, owners, waits
from tests.unit import shapes
from tests.unit.configs import lab_config
from tests.unit.measure.waypoint_logs import ADDRESS, REAL
from waypoint_lab import kubectl
from waypoint_lab.chaos import blast_radius
from waypoint_lab.cli import cluster_queries
from waypoint_lab.errors import LabError, NotSyncedError, WaitError
from waypoint_lab.measure import access_log, envoy_config, envoy_routes, snapshot
from waypoint_lab.program import backend_checks
from waypoint_lab.stages import fault_expiry

LEAVES = (None, True, -1, 0.5, 10**400, float("nan"), "", "x", "²", "(", "1e999s", [], {})
LABELS = {"istio.io/use-waypoint": "w", "istio.io/use-waypoint-canary": "v"}
META = {
    "name": "reviews",
    "namespace": "n",
    "uid": "u",
    "generation": 2,
    "labels": LABELS,
    "annotations": {"istio.io/use-waypoint-canary-weight": "20"},
}
CONDITIONS = [{"type": kind, "status": "True", "observedGeneration": 2} for kind in ("Accepted", "ResolvedRefs")]
OBJECT = {
    "kind": "Service",
    "metadata": META,
    "spec": {
        "clusterIP": "10.0.0.1",
        "ports": [{"port": 9080}],
        "replicas": 1,
        "template": {"spec": {"containers": [{"image": "docker.io/istio/pilot:1.31.0"}]}},
        "parentRefs": [{"name": "reviews"}],
        "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "n"},
    },
    "status": {
        "allowed": True,
        "numberReady": 1,
        "desiredNumberScheduled": 1,
        "observedGeneration": 2,
        "conditions": CONDITIONS,
        "parents": [{"parentRef": {"name": "reviews"}, "conditions": CONDITIONS}],
    },
}
LIST = {"items": [OBJECT, {**OBJECT, "endpoints": [{"conditions": {"ready": True}}]}]}
PODS = [{"metadata": {"labels": {"app": "reviews", "version": version}}} for version in ("v1", "v3")]
ROUTE = {
    "match": {"prefix": "/", "headers": [{"name": "end-user", "string_match": {"safe_regex": {"regex": "(a|b)+"}}}]},
    "route": {
        "weighted_clusters": {"clusters": [{"name": "inbound-vip|9080|http|reviews.n", "weight": 1}]},
        "request_mirror_policies": [{"runtime_fraction": {"default_value": {"numerator": 5}}}],
        "retry_policy": {"num_retries": 2, "retry_on": "5xx"},
    },
    "request_headers_to_add": [{"header": {"key": "x", "value": "y"}}],
    "metadata": {"filter_metadata": {"istio": {"config": "/apis/x/v1/namespaces/n/virtual-service/reviews-traffic"}}},
    "typed_per_filter_config": {
        envoy_config.FAULT: {
            "delay": {"fixed_delay": "2s"},
            "abort": {"percentage": {"numerator": 50, "denominator": "HUNDRED"}},
        }
    },
}
PLAIN = {**ROUTE, "match": {"prefix": "/"}}
MANAGER = {
    "route_config": {
        "name": "inbound-vip|9080|http|reviews.bookinfo-backends.svc",
        "virtual_hosts": [{"routes": [ROUTE, PLAIN]}],
    },
    "http_filters": [{"name": envoy_routes.RBAC, "typed_config": {"rules": {"x": 1}}}],
}
LISTENER = {"filter_chains": [{"name": "inbound-vip|9080|http|reviews.n.svc", "filters": [{"typed_config": MANAGER}]}]}
DUMP = {
    "configs": [
        {
            "dynamic_listeners": [
                {
                    "active_state": {"listener": LISTENER},
                    "error_state": {"details": "no", "failed_configuration": LISTENER},
                }
            ],
            "dynamic_active_clusters": [{"cluster": {"name": "inbound-vip|9080|http|reviews.n.svc"}}],
        }
    ],
    "cluster_statuses": [
        {"name": "inbound-vip|x", "host_statuses": [{"stats": [{"name": "rq_active", "value": "3"}]}]}
    ],
}
ROUTES = [
    {**OBJECT, "kind": "HTTPRoute", "spec": {"parentRefs": [{"kind": "Service", "name": "reviews", "port": 9080}]}},
    {**OBJECT, "kind": "VirtualService", "spec": {"hosts": ["reviews.n"], "http": [{"match": [{"port": 9080}]}]}},
]
CONFIG = lab_config("waypoint", "canary")
FAULTY = lab_config("waypoint", "abort", fault={"durationSeconds": 60})
_LOOP = asyncio.new_event_loop()  # one for all cases: a new loop takes longer than a case
atexit.register(_LOOP.close)


def answer_of(random: Random, sample: Any) -> str:
    """Return the text of an answer: mostly JSON, seldom none, cut off or something else."""
    chance = random.choice((0, 0.02, 0.1, 0.3))
    if isinstance(sample, str):  # a log, or the metrics of Envoy
        found = " ".join(word for word in sample.split(" ") if random.random() >= chance)
    else:
        found = json.dumps(shapes.mutated(random, sample, chance, lambda random: copy.copy(random.choice(LEAVES))))
    cut = found[: random.randrange(len(found) + 1)]
    return random.choice((found, found, found, found, cut, "", "no such Pod", random.choice(shapes.HOSTILE)))


def _waited(problem: Callable[[Any], str], text: str) -> None:
    """Judge an answer as the components' waits do, which have one look."""
    done = SimpleNamespace(stdout=text, stderr="", returncode=0)
    session = waits.Session(waits.Access("", ""), "n", 0, run=lambda _command: done)  # type: ignore[arg-type]

    async def check() -> str:
        return problem(await session.get("object"))

    _LOOP.run_until_complete(session.until(check))


def of_component(problem: Callable[[Any], Any]) -> Callable[[str], None]:
    return lambda text: _waited(lambda item: str(problem(item) or ""), text)


def _kubectl(reader: Callable[[], object]) -> Callable[[str], None]:
    def read(text: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            done = SimpleNamespace(stdout=text, stderr="", returncode=0)
            patch.setattr(kubectl.subprocess, "run", lambda *_arguments, **_more: done)
            reader()

    return read


def _wait() -> None:
    with suppress(NotSyncedError):
        envoy_config.wait(CONFIG, 0)


def _settled() -> None:
    with suppress(WaitError):
        snapshot.settled(CONFIG, 0)


READERS: dict[str, tuple[Any, Callable[[str], None]]] = {
    "envoy-config": (DUMP, _kubectl(_wait)),
    "rejection": (DUMP, of_component(envoy.rejection)),
    "services": (DUMP, of_component(envoy.services)),
    "active-requests": (DUMP, of_component(envoy.active_requests)),
    "route": (OBJECT, of_component(waits.route_problem)),
    "rollout": (OBJECT, of_component(waits.rollout_problem)),
    "endpoints": (LIST, of_component(waits.endpoints_problem(["reviews"]))),
    "condition": (OBJECT, of_component(waits.condition_problem("Accepted"))),
    "expected": (LIST, of_component(lambda item: enrollment.expected(item, []))),
    "waypoints": (OBJECT, of_component(lambda item: enrollment.waypoints(item, item))),
    "share": (OBJECT, of_component(lambda item: enrollment.share(item, "w"))),
    "address": (OBJECT, _kubectl(lambda: access_log.addresses(CONFIG))),
    "log": (f"{REAL}\n", lambda text: [*access_log.requests(text, [ADDRESS])].clear()),
    "updates": ("envoy_listener_manager_lds_update_success{} 3\n", lambda text: envoy.updates(text) and None),
    "owners": (
        {"items": ROUTES},
        of_component(lambda found: [[*owners.bound_ports(item, "n")] for item in found["items"]]),
    ),
    "fault-record": (LIST, _kubectl(lambda: fault_expiry.now(FAULTY))),
    "blast-radius": (LIST, _kubectl(lambda: blast_radius.obstacles(FAULTY))),
    "snapshot": (OBJECT, _kubectl(lambda: snapshot.take(CONFIG))),
    "collected": (LIST, _kubectl(_settled)),
    "backends": ({**OBJECT, "items": PODS}, _kubectl(lambda: backend_checks.service_ports(CONFIG))),
    "doctor": (LIST, _kubectl(lambda: cluster_queries.examine(CONFIG))),
}
SEVERAL_ANSWERS = ("blast-radius", "collected")  # one sample does not fit all that they read


@pytest.mark.parametrize("name", READERS)
def test_reader_of_any_answer_returns_or_raises_one_line(name: str) -> None:
    sample, read = READERS[name]

    def refused(text: str) -> str:
        try:
            read(text)
        except (LabError, waits.Failed) as error:
            return str(error)
        return "nothing"

    def check(random: Random) -> None:
        assert len(refused(answer_of(random, sample)).splitlines()) == 1

    if name not in SEVERAL_ANSWERS:
        text = sample if isinstance(sample, str) else json.dumps(sample)
        assert re.match("nothing$|waited 0 s: ", refused(text)), "the sample is read whole"
    shapes.cases(check)
