"""Cohorts: their text, and a request of each."""

import pytest

from tests.unit.configs import lab_config
from waypoint_lab.config import types
from waypoint_lab.config.cohort_models import CohortSettings
from waypoint_lab.errors import ConfigError


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


@pytest.mark.parametrize("value", ["red%20shoes", "red+shoes", types.SECRET])
def test_cohort_of_a_query_as_clients_send_it_is_accepted(value: str) -> None:
    assert CohortSettings(query="q", value=value).problem == ""


@pytest.mark.parametrize("path", ["/cart/*", "/products/{id}", "/café", "/a%2", "/" + "x" * 1024])
def test_cohort_of_a_path_that_never_matches_is_refused(path: str) -> None:
    for name in ("path", "pathPrefix"):
        with pytest.raises(ConfigError, match=f"canary.cohort.{name}.*percent-encoded"):
            lab_config("waypoint", "canary", canary={"cohort": {name: path}})


def test_request_of_a_query_keeps_the_other_parameters() -> None:
    assert CohortSettings(query="tier", value="gold").request("GET", "/a?b=c") == ("GET", "/a?b=c&tier=gold", {})
