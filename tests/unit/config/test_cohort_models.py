"""Cohorts: their text, and a request of each."""

import msgspec
import pytest

from tests.unit.configs import lab_config
from waypoint_lab.config.cohort_models import CohortSettings
from waypoint_lab.errors import ConfigError
from waypoint_lab.masking import SECRET


@pytest.mark.parametrize(
    ("settings", "text", "request_of_it"),
    [
        ({"header": "End-User", "value": "a=b:c"}, "end-user=a=b:c", ("GET", "/a", {"end-user": "a=b:c"})),
        ({"cookie": "tier", "value": "gold"}, "cookie:tier=gold", ("GET", "/a", {"cookie": "tier=gold"})),
        ({"query": "tier", "value": "a%20b"}, "query:tier=a%20b", ("GET", "/a?tier=a%20b", {})),
        ({"method": "POST"}, "method:POST", ("POST", "/a", {})),
        ({"path": "/b=c:d"}, "path:/b=c:d", ("GET", "/b=c:d", {})),
        ({"pathPrefix": "/b"}, "pathPrefix:/b", ("GET", "/b", {})),
    ],
)
def test_cohort_has_a_text_and_a_request(
    settings: dict[str, str], text: str, request_of_it: tuple[str, str, dict[str, str]]
) -> None:
    cohort = lab_config("waypoint", "canary", canary={"cohort": settings}).canary.cohort
    assert cohort is not None
    assert (text, request_of_it) == (str(cohort), cohort.request("GET", "/a"))
    assert text == str(CohortSettings.parse(text))
    assert {name.lower(): value.lower() for name, value in settings.items()} == {
        name.lower(): value.lower() for name, value in CohortSettings.parse(text).settings.items()
    }


@pytest.mark.parametrize("value", ["blue shoes", "a&b", "a#b", "café", "50%", "x" * 1025])
def test_cohort_of_a_query_that_clients_encode_is_refused_without_its_value(value: str) -> None:
    problem = CohortSettings(query="q", value=value).problem
    assert problem.startswith("value is not as clients send it in a query; percent-encode it")
    assert value not in problem


@pytest.mark.parametrize("value", ["red%20shoes", "red+shoes", SECRET])
def test_cohort_of_a_query_as_clients_send_it_is_accepted(value: str) -> None:
    assert CohortSettings(query="q", value=value).problem == ""


@pytest.mark.parametrize("path", ["/cart/*", "/products/{id}", "/café", "/a%2", "/" + "x" * 1024])
def test_cohort_of_a_path_that_never_matches_is_refused(path: str) -> None:
    for name in ("path", "pathPrefix"):
        with pytest.raises(ConfigError, match=f"canary.cohort.{name}.*percent-encoded"):
            lab_config("waypoint", "canary", canary={"cohort": {name: path}})


def test_request_of_a_query_keeps_the_other_parameters() -> None:
    assert CohortSettings(query="tier", value="gold").request("GET", "/a?b=c") == ("GET", "/a?b=c&tier=gold", {})


@pytest.mark.parametrize(
    ("settings", "method", "path", "headers", "expected"),
    [
        ({"pathPrefix": "/"}, "GET", "/reviews/0", {}, True),
        ({"pathPrefix": "/reviews"}, "GET", "/reviews/0?x=1", {}, True),
        ({"pathPrefix": "/reviews/"}, "GET", "/reviews", {}, True),
        ({"pathPrefix": "/reviews"}, "GET", "/reviewers", {}, False),
        ({"path": "/reviews/0"}, "GET", "/reviews/0?x=1", {}, True),
        ({"path": "/reviews"}, "GET", "/reviews/0", {}, False),
        ({"method": "PUT"}, "PUT", "/", {}, True),
        ({"method": "PUT"}, "GET", "/", {}, False),
        ({"query": "beta", "value": "1"}, "GET", "/?a=b&beta=1", {}, True),
        ({"query": "beta", "value": "1"}, "GET", "/?beta=0&beta=1", {}, False),
        ({"query": "beta", "value": "1"}, "GET", "/beta=1", {}, False),
        ({"cookie": "beta", "value": "1"}, "GET", "/", {"Cookie": "a=b; beta=1"}, True),
        ({"cookie": "beta", "value": "1"}, "GET", "/", {"cookie": "beta=10;a=b"}, False),
        ({"cookie": "beta", "value": "1"}, "GET", "/", {"cookie": SECRET}, False),
        ({"header": "End-User", "value": "jane"}, "GET", "/", {"end-USER": "jane"}, True),
        ({"header": "end-user", "value": "jane"}, "GET", "/", {"end-user": "Jane"}, False),
        ({"header": "end-user", "value": SECRET}, "GET", "/", {"end-user": SECRET}, False),
    ],
)
def test_cohort_matches_its_requests(
    settings: dict[str, str], method: str, path: str, headers: dict[str, str], expected: bool
) -> None:
    cohort = msgspec.convert(settings, CohortSettings)
    assert cohort.matches(method, path, headers) is expected


@pytest.mark.parametrize("text", ["pathPrefix:/", "path:/a", "query:q=1", "cookie:c=1", "header:h=1", "method:GET"])
def test_cohort_matches_its_own_request(text: str) -> None:
    cohort = CohortSettings.parse(text.removeprefix("header:"))
    method, path, headers = cohort.request("GET", "/b?a=b")
    assert cohort.matches(method, path, headers)
