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
    assert [rule["timeouts"] for rule in rules(cohorts=cohorts, timeout="3s")] == [{"request": "3s"}] * 2
    short = rules(cohorts=cohorts, try_timeout="500ms")
    assert [rule["timeouts"] for rule in short] == [{"backendRequest": "500ms"}] * 2


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


PATH, LONG, PREFIX = {"path": "/a"}, {"path": "/a/b/c"}, {"path_prefix": "/a/"}
HEADER, OTHER = ({"header": "tier", "value": value} for value in ("gold", "red"))
COOKIE, QUERY, METHOD = {"cookies": {"tier": "gold"}}, {"query": {"q": "1"}}, {"method": "GET"}


def in_order(*cohorts: dict[str, Any], **args: Any) -> list[dict[str, Any]]:
    """Return the rules of a route whose cohorts go to different backends."""
    return rules(cohorts=[{**each, "backends": [{"name": f"x{i}"}]} for i, each in enumerate(cohorts)], **args)


@pytest.mark.parametrize(
    "cohorts",
    [
        [HEADER, PATH],
        [HEADER, PREFIX],
        [PREFIX, {"path": "/a/b"}],
        [{"path_prefix": "/a"}, {"path_prefix": "/a/b"}],
        [HEADER, METHOD],
        [QUERY, HEADER],
        [QUERY, COOKIE],
        [HEADER, {**HEADER, **COOKIE}],
        [HEADER, METHOD, PATH],
    ],
)
def test_cohorts_that_istiod_reorders_are_refused(cohorts: list[dict[str, Any]]) -> None:
    with pytest.raises(
        pulumi.RunError, match=r"^CanaryRoute: cohorts\[\d\] is .*change the order, or use ServiceTraffic"
    ):
        in_order(*cohorts)


@pytest.mark.parametrize(
    "cohorts",
    [
        [PATH, HEADER],
        [METHOD, HEADER, QUERY],
        [HEADER, COOKIE],
        [PATH, LONG],
        [PREFIX, {"path_prefix": "/abc"}],
        [HEADER, {**OTHER, **PATH}],
        [COOKIE, {"cookies": {"tier": "red"}, **METHOD}],
        [QUERY, {"query": {"q": "2"}, **HEADER}],
        [METHOD, {"method": "POST", **PATH}],
    ],
)
def test_cohorts_whose_order_is_harmless_are_accepted(cohorts: list[dict[str, Any]]) -> None:
    names = [rule["backendRefs"][0]["name"] for rule in in_order(*cohorts)]
    assert [*(f"x{i}" for i in range(len(cohorts))), "old"] == names


def test_cohorts_of_the_same_backend_are_accepted_in_any_order() -> None:
    cohorts = [{**each, "backends": [{"name": "x"}]} for each in (HEADER, PATH)]
    assert len(rules(cohorts=cohorts)) == 3


def test_session_affinity_that_istiod_puts_before_a_cohort_is_refused() -> None:
    with pytest.raises(pulumi.RunError, match=r"session_affinity is .*after cohorts\[0\].*ServiceTraffic"):
        in_order(QUERY, session_affinity={"backend": "new"})


@pytest.mark.parametrize("cohort", [HEADER, COOKIE, METHOD, PATH, PREFIX])
def test_session_affinity_after_a_cohort_is_accepted(cohort: dict[str, Any]) -> None:
    assert len(in_order(cohort, session_affinity={"backend": "new"})) == 3


def test_session_affinity_after_a_query_cohort_of_its_backend_is_accepted() -> None:
    cohorts = [{**QUERY, "backends": [{"name": "new"}]}]
    assert len(rules(cohorts=cohorts, session_affinity={"backend": "new"})) == 3


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
