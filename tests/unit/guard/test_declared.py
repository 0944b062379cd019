"""A stack's config declares the canary's share, and which Services get no requests."""

import pytest

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.guard import declared

COHORT = {"header": "end-user", "value": "x"}
AFFINITY = {"maxAgeSeconds": 60}


def config(*stages: str, **canary: object) -> LabConfig:
    """Return a config with these stages on."""
    on = dict.fromkeys(("waypoint", *stages), True)
    return LabConfig.from_mapping({"stages": on, "canary": canary})


def test_canary_declares_its_weight_among_two() -> None:
    (item,) = declared.expectations(config("canary", weight=35)).items()
    assert (item[0], item[1].share) == ("reviews-stable", 0.35)
    assert {"reviews-stable", "reviews-baseline"} == item[1].among


@pytest.mark.parametrize(
    "given",
    [
        config(),
        config("canary", cohort=COHORT),
        config("canary", sessionAffinity=AFFINITY),
        config("canary", mirrorPercent=50),
    ],
    ids=["no canary", "cohort", "affinity", "mirror"],
)
def test_share_that_the_weight_does_not_decide_is_not_declared(given: LabConfig) -> None:
    assert declared.expectations(given) == {}


ALL = {"reviews", "reviews-baseline", "reviews-stable", "reviews-premium"}


@pytest.mark.parametrize(
    ("given", "routed"),
    [
        (config(), {"reviews"}),
        (config("canary", weight=20), {"reviews-baseline", "reviews-stable"}),
        (config("canary", weight=100), {"reviews-stable"}),
        (config("canary", weight=0), {"reviews-baseline"}),
        (config("canary", weight=0, cohort=COHORT), {"reviews-baseline", "reviews-stable"}),
        (config("canary", weight=0, mirrorPercent=5), {"reviews-baseline", "reviews-stable"}),
        (config("premium"), {"reviews-baseline", "reviews-premium"}),
    ],
    ids=["none", "canary", "all", "nothing", "cohort", "mirror", "premium"],
)
def test_services_that_no_route_names_may_be_silent(given: LabConfig, routed: set[str]) -> None:
    assert ALL - routed == declared.without_requests(given)


def test_services_with_a_fault_at_the_upstream_may_be_silent() -> None:
    stages = {"waypoint": True, "abort": True}
    given = LabConfig.from_mapping({"stages": stages, "fault": {"at": "upstream"}})
    assert declared.without_requests(given) == ALL


def test_failing_service_gets_requests_while_a_fault_is_at_the_upstream() -> None:
    stages = {"waypoint": True, "abort": True}
    assert declared.services(LabConfig.from_mapping({"stages": stages})) == ALL
    given = LabConfig.from_mapping({"stages": stages, "fault": {"at": "upstream"}, "trafficApi": "virtual-service"})
    assert {*ALL, "reviews-traffic-upstream"} == declared.services(given)
    assert declared.without_requests(given) == ALL


def test_change_of_the_backends_moves_all_shares_of_the_application() -> None:
    names = [("reviews-baseline", "reviews-stable"), ("reviews-stable", "reviews-baseline")]
    before, after = (
        LabConfig.from_mapping(
            {
                "stages": {"waypoint": True, "canary": True},
                "canary": {"mirrorPercent": 10},
                "app": {"backends": {"baseline": {"service": one}, "canary": {"service": other}}},
            }
        )
        for one, other in names
    )
    assert declared.moved(before, after) == declared.falling(before, after) == {"reviews", *names[0]}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (config("canary", weight=20), config("canary", weight=20), frozenset()),
        (config(), config("canary", weight=20), ALL),
        (config("canary", weight=20), config(), ALL),
        (config("canary", weight=20), config("canary", weight=30), ALL),
        (None, config(), ALL),
        (config("canary", weight=20, cohort=COHORT), config("canary", weight=20, cohort=COHORT), frozenset()),
        (config("canary", weight=20, cohort=COHORT), config("canary", weight=50, cohort=COHORT), ALL),
        (config("canary", cohort=COHORT), config("canary", cohort={**COHORT, "value": "y"}), ALL),
        (config("canary", sessionAffinity=AFFINITY), config("canary", weight=50, sessionAffinity=AFFINITY), ALL),
        (config("canary", mirrorPercent=5), config("canary", mirrorPercent=50), ALL),
        (config(weight=20), config(weight=50), frozenset()),
    ],
    ids=[
        "same",
        "on",
        "off",
        "weight",
        "new",
        "same cohort",
        "in a cohort",
        "cohort",
        "affinity",
        "mirror",
        "no stage",
    ],
)
def test_change_of_the_config_moves_all_shares_of_the_application(
    before: LabConfig | None, after: LabConfig, expected: frozenset[str]
) -> None:
    assert declared.moved(before, after) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"weight": 20}, {"weight": 30}, {"reviews-baseline"}),
        ({"weight": 30}, {"weight": 20}, {"reviews-stable"}),
        ({"weight": 20}, {"weight": 20}, set[str]()),
        ({"weight": 20}, {"weight": 30, "cohort": COHORT}, ALL),
    ],
    ids=["raised", "lowered", "same", "cohort"],
)
def test_change_of_the_weight_alone_takes_requests_from_one_backend(
    before: dict[str, object], after: dict[str, object], expected: set[str]
) -> None:
    old, new = (config("canary", sessionAffinity=AFFINITY, **one) for one in (before, after))
    assert expected == declared.falling(old, new)
    assert declared.falling(None, new) == ALL


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {"sessionAffinity": AFFINITY}, {"reviews-baseline", "reviews-stable"}),
        ({"mirrorPercent": 5}, {"mirrorPercent": 6}, {"reviews-baseline", "reviews-stable"}),
        ({}, {"weight": 30, "sessionAffinity": AFFINITY}, {"reviews-baseline", "reviews-stable"}),
        ({}, {"cohort": COHORT}, ALL),
    ],
    ids=["affinity", "mirror", "weight", "cohort"],
)
def test_change_of_the_canary_takes_no_requests_from_other_backends(
    before: dict[str, object], after: dict[str, object], expected: set[str]
) -> None:
    old, new = (config("canary", "premium", **{"weight": 20, **one}) for one in (before, after))
    assert expected == declared.falling(old, new)
