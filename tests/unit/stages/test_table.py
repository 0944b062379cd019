import pytest

from tests.unit.configs import lab_config, of_step
from waypoint_lab.config.combinations import EXCLUDES, TOGGLES
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.stages.table import BY_NAME, STAGES, Measure, Step, expectations


def config(*on: str, **objects: object) -> LabConfig:
    return lab_config("waypoint", *on, **objects)


def test_stages_with_steps_have_the_order_of_the_lab() -> None:
    names = [row.name for row in STAGES if row.steps]
    order = [
        "waypoint",
        "l7-policy",
        "canary",
        "promoted",
        "premium",
        "delay",
        "abort",
        "retries",
        "migration",
        "cleanup",
    ]
    assert order == names


def test_toggles_are_the_settings_of_stages() -> None:
    assert TOGGLES == ("waypoint", "accessLog", "l7Policy", "canary", "premium", "delay", "abort", "retries")


def test_excludes_is_symmetric() -> None:
    for toggle, others in EXCLUDES.items():
        assert all(toggle in EXCLUDES[other] for other in others)


@pytest.mark.parametrize("step", [step for row in STAGES for step in row.steps])
def test_step_of_each_stage_has_expectations(step: Step) -> None:
    read = of_step(step.on, step.settings)
    assert {type(one.measure) for one in expectations(read)} == {Measure}


@pytest.mark.parametrize(("affinity", "weight", "rows"), [(True, 20, 1), (True, 0, 0), (False, 20, 0)])
def test_expectations_session_affinity_has_a_row_while_the_canary_gets_requests(
    affinity: bool, weight: int, rows: int
) -> None:
    more = {"sessionAffinity": {"maxAgeSeconds": 60}} if affinity else {}
    found = expectations(config("canary", canary={"weight": weight, **more}))
    assert sum(one.what == "with the cookie to the canary" for one in found) == rows


def test_migration_raises_the_canary_to_the_only_waypoint() -> None:
    steps = BY_NAME["migration"].steps
    configs = [of_step(step.on, step.settings) for step in steps]
    shares = [{name: round(share, 6) for name, share in found.waypoints.items()} for found in configs]
    assert shares == [
        {"waypoint": 1.0},
        {"waypoint": 1.0, "waypoint-next": 0.0},
        {"waypoint": 0.8, "waypoint-next": 0.2},
        {"waypoint": 0.0, "waypoint-next": 1.0},
        {"waypoint-next": 1.0},
    ]
    assert {found.stages.on for found in configs} == {frozenset({"waypoint", "accessLog"})}
    assert [step.before for step in steps] == [True, False, False, False, False], "an earlier canary is removed first"
    expected = [BY_NAME["migration"].expects(found)[0] for found in configs[1:]]
    assert [(item.measure, item.value, item.share) for item in expected] == [
        (Measure.WAYPOINT, "waypoint-next", share) for share in (0.0, 0.2, 1.0, 1.0)
    ]


def test_waypoint_step_after_migration_has_the_first_waypoint_only() -> None:
    left = BY_NAME["migration"].steps[-1].settings
    (first,) = BY_NAME["waypoint"].steps
    begun = of_step(first.on, {**left, **first.settings})
    assert begun.waypoints == {"waypoint": 1.0}


def test_migration_has_no_toggle() -> None:
    assert BY_NAME["migration"].key == ""
    assert expectations(config("accessLog")) == BY_NAME["waypoint"].expects(config("accessLog"))


def test_retries_of_upstream_failures_leave_one_in_sixteen() -> None:
    (failures,) = BY_NAME["retries"].expects(config("abort", "retries", fault={"at": "upstream"}))
    assert (failures.measure, failures.value, failures.share) == (Measure.STATUS, "503", 0.0625)


UPSTREAM = {"at": "upstream", "abort": {"percent": 50}}
POST = {"request": {"method": "POST"}}


@pytest.mark.parametrize(("writes", "share"), [(False, 0.5), (True, 0.0625)])
def test_retries_of_a_write_need_their_setting(writes: bool, share: float) -> None:
    (failures,) = expectations(config("abort", "retries", fault=UPSTREAM, app=POST, retries={"writes": writes}))
    assert (failures.share, failures.most) == (share, 0.0)


def test_retries_with_a_budget_leave_a_range_of_failures() -> None:
    budget = {"fault": UPSTREAM, "retries": {"budgetPercent": 20}}
    (failures,) = expectations(config("abort", "retries", **budget))
    assert (failures.what, failures.share, failures.most) == ("failures, up to 50 %", 0.0625, 0.5)
    both = config("abort", "retries", "canary", **budget, trafficApi="virtual-service")
    rows = {item.what: (item.share, item.most) for item in expectations(both)}
    assert rows == {
        "everyone to the canary": (0.2, 0.0),
        "everyone to the baseline, up to 75 %": (0.4, 0.75),
        "failures, up to 40 %": (pytest.approx(0.05), 0.4),
    }
    (failures,) = expectations(config("abort", "retries", **budget, app=POST))
    assert (failures.what, failures.share) == ("failures", 0.5)


@pytest.mark.parametrize(("limit", "known"), [("10s", True), ("300ms", False)])
def test_retries_that_a_timeout_may_end_leave_a_range_of_failures(limit: str, known: bool) -> None:
    (failures,) = expectations(config("abort", "retries", fault=UPSTREAM, app={"requestTimeout": limit}))
    assert (failures.share, failures.most, failures.met_by("503")) == (0.0625, 0.0 if known else 0.5, True)
    assert failures.met_by("504") is not known


def test_retries_of_an_abort_in_the_same_rule_leave_all_failures() -> None:
    (failures,) = BY_NAME["retries"].expects(config("abort", "retries", fault={"at": "waypoint"}))
    assert failures.share == 0.5


def test_expectations_premium_has_a_row_for_each_cohort() -> None:
    backends = {name: {"service": f"shop-{name}"} for name in ("baseline", "canary", "gold", "beta")}
    app = {
        "backends": backends,
        "cohorts": {"gold": {"header": "tier", "value": "g"}, "beta": {"path": "/beta"}},
        "identify": {"kind": "header", "name": "x", "values": {name: f"v-{name}" for name in backends}},
    }
    rows = {item.what: item for item in expectations(config("premium", app=app))}
    gold, beta = rows["g to gold"], rows["path:/beta to beta"]
    assert (gold.value, gold.header, gold.path) == ("v-gold", ("tier", "g"), "/reviews/0")
    assert (beta.value, beta.header, beta.path) == ("v-beta", None, "/beta")
    assert rows["others to the baseline"].share == 1.0


def test_expectations_premium_keeps_the_weights_of_others() -> None:
    shares = {(item.value, item.header): item.share for item in expectations(config("canary", "premium"))}
    assert shares["black", ("end-user", "premium-user")] == 1.0
    assert shares["red", None] == 0.2


def test_expectations_without_stages_expect_no_waypoint() -> None:
    assert "no" in {item.value for item in expectations(LabConfig())}


@pytest.mark.parametrize(("seconds", "limit"), [(0.2, 0.2), (2, 0.5)])
def test_expectations_delay_of_a_header_would_be_seen_on_other_requests(seconds: float, limit: float) -> None:
    fault = {"delay": {"seconds": seconds}, "header": {"name": "end-user", "value": "jane"}}
    others = next(one for one in expectations(config("delay", fault=fault)) if one.what == "others 0 s later")
    assert others.high == limit


@pytest.mark.parametrize("header", [{}, {"header": {"name": "end-user", "value": "jane"}}])
def test_expectations_delay_has_rows_of_success(header: dict[str, object]) -> None:
    rows = {one.what: one for one in expectations(config("delay", fault=header))}
    late, answered = rows.pop("2 s later"), rows.pop("answered after 2 s")
    assert (answered.measure, answered.header, answered.requests) == (Measure.STATUS, late.header, late.requests)
    assert not answered.met_by("503")
    assert list(rows) == (["others 0 s later", "others answered"] if header else [])


def test_expectations_delay_of_a_part_of_the_traffic_has_rows_of_success() -> None:
    fault = {"at": "upstream", "header": {"name": "end-user", "value": "jane"}}
    rows = BY_NAME["delay"].expects(config("delay", "canary", fault=fault, trafficApi="virtual-service"))
    late = ["delayed by 2 s", "others 0 s later"]
    assert [one.what for one in rows] == [*late, "answered after 2 s", "others answered"]
    rows = BY_NAME["delay"].expects(config("delay", "abort"))
    assert [one.what for one in rows] == ["2 s later"]


@pytest.mark.parametrize(("seconds", "most"), [(2, 0.0), (0.2, 1.0)])
def test_expectations_delay_of_the_baseline_beside_a_canary_is_measured(seconds: float, most: float) -> None:
    fault = {"at": "upstream", "delay": {"seconds": seconds}}
    found = expectations(config("delay", "canary", fault=fault, trafficApi="virtual-service"))
    (late,) = [one for one in found if one.measure is Measure.LATE]
    assert (late.share, late.most, late.low, late.requests) == (0.8, most, pytest.approx(0.9 * seconds), 60)


def test_expectations_retries_out_of_time_keep_others() -> None:
    fault = {"at": "upstream", "header": {"name": "end-user", "value": "jane"}}
    seen = expectations(config("delay", "retries", fault=fault))
    assert [item.what for item in seen] == ["each try out of time", "no failures of others"]


def test_expectations_delay_beyond_each_try_is_a_timeout() -> None:
    seen = expectations(config("delay", "retries", fault={"at": "upstream", "delay": {"seconds": 2}}))
    assert [item.value for item in seen] == ["504"]


@pytest.mark.parametrize(
    ("at", "limit", "late"), [("upstream", "1s", True), ("upstream", "5s", False), ("waypoint", "1s", False)]
)
@pytest.mark.parametrize("on", [(), ("retries",)])
def test_expectations_delay_beyond_the_limit_of_a_request_is_a_timeout(
    at: str, limit: str, late: bool, on: tuple[str, ...]
) -> None:
    fault, app = {"at": at, "delay": {"seconds": 3}}, {**POST, "requestTimeout": limit}
    values = [item.value for item in expectations(config("delay", *on, fault=fault, app=app))]
    assert late is (values == ["504"])
    assert late or "504" not in values
