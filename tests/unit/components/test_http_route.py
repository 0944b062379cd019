from typing import Any

import pulumi
import pytest

from components import CanaryRoute
from tests.unit.components.recording import Recording, run

WEIGHTS = {"baseline": "old", "canary": "new", "weight": 20}


def made(**args: Any) -> Recording:
    given = {"namespace": "shop", "service": "cart", "port": 80, **WEIGHTS, **args}
    return run(lambda: CanaryRoute("r", given))  # type: ignore[arg-type]


def rules(**args: Any) -> list[dict[str, Any]]:
    return list(made(**args).inputs("r-route")["spec"]["rules"])


def test_canary_route_without_extras_has_backends_only() -> None:
    (rule,) = rules()
    assert list(rule) == ["backendRefs"]


def test_canary_route_with_timeouts_has_them_on_every_rule() -> None:
    cohorts = [{"header": "end-user", "value": "jane", "backends": [{"name": "x"}]}]
    for rule in rules(cohorts=cohorts, timeout="3s", try_timeout="500ms"):
        assert rule["timeouts"] == {"request": "3s", "backendRequest": "500ms"}


def test_canary_route_with_mirrors_and_header_changes_has_filters() -> None:
    changes = {"set": {"x-lab": "yes"}, "remove": ["x-old"]}
    (rule,) = rules(mirrors=[{"name": "new", "percent": 0.5}], request_headers=changes)
    headers, mirror = rule["filters"]
    assert headers == {
        "type": "RequestHeaderModifier",
        "requestHeaderModifier": {"set": [{"name": "x-lab", "value": "yes"}], "remove": ["x-old"]},
    }
    assert mirror["requestMirror"] == {
        "backendRef": {"group": "", "kind": "Service", "name": "new", "port": 80},
        "fraction": {"numerator": 5000, "denominator": 1_000_000},
    }


def test_session_affinity_routes_by_a_cookie_of_the_canary() -> None:
    first, last = rules(session_affinity={"backend": "new", "cookie": "backend", "max_age_seconds": 60})
    (match,) = first["matches"][0]["headers"]
    assert (match["name"], match["value"]) == ("cookie", r"(.*;\s*)?backend=new\.4d2f(;.*)?")
    assert [ref["name"] for ref in first["backendRefs"]] == ["new"]
    old, new = last["backendRefs"]
    assert "filters" not in old
    (added,) = new["filters"][0]["responseHeaderModifier"]["add"]
    assert added == {"name": "set-cookie", "value": "backend=new.4d2f; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"}


def test_session_affinity_to_a_canary_without_weight_has_no_rule() -> None:
    (rule,) = rules(weight=0, session_affinity={"backend": "new"})
    assert [ref["name"] for ref in rule["backendRefs"]] == ["old"]


@pytest.mark.parametrize(
    ("args", "names"),
    [
        ({}, set()),
        ({"session_affinity": {"backend": "new"}, "weight": 0}, set()),
        ({"session_affinity": {"backend": "new"}, "weight": 5}, {"r-rollout"}),
        ({"session_affinity": {"backend": "new"}, "weight": 100}, {"r-rollout"}),
    ],
)
def test_rollout_has_an_identity_while_the_canary_has_a_weight(args: dict[str, Any], names: set[str]) -> None:
    record = made(**args)
    assert {name for name, kind in record.kinds().items() if kind == "Stash"} == names
    for name in names:
        assert list(record.requests[name].ignoreChanges) == ["input"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"timeout": "3"}, 'timeout is "3": it must be a duration'),
        ({"mirrors": [{"name": "new", "percent": -1}]}, "mirrors.0..percent is -1"),
        ({"response_headers": {"put": {}}}, "put is unknown: it must be"),
    ],
)
def test_canary_route_with_bad_extras_is_refused(args: dict[str, Any], said: str) -> None:
    with pytest.raises(pulumi.RunError, match=said):
        rules(**args)
