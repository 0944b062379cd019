"""Property tests: no rule crashes on resources of any shape.

The environment variable WAYPOINT_LAB_SOAK_CASES sets the number of cases.
"""

import os
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from policies.pack.resources import ClusterSnapshot, Resource
from policies.pack.table import TABLE
from tests.policies import cases_canary, cases_canary_policies, cases_faults, cases_routes, cases_services

SEED = 1
CASES = int(os.environ.get("WAYPOINT_LAB_SOAK_CASES", "25"))
FILES = (cases_routes, cases_services, cases_faults, cases_canary, cases_canary_policies)
SAMPLES = [
    item
    for file in FILES
    for part in file.PARTS
    for _name, snapshot, _parameters, _said in part()
    for item in (*snapshot.declared, *snapshot.live)
]
NUMBERS = st.integers() | st.just(10**400) | st.floats()
SCALARS = (
    st.none() | st.booleans() | NUMBERS | st.text(max_size=8) | st.sampled_from(["n", "w", "reviews", "None", "*"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def mutated(draw: st.DrawFn, value: Any, chance: int) -> Any:
    """Return `value` with some of its parts replaced by JSON of any shape, left out or repeated."""
    if draw(st.integers(0, chance)) == 0:
        return draw(JSON)
    if isinstance(value, dict):
        kept = {name: mutated(draw, item, chance) for name, item in value.items() if draw(st.integers(0, chance))}
        return kept | (draw(st.dictionaries(st.text(max_size=4), JSON, max_size=1)) if draw(st.booleans()) else {})
    if isinstance(value, list):
        return [mutated(draw, item, chance) for item in value for _ in range(draw(st.integers(1, 2)))]
    return value


@st.composite
def resources(draw: st.DrawFn) -> Resource:
    sample = draw(st.sampled_from(SAMPLES))
    properties = mutated(draw, dict(sample.properties), draw(st.sampled_from((6, 20, 60))))
    return Resource(sample.kind, properties if isinstance(properties, dict) else {"spec": properties})


@st.composite
def snapshots(draw: st.DrawFn) -> ClusterSnapshot:
    several = st.lists(resources(), max_size=4)
    return ClusterSnapshot(
        draw(several),
        draw(several),
        draw(st.sampled_from(("", "unreachable"))),
        "dev",
        draw(st.lists(st.fixed_dictionaries({"code": JSON, "level": JSON, "origin": JSON}), max_size=1)),
        draw(several),
    )


@seed(SEED)
# Shrinking a failing case takes minutes; the case is printed as it is.
@settings(
    max_examples=CASES, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(snapshot=snapshots())
def test_rules_with_resources_of_any_shape_return_lines(snapshot: ClusterSnapshot) -> None:
    for row in TABLE:
        for urn, line in row.violations(snapshot, {}):
            assert urn == "", row.name
            assert line.endswith(f"; {row.fix}"), row.name
        assert {row.applies_to(item) for item in snapshot.declared} <= {True, False}, row.name
