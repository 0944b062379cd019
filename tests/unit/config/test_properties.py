"""The configuration with values of any shape: it is read, or refused in one line that names the setting."""

import os
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from waypoint_lab.config import deployed
from waypoint_lab.config.decode import fields
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ConfigError

CASES = int(os.environ.get("WAYPOINT_LAB_SOAK_CASES", "300"))
HOSTILE = [
    "",
    " ",
    "%",
    "%REQ(authorization)%",
    "a\r\nb",
    "ü" * 300,
    "0.1",
    "1e999",
    "NaN",
    "-0",
    "true",
    "null",
    "{",
    "/",
]
SCALARS = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from([0, 1, 50]),
)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


def settings_of(model: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Return maps with some of a model's settings, each of its own shape or of any."""
    entries = {}
    for name, (_, kind) in fields(model).items():
        models = [one for one in (kind, *getattr(kind, "__args__", ())) if _is_model(one)]
        entries[name] = st.one_of(*map(settings_of, models), ANYTHING) if models else ANYTHING
    return st.fixed_dictionaries({}, optional=entries) | st.dictionaries(st.text(max_size=8), ANYTHING, max_size=2)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


@settings(max_examples=CASES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(settings_of(LabConfig))
def test_from_mapping_values_of_any_shape_are_read_or_refused_in_one_line(given_settings: Any) -> None:
    refused = ""
    try:
        config = LabConfig.from_mapping(given_settings)
    except ConfigError as error:
        refused = str(error)
    if refused:
        assert refused.startswith("waypoint-lab:")
        assert "\n" not in refused
    else:
        assert deployed.read({"declared": msgspec.to_builtins(config)}, "dev") == config
