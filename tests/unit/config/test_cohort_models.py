"""Cohorts: their text, and a request of each."""

import pytest

from tests.unit.configs import lab_config
from waypoint_lab.config.cohort_models import CohortSettings


@pytest.mark.parametrize(
    ("settings", "text", "request_of_it"),
    [
        ({"header": "End-User", "value": "a=b:c"}, "end-user=a=b:c", ("GET", "/a", {"end-user": "a=b:c"})),
        ({"cookie": "tier", "value": "gold"}, "cookie:tier=gold", ("GET", "/a", {"cookie": "tier=gold"})),
        ({"query": "tier", "value": "a b"}, "query:tier=a b", ("GET", "/a?tier=a%20b", {})),
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


def test_request_of_a_query_keeps_the_other_parameters() -> None:
    assert CohortSettings(query="tier", value="gold").request("GET", "/a?b=c") == ("GET", "/a?b=c&tier=gold", {})
