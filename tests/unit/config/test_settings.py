import pytest

from waypoint_lab.config.readers import seconds
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ConfigError

WEIGHT = "it must be a number: whole from 0 to 100, or below 1 with at most 4 decimals"


def test_raw_strings_of_a_stack_and_typed_values_read_the_same() -> None:
    raw = {
        "canaryWeight": "50",
        "deployBookinfo": "true",
        "stages": '{"waypoint":true,"canary":"true","premium":false}',
    }
    typed = {"canaryWeight": 50, "deployBookinfo": True, "stages": {"waypoint": True, "canary": True}}
    assert LabConfig.from_mapping(typed) == LabConfig.from_mapping(raw)


def test_an_empty_config_is_the_defaults() -> None:
    assert LabConfig() == LabConfig.from_mapping({})


def test_other_namespaces_of_a_stack_are_left_alone() -> None:
    given = {"kubernetes:context": "x", "waypoint-lab:canaryWeight": "7"}
    assert LabConfig(canary_weight=7) == LabConfig.from_stack(given)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"canaryWight": 5},
            "waypoint-lab:canaryWight is not a setting; did you mean canaryWeight?",
        ),
        (
            {"canaryWeight": 101},
            f"waypoint-lab:canaryWeight is 101: {WEIGHT}",
        ),
        (
            {"canaryWeight": 12.5},
            f"waypoint-lab:canaryWeight is 12.5: {WEIGHT}",
        ),
        (
            {"canaryWeight": "0.00001"},
            f'waypoint-lab:canaryWeight is "0.00001": {WEIGHT}',
        ),
        (
            {"canaryCohort": "tester"},
            'waypoint-lab:canaryCohort is "tester": it must be empty, or a header and its exact value, such as '
            "end-user=jane",
        ),
        (
            {"promoteSteps": "5,1"},
            'waypoint-lab:promoteSteps is "5,1": it must be rising percentages, whole from 0 to 100, or below 1 '
            "with at most 4 decimals, such as 0.1,1,5,20,50,100",
        ),
        (
            {"gate": {"sucessRate": 99}},
            "waypoint-lab:gate has no setting sucessRate; known are successRate, p99Seconds, share, minimumRequests, "
            "seconds, prometheus",
        ),
        (
            {"gate": {"seconds": 10}},
            "waypoint-lab:gate sets no threshold: it must have successRate, p99Seconds or share",
        ),
        (
            {"gate": {"successRate": 101}},
            "waypoint-lab:gate.successRate is 101: it must be a number above 0 and up to 100",
        ),
        (
            {"gate": {"successRate": 99, "minimumRequests": 99}},
            "waypoint-lab:gate.minimumRequests is 99: it must be a number from 100 to 100000",
        ),
        (
            {"gate": "on"},
            "waypoint-lab:gate must be a map, as `pulumi config set --path gate.successRate 99` writes it",
        ),
        (
            {"gate": {"share": "perhaps"}},
            'waypoint-lab:gate.share is "perhaps": it must be true or false',
        ),
        (
            {"gate": {"successRate": 99, "prometheus": {"url": "ftp://x", "requests": "sum(up)"}}},
            'waypoint-lab:gate.prometheus.url is "ftp://x": it must be an http or https address',
        ),
        (
            {"gate": {"successRate": 99, "prometheus": {"url": "http://x"}}},
            "waypoint-lab:gate.prometheus.requests is missing: it must be a query of how many requests the rest rests "
            "on",
        ),
        (
            {"gate": {"successRate": 99, "prometheus": {"url": "http://x", "requests": "sum(up)"}}},
            "waypoint-lab:gate.prometheus.successRate is a query, and must be set where its threshold is, and only "
            "there",
        ),
        (
            {"canaryWeight": True},
            f"waypoint-lab:canaryWeight is true: {WEIGHT}",
        ),
        (
            {"faultPercent": "nan"},
            'waypoint-lab:faultPercent is "nan": it must be a number from 0 to 100',
        ),
        (
            {"faultStatus": "inf"},
            'waypoint-lab:faultStatus is "inf": it must be a whole number from 200 to 599',
        ),
        (
            {"perTryTimeout": "500"},
            'waypoint-lab:perTryTimeout is "500": it must be a duration above zero such as 500ms or 1.5s',
        ),
        (
            {"faultAt": "downstream"},
            'waypoint-lab:faultAt is "downstream": it must be waypoint or upstream',
        ),
        (
            {"deployBookinfo": "yes"},
            'waypoint-lab:deployBookinfo is "yes": it must be true, false or auto',
        ),
        (
            {"namespace": "Not_OK"},
            'waypoint-lab:namespace is "Not_OK": it must be a Kubernetes name: lower-case letters, digits and -',
        ),
        (
            {"premiumUser": "a\nb"},
            'waypoint-lab:premiumUser is "a\\nb": it must be printable text that is not empty',
        ),
        (
            {"waypointName": "Front"},
            'waypoint-lab:waypointName is "Front": it must be a Kubernetes name: lower-case letters, digits and -',
        ),
        (
            {"waypointName": ""},
            'waypoint-lab:waypointName is "": it must be a Kubernetes name: lower-case letters, digits and -',
        ),
        (
            {"waypointRevision": "1.31.0"},
            'waypoint-lab:waypointRevision is "1.31.0": it must be a Kubernetes name: lower-case letters, digits and -',
        ),
        (
            {"waypointCanary": "next_one"},
            'waypoint-lab:waypointCanary is "next_one": it must be a Kubernetes name: lower-case letters, digits and -',
        ),
        (
            {"waypointCanary": "waypoint"},
            'waypoint-lab:waypointCanary is "waypoint": it must be another name than waypointName\'s',
        ),
        (
            {"waypointName": "blue", "waypointCanary": "blue", "waypointCanaryWeight": 5},
            'waypoint-lab:waypointCanary is "blue": it must be another name than waypointName\'s',
        ),
        (
            {"waypointCanaryRevision": "1-31"},
            'waypoint-lab:waypointCanaryRevision is "1-31": it must be empty, as waypointCanary names no second '
            "waypoint",
        ),
        (
            {"waypointCanary": "next", "waypointCanaryRevision": "-1"},
            'waypoint-lab:waypointCanaryRevision is "-1": it must be a Kubernetes name: lower-case letters, digits '
            "and -",
        ),
        *(
            (
                {"waypointCanary": "next", "waypointCanaryWeight": weight},
                f"waypoint-lab:waypointCanaryWeight is {shown}: it must be a whole number from 0 to 100",
            )
            for weight, shown in ((101, "101"), ("-1", '"-1"'), (12.5, "12.5"), (True, "true"), ("", '""'))
        ),
        (
            {"waypointCanaryWeight": 20},
            "waypoint-lab:waypointCanaryWeight is 20: it must be 0, as waypointCanary names no second waypoint",
        ),
        (
            {"waypointCanary": "", "waypointCanaryWeight": "20"},
            "waypoint-lab:waypointCanaryWeight is 20: it must be 0, as waypointCanary names no second waypoint",
        ),
        (
            {"waypointCanry": "next"},
            "waypoint-lab:waypointCanry is not a setting; did you mean waypointCanary?",
        ),
        ({"stages": {"cannary": True}}, "waypoint-lab:stages has no toggle cannary; did you mean canary?"),
        (
            {"stages": {"canary": True}},
            "stages.canary needs stages.waypoint, which is off: turn waypoint on or canary off",
        ),
    ],
)
def test_bad_input_is_one_line_that_names_key_value_and_what_is_right(given: dict[str, object], line: str) -> None:
    with pytest.raises(ConfigError) as error:
        LabConfig.from_mapping(given)
    assert line == str(error.value)


def test_waypoints_and_their_revisions_are_read_from_raw_strings_and_typed_values_alike() -> None:
    raw = {"waypointName": "blue", "waypointRevision": "1-30-2", "waypointCanary": "green"}
    raw |= {"waypointCanaryRevision": "1-31-0", "waypointCanaryWeight": "20"}
    want = LabConfig(
        waypoint_name="blue",
        waypoint_revision="1-30-2",
        waypoint_canary="green",
        waypoint_canary_revision="1-31-0",
        waypoint_canary_weight=20,
    )
    assert want == LabConfig.from_mapping(raw) == LabConfig.from_mapping({**raw, "waypointCanaryWeight": 20})


@pytest.mark.parametrize("nothing", ["", None])
def test_a_waypoint_without_a_canary_or_a_revision_is_said_by_nothing(nothing: object) -> None:
    keys = ("waypointRevision", "waypointCanary", "waypointCanaryRevision")
    assert LabConfig() == LabConfig.from_mapping({**dict.fromkeys(keys, nothing), "waypointCanaryWeight": "0"})


def test_two_waypoints_share_all_connections_and_one_gets_all() -> None:
    assert LabConfig().waypoints == {"waypoint": 1.0}
    for weight, shares in ((0, [1.0, 0.0]), (20, [0.8, 0.2]), (100, [0.0, 1.0])):
        found = LabConfig(waypoint_name="blue", waypoint_canary="green", waypoint_canary_weight=weight).waypoints
        assert list(found.items()) == list(zip(("blue", "green"), shares, strict=True))


def test_stages_that_are_no_map_are_refused() -> None:
    for value in ("canary", "[1]", 3, None):
        with pytest.raises(ConfigError, match="must be a map of toggles"):
            LabConfig.from_mapping({"stages": value})


def test_a_route_and_a_fault_are_refused_with_both_names() -> None:
    for route in ("canary", "premium"):
        for fault in ("delay", "abort", "retries"):
            with pytest.raises(ConfigError, match=rf"stages\.{route} and stages\.{fault} exclude each other"):
                LabConfig.from_mapping({"stages": {"waypoint": True, route: True, fault: True}})


def test_canary_and_premium_combine() -> None:
    on = {"waypoint": True, "canary": True, "premium": True}
    assert frozenset(on) == LabConfig.from_mapping({"stages": on}).stages


@pytest.mark.parametrize(("text", "want"), [("500ms", 0.5), ("1.5s", 1.5), ("1m30s", 90.0)])
def test_durations_read_as_seconds(text: str, want: float) -> None:
    assert pytest.approx(want) == seconds(text)


@pytest.mark.parametrize("text", ["", "0s", "5", "-1s", "1 s", "s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        seconds(text)
