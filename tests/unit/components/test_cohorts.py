"""Requests of a cohort, in the words of both APIs."""

import re
from typing import Any

import pulumi
import pytest

from components._internal import cohorts
from components._internal.cohorts import CohortRule
from components.types import Cohort
from tests.unit.components.test_service_traffic import BACKENDS, rules, shares, traffic


def parse(**fields: Any) -> CohortRule:
    cohort: Cohort = {"backends": [], **fields}  # type: ignore[typeddict-item]
    return cohorts.parse("C", "cohorts[0]", cohort)


COOKIE = r"(.*;\s*)?tier=gold(;.*)?"


@pytest.mark.parametrize(
    ("fields", "http_route", "virtual_service"),
    [
        (
            {"header": "Tier", "value": "go.d", "match": "RegularExpression"},
            {"headers": [{"type": "RegularExpression", "name": "tier", "value": "go.d"}]},
            {"headers": {"tier": {"regex": "go.d"}}},
        ),
        (
            {"cookies": {"tier": "gold"}},
            {"headers": [{"type": "RegularExpression", "name": "cookie", "value": COOKIE}]},
            {"headers": {"cookie": {"regex": COOKIE}}},
        ),
        (
            {"query": {"tier": "gold"}},
            {"queryParams": [{"type": "Exact", "name": "tier", "value": "gold"}]},
            {"queryParams": {"tier": {"exact": "gold"}}},
        ),
        ({"method": "POST"}, {"method": "POST"}, {"method": {"exact": "POST"}}),
        ({"path": "/cart"}, {"path": {"type": "Exact", "value": "/cart"}}, {"uri": {"exact": "/cart"}}),
        (
            {"path_prefix": "/a.b/"},
            {"path": {"type": "PathPrefix", "value": "/a.b/"}},
            {"uri": {"regex": r"/a\.b(/.*)?"}},
        ),
        (
            {"method": "GET", "path": "/cart", "query": {"a": "b"}},
            {
                "method": "GET",
                "path": {"type": "Exact", "value": "/cart"},
                "queryParams": [{"type": "Exact", "name": "a", "value": "b"}],
            },
            {"method": {"exact": "GET"}, "uri": {"exact": "/cart"}, "queryParams": {"a": {"exact": "b"}}},
        ),
    ],
)
def test_cohort_is_the_same_requests_in_both_apis(
    fields: dict[str, Any], http_route: dict[str, Any], virtual_service: dict[str, Any]
) -> None:
    if "match" in fields:
        fields = {**fields, "match": cohorts.HeaderMatch(fields["match"])}
    rule = parse(**fields)
    assert (http_route, virtual_service) == (cohorts.http_route(rule), cohorts.virtual_service(rule))


@pytest.mark.parametrize(
    ("cookie", "hit"),
    [
        ("tier=gold", True),
        ("a=b; tier=gold", True),
        ("tier=gold; a=b", True),
        ("a=b;tier=gold;c=d", True),
        ("a=b; tier=gold; c=d", True),
        ("a=tier=gold; c=d", False),
        ("tier=golden", False),
        ("x-tier=gold", False),
    ],
)
def test_cookie_pattern_matches_the_whole_cookie(cookie: str, hit: bool) -> None:
    assert hit is bool(re.fullmatch(COOKIE, cookie))


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "cohorts[0] is {"),
        ({"header": "tier"}, "cohorts[0].value is null: it must be given: header and value go together"),
        ({"value": "gold", "path": "/"}, "cohorts[0].header is null: it must be given: header and value go together"),
        ({"path": "/a", "path_prefix": "/b"}, "cohorts[0].path_prefix is "),
        ({"path": "cart"}, "cohorts[0].path is "),
        ({"path": "/a?b"}, "cohorts[0].path is "),
        ({"path_prefix": "/a/../b"}, "cohorts[0].path_prefix is "),
        ({"method": "get"}, "cohorts[0].method is "),
        ({"cookies": {"a": "b", "c": "d"}}, "cohorts[0].cookies is "),
        ({"cookies": {"a": "b"}, "header": "Cookie", "value": "x"}, "cohorts[0].cookies is "),
        ({"cookies": {"a b": "c"}}, "a name in cohorts[0].cookies is "),
        ({"query": {"a": ""}}, "cohorts[0].query.a has 0 characters"),
        ({"query": {"q": "red shoes"}}, "cohorts[0].query.q is "),
        ({"query": {"q": "x" * 1025}}, "cohorts[0].query.q is "),
        ({"query": {"a&b": "c"}}, "a name in cohorts[0].query is "),
        ({"path": "/cart/*"}, "cohorts[0].path is "),
        ({"path_prefix": "/api/*"}, "cohorts[0].path_prefix is "),
        ({"path": "/products/{id}"}, "cohorts[0].path is "),
        ({"path": "/café"}, "cohorts[0].path is "),
        ({"path": "/a%2"}, "cohorts[0].path is "),
        ({"path": "/" + "x" * 1024}, "cohorts[0].path is "),
    ],
)
def test_parse_of_wrong_criteria_is_one_line(fields: dict[str, Any], line: str) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        parse(**fields)
    assert str(caught.value).startswith(f"C: {line}")


@pytest.mark.parametrize(
    ("path", "hint"), [("/café", "percent-encoded where it has other"), ("/cart/*", "path_prefix matches all paths")]
)
def test_parse_of_a_wrong_path_has_a_hint(path: str, hint: str) -> None:
    with pytest.raises(pulumi.RunError, match=hint):
        parse(path=path)


@pytest.mark.parametrize(
    "fields",
    [
        {"header": "tier", "value": "hunter2\n"},
        {"value": "hunter2"},
        {"cookies": {"a": "hunter2", "b": "c"}},
        {"query": {"a": "hunter2 and more"}},
    ],
)
def test_parse_of_a_wrong_value_does_not_show_it(fields: dict[str, Any]) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        parse(**fields)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "fields", [{"path": "/caf%C3%A9"}, {"query": {"q": "red%20shoes"}}, {"query": {"q": "red+shoes"}}]
)
def test_parse_of_encoded_text_keeps_it(fields: dict[str, Any]) -> None:
    rule = parse(**fields)
    assert fields == {name: value for name, value in (("path", rule.path), ("query", rule.query)) if value}


@pytest.mark.parametrize(("method", "retried"), [("GET", ["5xx"]), ("POST", ["connect-failure,refused-stream"])])
def test_cohort_of_one_method_is_retried_if_that_is_safe(method: str, retried: list[str]) -> None:
    cohort = {"method": method, "backends": [{"name": "x"}]}
    found = rules(traffic(**BACKENDS, retries={"attempts": 2}, cohorts=[cohort]))
    assert retried == [rule["retries"]["retryOn"] for rule in found if shares(rule) == {"x": None}]
