"""Property tests: no rule crashes on resources of any shape.

The environment variable WAYPOINT_LAB_SOAK_CASES sets the number of cases.
"""

import os
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from policies.pack.resources import ClusterSnapshot, Resource
from policies.pack.table import TABLE
from tests.policies import cases_canary, cases_canary_policies, cases_faults, cases_routes, cases_services

SEED = 1
CASES = int(os.environ.get("WAYPOINT_LAB_SOAK_CASES", "300"))
FILES = (cases_routes, cases_services, cases_faults, cases_canary, cases_canary_policies)
SAMPLES = [
    item
    for file in FILES
    for part in file.PARTS
    for _name, snapshot, _parameters, _said in part()
    for item in (*snapshot.declared, *snapshot.live)
]
LEAVES = (None, True, False, 0, -1, 0.5, 10**400, float("inf"), float("nan"), "", "n", "w", "*", "²", "reviews", "None")


def anything(random: Random, depth: int = 2) -> Any:
    """Return JSON of any shape."""
    shape = random.randrange(4) if depth else 0
    if shape < 2:
        return random.choice(LEAVES)
    inner = [anything(random, depth - 1) for _ in range(random.randrange(3))]
    return inner if shape == 2 else {random.choice(("name", "kind", "x", "")): item for item in inner}


def mutated(random: Random, value: Any, chance: float) -> Any:
    """Return `value` with some of its parts replaced by JSON of any shape, left out or repeated."""
    if random.random() < chance:
        return anything(random)
    if isinstance(value, dict):
        return {name: mutated(random, item, chance) for name, item in value.items() if random.random() > chance / 2}
    if isinstance(value, list):
        repeats = random.choice((1, 1, 2))
        return [mutated(random, item, chance) for item in value for _ in range(repeats)]
    return value


def resources(random: Random) -> list[Resource]:
    found = []
    for sample in random.sample(SAMPLES, random.randrange(1, 6)):
        properties = mutated(random, dict(sample.properties), random.choice((0, 0.02, 0.1, 0.3)))
        found.append(Resource(sample.kind, properties if isinstance(properties, dict) else {"spec": properties}))
    return found


def mixed_snapshot(number: int) -> ClusterSnapshot:
    random = Random(number)
    messages = [{name: anything(random) for name in ("code", "level", "origin")}]
    error = random.choice(("", "", "unreachable"))
    return ClusterSnapshot(resources(random), resources(random), error, "dev", messages, resources(random))


@seed(SEED)
# Shrinking a failing case takes minutes; the case is printed as it is.
@settings(
    max_examples=CASES, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(snapshot=st.integers(0, 2**64).map(mixed_snapshot))
def test_rules_with_resources_of_any_shape_return_lines(snapshot: ClusterSnapshot) -> None:
    for row in TABLE:
        for urn, line in row.violations(snapshot, {}):
            assert urn == "", row.name
            assert line.endswith(f"; {row.fix}"), row.name
        assert {row.applies_to(item) for item in snapshot.declared} <= {True, False}, row.name
