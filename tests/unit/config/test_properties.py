"""The configuration with values of any shape: it is read, or refused in one line that names the setting."""

from random import Random

import msgspec

from tests.unit import shapes
from waypoint_lab.config import deployed
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ConfigError


def test_from_mapping_any_shape_is_read_or_refused_in_one_line() -> None:
    taken = 0

    def check(random: Random) -> None:
        nonlocal taken
        wrong, chance = random.choice((0, 0, 0.02, 0.1, 0.3)), random.choice((0.1, 0.3, 0.5))
        refused = ""
        try:
            config = LabConfig.from_mapping(shapes.config(random, LabConfig, wrong, chance))
        except ConfigError as error:
            refused = str(error)
        if refused:
            assert refused.startswith("waypoint-lab:")
            assert len(refused.splitlines()) == 1
        else:
            taken += 1
            assert deployed.read({"declared": msgspec.to_builtins(config)}, "dev") == config

    shapes.cases(check)
    assert shapes.CASES / 10 < taken < shapes.CASES, "a part is read, and a part is refused"
