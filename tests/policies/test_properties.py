"""Property tests: no rule crashes on resources of any shape."""

from random import Random
from typing import Any

from policies.pack.resources import ClusterSnapshot, Resource
from policies.pack.table import TABLE
from tests.policies.cases import CASES
from tests.unit import shapes

SAMPLES = [item for _name, snapshot, _parameters, _said in CASES for item in (*snapshot.declared, *snapshot.live)]
LEAVES = (None, True, False, 0, -1, 0.5, 10**400, float("inf"), float("nan"), "", "n", "w", "*", "²", "reviews", "None")


def anything(random: Random, depth: int = 2) -> Any:
    """Return JSON of any shape."""
    shape = random.randrange(4) if depth else 0
    if shape < 2:
        return random.choice(LEAVES)
    inner = [anything(random, depth - 1) for _ in range(random.randrange(3))]
    return inner if shape == 2 else {random.choice(("name", "kind", "x", "")): item for item in inner}


def resources(random: Random) -> list[Resource]:
    found = []
    for sample in random.sample(SAMPLES, random.randrange(1, 6)):
        properties = shapes.mutated(random, dict(sample.properties), random.choice((0, 0.02, 0.1, 0.3)), anything)
        found.append(Resource(sample.kind, properties if isinstance(properties, dict) else {"spec": properties}))
    return found


def mixed_snapshot(random: Random) -> ClusterSnapshot:
    messages = [{name: anything(random) for name in ("code", "level", "origin")}]
    error = random.choice(("", "", "unreachable"))
    return ClusterSnapshot(resources(random), resources(random), error, "dev", messages, resources(random))


def test_rules_with_resources_of_any_shape_return_lines() -> None:
    def check(random: Random) -> None:
        snapshot = mixed_snapshot(random)
        for row in TABLE:
            for urn, line in row.violations(snapshot, {}):
                assert urn == "", row.name
                assert line.endswith(f"; {row.fix}"), row.name
            assert {row.applies_to(item) for item in snapshot.declared} <= {True, False}, row.name

    shapes.cases(check)
